"""What the views find in a case, against what it expects of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from individuation.case_block import Expectation, view_of
from individuation.case_files import Case
from individuation.engine import individuate
from individuation.minds import Mind
from individuation.ranges import CountRange
from individuation.result import Result
from rules.view import Tally
from traces.errors import TraceError
from traces.stages import LINKS, TRANSCRIPT, StageTable
from traces.vocabulary import ROLES


@dataclass(frozen=True)
class Found:
    """What one view found: the same things that an expectation can name.

    `count` is None where the record allows no count. `count`, `stages` and `contradictions` are of the minds that the
    expectation is about: all, or those that are in its region.
    """

    count: int | None
    stages: tuple[int, ...]
    contradictions: tuple[str, ...]
    unassigned: int
    caveats: tuple[str, ...]
    range: CountRange | None = None

    @property
    def count_text(self) -> str:
        """The count, with its range under a persona view."""
        count = "-" if self.count is None else f"{self.count:,}"
        return count if self.range is None else f"{count} ({self.range})"

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "count": self.count, "stages": list(self.stages), "contradictions": list(self.contradictions),
            "unassigned": self.unassigned, "caveats": list(self.caveats),
            "range": None if self.range is None else [self.range.low, self.range.high],
        }  # fmt: skip


@dataclass(frozen=True)
class Difference:
    """One thing that was found otherwise than expected; `what` is a field of `Expectation`."""

    what: str
    expected: Any
    found: Any

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"what": self.what, "expected": self.expected, "found": self.found}


@dataclass(frozen=True)
class Outcome:
    """What one view found in a case, against what was expected of it."""

    expectation: Expectation
    found: Found

    @property
    def differences(self) -> tuple[Difference, ...]:
        """Everything that the expectation names and that was found otherwise."""
        expected, found = self.expectation, self.found
        pairs: list[tuple[str, Any, Any]] = [("count", expected.count, found.count)]
        if expected.stages is not None:
            pairs.append(("stages", list(expected.stages), list(found.stages)))
        if expected.contradictions is not None:
            pairs.append(("contradictions", list(expected.contradictions), list(found.contradictions)))
        if expected.unassigned is not None:
            pairs.append(("unassigned", expected.unassigned, found.unassigned))
        if expected.caveat is not None:
            pairs.append(("caveat", expected.caveat, bool(found.caveats)))
        return tuple(Difference(*pair) for pair in pairs if pair[1] != pair[2])

    @property
    def holds(self) -> bool:
        """Whether everything was found as expected."""
        return not self.differences

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it: what was expected, what was found, and where they differ."""
        return {
            "expected": self.expectation.to_dict(),
            "found": self.found.to_dict(),
            "holds": self.holds,
            "differences": [difference.to_dict() for difference in self.differences],
        }


def run_case(case: Case) -> tuple[Outcome, ...]:
    """Put a case to the views that it names: an outcome for each expectation, in their order.

    Raises `TraceError` where an expectation asks for what its view does not give.

    >>> from individuation.case_files import paper_case
    >>> [(o.expectation.view, o.found.count, o.holds) for o in run_case(paper_case("rabbit"))][:2]
    [('model', 2, True), ('virtual-instance', 2, True)]
    """
    return tuple(_outcome(case, number, expectation) for number, expectation in enumerate(case.expected))


def _outcome(case: Case, number: int, expectation: Expectation) -> Outcome:
    view = view_of(expectation.view, case.path.parent)
    result = individuate(case.trace, view, **expectation.readings)
    if isinstance(result.verdict, Tally):
        for what in ("region", "stages", "contradictions"):
            if getattr(expectation, what) is not None:
                found = f"{what} is given for {expectation.view}, which lists no minds"
                raise TraceError(f"{case.path}: case, expected[{number}]", found, "count alone")
    return Outcome(expectation, _found(result, expectation.region))


def _found(result: Result, region: str | None) -> Found:
    minds: list[Mind] = [mind for mind in result.minds if region is None or region in mind.regions]
    return Found(
        count=result.count if region is None else len(minds),
        stages=tuple(len(mind.stages) for mind in minds),
        contradictions=tuple(c.proposition for mind in minds for c in mind.contradictions),
        unassigned=result.unassigned_count,
        caveats=tuple(result.caveats),
        range=result.range if region is None else None,
    )


def turns_of(case: Case) -> list[dict[str, Any]]:
    """The stages of a case in brief, in order: who, how long, on what, by which kind of link, in which region, saying
    what; None where there is nothing to say.

    >>> from individuation.case_files import paper_case
    >>> turns_of(paper_case("rabbit"))[2]["stage"], turns_of(paper_case("rabbit"))[2]["link"]
    ('couplet/2', 'transcript')
    """
    stages = case.trace.stages()
    texts = [facts.details() for facts in case.trace.recordings]
    turns = []
    for stage in range(len(stages)):
        server, region, tokens = (int(column[stage]) for column in (stages.server, stages.region, stages.tokens))
        detail = texts[int(stages.recording[stage])].get(int(stages.turn[stage]))
        turns.append(
            {
                "stage": stages.name(stage),
                "role": ROLES[int(stages.role[stage])],
                "tokens": tokens if tokens >= 0 else None,
                "model": stages.models[int(stages.model[stage])],
                "server": stages.servers[server] if server >= 0 else None,
                "link": _link(stages, stage),
                "region": stages.regions.names[region] if region >= 0 else None,
                "text": None if detail is None else detail.text,
            }
        )
    return turns


def _link(stages: StageTable, stage: int) -> str | None:
    """The kind of the link by which a stage is reached, the model's own if it has one."""
    if stages.previous[stage] < 0:
        return None
    if stages.own[stage] < 0:
        return LINKS[TRANSCRIPT]
    return LINKS[int(stages.own_kind[stage])] + (" (edited)" if stages.edited[stage] else "")
