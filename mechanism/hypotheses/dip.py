"""The dip test: are values on a line in one heap, or in more (Hartigan and Hartigan 1985)?"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Index = NDArray[np.intp]

LEAST = 4
"""Fewer values than this have no shape."""

_PROBABILITIES = (0.05, 0.25, 0.5, 0.75, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)
# Quantiles of sqrt(n) * dip of n uniform values, the likeliest of all single heaps to look like two; 20,000 draws
# each, by `benchmarks/discreteness.py --dip`.
_QUANTILES = {
    4: (0.25, 0.25, 0.25, 0.2884, 0.3151, 0.3755, 0.4136, 0.4442, 0.4629, 0.474, 0.4825, 0.4875),
    5: (0.2236, 0.2236, 0.2708, 0.3437, 0.3592, 0.3948, 0.4162, 0.4327, 0.439, 0.4427, 0.4455, 0.4464),
    6: (0.2041, 0.2406, 0.3018, 0.3547, 0.3655, 0.3896, 0.4036, 0.4391, 0.4725, 0.4939, 0.5206, 0.533),
    8: (0.2091, 0.2724, 0.3143, 0.348, 0.3564, 0.4047, 0.4392, 0.4728, 0.4917, 0.5082, 0.5301, 0.5526),
    10: (0.2265, 0.2771, 0.3084, 0.3605, 0.3747, 0.4124, 0.4413, 0.4756, 0.5023, 0.5272, 0.5551, 0.566),
    12: (0.2344, 0.2759, 0.3151, 0.3679, 0.3816, 0.4172, 0.4525, 0.4928, 0.5151, 0.5415, 0.5722, 0.5955),
    15: (0.2371, 0.2799, 0.3246, 0.3729, 0.3876, 0.427, 0.4598, 0.4979, 0.525, 0.55, 0.5914, 0.6083),
    20: (0.2355, 0.287, 0.3287, 0.3825, 0.397, 0.4364, 0.4703, 0.5123, 0.5404, 0.5679, 0.6006, 0.6306),
    30: (0.244, 0.2931, 0.3365, 0.3908, 0.4056, 0.4475, 0.4839, 0.5276, 0.558, 0.5853, 0.6139, 0.6407),
    50: (0.2498, 0.3006, 0.346, 0.4002, 0.4151, 0.4594, 0.4972, 0.5437, 0.5719, 0.6019, 0.628, 0.6612),
    100: (0.257, 0.3079, 0.3556, 0.4114, 0.4265, 0.4703, 0.5091, 0.5572, 0.5891, 0.6202, 0.6642, 0.6868),
    200: (0.2616, 0.3145, 0.3622, 0.4187, 0.4345, 0.4816, 0.5193, 0.5686, 0.5994, 0.6346, 0.6684, 0.6915),
    500: (0.2666, 0.3205, 0.3678, 0.4266, 0.4433, 0.4888, 0.5282, 0.5788, 0.6146, 0.6444, 0.683, 0.7061),
    1000: (0.2703, 0.3225, 0.3707, 0.4308, 0.4466, 0.4938, 0.534, 0.5846, 0.6141, 0.647, 0.6875, 0.7112)}  # fmt: skip


def dip(values: ArrayLike) -> float:
    """How far the distribution of values is from the nearest one with a single peak: the greatest difference between
    the two distribution functions, 1 / (2 n) at least and 1/4 at most.

    The nearest distribution is convex up to the peak and concave from there; the stretch that may hold the peak is
    narrowed down from both sides (the procedure of Hartigan 1985, AS 217).

    >>> dip([0.0, 0.01, 0.02, 1.0, 1.01, 1.02]) > dip([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    True
    """
    x = np.sort(np.asarray(values, float))
    n = len(x)
    if n < LEAST or x[0] == x[-1]:
        return 1 / (2 * max(n, 1))
    low, high, found = 0, n - 1, 1.0
    while True:
        under, over = _hull(x, low, high, 1), _hull(x, low, high, -1)
        below = _height(x, over, under) - under + 1
        above = over - _height(x, under, over) + 1
        if max(below.max(), above.max()) <= found:
            break
        if below.max() >= above.max():
            start = int(under[below.argmax()])
            end = int(over[np.searchsorted(over, start)])
        else:
            end = int(over[above.argmax()])
            start = int(under[np.searchsorted(under, end, side="right") - 1])
        left, right = np.arange(low, start + 1), np.arange(end, high + 1)
        if len(left) > 1:
            found = max(found, float((left - _height(x, under, left) + 1).max()))
        if len(right) > 1:
            found = max(found, float((_height(x, over, right) - right + 1).max()))
        if (start, end) == (low, high):
            break
        low, high = start, end
    return found / (2 * n)


def dip_p(value: float, n: int) -> float:
    """How probable a dip at least this large is for n values of a single heap, at most: for evenly spread values.

    Between the tabulated probabilities, and between the tabulated n, it is interpolated; the least p told is 0.0005.
    Fewer than four values tell nothing: 1.

    >>> round(dip_p(0.0702, 50), 2)
    0.05
    """
    if n < LEAST:
        return 1.0
    sizes = np.log(list(_QUANTILES))
    bounds = [np.interp(np.log(n), sizes, column) for column in np.array([*_QUANTILES.values()]).T]
    return float(1 - np.interp(value * np.sqrt(n), bounds, _PROBABILITIES, left=0.0, right=0.9995))


def _hull(x: Floats, low: int, high: int, turn: int) -> Index:
    """Corners of the greatest convex curve under (turn 1), or least concave curve over (-1), the points (x_i, i)."""
    corners: list[int] = []
    for i in range(low, high + 1):
        while len(corners) > 1:
            a, b = corners[-2], corners[-1]
            if turn * ((x[b] - x[a]) * (i - a) - (b - a) * (x[i] - x[a])) > 0:
                break
            corners.pop()
        corners.append(i)
    return np.array(corners)


def _height(x: Floats, corners: Index, index: Index) -> Floats:
    """Of the curve through the corners, at the points with these indices."""
    k = np.clip(np.searchsorted(corners, index, side="right") - 1, 0, len(corners) - 2)
    a, b = corners[k], corners[k + 1]
    width = x[b] - x[a]
    along = np.divide(x[index] - x[a], width, out=(index - a) / (b - a), where=width > 0)
    return np.asarray(a + (b - a) * along)
