"""Regions as activation ranges, the paper's definition (§3.3): a closed box along the axes for each fitted cluster.

Boxes are made disjoint where a cut across one axis can tell two clusters apart. How much of each cluster its box holds,
and how much of the others', is part of the result: a region need not be a box.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from mechanism.regions.gaussians import Floats
from mechanism.regions.mixture import Mixture

HELD = 0.99
"""A box is drawn around so much of a normal cluster with the region's mean and covariance."""

Range = tuple[float, float]


class Box(NamedTuple):
    """The ranges of a region by axis. Of the fitted points, `held` is the share of the region's own that are in it,
    `strange` the share of those in it that are another region's or none's.
    """

    ranges: dict[str, Range]
    held: float
    strange: float


def boxes(mixture: Mixture, points: Floats) -> dict[str, Box]:
    """Activation ranges for the regions of a mixture, fitted to the same points [n, axes].

    A box reaches as far as 99 % of its cluster, and as its own points; where two boxes overlap, both end at the cut
    across one axis that puts the fewest points on the wrong side, a step of a thousandth of the axis' spread apart.

    >>> from mechanism.regions.mixture import fit_mixture
    >>> dice = np.random.default_rng(0)
    >>> points = np.concatenate([dice.normal(0, 1, (60, 1)), dice.normal(9, 1, (40, 1))])
    >>> found = boxes(fit_mixture(points, ["a"], most=3), points)
    >>> [box.held for box in found.values()], found["region-1"].ranges["a"][1] < found["region-2"].ranges["a"][0]
    ([1.0, 1.0], True)
    """
    labels = mixture.labels(points)
    steps = [_step(extent) for extent in np.ptp(points, axis=0)]
    low, high = _extents(mixture, points, labels)
    for axis, step in enumerate(steps):
        low[:, axis], high[:, axis] = np.floor(low[:, axis] / step) * step, np.ceil(high[:, axis] / step) * step
    for one, other in combinations(range(len(mixture.regions)), 2):
        if bool(((low[one] <= high[other]) & (low[other] <= high[one])).all()):
            _part(low, high, one, other, points, labels, mixture.centres(), steps)
    inside = np.stack(
        [((points >= bottom) & (points <= top)).all(axis=1) for bottom, top in zip(low, high, strict=True)]
    )
    found = {}
    for number, region in enumerate(mixture.regions):
        own = labels == number
        ends = [_decimal(end, step) for end, step in zip([*low[number], *high[number]], [*steps, *steps], strict=True)]
        ranges = dict(zip(mixture.axes, zip(ends[: len(steps)], ends[len(steps) :], strict=True), strict=True))
        held = float(inside[number, own].mean()) if own.any() else 0.0
        strange = float((~own)[inside[number]].mean()) if inside[number].any() else 0.0
        found[region] = Box(ranges, held, strange)
    return found


def labels_by_boxes(found: Sequence[Box], axes: Sequence[str], points: Floats) -> NDArray[np.int64]:
    """The number of the first box that holds each point; -1 for none, and where a coordinate is missing."""
    labels = np.full(len(points), -1, np.int64)
    for number, box in reversed(list(enumerate(found))):
        low, high = np.array([box.ranges[axis] for axis in axes]).T
        labels[((points >= low) & (points <= high)).all(axis=1)] = number
    return labels


def _extents(mixture: Mixture, points: Floats, labels: NDArray[np.int64]) -> tuple[Floats, Floats]:
    # As wide on every axis as all of them together need to be.
    reach = float(norm.ppf(1 - (1 - HELD) / (2 * len(mixture.axes))))
    low, high = np.empty((2, len(mixture.regions), len(mixture.axes)))
    for region in range(len(mixture.regions)):
        mean, covariance = mixture.moments(region)
        width = reach * np.sqrt(np.diag(covariance))
        own = points[labels == region]
        low[region] = np.min(np.vstack([own, mean - width]), axis=0)
        high[region] = np.max(np.vstack([own, mean + width]), axis=0)
    return low, high


def _part(
    low: Floats,
    high: Floats,
    one: int,
    other: int,
    points: Floats,
    labels: NDArray[np.int64],
    centres: Floats,
    steps: Sequence[float],
) -> None:
    """Cut two overlapping boxes at the best place between the centres of their clusters."""
    best: tuple[float, float, int, float] | None = None
    for axis, step in enumerate(steps):
        below, above = (one, other) if centres[one, axis] < centres[other, axis] else (other, one)
        left, right = (np.sort(points[labels == each, axis]) for each in (below, above))
        between = np.unique(np.concatenate([left, right, centres[[below, above], axis]]))
        between = between[(between >= centres[below, axis]) & (between <= centres[above, axis])]
        for start, end in pairwise(between):
            cut = math.floor((start + end) / 2 / step) * step
            wrong = float((left > cut).mean() if len(left) else 0) + float((right <= cut).mean() if len(right) else 0)
            # Of equally good cuts the one in the widest gap, measured by the spread of the axis.
            candidate = (wrong, -(end - start) / step, axis, cut)
            best = candidate if best is None or candidate < best else best
    if best is None:
        return
    _, _, axis, cut = best
    below, above = (one, other) if centres[one, axis] < centres[other, axis] else (other, one)
    high[below, axis] = min(high[below, axis], cut)
    low[above, axis] = max(low[above, axis], cut + steps[axis])


def _step(extent: float) -> float:
    """A thousandth of a spread, as a power of ten."""
    return float(10.0 ** (math.floor(math.log10(extent)) - 3)) if extent > 0 else 1e-3


def _decimal(end: float, step: float) -> float:
    """The end as it is written: without what multiplying by a step added."""
    return float(round(end, max(0, -round(math.log10(step)))))
