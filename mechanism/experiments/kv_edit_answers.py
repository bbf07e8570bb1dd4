"""The answers of mini-experiment 2, judged: by condition, by question, and how conditions differ."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mechanism.experiments.cache_edits import Condition, Way
from mechanism.experiments.lines import is_assistants, one_script, share_coherent, share_in, share_of
from mechanism.experiments.setting import Setting
from mechanism.judges.judge import Judgement
from mechanism.outcome import Estimate
from mechanism.statistics import LEAST_RESAMPLED, mean, paired_difference, sign_flip_p


class Best(NamedTuple):
    """The dose of a way at which the most answers are the assistant's, of so many. `apart`: whether the share is of
    other conversations than the dose was chosen in; else it is too high by what the best of many is by luck."""

    condition: Condition
    share: Estimate
    doses: int
    apart: bool


class Asked:
    """The answers of all conversations, judged. `held` is what the units returned."""

    def __init__(self, setting: Setting, chosen: Sequence[Condition], held: Sequence[Mapping[str, Any]]) -> None:
        self.setting, self.conditions = setting, list(chosen)
        self.questions: list[str] = held[0]["questions"]
        self._held = held
        self._judged: dict[str, list[Judgement]] = {}
        self._asked: dict[str, list[tuple[int, int, Mapping[str, Any]]]] = {}
        for condition in self.conditions:
            asked = [
                (talk, number, answer)
                for talk, one in enumerate(held)
                for number, said in enumerate(one["conditions"][condition.key]["answers"])
                for answer in said
            ]
            self._asked[condition.key] = asked
            self._judged[condition.key] = setting.judged(
                [(self.questions[n], answer["text"]) for _, n, answer in asked]
            )

    @property
    def baseline(self) -> Condition:
        """The cache as it was."""
        return self.conditions[0]

    @property
    def answers_a_condition(self) -> int:
        """How many answers there are under each."""
        return len(self._asked[self.baseline.key])

    def at(self, way: Way, dose: float | None = None) -> Condition:
        """A condition, at the dose that controls are compared at where none is given."""
        dose = self.setting.options["at"] if dose is None else dose
        return next(each for each in self.conditions if each.way == way and each.dose == dose)

    def over(self, way: Way) -> list[Condition]:
        """A way at all its doses."""
        return [each for each in self.conditions if each.way == way]

    def assistants(self, condition: Condition, talks: Collection[int] | None = None) -> Estimate | None:
        """The share of answers that are the assistant's, in some conversations or in all."""
        told, groups = self._told(condition), self._talks(condition)
        pairs = [(one, talk) for one, talk in zip(told, groups, strict=True) if talks is None or talk in talks]
        return share_of([one for one, _ in pairs], [talk for _, talk in pairs])

    def personas(self, condition: Condition) -> Estimate | None:
        """The share that are the persona's that was pressed for."""
        return share_in(self.setting.persona, self._judged[condition.key], self._talks(condition))

    def coherent(self, condition: Condition) -> Estimate | None:
        """The share that are whole text."""
        return share_coherent(self._judged[condition.key], self._talks(condition))

    def best(self, way: Way) -> Best | None:
        """The best dose of a way: chosen in every second conversation and counted in the others, where these are
        enough. None where the judge could tell of no answers."""
        doses = [each for each in self.over(way) if self.assistants(each) is not None]
        talks = range(len(self._held))
        chosen_in, counted_in = (talks[::2], talks[1::2]) if len(doses) > 1 else (talks, talks)
        apart = len(counted_in) >= LEAST_RESAMPLED or len(doses) == 1
        if not apart:
            chosen_in = counted_in = talks

        def value(each: Condition) -> tuple[float, float]:
            share = self.assistants(each, chosen_in)
            return (-1.0 if share is None else share.value, -each.dose)

        chosen = max(doses, key=value, default=None)
        share = None if chosen is None else self.assistants(chosen, counted_in)
        return None if chosen is None or share is None else Best(chosen, share, len(doses), apart)

    def score(self, condition: Condition) -> Estimate | None:
        """The mean score of the persona, 0 to 10, of answers that got one; questions are resampled whole."""
        scored = [
            (number, judgement.score)
            for (_, number, _), judgement in zip(self._asked[condition.key], self._judged[condition.key], strict=True)
            if judgement.score is not None
        ]
        if not scored:
            return None
        return mean([score for _, score in scored], groups=[n for n, _ in scored], seed=self.setting.seed)

    def projection(self, condition: Condition) -> Estimate | None:
        """Where answers are on the axis; questions are resampled whole."""
        read = [
            (number, answer["at"][self.setting.axis])
            for _, number, answer in self._asked[condition.key]
            if answer["at"].get(self.setting.axis) is not None
        ]
        if not read:
            return None
        return mean([at for _, at in read], groups=[n for n, _ in read], seed=self.setting.seed)

    def moved(self, condition: Condition, which: str) -> float | None:
        """How far an edit moved keys or values, as a share of their length, over conversations."""
        reports = [one["conditions"][condition.key]["moved"] for one in self._held]
        return None if None in reports else float(np.mean([report[which] for report in reports]))

    def by_question(self, condition: Condition) -> NDArray[np.float64]:
        """The share of answers to each question that are the assistant's; NaN where none could be told."""
        asked = [number for _, number, _ in self._asked[condition.key]]
        return _by(self._told(condition), asked, len(self.questions))

    def change(self, one: Condition, two: Condition) -> tuple[Estimate, float | None] | None:
        """By how much the share of the assistant's answers is higher under the first, and how probable such a change
        is by chance.

        Answers to one question are alike, and so are those of one conversation. Where there are enough of them, both
        are resampled, and what is less sure counts: the wider interval at each end, and the larger probability.
        """
        seed = self.setting.seed
        ways = [
            (self.by_question(one), self.by_question(two)),
            tuple(_by(self._told(each), self._talks(each), len(self._held)) for each in (one, two)),
        ]
        changes = [paired_difference(first, second, seed=seed) for first, second in ways]
        if not changes[0].n:
            return None
        sure = [each for each in changes if each.low is not None]
        lows, highs = ([end for each in sure if (end := getattr(each, name)) is not None] for name in ("low", "high"))
        if not sure:
            return changes[0], None
        p = max(
            sign_flip_p(first - second, seed=seed)
            for (first, second), each in zip(ways, changes, strict=True)
            if each.low is not None
        )
        units = " or ".join(
            name for name, each in zip(("questions", "conversations"), changes, strict=True) if each.low is not None
        )
        return Estimate(changes[0].value, min(lows), max(highs), changes[0].n, f"bootstrap, 95 %, whole {units}"), p

    def example(self, condition: Condition) -> str:
        """The answer to the first question in the first conversation, as the trace has it."""
        answer: str = self._held[0]["conditions"][condition.key]["live"]["answer"]
        return answer

    def caveats(self) -> list[str]:
        """What holds of all of it."""
        setting, talks = self.setting, len(self._held)
        caveats = [
            "Answers of one conversation are alike, and so are answers to one question: shares have intervals over "
            "whole conversations, and changes the wider one of that over conversations and that over questions.",
            *one_script(setting, setting.options["pressed"], range(setting.seed, setting.seed + talks)),
        ]
        if talks < LEAST_RESAMPLED:
            fewer = f"There are fewer than {LEAST_RESAMPLED} conversations: shares have no intervals, and nothing is "
            caveats.insert(0, f"{fewer}borne out (--conversations, and as many answers to each question, --n).")
        begun, persona = self.personas(self.baseline), setting.persona
        if begun is not None and begun.value < 0.5:
            caveats.insert(
                0,
                f"The conversations were hardly led to {persona}: before any edit, {begun.value:.0%} of the answers "
                f"are {persona}'s. There is little to be flipped (--pressed, --material).",
            )
        return caveats

    def _told(self, condition: Condition) -> list[bool | None]:
        """Whether each answer is the assistant's."""
        return [is_assistants(judgement, self.setting.persona) for judgement in self._judged[condition.key]]

    def _talks(self, condition: Condition) -> list[int]:
        """The conversation that each answer is of."""
        return [talk for talk, _, _ in self._asked[condition.key]]


def _by(told: Sequence[bool | None], of: Sequence[int], count: int) -> NDArray[np.float64]:
    """The share of what is true by what it is of; NaN where nothing is known."""
    shares: list[list[bool]] = [[] for _ in range(count)]
    for one, number in zip(told, of, strict=True):
        if one is not None:
            shares[number].append(one)
    return np.array([np.mean(each) if each else math.nan for each in shares])
