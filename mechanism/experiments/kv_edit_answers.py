"""The answers of mini-experiment 2, judged: by condition, by question, and how conditions differ."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mechanism.experiments.cache_edits import Condition, Way
from mechanism.experiments.lines import share_coherent, share_in, share_of
from mechanism.experiments.material import ASSISTANT
from mechanism.experiments.setting import Setting
from mechanism.judges.judge import HALFWAY, Judgement
from mechanism.outcome import Estimate
from mechanism.statistics import mean, paired_difference, permutation_p


def is_assistants(judgement: Judgement) -> bool | None:
    """Whether an answer is whole text and the assistant's; by a judge who names nobody, whole and not the persona's.

    >>> is_assistants(Judgement("assistant")), is_assistants(Judgement(None, 2.0)), is_assistants(Judgement())
    (True, True, None)
    """
    if judgement.coherent is False:
        return False
    if judgement.persona is not None:
        return judgement.persona == ASSISTANT
    return None if judgement.score is None else judgement.score < HALFWAY


class Asked:
    """The answers of all conversations, judged. `held` is what the units returned."""

    def __init__(self, setting: Setting, chosen: Sequence[Condition], held: Sequence[Mapping[str, Any]]) -> None:
        self.setting, self.conditions = setting, list(chosen)
        self.questions: list[str] = held[0]["questions"]
        self._held = held
        self._judged: dict[str, list[Judgement]] = {}
        self._asked: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
        for condition in self.conditions:
            asked = [
                (number, answer)
                for one in held
                for number, said in enumerate(one["conditions"][condition.key]["answers"])
                for answer in said
            ]
            self._asked[condition.key] = asked
            self._judged[condition.key] = setting.judged([(self.questions[n], answer["text"]) for n, answer in asked])

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

    def assistants(self, condition: Condition) -> Estimate | None:
        """The share of answers that are the assistant's."""
        return share_of(map(is_assistants, self._judged[condition.key]))

    def personas(self, condition: Condition) -> Estimate | None:
        """The share that are the persona's that was pressed for."""
        return share_in(self.setting.persona, self._judged[condition.key])

    def coherent(self, condition: Condition) -> Estimate | None:
        """The share that are whole text."""
        return share_coherent(self._judged[condition.key])

    def score(self, condition: Condition) -> Estimate | None:
        """The mean score of the persona, 0 to 10, of answers that got one; questions are resampled whole."""
        scored = [
            (number, judgement.score)
            for (number, _), judgement in zip(self._asked[condition.key], self._judged[condition.key], strict=True)
            if judgement.score is not None
        ]
        if not scored:
            return None
        return mean([score for _, score in scored], groups=[n for n, _ in scored], seed=self.setting.seed)

    def projection(self, condition: Condition) -> Estimate | None:
        """Where answers are on the axis; questions are resampled whole."""
        read = [
            (number, answer["at"][self.setting.axis])
            for number, answer in self._asked[condition.key]
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
        shares: list[list[bool]] = [[] for _ in self.questions]
        for (number, _), judgement in zip(self._asked[condition.key], self._judged[condition.key], strict=True):
            if (told := is_assistants(judgement)) is not None:
                shares[number].append(told)
        return np.array([np.mean(each) if each else math.nan for each in shares])

    def change(self, one: Condition, two: Condition) -> tuple[Estimate, float] | None:
        """By how much the share of the assistant's answers is higher under the first, and how probable such a change
        is by chance; over questions, which are resampled whole."""
        first, second = self.by_question(one), self.by_question(two)
        both = np.isfinite(first) & np.isfinite(second)
        if both.sum() < 2:
            return None
        first, second, seed = first[both], second[both], self.setting.seed
        return paired_difference(first, second, seed=seed), permutation_p(first, second, seed=seed)

    def example(self, condition: Condition) -> str:
        """The answer to the first question in the first conversation, as the trace has it."""
        answer: str = self._held[0]["conditions"][condition.key]["live"]["answer"]
        return answer

    def caveats(self) -> list[str]:
        """What holds of all of it."""
        caveats = [
            "Shares count answers one by one. Answers to one question from one conversation are alike, so that their "
            "intervals are somewhat too narrow; changes between conditions are tested over questions instead."
        ]
        begun, persona = self.personas(self.baseline), self.setting.persona
        if begun is not None and begun.value < 0.5:
            caveats.insert(
                0,
                f"The conversations were hardly led to {persona}: before any edit, {begun.value:.0%} of the answers "
                f"are {persona}'s. There is little to be flipped (--pressed, --material).",
            )
        return caveats
