"""Gaussian mixtures, many fitted at once: a test by simulation needs some hundred fits of small clouds.

What is told to people as regions is fitted by scikit-learn (`mechanism.regions`); these serve the test alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

Kind = Literal["spherical", "tied", "full"]
"""Spherical: a radius each; tied: one shape for all; full: a shape each."""

FLOOR = 1e-3
"""Of the cloud's mean variance: what is added to each component's, so that none shrinks to a single point."""

_STEPS, _LLOYD, _CLOSE = 40, 5, 5e-4


@dataclass(frozen=True)
class Mixtures:
    """A batch of fitted mixtures of k components in d dimensions.

    `weights` [batch, k], `means` [batch, k, d], `covariances` [batch, k, d, d], `likelihood` [batch]: the log
    likelihood of the fitted points, `n` how many these were.
    """

    kind: Kind
    weights: Floats
    means: Floats
    covariances: Floats
    likelihood: Floats
    n: int

    @property
    def k(self) -> int:
        """Components."""
        return int(self.weights.shape[1])

    def bic(self) -> Floats:
        """The Bayesian information criterion of each (Schwarz 1978); the lower, the better: [batch]."""
        d = self.means.shape[2]
        shapes = {"spherical": self.k, "tied": d * (d + 1) // 2, "full": self.k * d * (d + 1) // 2}[self.kind]
        return np.asarray((self.k * d + shapes + self.k - 1) * np.log(self.n) - 2 * self.likelihood)

    def one(self, index: int) -> Mixtures:
        """A batch of this one alone."""
        at = slice(index, index + 1)
        return Mixtures(
            self.kind, self.weights[at], self.means[at], self.covariances[at], self.likelihood[at], self.n
        )  # fmt: skip

    def joint(self, points: Floats) -> Floats:
        """Log density of each component times its weight, at points [n, d] or [batch, n, d]: [batch, n, k]."""
        return _joint(points, self.weights, self.means, self.covariances, self.kind)

    def density(self, points: Floats) -> Floats:
        """Log density of the mixtures: [batch, n]."""
        return _total(self.joint(points))

    def labels(self, points: Floats) -> NDArray[np.intp]:
        """The component that each point belongs to most probably: [batch, n]."""
        return np.asarray(self.joint(points).argmax(axis=2))


def fit(points: Floats, k: int, kind: Kind, seed: int, *, starts: int = 1, weights: Floats | None = None) -> Mixtures:
    """Mixtures of k components by expectation and maximisation (Dempster, Laird and Rubin 1977).

    `points` is [batch, n, d], a mixture for each, in float64 or (half the time) float32. It starts from k-means++
    (Arthur and Vassilvitskii 2007) and some rounds of k-means; of several `starts` the likeliest is kept. `weights`
    [batch, n]: how much each point counts.
    """
    best: Mixtures | None = None
    for start in range(starts):
        dice = np.random.default_rng([seed, start, k])
        shares = _divided(points, k, dice)
        found = _em(points, kind, shares if weights is None else shares * weights[:, :, None], weights)
        best = found if best is None else _likelier(best, found)
    if best is None:
        raise ValueError(f"{starts} starts")
    return best


def refit(points: Floats, mixture: Mixtures, weights: Floats) -> Mixtures:
    """Fits to the same points [n, d] under other weights [batch, n], each started from one mixture."""
    batch = weights.shape[0]
    joint = mixture.joint(points[None])
    shares = np.exp(joint - _total(joint)[:, :, None])
    spread = np.broadcast_to(points, (batch, *points.shape))
    return _em(spread, mixture.kind, shares * weights[:, :, None], weights)


def _em(points: Floats, kind: Kind, shares: Floats, weights: Floats | None) -> Mixtures:
    floor = np.maximum(FLOOR * points.var(axis=1).mean(axis=1), np.finfo(points.dtype).tiny)
    before = np.full(len(points), -np.inf)
    n = points.shape[1]
    for _ in range(_STEPS):
        parts = _maximised(points, shares, kind, floor)
        joint = _joint(points, *parts, kind)
        total = _total(joint)
        shares = np.exp(joint - total[:, :, None])
        if weights is not None:
            shares *= weights[:, :, None]
            total = total * weights
        now = total.sum(axis=1)
        if np.all(now - before < _CLOSE * n):
            break
        before = now
    return Mixtures(kind, *parts, now, n)


def _maximised(points: Floats, shares: Floats, kind: Kind, floor: Floats) -> tuple[Floats, Floats, Floats]:
    batch, _, d = points.shape
    k = shares.shape[2]
    held = shares.sum(axis=1) + 1e-9
    across = shares.transpose(0, 2, 1)
    means = across @ points / held[:, :, None]
    eye = floor[:, None, None, None] * np.eye(d, dtype=points.dtype)
    if kind == "spherical":
        squares = (across @ (points**2).sum(axis=2)[:, :, None])[:, :, 0] / held - (means**2).sum(axis=2)
        covariances = (np.maximum(squares, 0) / d)[:, :, None, None] * np.eye(d, dtype=points.dtype) + eye
    else:
        covariances = np.empty((batch, k, d, d), points.dtype)
        for c in range(k):
            centred = points - means[:, c, None]
            covariances[:, c] = (centred * shares[:, :, c, None]).transpose(0, 2, 1) @ centred
        if kind == "tied":
            shape = covariances.sum(axis=1, keepdims=True) / held.sum(axis=1)[:, None, None, None]
            covariances = np.broadcast_to(shape + eye, covariances.shape)
        else:
            covariances = covariances / held[:, :, None, None] + eye
    return held / held.sum(axis=1, keepdims=True), means, covariances


def _joint(points: Floats, weights: Floats, means: Floats, covariances: Floats, kind: Kind) -> Floats:
    d = means.shape[2]
    if points.ndim == 2:
        points = points[None]
    if kind == "spherical":
        variances = covariances[:, :, 0, 0]
        squares = (points**2).sum(axis=2)[:, :, None] + (means**2).sum(axis=2)[:, None]
        squares = np.maximum(squares - 2 * points @ means.transpose(0, 2, 1), 0) / variances[:, None]
        logs = d * np.log(variances)
    else:
        shapes = covariances[:, :1] if kind == "tied" else covariances
        roots = np.linalg.inv(np.linalg.cholesky(shapes)).swapaxes(2, 3)
        logs = -2 * np.log(np.diagonal(roots, axis1=2, axis2=3)).sum(axis=2)
        of = [0] * means.shape[1] if kind == "tied" else range(means.shape[1])
        squares = np.stack(
            [(((points - means[:, c, None]) @ roots[:, root]) ** 2).sum(axis=2) for c, root in enumerate(of)], axis=2
        )
    return np.asarray(np.log(weights)[:, None] - 0.5 * (squares + logs[:, None] + d * math.log(2 * math.pi)))


def _total(joint: Floats) -> Floats:
    top = joint.max(axis=2)
    return np.asarray(top + np.log(np.exp(joint - top[:, :, None]).sum(axis=2)))


def _divided(points: Floats, k: int, dice: np.random.Generator) -> Floats:
    batch, n, d = points.shape
    rows = np.arange(batch)
    centres = np.empty((batch, k, d), points.dtype)
    centres[:, 0] = points[rows, dice.integers(0, n, batch)]
    nearest = np.full((batch, n), np.inf, points.dtype)
    for c in range(1, k):
        nearest = np.minimum(nearest, ((points - centres[:, c - 1, None]) ** 2).sum(axis=2))
        heights = nearest.cumsum(axis=1)
        drawn = dice.random(batch) * heights[:, -1]
        centres[:, c] = points[rows, np.minimum((heights < drawn[:, None]).sum(axis=1), n - 1)]
    eye = np.eye(k, dtype=points.dtype)
    for _ in range(_LLOYD):
        distances = (centres**2).sum(axis=2)[:, None] - 2 * points @ centres.transpose(0, 2, 1)
        shares = eye[distances.argmin(axis=2)]
        held = shares.sum(axis=1)
        found = shares.transpose(0, 2, 1) @ points / np.maximum(held, 1)[:, :, None]
        centres = np.where(held[:, :, None] > 0, found, centres)
    return np.asarray(shares)


def _likelier(one: Mixtures, two: Mixtures) -> Mixtures:
    better = two.likelihood > one.likelihood
    return Mixtures(
        one.kind,
        np.where(better[:, None], two.weights, one.weights),
        np.where(better[:, None, None], two.means, one.means),
        np.where(better[:, None, None, None], two.covariances, one.covariances),
        np.where(better, two.likelihood, one.likelihood),
        one.n,
    )
