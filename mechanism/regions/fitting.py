"""Regions of a persona space from points, whole: fitted, named, and drawn as ranges."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from mechanism.regions.gaussians import Floats
from mechanism.regions.mixture import Mixture, fit_mixture
from mechanism.regions.naming import Roles, names, nearest, roles_of_points
from mechanism.regions.ranges import Box, boxes

_NEAREST = 3


class Region(NamedTuple):
    """One region. `size`: how many points are more probably in it than elsewhere; `near`: the roles nearest to its
    centre, with their distances in its standard deviations; `asked`: which roles its points were asked to be, the most
    frequent first (empty where that is not known).
    """

    name: str
    size: int
    centre: Mapping[str, float]
    box: Box
    near: Sequence[tuple[str, float]]
    asked: Sequence[tuple[str, int]]


class Regions(NamedTuple):
    """A mixture and what its regions are, in its order; `outside`: how many points are in none."""

    mixture: Mixture
    regions: Sequence[Region]
    outside: int

    @property
    def ranges(self) -> dict[str, dict[str, tuple[float, float]]]:
        """The activation ranges of each region by axis."""
        return {region.name: dict(region.box.ranges) for region in self.regions}


def fit_regions(
    points: Floats,
    axes: Sequence[str],
    *,
    asked: Sequence[str] = (),
    default: str | None = None,
    nameless: Collection[str] = (),
    roles: Callable[[], Roles] | None = None,
    given: Mapping[int, str] | None = None,
    **how: Any,
) -> Regions:
    """Regions fitted to points [n, axes]; `how` are the options of `fit_mixture`.

    `asked` says which role each point was asked to be, and `default` which of these is the model without one. They give
    regions their names, those in `nameless` excepted, and take no part in the fit. Where they are not known, `roles`
    are those that regions may be called after. `given`: the user's own names, by the number of a region from 1.

    Raises `TraceError` where nothing can be fitted, and for names that cannot be.

    >>> import numpy as np
    >>> dice = np.random.default_rng(0)
    >>> points = np.concatenate([dice.normal(0, 1, (60, 1)), dice.normal(9, 1, (40, 1))])
    >>> found = fit_regions(points, ["a"], asked=["calm"] * 60 + ["wild"] * 40, most=3)
    >>> [(region.name, region.size) for region in found.regions]
    [('calm', 60), ('wild', 40)]
    """
    mixture = fit_mixture(points, axes, **how)
    labels = mixture.labels(points)
    known = None if roles is None else roles()
    if len(asked):
        may = [role not in nameless for role in asked]
        chosen = [role for role, named in zip(asked, may, strict=True) if named]
        known = roles_of_points(points[may], chosen, labels[may], len(mixture.regions), default)
    mixture = mixture.named(names(mixture, known, given))
    drawn = boxes(mixture, points)
    centres = mixture.centres()
    regions = []
    for number, name in enumerate(mixture.regions):
        own = labels == number
        spoken = Counter(role for role, inside in zip(asked, own, strict=True) if inside) if len(asked) else Counter()
        regions.append(
            Region(
                name,
                int(own.sum()),
                dict(zip(mixture.axes, centres[number].tolist(), strict=True)),
                drawn[name],
                [] if known is None else nearest(mixture, number, known, _NEAREST),
                spoken.most_common(_NEAREST),
            )
        )
    return Regions(mixture, regions, int((labels < 0).sum()))
