"""Labellings that say it turn by turn: held against the turns that they are of, and turned into columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from traces.errors import TraceError, quoted
from traces.facts import Chances, Facts, Ints, TurnLabels
from traces.vocabulary import ROLES, LabelledPart, LabelledTurn

_ASSISTANT = ROLES.index("assistant")


@dataclass(frozen=True, eq=False)
class Part:
    """A part of a turn that follows another: from a token on, in a region (-1: none), with chances by region."""

    turn: int
    token: int
    region: int
    chances: Sequence[tuple[int, float]]


def rows_of(facts: Facts, where: str, turns: Mapping[str, LabelledTurn]) -> dict[int, LabelledTurn]:
    """Labelled turns by the row of the turn, in the order of the record.

    Raises `TraceError` for a turn that is not there, is not the assistant's, or changes behind its last token.
    """
    row_of = {name: c for c, name in enumerate(facts.conversations.names)}
    found: dict[int, LabelledTurn] = {}
    for name, labelled in turns.items():
        conversation, _, ordinal = name.rpartition("/")
        code = row_of.get(conversation, -1)
        size = int(facts.conversations.size[code]) if code >= 0 else 0
        known = ordinal.isascii() and ordinal.isdecimal() and len(ordinal) < 20 and int(ordinal) < size
        if not known:
            raise TraceError(where, f"there is no turn {quoted(name)}", "CONVERSATION/ORDINAL of a turn of the trace")
        found[int(facts.conversations.first[code]) + int(ordinal)] = labelled
    for row, found_out, expected in breaches(facts, found):
        raise TraceError(f"{where}: turn {facts.stage_name(row)}", found_out, expected)
    return dict(sorted(found.items()))


def breaches(facts: Facts, turns: Mapping[int, LabelledTurn]) -> Iterator[tuple[int, str, str]]:
    """What is wrong with labelled turns: the row, what was found, what was expected."""
    for row, labelled in turns.items():
        if not 0 <= row < len(facts.turns):
            continue
        if facts.turns.role[row] != _ASSISTANT:
            role = ROLES[facts.turns.role[row]]
            yield row, f"a region is given to a turn of the {role}'s", "regions on assistant turns only (§3.4)"
        tokens = int(facts.turns.tokens[row])
        if labelled.changes and tokens < 0:
            yield row, "it changes region, and how many tokens it has is not recorded", "no changes in such a turn"
        elif labelled.changes and labelled.changes[-1].at >= tokens:
            last = labelled.changes[-1].at
            yield row, f"it changes region at token {last}, and has {tokens}", f"a token from 1 to {tokens - 1}"


def columns(labels: TurnLabels, count: int, number: Mapping[str, int]) -> tuple[Ints, Chances, list[Part]]:
    """The region code of each of so many turns (-1: none), how probable regions are, and the later parts of turns."""
    of_turn = np.full(count, -1, np.int32)
    chances: list[tuple[int, int, float]] = []
    parts: list[Part] = []
    for row, labelled in labels.turns.items():
        of_turn[row] = _code(labelled, number)
        chances += [(row, region, value) for region, value in _chances(labelled, number)]
        parts += [Part(row, change.at, _code(change, number), _chances(change, number)) for change in labelled.changes]
    turn, region, value = zip(*chances, strict=True) if chances else ((), (), ())
    columns = Chances(np.array(turn, np.int64), np.array(region, np.int32), np.array(value, np.float64))
    return of_turn, columns, parts


def _code(part: LabelledPart, number: Mapping[str, int]) -> int:
    return -1 if part.region is None else number[part.region]


def _chances(part: LabelledPart, number: Mapping[str, int]) -> list[tuple[int, float]]:
    return [(number[region], value) for region, value in part.probabilities.items()]
