"""How a count hangs on where persona regions are bounded: a barcode of counts over the places that a bound might have.

A count changes only where a bound passes the coordinate of a turn. Between two such places it is constant; a long
stretch is a robust count.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from individuation.ranges import CountRange
from rules.readings import Value
from rules.view import View
from traces.errors import TraceError, UnknownNameError
from traces.facts import Facts, Floats
from traces.identity import models_named
from traces.labelling import STATED, axis_values, labelling_names, regions_of
from traces.stages import ASSISTANT, StageTable
from traces.vocabulary import Space

MOST_PLACES = 400


@dataclass(frozen=True)
class Boundary:
    """One end of a region's range on an axis, and the ends of other regions at the same place, which move along."""

    space: str
    axis: str
    at: float
    ends: tuple[tuple[str, str], ...]
    """(region, "low" or "high")."""

    def __str__(self) -> str:
        regions = " | ".join(region for region, _ in self.ends)
        several = len(self.ends) > 1
        return f"{self.space}.{self.axis} between {regions}" if several else f"{self.space}.{regions}.{self.axis}"


@dataclass(frozen=True)
class Stretch:
    """An interval of places of a bound over which the count is constant."""

    low: float
    high: float
    count: int

    @property
    def length(self) -> float:
        """Its length in units of the axis."""
        return self.high - self.low


@dataclass(frozen=True)
class Barcode:
    """The counts of a view as one boundary moves from `low` to `high`, and at places asked for.

    `exact`: whether every coordinate between was tried, not a sample of them. `plausible`: whether the interval is the
    one that is taken where none is named (see `plausible_interval`).
    """

    boundary: Boundary
    low: float
    high: float
    stretches: tuple[Stretch, ...]
    samples: tuple[tuple[float, int], ...] = ()
    exact: bool = True
    plausible: bool = False

    @property
    def range(self) -> CountRange:
        """The least and the greatest count."""
        counts = [stretch.count for stretch in self.stretches] + [count for _, count in self.samples]
        return CountRange(min(counts), max(counts), self.exact)


def boundaries(recordings: Sequence[Facts], labelling: str | None) -> list[Boundary]:
    """Every finite bound of the regions that a labelling goes by; equal bounds of neighbours are one boundary."""
    found: dict[tuple[str, str, float], list[tuple[str, str]]] = {}
    for space_name, space in _spaces(recordings, labelling).items():
        for region, ranges in space.regions.items():
            for axis, ends in ranges.items():
                for end, value in zip(("low", "high"), ends, strict=True):
                    if value is not None:
                        found.setdefault((space_name, axis, value), []).append((region, end))
    return [Boundary(space, axis, at, tuple(ends)) for (space, axis, at), ends in found.items()]


def named_boundary(recordings: Sequence[Facts], labelling: str | None, name: str) -> Boundary:
    """The boundary that `SPACE.REGION.AXIS` names; `SPACE.REGION.AXIS.low` or `.high` where the region has two ends.

    Raises `TraceError`.
    """
    every = boundaries(recordings, labelling)
    named = [
        (boundary, f"{boundary.space}.{region}.{boundary.axis}", end)
        for boundary in every
        for region, end in boundary.ends
    ]
    fitting = [(boundary, end) for boundary, plain, end in named if name in (plain, f"{plain}.{end}")]
    if len(fitting) == 1:
        return fitting[0][0]
    if fitting:
        raise TraceError("--vary", f"{name} has two ends", f"{name}.low or {name}.high")
    raise UnknownNameError("--vary", "region bound", name, [plain for _, plain, _ in named])


def parsed_vary(text: str) -> tuple[str, float, float, float | None]:
    """`SPACE.REGION.AXIS=LO..HI`, or `=LO..HI:STEP` for places one by one. Raises `TraceError`.

    >>> parsed_vary("axis.aura.assistant=-60..0:10")
    ('axis.aura.assistant', -60.0, 0.0, 10.0)
    """
    number = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
    match = re.fullmatch(rf"(.+)=({number})\.\.({number})(?::({number}))?", text)
    if match is None:
        raise TraceError("--vary", f'it is "{text}"', "SPACE.REGION.AXIS=LO..HI or SPACE.REGION.AXIS=LO..HI:STEP")
    low, high, step = float(match[2]), float(match[3]), None if match[4] is None else float(match[4])
    if low > high:
        low, high = high, low
    if step is not None and (step <= 0 or (high - low) / step > 10_000):
        raise TraceError("--vary", f"the step is {step:g}", "a number > 0 that gives at most 10,000 places")
    return match[1], low, high, step


