"""Mini-experiment 2 again, from its table: do answers change when the cached keys and values are edited?

A model had been led to the persona "Aura" in a conversation. It then answered questions, ten times each: as it was,
steered along the assistant axis, and with the cached keys and values of its earlier replies edited along that axis. A
judging model scored each answer from 0 (assistant) to 9 (Aura). Answers to one question are alike, so intervals
resample whole questions.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from mechanism.outcome import Cell, Estimate, Finding, Part, Plot, Series, Table
from mechanism.published.stated import (
    BORNE_OUT,
    BY_PAPER,
    BY_SUPPLEMENT,
    EXPERIMENT_2,
    LEFT_OUT,
    MEANS,
    QUESTIONS,
    SAID_AFTER,
    SAID_BEFORE,
    borne_out,
)
from mechanism.statistics import bootstrap, correlation, mean, share
from traces.errors import TraceError
from traces.importers.cache_edit_answers import CONDITIONS, HIGHEST_SCORE, Answer

NAMES = {"baseline": "as it was", "gen_steering": "steered", "kv_edit": "cache edited"}
"""The conditions in words."""

_SHORTEST = 42


class Answers:
    """The judged answers of a table, by condition. Unjudged ones are left out of the scores, and counted.

    Raises `TraceError` where a condition has no judged answer.
    """

    def __init__(self, answers: Sequence[Answer], where: str = "the table") -> None:
        self.all = list(answers)
        self.judged = [answer for answer in answers if answer.score is not None]
        self.questions = list(dict.fromkeys(answer.question for answer in answers))
        self._means: dict[tuple[str, str | None, int], Estimate] = {}
        for condition in CONDITIONS:
            if not any(answer.condition == condition for answer in self.judged):
                raise TraceError(where, f"it has no judged answers under {condition}", "answers under each condition")

    def under(self, condition: str, *, without: str | None = None) -> list[Answer]:
        """The judged answers under a condition, without those to one question."""
        return [answer for answer in self.judged if answer.condition == condition and answer.question != without]

    def mean(self, condition: str, *, without: str | None = None, seed: int = 0) -> Estimate:
        """The mean score under a condition; whole questions are resampled."""
        if (condition, without, seed) not in self._means:
            chosen = self.under(condition, without=without)
            self._means[condition, without, seed] = mean(
                [_score(a) for a in chosen], groups=[a.question for a in chosen], seed=seed
            )
        return self._means[condition, without, seed]

    def by_question(self, condition: str) -> dict[str, float]:
        """The mean score under a condition for each question that has one."""
        scores: dict[str, list[float]] = {}
        for answer in self.under(condition):
            scores.setdefault(answer.question, []).append(_score(answer))
        return {question: float(np.mean(scores[question])) for question in self.questions if question in scores}

    def saying(self, condition: str, words: str, question: str) -> Estimate | None:
        """The share of the answers to one question that hold these words; None where there are no answers."""
        texts = [a.text for a in self.all if a.condition == condition and a.question == question]
        return share(sum(words in text.lower() for text in texts), len(texts)) if texts else None


def analysed(answers: Answers, *, seed: int = 0) -> Part:
    """What the table says, with intervals over questions."""
    unjudged = len(answers.all) - len(answers.judged)
    caveat = (
        f"Mini-experiment 2: {len(answers.all)} answers to {len(answers.questions)} questions after one conversation, "
        "one coefficient under each condition, scored by one judging model that was not checked against people. The "
        "table has no control: no random direction, no edit at the user's turns."
        + (f" {unjudged} answers were not judged and are left out of the scores." if unjudged else "")
    )
    return Part(
        (*_effects(answers, seed), *_reservations(answers, seed)),
        (_by_condition(answers, seed), _by_question(answers), _words(answers)),
        (_plot(answers),),
        (caveat,),
    )


def stated_beside(answers: Answers, *, seed: int = 0) -> list[tuple[Cell | Estimate, ...]]:
    """Rows of what was stated, where, what the table says, and whether it bears it out."""
    rows: list[tuple[Cell | Estimate, ...]] = []
    for condition, figure in MEANS.items():
        found = answers.mean(condition, seed=seed)
        rows.append(
            (
                f"mean score, {NAMES[condition]}", f"{figure:.2f}", BY_SUPPLEMENT,
                f"{found.value:.2f} over {len(answers.by_question(condition))} questions", found,
                borne_out(abs(found.value - figure) < 0.005),
            )
        )  # fmt: skip
    before, after = (answers.mean(condition, seed=seed) for condition in ("baseline", "kv_edit"))
    if LEFT_OUT in answers.questions:
        fewer, fewer_after = (answers.mean(c, without=LEFT_OUT, seed=seed) for c in ("baseline", "kv_edit"))
        asked = len(answers.questions) - 1
        told = (
            f"{fewer.value:.2f} to {fewer_after.value:.2f} over the {asked} other than {LEFT_OUT!r}; "
            f"{before.value:.2f} to {after.value:.2f} is over all {len(answers.questions)}"
        )
    else:
        fewer_after, told = after, f"{before.value:.2f} to {after.value:.2f}"
    agrees = f"{fewer_after.value:.1f}" == f"{MEANS['kv_edit']:.1f}"
    rows.append(
        (
            f"from 5.5 to 2.1 over {QUESTIONS} questions", f"{QUESTIONS} questions", BY_PAPER, told, fewer_after,
            BORNE_OUT if agrees else "in size, but over another number of questions",
        )
    )  # fmt: skip
    for words, condition, stated in (
        (SAID_BEFORE, "baseline", "every time"),
        (SAID_AFTER, "kv_edit", "after the edit"),
    ):
        said = answers.saying(condition, words, LEFT_OUT)
        if said is not None:
            rows.append(
                (
                    f"{LEFT_OUT} {NAMES[condition]}: {words!r}", stated, BY_PAPER,
                    f"{round(said.value * (said.n or 0))} of {said.n} answers", said,
                    borne_out(said.value == 1) if stated == "every time" else _in_some(said),
                )
            )  # fmt: skip
    return rows


def _in_some(said: Estimate) -> str:
    return "in some answers" if 0 < said.value < 1 else borne_out(said.value == 1)


def _effects(answers: Answers, seed: int) -> list[Finding]:
    findings = []
    for condition in ("kv_edit", "gen_steering"):
        change = _change(answers, "baseline", condition, seed)
        done = "Editing the cache" if condition == "kv_edit" else "Steering while it answers"
        findings.append(
            Finding(
                condition,
                f"{done} changes the score by {change.value:+.2f} of {HIGHEST_SCORE} "
                f"(from {answers.mean('baseline').value:.2f} to {answers.mean(condition).value:.2f}).",
                change,
                null="no change (0), whole questions resampled",
                passed=change.below(0),
                source=EXPERIMENT_2,
            )
        )
    between = _change(answers, "gen_steering", "kv_edit", seed)
    told_apart = between.low is not None and between.high is not None and not between.low <= 0 <= between.high
    findings.append(
        Finding(
            "edit-against-steering",
            f"The edit and the steering differ by {between.value:+.2f}: over the questions they can"
            f"{'' if told_apart else 'not'} be told apart.",
            between,
            null="the two do the same (0)",
            source=EXPERIMENT_2,
        )
    )
    return findings


def _reservations(answers: Answers, seed: int) -> list[Finding]:
    before, after = answers.by_question("baseline"), answers.by_question("kv_edit")
    both = [question for question in before if question in after]
    halved = [question for question in both if after[question] < before[question] / 2]
    least = min(both, key=lambda question: before[question] - after[question])
    edited = answers.under("kv_edit")
    first = [(answer.question, answer.text) for answer in answers.all if answer.condition == "baseline"]
    within = correlation([a.projection for a in edited], [_score(a) for a in edited], seed=seed)
    low = sum(_score(answer) < 1 for answer in edited)
    return [
        Finding(
            "questions-halved",
            f"The edit more than halves the score of {len(halved)} of {len(both)} questions. It does least to "
            f"{_short(least)!r}: {before[least]:.2f} to {after[least]:.2f}.",
            share(len(halved), len(both)),
            source=EXPERIMENT_2,
        ),
        Finding(
            "flipped-answers",
            f"{low} of {len(edited)} answers after the edit are scored below 1 (fully the assistant's), "
            f"{sum(_score(answer) >= 4.5 for answer in edited)} are still in the upper half of the scale: the persona "
            "is flipped in some answers and not in others, rather than moved a little in all.",
            share(low, len(edited)),
            source=EXPERIMENT_2,
        ),
        Finding(
            "distinct-answers",
            f"Of {len(first)} answers at baseline {len(set(first))} are different texts: answers to one question are "
            "alike, so that intervals resample whole questions.",
            share(len(set(first)), len(first)),
            source=EXPERIMENT_2,
        ),
        Finding(
            "projection-and-score",
            "Among the answers after the edit, those that lie further towards the assistant on the axis are scored "
            f"lower for Aura: r = {within.value:.2f}. A projection is a sign of the words, and no replacement for them."
            if within.high is not None and within.high < 0
            else "Among the answers after the edit, projection and score are related with "
            f"r = {within.value:.2f} (a lower score is the assistant's, a higher projection too).",
            within,
            null="no relation (r = 0)",
            source=EXPERIMENT_2,
        ),
    ]


def _change(answers: Answers, one: str, two: str, seed: int) -> Estimate:
    before, after = answers.by_question(one), answers.by_question(two)
    changes = np.array([[after[question] - before[question]] for question in before if question in after])
    if not len(changes):
        return Estimate(math.nan)
    return bootstrap(lambda rows: float(rows.mean()), changes, seed=seed)


def _by_condition(answers: Answers, seed: int) -> Table:
    rows: list[tuple[Cell | Estimate, ...]] = []
    for condition in CONDITIONS:
        chosen = answers.under(condition)
        scores, projections = [_score(a) for a in chosen], [a.projection for a in chosen]
        rows.append(
            (
                NAMES[condition], chosen[0].coefficient, len(chosen), answers.mean(condition, seed=seed),
                answers.mean(condition, without=LEFT_OUT, seed=seed), float(np.std(scores, ddof=1)),
                mean(projections, groups=[a.question for a in chosen], seed=seed),
                correlation(projections, scores, seed=seed),
            )
        )  # fmt: skip
    return Table(
        "Mini-experiment 2: scores under each condition (0 assistant to 9 Aura)",
        (
            "condition", "coefficient", "judged answers", "mean score", f"without {LEFT_OUT!r}", "standard deviation",
            "mean projection", "r of projection and score",
        ),
        rows,
    )  # fmt: skip


def _by_question(answers: Answers) -> Table:
    means = [answers.by_question(condition) for condition in CONDITIONS]
    rows: list[tuple[Cell | Estimate, ...]] = [
        (number, question, *(round(of[question], 2) if question in of else None for of in means))
        for number, question in enumerate(answers.questions, 1)
    ]
    return Table(
        "Mini-experiment 2: mean score of each question",
        ("question", "words", *(NAMES[condition] for condition in CONDITIONS)),
        rows,
    )


def _words(answers: Answers) -> Table:
    rows: list[tuple[Cell | Estimate, ...]] = []
    for condition in CONDITIONS:
        texts = [a.text for a in answers.all if a.condition == condition and a.question == LEFT_OUT]
        if texts:
            holding = [sum(words in text.lower() for text in texts) for words in (SAID_BEFORE, SAID_AFTER)]
            either = sum(bool(re.search(r"\b(an AI|language model)\b", text, re.IGNORECASE)) for text in texts)
            rows.append((NAMES[condition], len(texts), len(set(texts)), *holding, either))
    return Table(
        f"Mini-experiment 2: words of the answers to {LEFT_OUT!r}",
        ("condition", "answers", "different texts", SAID_BEFORE, SAID_AFTER, "'an AI' or 'language model'"),
        rows,
    )


def _plot(answers: Answers) -> Plot:
    numbers = {question: str(number) for number, question in enumerate(answers.questions, 1)}
    series = []
    for condition in CONDITIONS:
        found = answers.by_question(condition)
        series.append(Series(NAMES[condition], [numbers[question] for question in found], [*found.values()]))
    return Plot(
        "cache-edit-by-question",
        "Scores by question: as it was, steered, cache edited",
        "bars",
        "question, by its number in the table",
        "mean score, 0 assistant to 9 Aura",
        series,
        "Published answers, judged by a language model: ten answers to each question under each condition.",
    )


def _short(question: str) -> str:
    return question if len(question) <= _SHORTEST else question[: _SHORTEST - 1].rstrip() + "…"


def _score(answer: Answer) -> float:
    return math.nan if answer.score is None else answer.score
