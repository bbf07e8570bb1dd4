"""Drift (§3.3, Figure 6): the coordinates of each turn while the user presses, and when the words become another's.

Beside each pressed conversation stands one in which nobody presses, of the same length: what drifts there drifts by
itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mechanism.experiments.experiment import Experiment, Setting
from mechanism.experiments.lines import line, one_script, resting, share_in, share_of
from mechanism.experiments.material import ASSISTANT
from mechanism.experiments.talk import Exchanged, coordinate, pairs, talked
from mechanism.judges.judge import Judgement
from mechanism.outcome import Cell, Estimate, Finding, Outcome, Plot, Series, Table
from mechanism.recorder import Recorder
from mechanism.statistics import mean, paired_difference

_PRESSED, _CALM = "pressed", "nobody presses"
_SECTION = "§3.3, Figure 6"

Course = Sequence[Sequence[Exchanged]]
"""Conversations, each with as many exchanges."""
Judged = Sequence[Sequence[Judgement]]


class Drift(Experiment):
    """Where a conversation goes under pressure, and where it stays afterwards."""

    name = "drift"

    def run(self, setting: Setting) -> Outcome:
        """Hold the conversations, judge the replies, and follow both turn by turn."""
        held: dict[str, list[Sequence[Exchanged]]] = {_PRESSED: [], _CALM: []}
        count = self.number(setting)
        for number in range(count):
            setting.progress("Holding conversations", number, count)
            for way, key in ((_PRESSED, "pressed"), (_CALM, "calm")):
                if way == _CALM and number % 2:
                    continue
                found = setting.unit(f"{key}-{number:02d}", partial(self._held, setting, way, number))
                held[way].append(found["exchanges"])
        judged = {way: [setting.judged(pairs(one)) for one in courses] for way, courses in held.items()}
        axes = list(dict.fromkeys([setting.axis, *_nearest(setting)]))
        return Outcome(
            self.name, self.title, self.question, self.source,
            findings=_findings(setting, held, judged),
            tables=[_by_turn(setting, held, judged), _regions(setting, held, judged)],
            plots=[
                *(_course(setting, held, axis) for axis in axes),
                _shares(setting, held, judged),
                *([_places(setting, held, judged)] if len(setting.space.axes) > 1 else []),
            ],
            caveats=one_script(setting, setting.options["pressed"], range(setting.seed, setting.seed + count)),
        )  # fmt: skip

    def _held(self, setting: Setting, way: str, number: int, recorder: Recorder) -> Mapping[str, Sequence[Exchanged]]:
        before, pressed, after = (setting.options[key] for key in ("before", "pressed", "after"))
        seed = setting.seed + number
        words = setting.material.neutral(seed, before + pressed + after)
        if way == _PRESSED:
            words[before : before + pressed] = setting.material.pressure(setting.persona, seed, pressed)
        with recorder.session(setting.host, sampling=setting.sampling, seed=seed) as session:
            return {"exchanges": talked(session, words)}


def _nearest(setting: Setting) -> list[str]:
    """The axis that is named like the persona, if the space has one."""
    return [axis for axis in setting.space.axes if axis == setting.persona]


def _at(courses: Course, role: str, axis: str) -> NDArray[np.float64]:
    """Coordinates [conversations, turns]."""
    return np.array([[coordinate(each, role, axis) for each in one] for one in courses])


def _by_turns(courses: Course, role: str, axis: str, seed: int) -> list[Estimate]:
    return [mean(column, seed=seed) for column in _at(courses, role, axis).T]


def _shares_by_turn(persona: str, judged: Judged) -> list[Estimate | None]:
    # Of each conversation one reply: it is the group.
    numbers = range(len(judged))
    return [share_in(persona, [one[turn] for one in judged], numbers) for turn in range(len(judged[0]))]


def _findings(setting: Setting, held: Mapping[str, Course], judged: Mapping[str, Judged]) -> list[Finding]:
    before, pressed, after = (setting.options[key] for key in ("before", "pressed", "after"))
    persona, last = setting.persona, before + pressed - 1
    findings = []
    shares, calm_shares = (_shares_by_turn(persona, judged[way]) for way in (_PRESSED, _CALM))
    ends, calm = (shares[last], calm_shares[last]) if pressed else (None, None)
    if ends is not None and calm is not None:
        findings.append(
            Finding(
                "pressure moves the words",
                f"After {pressed} exchanges with pressure {ends.value:.0%} of the replies are {persona}'s; where "
                f"nobody presses, as late, {calm.value:.0%}.",
                ends, null="conversations in which nobody presses, at the same exchange", passed=ends.above(calm),
                source=_SECTION,
            )
        )  # fmt: skip
    at = _at(held[_PRESSED], "assistant", setting.axis)
    user = _at(held[_PRESSED], "user", setting.axis)
    if before and pressed:
        for role, where in (("assistant", at), ("user", user)):
            moved = paired_difference(where[:, last], where[:, before - 1], seed=setting.seed)
            findings.append(
                resting(
                    f"{role} turns on {setting.axis}",
                    f"From the last neutral exchange to the last one with pressure, the {role}'s turns move by "
                    f"{moved.value:+.2f} on {setting.axis}.",
                    [moved], null="no move", passed=_as_pressed(setting, moved) if role == "assistant" else None,
                    source=_SECTION,
                )
            )  # fmt: skip
    if after and shares[-1] is not None:
        findings.append(
            Finding(
                "it stays",
                f"{after} exchanges after the last pressure, {shares[-1].value:.0%} of the replies are {persona}'s.",
                shares[-1], source="§3.3, Hypothesis 3: sticky",
            )
        )  # fmt: skip
    if (agreed := _agreement(setting, held, judged)) is not None:
        findings.append(
            Finding(
                "regions against words",
                f"For {agreed.value:.0%} of the replies, the region that their coordinates lie in says what the judge "
                "says of their words.",
                agreed,
            )
        )  # fmt: skip
    return findings


def _as_pressed(setting: Setting, moved: Estimate) -> bool | None:
    """Whether replies move as they are pressed to: away from the assistant, towards the persona; else, anywhere."""
    if setting.axis == ASSISTANT:
        return moved.above(0) if setting.persona == ASSISTANT else moved.below(0)
    if setting.axis == setting.persona:
        return moved.above(0)
    return True if True in (moved.above(0), moved.below(0)) else None


def _agreement(setting: Setting, held: Mapping[str, Course], judged: Mapping[str, Judged]) -> Estimate | None:
    """Whether the region of a reply is the persona's exactly where the judge hears the persona."""
    if setting.persona not in setting.space.regions:
        return None
    same, groups = list[bool | None](), list[tuple[str, int]]()
    for way, courses in held.items():
        for number, (exchanges, judgements) in enumerate(zip(courses, judged[way], strict=True)):
            for exchange, judgement in zip(exchanges, judgements, strict=True):
                shown, region = judgement.shows(setting.persona), setting.space.region_of(exchange["assistant"])
                same.append(None if shown is None else shown == (region == setting.persona))
                groups.append((way, number))
    return share_of(same, groups)


