"""Capping by dose (§3.4; Lu et al. 2026): is a projection that is held in place a persona that is held in place?

Each conversation is pressed towards a persona, free. Then it is forked for each dose, and questions without pressure
are answered with the cap on (a rescue). The same is done with a random direction, capped at the same quantile of its
own projections, as a control; and, for prevention, the whole conversation is held anew with the cap on from the start.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from mechanism.experiments.experiment import Experiment, Setting
from mechanism.experiments.lines import (
    is_assistants,
    line,
    one_script,
    resting,
    share_coherent,
    share_in,
    share_of,
)
from mechanism.experiments.material import ASSISTANT
from mechanism.experiments.talk import Exchanged, coordinate, pairs, talked
from mechanism.experiments.thresholds import OWN, RANDOM, Thresholds, layers_around
from mechanism.outcome import Cell, Estimate, Finding, Outcome, Plot, Table
from mechanism.recorder import Recorder
from mechanism.statistics import mean

RESCUE, CONTROL, PREVENTION = "rescue", "random direction", "prevention"
_WAYS = (RESCUE, CONTROL, PREVENTION)
_FREE = "free"
_SECTION = "§3.4; Lu et al. 2026"

Held = Mapping[str, Sequence[Exchanged]]
"""The questions and answers of one conversation: `free`, and `WAY DOSE` for each way and dose."""


class Dosed(Experiment):
    """Capping by dose: the projections, and whose words the replies are."""

    name = "capping"

    def run(self, setting: Setting) -> Outcome:
        """Hold the conversations, fork them for each dose, and judge the answers."""
        doses: list[float] = sorted(setting.options["doses"])
        thresholds = Thresholds(setting, layers_around(setting, setting.options["layers"]))
        held: list[Held] = []
        for number in range(count := self.number(setting)):
            setting.progress("Holding conversations", number, count)
            held.append(setting.unit(f"talk-{number:02d}", partial(self._held, setting, thresholds, doses, number)))
        measured = _Measured(setting, held, thresholds.exchanges)
        return Outcome(
            self.name, self.title, self.question, self.source,
            findings=_findings(setting, measured, doses),
            tables=[_by_dose(setting, measured, doses)],
            plots=[_words(setting, measured, doses), _projections(setting, measured, doses)],
            settings={"capped_layers": list(thresholds.layers)},
            caveats=_caveats(setting, thresholds, count),
        )  # fmt: skip

    def _held(
        self, setting: Setting, thresholds: Thresholds, doses: Sequence[float], number: int, recorder: Recorder
    ) -> Held:
        seed, options = setting.seed + number, setting.options
        pressure = setting.material.pressure(setting.persona, seed, options["pressed"])
        questions = setting.material.unrelated(seed, options["questions"])
        found: dict[str, Sequence[Exchanged]] = {}
        with recorder.session(setting.host, sampling=setting.sampling, seed=seed) as trunk:
            talked(trunk, pressure)
            for way, dose in [(_FREE, None), *((way, dose) for way in (RESCUE, CONTROL) for dose in doses)]:
                with trunk.fork() as branch:
                    if dose is not None:
                        _cap(branch, thresholds, dose, OWN if way == RESCUE else RANDOM)
                    found[_key(way, dose)] = talked(branch, questions)
        for dose in doses:
            key = f"{recorder.free_key()}-capped-{dose:g}"
            with recorder.session(setting.host, key=key, sampling=setting.sampling, seed=seed) as session:
                _cap(session, thresholds, dose, OWN)
                found[_key(PREVENTION, dose)] = talked(session, [*pressure, *questions])[len(pressure) :]
        return found


class _Measured:
    """Shares and projections by way and dose; whole conversations are resampled. `own`: those that nobody pressed."""

    def __init__(self, setting: Setting, held: Sequence[Held], own: Sequence[Sequence[Exchanged]]) -> None:
        self._setting = setting
        self._groups: dict[str, list[int]] = {}
        self._exchanges: dict[str, list[Exchanged]] = {}
        for courses in (held, [{ASSISTANT: exchanges} for exchanges in own]):
            for number, one in enumerate(courses):
                for key, exchanges in one.items():
                    self._exchanges.setdefault(key, []).extend(exchanges)
                    self._groups.setdefault(key, []).extend([number] * len(exchanges))
        self._judged = {key: setting.judged(pairs(exchanges)) for key, exchanges in self._exchanges.items()}

    def share(self, key: str) -> Estimate | None:
        """The share of the answers that are the persona's."""
        return share_in(self._setting.persona, self._judged[key], self._groups[key])

    def assistants(self, key: str) -> Estimate | None:
        """The share that are the assistant's."""
        told = (is_assistants(judgement, self._setting.persona) for judgement in self._judged[key])
        return share_of(told, self._groups[key])

    def coherent(self, key: str) -> Estimate | None:
        """The share of the answers that are whole text."""
        return share_coherent(self._judged[key], self._groups[key])

    def projection(self, key: str) -> Estimate:
        """Where the answers are on the axis."""
        setting = self._setting
        values = [coordinate(each, "assistant", setting.axis) for each in self._exchanges[key]]
        return mean(values, groups=self._groups[key], seed=setting.seed)


def _cap(session: Any, thresholds: Thresholds, dose: float, direction: str) -> None:
    of = "a random direction" if direction == RANDOM else thresholds.setting.axis
    session.intervene(f"{of} capped at quantile {dose:g}", thresholds.capping(dose, direction=direction))


