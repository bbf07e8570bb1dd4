"""Clouds without basins, drawn to be as like a given cloud as they can: what a test for basins is held against.

Where points come in groups (turns of one conversation), those of a group lie closer together than others. A cloud
without basins, drawn in groups, looks clumped as well; so these are drawn in groups of the same sizes, which lie
together to the same degree.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from mechanism.hypotheses.mixtures import Floats, Mixtures

Codes = NDArray[np.intp]

_EXTENT = 2.5
"""The length of a Gaussian's middle, in its standard deviations: its mass over the density at its peak."""


def togetherness(points: Floats, groups: Codes) -> float:
    """The share of the variance that lies between groups (intraclass correlation, one-way), over all axes: 0 to 1."""
    counts = np.bincount(groups)
    n, held = len(points), len(counts)
    if held < 2 or held == n:
        return 0.0
    means = np.stack([np.bincount(groups, column) for column in points.T], axis=1) / counts[:, None]
    between = float((counts[:, None] * (means - points.mean(axis=0)) ** 2).sum()) / (held - 1)
    within = float(((points - means[groups]) ** 2).sum()) / (n - held)
    size = (n - float((counts**2).sum()) / n) / (held - 1)
    return float(np.clip((between - within) / max(between + (size - 1) * within, 1e-300), 0, 1))


def gaussian(points: Floats, draws: int, dice: np.random.Generator, groups: Codes | None = None) -> Floats:
    """Clouds of one Gaussian with the mean and covariance of the points: [draws, n, d]."""
    spread = np.atleast_2d(np.cov(points.T))
    root = np.linalg.cholesky(spread + 1e-9 * np.trace(spread) * np.eye(len(spread)))
    return np.asarray(points.mean(axis=0) + _normal(points, draws, dice, groups, points.shape[1]) @ root.T)


def filled(
    points: Floats,
    mixture: Mixtures,
    gaps: Sequence[tuple[int, int]],
    draws: int,
    dice: np.random.Generator,
    groups: Codes | None = None,
) -> Floats:
    """Clouds like a given one in their bends, lengths and tails, but for the gaps: [draws, n, d].

    `mixture` (a batch of one) describes the cloud in many small pieces; beside these, points are strewn along the line
    between the two components of each gap, as densely and as widely as in the denser of the two.
    """
    d = points.shape[1]
    weights, means = mixture.weights[0], mixture.means[0]
    roots = np.linalg.cholesky(mixture.covariances[0])
    radius = np.sqrt(np.trace(mixture.covariances[0], axis1=1, axis2=2) / d)
    dense = np.log(weights) - d * np.log(radius)
    pieces = [(c, c, c, float(weights[c])) for c in range(mixture.k)]
    for i, j in gaps:
        like = i if dense[i] > dense[j] else j
        length = float(np.linalg.norm(means[i] - means[j]))
        pieces.append((i, j, like, float(weights[like]) * length / (_EXTENT * float(radius[like]))))
    # Points of a group share their place on one long line through all pieces.
    axis = np.linalg.svd(means - means.mean(axis=0), full_matrices=False)[2][0]
    pieces.sort(key=lambda piece: float((means[piece[0]] + means[piece[1]]) @ axis))
    start, stop, like_of = (np.array([piece[column] for piece in pieces]) for column in range(3))
    held = np.array([piece[3] for piece in pieces])
    ends = np.cumsum(held)
    place = norm.cdf(_normal(points, draws, dice, groups, 1)[..., 0]) * ends[-1]
    at = np.minimum(np.searchsorted(ends, place), len(ends) - 1)
    rest = np.clip((ends[at] - place) / held[at], 0, 1)[..., None]
    cloud = (1 - rest) * means[start[at]] + rest * means[stop[at]]
    noise = _normal(points, draws, dice, groups, d)
    for piece in np.unique(like_of):
        here = like_of[at] == piece
        cloud[here] += noise[here] @ roots[piece].T
    return np.asarray(cloud)


def _normal(points: Floats, draws: int, dice: np.random.Generator, groups: Codes | None, width: int) -> Floats:
    own = dice.normal(size=(draws, len(points), width))
    if groups is None:
        return own
    together = togetherness(points, groups)
    common = dice.normal(size=(draws, int(groups.max()) + 1, width))
    return np.asarray(np.sqrt(together) * common[:, groups] + np.sqrt(1 - together) * own)
