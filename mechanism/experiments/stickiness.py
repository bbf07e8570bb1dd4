"""Stickiness (§3.3, Hypothesis 3): does a persona stay without pressure, and does it come back when it is pushed away?

Staying: conversations that were pressed to a persona, that a system prompt began in it, and that nobody pressed; then
questions without pressure. Coming back: one reply is steered away from the persona, by so many lengths of the residual
stream; then the model is let go. A random direction of equal length is the control, and the assistant is steered
towards the persona in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise

from torch import Tensor

from mechanism.experiments.experiment import Experiment, Setting
from mechanism.experiments.lines import line, one_script, share_of
from mechanism.experiments.talk import Exchanged, coordinate, pairs, talked
from mechanism.experiments.thresholds import layers_around, random_direction
from mechanism.judges.judge import Judgement
from mechanism.outcome import Cell, Estimate, Finding, Outcome, Plot, Table
from mechanism.recorder import Recorder
from mechanism.session import Session
from mechanism.statistics import mean
from mechanism.steering import Steering

_STARTS = ("pressed", "prompted", "nobody pressed")
_AWAY, _RANDOM, _TOWARDS = "away from the persona", "a random direction", "the assistant, towards the persona"
_PUSHES = (_AWAY, _RANDOM, _TOWARDS)
_NEUTRAL_FIRST = 2
_SECTION = "§3.3, Hypothesis 3"

Held = Mapping[str, Sequence[Exchanged]]


class Stickiness(Experiment):
    """Staying without pressure, and coming back after a push of a given size."""

    name = "stickiness"

    def run(self, setting: Setting) -> Outcome:
        """Hold the conversations, push single replies, and follow whose words come after."""
        coefficients: list[float] = sorted(setting.options["coefficients"])
        layers = layers_around(setting, setting.options["layers"])
        held: list[Held] = []
        for number in range(count := self.number(setting)):
            setting.progress("Holding conversations", number, count)
            compute = partial(self._held, setting, _Pushes(setting, layers, coefficients), number)
            held.append(setting.unit(f"talk-{number:02d}", compute))
        measured = _Measured(setting, held)
        return Outcome(
            self.name, self.title, self.question, self.source,
            findings=[*_staying(setting, measured), *_coming_back(setting, measured, coefficients)],
            tables=[_by_turn(setting, measured), _rates(setting, measured), _by_push(setting, measured, coefficients)],
            plots=[_course(setting, measured), _returns(setting, measured, coefficients),
                   *([_after(setting, measured, coefficients)] if setting.options["after"] else [])],
            settings={"steered_layers": layers},
            caveats=[
                "A steered reply may be broken text, which the model then reads as what it said: the push goes on in "
                "words after the steering has ended. The random direction shows how much of the effect that is.",
                *one_script(setting, setting.options["pressed"], range(setting.seed, setting.seed + count)),
            ],
        )  # fmt: skip

    def _held(self, setting: Setting, pushes: _Pushes, number: int, recorder: Recorder) -> Held:
        seed, options = setting.seed + number, setting.options
        pressure = setting.material.pressure(setting.persona, seed, options["pressed"])
        questions = setting.material.unrelated(seed, max(options["turns"], options["after"] + 1))
        stay, back = questions[: options["turns"]], questions[: options["after"] + 1]
        found: dict[str, Sequence[Exchanged]] = {}
        with recorder.session(setting.host, sampling=setting.sampling, seed=seed) as trunk:
            found["pressure"] = talked(trunk, pressure)
            for direction in (_AWAY, _RANDOM):
                found |= pushes.done(trunk, direction, back)
            found[_STARTS[0]] = talked(trunk, stay)
        if (prompt := setting.material.prompt(setting.persona)) is not None:
            key = f"{recorder.free_key()}-prompted"
            with recorder.session(setting.host, key=key, sampling=setting.sampling, seed=seed) as session:
                asked = [{"role": "system", "content": prompt}, {"role": "user", "content": stay[0]}]
                *before, first = setting.host.template.accepted(asked)
                for message in before:
                    session.say(message["content"], message["role"])
                found[_STARTS[1]] = talked(session, [first["content"], *stay[1:]])
        key = f"{recorder.free_key()}-calm"
        with recorder.session(setting.host, key=key, sampling=setting.sampling, seed=seed) as calm:
            talked(calm, setting.material.neutral(seed, _NEUTRAL_FIRST))
            found |= pushes.done(calm, _TOWARDS, back)
            found[_STARTS[2]] = talked(calm, stay)
        return found


class _Pushes:
    """Steering of one reply, in each direction and by each coefficient."""

    def __init__(self, setting: Setting, layers: Sequence[int], coefficients: Sequence[float]) -> None:
        self._layers, self._coefficients = list(layers), coefficients
        space, persona = setting.space, setting.persona
        axis = space.vectors[space.axes.index(setting.axis)]
        # An axis that is the persona's own leads there; else there is the other end of the axis that is looked at.
        own = persona in space.axes and all(layer in space.given(persona) for layer in layers)
        towards = space.vectors[space.axes.index(persona)] if own else -axis
        self._vectors: dict[str, Tensor] = {
            _AWAY: -towards if own and setting.axis == persona else axis,
            _RANDOM: random_direction(setting),
            _TOWARDS: towards,
        }

    def done(self, session: Session, direction: str, questions: Sequence[str]) -> dict[str, Sequence[Exchanged]]:
        """Forks in which the first question is answered under steering and the others without."""
        found: dict[str, Sequence[Exchanged]] = {}
        for coefficient in self._coefficients:
            with session.fork() as branch:
                name = f"{direction}, by {coefficient:g}"
                steering = Steering(self._vectors[direction], coefficient, self._layers, "assistant", relative=True)
                branch.intervene(name, steering)
                pushed = talked(branch, questions[:1])
                branch.relent(name)
                found[name] = [*pushed, *talked(branch, questions[1:])]
        return found


class _Measured:
    """What was said, judged: for each kind of course, conversations and their exchanges."""

    def __init__(self, setting: Setting, held: Sequence[Held]) -> None:
        self._setting = setting
        keys = [key for key in held[0] if all(key in one for one in held)]
        self.courses = {key: [one[key] for one in held] for key in keys}
        self.judged: dict[str, list[list[Judgement]]] = {
            key: [setting.judged(pairs(one)) for one in courses] for key, courses in self.courses.items()
        }
        persona = setting.persona
        self.begun = [bool(one and one[-1].shows(persona)) for one in self.judged["pressure"]]
        """Whether the last reply under pressure was the persona's: only then is there something to stay."""

    def shown(self, key: str) -> list[list[bool | None]]:
        """For each conversation, whether each reply was the persona's. Pressed ones count where they began in it."""
        kept = self.judged[key]
        if key == _STARTS[0] or key.startswith((_AWAY, _RANDOM)):
            kept = [one for one, begun in zip(kept, self.begun, strict=True) if begun]
        return [[each.shows(self._setting.persona) for each in one] for one in kept]

    def shares(self, key: str) -> list[Estimate | None]:
        """The share of replies in the persona, turn by turn."""
        shown = self.shown(key)
        return [share_of(turn, range(len(shown))) for turn in zip(*shown, strict=True)]

    def last(self, key: str) -> Estimate | None:
        """The same at the last turn."""
        shares = self.shares(key)
        return shares[-1] if shares else None

    def steps(self, key: str, inside: bool) -> Estimate | None:
        """How often the next reply is the persona's, where one is (`inside`) or is not."""
        steps = [
            (following, number)
            for number, one in enumerate(self.shown(key))
            for now, following in pairwise(one)
            if now is inside
        ]
        return share_of([following for following, _ in steps], [number for _, number in steps])

    def pushed(self, key: str) -> Estimate:
        """Where the steered reply is on the axis."""
        axis = self._setting.axis
        return mean([coordinate(one[0], "assistant", axis) for one in self.courses[key]], seed=self._setting.seed)


