"""Round numbers for axes."""

from __future__ import annotations

import math


def ticks(low: float, high: float, about: int) -> list[float]:
    """Some round numbers between two ends, both included; about so many.

    >>> ticks(-98.0, 0.5, 3), ticks(0, 46, 5), ticks(2.0, 2.0, 3)
    ([-75.0, -50.0, -25.0, 0.0], [0.0, 10.0, 20.0, 30.0, 40.0], [2.0])
    """
    span = high - low
    if not span > 0:
        return [low]
    rough = span / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if factor * power >= rough * 0.7)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(number * step, 10) + 0.0 for number in range(first, last + 1)]


def written(value: float) -> str:
    """A number as an axis has it: short, with a proper minus.

    >>> written(-63.9), written(12000.0), written(0.25), written(-0.0)
    ('−63.9', '12,000', '0.25', '0')
    """
    if value == 0:
        return "0"
    if abs(value) >= 1e6 or abs(value) < 1e-3:
        return f"{value:.3g}".replace("-", "−")
    text = f"{value:,.3f}".rstrip("0").rstrip(".") if "." in f"{value:,.3f}" else f"{value:,.0f}"
    return text.replace("-", "−")
