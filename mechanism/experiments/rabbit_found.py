"""What handovers do to a planned word: whether the line still comes to it, and where the plan was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mechanism.experiments.handovers import HOW, NOTHING, PREFILL, SWITCH, TRANSFER, How
from mechanism.experiments.lines import share_of
from mechanism.experiments.setting import Setting
from mechanism.outcome import Cell, Estimate, Finding, Plot, Series, Table
from mechanism.statistics import mean

BEFORE, HALFWAY, AT = "before the line", "half-way to the word", "right before the word"
PLACES = (BEFORE, HALFWAY, AT)

_SECTION = "§2.2"
_DONE = {NOTHING: "without a handover", TRANSFER: "after a transfer", PREFILL: "after a pre-fill",
         SWITCH: "after a switch"}  # fmt: skip
_SHOWN = 12

Parts = tuple[Sequence[Finding], Sequence[Table], Sequence[Plot]]


class Lines:
    """The lines that had a planned word, handed over. `held` is what the units returned."""

    def __init__(self, setting: Setting, held: Sequence[Mapping[str, Any]]) -> None:
        self.setting, self.asked = setting, len(held)
        self.lines = [line for line in held if line["word"] is not None]
        self.planted = [
            line["planted"]
            for line in self.lines
            if line["planted"]["answers"][NOTHING] is not None
            and line["planted"]["answers"][NOTHING] != line["planted"]["words"]
        ]
        """Those where the other wording leads to another word: only there can a planted plan be told."""

    def same(self, how: How, place: str) -> Estimate | None:
        """The share of lines that still come to the planned word."""
        return share_of(
            each["word"] == line["word"]
            for line in self.lines
            for each in line["handed"]
            if (each["how"], each["place"]) == (how, place)
        )

    def sampled(self, how: How) -> Estimate | None:
        """The same of lines that were sampled from before the line; lines are resampled whole."""
        rows = [
            (number, word == line["word"])
            for number, line in enumerate(self.lines)
            for each in line["handed"]
            if (each["how"], each["place"]) == (how, BEFORE)
            for word in each["sampled"]
        ]
        if not rows:
            return None
        return mean([float(same) for _, same in rows], groups=[n for n, _ in rows], seed=self.setting.seed)

    def chance(self, how: How) -> Estimate | None:
        """How probable the planned word is at its place, the line up to it being given."""
        chances = [
            each["chance"]
            for line in self.lines
            for each in line["handed"]
            if (each["how"], each["place"]) == (how, BEFORE)
        ]
        return mean(chances, seed=self.setting.seed) if chances else None

    def came_to(self, how: How, whose: str) -> Estimate | None:
        """The share of planted lines that come to the word of the cache, to that of the words, or to neither."""

        def told(one: Mapping[str, Any]) -> str:
            word = one["answers"][how]
            return "cache" if word == one["answers"][NOTHING] else "words" if word == one["words"] else "neither"

        return share_of(told(one) == whose for one in self.planted)

    def caveats(self) -> list[str]:
        """What holds of all of it."""
        return [
            "That a line comes to a word does not show that the word was planned: on an organism it has only to be "
            "taken up from the question. What the planted plans show is where that which settles the word is kept, in "
            "the cache or in the words.",
            f"Of {self.asked} lines {len(self.lines)} have a planned word, and {len(self.planted)} another one in the "
            "other wording. Planted plans are not in the trace.",
        ]


def outcome_parts(setting: Setting, found: Lines) -> Parts:
    """Findings, tables and plots."""
    if not found.lines:
        nothing = Finding("no planned word", f"None of {found.asked} lines has a word that could have been planned.")
        return [nothing], [], []
    tables = [_by_handover(found), _planted(found), _examples(found)]
    return _findings(setting, found), tables, [_places(found), _whose(found)]


def _findings(setting: Setting, found: Lines) -> list[Finding]:
    findings = []
    for how in (TRANSFER, PREFILL, SWITCH):
        same, chance, was = found.same(how, BEFORE), found.chance(how), found.chance(NOTHING)
        if same is None or chance is None or was is None:
            continue
        sampled, usual = found.sampled(how), found.sampled(NOTHING)
        told = (
            ""
            if sampled is None or usual is None
            else f" Sampled, {sampled.value:.0%} do, where {usual.value:.0%} do without a handover."
        )
        findings.append(
            Finding(
                f"the planned word, {how}",
                f"Handed over before the line, {same.value:.0%} of {same.n} lines come to the planned word {_DONE[how]}"
                f"; given the line up to it, its probability is {chance.value:.2f} (without a handover {was.value:.2f})"
                f".{told}",
                same, null="half of the lines", passed=same.above(0.5), source=_SECTION,
            )
        )  # fmt: skip
    cache = found.came_to(TRANSFER, "cache")
    for how, whose, stands in (
        (TRANSFER, "cache", "goes with the cache"),
        (PREFILL, "words", "is made anew from the words"),
        (SWITCH, "words", "is made anew from the words by the other model"),
    ):
        share, other = found.came_to(how, whose), found.came_to(how, "words" if whose == "cache" else "cache")
        if cache is None or share is None or other is None:
            continue
        findings.append(
            Finding(
                f"a planted plan, {how}",
                f"Where the cache calls for one word and the words for another, {share.value:.0%} of {share.n} lines "
                f"come to that of the {whose} {_DONE[how]}, {other.value:.0%} to that of the "
                f"{'words' if whose == 'cache' else 'cache'}: the plan {stands}.",
                share, null="half of the lines", passed=share.above(0.5), source=_SECTION,
            )
        )  # fmt: skip
    return findings


def _by_handover(found: Lines) -> Table:
    rows: list[tuple[Cell | Estimate, ...]] = [
        (how, *(found.same(how, place) for place in PLACES), found.sampled(how), found.chance(how)) for how in HOW
    ]
    columns = (
        "handover", *(f"share that come to the planned word, {place}" for place in PLACES),
        "of lines sampled from before the line", "probability of the word, the line up to it being given",
    )  # fmt: skip
    return Table("Planned words by handover", columns, rows)


def _planted(found: Lines) -> Table:
    rows: list[tuple[Cell | Estimate, ...]] = [
        (how, *(found.came_to(how, whose) for whose in ("cache", "words", "neither"))) for how in HOW
    ]
    columns = ("handover", "share of the cache's word", "share of the words' word", "share of neither")
    return Table("Planted plans by handover", columns, rows)


def _examples(found: Lines) -> Table:
    rows: list[tuple[Cell | Estimate, ...]] = []
    for line in found.lines[:_SHOWN]:
        at = {each["how"]: each["word"] for each in line["handed"] if each["place"] == BEFORE}
        planted = line["planted"]["answers"]
        rows.append(
            (line["asked"], line["line"], line["word"], at[SWITCH], *(planted[how] for how in (NOTHING, *HOW[1:])))
        )  # fmt: skip
    columns = (
        "asked", "line", "planned word", "after a switch", "planted", "planted, transfer", "planted, pre-fill",
        "planted, switch",
    )  # fmt: skip
    return Table("Some lines", columns, rows)


def _places(found: Lines) -> Plot:
    series = [_bars(how, PLACES, [found.same(how, place) for place in PLACES]) for how in HOW]
    return Plot(
        "planned-words-by-place", "Lines that come to the planned word", "bars", "handed over", "share of lines",
        series, "The likeliest line after each handover. 95 % intervals (Wilson).",
    )  # fmt: skip


def _whose(found: Lines) -> Plot:
    series = [
        _bars(name, HOW, [found.came_to(how, whose) for how in HOW])
        for whose, name in (("cache", "the cache's word"), ("words", "the words' word"), ("neither", "neither"))
    ]
    return Plot(
        "planted-plans", "Where the cache calls for one word and the words for another", "bars", "handover",
        "share of lines", series, "What is kept by a handover says where that which settles the word was.",
    )  # fmt: skip


def _bars(name: str, x: Sequence[str], each: Sequence[Estimate | None]) -> Series:
    value = [0.0 if one is None else one.value for one in each]
    low = [at if one is None or one.low is None else one.low for at, one in zip(value, each, strict=True)]
    high = [at if one is None or one.high is None else one.high for at, one in zip(value, each, strict=True)]
    return Series(name, list(x), value, low, high)
