"""A persona space as a command is given it, and the part of one that lies on some of its axes."""

from __future__ import annotations

from collections.abc import Sequence

from individuation.recording.places import space_file
from mechanism.space import PersonaSpace
from mechanism.vectors import load_vectors
from traces.errors import UnknownNameError


def named_space(space: str) -> PersonaSpace:
    """The space in a file, or the one that comes with a model: `organism`. Raises `TraceError`."""
    return load_vectors(space_file(space))


def on_axes(space: PersonaSpace, axes: Sequence[str]) -> PersonaSpace:
    """The same space on some of its axes, in this order, without regions.

    Raises `UnknownNameError` for an axis that it does not have.
    """
    for axis in axes:
        if axis not in space.axes:
            raise UnknownNameError(f"space {space.name}", "axis", axis, space.axes)
    chosen = [space.axes.index(axis) for axis in axes]
    return space.replaced(
        axes=tuple(axes),
        vectors=space.vectors[chosen].contiguous(),
        points=None if space.points is None else space.points[:, chosen].contiguous(),
        signs={axis: sign for axis, sign in space.signs.items() if axis in axes},
        regions={},
        mixture=None,
    )
