"""How sure: for each view its range, what moves it, barcodes over boundaries, and the distribution of the count."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from individuation.boundaries import Barcode
from individuation.chances import Distribution
from individuation.ranges import OverReadings
from individuation.report.bars import MOST_COUNTS, barcode_picture, distribution_picture
from individuation.report.findings import Findings
from individuation.report.markup import Content, Html, count, joined, named, section, table, tag, together
from individuation.robustness import Sensitivity
from rules.readings import Value

_MOST_STRETCHES = 60


def certainty(found: Findings) -> Html:
    """The section."""
    moving = [sure for sure in found.sensitivities if _moves(sure)]
    still = [sure for sure in found.sensitivities if not _moves(sure)]
    silent = [result.view for result in found.results if result.view not in {s.view for s in found.sensitivities}]
    said = together(
        tag(
            "p",
            "The paper leaves questions open, and regions may be bounded elsewhere. Here every count is made again for "
            "each answer (a ",
            tag("a", "reading", href="#readings"),
            ") and for each place that a boundary might plausibly have.",
        ),
        _overview(found),
        _never(
            "No reading and no boundary moves the count of", [sure.view for sure in still if sure.count is not None]
        ),
        _never("There is no count, whatever the readings, under", [s.view for s in still if s.count is None]),
        _never("Nothing is left open, and nothing was varied, for", silent),
    )
    return section("sure", "How sure", said, *(_view(found, sure) for sure in moving))


def _never(said: str, views: list[str]) -> Html | None:
    return tag("p", said, " ", joined(", ", map(named, views)), ".") if views else None


def _moves(sure: Sensitivity) -> bool:
    span = sure.range
    return span is not None and (span.low != span.high or sure.chances is not None or not span.complete)


def _overview(found: Findings) -> Html:
    rows: list[list[Content]] = []
    for sure in found.sensitivities:
        result = found.results[found.position(sure.view)]
        over = sure.over_readings
        boundaries = [f"{code.range} ({code.boundary})" for code in sure.over_boundaries]
        chances = None
        if sure.chances is not None:
            low, high = sure.chances.interval()
            chances = f"{low:,}-{high:,} with 90 %"
        rows.append(
            [
                named(sure.view), result.count_text if result.count is not None else "-",
                "-" if over.range is None else str(over.range),
                joined("; ", boundaries) if boundaries else "-", chances or "-",
            ]
        )  # fmt: skip
    if not rows:
        return tag("p", "None of these views leaves anything open.")
    return table(
        "The least and the greatest count, by what is varied",
        ["view", "minds", "over readings", "over region boundaries", "over region probabilities"],
        rows,
    )


def _view(found: Findings, sure: Sensitivity) -> Html:
    result = found.results[found.position(sure.view)]
    parts: list[Content] = [tag("h3", named(sure.view), f": {result.minds_text}")]
    parts += _readings(sure.over_readings, sure.readings)
    for code in sure.over_boundaries:
        parts += _boundary(code, sure.count)
    if sure.chances is not None:
        parts += _chances(sure.chances, sure.count)
    return tag("article", *parts, class_="sure")


def _value(value: object) -> str:
    return "inf" if value is None or value == math.inf else f"{value:g}" if isinstance(value, float) else str(value)


def _readings(over: OverReadings, chosen: Mapping[str, object]) -> Iterator[Html]:
    if over.range is None:
        return
    able = "all of them counted" if over.counted == over.admissible else f"only {over.counted:,} need counting here"
    if not over.range.complete:
        able = f"too many to count here: {over.counted:,} that change one reading at a time"
    yield tag(
        "p", f"Over readings {over.range}, in {count(over.admissible, 'admissible combination')} ({able})."
    )  # fmt: skip
    moving = sorted((mover for mover in over.movers if mover.moves), key=lambda mover: -mover.most)
    if moving:
        rows: list[list[Content]] = [
            [
                mover.reading,
                joined(
                    ", ", [f"{_value(value)}: {'-' if n is None else f'{n:,}'}" for value, n in mover.counts.items()]
                ),
                f"{mover.most:,}",
            ]
            for mover in moving
        ]
        yield table(
            "Readings that move it",
            ["reading", "minds for each answer, all else as chosen", "moves it at most, with others changed too"],
            rows,
        )
    if over.range.low != over.range.high:
        least, greatest = _at(over.low_at, chosen), _at(over.high_at, chosen)
        yield tag("p", "Least ", least, "; greatest ", greatest, ".")


def _at(readings: Mapping[str, Value], chosen: Mapping[str, object]) -> Content:
    changed = [f"{name}={_value(value)}" for name, value in readings.items() if _value(value) != _value(chosen[name])]
    return together("with ", tag("code", " ".join(changed))) if changed else "on the readings chosen"


def _boundary(code: Barcode, chosen: int | None) -> Iterator[Html]:
    tried = "" if code.exact else ", tried at a sample of places"
    where = "the interval in which it might plausibly lie" if code.plausible else "the interval named"
    yield tag("h4", "Boundary ", named(str(code.boundary)))
    yield tag(
        "p",
        f"Moved from {code.low:g} to {code.high:g}, {where}{tried}: {code.range}. The longer a bar, the more robust "
        "its count; the higher, the more minds. Blue is the count given above.",
    )
    yield barcode_picture(code, chosen)
    listed = [[f"{s.low:.4g} to {s.high:.4g}", f"{s.count:,}", f"{s.length:.4g}"] for s in code.stretches]
    more = len(listed) - _MOST_STRETCHES
    caption = "Stretches of constant count" + (f"; {more:,} more are not listed" if more > 0 else "")
    yield tag(
        "details",
        tag("summary", "The same in numbers"),
        table(caption, ["boundary from", "minds", "length"], listed[:_MOST_STRETCHES]),
    )


def _chances(found: Distribution, chosen: int | None) -> Iterator[Html]:
    how = "computed exactly"
    if found.method != "exact":
        how = f"{found.draws:,} draws, seed {found.seed}, standard error of a probability at most {found.error:.2g}"
    low, high = found.interval()
    yield tag("h4", "Region probabilities")
    yield tag(
        "p",
        f"{count(found.turns, 'turn says', 'turns say')} how probable their regions are; taken as independent ({how}): "
        f"mean {found.mean:.3g}, standard deviation {found.standard_deviation:.2g}, 90 % between {low:,} and {high:,}.",
    )
    yield distribution_picture(found, chosen)
    counts = sorted(found.probability, key=lambda n: -found.probability[n])[:MOST_COUNTS]
    rows = [[f"{n:,}", f"{found.probability[n]:.2%}"] for n in sorted(counts)]
    more = len(found.probability) - len(rows)
    caption = "Probability of each count" + (f"; {more:,} less probable ones are not listed" if more else "")
    yield tag("details", tag("summary", "The same in numbers"), table(caption, ["minds", "probability"], rows))
