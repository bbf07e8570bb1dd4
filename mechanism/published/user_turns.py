"""Mini-experiment 1 again, from its files: does capping the assistant's tokens move the user's turns?

One conversation was led twice with the same words of the user: unsteered, and with the projection on the assistant axis
capped while the assistant's tokens were generated. For every turn there is its mean projection on that axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mechanism.outcome import Cell, Estimate, Finding, Part, Plot, Series, Table
from mechanism.published.stated import BY_SUPPLEMENT, EXPERIMENT_1, HELD, borne_out
from mechanism.statistics import bootstrap, correlation, mean, paired_difference
from traces.errors import TraceError
from traces.facts import Facts
from traces.vocabulary import ROLES

LARGEST_RATIO = 1 / 8
"""User turns that differ by less than this share of what assistant turns differ by are called unmoved."""

_AXIS = "assistant"
_USER, _ASSISTANT = ROLES.index("user"), ROLES.index("assistant")


class Projections(NamedTuple):
    """One recorded conversation: for each turn its role, its projection on the assistant axis (NaN: none), its text."""

    name: str
    case: str
    model: str
    layer: int | None
    capped: bool
    roles: NDArray[np.int8]
    values: NDArray[np.float64]
    texts: list[str | None]


class Pair(NamedTuple):
    """A case under both conditions. Columns by exchange: a user's turn, and the assistant's turn after it."""

    case: str
    model: str
    turns: NDArray[np.int64]  # the number of the user's turn
    user: NDArray[np.float64]  # [exchanges, 2]: unsteered, capped
    assistant: NDArray[np.float64]
    same_words: int  # user turns with the same text in both
    roles: NDArray[np.int8]  # of all turns, those before the first exchange too
    values: NDArray[np.float64]  # [turns, 2]


def projections_of(facts: Facts) -> list[Projections]:
    """The conversations of a trace that were recorded along the assistant axis.

    Raises `TraceError` where there is none.
    """
    probes = [number for number, probe in enumerate(facts.probes.values()) if probe.axis == _AXIS]
    if not probes:
        raise TraceError(facts.name, "it has no coordinates on an axis `assistant`", "recordings of mini-experiment 1")
    values = np.full(len(facts.turns), math.nan)
    chosen = facts.coordinates.probe == probes[0]
    values[facts.coordinates.turn[chosen]] = facts.coordinates.value[chosen]
    details = facts.details()
    models, layer = list(facts.models.values()), list(facts.probes.values())[probes[0]].layer
    found = []
    for number, name in enumerate(facts.conversations.names):
        first = int(facts.conversations.first[number])
        rows = range(first, first + int(facts.conversations.size[number]))
        capped = any(
            facts.interventions[done].kind == "capping"
            for row in rows
            if row in details
            for done in details[row].interventions
        )
        model = models[int(facts.turns.model[first])].name if len(rows) else None
        found.append(
            Projections(
                name,
                name.removesuffix("-capped").removesuffix("-unsteered"),
                model or "an unnamed model",
                layer,
                capped,
                facts.turns.role[rows.start : rows.stop],
                values[rows.start : rows.stop],
                [details[row].text if row in details else None for row in rows],
            )
        )
    return found


def pairs_of(recordings: Sequence[Projections]) -> list[Pair]:
    """Recordings of one case and model under both conditions, in the order in which they are given.

    Raises `TraceError` for a case that lacks a condition, or has one twice.
    """
    by_case: dict[tuple[str, str], dict[bool, Projections]] = {}
    for recording in recordings:
        conditions = by_case.setdefault((recording.case, recording.model), {})
        if recording.capped in conditions:
            kind = "capped" if recording.capped else "unsteered"
            raise TraceError(recording.name, f"the case has two {kind} recordings", "one of each condition")
        conditions[recording.capped] = recording
    pairs = []
    for (case, model), conditions in by_case.items():
        if len(conditions) < 2:
            missing = "unsteered" if True in conditions else "capped on assistant tokens"
            raise TraceError(
                next(iter(conditions.values())).name, f"there is no recording of it {missing}", "both conditions"
            )
        pairs.append(_pair(case, model, conditions[False], conditions[True]))
    return pairs


def analysed(pairs: Sequence[Pair], *, seed: int = 0) -> Part:
    """What the files say of user turns and assistant turns, with intervals over the exchanges of a conversation."""
    findings = [
        finding for pair in pairs for finding in _findings(pair, f"{pair.case}: " if len(pairs) > 1 else "", seed)
    ]
    caveat = (
        f"Mini-experiment 1: {_counted(len(pairs), 'conversation')} under each condition. Intervals are over the "
        "exchanges of a conversation, which depend on each other; they say nothing of other conversations."
    )
    return Part(tuple(findings), (_table(pairs, seed),), tuple(map(_plot, pairs)), (caveat,))


def _pair(case: str, model: str, unsteered: Projections, capped: Projections) -> Pair:
    length = min(len(unsteered.roles), len(capped.roles))
    if not np.array_equal(unsteered.roles[:length], capped.roles[:length]):
        raise TraceError(capped.name, f"its roles are not those of {unsteered.name}", "the same conversation, twice")
    both = np.stack([unsteered.values[:length], capped.values[:length]], axis=1)
    roles = unsteered.roles[:length]
    # What comes before the first reply is the same under both conditions, whatever capping does.
    replied = int(np.flatnonzero(roles == _ASSISTANT)[:1].sum())
    known = np.asarray(np.isfinite(both).all(axis=1))
    turns = [
        row
        for row in range(replied + 1, length - 1)
        if roles[row] == _USER and roles[row + 1] == _ASSISTANT and known[row] and known[row + 1]
    ]
    if len(turns) < 3:
        raise TraceError(case, f"{len(turns)} of its exchanges have projections under both conditions", "at least 3")
    at = np.array(turns)
    same = sum(unsteered.texts[row] == capped.texts[row] for row in turns)
    return Pair(case, model, at, both[at], both[at + 1], same, roles, both)


def _findings(pair: Pair, prefix: str, seed: int) -> list[Finding]:
    rows = np.concatenate([pair.user, pair.assistant], axis=1)
    ratio = bootstrap(_ratio, rows, seed=seed)
    user, assistant = _moved(pair.user, seed), _moved(pair.assistant, seed)
    trend = correlation(pair.turns, pair.user[:, 1] - pair.user[:, 0], seed=seed)
    following = correlation(pair.turns, pair.user[:, 1], seed=seed)
    alike = correlation(pair.user[:, 0], pair.user[:, 1], seed=seed)
    held = mean(pair.assistant[:, 1], seed=seed)
    early, late = _thirds(pair.user[:, 1] - pair.user[:, 0])
    return [
        Finding(
            f"{pair.case}/ratio",
            f"{prefix}Capping the assistant's tokens moved the user's turns by {user.value:.1f} on average, and the "
            f"assistant's by {assistant.value:.1f}: {ratio.value:.1%} as much.",
            ratio,
            null="the two move alike (a ratio of 1)",
            passed=ratio.below(LARGEST_RATIO),
            source=EXPERIMENT_1,
        ),
        Finding(
            f"{pair.case}/correlation",
            f"{prefix}Turn by turn, the user's projections with and without capping go together: "
            f"r = {alike.value:.3f}.",
            alike,
            null="no relation (r = 0)",
            passed=alike.above(0),
            source=EXPERIMENT_1,
        ),
        Finding(
            f"{pair.case}/trend",
            f"{prefix}What little the user's turns are moved is no noise around zero: the difference goes from "
            f"{early:+.1f} in the first third of the conversation to {late:+.1f} in the last. Nearly the same is what "
            "the files bear out; the same, they do not."
            if trend.low is not None and trend.high is not None and trend.low * trend.high > 0
            else f"{prefix}The small difference of the user's turns goes from {early:+.1f} in the first third of the "
            f"conversation to {late:+.1f} in the last; a steady change cannot be told from chance.",
            trend,
            null="the difference does not change along the conversation (r = 0)",
            source=EXPERIMENT_1,
        ),
        Finding(
            f"{pair.case}/user-drift",
            f"{prefix}The user's turns move along the axis by themselves, from {pair.user[0, 1]:.0f} to "
            f"{pair.user[-1, 1]:.0f}, while the capped assistant stays at {held.value:.0f}: what the axis says on "
            "the user's tokens goes with what the user writes."
            if following.high is not None and following.high < 0
            else f"{prefix}Under capping the user's turns go from {pair.user[0, 1]:.0f} to {pair.user[-1, 1]:.0f}, and "
            f"the assistant stays at {held.value:.0f}.",
            following,
            null="the user's turns do not change along the conversation (r = 0)",
            source=EXPERIMENT_1,
        ),
        Finding(
            f"{pair.case}/pinned",
            f"{prefix}Capped, the assistant's turns lie at {held.value:.1f} on average, from "
            f"{pair.assistant[:, 1].min():.1f} to {pair.assistant[:, 1].max():.1f}.",
            held,
            source=EXPERIMENT_1,
        ),
    ]


def stated_beside(pairs: Sequence[Pair], *, seed: int = 0) -> list[tuple[Cell | Estimate, ...]]:
    """Rows of what was stated, where, what the files say, and whether they bear it out."""
    rows: list[tuple[Cell | Estimate, ...]] = []
    for pair in pairs:
        ratio = bootstrap(_ratio, np.concatenate([pair.user, pair.assistant], axis=1), seed=seed)
        rows.append(
            (
                f"{pair.case}: user turns capped and uncapped", "nearly identical", BY_SUPPLEMENT,
                f"they differ by {_moved(pair.user, seed).value:.1f}, assistant turns by "
                f"{_moved(pair.assistant, seed).value:.1f}", ratio,
                borne_out(ratio.high is not None and ratio.high < LARGEST_RATIO),
            )
        )  # fmt: skip
        if pair.case in HELD:
            held = mean(pair.assistant[:, 1], seed=seed)
            rows.append(
                (
                    f"{pair.case}: capped assistant turns", f"held at {HELD[pair.case]:+g}", BY_SUPPLEMENT,
                    f"{held.value:.1f} on average, {pair.assistant[:, 1].min():.1f} to "
                    f"{pair.assistant[:, 1].max():.1f}", held, borne_out(abs(held.value - HELD[pair.case]) < 1),
                )
            )  # fmt: skip
    return rows


def _table(pairs: Sequence[Pair], seed: int) -> Table:
    rows: list[tuple[Cell | Estimate, ...]] = []
    for pair in pairs:
        for role, both in (("user", pair.user), ("assistant", pair.assistant)):
            rows.append(
                (
                    pair.case, role, len(both), pair.same_words if role == "user" else None,
                    mean(both[:, 0], seed=seed), mean(both[:, 1], seed=seed),
                    paired_difference(both[:, 1], both[:, 0], seed=seed), _moved(both, seed),
                    correlation(both[:, 0], both[:, 1], seed=seed),
                )
            )  # fmt: skip
    return Table(
        "Mini-experiment 1: projections on the assistant axis, turn by turn",
        (
            "case", "role", "turns", "with the same words", "unsteered", "capped", "capped - unsteered",
            "moved by, without sign", "r of the two",
        ),
        rows,
    )  # fmt: skip


def _plot(pair: Pair) -> Plot:
    rows = {role: np.flatnonzero(pair.roles == code) for role, code in (("user", _USER), ("assistant", _ASSISTANT))}
    series = [
        Series(f"{role}, {kind}", at.tolist(), pair.values[at, column].tolist())
        for role, at in rows.items()
        for column, kind in enumerate(("unsteered", "capped"))
    ]
    return Plot(
        f"user-turns-{pair.case}",
        f"{pair.case}: turns of the user and of the assistant, unsteered and capped",
        "lines",
        "turn",
        "projection on the assistant axis",
        series,
        f"Published recordings of {pair.model}: the same words of the user, with and without capping of the "
        "assistant's tokens; each point is the mean over a turn's tokens. Above is the assistant.",
    )


def _moved(both: NDArray[np.float64], seed: int) -> Estimate:
    return mean(np.abs(both[:, 1] - both[:, 0]), seed=seed)


def _ratio(rows: NDArray[np.float64]) -> float:
    user, assistant = np.abs(rows[:, 1] - rows[:, 0]).mean(), np.abs(rows[:, 3] - rows[:, 2]).mean()
    return float(user / assistant) if assistant else math.nan


def _thirds(values: NDArray[np.float64]) -> tuple[float, float]:
    size = max(1, len(values) // 3)
    return float(values[:size].mean()), float(values[-size:].mean())


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
