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


def share(successes: int, n: int) -> Estimate:
    """A proportion with its Wilson score interval (Wilson 1927).

    Raises `ValueError` for no observations.

    >>> str(share(9, 10))
    '0.9 (0.596 to 0.982)'
    """
    if n < 1:
        raise ValueError("a share of nothing")
    z = float(norm.ppf((1 + CONFIDENCE) / 2))
    p = successes / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # At the ends exactly: what is left of the two terms there is rounding.
    low = max(0.0, middle - half) if successes else 0.0
    high = min(1.0, middle + half) if successes < n else 1.0
    return Estimate(p, low, high, n, "Wilson, 95 %")


def mean(values: ArrayLike, *, groups: Sequence[Any] | None = None, seed: int = 0) -> Estimate:
    """A mean with a percentile bootstrap interval. NaN is left out.

    >>> estimate = mean([1.0, 2.0, 3.0, 4.0])
    >>> estimate.value, estimate.low < 2 < 3 < estimate.high
    (2.5, True)
    """
    data = np.asarray(values, float)
    kept = np.isfinite(data)
    data = data[kept]
    if not len(data):
        raise ValueError("a mean of nothing")
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
    dice = np.random.default_rng(seed)
    picks = [(dice.integers(0, len(a), len(a)), dice.integers(0, len(b), len(b))) for _ in range(RESAMPLES)]
    draws = a[np.array([of_a for of_a, _ in picks])].mean(axis=1) - b[np.array([of_b for _, of_b in picks])].mean(
        axis=1
    )
    return _estimate(float(a.mean() - b.mean()), draws, len(a) + len(b), min(len(a), len(b)))


def paired_difference(one: ArrayLike, two: ArrayLike, *, seed: int = 0) -> Estimate:
    """Mean of the differences of pairs."""
    return mean(np.asarray(one, float) - np.asarray(two, float), seed=seed)


def correlation(one: ArrayLike, two: ArrayLike, *, seed: int = 0) -> Estimate:
    """Pearson's r of pairs, with a percentile bootstrap interval.

    >>> correlation([1, 2, 3, 4], [2, 4, 6, 8.1]).value > 0.99
    True
    """
    pairs = np.stack([np.asarray(one, float), np.asarray(two, float)], axis=1)
    pairs = pairs[np.isfinite(pairs).all(axis=1)]

    def r(rows: NDArray[np.float64]) -> float:
        if (rows == rows[0]).all(axis=0).any():
            return math.nan
        # As numpy's corrcoef, in a fraction of its time.
        x, y = (rows - rows.mean(axis=0)).T
        return float(x @ y / (math.sqrt(x @ x) * math.sqrt(y @ y)))

    return bootstrap(r, pairs, seed=seed)


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
        draws = [statistic(rows[dice.integers(0, len(rows), len(rows))]) for _ in range(resamples)]
    else:
        of = [np.flatnonzero([group == each for group in groups]) for each in dict.fromkeys(groups)]
        units = len(of)
        draws = [
            statistic(rows[np.concatenate([of[pick] for pick in dice.integers(0, len(of), len(of))])])
            for _ in range(resamples)
        ]
    return _estimate(statistic(rows), np.array(draws), len(rows), units, groups is not None)


def permutation_p(one: ArrayLike, two: ArrayLike, *, seed: int = 0, permutations: int = RESAMPLES) -> float:
    """How probable a difference of means at least as large, either way, is if the two samples are of one kind.

    >>> permutation_p([0.0] * 20, [5.0] * 20) < 0.01
    True
    """
    a, b = np.asarray(one, float), np.asarray(two, float)
    both, dice = np.concatenate([a, b]), np.random.default_rng(seed)
    found = abs(float(a.mean() - b.mean()))
    hits = 0
    for _ in range(permutations):
        mixed = dice.permutation(both)
        hits += abs(float(mixed[: len(a)].mean() - mixed[len(a) :].mean())) >= found - 1e-12
    return (hits + 1) / (permutations + 1)


def _estimate(value: float, draws: NDArray[np.float64], n: int, units: int, grouped: bool = False) -> Estimate:
    if units < LEAST_RESAMPLED:
        return Estimate(value, None, None, n, f"no interval from fewer than {LEAST_RESAMPLED}")
    draws = draws[np.isfinite(draws)]
    how = f"bootstrap, 95 %{', whole groups' if grouped else ''}"
    if not len(draws):
        return Estimate(value, None, None, n, how)
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(value, float(low), float(high), n, how)
