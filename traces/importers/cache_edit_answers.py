"""The result table of the second mini-experiment that supplements Beckmann & Butlin 2026 (§3.4, experiment 2).

A CSV file with a row for each of the answers that a model gave to questions after a conversation had led it to the
persona "Aura": `condition` (baseline; gen_steering: steered along the assistant axis while it answered; kv_edit: the
cached keys and values of its earlier replies edited along that axis), `coefficient`, `sample_idx`, `probe` (the
question), `probe_category`, `response`, `axis_projection` (of the answer, on the assistant axis of Lu et al. 2026) and
`aura_score` (a judging model's: 0 is the assistant, 9 is Aura; empty where it was not judged).

The table says nothing of the model, nor of the conversation that went before, so neither do the facts: every answer is
a short conversation of its own, of a model that is not named. The judge's score stands beside the projection as a
probe, so that no number of the table is lost.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from traces.errors import TraceError, one_of, quoted
from traces.facts import Facts
from traces.resolution import facts_from
from traces.table import TextTable
from traces.text import Source
from traces.vocabulary import FORMAT_VERSION

CITATION = (
    "Beckmann & Butlin 2026, supplement, mini-experiment 2: github.com/bepierre/where-is-the-mind-mini-experiments"
)
CONDITIONS = ("baseline", "gen_steering", "kv_edit")
"""What was done before or while the model answered, as the table calls it."""
HIGHEST_SCORE = 9
"""A score runs from 0, fully the assistant, to this, fully Aura."""

_MODEL = "unnamed"
_AXIS, _SCORE = "assistant", "aura-score"


class Answer(NamedTuple):
    """One row: an answer to a probe question, its projection on the assistant axis, and its score (None: unjudged)."""

    condition: str
    coefficient: float
    sample: int
    question: str
    category: str
    text: str
    projection: float
    score: float | None


class CacheEditAnswers:
    """Answers to probe questions under three conditions, projected and judged."""

    name = "the result table of the published cache-edit experiment (CSV)"
    columns = frozenset(
        (
            "condition", "coefficient", "sample_idx", "probe", "probe_category", "response", "axis_projection",
            "aura_score",
        )
    )  # fmt: skip

    def answers(self, table: TextTable) -> list[Answer]:
        """The rows in the order of the file. Raises `TraceError` with the line of what is wrong."""
        return [self._answer(row, table.where(number)) for number, row in enumerate(table.rows)]

    def facts(self, table: TextTable) -> Facts:
        """A conversation of one question and one answer for each row."""
        answers = self.answers(table)
        questions = list(dict.fromkeys(answer.question for answer in answers))
        done = {answer.condition: answer.coefficient for answer in answers}
        conversations: dict[str, Any] = {}
        for number, answer in enumerate(answers):
            name = f"{answer.condition}-{questions.index(answer.question) + 1}-{answer.sample}"
            if name in conversations:
                raise TraceError(
                    table.where(number),
                    f"sample {answer.sample} of {answer.condition} to {quoted(answer.question)} is there twice",
                    "each sample once",
                )
            conversations[name] = {"turns": _turns(answer)}
        document = {
            "individuation": FORMAT_VERSION,
            "title": f"{len(answers):,} answers after an Aura conversation, {', '.join(done)}",
            "source": CITATION,
            "models": {_MODEL: {"name": "not named in the table"}},
            "probes": {
                _AXIS: {
                    "axis": _AXIS, "unit": "projection on the axis", "source": "assistant axis of Lu et al. 2026",
                },
                _SCORE: {
                    "axis": _SCORE, "unit": f"a judge's score of the words, 0 (assistant) to {HIGHEST_SCORE} (Aura)",
                    "source": "a judging model, not the residual stream",
                },
            },
            "interventions": {
                condition: _intervention(condition, coefficient)
                for condition, coefficient in done.items()
                if condition != "baseline"
            },
            "conversations": conversations,
        }  # fmt: skip
        return facts_from(Source(table.name, document))

    def _answer(self, row: dict[str, str], where: str) -> Answer:
        condition = row["condition"]
        if condition not in CONDITIONS:
            raise TraceError(where, f"condition is {quoted(condition)}", one_of(CONDITIONS))
        if not row["probe"].strip():
            raise TraceError(where, "probe is empty", "the question that was asked")
        score = _number(row, "aura_score", where, f"a number from 0 to {HIGHEST_SCORE}, or nothing")
        if score is not None and not 0 <= score <= HIGHEST_SCORE:
            raise TraceError(where, f"aura_score is {score:g}", f"a number from 0 to {HIGHEST_SCORE}, or nothing")
        sample = row["sample_idx"]
        if not (sample.isascii() and sample.isdigit() and len(sample) < 10):
            raise TraceError(where, f"sample_idx is {quoted(sample)}", "a whole number >= 0")
        coefficient = _number(row, "coefficient", where, "a number")
        projection = _number(row, "axis_projection", where, "a number")
        if coefficient is None or projection is None:
            missing = "coefficient" if coefficient is None else "axis_projection"
            raise TraceError(where, f"{missing} is empty", "a number")
        return Answer(
            condition, coefficient, int(sample), row["probe"], row["probe_category"], row["response"], projection, score
        )


def _number(row: dict[str, str], column: str, where: str, expected: str) -> float | None:
    text = row[column].strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise TraceError(where, f"{column} is {quoted(text)}", expected)
    return value


def _turns(answer: Answer) -> list[dict[str, Any]]:
    at = {_AXIS: answer.projection} | ({} if answer.score is None else {_SCORE: answer.score})
    reply: dict[str, Any] = {"role": "assistant", "tokens": None, "cache": "unknown", "text": answer.text, "at": at}
    if answer.condition != "baseline":
        reply["interventions"] = [answer.condition]
    return [{"role": "user", "tokens": None, "model": _MODEL, "text": answer.question}, reply]


def _intervention(condition: str, coefficient: float) -> dict[str, Any]:
    edit = condition == "kv_edit"
    return {
        "kind": "cache-edit" if edit else "steering",
        "vector": "assistant axis (Lu et al. 2026)",
        "coefficient": coefficient,
        "positions": "the assistant's earlier replies, which the table does not hold" if edit else "assistant",
    }


IMPORTER = CacheEditAnswers()
