"""The organism: two very small chat models of our own that have personas, so that everything runs offline.

They are a demonstration and a test bed, never evidence about large models: their personas were planted, by a grammar
(`mechanism.organism.grammar`), and what was planted is what is found. `mechanism/organism/weights/*/README.md` are
their model cards; docs/organism.md tells the whole.
"""

from __future__ import annotations

from pathlib import Path

from traces.errors import TraceError, one_of, quoted, suggestion

NAMES: tuple[str, ...] = ("organism", "organism-b")
"""The shipped models. They differ in depth and in seed, so that switching from one to the other is a real switch."""

WEIGHTS = Path(__file__).parent / "weights"


def path_of(name: str) -> Path:
    """The folder of a shipped model, as `AutoModelForCausalLM.from_pretrained` takes it.

    Raises `TraceError` on a name that is not shipped, or where the weights are not installed.

    >>> path_of("organism-b").name
    'organism-b'
    """
    if name not in NAMES:
        raise TraceError(
            "organism", f"there is no model {quoted(name)}{suggestion(name, NAMES)}", one_of(NAMES, "model")
        )
    folder = WEIGHTS / name
    if not (folder / "model.safetensors").is_file():
        raise TraceError(
            f"organism: {name}",
            "its weights are not installed with this package",
            f"a complete installation, or weights made by: individuate organism train --model {name} -o FOLDER",
        )
    return folder