def _staying(setting: Setting, found: _Measured) -> list[Finding]:
    findings, persona, turns = [], setting.persona, setting.options["turns"]
    calm = found.last(_STARTS[2])
    for start in _STARTS[:2]:
        if start not in found.courses or (stays := found.last(start)) is None:
            continue
        of = f"conversations that were {start}" + (" and had come to it" if start == _STARTS[0] else " to it")
        findings.append(
            Finding(
                f"it stays, {start}",
                f"Of {stays.n} {of}, {stays.value:.0%} speak as {persona} after {turns} exchanges without pressure.",
                stays, null="conversations that nobody pressed",
                passed=None if calm is None else stays.above(calm), source=_SECTION,
            )
        )  # fmt: skip
    inside, outside = found.steps(_STARTS[0], True), found.steps(_STARTS[0], False)
    if inside is not None:
        back = "" if outside is None else f" After one that is not, it is {outside.value:.0%} of the time."
        findings.append(
            Finding(
                "from reply to reply",
                f"A reply that is {persona}'s is followed by another one {inside.value:.0%} of the time.{back}",
                inside, source=_SECTION,
            )
        )  # fmt: skip
    return findings


def _coming_back(setting: Setting, found: _Measured, coefficients: Sequence[float]) -> list[Finding]:
    findings, persona, after = [], setting.persona, setting.options["after"]
    said = {
        _AWAY: f"replies after one that was steered away from {persona} are {persona}'s again",
        _RANDOM: f"replies after one that was steered in a random direction are {persona}'s",
        _TOWARDS: f"replies of an assistant after one that was steered towards {persona} are {persona}'s",
    }
    for direction in _PUSHES:
        ends = [(each, found.last(f"{direction}, by {each:g}")) for each in coefficients]
        known = [(each, share) for each, share in ends if share is not None]
        if not known:
            continue
        start = _STARTS[2] if direction == _TOWARDS else _STARTS[0]
        without = [share for share in found.shares(start)[: after + 1] if share is not None]
        null = f"no push: {without[-1].value:.0%}" if without else "no push"
        told = ", ".join(f"{share.value:.0%} at {each:g}" for each, share in known)
        findings.append(
            Finding(
                f"pushed: {direction}",
                f"{after} exchanges later, {said[direction]}: {told} lengths of the residual stream.",
                known[-1][1], null=null, source=_SECTION,
            )
        )  # fmt: skip
    return findings


