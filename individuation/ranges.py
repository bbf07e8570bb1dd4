"""How a count hangs on the readings chosen: the count under every admissible combination of them.

Most readings make no difference on most traces (no branch: nothing to read about branches). Combinations that cannot
differ are counted once, so that the range is exact and still quick to find.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, pairwise, product

import numpy as np

from rules.readings import Value
from rules.view import View
from traces.errors import TraceError
from traces.facts import Floats
from traces.stages import REBUILD, UNKNOWN, StageTable

Progress = Callable[[str, int, int], None]
"""Told of long work: what is gone through, how many of them are done, and of how many."""

_MOST_BOUNDS = 64
_LEAST_WORK = 1500
"""What a count takes on a trace of no size at all, in stages."""
MOST_WORK = 1_000_000
"""Stages times counts that are spent on a range without being asked for one: a fraction of a second."""

_FEWEST = 3
_TELLING = ("reconstruction", "recurrence", "user_turns", "edits", "branching", "outside", "weights", "unknown_cache")
"""Which readings are changed first where not all can be."""


@dataclass(frozen=True)
class CountRange:
    """The least and the greatest count found. `complete`: whether every admissible combination was tried."""

    low: int
    high: int
    complete: bool = True

    def __str__(self) -> str:
        return f"{self.low:,}-{self.high:,}" + ("" if self.complete else " at least")

    def including(self, other: CountRange) -> CountRange:
        """The range over both.

        >>> str(CountRange(1, 2).including(CountRange(2, 5, complete=False)))
        '1-5 at least'
        """
        return CountRange(min(self.low, other.low), max(self.high, other.high), self.complete and other.complete)


@dataclass(frozen=True)
class Mover:
    """What one reading does to the count: the counts with each of its values, all else as chosen, and the most that
    it moves the count on any combination of the others.
    """

    reading: str
    counts: Mapping[Value, int | None]
    most: int

    @property
    def moves(self) -> bool:
        """Whether it ever moves the count."""
        return self.most > 0


@dataclass(frozen=True)
class OverReadings:
    """The counts of a view over combinations of readings."""

    count: int | None
    range: CountRange | None
    low_at: Mapping[str, Value]
    high_at: Mapping[str, Value]
    movers: tuple[Mover, ...]
    admissible: int
    """How many combinations the view's readings allow; of a bound the values that can differ here."""
    counted: int
    """How many of them can differ on this trace, and were counted."""


def silent(what: str, done: int, of: int) -> None:
    """Progress that nobody asked for."""


