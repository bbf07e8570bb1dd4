"""Gaussian components with a uniform noise component, fitted by expectation-maximisation.

scikit-learn fits the mixtures that this starts from; it has no noise component. A uniform density over the box around
the points takes what no component explains (Banfield & Raftery 1993, *Model-Based Gaussian and Non-Gaussian
Clustering*).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors

Floats = NDArray[np.float64]
Shape = Literal["full", "tied", "diag", "spherical"]

SHAPES: tuple[Shape, ...] = get_args(Shape)
"""How free the covariances are: each its own; one for all; without correlations; the same along every axis."""

_ROUNDS = 200
_PRECISION = 1e-5
_FLOOR = 1e-4  # of the variance of all points: no component is thinner
_DOUBTED = 0.05  # share of the points that noise starts with


@dataclass(frozen=True, eq=False)
class Gaussians:
    """`weights` [k], `means` [k, axes], `covariances` [k, axes, axes]; `noise` is the weight of the uniform density
    whose logarithm is `log_uniform`. All weights add up to one.
    """

    shape: Shape
    weights: Floats
    means: Floats
    covariances: Floats
    noise: float
    log_uniform: float

    @property
    def parameters(self) -> int:
        """How many numbers were free in the fit, the noise's weight among them where there is noise."""
        count, axes = self.means.shape
        free = {
            "full": count * axes * (axes + 1) // 2,
            "tied": axes * (axes + 1) // 2,
            "diag": count * axes,
            "spherical": count,
        }
        return int(count - 1 + (self.noise > 0) + count * axes + free[self.shape])

    def log_densities(self, points: Floats) -> Floats:
        """Of points [n, axes] under each component, weights included, and last under noise: [n, k + 1]."""
        found = np.empty((len(points), len(self.weights) + 1))
        # Of all components at once: scipy's checks of each would take longer than the sums.
        roots = np.linalg.inv(np.linalg.cholesky(self.covariances))
        scaled = (points[None] - self.means[:, None]) @ roots.transpose(0, 2, 1)
        heights = np.log(np.einsum("kii->ki", roots)).sum(axis=1) - 0.5 * self.means.shape[1] * np.log(2 * np.pi)
        found[:, :-1] = ((heights + np.log(self.weights))[:, None] - 0.5 * (scaled**2).sum(axis=2)).T
        found[:, -1] = np.log(self.noise) + self.log_uniform if self.noise > 0 else -np.inf
        return found

    def log_likelihood(self, points: Floats) -> float:
        """Of all points, in nats."""
        return float(log_sum(self.log_densities(points)).sum())

    def bic(self, points: Floats) -> float:
        """The Bayesian information criterion (Schwarz 1978): less is better."""
        return self.parameters * float(np.log(len(points))) - 2 * self.log_likelihood(points)


def log_sum(logs: Floats) -> Floats:
    """The logarithm of the sum of numbers with these logarithms [n, k]: [n].

    >>> log_sum(np.log([[1.0, 3.0], [0.5, 0.5]])).round(3).tolist()
    [1.386, 0.0]
    """
    highest = logs.max(axis=1)
    found: Floats = highest + np.log(np.exp(logs - highest[:, None]).sum(axis=1))
    return found


def fitted(
    points: Floats, count: int, shape: Shape, *, noise: bool, starts: int, seed: int, least: float
) -> Gaussians | None:
    """The best of the fits from several starts, by BIC; None where a component keeps fewer than `least` points in all.

    A start is a mixture that scikit-learn fits to all points or, where noise is allowed, to those that have near
    neighbours. Where noise is not worth the number that it takes, there is none.
    """
    if count * least > len(points) or len(points) <= points.shape[1]:
        return None
    floor = _FLOOR * points.var(axis=0)
    floor = np.where(floor > 0, floor, 1.0)
    found: list[tuple[float, Gaussians]] = []
    for sample in [points, _crowded(points)] if noise else [points]:
        begun = _started(sample, count, shape, starts, seed)
        if begun is None:
            continue
        for allowed in [False, True] if noise else [False]:
            gaussians, sizes = _improved(points, begun, shape, floor, allowed)
            if sizes.min() >= least:
                found.append((gaussians.bic(points), gaussians))
    return min(found, key=lambda fit: fit[0])[1] if found else None


