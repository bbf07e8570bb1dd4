"""Regions as clusters: a Gaussian mixture fitted to the coordinates of turns, its number chosen by BIC (§3.3).

Which persona a turn was in plays no part in the fit. Components between which the density has no valley are one region:
BIC takes several normal components for one cluster that is not normal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mechanism.regions.gaussians import SHAPES, Floats, Gaussians, Shape, fitted, log_sum
from traces.errors import TraceError, quoted

VALLEY = 0.6
"""Two components are two regions where the density between them falls below this share of the lower peak, both that of
the mixture and that of the points themselves."""

DOUBTFUL = 6.0
"""A mixture whose BIC is larger than the least by no more has no strong evidence against it (Kass & Raftery 1995,
*Bayes Factors*)."""

LEAST = 8
"""A region is fitted to at least so many points."""

_MOST = 12
_STEPS = 65
_PATIENCE = 2  # so many mixtures of one component more may be worse before no more are tried


class Candidate(NamedTuple):
    """A mixture that was tried. `bic` is None where a component had too few points."""

    components: int
    shape: Shape
    bic: float | None


@dataclass(frozen=True, eq=False)
class Mixture:
    """Regions of a persona space as a Gaussian mixture: `probabilities` says how probable each is at a point.

    `of_component` says for each component of `gaussians` the number of its region. `candidates`: all mixtures that
    were tried. `points`: how many it was fitted to.
    """

    axes: tuple[str, ...]
    regions: tuple[str, ...]
    gaussians: Gaussians
    of_component: tuple[int, ...]
    points: int
    seed: int
    candidates: tuple[Candidate, ...] = field(default=(), repr=False)

    def probabilities(self, points: Floats) -> Floats:
        """How probable each region is at points [n, axes], and last that it is none of them: [n, regions + 1].

        A point with NaN on an axis gets NaN.
        """
        known = np.isfinite(points).all(axis=1)
        found = np.full((len(points), len(self.regions) + 1), np.nan)
        dense = self.gaussians.log_densities(points[known])
        belonging = np.exp(dense - log_sum(dense)[:, None])
        found[known] = 0.0
        for component, region in enumerate((*self.of_component, len(self.regions))):
            found[known, region] += belonging[:, component]
        return found

    def labels(self, points: Floats) -> NDArray[np.int64]:
        """The number of the most probable region of each point; -1 for none, and where a coordinate is missing."""
        chances = self.probabilities(points)
        best = np.where(np.isnan(chances).any(axis=1), -1, np.nan_to_num(chances).argmax(axis=1))
        return np.where(best == len(self.regions), -1, best)

    def centres(self) -> Floats:
        """The mean of each region [regions, axes]."""
        return np.stack([self.moments(region)[0] for region in range(len(self.regions))])

    def moments(self, region: int) -> tuple[Floats, Floats]:
        """Mean [axes] and covariance [axes, axes] of a region, over its components."""
        own = np.array(self.of_component) == region
        weights = self.gaussians.weights[own] / self.gaussians.weights[own].sum()
        means = self.gaussians.means[own]
        mean: Floats = weights @ means
        away = means - mean
        covariance: Floats = np.einsum("k,kij->ij", weights, self.gaussians.covariances[own])
        covariance = covariance + (weights[:, None] * away).T @ away
        return mean, covariance

    def named(self, names: Sequence[str]) -> Mixture:
        """The same regions under other names."""
        return replace(self, regions=tuple(names))

    def to_dict(self) -> dict[str, Any]:
        """The mixture for JSON; `of_dict` reads it back to the same numbers."""
        gaussians = self.gaussians
        return {
            "axes": list(self.axes), "regions": list(self.regions), "shape": gaussians.shape,
            "weights": gaussians.weights.tolist(), "means": gaussians.means.tolist(),
            "covariances": gaussians.covariances.tolist(), "noise": gaussians.noise,
            "log_uniform": gaussians.log_uniform, "of_component": list(self.of_component), "points": self.points,
            "seed": self.seed, "candidates": [list(each) for each in self.candidates],
        }  # fmt: skip

    @classmethod
    def of_dict(cls, told: Mapping[str, Any], where: str = "mixture") -> Mixture:
        """Raises `TraceError` for what `to_dict` does not write."""
        try:
            weights, means, covariances = (np.array(told[name], float) for name in ("weights", "means", "covariances"))
            uniform = float(told["noise"]), float(told["log_uniform"])
            gaussians = Gaussians(told["shape"], weights, means, covariances, *uniform)
            axes, regions = tuple(told["axes"]), tuple(told["regions"])
            candidates = tuple(Candidate(*each) for each in told.get("candidates", ()))
            found = cls(
                axes, regions, gaussians, tuple(told["of_component"]), int(told["points"]), int(told["seed"]),
                candidates,
            )  # fmt: skip
            found._check()
        except (KeyError, TypeError, ValueError, np.linalg.LinAlgError) as error:
            wanted = "a mixture as `individuate space regions` writes it"
            raise TraceError(where, f"its mixture is damaged ({type(error).__name__}: {error})", wanted) from None
        return found

    def _check(self) -> None:
        gaussians, count, axes = self.gaussians, len(self.of_component), len(self.axes)
        shapes = gaussians.weights.shape, gaussians.means.shape, gaussians.covariances.shape
        if shapes != ((count,), (count, axes), (count, axes, axes)) or gaussians.shape not in SHAPES:
            raise ValueError(f"shapes {shapes} for {count} components on {axes} axes")
        if set(self.of_component) != set(range(len(self.regions))) or len(set(self.regions)) != len(self.regions):
            raise ValueError("components and regions do not fit together")
        if not (gaussians.weights > 0).all() or not math.isclose(gaussians.weights.sum() + gaussians.noise, 1):
            raise ValueError("the weights do not add up to one")
        np.linalg.cholesky(gaussians.covariances)


def fit_mixture(
    points: Floats,
    axes: Sequence[str],
    *,
    number: int | None = None,
    most: int = _MOST,
    shapes: Sequence[Shape] = SHAPES,
    noise: bool = True,
    starts: int = 4,
    seed: int = 0,
) -> Mixture:
    """A Gaussian mixture fitted to points [n, axes], as regions called region-1, region-2, ..., the largest first.

    Of one to `most` components (fewer, once two more in a row made it worse), with covariances of each of the `shapes`,
    that with the least BIC is taken, or, of those that are hardly worse (`DOUBTFUL`), that with the fewest components.
    Components with no valley between them are one region. `number` sets the number of regions instead. With `noise`, a
    uniform density over the box around the points takes outliers. Its weight is never less than that of one point more
    than there are, so that what lies far from all that was seen is in no region.

    Raises `TraceError` for too few points, or none that differ.

    >>> dice = np.random.default_rng(0)
    >>> points = np.concatenate([dice.normal(0, 1, (60, 2)), dice.normal(9, 1, (40, 2))])
    >>> found = fit_mixture(points, ("a", "b"), most=3)
    >>> found.regions, found.labels(np.array([[0.0, 0.0], [9.0, 9.0], [90.0, 0.0]])).tolist()
    (('region-1', 'region-2'), [0, 1, -1])
    """
    points = np.asarray(points, np.float64)
    least = max(LEAST, 2 * len(axes))
    _check_points(points, axes, least * (number or 1))
    # These matrices are small, and threads would only wait for one another.
    with threadpool_limits(1):
        tried = _tried(points, number, most, shapes, {"noise": noise, "starts": starts, "seed": seed, "least": least})
    sound = [(candidate.bic, at) for at, (candidate, _) in enumerate(tried) if candidate.bic is not None]
    if not sound:
        wanted = f"at least {least} points in each region: fewer regions, or more points"
        raise TraceError("regions", f"{number} regions cannot be told apart in {len(points)} points", wanted)
    candidates = (tried[at] for bic, at in sound if bic <= min(sound)[0] + DOUBTFUL)
    chosen, best = min(candidates, key=lambda each: (each[0].components, each[0].bic))
    assert best is not None  # a candidate with a BIC has a fit
    # The one that is taken is worth more starts than those that were only to be compared.
    with threadpool_limits(1):
        again = fitted(
            points, chosen.components, chosen.shape, noise=noise, starts=4 * starts, seed=seed + 1, least=least
        )
    if again is not None and again.bic(points) < best.bic(points):
        best = again
    gaussians = _with_least_noise(best, len(points))
    groups = list(range(len(gaussians.weights))) if number is not None else joined(gaussians, points)
    gaussians, of_component = _by_size(gaussians, groups)
    regions = tuple(f"region-{each + 1}" for each in range(max(of_component) + 1))
    return Mixture(
        tuple(axes), regions, gaussians, of_component, len(points), seed, tuple(candidate for candidate, _ in tried)
    )


def _tried(
    points: Floats, number: int | None, most: int, shapes: Sequence[Shape], how: Mapping[str, Any]
) -> list[tuple[Candidate, Gaussians | None]]:
    tried: list[tuple[Candidate, Gaussians | None]] = []
    for shape in shapes:
        best, worse = math.inf, 0
        for count in [number] if number is not None else range(1, most + 1):
            # The covariance of a single component is its own and that of all.
            alike: Shape = "full" if count == 1 and shape == "tied" and "full" not in shapes else shape
            if count == 1 and alike == "tied":
                continue
            found = fitted(points, count, alike, **how)
            bic = None if found is None else found.bic(points)
            tried.append((Candidate(count, alike, bic), found))
            worse = 0 if bic is not None and bic < best else worse + 1
            best = best if bic is None else min(best, bic)
            if worse == _PATIENCE:
                break
    return tried


def _check_points(points: Floats, axes: Sequence[str], least: int) -> None:
    if points.ndim != 2 or points.shape[1] != len(axes) or not np.isfinite(points).all():
        raise TraceError("regions", f"the points have the shape {list(points.shape)}", f"finite [n, {len(axes)}]")
    if len(points) < least:
        wanted = f"at least {least}: replies of more conversations"
        raise TraceError("regions", f"there are {len(points)} points to fit regions to", wanted)
    still = [axis for axis, extent in zip(axes, np.ptp(points, axis=0), strict=True) if not extent > 0]
    if still:
        raise TraceError("regions", f"all points are at one place on the axis {quoted(still[0])}", "points that differ")


def _with_least_noise(gaussians: Gaussians, points: int) -> Gaussians:
    noise = max(gaussians.noise, 1 / (points + 1))
    return replace(gaussians, noise=noise, weights=gaussians.weights * ((1 - noise) / float(gaussians.weights.sum())))


def joined(gaussians: Gaussians, points: Floats) -> list[int]:
    """For each component the number of its group: those with no valley between them belong together.

    A few normal components that stand for one flat or bent cluster have valleys that its points do not have.
    """
    count = len(gaussians.weights)
    group = list(range(count))
    for one, other in combinations(range(count), 2):
        if max(valley(gaussians, one, other), valley_of_points(gaussians, one, other, points)) >= VALLEY:
            group = [group[one] if each == group[other] else each for each in group]
    numbers = {each: number for number, each in enumerate(dict.fromkeys(group))}
    return [numbers[each] for each in group]


def valley(gaussians: Gaussians, one: int, other: int) -> float:
    """The least density on the way between two components, as a share of that of the lower end; 1: no valley.

    The way is the ridge on which all maxima of the two components' density lie (Ray & Lindsay 2005, *The topography of
    multivariate normal mixtures*); the density is that of all components.
    """
    inverse = [np.linalg.inv(gaussians.covariances[each]) for each in (one, other)]
    pulled = [inverse[at] @ gaussians.means[each] for at, each in enumerate((one, other))]
    steps = np.linspace(0, 1, _STEPS)[:, None, None]
    mixed = (1 - steps) * inverse[0] + steps * inverse[1]
    ridge = np.linalg.solve(mixed, (1 - steps[..., 0])[..., None] * pulled[0][:, None] + steps * pulled[1][:, None])
    return _lowest(np.exp(log_sum(gaussians.log_densities(ridge[..., 0])[:, :-1])))


def valley_of_points(gaussians: Gaussians, one: int, other: int, points: Floats) -> float:
    """The same for the points of two components on the line that tells these apart best (Fisher 1936), by a kernel
    estimate of their density there.
    """
    belonging = gaussians.log_densities(points).argmax(axis=1)
    apart = np.linalg.solve(
        gaussians.covariances[one] + gaussians.covariances[other], gaussians.means[other] - gaussians.means[one]
    )
    values = [points[belonging == each] @ apart for each in (one, other)]
    if min(map(len, values)) < 2:
        return 1.0
    both = np.concatenate(values)
    within = np.sqrt(sum(len(each) * each.var() for each in values) / len(both))
    if not within > 0:
        return 0.0
    places = np.linspace(float(values[0].mean()), float(values[1].mean()), _STEPS)
    width = 0.9 * within * len(both) ** -0.2
    return _lowest(np.exp(-0.5 * ((places[:, None] - both) / width) ** 2).sum(axis=1))


def _lowest(heights: Floats) -> float:
    """The lowest height between the highest on either side of it, as a share of the lower of these."""
    rising, falling = np.maximum.accumulate(heights), np.maximum.accumulate(heights[::-1])[::-1]
    return float((heights / np.minimum(rising, falling)).min())


def _by_size(gaussians: Gaussians, groups: Sequence[int]) -> tuple[Gaussians, tuple[int, ...]]:
    """Components sorted by the size of their regions, regions numbered in this order."""
    sizes = np.bincount(groups, weights=gaussians.weights)
    rank = {group: number for number, group in enumerate(np.argsort(-sizes, kind="stable").tolist())}
    order = sorted(range(len(groups)), key=lambda each: (rank[groups[each]], -gaussians.weights[each]))
    turned = replace(
        gaussians,
        weights=gaussians.weights[order],
        means=gaussians.means[order],
        covariances=gaussians.covariances[order],
    )
    return turned, tuple(rank[groups[each]] for each in order)