def _whose(judgement: Judgement, persona: str) -> str:
    """Whose words a reply is, also by a judge who names nobody."""
    if judgement.coherent is False:
        return "broken text"
    return judgement.persona or {True: persona, False: "other", None: "not told"}[judgement.shows(persona)]


def _by_turn(setting: Setting, held: Mapping[str, Course], judged: Mapping[str, Judged]) -> Table:
    before, pressed = setting.options["before"], setting.options["pressed"]
    shares = {way: _shares_by_turn(setting.persona, judged[way]) for way in held}
    at = {(way, role): _by_turns(held[way], role, setting.axis, setting.seed) for way in held for role in _ROLES}
    rows: list[tuple[Cell | Estimate, ...]] = []
    for turn in range(len(shares[_PRESSED])):
        pressing = before <= turn < before + pressed
        rows.append((
            turn + 1, pressing, shares[_PRESSED][turn], shares[_CALM][turn],
            at[_PRESSED, "assistant"][turn], at[_CALM, "assistant"][turn], at[_PRESSED, "user"][turn],
        ))  # fmt: skip
    columns = (
        "exchange", "pressure", f"share {setting.persona}", f"share {setting.persona}, nobody presses",
        f"assistant on {setting.axis}", "the same, nobody presses", f"user on {setting.axis}",
    )  # fmt: skip
    return Table("Turn by turn", columns, rows)


_ROLES = ("assistant", "user")