def _by_turn(setting: Setting, found: _Measured) -> Table:
    starts = [start for start in _STARTS if start in found.courses]
    shares = {start: found.shares(start) for start in starts}
    rows: list[tuple[Cell | Estimate, ...]] = [
        (turn + 1, *(shares[start][turn] if turn < len(shares[start]) else None for start in starts))
        for turn in range(setting.options["turns"])
    ]
    return Table(f"Share {setting.persona} without pressure", ("exchange", *starts), rows)


def _rates(setting: Setting, found: _Measured) -> Table:
    rows: list[tuple[Cell | Estimate, ...]] = [
        (start, found.steps(start, True), found.steps(start, False)) for start in _STARTS if start in found.courses
    ]
    columns = ("conversations", f"stays {setting.persona}'s, from reply to reply", f"becomes {setting.persona}'s")
    return Table("From one reply to the next", columns, rows)


def _by_push(setting: Setting, found: _Measured, coefficients: Sequence[float]) -> Table:
    after = setting.options["after"]
    rows: list[tuple[Cell | Estimate, ...]] = []
    for start, name in ((_STARTS[0], "none, from the persona"), (_STARTS[2], "none, from the assistant")):
        shares = [*found.shares(start)[: after + 1]]
        rows.append((name, 0.0, found.pushed(start), *shares, *[None] * (after + 1 - len(shares))))
    for direction in _PUSHES:
        for each in coefficients:
            key = f"{direction}, by {each:g}"
            shares = found.shares(key) or [None] * (after + 1)
            rows.append((direction, each, found.pushed(key), *shares))
    columns = (
        "push", "size (lengths of the residual stream)", f"steered reply on {setting.axis}",
        f"share {setting.persona}, steered", *(f"{n} later" for n in range(1, after + 1)),
    )  # fmt: skip
    return Table("After a push", columns, rows)


def _course(setting: Setting, found: _Measured) -> Plot:
    x = range(1, setting.options["turns"] + 1)
    series = [line(start, x, found.shares(start)) for start in _STARTS if found.shares(start)] if x else []
    return Plot(
        "staying", f"Replies that are {setting.persona}'s when nobody presses", "lines", "exchange without pressure",
        "share of replies", series,
        "Shares with 95 % intervals over conversations. Pressed conversations are those whose last reply under "
        "pressure was the persona's.",
    )  # fmt: skip


def _returns(setting: Setting, found: _Measured, coefficients: Sequence[float]) -> Plot:
    x = [0.0, *coefficients]
    after = setting.options["after"]
    series = []
    for direction, start in zip(_PUSHES, (_STARTS[0], _STARTS[0], _STARTS[2]), strict=True):
        without = found.shares(start)[: after + 1]
        ends = [without[-1] if without else None, *(found.last(f"{direction}, by {each:g}") for each in coefficients)]
        if any(end is not None for end in ends):
            series.append(line(direction, x, ends))
    return Plot(
        "after-a-push", f"Whose words: {after} exchanges after one steered reply", "lines",
        "size of the push, in lengths of the residual stream", f"share of replies that are {setting.persona}'s", series,
        "One reply is steered, then the model is let go. Shares with 95 % intervals over conversations.",
    )  # fmt: skip


def _after(setting: Setting, found: _Measured, coefficients: Sequence[float]) -> Plot:
    x = range(setting.options["after"] + 1)
    series = [
        line(f"pushed by {each:g}", x, shares)
        for each in coefficients
        if (shares := found.shares(f"{_AWAY}, by {each:g}"))
    ]
    without = found.shares(_STARTS[0])[: len(x)]
    series.insert(0, line("not pushed", list(x)[: len(without)], without))
    return Plot(
        "course-after-a-push", f"After a push away from {setting.persona}, exchange by exchange", "lines",
        "exchanges after the steered one (0)", f"share of replies that are {setting.persona}'s", series,
        "Shares with 95 % intervals over conversations.",
    )  # fmt: skip


EXPERIMENT: Experiment = Stickiness()
"""Staying, and coming back."""
