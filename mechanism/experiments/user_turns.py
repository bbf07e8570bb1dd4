"""Mini-experiment 1 (§3.4): the projection is capped on the assistant's tokens alone; do the user's turns move too?

Each conversation is held four times with the same words of the user's: free; free once more, with other dice, which
says how far two conversations lie apart without anything being done; capped; and read again under capping, word for
word as the free one was, so that nothing differs but the capping.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mechanism.experiments.experiment import Experiment, Setting
from mechanism.experiments.lines import line, one_script, resting, share_in
from mechanism.experiments.talk import Exchanged, coordinate, pairs, read_again, talked
from mechanism.experiments.thresholds import Thresholds, layers_around
from mechanism.judges.judge import Judgement
from mechanism.outcome import Cell, Estimate, Finding, Outcome, Plot, Series, Table
from mechanism.recorder import Recorder
from mechanism.statistics import bootstrap, correlation, mean

LEAST = 1 / 8
"""User turns are to differ by less than this share of what assistant turns do."""

_NEUTRAL_FIRST = 2
_FREE, _AGAIN, _CAPPED, _READ = "free", "again", "capped", "read again"
_ROLES = ("user", "assistant")

Held = Mapping[str, Sequence[Exchanged]]


class UserTurns(Experiment):
    """Capping on the assistant's tokens only, and what the user's turns do meanwhile."""

    name = "user-turns"

    def run(self, setting: Setting) -> Outcome:
        """Hold the conversations, judge the replies, and compare turn with turn."""
        layers = layers_around(setting, setting.options.get("layers"))
        thresholds = Thresholds(setting, layers)
        quantile = setting.options["quantile"]
        held: list[Held] = []
        for number in range(count := self.number(setting)):
            setting.progress("Holding conversations", number, count)
            held.append(setting.unit(f"talk-{number:02d}", partial(self._held, setting, thresholds, number)))
        judged = {way: setting.judged(pairs(e for each in held for e in each[way])) for way in (_FREE, _CAPPED)}
        differences = _Differences(held, setting.axis)
        return Outcome(
            self.name, self.title, self.question, self.source,
            findings=_findings(setting, differences, judged),
            tables=[_by_role(differences, setting), _by_turn(differences, setting)],
            plots=[_course(differences, setting, thresholds, quantile), _scatter(differences, setting)],
            settings={"capped_layers": layers, "thresholds": [thresholds.height(quantile, each) for each in layers]},
            caveats=_caveats(setting, layers, count),
        )  # fmt: skip

    def _held(self, setting: Setting, thresholds: Thresholds, number: int, recorder: Recorder) -> Held:
        quantile, turns = setting.options["quantile"], setting.options["turns"]
        seed, name = setting.seed + number, f"capping at quantile {quantile:g}"
        neutral = min(_NEUTRAL_FIRST, turns)
        words = setting.material.neutral(seed, neutral)
        words += setting.material.pressure(setting.persona, seed, turns - neutral)
        found = {}
        for way, dice in ((_FREE, seed), (_AGAIN, seed + 5000), (_CAPPED, seed)):
            key = f"{recorder.free_key()}-{way}"
            with recorder.session(setting.host, key=key, sampling=setting.sampling, seed=dice) as session:
                if way == _CAPPED:
                    session.intervene(name, thresholds.capping(quantile))
                found[way] = talked(session, words)
        key = f"{recorder.free_key()}-{_READ.replace(' ', '-')}"
        with recorder.session(setting.host, key=key, sampling=setting.sampling, seed=seed) as session:
            session.intervene(name, thresholds.capping(quantile))
            found[_READ] = read_again(session, found[_FREE])
        return found


class _Differences:
    """Coordinates by way and role, [conversations, turns], and how far ways lie from the free one."""

    def __init__(self, held: Sequence[Held], axis: str) -> None:
        self.at: dict[tuple[str, str], NDArray[np.float64]] = {
            (way, role): np.array([[coordinate(each, role, axis) for each in one[way]] for one in held])
            for way in (_FREE, _AGAIN, _CAPPED, _READ)
            for role in _ROLES
        }
        self.conversations, self.turns = self.at[_FREE, "user"].shape
        self.groups = [number for number in range(self.conversations) for _ in range(self.turns)]

    def size(self, way: str, role: str) -> NDArray[np.float64]:
        """How far each turn lies from that of the free conversation, without its sign."""
        return np.abs(self.at[way, role] - self.at[_FREE, role]).ravel()

    def mean(self, way: str, role: str, seed: int) -> Estimate:
        """Where turns are."""
        return mean(self.at[way, role].ravel(), groups=self.groups, seed=seed)

    def mean_size(self, way: str, role: str, seed: int) -> Estimate:
        return mean(self.size(way, role), groups=self.groups, seed=seed)

    def mean_at(self, way: str, role: str, turn: int, seed: int) -> Estimate:
        """Where one turn is, over conversations."""
        return mean(self.at[way, role][:, turn], seed=seed)

    def mean_shift(self, way: str, role: str, seed: int) -> Estimate:
        return mean((self.at[way, role] - self.at[_FREE, role]).ravel(), groups=self.groups, seed=seed)

    def ratio(self, way: str, seed: int) -> Estimate:
        """How far user turns move for each unit that assistant turns do."""
        rows = np.stack([self.size(way, role) for role in _ROLES], axis=1)

        def of(some: NDArray[np.float64]) -> float:
            user, assistant = (column[np.isfinite(column)] for column in some.T)
            if not len(user) or not assistant.any():
                return math.nan
            return float(user.mean() / assistant.mean())

        return bootstrap(of, rows, groups=self.groups, seed=seed)

    def correlation(self, way: str, role: str, seed: int) -> Estimate:
        free, other = (self.at[each, role].ravel() for each in (_FREE, way))
        return correlation(free, other, groups=self.groups, seed=seed)


def _findings(setting: Setting, found: _Differences, judged: Mapping[str, Sequence[Judgement]]) -> list[Finding]:
    seed, axis, section = setting.seed, setting.axis, "§3.4, mini-experiment 1"
    ratio, read = found.ratio(_CAPPED, seed), found.ratio(_READ, seed)
    user, assistant = (found.mean_size(_CAPPED, role, seed) for role in _ROLES)
    acts, again = found.mean_shift(_READ, "assistant", seed), found.mean_size(_AGAIN, "user", seed)
    findings = [
        resting(
            "user turns stay",
            f"Where the assistant's tokens are capped, the user's turns move {ratio.value:.3f} times as far on {axis} "
            f"as the assistant's do ({user.value:.2f} against {assistant.value:.2f}).",
            [ratio, user, assistant], null=f"a share of {LEAST:g}: user turns that move an eighth as far",
            passed=ratio.below(LEAST), source=section,
        ),
        resting(
            "the same words",
            "With every word as it was and only the capping added, user turns move "
            f"{read.value:.3f} times as far as assistant turns.",
            [read], null=f"a share of {LEAST:g}", passed=read.below(LEAST),
            source=section,
        ),
        resting(
            "capping acts",
            f"With every word as it was, capping moves the assistant's turns by {acts.value:+.2f}.",
            [acts], null="no shift", passed=acts.above(0),
        ),
        resting(
            "user turns against chance",
            f"User turns lie {user.value:.2f} apart with capping, and {again.value:.2f} where the same conversation is "
            "merely sampled again.",
            [user, again], null="the same conversations sampled again, free",
        ),
    ]  # fmt: skip
    for role in _ROLES:
        r = found.correlation(_CAPPED, role, seed)
        statement = f"Over turns, the {role}'s coordinates with and without capping go together with r = {r.value:.2f}."
        findings.append(resting(f"correlation of {role} turns", statement, [r], source=section))
    for way, said in judged.items():
        if (in_it := share_in(setting.persona, said, found.groups)) is not None:
            statement = f"Of the {way} replies, {in_it.value:.0%} are judged to be {setting.persona}'s."
            findings.append(Finding(f"{way} replies in the persona", statement, in_it))
    return findings


def _by_role(found: _Differences, setting: Setting) -> Table:
    rows: list[tuple[Cell | Estimate, ...]] = []
    seed = setting.seed
    for role in _ROLES:
        for way in (_CAPPED, _READ, _AGAIN):
            compared = (found.mean_shift, found.mean_size, found.correlation)
            rows.append((role, way, found.mean(way, role, seed), *(each(way, role, seed) for each in compared)))
        rows.append((role, _FREE, found.mean(_FREE, role, seed), None, None, None))
    columns = ("turns of", "conversation", f"mean on {setting.axis}", "mean shift", "mean distance", "r over turns")
    return Table(f"Coordinates on {setting.axis} by role", columns, rows)


def _by_turn(found: _Differences, setting: Setting) -> Table:
    rows: list[tuple[Cell | Estimate, ...]] = [
        (turn + 1, *(found.mean_at(way, role, turn, setting.seed) for role in _ROLES for way in (_FREE, _CAPPED)))
        for turn in range(found.turns)
    ]
    columns = ("turn", "user, free", "user, capped", "assistant, free", "assistant, capped")
    return Table(f"Coordinates on {setting.axis} by turn", columns, rows)


def _course(found: _Differences, setting: Setting, thresholds: Thresholds, quantile: float) -> Plot:
    series = []
    for role in ("assistant", "user"):
        for way in (_FREE, _CAPPED):
            each = [found.mean_at(way, role, turn, setting.seed) for turn in range(found.turns)]
            series.append(line(f"{role}, {way}", range(1, found.turns + 1), each))
    lines = []
    if setting.layer in thresholds.layers:
        lines = [("cap", thresholds.height(quantile, setting.layer))]
    return Plot(
        "projections-by-role", "Where turns are, by role, capped and free", "lines",
        "exchange", f"projection on {setting.axis} (block {setting.layer})", series,
        f"Means over conversations ({found.conversations}), with 95 % intervals where there are enough of them. The "
        "user says the same words in both.",
        lines=lines,
    )  # fmt: skip


def _scatter(found: _Differences, setting: Setting) -> Plot:
    series = [
        Series(f"{role} turns", found.at[_FREE, role].ravel().tolist(), found.at[_CAPPED, role].ravel().tolist())
        for role in ("assistant", "user")
    ]
    return Plot(
        "capped-against-free", "Each turn, capped against free", "scatter", f"projection on {setting.axis}, free",
        f"projection on {setting.axis}, capped", series,
        "A turn that capping does not move lies on the diagonal.",
    )  # fmt: skip


def _caveats(setting: Setting, layers: Sequence[int], count: int) -> list[str]:
    caveats = []
    if setting.layer in layers:
        caveats.append(
            f"The coordinates are read at block {setting.layer}, where the cap acts: that the assistant's turns stay "
            "above it is so by construction. What is found out is what the user's turns do."
        )
    caveats.append(
        "That user turns do not move along the axis does not say that nothing about the persona is in them: a probe "
        "that is trained on them may read it all the same (individuate space test)."
    )
    pressed = setting.options["turns"] - min(_NEUTRAL_FIRST, setting.options["turns"])
    return caveats + one_script(setting, pressed, range(setting.seed, setting.seed + count))


EXPERIMENT: Experiment = UserTurns()
"""Mini-experiment 1."""
