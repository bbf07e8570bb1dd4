"""Which region a conversation is in, turn by turn, when a turn on the boundary is not to count as a new persona.

A region is left only for another that is probable enough (a Schmitt trigger on probabilities). Without it, noise around
a boundary counts as many persona changes, and each of them as a mind under instance-persona.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mechanism.regions.gaussians import Floats
from traces.errors import TraceError

ENTRY = 0.9
"""How probable another region has to be before it is entered, unless something else is said."""


def check_entry(entry: float) -> None:
    """Raises `TraceError` for a probability at which a region could be entered and be the less probable one."""
    if not 0.5 <= entry < 1:
        raise TraceError("hysteresis", f"the entry probability is {entry:g}", "at least 0.5, and less than 1")


def held(chances: Floats, before: Sequence[int], entry: float = ENTRY) -> NDArray[np.int64]:
    """The region of each turn, from chances [turns, regions + 1] (the last column: in none) and `before`, the row of
    the turn that each goes on from (-1: none), which is an earlier row. -1: no region.

    The first turn is in the most probable region. Each later one is where the one before it was, unless another region,
    or none, has at least the probability `entry`. A turn that was not read (NaN) stays where it was.

    >>> chances = np.array([[0.9, 0.1, 0.0], [0.4, 0.6, 0.0], [0.8, 0.2, 0.0], [0.0, 1.0, 0.0]])
    >>> held(chances, [-1, 0, 1, 2]).tolist(), chances.argmax(axis=1).tolist()
    ([0, 0, 0, 1], [0, 1, 0, 1])
    """
    check_entry(entry)
    outside = chances.shape[1] - 1
    states: list[int] = []
    for row, parent in enumerate(before):
        if parent >= row:
            raise ValueError("a turn goes on from a later one")
        known = not np.isnan(chances[row]).any()
        best = int(chances[row].argmax()) if known else outside
        if parent < 0:
            states.append(best)
        else:
            enters = known and float(chances[row, best]) >= entry
            states.append(best if enters else states[parent])
    found = np.array(states, np.int64)
    return np.where(found == outside, -1, found)
