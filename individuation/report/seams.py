"""Seams: where a mind ends and another begins, or none, along the paths of a trace; and why, for the first of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from individuation.engine import Trace
from individuation.explanation import Explanation, why
from individuation.picture.blocks import MindsOfStages
from individuation.reasons import Cause, Chain, Cut, Differing, Fork, Missing, Ruled, SharedKey, Sharing
from individuation.result import Result
from individuation.sharing import sharing
from individuation.sorting import Flags, Sorting
from rules.bars import section
from rules.view import Cover, Partition, Rows
from traces.stages import LINKS, StageTable

Kind = Literal["path", "fork", "apart"]


@dataclass(frozen=True)
class Seam:
    """Two stages (rows) that a view keeps apart: neighbours on a path, first stages of two branches from one stage
    (`fork`), or first stages of two conversations that no path connects (`apart`).
    """

    kind: Kind
    before: int
    after: int


@dataclass(frozen=True)
class Reason:
    """Why a seam is there, and what the minds on its two sides share (None where one of the stages is in no mind).

    `minds`: their positions, the first of each stage. `holds`: whether the explanation was verified on the trace.
    """

    seam: Seam
    minds: tuple[int | None, int | None]
    explanation: Explanation
    sharing: Sharing | None
    holds: bool


@dataclass(frozen=True)
class Seams:
    """The seams of one view, those on paths first, and the reasons of the first few."""

    result: Result
    all: Sequence[Seam]
    reasons: Sequence[Reason]


def seams_of(result: Result) -> list[Seam]:
    """All seams of a result: along paths, between branches that share their past, and between conversations.

    Of conversations that no path connects, neighbours in the table are compared: for a view that goes by links the
    first two that it keeps apart, for others the first two of each two minds.

    >>> from individuation.engine import individuate
    >>> turns = [{"role": "user", "model": "m", "server": "a"}, {"role": "user", "server": "b"}]
    >>> world = {"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": turns}}}
    >>> seams_of(individuate(world, "physical-instance")), seams_of(individuate(world, "thread"))
    ([Seam(kind='path', before=0, after=1)], [])
    """
    verdict, stages = result.verdict, result.stages
    if not isinstance(verdict, Partition | Cover):
        return []
    after = np.flatnonzero(stages.previous >= 0)
    apart = ~_together(verdict, stages.previous[after], after)
    found = [Seam("path", int(stages.previous[row]), int(row)) for row in after[apart].tolist()]
    if isinstance(verdict, Cover):
        found += _forks(verdict, stages)
    return found + _conversations(result, verdict)


def _together(verdict: Partition | Cover, a: Rows, b: Rows) -> Flags:
    """Whether pairs of stages are of one mind, or both of none."""
    if isinstance(verdict, Partition):
        same: Flags = verdict.mind[a] == verdict.mind[b]
        return same
    rows = np.flatnonzero(verdict.assigned)
    place = np.full(len(verdict.assigned), -1, np.int64)
    place[rows] = np.arange(len(rows))
    both = verdict.assigned[a] & verdict.assigned[b]
    found: Flags = ~verdict.assigned[a] & ~verdict.assigned[b]
    found[both] = Sorting.of(verdict, rows).together(place[a[both]], place[b[both]])
    return found


def _forks(verdict: Cover, stages: StageTable) -> list[Seam]:
    """Neighbouring branches from one stage, each in a mind of its own."""
    children = np.argsort(stages.previous, kind="stable")
    parent = stages.previous[children]
    siblings = np.flatnonzero((parent[1:] == parent[:-1]) & (parent[1:] >= 0))
    first, second = children[siblings], children[siblings + 1]
    apart = ~_together(verdict, first, second)
    return [Seam("fork", a, b) for a, b in zip(first[apart].tolist(), second[apart].tolist(), strict=True)]


def _conversations(result: Result, verdict: Partition | Cover) -> list[Seam]:
    begins = np.flatnonzero(result.stages.previous < 0)
    apart = ~_together(verdict, begins[:-1], begins[1:])
    pairs = zip(begins[:-1][apart].tolist(), begins[1:][apart].tolist(), strict=True)
    declaration = result.criterion.declaration
    by_links = declaration is not None and declaration.linked
    found: dict[object, Seam] = {}
    for a, b in pairs:
        # Links are what all of these lack; what pooled minds differ by is another matter for each two of them.
        key = None if by_links or isinstance(verdict, Cover) else (int(verdict.mind[a]), int(verdict.mind[b]))
        found.setdefault(key, Seam("apart", a, b))
    return list(found.values())


def allotted(wanted: Sequence[int], most: int) -> list[int]:
    """How many each may have where there is room for `most` in all, so that none starves for another's plenty.

    >>> allotted([3, 500, 40], 100)
    [3, 57, 40]
    """
    given = [0] * len(wanted)
    left = most
    for number, place in enumerate(sorted(range(len(wanted)), key=lambda place: wanted[place])):
        given[place] = min(wanted[place], left // (len(wanted) - number))
        left -= given[place]
    return given


def reasons_of(
    trace: Trace, result: Result, seams: Sequence[Seam], labelling: str | None, told: Callable[[], None] = lambda: None
) -> list[Reason]:
    """Why each of these seams is there; `told` is called after each."""
    stages, minds = result.stages, MindsOfStages(result)
    shared: dict[tuple[int, int], Sharing] = {}
    found = []
    for seam in seams:
        ours, theirs = minds.of(np.array([seam.before, seam.after]))
        explanation = why(
            trace, stages.name(seam.before), stages.name(seam.after), result.criterion, labelling=labelling,
            **result.readings,
        )  # fmt: skip
        pair = (ours[0], theirs[0]) if ours and theirs and ours[0] != theirs[0] else None
        if pair is not None and pair not in shared:
            shared[pair] = sharing(result, *pair)
        found.append(
            Reason(
                seam=seam,
                minds=(ours[0] if ours else None, theirs[0] if theirs else None),
                explanation=explanation,
                sharing=None if pair is None else shared[pair],
                holds=explanation.verify(trace),
            )
        )
        told()
    return found


def in_short(explanation: Explanation) -> tuple[str, str]:
    """What keeps two stages apart, in a few words, and the section of the paper ("" where there is none).

    >>> turns = [{"role": "user", "model": "m", "server": "a"}, {"role": "user", "server": "b"}]
    >>> world = {"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": turns}}}
    >>> in_short(why(world, "c/0", "c/1", "physical-instance"))
    ('the server differs: a, b', '§1.2')
    """
    match explanation.evidence:
        case Cut(separators=(first, *_)):
            cause = first.bars[0]
            return f"{_AN.get(first.kind, 'a')} {first.kind} link does not carry: {_said(cause)}", _cited(cause.source)
        case Cut():
            return "no link connects them", _cited(explanation.source)
        case Differing(attributes=(name, *_), stages=(a, b)):
            values = ", ".join(str(fact.attributes[name] or "none") for fact in (a, b))
            return f"the {name} differs: {values}", _cited(section(name))
        case Missing(lacking=lacking):
            names = {name for lacks in lacking.values() for name in lacks}
            lack = " and ".join(
                "it is in no persona region" if n == "region" else f"its {n} is not known" for n in sorted(names)
            )
            return f"{' and '.join(lacking)}: {lack}", _cited(explanation.source)
        case Fork(at=at):
            return f"they part at {at}, and share what came before", "open"
        case Ruled():
            return "by the view's rule alone", ""
        case Chain() | SharedKey():
            return "they are one mind", _cited(explanation.source)
        case _:
            return "", ""


_AN = {"attention": "an", "unknown": "an"}
_BARRED = {
    "transcript": "another model took over",
    "shared": "the view keeps to single conversations",
    "reconstruction": "the cache was recomputed, and reconstruction=new",
    "unknown_cache": "how the cache came about is unknown, and unknown_cache=cut",
    "edits": "the cache was edited, and edits=cut",
}


def _said(cause: Cause) -> str:
    match cause.cause:
        case name if name in _BARRED:
            return _BARRED[name]
        case "max_drift":
            return f"its drift is {cause.values[0]}, more than max_drift={cause.values[1]} allows"
        case "least_connectedness":
            return f"connected by {cause.values[0]} nats, less than least_connectedness={cause.values[1]} asks for"
        case "branching":
            return f"the conversation branches, also to {cause.values[1]} (branching={cause.values[0]})"
        case name if name in LINKS:
            return "the view does not let such links carry"
        case name:
            return f"the {name} changes: {', '.join(cause.values)}"


def _cited(source: str) -> str:
    return source if source != "-" else ""
