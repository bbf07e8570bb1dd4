"""Intervals and tests for what experiments measure. Torch-free; every random choice hangs on a seed.

Observations that come from one conversation are not independent: where `groups` is given, whole groups are resampled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from mechanism.outcome import Estimate

CONFIDENCE = 0.95
RESAMPLES = 2000
LEAST_RESAMPLED = 5
"""Of fewer observations, or groups of them, no interval is given: resampling a few shows less spread than there is, and
resampling one shows none."""


def share(
    successes: ArrayLike, n: int | None = None, *, groups: Sequence[Any] | None = None, seed: int = 0
) -> Estimate:
    """A proportion with its Wilson score interval (Wilson 1927). `successes`: how many of `n`, or whether each is one.

    `groups` has the group of each. Then whole groups are resampled, and at each end the interval reaches at least as
    far as Wilson's for as many observations as there are groups: where a few groups agree, resampling shows no spread,
    and where each is all or nothing, there are no more observations than groups.

    Raises `ValueError` for no observations.

    >>> str(share(9, 10))
    '0.9 (0.596 to 0.982)'
    >>> str(share([True] * 30, groups=[conversation for conversation in range(6) for _ in range(5)]))
    '1 (0.61 to 1)'
    >>> str(share([True] * 30, groups=[conversation for conversation in range(3) for _ in range(10)]))
    '1'
    """
    held = np.asarray(successes, float)
    n = held.size if n is None else n
    if n < 1:
        raise ValueError("a share of nothing")
    p = float(held.sum() / n)
    if groups is None:
        return Estimate(p, *_wilson(p, n), n, "Wilson, 95 %")
    among = mean(held, groups=groups, seed=seed)
    if among.low is None or among.high is None:
        return among
    low, high = _wilson(p, units := len(set(groups)))
    how = f"{among.how}, at least Wilson of {units}"
    return Estimate(p, min(low, among.low), max(high, among.high), n, how)


def _wilson(p: float, n: int) -> tuple[float, float]:
    z = float(norm.ppf((1 + CONFIDENCE) / 2))
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # At the ends exactly: what is left of the two terms there is rounding.
    return max(0.0, middle - half) if p > 0 else 0.0, min(1.0, middle + half) if p < 1 else 1.0


def mean(values: ArrayLike, *, groups: Sequence[Any] | None = None, seed: int = 0) -> Estimate:
    """A mean with a percentile bootstrap interval. NaN is left out; the mean of nothing is NaN, without an interval.

    >>> estimate = mean([1.0, 2.0, 3.0, 4.0, 5.0])
    >>> estimate.value, estimate.low < 2.5 < 3.5 < estimate.high
    (3.0, True)
    """
    data = np.asarray(values, float)
    kept = np.isfinite(data)
    data = data[kept]
    if not len(data):
        return _NOTHING
    sums, sizes = data, np.ones(len(data))
    if groups is not None:
        names: dict[Any, int] = {}
        chosen = [names.setdefault(g, len(names)) for g, keep in zip(groups, kept, strict=True) if keep]
        sums, sizes = np.bincount(chosen, data), np.bincount(chosen).astype(float)
    # What `bootstrap` draws, all at once.
    picks = np.random.default_rng(seed).integers(0, len(sums), (RESAMPLES, len(sums)))
    draws = sums[picks].sum(axis=1) / sizes[picks].sum(axis=1)
    return _estimate(float(data.mean()), draws, len(data), len(sums), groups is not None)


def difference(one: ArrayLike, two: ArrayLike, *, seed: int = 0) -> Estimate:
    """Mean of the first sample minus mean of the second, both resampled (percentile bootstrap)."""
    a, b = np.asarray(one, float), np.asarray(two, float)
    units = min(len(a), len(b))
    if not units:
        return _NOTHING
    dice = np.random.default_rng(seed)
    picks = [(dice.integers(0, len(a), len(a)), dice.integers(0, len(b), len(b))) for _ in range(_draws(units))]
    draws = np.array([a[of_a].mean() - b[of_b].mean() for of_a, of_b in picks])
    return _estimate(float(a.mean() - b.mean()), draws, len(a) + len(b), units)


def paired_difference(one: ArrayLike, two: ArrayLike, *, seed: int = 0) -> Estimate:
    """Mean of the differences of pairs."""
    return mean(np.asarray(one, float) - np.asarray(two, float), seed=seed)


def correlation(one: ArrayLike, two: ArrayLike, *, groups: Sequence[Any] | None = None, seed: int = 0) -> Estimate:
    """Pearson's r of pairs, with a percentile bootstrap interval. NaN is left out; r of nothing is NaN.

    >>> correlation([1, 2, 3, 4], [2, 4, 6, 8.1]).value > 0.99
    True
    """
    pairs = np.stack([np.asarray(one, float), np.asarray(two, float)], axis=1)
    known = np.isfinite(pairs).all(axis=1)
    pairs = pairs[known]
    if not len(pairs):
        return _NOTHING
    if groups is not None:
        groups = [group for group, keep in zip(groups, known, strict=True) if keep]

    def r(rows: NDArray[np.float64]) -> float:
        if (rows == rows[0]).all(axis=0).any():
            return math.nan
        # As numpy's corrcoef, in a fraction of its time.
        x, y = (rows - rows.mean(axis=0)).T
        # Very small numbers have squares that are 0.
        lengths = math.sqrt(x @ x) * math.sqrt(y @ y)
        return float(x @ y / lengths) if lengths else math.nan

    return bootstrap(r, pairs, groups=groups, seed=seed)


def bootstrap(
    statistic: Callable[[NDArray[np.float64]], float],
    rows: NDArray[np.float64],
    *,
    groups: Sequence[Any] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Estimate:
    """A statistic of rows with its percentile bootstrap interval; `groups` are resampled whole.

    Raises `ValueError` for no rows.
    """
    if not len(rows):
        raise ValueError("a statistic of nothing")
    dice, units = np.random.default_rng(seed), len(rows)
    if groups is None:
        draws = [statistic(rows[dice.integers(0, units, units)]) for _ in range(_draws(units, resamples))]
    else:
        of = [np.flatnonzero([group == each for group in groups]) for each in dict.fromkeys(groups)]
        units = len(of)
        draws = [
            statistic(rows[np.concatenate([of[pick] for pick in dice.integers(0, units, units)])])
            for _ in range(_draws(units, resamples))
        ]
    return _estimate(statistic(rows), np.array(draws), len(rows), units, groups is not None)


def sign_flip_p(differences: ArrayLike, *, seed: int = 0, flips: int = RESAMPLES) -> float:
    """How probable a mean of paired differences at least as large, either way, is if each might as well have had the
    other sign.

    >>> sign_flip_p([1.0] * 12) < 0.01, sign_flip_p([1.0, -1.0] * 6)
    (True, 1.0)
    """
    data = np.asarray(differences, float)
    data = data[np.isfinite(data)]
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], (flips, len(data)))
    hits = int((np.abs(signs @ data) >= abs(data.sum()) - 1e-12).sum())
    return (hits + 1) / (flips + 1)


def _draws(units: int, resamples: int = RESAMPLES) -> int:
    return resamples if units >= LEAST_RESAMPLED else 0


_NOTHING = Estimate(math.nan, None, None, 0, "of nothing")


def _estimate(value: float, draws: NDArray[np.float64], n: int, units: int, grouped: bool = False) -> Estimate:
    if units < LEAST_RESAMPLED:
        return Estimate(value, None, None, n, f"no interval from fewer than {LEAST_RESAMPLED}")
    draws = draws[np.isfinite(draws)]
    how = f"bootstrap, 95 %{', whole groups' if grouped else ''}"
    if not len(draws):
        return Estimate(value, None, None, n, how)
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(value, float(low), float(high), n, how)
