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
        return [space.region_of(dict(zip(space.axes, point, strict=True))) for point in points.tolist()]
    mixture = Mixture.of_dict(space.mixture, f"space {space.name}")
    columns = [space.axes.index(axis) for axis in mixture.axes]
    return [None if label < 0 else mixture.regions[label] for label in mixture.labels(points[:, columns]).tolist()]
