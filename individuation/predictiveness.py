"""Predictiveness: how well a view's minds predict the coordinates of turns held out, against how many it posits.

After Goldstein & Lederman 2025: of two interpretations the one that predicts better for its complexity is the better
one. The model is the plainest there is: on each axis every mind has a mean of its own, and all share one variance. The
formulas are in docs/desiderata.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from individuation.dispersion import of_order_one
from individuation.measures import Score
from traces.stages import StageTable

Rows = NDArray[np.int64]
Floats = NDArray[np.float64]

LEAST_TURNS = 8
"""With fewer turns than these on an axis, nothing is predicted on it."""

MOST_ROTATED = 5_000_000
"""Turns times axes times rotations; of longer conversations evenly spaced rotations are taken, not all."""

AS_GOOD = 1e-9
"""Mean log densities that lie less than this apart (nats per turn) differ by rounding only, and count as equal."""


@dataclass(frozen=True)
class Predictiveness:
    """How much better than one mind a view's minds predict. Log densities are means per turn, in nats.

    `error`: the standard error of `gain`, as if turns were independent, which they are not. `minds`: how many minds
    have a turn with coordinates. `floored`: how many predictions rest on a variance below what the data resolve.
    """

    gain: Score
    error: float | None
    log_density: float | None
    one_mind: float | None
    bic_gain: Score
    bic: float | None
    rotation: Score
    rotations: int
    turns: int
    minds: int
    floored: int

    @classmethod
    def none(cls, note: str, turns: int = 0) -> Predictiveness:
        """No predictiveness, and why."""
        nothing = Score(None, 0, note)
        return cls(nothing, None, None, None, nothing, None, nothing, 0, turns, 0, 0)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            **self.gain.to_dict(),
            "error": self.error,
            "log_density": self.log_density,
            "one_mind": self.one_mind,
            "bic": self.bic,
            "bic_gain": self.bic_gain.to_dict(),
            "rotation": {**self.rotation.to_dict(), "rotations": self.rotations},
            "turns": self.turns,
            "minds": self.minds,
            "floored": self.floored,
        }


@dataclass(frozen=True, eq=False, repr=False)
class Turns:
    """The assistant turns that are predicted.

    `stage` and `conversation`: int64 [turns]. `values`: float64 [turns, axes], NaN where there is none, about a middle
    value of each axis and in units of 2 to the power of `exponent` (int64 [axes]). `floor`: float64 [axes], the least
    variance.
    """

    axes: list[str]
    stage: Rows
    conversation: Rows
    values: Floats
    exponent: Rows
    floor: Floats

    @classmethod
    def of(cls, stages: StageTable, axes: list[str], values: Floats) -> Turns:
        """From the coordinates of assistant stages (float64 [stages, axes]).

        Axes that do not vary, or have too few turns, are left out. The floor is that of rounding: values that are
        known to steps of h have a variance of h**2 / 12 at the least; h is the least difference between two of them,
        but no less than what a double can tell apart at the size of the largest.
        """
        used = [axis for axis in range(values.shape[1]) if _can_be_predicted(values[:, axis])]
        chosen = values[:, used]
        stage = np.flatnonzero(~np.isnan(chosen).all(axis=1)) if used else np.empty(0, np.int64)
        here, exponents, floors = np.empty((len(stage), len(used))), [], []
        for axis in range(len(used)):
            column = chosen[stage, axis]
            there = ~np.isnan(column)
            known, exponent = of_order_one(column[there])
            step = max(float(np.diff(np.unique(known)).min()), np.finfo(np.float64).eps)
            here[:, axis] = np.nan
            # From a middle value, so that what lies far from zero loses no digits.
            here[there, axis] = known - np.median(known)
            exponents.append(exponent)
            floors.append(step**2 / 12)
        names = [axes[axis] for axis in used]
        conversation = stages.conversation[stage].astype(np.int64)
        return cls(names, stage, conversation, here, np.array(exponents, np.int64), np.array(floors))

    def __len__(self) -> int:
        return len(self.stage)

    @property
    def units(self) -> float:
        """What the units of `values` add to the sum of the log densities of all turns."""
        return -math.log(2) * float(((~np.isnan(self.values)).sum(axis=0) * self.exponent).sum())

    @cached_property
    def alone(self) -> Floats:
        """The log density of each value under one mind (float64 [turns, axes], 0 where there is no value)."""
        return np.stack([self._alone(axis) for axis in range(len(self.axes))], axis=1)

    def _alone(self, axis: int) -> Floats:
        there = np.flatnonzero(~np.isnan(self.values[:, axis]))
        density = np.zeros(len(self))
        density[there] = _held_out(self.values[there, axis], np.zeros(len(there), np.int64), self.floor[axis])[0]
        return density

    def densities(self, mind: Rows) -> tuple[Floats, int]:
        """The log density of each turn (float64 [turns]), predicted by its mind's other turns, and how many values
        were predicted with the floor for a variance. `mind`: int64 [turns], -1 for none.
        """
        total, floored = np.zeros(len(self)), 0
        for axis, floor in enumerate(self.floor.tolist()):
            value = self.values[:, axis]
            mine = np.flatnonzero(~np.isnan(value) & (mind >= 0))
            density = self.alone[:, axis].copy()
            if len(mine):
                found, low = _held_out(value[mine], mind[mine], floor)
                able = ~np.isnan(found)
                density[mine[able]] = found[able]
                floored += low
            total += density
        return total, floored

    def bic(self, mind: Rows) -> float | None:
        """The Bayesian information criterion of a mean for each mind and axis and a variance for each axis; turns of no
        mind have a mean together. None where there are fewer than two turns for each mean.
        """
        total = -2 * self.units
        for axis, floor in enumerate(self.floor.tolist()):
            value = self.values[:, axis]
            there = ~np.isnan(value)
            about, size = _about_means(value[there], mind[there] + 1)
            n, k = int(there.sum()), int((size > 0).sum())
            if n < 2 * k:
                return None
            squares = float(about.sum())
            variance = max(squares / n, floor)
            total += n * math.log(2 * math.pi * variance) + squares / variance + (k + 1) * math.log(n)
        return total

    def rotations(self) -> Rows:
        """By how many turns to rotate; all there are, or as many evenly spaced ones as there is time for."""
        longest = int(np.bincount(self.conversation).max(initial=0))
        most = max(20, MOST_ROTATED // max(1, self.values.size))
        return np.unique(np.linspace(1, longest - 1, min(most, longest - 1)).round().astype(np.int64))

    def rotated(self, mind: Rows, by: int) -> Rows:
        """The minds of turns, moved along their conversations by so many turns; what falls off the end comes back at
        the beginning.
        """
        _, first, own = np.unique(self.conversation, return_index=True, return_inverse=True)
        size = np.bincount(own)
        return mind[first[own] + (np.arange(len(self)) - first[own] + by) % size[own]]


def predictiveness(turns: Turns, mind: Rows) -> Predictiveness:
    """How well minds predict; `mind` (int64 [stages]) is -1 for a stage in none.

    Each turn is predicted from all others: by the other turns of its mind, or, where it has none, by all of them. A
    Gaussian whose mean and variance are estimated predicts by Student's t. Deterministic. Complexity: n in the turns
    for each rotation.
    """
    if not len(turns):
        return Predictiveness.none(f"fewer than {LEAST_TURNS} assistant turns have coordinates on an axis that varies")
    mine = mind[turns.stage]
    alone = turns.alone.sum(axis=1)
    density, floored = turns.densities(mine)
    gains = density - alone
    gain = float(gains.mean())
    one, many = turns.bic(np.zeros(len(turns), np.int64)), turns.bic(mine)
    rotation, tried = _rotation(turns, mine, float(density.mean()))
    return Predictiveness(
        gain=Score(gain, len(turns)),
        error=float(gains.std(ddof=1)) / math.sqrt(len(turns)),
        log_density=float(density.mean()) + turns.units / len(turns),
        one_mind=float(alone.mean()) + turns.units / len(turns),
        bic_gain=Score(None, len(turns), "there are fewer than two turns for each mind")
        if one is None or many is None
        else Score(one - many, len(turns)),
        bic=many,
        rotation=rotation,
        rotations=tried,
        turns=len(turns),
        minds=len(np.unique(mine[mine >= 0])),
        floored=floored,
    )


def _can_be_predicted(column: Floats) -> bool:
    known = column[~np.isnan(column)]
    return len(known) >= LEAST_TURNS and bool(known.min() < known.max())


def _rotation(turns: Turns, mind: Rows, reached: float) -> tuple[Score, int]:
    changes = (mind[1:] != mind[:-1]) & (turns.conversation[1:] == turns.conversation[:-1])
    if not changes.any():
        return Score(None, 0, "no mind begins or ends within a conversation, so rotation changes nothing"), 0
    rotations = turns.rotations()
    means = [float(turns.densities(turns.rotated(mind, by))[0].mean()) for by in rotations.tolist()]
    as_good = sum(mean > reached - AS_GOOD for mean in means)
    # What was found counts as one of those that could have been.
    return Score((1 + as_good) / (1 + len(means)), 1 + len(means)), len(means)


def _about_means(value: Floats, group: Rows) -> tuple[Floats, Rows]:
    """Squared distances to the means of groups, and how large the groups are."""
    size = np.bincount(group)
    mean = np.bincount(group, value) / np.maximum(size, 1)
    return (value - mean[group]) ** 2, size


def _held_out(value: Floats, mind: Rows, floor: float) -> tuple[Floats, int]:
    """The log density of each value given all others, NaN where its mind has no other or the others leave no degree of
    freedom; and how many rest on the floor.
    """
    squares, size = _about_means(value, mind)
    n = size[mind]
    able = n > 1
    # Without a value that has company in its mind, as many minds are left, and one value less.
    free = len(value) - 1 - int((size > 0).sum())
    if free < 1 or not able.any():
        return np.full(len(value), np.nan), 0
    others = np.maximum(n - 1, 1)
    away = squares * (n / others) ** 2
    left = np.maximum(squares.sum() - squares * n / others, 0) / free
    low = able & (left < floor)
    scale = np.maximum(left, floor) * (1 + 1 / others)
    constant = math.lgamma((free + 1) / 2) - math.lgamma(free / 2) - 0.5 * math.log(free * math.pi)
    density = constant - 0.5 * np.log(scale) - (free + 1) / 2 * np.log1p(away / (free * scale))
    return np.where(able, density, np.nan), int(low.sum())
