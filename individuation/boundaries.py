"""How a count hangs on where persona regions are bounded: a barcode of counts over the places that a bound might have.

A count changes only where a bound passes the coordinate of a turn. Between two such places it is constant; a long
stretch is a robust count.
"""

from __future__ import annotations

import math
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
from traces.labelling import STATED, added_by_default, axis_values, labelling_names, regions_of, spaces_of
from traces.stages import ASSISTANT, StageTable
from traces.together import prefixes
from traces.vocabulary import Space

MOST_PLACES = 400
_FARTHEST = 1e12


@dataclass(frozen=True)
class Boundary:
    """One end of a region's range on an axis, and the ends of other regions at the same place, which move along.

    `recordings`: the positions of the recordings that draw it there; `prefix`: their name where another recording has a
    space of the same name that is drawn otherwise.
    """

    space: str
    axis: str
    at: float
    ends: tuple[tuple[str, str], ...]
    """(region, "low" or "high")."""
    recordings: tuple[int, ...] = (0,)
    prefix: str = ""

    def __str__(self) -> str:
        regions = " | ".join(region for region, _ in self.ends)
        space = f"{self.prefix}{self.space}"
        return f"{space}.{self.axis} between {regions}" if len(self.ends) > 1 else f"{space}.{regions}.{self.axis}"


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

    `places`: single places whose count is that of no stretch beside them: ends of the interval, and coordinates that
    the bound lies on. `exact`: whether every coordinate between was tried, not a sample of them. `plausible`: whether
    the interval is the one that is taken where none is named (see `plausible_interval`).
    """

    boundary: Boundary
    low: float
    high: float
    stretches: tuple[Stretch, ...]
    places: tuple[tuple[float, int], ...] = ()
    samples: tuple[tuple[float, int], ...] = ()
    exact: bool = True
    plausible: bool = False

    @property
    def range(self) -> CountRange:
        """The least and the greatest count."""
        counts = [stretch.count for stretch in self.stretches]
        counts += [count for _, count in (*self.places, *self.samples)]
        return CountRange(min(counts), max(counts), self.exact)


def boundaries(recordings: Sequence[Facts], labelling: str | None) -> list[Boundary]:
    """Every finite bound of the regions that a labelling goes by.

    Equal bounds of neighbours are one boundary, and so are equal ones of several recordings.
    """
    drawn: dict[tuple[str, str, float, tuple[tuple[str, str], ...]], list[int]] = {}
    spaces_named: dict[str, list[Space]] = {}
    for number, facts in enumerate(recordings):
        for name, space in _spaces(facts, labelling).items():
            ends_at: dict[tuple[str, float], list[tuple[str, str]]] = {}
            for region, ranges in space.regions.items():
                for axis, ends in ranges.items():
                    for end, value in zip(("low", "high"), ends, strict=True):
                        if value is not None:
                            ends_at.setdefault((axis, value), []).append((region, end))
            for (axis, value), found in ends_at.items():
                drawn.setdefault((name, axis, value, tuple(found)), []).append(number)
            spaces_named.setdefault(name, []).append(space)
    names = prefixes(recordings)
    alike = {name: len({str(space.regions) for space in spaces}) == 1 for name, spaces in spaces_named.items()}
    return [
        Boundary(name, axis, at, ends, tuple(where), "" if alike[name] else f"{'+'.join(names[n] for n in where)}:")
        for (name, axis, at, ends), where in drawn.items()
    ]


def named_boundary(recordings: Sequence[Facts], labelling: str | None, name: str) -> Boundary:
    """The boundary that `SPACE.REGION.AXIS` names; with `.low` or `.high` where the region has two ends, and after
    `TRACE:` where several recordings draw it at different places.

    Raises `TraceError`.
    """
    named = [
        (boundary, f"{boundary.space}.{region}.{boundary.axis}", end)
        for boundary in boundaries(recordings, labelling)
        for region, end in boundary.ends
    ]
    fitting = [
        (boundary, plain, end)
        for boundary, plain, end in named
        if name in (plain, f"{plain}.{end}", f"{boundary.prefix}{plain}", f"{boundary.prefix}{plain}.{end}")
    ]
    if len(fitting) == 1:
        return fitting[0][0]
    if fitting:
        ways = [f"{boundary.prefix}{plain}.{end}" for boundary, plain, end in fitting]
        found = (
            f"{name} has two ends" if len({end for *_, end in fitting}) > 1 else f"{name} is drawn in several places"
        )
        raise TraceError("--vary", found, " or ".join(ways))
    known = list(dict.fromkeys(f"{boundary.prefix}{plain}" for boundary, plain, _ in named))
    raise UnknownNameError("--vary", "region bound", name, known)


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
    if not (math.isfinite(high - low) and max(abs(low), abs(high)) <= _FARTHEST):
        raise TraceError(
            "--vary", f"the interval is {match[2]}..{match[3]}", f"numbers between -{_FARTHEST:g} and {_FARTHEST:g}"
        )
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
        elsewhere = moved(recordings, labelling, boundary, at)
        found = view.rule(_relabelled(stages, elsewhere, labelling, boundary), readings).count
        return 0 if found is None else found

    stretches: list[Stretch] = []
    for left, right in pairwise(edges):
        found = count((left + right) / 2)
        if stretches and stretches[-1].count == found:
            stretches[-1] = replace(stretches[-1], high=right)
        else:
            stretches.append(Stretch(left, right, found))
    single = sorted({*edges, *([boundary.at] if low < boundary.at < high else [])})
    places = [
        (at, found)
        for at in single
        if (found := count(at)) not in {stretch.count for stretch in stretches if stretch.low <= at <= stretch.high}
    ]
    samples: list[tuple[float, int]] = []
    if step is not None:
        asked = low + step * np.arange(round((high - low) / step + 1e-9) + 1)
        samples = [(at, count(at)) for at in asked[asked <= high + 1e-9 * abs(step)].tolist()]
    return Barcode(boundary, low, high, tuple(stretches), tuple(places), tuple(samples), exact)


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
    return [
        _moved(facts, labelling, boundary, at) if number in boundary.recordings else facts
        for number, facts in enumerate(recordings)
    ]


def _relabelled(
    stages: StageTable, recordings: Sequence[Facts], labelling: str | None, boundary: Boundary
) -> StageTable:
    """The same stages in the regions that recordings give them; links and all else do not hang on regions, and nor do
    the regions of recordings that do not go by the boundary.
    """
    region = stages.region.copy()
    for number in boundary.recordings:
        found = regions_of(recordings[number], labelling)
        codes = np.array([*(stages.regions.names.index(name) for name in found.names), -1], np.int32)
        mine = stages.recording == number
        region[mine] = codes[found.of_turn[stages.turn[mine]]]
    return replace(stages, region=region)


def _moved(facts: Facts, labelling: str | None, boundary: Boundary, at: float) -> Facts:
    spaces = _spaces(facts, labelling)
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
        return added_by_default(facts) is None
    return labelling in facts.spaces or labelling == STATED


def _spaces(facts: Facts, labelling: str | None) -> dict[str, Space]:
    """The spaces that a labelling goes by in a recording, by name."""
    known = labelling is None or labelling in labelling_names(facts)
    return dict(spaces_of(facts, labelling)) if known else {}


def _coordinates(recordings: Sequence[Facts], labelling: str | None, boundary: Boundary) -> Floats:
    """The coordinates of assistant turns on a boundary's axis."""
    found = []
    for number in boundary.recordings:
        facts = recordings[number]
        space = _spaces(facts, labelling)[boundary.space]
        column = axis_values(facts, boundary.space, space, boundary.axis)
        models = [key in models_named(facts.models, space.model) for key in facts.models]
        mine = (facts.turns.role == ASSISTANT) & np.array(models, np.bool_)[facts.turns.model]
        found.append(column[mine & ~np.isnan(column)])
    return np.concatenate(found) if found else np.empty(0)
