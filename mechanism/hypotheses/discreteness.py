"""Hypothesis 3, its static part: do the points of a persona space fall in separate basins, or in one continuum (§3.3)?

A cloud is called discrete where it has a valley that is deep, that the dip test finds again in points that it was not
found in, and that is deeper than those of simulated continua of the same size, spread and bend.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mechanism.hypotheses.continua import Codes, gaussian
from mechanism.hypotheses.crossings import FLOOR, POINTS_EACH, Crossing, crossed, simulated_too
from mechanism.hypotheses.mixtures import Floats, Kind, Mixtures, fit, refit
from mechanism.hypotheses.valleys import Valley, depth_between, least_depth, valleys
from mechanism.outcome import Part
from traces.errors import TraceError

Verdict = Literal["discrete", "continuum"]

LEAST_POINTS, MOST_POINTS, MOST_AXES = 20, 2000, 6
"""Fewer points say nothing; of more points or axes, a sample and the principal components are tested."""

LEAST_SHARE, LEAST_SIDE, LEAST_GROUPS = 0.05, 5, 3
"""A basin has at least this share of the points, so many points, and points of so many groups."""

SIMULATIONS = 39
ALPHA = 0.05
KINDS: tuple[Kind, ...] = ("spherical", "tied", "full")

_MOST_COMPONENTS, _STARTS, _RESAMPLES, _SILHOUETTE = 8, 3, 40, 300


@dataclass(frozen=True)
class Discreteness:
    """What the test of one cloud found.

    `verdict`, `basins`: 1 for a continuum. `labels` [n]: the basin of each point, 0 for the largest. `points` [n, d]:
    those that were tested, turned and scaled. `bic`: by (components, kind); the lowest is `mixture`'s. `crossings`: the
    valleys that are deep enough to be tried, deepest first. `shallow`: the least density between any two parts, as a
    share of the lower peak, of all valleys seen, tried or not. `simulated`: the depths of the deepest valleys of
    simulated continua, by their kind. `codes` [n]: the group of each point.
    """

    verdict: Verdict
    basins: int
    labels: NDArray[np.intp]
    points: Floats
    bic: dict[tuple[int, Kind], float]
    mixture: Mixtures
    crossings: tuple[Crossing, ...]
    shallow: float
    simulated: dict[str, Floats]
    codes: Codes | None
    alpha: float
    seed: int
    simulations: int
    caveats: tuple[str, ...]

    def part(self) -> Part:
        """What was found, in words, numbers and pictures."""
        from mechanism.hypotheses.discreteness_told import told

        return told(self)

    @cached_property
    def deepest(self) -> Crossing | None:
        """The valley that speaks most for basins; None where none was deep enough to be tried."""
        return max(self.crossings, key=lambda each: (each.passed, -each.p_dip, each.valley.depth), default=None)

    @cached_property
    def floors(self) -> Floats:
        """How low the deepest valley is in resampled points, whole groups at a time: shares of the lower peak."""
        if self.deepest is None:
            return np.empty(0)
        return _resampled(self.points, self.mixture, self.deepest.valley, self.codes, self.seed)

    @cached_property
    def silhouettes(self) -> tuple[float, Floats] | None:
        """Mean silhouette of the basins, and of clouds of one Gaussian divided into as many; None for one basin."""
        if self.basins == 1:
            return None
        return _silhouettes(self.points, self.labels, self.codes, self.seed, self.simulations)


def discreteness(
    points: ArrayLike,
    *,
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
    simulations: int = SIMULATIONS,
    alpha: float = ALPHA,
) -> Discreteness:
    """Test whether points [n, d] fall in separate basins.

    `groups` names for each point what it shares with others (its conversation, its role): points of a group are no
    independent witnesses. "continuum" says that basins were not shown, not that there are none.

    Raises `TraceError` for points that cannot be tested.

    >>> dice = np.random.default_rng(0)
    >>> cloud = dice.normal(size=(100, 2))
    >>> discreteness(cloud).verdict, discreteness(cloud + 8 * dice.integers(0, 2, (100, 1))).basins
    ('continuum', 2)
    """
    if simulations < 1 / alpha - 1:
        raise TraceError(
            "the test of discreteness", f"{simulations} simulations", f"{int(1 / alpha)} or more for a p of {alpha:g}"
        )
    cloud, codes, caveats = _prepared(points, groups, seed)
    n = len(cloud)
    least = max(LEAST_SHARE * n, LEAST_SIDE)
    mixture, bic = _chosen(cloud, seed)
    labels = mixture.labels(cloud)[0]
    seen = valleys(mixture, np.bincount(labels, minlength=mixture.k), least)
    sized = [valley for valley in seen if _sized(valley, labels, codes, least)]
    sized = [
        valley.deep(least_depth(cloud, mixture, valley, seed, least)) if valley.floor <= FLOOR else valley
        for valley in sized
    ]
    crossings = crossed(cloud, mixture, [valley for valley in sized if valley.floor <= FLOOR], codes, seed)
    simulated: dict[str, Floats] = {}
    if any(crossing.p_dip <= alpha for crossing in crossings):
        crossings, simulated = simulated_too(cloud, mixture, crossings, codes, seed, simulations, alpha, least)
    passed = {crossing.valley.crossing for crossing in crossings if crossing.passed}
    basin = _basins(cloud, mixture, seen, passed)
    basins = int(basin.max()) + 1
    return Discreteness(
        verdict="discrete" if basins > 1 else "continuum",
        basins=basins,
        labels=basin,
        points=cloud,
        bic=bic,
        mixture=mixture,
        crossings=tuple(sorted(crossings, key=lambda crossing: -crossing.valley.depth)),
        shallow=min((valley.floor for valley in sized), default=1.0),
        simulated=simulated,
        codes=codes,
        alpha=alpha,
        seed=seed,
        simulations=simulations,
        caveats=caveats,
    )


def _prepared(
    points: ArrayLike, groups: Sequence[Hashable] | None, seed: int
) -> tuple[Floats, Codes | None, tuple[str, ...]]:
    where = "the test of discreteness"
    cloud = np.asarray(points, float)
    if cloud.ndim != 2 or not cloud.shape[1]:
        raise TraceError(where, f"points of shape {list(cloud.shape)}", "[points, axes]")
    if not np.isfinite(cloud).all():
        raise TraceError(where, "coordinates that are NaN or infinite", "numbers")
    if groups is not None and len(groups) != len(cloud):
        raise TraceError(where, f"{len(groups)} groups for {len(cloud)} points", "a group for each point")
    if len(cloud) < LEAST_POINTS:
        raise TraceError(where, f"{len(cloud)} points", f"{LEAST_POINTS} or more: fewer have no shape")
    codes = None
    if groups is not None:
        numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
        codes = np.array([numbers[group] for group in groups])
    caveats: list[str] = []
    if len(cloud) > MOST_POINTS:
        caveats.append(f"Of {len(cloud)} points a sample of {MOST_POINTS} was tested.")
        kept = np.sort(np.random.default_rng(seed).choice(len(cloud), MOST_POINTS, replace=False))
        cloud = cloud[kept]
        codes = None if codes is None else np.unique(codes[kept], return_inverse=True)[1]
    if codes is not None and len(np.unique(codes)) == len(codes):
        codes = None
    centred = cloud - cloud.mean(axis=0)
    spread, turned = np.linalg.svd(centred, full_matrices=False)[1:]
    if spread[0] <= 1e-12 * max(float(np.abs(cloud).max()), 1e-300) * np.sqrt(len(cloud)):
        raise TraceError(where, "all points are one", "points that differ")
    kept_axes = int(min(MOST_AXES, np.sum(spread > 1e-9 * spread[0])))
    if len(spread) > MOST_AXES:
        share = float((spread[:kept_axes] ** 2).sum() / (spread**2).sum())
        caveats.append(f"Of {len(spread)} axes the first {kept_axes} principal components ({share:.0%}) were tested.")
    turned = centred @ turned[:kept_axes].T
    return turned / np.sqrt(turned.var(axis=0).mean()), codes, tuple(caveats)


def _chosen(cloud: Floats, seed: int) -> tuple[Mixtures, dict[tuple[int, Kind], float]]:
    """The mixture with the lowest BIC; a kind is given up after two more components made it no better."""
    bic: dict[tuple[int, Kind], float] = {}
    best: Mixtures | None = None
    for kind in KINDS if cloud.shape[1] > 1 else ("spherical", "tied"):
        worse, lowest = 0, np.inf
        for k in range(1, min(_MOST_COMPONENTS, len(cloud) // POINTS_EACH) + 1):
            found = fit(cloud[None], k, kind, seed, starts=_STARTS if k > 1 else 1)
            bic[k, kind] = value = float(found.bic()[0])
            if best is None or value < best.bic()[0]:
                best = found
            worse = worse + 1 if value >= lowest else 0
            lowest = min(lowest, value)
            if worse == 2:
                break
    if best is None:
        raise TraceError("the test of discreteness", f"{len(cloud)} points", f"{LEAST_POINTS} or more")
    return best, bic


def _sized(valley: Valley, labels: NDArray[np.intp], groups: Codes | None, least: float) -> bool:
    if min(valley.sizes) < least:
        return False
    sides = (valley.one, valley.two)
    return groups is None or all(
        len(np.unique(groups[np.isin(labels, list(side))])) >= LEAST_GROUPS for side in sides
    )  # fmt: skip


def _basins(
    cloud: Floats, mixture: Mixtures, seen: list[Valley], passed: set[tuple[int, int]]
) -> NDArray[np.intp]:  # fmt: skip
    """The basin of each point, the largest first: components are one basin unless a passed valley lies between."""
    nodes = sorted({c for valley in seen for c in valley.one | valley.two})
    if not passed:
        return np.zeros(len(cloud), np.intp)
    part = {c: c for c in nodes}
    for valley in seen:
        if valley.crossing not in passed:
            old, new = part[valley.crossing[0]], part[valley.crossing[1]]
            part = {c: new if of == old else of for c, of in part.items()}
    basin = np.array([part[c] for c in nodes])[mixture.joint(cloud)[0][:, nodes].argmax(axis=1)]
    order = sorted(set(basin.tolist()), key=lambda of: -int(np.sum(basin == of)))
    return np.array([order.index(of) for of in basin.tolist()])


def _resampled(cloud: Floats, mixture: Mixtures, valley: Valley, groups: Codes | None, seed: int) -> Floats:
    dice = np.random.default_rng([seed, 3])
    codes = np.arange(len(cloud)) if groups is None else groups
    held = int(codes.max()) + 1
    weights = np.stack([dice.multinomial(held, np.full(held, 1 / held)) for _ in range(_RESAMPLES)])[:, codes]
    fitted = refit(cloud, mixture, weights.astype(float))
    labels = mixture.labels(cloud)[0]
    one, two = np.isin(labels, list(valley.one)), np.isin(labels, list(valley.two))
    least = max(LEAST_SHARE * len(cloud), LEAST_SIDE)
    depths = [depth_between(fitted.one(index), cloud, one, two, least) for index in range(_RESAMPLES)]
    return np.asarray(np.exp(-np.array(depths)))


def _silhouettes(
    cloud: Floats, basin: NDArray[np.intp], groups: Codes | None, seed: int, simulations: int
) -> tuple[float, Floats]:
    """Mean silhouette (Rousseeuw 1987) of the basins: near 1 where points are far closer to their own than to the next;
    and of clouds of one Gaussian, divided into as many parts.
    """
    from sklearn.metrics import silhouette_score

    dice = np.random.default_rng([seed, 4])
    kept = np.sort(dice.choice(len(cloud), min(len(cloud), _SILHOUETTE), replace=False))
    clouds = gaussian(cloud, simulations, dice, groups)[:, kept]
    parts = fit(clouds, int(basin.max()) + 1, "spherical", seed).means

    def score(points: Floats, labels: NDArray[np.intp]) -> float:
        return float(silhouette_score(points, labels)) if 1 < len(np.unique(labels)) < len(points) else 0.0

    nearest = ((clouds[:, :, None] - parts[:, None]) ** 2).sum(axis=3).argmin(axis=2)
    return score(cloud[kept], basin[kept]), np.array([*map(score, clouds, nearest)])
