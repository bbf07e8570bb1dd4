"""What a count hangs on, as prose."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from individuation.boundaries import Barcode
from individuation.chances import Distribution
from individuation.ranges import OverReadings
from rules.readings import Value

if TYPE_CHECKING:
    from individuation.robustness import Sensitivity

_BAR = 40
_MOST_STRETCHES = 16


def told_sensitivity(found: Sensitivity) -> list[str]:
    """A sensitivity as lines of text: the count and its range, then what moves it."""
    span = found.range
    count = "no count" if found.count is None else f"{found.count:,}"
    lines = [f"First: {found.said_first}"] if found.said_first is not None else []
    told = count if span is None else f"{count} ({span})"
    if span is not None and span.low != span.high and found.count is not None and found.said_first is not None:
        told = f"{span} ({count} as labelled)"
    lines.append(f"{found.view}: {told}")
    lines += _readings(found.over_readings, found.readings)
    for code in found.over_boundaries:
        lines += ["", *_boundary(code)]
    if found.chances is not None:
        lines += ["", *_chances(found.chances)]
    return lines


def _value(value: Value | None) -> str:
    return "inf" if value is None or value == math.inf else f"{value:g}" if isinstance(value, float) else str(value)


def _readings(over: OverReadings, chosen: Mapping[str, Any]) -> Iterator[str]:
    if over.range is None:
        return
    combinations = f"{over.admissible:,} admissible combination{'' if over.admissible == 1 else 's'} of readings"
    able = "all of them counted" if over.counted == over.admissible else f"only {over.counted:,} need counting here"
    if not over.range.complete:
        able = f"too many to count here: {over.counted:,} that change one reading at a time"
    yield f"Over readings: {over.range} ({combinations}; {able})"
    moving = [mover for mover in over.movers if mover.moves]
    width = max((len(mover.reading) for mover in moving), default=0)
    for mover in sorted(moving, key=lambda mover: -mover.most):
        counts = ", ".join(f"{_value(value)} {'-' if n is None else n}" for value, n in mover.counts.items())
        most = f"(with others changed too, it moves the count by up to {mover.most:,})"
        yield f"  {mover.reading:<{width}}  {counts}   {most}"
    if not moving:
        yield "  No reading moves it."
    elif over.range.low != over.range.high:
        yield f"  least {_at(over.low_at, chosen)}; greatest {_at(over.high_at, chosen)}"


def _at(readings: Mapping[str, Value], chosen: Mapping[str, Any]) -> str:
    changed = [f"{name}={_value(value)}" for name, value in readings.items() if _value(value) != _value(chosen[name])]
    return f"with {' '.join(changed)}" if changed else "as chosen"


def _boundary(code: Barcode) -> Iterator[str]:
    unit = "its plausible interval" if code.plausible else "the interval named"
    tried = "" if code.exact else " (a sample of places)"
    yield (
        f"Boundary {code.boundary}, at {code.boundary.at:g}; moved from {code.low:g} to {code.high:g}, {unit}{tried}: "
        f"{code.range}"
    )
    longest = sorted(code.stretches, key=lambda stretch: -stretch.length)[:_MOST_STRETCHES]
    whole = (code.high - code.low) or 1.0
    for stretch in code.stretches:
        if stretch in longest:
            bar = "█" * max(1, round(_BAR * stretch.length / whole))
            yield f"  {stretch.low:>9.4g} .. {stretch.high:<9.4g} {stretch.count:>4}  {bar}"
    if len(code.stretches) > _MOST_STRETCHES:
        yield f"  ... and {len(code.stretches) - _MOST_STRETCHES} shorter stretches"
    for at, count in code.places[:_MOST_STRETCHES]:
        yield f"  {'just at':>9} {at:<12.6g} {count:>4}"
    if code.samples:
        yield "  at     " + " ".join(f"{at:>6g}" for at, _ in code.samples)
        yield "  minds  " + " ".join(f"{count:>6}" for _, count in code.samples)


def _chances(found: Distribution) -> Iterator[str]:
    how = (
        "exact"
        if found.method == "exact"
        else (f"{found.draws:,} draws, seed {found.seed}; standard error of a probability at most {found.error:.2g}")
    )
    low, high = found.interval()
    yield (
        f"Region probabilities of {found.turns:,} turn{'' if found.turns == 1 else 's'}, taken as independent ({how}): "
        f"mean {found.mean:.3g}, standard deviation {found.standard_deviation:.2g}, 90 % between {low} and {high}"
    )
    shown = sorted(found.probability, key=lambda count: -found.probability[count])[:_MOST_STRETCHES]
    for count, chance in found.probability.items():
        if count in shown:
            yield f"  {count:>4}  {chance:>6.1%}  {'█' * round(_BAR * chance)}".rstrip()
