"""The range that stands beside every count of a persona view: over readings, and over plausible region boundaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from individuation.boundaries import MOST_PLACES, Barcode, Boundary, barcode, boundaries, plausible_interval
from individuation.chances import Distribution, distribution
from individuation.ranges import MOST_WORK, CountRange, Progress, over_readings, silent
from rules.readings import Value
from rules.view import View
from traces.facts import Facts
from traces.stages import StageTable

_MOST_DRAWS = 1000
_WORK_OF_A_PLACE = 6
"""A place is counted on, before and after, and to label all stages anew takes as long as to count them."""


def range_of(
    view: View,
    recordings: Sequence[Facts],
    stages: StageTable,
    labelling: str | None,
    values: Mapping[str, Value],
    count: int | None = None,
) -> CountRange | None:
    """The least and the greatest count over readings, and over plausible boundaries on the readings given; where turns
    say how probable their regions are, also the 90 % interval of the count.

    `count`: that on the readings given, where it is at hand. On large traces one reading at a time is changed and fewer
    boundaries are tried; the range then says "at least".
    """
    found = over_readings(view, stages, values, known=count).range
    places = places_for(view, stages, recordings, labelling, MOST_WORK)
    for code in plausible_barcodes(view, stages, recordings, labelling, values, places):
        found = code.range if found is None else found.including(code.range)
    if places < 1 and found is not None:
        found = replace(found, complete=False)
    draws = min(_MOST_DRAWS, MOST_WORK // max(len(stages), 1))
    return with_chances(found, distribution(view, stages, values, draws) if draws else None)


def places_for(view: View, stages: StageTable, recordings: Sequence[Facts], labelling: str | None, work: int) -> int:
    """How many places of each boundary can be tried with so much work (stages times counts)."""
    movable = len(_movable(view, recordings, labelling))
    return min(MOST_PLACES, work // (_WORK_OF_A_PLACE * max(len(stages), 1) * movable)) if movable else MOST_PLACES


def _movable(view: View, recordings: Sequence[Facts], labelling: str | None) -> list[Boundary]:
    """The boundaries on which a count may hang: none where a view counts regions that no stage need be in."""
    idle = view.declaration is not None and view.declaration.uninstantiated
    return [] if idle else boundaries(recordings, labelling)


def with_chances(found: CountRange | None, chances: Distribution | None) -> CountRange | None:
    """A range that also holds the 90 % interval of a distribution.

    >>> str(with_chances(CountRange(2, 2), Distribution({1: 0.2, 2: 0.8}, "exact", 1)))
    '1-2'
    """
    return found if found is None or chances is None else found.including(CountRange(*chances.interval()))


def plausible_barcodes(
    view: View,
    stages: StageTable,
    recordings: Sequence[Facts],
    labelling: str | None,
    values: Mapping[str, Value],
    most: int = MOST_PLACES,
    progress: Progress = silent,
) -> list[Barcode]:
    """A barcode for each boundary, over the interval in which it might plausibly lie; none where `most` is 0."""
    found = []
    movable = _movable(view, recordings, labelling) if most else []
    for number, boundary in enumerate(movable):
        interval = plausible_interval(recordings, labelling, boundary)
        if interval is not None:
            code = barcode(view, stages, recordings, labelling, values, boundary, *interval, most=most)
            found.append(replace(code, plausible=True))
        progress("boundaries", number + 1, len(movable))
    return found
