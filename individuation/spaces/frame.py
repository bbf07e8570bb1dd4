"""What the panels of a picture of a space have in common: frame, margins, markers and dashes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
_MARGIN = 1.16


def framed(at: Axes, ink: dict[str, str]) -> None:
    """Ground, grid and ticks."""
    at.set_facecolor(ink["ground"])
    at.grid(color=ink["grid"], linewidth=0.6)
    at.set_axisbelow(True)
    at.tick_params(colors=ink["muted"], labelcolor=ink["ink"])
    for side in ("left", "bottom"):
        at.spines[side].set_color(ink["faint"])


def roomy(values: Any) -> tuple[float, float]:
    """Limits that leave a margin around values."""
    if not len(values):
        return -1.0, 1.0
    low, high = float(np.min(values)), float(np.max(values))
    middle, half = (low + high) / 2, max((high - low) / 2, 1e-6)
    return middle - half * _MARGIN, middle + half * _MARGIN
