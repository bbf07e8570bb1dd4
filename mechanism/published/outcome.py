"""The outcome of the published recordings: what was stated, what the files say, and how far they bear it out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mechanism.outcome import Cell, Estimate, Finding, Outcome, Part, Table
from mechanism.published import cache_edit, user_turns
from mechanism.published.cache_edit import Answers
from mechanism.published.stated import BORNE_OUT, CAVEAT, PAPER
from mechanism.published.user_turns import Pair
from traces.errors import TraceError

NAME = "published-recordings"

STATED = "What was stated, and what the published files say"
"""The title of the table in which the two stand side by side."""


def outcome(
    pairs: Sequence[Pair] = (),
    answers: Answers | None = None,
    *,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
) -> Outcome:
    """Analyse recordings of mini-experiment 1, answers of mini-experiment 2, or both.

    Raises `TraceError` where there are neither.
    """
    if not pairs and answers is None:
        raise TraceError(
            "published recordings", "there are none", "result files of mini-experiment 1, the table of 2, or both"
        )
    parts: list[Part] = []
    rows: list[tuple[Cell | Estimate, ...]] = []
    if pairs:
        parts.append(user_turns.analysed(pairs, seed=seed))
        rows += user_turns.stated_beside(pairs, seed=seed)
    if answers is not None:
        parts.append(cache_edit.analysed(answers, seed=seed))
        rows += cache_edit.stated_beside(answers, seed=seed)
    beside = Table(STATED, ("of", "it was stated", "by", "the files say", "estimate", "is it borne out?"), rows)
    found = Part.joined(parts)
    return Outcome(
        NAME,
        "The published recordings of the paper's two mini-experiments, analysed again",
        "How far do the published data bear out what the paper states of them?",
        PAPER,
        [_summary(rows), *found.findings],
        [beside, *found.tables],
        found.plots,
        {"seed": seed, **(settings or {})},
        [CAVEAT, *found.caveats],
    )


def _summary(rows: Sequence[tuple[Cell | Estimate, ...]]) -> Finding:
    doubtful = [f"{row[0]} (stated: {row[1]}; found: {row[3]})" for row in rows if row[-1] != BORNE_OUT]
    borne = len(rows) - len(doubtful)
    return Finding(
        "stated",
        f"Of {len(rows)} statements that can be computed, the files bear out {borne} as they stand"
        + (f". The others: {'; '.join(doubtful)}." if doubtful else "."),
        source=PAPER,
    )
