"""Chalmers' desiderata and an interpretationist score, for each view on one trace (docs/desiderata.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from individuation.continuity import ONE_PASS, TOO_MANY, scores_of
from individuation.criteria import all_views
from individuation.dispersion import NO_COORDINATES, Coherence, coherence
from individuation.engine import Openable, Trace, open_trace, overview
from individuation.measures import COLUMNS, Score
from individuation.memberships import Memberships
from individuation.predictiveness import Predictiveness, Turns, predictiveness
from individuation.propositions import NO_PROPOSITIONS, contradictions, faithfulness
from individuation.result import Result
from rules.view import Partition, Tally, View
from traces.coordinates import stage_coordinates
from traces.errors import UnknownNameError
from traces.labelling import labelling_names, spaces_of, turn_by_turn
from traces.stages import StageTable

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ViewScores:
    """What the minds of one view score. Each number is defined in docs/desiderata.md; `result` has the minds."""

    result: Result
    interactivity: Score
    persistence: Score
    coherence: Coherence
    contradictions: Score
    faithfulness: Score
    unification: Score
    predictiveness: Predictiveness
    circular: bool
    """Whether the minds were told apart by regions of the coordinates that coherence and predictiveness rest on."""

    @property
    def view(self) -> str:
        """The name of the view."""
        return self.result.view

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        span = self.result.range
        return {
            "view": self.view,
            "readings": dict(self.result.readings),
            "count": self.result.count,
            **({} if span is None else {"range": {"low": span.low, "high": span.high, "complete": span.complete}}),
            "interactivity": self.interactivity.to_dict(),
            "persistence": self.persistence.to_dict(),
            "coherence": self.coherence.to_dict(),
            "contradictions": self.contradictions.to_dict(),
            "faithfulness": self.faithfulness.to_dict(),
            "unification": self.unification.to_dict(),
            "predictiveness": self.predictiveness.to_dict(),
            "circular": self.circular,
            "caveats": list(self.result.caveats),
        }


@dataclass(frozen=True, eq=False, repr=False)
class Desiderata(Sequence[ViewScores]):
    """The scores of several views on one trace: a sequence, and by the name of a view.

    `turns`: how many assistant turns have coordinates, on `axes`.
    """

    trace: str
    stages: int
    turns: int
    axes: tuple[str, ...]
    scores: tuple[ViewScores, ...]
    caveats: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[ViewScores]:
        return iter(self.scores)

    @overload
    def __getitem__(self, view: int | str) -> ViewScores: ...
    @overload
    def __getitem__(self, view: slice) -> tuple[ViewScores, ...]: ...
    def __getitem__(self, view: int | str | slice) -> ViewScores | tuple[ViewScores, ...]:
        """The scores of the view of that name, or at that position. Raises `UnknownNameError`, or `IndexError`."""
        if not isinstance(view, str):
            return self.scores[view]
        for scores in self.scores:
            if scores.view == view:
                return scores
        raise UnknownNameError("desiderata", "view", view, [scores.view for scores in self.scores])

    def __repr__(self) -> str:
        return f"<Desiderata of {len(self)} views on {self.trace!r}>"

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, with what each score is."""
        return {
            "trace": self.trace,
            "stages": self.stages,
            "turns_with_coordinates": self.turns,
            "axes": list(self.axes),
            "scores": [
                {"score": column.name, "what": column.what, "limits": column.limits, "after": column.source}
                for column in COLUMNS
            ],
            "views": [scores.to_dict() for scores in self.scores],
            "caveats": list(self.caveats),
        }

    def __str__(self) -> str:
        from individuation.telling_scores import told_scores

        return "\n".join(told_scores(self))

    def _repr_html_(self) -> str:
        from individuation.telling_scores import html_of_scores

        return html_of_scores(self)


def desiderata(
    trace: Trace | Openable,
    *,
    views: Sequence[str | View] | None = None,
    labelling: str | None = None,
    readings: Mapping[str, object] | None = None,
) -> Desiderata:
    """How the minds of each view do as interlocutors, and as an interpretation of the persona coordinates.

    After Chalmers 2025, *What We Talk to When We Talk to Language Models*, and Goldstein & Lederman 2025, *What Does
    ChatGPT Want? An Interpretationist Guide*; the definitions are this project's own. `views`: by default every view
    there is. Each reading goes to the views that have it. Deterministic. Raises `TraceError`, and `UnknownNameError`
    for an unknown view, reading or labelling.

    >>> turns = [{"role": "user", "model": "m", "server": "a"}, {"role": "assistant", "believes": ["p"]},
    ...     {"role": "user", "server": "b"}, {"role": "assistant", "believes": ["not p"]}]
    >>> world = {"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": turns}}}
    >>> found = desiderata(world)
    >>> [found[view].persistence.value for view in ("thread", "physical-instance", "forward-pass")]
    [1.0, 0.5, None]
    >>> found["thread"].unification.value, found["thread"].contradictions.value, found["thread"].faithfulness.value
    (0.3333333333333333, 1.0, 0.0)
    """
    opened = trace if isinstance(trace, Trace) else open_trace(trace)
    results = overview(opened, views=all_views() if views is None else views, labelling=labelling, readings=readings)
    stages = opened.stages(labelling)
    read = stage_coordinates(opened.recordings, stages)
    axes, values = list(read.probes), np.where(stages.assistant[:, None], read.values, np.nan)
    turns = Turns.of(stages, axes, values)
    drawn = _drawn_on_coordinates(opened, labelling)
    scores = tuple(_scores(result, axes, values, turns, drawn) for result in results)
    recorded = np.flatnonzero(~np.isnan(values).all(axis=0)) if axes and len(stages) else np.empty(0, np.int64)
    return Desiderata(
        trace=opened.title,
        stages=len(stages),
        turns=int((~np.isnan(values)).any(axis=1).sum()),
        axes=tuple(axes[axis] for axis in recorded.tolist()),
        scores=scores,
        caveats=tuple(_caveats(stages, values, scores)),
    )


