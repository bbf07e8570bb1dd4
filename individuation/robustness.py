"""How sure a count is: over readings, over region boundaries, and over the probabilities of regions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from individuation.boundaries import Barcode, barcode, named_boundary, parsed_vary
from individuation.chances import Distribution, distribution
from individuation.count_range import places_for, plausible_barcodes, with_chances
from individuation.criteria import find_view
from individuation.engine import Openable, Trace, open_trace
from individuation.html import preformatted
from individuation.ranges import CountRange, Mover, OverReadings, Progress, over_readings, silent
from rules.caveats import not_discrete
from rules.readings import Value
from rules.view import View

_WORK_ON_READINGS = 160_000_000
_WORK_ON_BOUNDARIES = 60_000_000
"""Stages times counts that are spent where somebody asks: up to half a minute."""

_FEWEST_PLACES = 8


@dataclass(frozen=True)
class Sensitivity:
    """What a count hangs on. `count` is that on the readings given; `range` the least and the greatest found at all.

    `over_boundaries`: one barcode for each region boundary, on the readings given. `chances`: the distribution of the
    count where turns say how probable their regions are.
    """

    view: str
    readings: Mapping[str, Any]
    count: int | None
    over_readings: OverReadings
    over_boundaries: tuple[Barcode, ...]
    chances: Distribution | None
    said_first: str | None = None
    """The caveat that comes before the count: that the regions counted were not shown to be discrete."""

    @property
    def range(self) -> CountRange | None:
        """The least and the greatest count over readings and boundaries, with the 90 % interval of the distribution."""
        found = self.over_readings.range
        for code in self.over_boundaries:
            found = code.range if found is None else found.including(code.range)
        return with_chances(found, self.chances)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it; infinity is null."""
        over, span = self.over_readings, self.range
        return {
            "view": self.view,
            "readings": dict(self.readings),
            "count": self.count,
            "range": None if span is None else [span.low, span.high],
            "complete": None if span is None else span.complete,
            "caveats": [] if self.said_first is None else [self.said_first],
            "readings_range": {
                "range": None if over.range is None else [over.range.low, over.range.high],
                "low_at": _finite(over.low_at),
                "high_at": _finite(over.high_at),
                "admissible": over.admissible,
                "counted": over.counted,
                "movers": [_mover(mover) for mover in over.movers],
            },
            "boundaries": [_barcode(code) for code in self.over_boundaries],
            "probability": None if self.chances is None else _chances(self.chances),
        }

    def __str__(self) -> str:
        from individuation.telling_sensitivity import told_sensitivity

        return "\n".join(told_sensitivity(self))

    def _repr_html_(self) -> str:
        return preformatted(str(self))


def sensitivity(
    trace: Trace | Openable,
    view: str | View,
    *,
    labelling: str | None = None,
    vary: Sequence[str] = (),
    draws: int = 10_000,
    seed: int = 0,
    progress: Progress = silent,
    **readings: object,
) -> Sensitivity:
    """How the count of a view hangs on readings, on region boundaries, and on the probabilities of regions.

    `vary`: `SPACE.REGION.AXIS=LO..HI` or `=LO..HI:STEP`, the intervals over which boundaries are moved; by default each
    boundary over its plausible interval (`individuation.boundaries.plausible_interval`). Raises `TraceError`.

    >>> turns = [{"role": "user", "model": "m"}, *({"role": "assistant", "at": {"x": x}} for x in (1, 2, -3))]
    >>> space = {"model": "m", "axes": ["x"], "regions": {"calm": {"x": [0, None]}, "evil": {"x": [None, 0]}}}
    >>> world = {"individuation": 1, "models": {"m": {}}, "spaces": {"s": space}, "conversations": {"c":
    ...     {"turns": turns}}}
    >>> found = sensitivity(world, "instance-persona", vary=["s.calm.x=-5..5"])
    >>> [(bar.low, bar.high, bar.count) for bar in found.over_boundaries[0].stretches]
    [(-5.0, -3.0, 1), (-3.0, 1.0, 2), (1.0, 2.0, 3), (2.0, 5.0, 1)]
    """
    opened = trace if isinstance(trace, Trace) else open_trace(trace)
    chosen = view if isinstance(view, View) else find_view(view)
    values = chosen.complete(readings)
    stages = opened.stages(labelling)
    over = over_readings(chosen, stages, values, _WORK_ON_READINGS, progress)
    return Sensitivity(
        view=chosen.name,
        readings=_finite(values),
        count=over.count,
        over_readings=over,
        over_boundaries=tuple(_barcodes(opened, chosen, labelling, values, vary, progress)),
        chances=distribution(chosen, stages, values, draws, seed),
        said_first=not_discrete(chosen, stages),
    )


def _barcodes(
    trace: Trace,
    view: View,
    labelling: str | None,
    values: Mapping[str, Value],
    vary: Sequence[str],
    progress: Progress,
) -> list[Barcode]:
    found = []
    recordings, stages = trace.recordings, trace.stages(labelling)
    most = max(_FEWEST_PLACES, places_for(view, stages, recordings, labelling, _WORK_ON_BOUNDARIES))
    for number, text in enumerate(vary):
        name, low, high, step = parsed_vary(text)
        boundary = named_boundary(trace.recordings, labelling, name)
        found.append(barcode(view, stages, recordings, labelling, values, boundary, low, high, step, most))
        progress("boundaries", number + 1, len(vary))
    if not vary and view.is_persona_view:
        found = plausible_barcodes(view, stages, recordings, labelling, values, most, progress)
    return found


def _finite(values: Mapping[str, Value]) -> dict[str, Any]:
    return {name: None if value == math.inf else value for name, value in values.items()}


def _mover(mover: Mover) -> dict[str, Any]:
    counts = {("inf" if value == math.inf else str(value)): count for value, count in mover.counts.items()}
    return {"reading": mover.reading, "counts": counts, "moves_at_most": mover.most}


def _barcode(code: Barcode) -> dict[str, Any]:
    return {
        "space": code.boundary.space,
        "axis": code.boundary.axis,
        "ends": [list(end) for end in code.boundary.ends],
        "at": code.boundary.at,
        "low": code.low,
        "high": code.high,
        "plausible": code.plausible,
        "exact": code.exact,
        "places": [{"at": at, "count": count} for at, count in code.places],
        "stretches": [{"low": s.low, "high": s.high, "count": s.count} for s in code.stretches],
        "samples": [{"at": at, "count": count} for at, count in code.samples],
    }


def _chances(found: Distribution) -> dict[str, Any]:
    low, high = found.interval()
    return {
        "counts": [{"count": count, "probability": p} for count, p in found.probability.items()],
        "mean": found.mean,
        "standard_deviation": found.standard_deviation,
        "interval_90": [low, high],
        "method": found.method,
        "uncertain_turns": found.turns,
        "draws": found.draws or None,
        "seed": found.seed,
        "error": found.error,
    }
