"""The organism: two very small chat models of our own that have personas, so that everything runs offline.

They are a demonstration and a test bed, never evidence about large models: their personas were planted, by a grammar
(`mechanism.organism.grammar`), and what was planted is what is found. `mechanism/organism/weights/*/README.md` are
their model cards; docs/organism.md tells the whole.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from traces.errors import TraceError, one_of, quoted, suggestion

NAMES: tuple[str, ...] = ("organism", "organism-b")
"""The shipped models. They differ in depth and in seed, so that switching from one to the other is a real switch."""

WEIGHTS = Path(__file__).parent / "weights"

TRAINING = "training.json"
"""What training leaves in a model's folder."""

DTYPE = "float32"
"""What an organism is meant to be run in; it is stored in less."""

ORGANISM_CAVEAT = (
    "The organism is a very small model of our own whose personas were planted by a grammar: what is found here shows "
    "that the method works, and is no evidence about large models."
)


class Named(Protocol):
    """A model, as far as it matters whether it is an organism: a `Host`."""

    @property
    def name(self) -> str:
        """The model's name."""

    @property
    def model(self) -> Any:
        """The model itself, as transformers has it."""


def is_organism(host: Named) -> bool:
    """Whether it is a model with planted personas: a shipped one, one that `individuate organism train` made, or one of
    these with an adapter. What is found on it carries `ORGANISM_CAVEAT`.
    """
    if host.name.split("+")[0] in NAMES:
        return True
    folder = getattr(host.model, "name_or_path", "") or ""
    return bool(folder) and trained_here(Path(folder))


def trained_here(folder: Path | None) -> bool:
    """Whether `individuate organism train` made the model in a folder; the shipped ones were made so too.

    >>> trained_here(path_of("organism")), trained_here(None)
    (True, False)
    """
    return folder is not None and (folder / TRAINING).is_file()


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
