"""Valleys of a density: where a cloud is divided into heaps, and how deep it is between them.

Two components of a mixture belong to one heap where a way leads from the one peak to the other on which the density
does not sink. So a bent or stretched cloud, which takes many components, is one heap; and two heaps that take one
component each are two (merging by the ridge line of Ray and Lindsay 2005, in the order of persistence).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mechanism.hypotheses.mixtures import Floats, Kind, Mixtures, fit

_STEPS = np.linspace(0, 1, 25)
_NODE = 3
"""A component of fewer points than this is an outlier: no way leads over it, and it has no peak."""


@dataclass(frozen=True)
class Valley:
    """Between two sets of components. `depth` is the log of the lower of both peaks' densities over that of the
    highest pass between them; 0: none. `crossing`: the two components at the pass. `between`: the two that the line
    across is drawn through, of a good size both. `sizes`: points on each side.
    """

    depth: float
    one: frozenset[int]
    two: frozenset[int]
    crossing: tuple[int, int]
    between: tuple[int, int]
    sizes: tuple[int, int]

    @property
    def floor(self) -> float:
        """The density at the pass, as a share of the lower peak's: 1 for no valley, towards 0 for a deep one."""
        return float(np.exp(-self.depth))

    def deep(self, depth: float) -> Valley:
        """The same with another depth."""
        return replace(self, depth=depth)


def valleys(mixture: Mixtures, counts: NDArray[np.intp], least: float) -> list[Valley]:
    """Every place where two parts of a mixture meet (a batch of one), from the highest pass to the lowest.

    `counts` are the points of each component, `least` what a side must have for the line to be drawn through it.
    """
    nodes = [c for c in range(mixture.k) if counts[c] >= _NODE]
    peaks, passes = _passes(mixture, nodes)
    part = {c: frozenset([c]) for c in nodes}
    found: list[Valley] = []
    for height, i, j in passes:
        one, two = part[i], part[j]
        if one is two:
            continue
        sizes = int(sum(counts[c] for c in one)), int(sum(counts[c] for c in two))
        depth = max(0.0, min(max(peaks[c] for c in one), max(peaks[c] for c in two)) - height)
        near = [
            (p, q) if p in one else (q, p)
            for _, p, q in passes
            if ((p in one and q in two) or (p in two and q in one)) and min(counts[p], counts[q]) >= least / 2
        ]
        largest = max(one, key=lambda c: counts[c]), max(two, key=lambda c: counts[c])
        found.append(Valley(depth, one, two, (i, j), near[0] if near else largest, sizes))
        part |= dict.fromkeys(one | two, one | two)
    return found


def least_depth(points: Floats, mixture: Mixtures, valley: Valley, seed: int, least: float) -> float:
    """The depth of a valley in this mixture and in finer ones of the same points: the least of all.

    A bent cloud that was described by too few straight pieces has passes that are too low; more pieces raise them,
    while what is empty stays empty.
    """
    labels = mixture.labels(points)[0]
    of_one, of_two = np.isin(labels, list(valley.one)), np.isin(labels, list(valley.two))
    depth = valley.depth
    kinds: tuple[Kind, ...] = ("spherical",) if mixture.kind == "spherical" else (mixture.kind, "spherical")
    for kind in kinds:
        for k in (mixture.k + 2, 2 * mixture.k + 2):
            if len(points) < 6 * k:
                continue
            finer = fit(points[None], k, kind, seed)
            depth = min(depth, depth_between(finer, points, of_one, of_two, least))
            if depth == 0:
                return depth
    return depth


def depth_between(
    mixture: Mixtures, points: Floats, one: NDArray[np.bool_], two: NDArray[np.bool_], least: float
) -> float:
    """How deep it is between two sets of points in a mixture: between the highest peaks of the components that mostly
    hold the one, and that mostly hold the other. 0 where either has none.
    """
    labels = mixture.labels(points)[0]
    held = [[int(np.sum(here & side)) for side in (one, two)] for here in (labels == c for c in range(mixture.k))]
    counts = np.bincount(labels, minlength=mixture.k)
    nodes = [c for c in range(mixture.k) if counts[c] >= _NODE]
    peaks, passes = _passes(mixture, nodes)
    sizeable = [c for c in nodes if counts[c] >= least / 3]
    tops = [
        max((c for c in sizeable if 2 * held[c][side] > counts[c]), key=lambda c: peaks[c], default=None)
        for side in (0, 1)
    ]
    if tops[0] is None or tops[1] is None:
        return 0.0
    part = {c: frozenset([c]) for c in nodes}
    for height, i, j in passes:
        part |= dict.fromkeys(part[i] | part[j], part[i] | part[j])
        if tops[1] in part[tops[0]]:
            return float(max(0.0, min(peaks[tops[0]], peaks[tops[1]]) - height))
    return 0.0


def _passes(mixture: Mixtures, nodes: list[int]) -> tuple[Floats, list[tuple[float, int, int]]]:
    """Log densities at the means, and for every two components the highest pass: the lowest density on the better of
    two ways, straight and along the ridge; highest first.
    """
    means = mixture.means[0]
    peaks = mixture.density(means)[0]
    pairs = [(i, j) for at, i in enumerate(nodes) for j in nodes[:at]]
    if not pairs:
        return peaks, []
    ways = [(1 - _STEPS)[:, None] * means[i] + _STEPS[:, None] * means[j] for i, j in pairs]
    if mixture.kind == "full":
        precisions = np.linalg.inv(mixture.covariances[0])
        ways += [_ridge(means[i], means[j], precisions[i], precisions[j]) for i, j in pairs]
    lowest = mixture.density(np.concatenate(ways))[0].reshape(-1, len(pairs), len(_STEPS)).min(axis=2).max(axis=0)
    return peaks, sorted(((float(h), i, j) for h, (i, j) in zip(lowest, pairs, strict=True)), reverse=True)


def _ridge(one: Floats, two: Floats, first: Floats, second: Floats) -> Floats:
    """Every peak and pass of two Gaussians lies on this curve between their means; steps of even length."""
    share = _STEPS[:, None]
    sums = (1 - share)[:, :, None] * first + share[:, :, None] * second
    curve = np.linalg.solve(sums, ((1 - share) * (first @ one) + share * (second @ two))[..., None])[..., 0]
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
    return np.stack([np.interp(_STEPS * length[-1], length, column) for column in curve.T], axis=1)
