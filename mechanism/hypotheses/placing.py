"""Which region of a space a point is in."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mechanism.regions.mixture import Mixture
from mechanism.space import PersonaSpace


def regions_at(space: PersonaSpace, points: NDArray[np.float64]) -> list[str | None]:
    """The region of each point [n, axes]: the most probable by the space's mixture, where it has one, else the first
    whose ranges hold it, as turns are labelled (`individuate space label`). None: in none, or a coordinate is missing.

    >>> import torch
    >>> space = PersonaSpace("mine", ("a",), torch.ones(1, 2, 4), 1, regions={"A": {"a": (0.0, None)}})
    >>> regions_at(space, np.array([[1.0], [-1.0], [np.nan]]))
    ['A', None, None]
    """
    if space.mixture is None:
        return _by_ranges(space, points)
    mixture = Mixture.of_dict(space.mixture, f"space {space.name}")
    columns = [space.axes.index(axis) for axis in mixture.axes]
    return [None if label < 0 else mixture.regions[label] for label in mixture.labels(points[:, columns]).tolist()]


def _by_ranges(space: PersonaSpace, points: NDArray[np.float64]) -> list[str | None]:
    """As `PersonaSpace.region_of`, of all points at once."""
    found = np.full(len(points), -1)
    known = ~np.isnan(points).all(axis=1)
    for number, ranges in enumerate(space.regions.values()):
        inside = known & (found < 0)
        for axis, (low, high) in ranges.items():
            values = points[:, space.axes.index(axis)] if axis in space.axes else np.full(len(points), np.nan)
            inside &= (values >= (-np.inf if low is None else low)) & (values <= (np.inf if high is None else high))
        found[inside] = number
    names = list(space.regions)
    return [None if number < 0 else names[number] for number in found.tolist()]