def over_readings(
    view: View,
    stages: StageTable,
    chosen: Mapping[str, Value],
    most: int = MOST_WORK,
    progress: Progress = silent,
    known: int | None = None,
) -> OverReadings:
    """Count under every admissible combination of a view's readings.

    `most`: stages times combinations that may be counted. Beyond it one reading at a time is changed from those chosen,
    and only some of them if that is too many as well. `known`: the count on the readings chosen, where it is at hand.

    >>> from rules.registry import VIEWS
    >>> from traces.file import facts_from_data
    >>> turns = [{"role": "user", "model": "m", "server": "a"}, {"role": "assistant", "server": "b"}]
    >>> world = {"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": turns}}}
    >>> found = over_readings(VIEWS["virtual-instance"], StageTable.of(facts_from_data(world)),
    ...     VIEWS["virtual-instance"].complete({}))
    >>> str(found.range), [mover.reading for mover in found.movers if mover.moves], found.counted
    ('1-2', ['reconstruction'], 2)
    """
    options = {name: values(view, stages, name, chosen) for name in chosen}
    each = max(len(stages), _LEAST_WORK)
    # Three of four combinations may come to the same (`_key`), so that this many can still be too many.
    listed = math.prod(map(len, options.values())) * each <= 4 * most
    everything = list(_admissible(view, options)) if listed else list(_one_at_a_time(view, options, chosen))
    distinct = {_key(view, chosen): dict(chosen)} | {_key(view, c): c for c in reversed(everything)}
    whole = (
        listed
        and len(distinct) * each <= most
        and all(len(_measured(stages, name)) <= _MOST_BOUNDS for name in _MEASURED if name in options)
    )
    if not whole:
        some = {_key(view, c): c for c in _one_at_a_time(view, options, chosen)}
        distinct = dict(islice(some.items(), max(_FEWEST, most // each)))
    counts: dict[tuple[Value, ...], int | None] = {} if known is None else {_key(view, chosen): known}
    for key, combination in distinct.items():
        if key not in counts:
            counts[key] = view.rule(stages, combination).count
        progress("readings", len(counts), len(distinct))
    found = {key: count for key, count in counts.items() if count is not None}
    changed = {key: sum(distinct[key][name] != value for name, value in chosen.items()) for key in found}
    low = min(found, key=lambda key: (found[key], changed[key]), default=None)
    high = min(found, key=lambda key: (-found[key], changed[key]), default=None)
    return OverReadings(
        count=counts[_key(view, chosen)],
        range=CountRange(found[low], found[high], whole) if low is not None and high is not None else None,
        low_at={} if low is None else distinct[low],
        high_at={} if high is None else distinct[high],
        movers=tuple(_mover(view, name, options[name], chosen, counts, everything) for name in chosen),
        admissible=_all_admissible(view, options),
        counted=len(counts),
    )


def values(view: View, stages: StageTable, name: str, chosen: Mapping[str, Value]) -> list[Value]:
    """The values of a reading that can make a difference on a trace, that which was chosen first."""
    reading = next(reading for reading in view.readings if reading.name == name)
    every: list[Value] = list(reading.values) if reading.values else _bounds(stages, name)
    if not _matters(view, stages, name):
        every = []
    return [chosen[name], *(value for value in every if value != chosen[name])]


_MEASURED: dict[str, Callable[[StageTable], Floats]] = {
    "max_drift": lambda stages: stages.drift[stages.own_kind == REBUILD],
    "least_connectedness": lambda stages: stages.own_kl,
}
"""What is measured of links, and bounded by a reading."""


def _measured(stages: StageTable, name: str) -> Floats:
    """What the reading of that name bounds, each value once, from the least."""
    asked, kept = ("measured", name), stages.worked_out
    if asked not in kept:
        every = _MEASURED[name](stages)
        kept[asked] = np.unique(every[~np.isnan(every)])
    found: Floats = kept[asked]
    return found


def _bounds(stages: StageTable, name: str) -> list[Value]:
    """Bounds that tell measured links apart.

    The most that there may be: infinity, each value but the largest, and 0. The least that there must be: 0, a round
    number between each two values, and one above all.
    """
    known = name if name in _MEASURED else "max_drift"
    measured = _measured(stages, known)
    if len(measured) > _MOST_BOUNDS:
        measured = np.unique(np.quantile(measured, np.linspace(0, 1, _MOST_BOUNDS), method="lower"))
    if known == "least_connectedness":
        return [0.0, *(round_between(low, high) for low, high in pairwise([*measured.tolist(), math.inf]))]
    bounds = [math.inf, *reversed(measured[:-1].tolist())]
    return bounds if not len(measured) or measured[0] <= 0 else [*bounds, 0.0]


def round_between(low: float, high: float) -> float:
    """The number above one and at most another that has the fewest digits.

    >>> round_between(0.0123, 0.0456), round_between(0.0517, math.inf), round_between(0.0, 0.003)
    (0.02, 0.06, 0.001)
    """
    if not low:
        return 1.0 if math.isinf(high) else float(f"{10.0 ** math.floor(math.log10(high)):.1g}")
    for digits in range(17):
        step = 10.0 ** (math.floor(math.log10(low)) - digits)
        for steps in (round(low / step), round(low / step) + 1):
            found = float(f"{steps * step:.{digits + 1}g}")
            if low < found <= high:
                return found
    return high


def readings_that_can_differ(view: View, stages: StageTable, chosen: Mapping[str, Value]) -> dict[str, list[Value]]:
    """For each reading of a view its other values, as far as they can make a difference on a trace."""
    return {name: values(view, stages, name, chosen)[1:] for name in chosen}


def _matters(view: View, stages: StageTable, name: str) -> bool:
    """Whether a reading can make a difference; where the view declares nothing, any can."""
    if view.declaration is None:
        return True
    if view.declaration.uninstantiated:
        # How many regions there are does not hang on which are entered.
        return False
    kinds = np.bincount(stages.own_kind[stages.own_kind >= 0], minlength=UNKNOWN + 1) if len(stages) else [0] * 5
    match name:
        case "reconstruction":
            return bool(kinds[REBUILD] or kinds[UNKNOWN])
        case "unknown_cache":
            return bool(kinds[UNKNOWN])
        case "max_drift":
            return bool(((stages.own_kind == REBUILD) & (stages.drift > 0)).any())
        case "least_connectedness":
            return bool(len(_measured(stages, name)))
        case "edits":
            return bool((stages.edited & (stages.own >= 0)).any())
        case "branching":
            return stages.branches
        case "outside":
            inside = stages.region[stages.assistant] >= 0
            return bool(inside.any() and not inside.all())
        case "user_turns":
            return bool((stages.region >= 0).any() and not stages.assistant.all())
        case "weights":
            return any(model.base is not None for model in stages.model_info.values())
        case _:
            return True


def _admissible(view: View, options: Mapping[str, list[Value]]) -> Iterator[dict[str, Value]]:
    for combination in product(*options.values()):
        candidate = dict(zip(options, combination, strict=True))
        try:
            yield view.complete(candidate)
        except TraceError:
            continue


def _all_admissible(view: View, options: Mapping[str, list[Value]]) -> int:
    every: dict[str, list[Value]] = {r.name: list(r.values) if r.values else options[r.name] for r in view.readings}
    settled = view.settled({})
    pairs = list(product(*(every.get(name, [settled[name]]) for name in ("recurrence", "branching"))))
    excluded = sum(pair == ("same", "overlap") for pair in pairs)
    return math.prod(map(len, every.values())) * (len(pairs) - excluded) // len(pairs)


def _one_at_a_time(
    view: View, options: Mapping[str, list[Value]], chosen: Mapping[str, Value]
) -> Iterator[dict[str, Value]]:
    yield dict(chosen)
    first = {name: place for place, name in enumerate(_TELLING)}
    for name in sorted(options, key=lambda name: first.get(name, len(first))):
        for value in options[name]:
            try:
                yield view.complete({**chosen, name: value})
            except TraceError:
                continue


def _key(view: View, readings: Mapping[str, Value]) -> tuple[Value, ...]:
    """The same for combinations that cannot differ: where nothing is rebuilt into the same mind, drift is idle; where
    rebuilds carry on, so do unknown caches.
    """
    settled = dict(readings)
    if view.declaration is not None and settled.get("reconstruction") == "new":
        settled.pop("max_drift", None)
    elif view.declaration is not None and settled.get("reconstruction") == "same":
        settled.pop("unknown_cache", None)
    return tuple(f"{name}={value}" for name, value in settled.items())


def _mover(
    view: View,
    name: str,
    listed: list[Value],
    chosen: Mapping[str, Value],
    counts: Mapping[tuple[Value, ...], int | None],
    everything: list[dict[str, Value]],
) -> Mover:
    by_rest: dict[tuple[Value, ...], list[int]] = {}
    for combination in everything:
        count = counts.get(_key(view, combination))
        if count is not None:
            rest = tuple(value for other, value in combination.items() if other != name)
            by_rest.setdefault(rest, []).append(count)
    return Mover(
        reading=name,
        counts={value: counts.get(_key(view, {**chosen, name: value})) for value in listed},
        most=max((max(found) - min(found) for found in by_rest.values()), default=0),
    )
