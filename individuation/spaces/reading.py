"""A persona space from a file of ours or of others, for a model that need not be loaded."""

from __future__ import annotations

from pathlib import Path

from mechanism.host import facts_of
from mechanism.space import PersonaSpace
from mechanism.vectors import load_vectors


def read_space(path: Path, model: str | None = None, layer: int | None = None) -> PersonaSpace:
    """The space in a file. `model` names whose vectors they are, where the file does not tell; `layer`: read there.

    Raises `TraceError` as `load_vectors` and `facts_of` do.
    """
    return load_vectors(path, model=None if model is None else facts_of(model), layer=layer)