def _crowded(points: Floats) -> Floats:
    """Without the twentieth whose neighbours are the farthest (Byers & Raftery 1998, in spirit)."""
    scaled = points / np.where(points.std(axis=0) > 0, points.std(axis=0), 1.0)
    near = min(len(points) - 1, max(3, points.shape[1] + 1))
    distances = NearestNeighbors(n_neighbors=near + 1).fit(scaled).kneighbors(scaled)[0][:, -1]
    return points[np.argsort(distances, kind="stable")[: len(points) - int(_DOUBTED * len(points))]]


def _started(points: Floats, count: int, shape: Shape, starts: int, seed: int) -> GaussianMixture | None:
    middle, scale = points.mean(axis=0), points.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    mixture = GaussianMixture(count, covariance_type=shape, n_init=starts, random_state=seed, reg_covar=_FLOOR)
    with warnings.catch_warnings():
        # What has not converged goes on below.
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            mixture.fit((points - middle) / scale)
        except ValueError:
            # Fewer distinct points than components.
            return None
    mixture.means_ = mixture.means_ * scale + middle
    mixture.covariances_ = _as_full(mixture.covariances_, count, points.shape[1], shape) * np.outer(scale, scale)
    return mixture


def _as_full(covariances: Floats, count: int, axes: int, shape: Shape) -> Floats:
    if shape == "tied":
        return np.repeat(covariances[None], count, axis=0)
    if shape == "diag":
        return np.stack([np.diag(each) for each in covariances])
    if shape == "spherical":
        return np.stack([np.eye(axes) * each for each in covariances])
    return covariances


def _improved(
    points: Floats, begun: GaussianMixture, shape: Shape, floor: Floats, noise: bool
) -> tuple[Gaussians, Floats]:
    extent = np.ptp(points, axis=0)
    log_uniform = -float(np.log(np.where(extent > 0, extent, 1.0)).sum())
    share = _DOUBTED if noise else 0.0
    now = Gaussians(shape, begun.weights_ * (1 - share), begun.means_, begun.covariances_, share, log_uniform)
    before, sizes = -np.inf, now.weights * len(points)
    for _ in range(_ROUNDS):
        dense = now.log_densities(points)
        total = log_sum(dense)
        belonging = np.exp(dense - total[:, None])
        sizes = belonging[:, :-1].sum(axis=0)
        if total.sum() - before < _PRECISION * len(points) or sizes.min() < 1:
            break
        before = float(total.sum())
        now = _maximised(points, belonging, shape, floor, log_uniform)
    return now, sizes


def _maximised(points: Floats, belonging: Floats, shape: Shape, floor: Floats, log_uniform: float) -> Gaussians:
    inside = belonging[:, :-1]
    sizes = inside.sum(axis=0)
    means = inside.T @ points / sizes[:, None]
    scatters = np.empty((len(sizes), points.shape[1], points.shape[1]))
    for number, mean in enumerate(means):
        away = points - mean
        scatters[number] = (inside[:, number, None] * away).T @ away
    if shape == "tied":
        covariances = np.repeat((scatters.sum(axis=0) / sizes.sum())[None], len(sizes), axis=0)
    else:
        covariances = scatters / sizes[:, None, None]
    if shape == "diag":
        covariances *= np.eye(points.shape[1])
    elif shape == "spherical":
        covariances = np.stack([np.eye(len(floor)) * np.trace(each) / len(floor) for each in covariances])
    covariances = covariances + np.diag(floor)
    weights = sizes / len(points)
    return Gaussians(shape, weights, means, covariances, float(max(0.0, 1 - weights.sum())), log_uniform)