def barcode(
    view: View,
    stages: StageTable,
    recordings: Sequence[Facts],
    labelling: str | None,
    readings: Mapping[str, Value],
    boundary: Boundary,
    low: float,
    high: float,
    step: float | None = None,
    most: int = MOST_PLACES,
) -> Barcode:
    """The counts of a view as a boundary moves from `low` to `high`. `stages`: those of the recordings as they are.

    Where more than `most` coordinates lie between, that many places are tried, evenly among them.
    """
    values = _coordinates(recordings, labelling, boundary)
    inner = np.unique(values[(values > low) & (values < high)])
    exact = len(inner) <= most
    if not exact:
        inner = inner[np.linspace(0, len(inner) - 1, most).astype(int)]
    edges = [low, *inner.tolist(), high]

    def count(at: float) -> int:
        found = view.rule(_relabelled(stages, moved(recordings, labelling, boundary, at), labelling), readings).count
        return 0 if found is None else found

    stretches: list[Stretch] = []
    for left, right in pairwise(edges):
        found = count((left + right) / 2)
        if stretches and stretches[-1].count == found:
            stretches[-1] = replace(stretches[-1], high=right)
        else:
            stretches.append(Stretch(left, right, found))
    samples: list[tuple[float, int]] = []
    if step is not None:
        places = low + step * np.arange(round((high - low) / step + 1e-9) + 1)
        samples = [(at, count(at)) for at in places[places <= high + 1e-9 * abs(step)].tolist()]
    return Barcode(boundary, low, high, tuple(stretches), tuple(samples), exact)


def plausible_interval(
    recordings: Sequence[Facts], labelling: str | None, boundary: Boundary
) -> tuple[float, float] | None:
    """Where else a boundary might plausibly lie: as far to either side as leaves three quarters of the turns that are
    there where they are.

    From the upper quartile of the assistant turns below it to the lower quartile of those above it, or None where there
    are none on a side. A convention of this program, not of the paper: other intervals are for `--vary`.
    """
    values = _coordinates(recordings, labelling, boundary)
    below, above = values[values < boundary.at], values[values >= boundary.at]
    if not len(below) or not len(above):
        return None
    low, high = float(np.quantile(below, 0.75)), float(np.quantile(above, 0.25))
    return (min(low, boundary.at), max(high, boundary.at))


def moved(recordings: Sequence[Facts], labelling: str | None, boundary: Boundary, at: float) -> list[Facts]:
    """The same recordings with a boundary elsewhere. Only the interpretation changes; no fact does."""
    return [_moved(facts, labelling, boundary, at) for facts in recordings]


def _relabelled(stages: StageTable, recordings: Sequence[Facts], labelling: str | None) -> StageTable:
    """The same stages in the regions that recordings give them; links and all else do not hang on regions."""
    region = np.full(len(stages), -1, np.int32)
    for number, facts in enumerate(recordings):
        if labelling is None or labelling in labelling_names(facts):
            found = regions_of(facts, labelling)
            codes = np.array([*(stages.regions.names.index(name) for name in found.names), -1], np.int32)
            mine = stages.recording == number
            region[mine] = codes[found.of_turn[stages.turn[mine]]]
    return replace(stages, region=region)


def _moved(facts: Facts, labelling: str | None, boundary: Boundary, at: float) -> Facts:
    spaces = _spaces([facts], labelling)
    if boundary.space not in spaces:
        return facts
    space = spaces[boundary.space]
    regions = {region: dict(ranges) for region, ranges in space.regions.items()}
    for region, end in boundary.ends:
        low, high = regions[region][boundary.axis]
        # A range that would be turned round holds nothing, which a range cannot say: it shrinks to a point.
        if end == "low":
            regions[region][boundary.axis] = (at, high if high is None else max(high, at))
        else:
            regions[region][boundary.axis] = (low if low is None else min(low, at), at)
    changed = {**spaces, boundary.space: space.model_copy(update={"regions": regions})}
    if _is_own(facts, labelling):
        return replace(facts, spaces={**facts.spaces, **changed})
    name = labelling if labelling is not None else next(iter(facts.labellings))
    return replace(facts, labellings={**facts.labellings, name: changed})


def _is_own(facts: Facts, labelling: str | None) -> bool:
    """Whether a labelling goes by the trace's own spaces."""
    if labelling is None:
        return bool(facts.spaces) or not facts.labellings or STATED in labelling_names(facts)
    return labelling in facts.spaces or labelling == STATED


def _spaces(recordings: Sequence[Facts], labelling: str | None) -> dict[str, Space]:
    """The spaces that a labelling goes by, by name."""
    found: dict[str, Space] = {}
    for facts in recordings:
        if _is_own(facts, labelling):
            found |= {name: space for name, space in facts.spaces.items() if labelling is None or labelling == name}
        elif labelling is None or labelling in facts.labellings:
            found |= facts.labellings[labelling if labelling is not None else next(iter(facts.labellings))]
    return found


def _coordinates(recordings: Sequence[Facts], labelling: str | None, boundary: Boundary) -> Floats:
    """The coordinates of assistant turns on a boundary's axis."""
    found = []
    for facts in recordings:
        space = _spaces([facts], labelling).get(boundary.space)
        if space is not None:
            column = axis_values(facts, boundary.space, space, boundary.axis)
            models = [key in models_named(facts.models, space.model) for key in facts.models]
            mine = (facts.turns.role == ASSISTANT) & np.array(models, np.bool_)[facts.turns.model]
            found.append(column[mine & ~np.isnan(column)])
    return np.concatenate(found) if found else np.empty(0)
