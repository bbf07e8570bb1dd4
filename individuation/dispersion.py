"""Coherence: how tightly the persona coordinates of a mind's assistant turns lie together (docs/desiderata.md)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from individuation.measures import Score
from individuation.memberships import Memberships

Floats = NDArray[np.float64]

NO_COORDINATES = "no coordinates were recorded on assistant turns"


@dataclass(frozen=True)
class AxisDispersion:
    """How one coordinate is spread over minds and within them. `spread` and `spread_within` are standard deviations in
    the probe's own unit: without a value where every mind has one turn, or where it is too large for a number.
    """

    axis: str
    turns: int
    minds: int
    spread: float | None
    spread_within: float | None
    share: float
    adjusted: float | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return dict(self.__dict__)


@dataclass(frozen=True)
class Coherence:
    """The mean over axes of `AxisDispersion.share`, and of `adjusted` where every axis has one."""

    share: Score
    adjusted: Score
    minds: int
    """How many minds have a turn with coordinates."""
    axes: tuple[AxisDispersion, ...] = ()

    @classmethod
    def none(cls, note: str) -> Coherence:
        """No coherence, and why."""
        return cls(Score(None, 0, note), Score(None, 0, note), 0)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            **self.share.to_dict(),
            "adjusted": self.adjusted.value,
            "minds": self.minds,
            "axes": [axis.to_dict() for axis in self.axes],
        }


def coherence(found: Memberships, axes: list[str], values: Floats) -> Coherence:
    """How much tighter coordinates lie within minds than over all turns that belong to one.

    `values` (float64 [stages, axes]): the coordinates of assistant stages, NaN where there is none. On each axis
    1 - W / T, with W and T the sums of squares about the means of minds and about the mean of all; adjusted
    1 - (W / (n - k)) / (T / (n - 1)) for n turns of k minds. A turn that several minds share counts in each.
    """
    here = values[found.stage]
    turns = ~np.isnan(here)
    if not turns.any():
        return Coherence.none("no assistant turn of its minds has coordinates")
    spread = [_dispersion(name, found.mind[turns[:, a]], here[turns[:, a], a]) for a, name in enumerate(axes)]
    varying = tuple(axis for axis in spread if axis is not None)
    minds = len(np.unique(found.mind[turns.any(axis=1)]))
    if not varying:
        alone = int(turns.any(axis=1).sum()) == 1
        note = (
            "a single turn has coordinates" if alone else "the coordinates do not vary: there is nothing to tell apart"
        )
        return Coherence(Score(None, 0, note), Score(None, 0, note), minds)
    number = max(axis.turns for axis in varying)
    adjusted = [axis.adjusted for axis in varying if axis.adjusted is not None]
    return Coherence(
        share=Score(sum(axis.share for axis in varying) / len(varying), number),
        adjusted=Score(sum(adjusted) / len(adjusted), number)
        if len(adjusted) == len(varying)
        else Score(None, number, "every mind has a single turn with coordinates"),
        minds=minds,
        axes=varying,
    )


def of_order_one(value: Floats) -> tuple[Floats, int]:
    """Values divided by a power of two, which loses no digits, so that their squares are neither nothing nor endless;
    and its exponent.

    >>> of_order_one(np.array([3.0, -12.0]))
    (array([ 0.1875, -0.75  ]), 4)
    """
    exponent = int(np.frexp(np.abs(value).max())[1])
    return np.ldexp(value, -exponent), exponent


def _in_its_unit(spread: float, exponent: int) -> float | None:
    try:
        return math.ldexp(spread, exponent)
    except OverflowError:
        return None


def _dispersion(axis: str, mind: NDArray[np.int64], value: Floats) -> AxisDispersion | None:
    """None where the coordinate does not vary."""
    if not len(value) or value.min() == value.max():
        return None
    value, exponent = of_order_one(value)
    # From one of the values, so that what lies far from zero loses no digits.
    value = value - value[0]
    _, group = np.unique(mind, return_inverse=True)
    size = np.bincount(group)
    n, k = len(value), len(size)
    about_minds = value - (np.bincount(group, value) / size)[group]
    within, total = float((about_minds**2).sum()), float(((value - value.mean()) ** 2).sum())
    if k == 1:
        # The same sum, rounded in another way.
        within = total
    free = n - k
    return AxisDispersion(
        axis=axis,
        turns=n,
        minds=k,
        spread=_in_its_unit((total / (n - 1)) ** 0.5, exponent),
        spread_within=_in_its_unit((within / free) ** 0.5, exponent) if free else None,
        share=1 - within / total,
        adjusted=1 - (within / free) / (total / (n - 1)) if free else None,
    )
