"""Clouds of which it is known whether they have basins: to measure how often the test of discreteness is right."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from mechanism.hypotheses.mixtures import Floats

LEAST_OF_ALL = 0.1
"""The smallest basin has this share of the points, and 8 of them."""

TURNS = 8
"""Points in each conversation of the clouds that come in conversations."""


class Cloud(NamedTuple):
    """Points [n, d], the conversation of each (None: each stands alone), and how many basins they fall in."""

    points: Floats
    groups: list[int] | None
    basins: int


Maker = Callable[[np.random.Generator, int, int], Floats]


def _turn(dice: np.random.Generator, d: int) -> Floats:
    return np.linalg.qr(dice.normal(size=(d, d)))[0]


def _shape(dice: np.random.Generator, d: int, ratio: float) -> Floats:
    return np.asarray(np.exp(dice.uniform(0, np.log(ratio), d))[:, None] * _turn(dice, d))


def _gaussian(dice: np.random.Generator, n: int, d: int) -> Floats:
    return np.asarray(dice.normal(size=(n, d)) @ _shape(dice, d, 3))


def _elongated(dice: np.random.Generator, n: int, d: int) -> Floats:
    scale = np.ones(d)
    scale[0] = dice.uniform(5, 20)
    return np.asarray(dice.normal(size=(n, d)) * scale @ _turn(dice, d))


def _box(dice: np.random.Generator, n: int, d: int) -> Floats:
    return np.asarray(dice.uniform(-1, 1, (n, d)) @ _shape(dice, d, 4))


def _ball(dice: np.random.Generator, n: int, d: int) -> Floats:
    points = dice.normal(size=(n, d))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return np.asarray(points * dice.random((n, 1)) ** (1 / d))


def _exponential(dice: np.random.Generator, n: int, d: int) -> Floats:
    return np.asarray(dice.exponential(size=(n, d)) @ _turn(dice, d))


def _lognormal(dice: np.random.Generator, n: int, d: int) -> Floats:
    return np.asarray(np.exp(0.8 * dice.normal(size=(n, d))) @ _turn(dice, d))


def _student(dice: np.random.Generator, n: int, d: int) -> Floats:
    return np.asarray(_gaussian(dice, n, d) / np.sqrt(dice.chisquare(3, (n, 1)) / 3))


def _laplace(dice: np.random.Generator, n: int, d: int) -> Floats:
    return np.asarray(dice.laplace(size=(n, d)) @ _turn(dice, d))


def _banana(dice: np.random.Generator, n: int, d: int) -> Floats:
    points = dice.normal(size=(n, d))
    if d > 1:
        points[:, 1] = 0.5 * points[:, 1] + dice.uniform(0.3, 1) * (points[:, 0] ** 2 - 1)
    return np.asarray(points @ _turn(dice, d))


def _bow(dice: np.random.Generator, n: int, d: int, angle: float) -> Floats:
    if d == 1:
        return _box(dice, n, d)
    places = dice.uniform(0, angle, n)
    points = dice.normal(size=(n, d)) * dice.uniform(0.05, 0.2)
    points[:, 0] += np.cos(places)
    points[:, 1] += np.sin(places)
    return np.asarray(points @ _turn(dice, d))


def _arc(dice: np.random.Generator, n: int, d: int) -> Floats:
    return _bow(dice, n, d, np.pi * dice.uniform(0.5, 1.5))


def _ring(dice: np.random.Generator, n: int, d: int) -> Floats:
    return _bow(dice, n, d, 2 * np.pi)


def _blend(dice: np.random.Generator, n: int, d: int) -> Floats:
    corners = dice.normal(size=(3, d))
    corners *= 4 / np.linalg.norm(corners, axis=1, keepdims=True)
    return np.asarray(dice.dirichlet(np.ones(3), n) @ corners + 0.3 * dice.normal(size=(n, d)))


def _conversations(dice: np.random.Generator, n: int, d: int) -> Floats:
    own = dice.normal(size=(n // TURNS + 1, d))[np.arange(n) // TURNS]
    share = dice.uniform(0.2, 0.8)
    return np.asarray((np.sqrt(share) * own + np.sqrt(1 - share) * dice.normal(size=(n, d))) @ _shape(dice, d, 3))


CONTINUA: Mapping[str, Maker] = {
    "gaussian": _gaussian,
    "elongated": _elongated,
    "box": _box,
    "ball": _ball,
    "exponential": _exponential,
    "lognormal": _lognormal,
    "student": _student,
    "laplace": _laplace,
    "banana": _banana,
    "arc": _arc,
    "ring": _ring,
    "blend": _blend,
    "conversations": _conversations,
}
"""Clouds without basins by kind, in d dimensions: Gaussians of any covariance, and one long axis; evenly filled boxes
and balls; skewed (exponential, lognormal); heavy-tailed (Student's t with 3 degrees of freedom, Laplace); bent
(bananas, arcs of 90 to 270 degrees, rings); blends of three corners; and points that lie together by conversation.
"""

BASINS = ("round", "box", "heavy", "skewed", "bent", "conversations")
"""Kinds of basins: Gaussians of unequal shapes; evenly filled; heavy-tailed (Student's t, 5 degrees of freedom);
exponential; bananas; and Gaussians whose points come in conversations that mostly stay, each a little aside.
"""


def continuum(kind: str, dice: np.random.Generator, n: int, d: int) -> Cloud:
    """A cloud without basins.

    >>> continuum("arc", np.random.default_rng(0), 60, 2).points.shape
    (60, 2)
    """
    points = CONTINUA[kind](dice, n, d)
    return Cloud(points, [i // TURNS for i in range(n)] if kind == "conversations" else None, 1)


def basins(kind: str, dice: np.random.Generator, n: int, d: int, count: int, apart: float) -> Cloud:
    """A cloud of so many basins, of unequal sizes and shapes. The nearest two are `apart` of their standard deviations
    along the line between them (the mean of both); others up to twelve times as far.

    >>> basins("round", np.random.default_rng(0), 60, 2, 3, 6.0).basins
    3
    """
    sizes = dice.dirichlet(np.full(count, 6.0))
    while sizes.min() < max(LEAST_OF_ALL, 8 / n):
        sizes = dice.dirichlet(np.full(count, 6.0))
    of = dice.permutation(np.searchsorted(np.cumsum(sizes)[:-1], (np.arange(n) + 0.5) / n))
    groups = None
    aside = np.zeros((n, d))
    if kind == "conversations":
        groups = [i // TURNS for i in range(n)]
        home = dice.permutation(
            np.searchsorted(np.cumsum(sizes)[:-1], (np.arange(n // TURNS + 1) + 0.5) / (n // TURNS))
        )
        home = np.minimum(home, count - 1)
        of = np.where(dice.random(n) < 0.8, home[np.array(groups)], of)
        aside = 0.5 * dice.normal(size=(n // TURNS + 1, d))[np.array(groups)]
    shapes = np.stack([_turn(dice, d) * np.exp(dice.uniform(np.log(0.6), 0, d)) for _ in range(count)])
    while True:
        centres = dice.normal(size=(count, d))
        distances = [
            _apart(centres[i], centres[j], shapes[i], shapes[j]) for i in range(count) for j in range(i)
        ]  # fmt: skip
        if max(distances) < 12 * min(distances):
            break
    centres *= apart / min(distances)
    noise = np.sqrt(0.8) * _noise("round", dice, n, d) + aside if groups else _noise(kind, dice, n, d)
    points = centres[of] + np.einsum("nij,nj->ni", shapes[of], noise)
    return Cloud(np.asarray(points @ _turn(dice, d)), groups, count)


def _noise(kind: str, dice: np.random.Generator, n: int, d: int) -> Floats:
    """Of unit variance, about."""
    points = dice.normal(size=(n, d))
    if kind == "box":
        return dice.uniform(-np.sqrt(3), np.sqrt(3), (n, d))
    if kind == "heavy":
        return np.asarray(points / np.sqrt(dice.chisquare(5, (n, 1)) / 3))
    if kind == "skewed":
        return np.asarray(dice.exponential(size=(n, d)) - 1)
    if kind == "bent" and d > 1:
        points[:, 1] = 0.6 * points[:, 1] + 0.5 * (points[:, 0] ** 2 - 1)
    return points


def _apart(one: Floats, two: Floats, first: Floats, second: Floats) -> float:
    length = float(np.linalg.norm(one - two))
    way = (one - two) / length
    return length / float((np.linalg.norm(first.T @ way) + np.linalg.norm(second.T @ way)) / 2)