def _scores(result: Result, axes: list[str], values: Floats, turns: Turns, drawn: bool) -> ViewScores:
    stages, verdict, view = result.stages, result.verdict, result.criterion
    found = None if isinstance(verdict, Tally) else Memberships.of(stages, verdict)
    if found is not None and not len(found):
        return _of_nobody(result, view.is_persona_view and drawn)
    intermittent = view.is_persona_view and view.settled(result.readings)["user_turns"] == "intermittent"
    interactivity, persistence, unification = scores_of(stages, verdict, found, intermittent)
    return ViewScores(
        result=result,
        interactivity=interactivity,
        persistence=persistence,
        coherence=_coherence(result, found, axes, values),
        contradictions=_of_propositions(result, found, contradictions),
        faithfulness=_of_propositions(result, found, faithfulness),
        unification=unification,
        predictiveness=_predictiveness(result, values, turns),
        circular=view.is_persona_view and drawn,
    )


def _of_nobody(result: Result, circular: bool) -> ViewScores:
    note = "no stage belongs to a mind"
    none = Score(None, 0, note)
    return ViewScores(result, none, none, Coherence.none(note), none, none, none, Predictiveness.none(note), circular)


def _coherence(result: Result, found: Memberships | None, axes: list[str], values: Floats) -> Coherence:
    if np.isnan(values).all():
        return Coherence.none(NO_COORDINATES)
    if found is None:
        return Coherence.none((ONE_PASS if isinstance(result.verdict, Tally) else TOO_MANY).note)
    return coherence(found, axes, values)


def _of_propositions(result: Result, found: Memberships | None, score: Any) -> Score:
    if not len(result.stages.belief_stage):
        return Score(None, 0, NO_PROPOSITIONS)
    if found is None:
        return ONE_PASS if isinstance(result.verdict, Tally) else TOO_MANY
    measured: Score = score(found)
    return measured


def _predictiveness(result: Result, values: Floats, turns: Turns) -> Predictiveness:
    if np.isnan(values).all():
        return Predictiveness.none(NO_COORDINATES)
    match result.verdict:
        case Partition():
            return predictiveness(turns, result.verdict.mind)
        case Tally():
            return Predictiveness.none(ONE_PASS.note, len(turns))
        case _:
            return Predictiveness.none("minds share stages: a turn has no one mind that would predict it", len(turns))


def _drawn_on_coordinates(trace: Trace, labelling: str | None) -> bool:
    """Whether regions come from coordinates in any recording: by ranges of them, or turn by turn in a space of axes
    that were read.
    """
    for facts in trace.recordings:
        if labelling is None or labelling in labelling_names(facts):
            name = turn_by_turn(facts, labelling)
            spaces = spaces_of(facts, labelling) if name is None else facts.labellings[name]
            if any(space.regions for space in spaces.values()):
                return True
    return False


def _caveats(stages: StageTable, values: Floats, scores: Sequence[ViewScores]) -> Iterator[str]:
    circular = [found.view for found in scores if found.circular]
    read = ~np.isnan(values)
    if circular and read.any():
        yield (
            f"{', '.join(circular)}: minds are told apart by regions of these same coordinates, so that coherence "
            "and predictiveness are partly circular and look better than they are, against rotations too"
        )
    if any(found.predictiveness.gain.value is not None for found in scores):
        yield (
            "turns that follow on one another are not independent: the error of the gain is too small, and rotation "
            "is a description, not a test"
        )
    several = [len(np.unique(stages.model[read[:, axis]])) > 1 for axis in range(read.shape[1])]
    if any(several):
        yield "coordinates of different models are compared as they are: their axes need not mean the same"
    if read.shape[1] > 1 and int(read.any(axis=0).sum()) > 1:
        yield "axes count alike and as independent: those that measure nearly the same count more than once"
    guessed = int(((stages.own_kind >= 0) & ~stages.cache_known).sum())
    if guessed:
        yield (
            f"unification rests on default rules for {guessed:,} of {int((stages.own >= 0).sum()):,} own links, whose "
            "cache is not recorded (semantics §3)"
        )
    if any(found.predictiveness.floored for found in scores):
        yield "some turns are predicted with the least variance that the coordinates' resolution allows"
