"""Everything that a report says, found before any of it is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from individuation.case_block import view_of
from individuation.case_files import Case
from individuation.case_outcomes import Outcome, run_case
from individuation.comparison import Comparison, compare
from individuation.criteria import all_views, find_view
from individuation.engine import Trace, individuate, overview, readings_of
from individuation.picture.bands import Band, bands_of
from individuation.picture.lanes import default_views
from individuation.report.seams import Seam, Seams, allotted, reasons_of, seams_of
from individuation.result import Result
from individuation.robustness import Sensitivity, sensitivity
from rules.view import Tally, View
from traces.coordinates import StageCoordinates, stage_coordinates
from traces.errors import TraceError
from traces.stages import StageTable
from traces.together import without_text

MOST_REASONS = 200
_WORK = 100_000
"""Stages times reasons, where a view goes by links: what such a reason costs grows with the trace."""

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and of how much."""


@dataclass(frozen=True)
class CaseFound:
    """A case and what was found in it, with the counts as they are printed; `failure` says why it could not be run."""

    case: Case
    outcomes: tuple[Outcome, ...]
    counts: tuple[str, ...] = ()
    failure: str | None = None


@dataclass(frozen=True)
class Findings:
    """What a page is made of. `results`: one for each view; `drawn`: those of them that the picture has rows for.

    `sources`: what the trace is called on the command line; `command`: the words that make the page again.
    """

    trace: Trace
    stages: StageTable
    labelling: str | None
    results: tuple[Result, ...]
    drawn: tuple[Result, ...]
    sensitivities: tuple[Sensitivity, ...]
    seams: tuple[Seams, ...]
    comparison: Comparison | None
    case: CaseFound | None
    coordinates: StageCoordinates
    bands: tuple[Band, ...]
    sources: tuple[str, ...]
    command: tuple[str, ...]

    @property
    def title(self) -> str:
        """What the recordings call themselves, or the names of their files without the folders of this machine."""
        return " + ".join(facts.title or PurePath(facts.name).name for facts in self.trace.recordings)

    def position(self, view: str) -> int:
        """The place of a view among the results."""
        return next(number for number, result in enumerate(self.results) if result.view == view)


def findings(
    trace: Trace,
    views: Sequence[str | View] = (),
    *,
    labelling: str | None = None,
    readings: Mapping[str, object] | None = None,
    text: bool = True,
    case: Case | None = None,
    sources: Sequence[str] = (),
    command: Sequence[str] = (),
    progress: Progress = lambda what, done, of: None,
) -> Findings:
    """Count, measure and explain, for the views named or for all there are.

    Without `text` no words of the recording are kept (as `individuate import --no-text` does), and no case. `sources`:
    what the trace is called on the command line. Raises what `overview` raises.
    """
    if not text:
        trace, case = Trace([without_text(facts) for facts in trace.recordings]), None
    stages = trace.stages(labelling)
    chosen = [view if isinstance(view, View) else find_view(view) for view in views] or all_views()
    twice = next((view.name for view in chosen if [other.name for other in chosen].count(view.name) > 1), None)
    if twice is not None:
        raise TraceError("--view", f'"{twice}" is named twice', "each view once")
    mine = readings_of(chosen, readings or {})
    progress("Counting", 0, 1)
    results = tuple(overview(trace, views=chosen, labelling=labelling, readings=readings))
    worth = {view.name for view in chosen} if views else set(default_views(stages))
    sure = []
    for view in chosen:

        def told(what: str, done: int, of: int, name: str = view.name) -> None:
            progress(f"Measuring how sure {name} is, over {what}", done, of)

        if view.readings or view.is_persona_view:
            sure.append(sensitivity(trace, view, labelling=labelling, progress=told, **mine[view.name]))  # type: ignore[arg-type]
    seams = _seams(trace, results, labelling, progress)
    progress("Comparing", 0, 1)
    sorting = [view for view, result in zip(chosen, results, strict=True) if not isinstance(result.verdict, Tally)]
    comparison = None
    if len(sorting) > 1 and len(stages):
        comparison = compare(trace, sorting, labelling=labelling, readings=_had_by(sorting, readings or {}))
    coordinates = stage_coordinates(trace.recordings, stages)
    return Findings(
        trace=trace, stages=stages, labelling=labelling, results=results,
        drawn=tuple(result for result in results if result.view in worth and not isinstance(result.verdict, Tally)),
        sensitivities=tuple(sure), seams=seams, comparison=comparison,
        case=None if case is None else _case_found(case), coordinates=coordinates,
        bands=tuple(bands_of(trace.recordings, coordinates, labelling)), sources=tuple(sources), command=tuple(command),
    )  # fmt: skip


def _had_by(views: Sequence[View], readings: Mapping[str, object]) -> dict[str, object]:
    known = {reading.name for view in views for reading in view.readings}
    return {name: value for name, value in readings.items() if name in known}


def _seams(trace: Trace, results: Sequence[Result], labelling: str | None, progress: Progress) -> tuple[Seams, ...]:
    every = [seams_of(result) for result in results]
    share = _share(results, [len(seams) for seams in every])
    done, of = 0, sum(share)

    def told() -> None:
        nonlocal done
        done += 1
        progress("Explaining", done, of)

    found = []
    for result, seams, allowed in zip(results, every, share, strict=True):
        chosen: list[Seam] = seams[:allowed]
        found.append(Seams(result, seams, reasons_of(trace, result, chosen, labelling, told)))
    return tuple(found)


def _share(results: Sequence[Result], wanted: Sequence[int]) -> list[int]:
    """How many reasons each view may have: 200 in all, and of views that go by links fewer on a large trace."""
    stages = len(results[0].stages)
    costly = [result.criterion.declaration is None or result.criterion.declaration.linked for result in results]
    most = min(MOST_REASONS, max(_WORK // max(stages, 1), 10))
    dear = allotted([number if dear else 0 for number, dear in zip(wanted, costly, strict=True)], most)
    limited = [given if dear else number for number, given, dear in zip(wanted, dear, costly, strict=True)]
    return allotted(limited, MOST_REASONS)


def _case_found(case: Case) -> CaseFound:
    try:
        outcomes = run_case(case)
        return CaseFound(case, outcomes, tuple(_count(case, outcome) for outcome in outcomes))
    except TraceError as error:
        # A view file that an expectation names may not have come along with the trace.
        return CaseFound(case, (), failure=str(error))


def _count(case: Case, outcome: Outcome) -> str:
    """What was found, with its range under a persona view."""
    expected, count = outcome.expectation, outcome.found.count
    if count is None or expected.region is not None:
        return "-" if count is None else f"{count:,}"
    return individuate(case.trace, view_of(expected.view, case.path.parent), **expected.readings).count_text
