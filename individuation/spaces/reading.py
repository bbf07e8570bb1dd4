"""A persona space from a file of ours or of others, for a model that need not be loaded."""

from __future__ import annotations

from individuation.recording.places import space_file
from mechanism.host import facts_of
from mechanism.space import PersonaSpace
from mechanism.vectors import load_vectors


def read_space(space: str, model: str | None = None, layer: int | None = None) -> PersonaSpace:
    """The space in a file, or that of a model that one comes with (`organism`).

    `model` names whose vectors they are, where the file does not tell; `layer`: read there.

    Raises `TraceError` as `load_vectors` and `facts_of` do.
    """
    return load_vectors(space_file(space), model=None if model is None else facts_of(model), layer=layer)