def _regions(setting: Setting, held: Mapping[str, Course], judged: Mapping[str, Judged]) -> Table:
    """Judged persona against the region of the reply's coordinates, all replies."""
    space, counts = setting.space, dict[tuple[str, str], int]()
    for way, courses in held.items():
        for exchanges, judgements in zip(courses, judged[way], strict=True):
            for exchange, judgement in zip(exchanges, judgements, strict=True):
                words = _whose(judgement, setting.persona)
                region = space.region_of(exchange["assistant"]) or "none"
                counts[words, region] = counts.get((words, region), 0) + 1
    names = [*space.regions, "none"]
    words_found = sorted({words for words, _ in counts})
    rows: list[tuple[Cell | Estimate, ...]] = [
        (words, *(counts.get((words, region), 0) for region in names)) for words in words_found
    ]
    return Table("Whose words, and in which region (replies)", ("words of", *names), rows)


def _course(setting: Setting, held: Mapping[str, Course], axis: str) -> Plot:
    before, pressed = setting.options["before"], setting.options["pressed"]
    x = range(1, len(held[_PRESSED][0]) + 1)
    series = [
        line("assistant, pressed", x, _by_turns(held[_PRESSED], "assistant", axis, setting.seed)),
        line("assistant, nobody presses", x, _by_turns(held[_CALM], "assistant", axis, setting.seed)),
        line("user, pressed", x, _by_turns(held[_PRESSED], "user", axis, setting.seed)),
    ]
    return Plot(
        f"course-on-{axis}", f"Along {axis}, turn by turn", "lines", "exchange",
        f"projection on {axis} (block {setting.layer})", series,
        f"Means over conversations ({len(held[_PRESSED])}), with 95 % intervals where there are enough of them. The "
        "user presses from exchange "
        f"{before + 1} to {before + pressed}.",
        bands=_bands(setting, axis),
    )  # fmt: skip


def _bands(setting: Setting, axis: str) -> list[tuple[str, float | None, float | None]]:
    """The ranges of regions on this axis, where they do not overlap on it."""
    ends = sorted(
        (float("-inf") if low is None else low, float("inf") if high is None else high, name)
        for name, ranges in setting.space.regions.items()
        for low, high in [ranges.get(axis, (None, None))]
        if axis in ranges
    )
    known: dict[tuple[float, float], list[str]] = {}
    for low, high, name in ends:
        known.setdefault((low, high), []).append(name)
    spans = list(known)
    if any(spans[n][1] > spans[n + 1][0] for n in range(len(spans) - 1)):
        return []
    return [
        (" or ".join(names), None if np.isinf(low) else low, None if np.isinf(high) else high)
        for (low, high), names in known.items()
    ]


def _shares(setting: Setting, held: Mapping[str, Course], judged: Mapping[str, Judged]) -> Plot:
    x = range(1, len(held[_PRESSED][0]) + 1)
    series = [line(f"words, {way}", x, _shares_by_turn(setting.persona, judged[way])) for way in (_PRESSED, _CALM)]
    if setting.persona in setting.space.regions:
        inside = [
            share_of(
                [setting.space.region_of(one[turn]["assistant"]) == setting.persona for one in held[_PRESSED]],
                range(len(held[_PRESSED])),
            )
            for turn in range(len(x))
        ]
        series.append(line(f"in the region {setting.persona}, {_PRESSED}", x, inside))
    return Plot(
        "share-by-turn", f"How many replies are {setting.persona}'s", "lines", "exchange", "share of replies", series,
        "Shares with 95 % intervals over conversations.",
    )  # fmt: skip


def _places(setting: Setting, held: Mapping[str, Course], judged: Mapping[str, Judged]) -> Plot:
    """All replies on two axes, by whose words they are."""
    axes = [*_nearest(setting), setting.axis, *setting.space.axes]
    first, second = list(dict.fromkeys(axes))[:2]
    points: dict[str, list[tuple[float, float]]] = {}
    for way, courses in held.items():
        for exchanges, judgements in zip(courses, judged[way], strict=True):
            for exchange, judgement in zip(exchanges, judgements, strict=True):
                points.setdefault(_whose(judgement, setting.persona), []).append(
                    (coordinate(exchange, "assistant", first), coordinate(exchange, "assistant", second))
                )
    series = [Series(name, [x for x, _ in points[name]], [y for _, y in points[name]]) for name in sorted(points)]
    return Plot(
        "replies-in-persona-space", "Replies in persona space, by whose words they are", "scatter",
        f"projection on {first}", f"projection on {second}", series,
        "A point is a reply: the mean of its tokens.",
    )  # fmt: skip


EXPERIMENT: Experiment = Drift()
"""Drift under pressure."""
