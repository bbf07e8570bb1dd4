"""What handovers within a reply do: how far the next token moves, how much of the reply stays, and whose it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from mechanism.experiments.handovers import NOTHING, PREFILL, SWITCH, TRANSFER
from mechanism.experiments.lines import is_assistants, line, one_script, share_of
from mechanism.experiments.setting import Setting
from mechanism.judges.judge import Judgement
from mechanism.outcome import Cell, Estimate, Finding, Plot, Table
from mechanism.statistics import mean

ANEW = "the same model, sampled anew"
"""No handover, and other dice: what chance alone changes."""

ALONE = "the other model, asked alone"
"""The last question without the conversation: what the other model does by itself."""

_ALL = (NOTHING, TRANSFER, PREFILL, SWITCH, ANEW, ALONE)
_PARTS = (0.0, 0.25, 0.5, 0.75, 1.0)
_SECTION = {TRANSFER: "§2.3", PREFILL: "§2.3", SWITCH: "§2.2"}

Parts = tuple[Sequence[Finding], Sequence[Table], Sequence[Plot]]


class Handed(NamedTuple):
    """One reply that was handed over. `part`: how much of it stood, upwards to a quarter; `stays`: share of the rest
    that is said all the same; `kl` in nats; `speaker`: whether it is the same speaker's as the reply without a
    handover, None where that could not be told."""

    talk: int
    pressed: bool
    how: str
    part: float
    stays: float
    kl: float | None
    judgement: Judgement
    speaker: bool | None


class Switched:
    """All replies that were handed over, judged. `held` is what the units returned."""

    def __init__(self, setting: Setting, held: Sequence[Mapping[str, Any]]) -> None:
        self.setting = setting
        self.replies: list[Judgement] = setting.judged([(one["question"], one["reply"]) for one in held])
        asked = [(one["question"], each["text"]) for one in held for each in one["handed"]]
        judged = iter(setting.judged(asked))
        self.all = [
            Handed(
                talk, one["pressed"], each["how"], math.ceil(4 * each["place"] / max(1, one["tokens"])) / 4,
                each["stays"], each["kl"], told := next(judged), _same_speaker(setting, self.replies[talk], told),
            )
            for talk, one in enumerate(held)
            for each in one["handed"]
        ]  # fmt: skip
        self.pressed = [bool(one["pressed"]) for one in held]

    def of(self, how: str, *, part: float | None = None, pressed: bool | None = None) -> list[Handed]:
        """Those of one kind, where a part of the reply stood, and in conversations that were pressed or not."""
        return [
            each
            for each in self.all
            if each.how == how and part in (None, each.part) and pressed in (None, each.pressed)
        ]

    def stays(self, some: Sequence[Handed]) -> Estimate | None:
        """How much of what was to be said is said all the same; conversations are resampled whole."""
        return self._mean([(each.talk, each.stays) for each in some])

    def kl(self, some: Sequence[Handed]) -> Estimate | None:
        """The mean divergence of the next token, in nats."""
        return self._mean([(each.talk, each.kl) for each in some if each.kl is not None])

    def share(self, some: Sequence[Handed], told: Callable[[Handed], bool | None]) -> Estimate | None:
        """The share of replies of which something holds; places of one conversation are alike, so whole conversations
        are resampled."""
        return share_of(map(told, some), [each.talk for each in some])

    def _mean(self, values: Sequence[tuple[int, float]]) -> Estimate | None:
        if not values:
            return None
        return mean([value for _, value in values], groups=[talk for talk, _ in values], seed=self.setting.seed)

    def caveats(self, one_vocabulary: bool) -> list[str]:
        """What holds of all of it."""
        pressed = [self.setting.seed + talk for talk, each in enumerate(self.pressed) if each]
        caveats = [
            "Places of one reply are alike: intervals are over whole conversations.",
            *one_script(self.setting, self.setting.options["pressed"], pressed),
            "That a transfer and a pre-fill give the same reply is so up to the rounding of the model's numbers: "
            "at a near tie of two words a pre-fill may choose the other. Fewer digits (--dtype bfloat16) show it.",
        ]
        if not one_vocabulary:
            caveats.append("The two models cut text into other tokens, so that their next tokens cannot be compared.")
        return caveats


def outcome_parts(setting: Setting, found: Switched) -> Parts:
    """Findings, tables and plots."""
    return _findings(setting, found), [_by_handover(found), _by_place(found)], [_stays(found), _divergences(found)]


def _findings(setting: Setting, found: Switched) -> list[Finding]:
    findings = []
    for how, done in ((TRANSFER, "a transfer of the cache"), (PREFILL, "a pre-fill of the words")):
        some = found.of(how)
        same, worst = found.share(some, _word_for_word), max((each.kl or 0.0 for each in some), default=0.0)
        if same is None:
            continue
        findings.append(
            Finding(
                how,
                f"After {done} on another server, {same.value:.0%} of {same.n} replies go on word for word; the next "
                f"token's distribution moves by {worst:.2g} nats at most.",
                same, null="the same reply without a handover", passed=same.value == 1, source=_SECTION[how],
            )
        )  # fmt: skip
    switched, anew = found.of(SWITCH), found.of(ANEW)
    stays, chance = found.stays(switched), found.stays(anew)
    if stays is not None and chance is not None:
        kl = found.kl(switched)
        told = "" if kl is None else f" The next token's distribution is {kl.value:.2g} nats away."
        findings.append(
            Finding(
                "a switch changes the words",
                f"After a switch to {_named(setting)}, {stays.value:.0%} of what was still to be said is said before "
                f"the first difference; with the same model sampled anew, {chance.value:.0%}.{told}",
                stays, null=ANEW, source=_SECTION[SWITCH],
            )
        )  # fmt: skip
        ends = [found.stays([each for each in switched if each.part == part]) for part in (_PARTS[0], _PARTS[-1])]
        if all(ends):
            said = [f"{each.value:.0%}" for each in ends if each is not None]
            findings.append(
                Finding(
                    "the longer it stands, the more stays",
                    f"Switched before the first word, {said[0]} of the reply is said; switched in its last quarter, "
                    f"{said[1]} of the rest.",
                    ends[1], null="a switch before the first word", source=_SECTION[SWITCH],
                )
            )  # fmt: skip
    return [*findings, *_whose(setting, found)]


def _whose(setting: Setting, found: Switched) -> Iterable[Finding]:
    """Whose the replies are after a switch, in conversations that were pressed and in others."""
    for pressed in (True, False):
        kept, alone = (found.share(found.of(how, pressed=pressed), _speaker) for how in (SWITCH, ALONE))
        if kept is None:
            continue
        kind = f"that were pressed for {setting.persona}" if pressed else "that nobody pressed"
        told = "" if alone is None else f"; asked the last question alone, it is {alone.value:.0%} of the time"
        yield Finding(
            f"the speaker stays, {'pressed' if pressed else 'not pressed'}",
            f"In conversations {kind}, the other model goes on as the speaker who had begun in {kept.value:.0%} of the "
            f"replies{told}.",
            kept, null=ALONE,
            passed=None if alone is None or not pressed else kept.above(alone),
            source=_SECTION[SWITCH],
        )  # fmt: skip


def _same_speaker(setting: Setting, reply: Judgement, handed: Judgement) -> bool | None:
    """Whether both are the persona's that is pressed for, or both the assistant's."""
    persona = setting.persona
    if reply.shows(persona):
        return handed.shows(persona)
    return is_assistants(handed, persona) if is_assistants(reply, persona) else None


def _word_for_word(handed: Handed) -> bool:
    return handed.stays == 1


def _speaker(handed: Handed) -> bool | None:
    return handed.speaker


def _by_handover(found: Switched) -> Table:
    rows: list[tuple[Cell | Estimate, ...]] = []
    for how in _ALL:
        some = found.of(how)
        divergences = [each.kl for each in some if each.kl is not None]
        rows.append(
            (
                how, len(some), found.kl(some), max(divergences, default=None), found.stays(some),
                found.share(some, _word_for_word), found.share(some, _speaker),
                found.share(some, lambda each: each.judgement.coherent),
            )
        )  # fmt: skip
    columns = (
        "handover", "replies", "next token moves by (nats)", "at most (nats)", "of the rest stays",
        "share word for word", "share same speaker", "share whole text",
    )  # fmt: skip
    return Table("Replies by handover", columns, rows)


def _by_place(found: Switched) -> Table:
    rows: list[tuple[Cell | Estimate, ...]] = []
    for part in _PARTS:
        switched, anew = (found.of(how, part=part) for how in (SWITCH, ANEW))
        rows.append(
            (
                f"{part:.0%}", len(switched), found.kl(switched), found.stays(switched), found.stays(anew),
                found.share(switched, _speaker), found.share(anew, _speaker),
            )
        )  # fmt: skip
    columns = (
        "of the reply stands (up to)", "switches", "next token moves by (nats)", "of the rest stays",
        "of the rest stays, sampled anew", "share same speaker", "share same speaker, sampled anew",
    )  # fmt: skip
    return Table("Switches by place", columns, rows)


def _stays(found: Switched) -> Plot:
    series = [line(how, _PARTS, [found.stays(found.of(how, part=part)) for part in _PARTS]) for how in _ALL[1:5]]
    return Plot(
        "what-stays-by-place", "How much of the rest of a reply is said after a handover", "lines",
        "share of the reply that stands when it is handed over", "share of the rest, up to the first difference",
        series, "Means with 95 % intervals, conversations resampled whole. At 0, nothing of the reply was said yet.",
    )  # fmt: skip


def _divergences(found: Switched) -> Plot:
    series = [
        line(how, _PARTS, [found.kl(found.of(how, part=part)) for part in _PARTS])
        for how in (TRANSFER, PREFILL, SWITCH)
        if any(each.kl is not None for each in found.of(how))
    ]
    return Plot(
        "next-token-by-place", "How far a handover moves the next token", "lines",
        "share of the reply that stands when it is handed over", "divergence of the next token's distribution (nats)",
        series, "Means of KL(without || with the handover), with 95 % intervals, conversations resampled whole.",
    )  # fmt: skip


def _named(setting: Setting) -> str:
    return "another model" if setting.other is None else setting.other.name