def _key(way: str, dose: float | None) -> str:
    return way if dose is None else f"{way} {dose:g}"


def _findings(setting: Setting, found: _Measured, doses: Sequence[float]) -> list[Finding]:
    persona, findings = setting.persona, []
    middle = min(doses, key=lambda dose: (abs(dose - 0.5), dose))
    free, own = found.share(_FREE), found.share(ASSISTANT)
    projections = {key: found.projection(key) for key in (_FREE, _key(RESCUE, middle), ASSISTANT)}
    rescued, controlled = found.share(_key(RESCUE, middle)), found.share(_key(CONTROL, middle))
    there = projections[_key(RESCUE, middle)]
    findings.append(
        resting(
            "the projection is held",
            f"Capped at the quantile {middle:g} of the assistant's own, answers project to {there.value:.1f} on "
            f"{setting.axis}; free they are at {projections[_FREE].value:.1f}, the assistant's own at "
            f"{projections[ASSISTANT].value:.1f}.",
            [there, *projections.values()], null="the free answers of the same conversations",
            passed=there.above(projections[_FREE]), source=_SECTION,
        )
    )  # fmt: skip
    if free is not None and rescued is not None and own is not None:
        findings.append(
            Finding(
                "a good projection is not a restored persona",
                f"With their projections there, {rescued.value:.0%} of the answers are still {persona}'s (free: "
                f"{free.value:.0%}; where nobody pressed: {own.value:.0%}).",
                rescued, null="the assistant's own answers, where nobody pressed",
                passed=rescued.above(own), source=_SECTION,
            )
        )  # fmt: skip
    if controlled is not None and free is not None:
        findings.append(
            Finding(
                "a random direction",
                f"Capped on a random direction, {controlled.value:.0%} are {persona}'s (free: {free.value:.0%}).",
                controlled, null="the free answers",
            )
        )  # fmt: skip
    strongest = max(doses)
    whole, free_whole = found.coherent(_key(RESCUE, strongest)), found.coherent(_FREE)
    if whole is not None and free_whole is not None:
        findings.append(
            Finding(
                "the text",
                f"At the strongest dose ({strongest:g}), {whole.value:.0%} of the answers are whole text (free: "
                f"{free_whole.value:.0%}).",
                whole,
            )
        )  # fmt: skip
    prevented = found.share(_key(PREVENTION, middle))
    if prevented is not None:
        findings.append(
            Finding(
                "from the start",
                f"With the cap on from the first word, {prevented.value:.0%} are {persona}'s after the same pressure.",
                prevented, source=_SECTION,
            )
        )  # fmt: skip
    return findings


def _by_dose(setting: Setting, found: _Measured, doses: Sequence[float]) -> Table:
    keys: Iterable[tuple[str, float | None]] = [
        ("nobody pressed", None), (_FREE, None), *((way, dose) for way in _WAYS for dose in doses)
    ]  # fmt: skip
    rows: list[tuple[Cell | Estimate, ...]] = []
    for way, dose in keys:
        key = ASSISTANT if way == "nobody pressed" else _key(way, dose)
        shares = (found.share(key), found.assistants(key), found.coherent(key))
        rows.append((way, dose, found.projection(key), *shares))
    columns = (
        "cap", "dose (quantile)", f"answers on {setting.axis}", f"share {setting.persona}", "share assistant",
        "share whole text",
    )  # fmt: skip
    return Table("Answers by dose", columns, rows)


def _words(setting: Setting, found: _Measured, doses: Sequence[float]) -> Plot:
    series = [line(way, doses, [found.share(_key(way, dose)) for dose in doses]) for way in _WAYS]
    series.append(line(f"whole text, {RESCUE}", doses, [found.coherent(_key(RESCUE, dose)) for dose in doses]))
    lines = [
        (name, share.value)
        for name, key in (("free", _FREE), ("nobody pressed", ASSISTANT))
        if (share := found.share(key)) is not None
    ]
    return Plot(
        "words-by-dose", f"Answers that are {setting.persona}'s, by dose of capping", "lines",
        "capped at this quantile of the assistant's own projections", "share of answers", series,
        "Shares with 95 % intervals over conversations. Rescue: the cap comes after the pressure. Prevention: from the "
        "start.",
        lines=lines,
    )  # fmt: skip


def _projections(setting: Setting, found: _Measured, doses: Sequence[float]) -> Plot:
    series = [line(way, doses, [found.projection(_key(way, dose)) for dose in doses]) for way in _WAYS]
    lines = [("free", found.projection(_FREE).value), ("nobody pressed", found.projection(ASSISTANT).value)]
    return Plot(
        "projections-by-dose", f"Where answers are on {setting.axis}, by dose of capping", "lines",
        "capped at this quantile of the assistant's own projections",
        f"projection on {setting.axis} (block {setting.layer})", series,
        "Means with 95 % intervals; conversations are resampled whole.",
        lines=lines,
    )  # fmt: skip


def _caveats(setting: Setting, thresholds: Thresholds, count: int) -> list[str]:
    caveats = []
    if setting.layer in thresholds.layers:
        caveats.append(
            f"Projections are read at block {setting.layer}, where the cap acts: that they rise is so by construction."
        )
    caveats.append(
        "Answers of one conversation are alike: intervals are over whole conversations, and the assistant's own are "
        "those of the conversations that the thresholds were measured in."
    )
    return caveats + one_script(setting, setting.options["pressed"], range(setting.seed, setting.seed + count))


EXPERIMENT: Experiment = Dosed()
"""Capping by dose."""
