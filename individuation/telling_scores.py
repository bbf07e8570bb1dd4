"""Scores as tables and prose: the numbers, then what each is and cannot show, then what they rest on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from individuation.measures import COLUMNS, Score

if TYPE_CHECKING:
    from individuation.scores import Desiderata, ViewScores

INTERLOCUTORS = "As interlocutors (after Chalmers 2025)"
INTERPRETATIONS = "As interpretations of the coordinates (after Goldstein & Lederman 2025)"

_TITLES = ("view", "minds", "inter-\nactivity", "persist-\nence", "coher-\nence", "coherence\nadjusted",
           "contra-\ndictions", "faith-\nfulness", "unifi-\ncation")  # fmt: skip
_TITLES_OF_PREDICTION = (
    "view",
    "minds",
    "with\nturns",
    "predictive-\nness, nats\na turn",
    "BIC\ngain",
    "rotations\nas good",
)
_TITLED = {"coherence_adjusted": "coherence adjusted", "bic_gain": "BIC gain", "rotation": "rotations as good"}
# Columns of the table of interlocutors that stand together where it has to be broken in two.
_LASTING, _AGREEING = (0, 1, 2, 3, 8), (0, 1, 4, 5, 6, 7)
_MOST_VIEWS = 3
_EVERY = "every view"


Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]
"""A caption, titles that may take two lines, and rows; the first column is text, the others are figures."""


def tables(found: Desiderata) -> list[Table]:
    """The figures, as interlocutors and, where anything is predicted, as interpretations."""
    listed: list[Table] = [(INTERLOCUTORS, _TITLES, [_as_interlocutors(scores) for scores in found])]
    if any(scores.predictiveness.gain.value is not None for scores in found):
        listed.append((INTERPRETATIONS, _TITLES_OF_PREDICTION, [_as_interpretation(scores) for scores in found]))
    return listed


def halves(whole: Table) -> list[Table]:
    """A table in two parts, each with the views and their counts, for where there is not enough room."""
    caption, titles, rows = whole
    if titles != _TITLES:
        return [whole]
    return [
        (
            caption if part is _LASTING else "",
            tuple(titles[i] for i in part),
            [tuple(row[i] for i in part) for row in rows],
        )
        for part in (_LASTING, _AGREEING)
    ]


def _as_interlocutors(scores: ViewScores) -> tuple[str, ...]:
    return (
        scores.view,
        _count(scores),
        _share(scores.interactivity),
        _share(scores.persistence),
        _share(scores.coherence.share),
        _share(scores.coherence.adjusted),
        _share(scores.contradictions),
        _share(scores.faithfulness),
        _share(scores.unification),
    )


def _as_interpretation(scores: ViewScores) -> tuple[str, ...]:
    found = scores.predictiveness
    gain, bic, rotation = found.gain.value, found.bic_gain.value, found.rotation.value
    error = f" ± {found.error:.2f}" if found.error else ""
    return (
        scores.view,
        _count(scores),
        str(scores.coherence.minds) if scores.coherence.minds else "-",
        "-" if gain is None else f"{_signed(gain)}{error}",
        "-" if bic is None else _signed(bic, 1),
        "-" if rotation is None else f"{round(rotation * found.rotation.of):,} of {found.rotation.of:,}",
    )


def _count(scores: ViewScores) -> str:
    result = scores.result
    nobody = not result.count and not result.criterion.is_persona_view
    return "-" if nobody else result.count_text


def _share(score: Score) -> str:
    if score.low is not None and score.high is not None:
        return f"{score.low:.2f}-{score.high:.2f}"
    if score.value is None:
        return "-"
    # What is small is not nothing, and what is large not all.
    rounded = f"{score.value:.2f}"
    if rounded == "0.00" and score.value > 0:
        return "<0.01"
    if rounded == "1.00" and score.value < 1:
        return ">0.99"
    return ">-0.01" if rounded == "-0.00" else rounded


def _signed(value: float, digits: int = 2) -> str:
    return f"{value:+,.{digits}f}" if value else "0"


def explained() -> list[str]:
    """What each score is, and what it cannot show, a line each."""
    return [f"{_TITLED.get(column.name, column.name)}: {column.what}. {column.limits}" for column in COLUMNS]


def notes(found: Desiderata) -> list[str]:
    """Why a score is missing, or what qualifies it, each reason once with the scores and views that it concerns."""
    concerned: dict[str, dict[str, list[str]]] = {}
    for scores in found:
        for name, score in scores_by_name(scores).items():
            if score.note:
                concerned.setdefault(score.note, {}).setdefault(_TITLED.get(name, name), []).append(scores.view)
    return [f"{_concerns(by_score, len(found))}: {note}" for note, by_score in concerned.items()]


def scores_by_name(scores: ViewScores) -> dict[str, Score]:
    """All scores of a view, in the order of the tables."""
    return {
        "interactivity": scores.interactivity,
        "persistence": scores.persistence,
        "coherence": scores.coherence.share,
        "coherence_adjusted": scores.coherence.adjusted,
        "contradictions": scores.contradictions,
        "faithfulness": scores.faithfulness,
        "unification": scores.unification,
        "predictiveness": scores.predictiveness.gain,
        "bic_gain": scores.predictiveness.bic_gain,
        "rotation": scores.predictiveness.rotation,
    }


def _concerns(by_score: Mapping[str, Sequence[str]], views: int) -> str:
    """`coherence, predictiveness [thread, model]`: scores together that concern the same views."""
    together: dict[tuple[str, ...], list[str]] = {}
    for name, concerned in by_score.items():
        together.setdefault(tuple(concerned), []).append(name)
    parts = []
    for concerned, names in together.items():
        if len(concerned) == views:
            who = "" if views == 1 else f" [{_EVERY}]"
        else:
            who = f" [{', '.join(concerned) if len(concerned) <= _MOST_VIEWS else f'{len(concerned)} views'}]"
        which = "every score" if len(names) == len(COLUMNS) + 1 else ", ".join(names)
        parts.append(f"{which}{who}")
    return "; ".join(parts)


def head(found: Desiderata) -> str:
    """What is scored, and on which readings where any was chosen."""
    on = f" on {', '.join(found.axes[:4])}{', ...' if len(found.axes) > 4 else ''}" if found.axes else ""
    turns = f"{found.turns:,} assistant turns with coordinates{on}" if found.turns else "no coordinates recorded"
    chosen = [f"{scores.view} with {scores.result.chosen_text}" for scores in found if scores.result.chosen_text]
    readings = f"\nReadings chosen: {'; '.join(chosen)} (all others at their defaults)" if chosen else ""
    return f"{found.trace} · {found.stages:,} stages · {turns}{readings}"


def told_scores(found: Desiderata) -> list[str]:
    """Everything as lines of text."""
    lines = [head(found)]
    for caption, titles, rows in tables(found):
        lines += ["", caption, *_aligned(titles, rows)]
    for title, listed in sections(found):
        lines += ["", title, *(f"  - {line}" for line in listed)]
    return lines


def sections(found: Desiderata) -> list[tuple[str, list[str]]]:
    """What stands below the tables: a title and lines each."""
    listed = [
        ("Where there is a dash, a range or a condition", notes(found)),
        ("What each number is, and cannot show", explained()),
        ("Caveats", list(found.caveats)),
    ]
    return [(title, lines) for title, lines in listed if lines]


def _aligned(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    split = [title.split("\n") for title in titles]
    deep = max(len(parts) for parts in split)
    top = [[""] * (deep - len(parts)) + parts for parts in split]
    lines = [[parts[line] for parts in top] for line in range(deep)] + [list(row) for row in rows]
    width = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    for line in lines:
        first, *figures = zip(line, width, strict=True)
        cells = [f"{first[0]:<{first[1]}}", *(f"{cell:>{wide}}" for cell, wide in figures)]
        yield f"  {'  '.join(cells)}".rstrip()


def _html(shown: Table, below: Sequence[str]) -> str:
    from individuation.html import table

    caption, titles, rows = shown
    return table(caption, [title.replace("-\n", "").replace("\n", " ") for title in titles], rows, below)


def html_of_scores(found: Desiderata) -> str:
    """The tables as HTML, with what stands below them as notes."""
    *before, last = tables(found)
    below = [line for _, lines in sections(found) for line in lines]
    return "".join(_html(each, []) for each in before) + _html(last, below)
