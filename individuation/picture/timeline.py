"""Where each stage stands along token-time, and which conversations are drawn, in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from traces.errors import TraceError, UnknownNameError
from traces.facts import Floats, Longs
from traces.forest import sums_from_root
from traces.stages import StageTable

MOST_CONVERSATIONS = 24
MOST_STAGES = 200
"""Stages of one conversation that are drawn one by one; of more, those that do not differ are drawn together."""

_SHORTEST = 2.0
_SHORT_ONES = 0.1

Time = Literal["auto", "tokens", "stages"]


@dataclass(frozen=True)
class Strip:
    """One conversation: its stages (rows of the stage table, in order) and the stage it branches from, or -1."""

    conversation: int
    rows: Longs
    origin: int


@dataclass(frozen=True)
class Timeline:
    """What is drawn, from where to where.

    `left` and `right` (float64 [stages]): where each stage begins and ends along its path, in units of `unit`.
    """

    strips: list[Strip]
    left: Floats
    right: Floats
    start: float
    end: float
    unit: Literal["tokens", "stages"]
    note: str
    """What one unit is, for the axis."""
    left_out: int
    """How many conversations are not drawn, though they were asked for."""

    @property
    def merged(self) -> bool:
        """Whether there are too many stages to draw each."""
        return any(len(strip.rows) > MOST_STAGES for strip in self.strips)


def timeline(
    stages: StageTable, width: float, *, conversations: Sequence[str] | None = None, time: Time = "auto"
) -> Timeline:
    """Place the stages of all conversations (or those named), branches under their parents.

    `width`: pixels for all of token-time. `time="auto"` goes by tokens where all are known and no more than a tenth of
    the stages would be too short to see; else each stage takes one unit. Raises `UnknownNameError` for a conversation
    that there is not, `TraceError` where `time="tokens"` and some token count is missing.
    """
    strips, left_out = _strips(stages, conversations)
    drawn = np.concatenate([strip.rows for strip in strips]) if strips else np.empty(0, np.int64)
    chosen: Literal["tokens", "stages"] = "stages"
    note = "stages along the path, one unit each"
    tokens_known = bool((stages.tokens[drawn] >= 0).all()) and _paths_known(stages, drawn)
    if time == "tokens" and not tokens_known:
        raise TraceError(stages.trace, "some stages have no token count", "time in stages")
    if time == "tokens" or (time == "auto" and tokens_known and len(drawn)):
        left, right = _places(stages, stages.tokens)
        span = float(right[drawn].max() - left[drawn].min()) if len(drawn) else 1.0
        short = float(((right - left)[drawn] * width / span < _SHORTEST).mean()) if len(drawn) else 0.0
        if time == "tokens" or short <= _SHORT_ONES:
            chosen, note = "tokens", "tokens along the path"
        else:
            note += " (by tokens, many would be too short to see)"
    elif time == "auto":
        note += " (token counts are not recorded)" if len(drawn) else ""
    if chosen == "stages":
        left, right = _places(stages, np.ones(len(stages), np.int64))
    start = float(left[drawn].min()) if len(drawn) else 0.0
    end = float(right[drawn].max()) if len(drawn) else 1.0
    return Timeline(strips, left, right, start, end, chosen, note, left_out)


def _places(stages: StageTable, size: Longs) -> tuple[Floats, Floats]:
    ends = sums_from_root(stages.previous, np.maximum(size, 0))
    return (ends - np.maximum(size, 0)).astype(np.float64), ends.astype(np.float64)


def _paths_known(stages: StageTable, drawn: Longs) -> bool:
    unknown = (stages.tokens < 0).astype(np.int64)
    return not bool(sums_from_root(stages.previous, unknown)[drawn].any())


def _strips(stages: StageTable, conversations: Sequence[str] | None) -> tuple[list[Strip], int]:
    begins = np.searchsorted(stages.conversation, np.arange(len(stages.conversations) + 1))
    holders = np.flatnonzero(np.diff(begins) > 0)
    origin = np.full(len(stages.conversations), -1, np.int64)
    origin[holders] = stages.previous[begins[holders]]
    if conversations is not None:
        wanted = []
        for name in conversations:
            if name not in stages.conversations:
                raise UnknownNameError(stages.trace, "conversation", name, stages.conversations)
            wanted.append(stages.conversations.index(name))
        order = [c for c in dict.fromkeys(wanted) if begins[c] < begins[c + 1]]
        asked = len(order)
        order = order[:MOST_CONVERSATIONS]
    else:
        order, asked = _families(stages, holders, origin), len(holders)
    strips = [
        Strip(conversation, np.arange(begins[conversation], begins[conversation + 1]), int(origin[conversation]))
        for conversation in order
    ]
    return strips, asked - len(strips)


def _families(stages: StageTable, holders: Longs, origin: Longs) -> list[int]:
    """The first conversations, each followed by those that branch from it."""
    children: dict[int, list[int]] = {}
    for conversation in holders.tolist():
        above = int(stages.conversation[origin[conversation]]) if origin[conversation] >= 0 else -1
        children.setdefault(above, []).append(conversation)
    order: list[int] = []
    waiting = children.get(-1, [])[::-1]
    while waiting and len(order) < MOST_CONVERSATIONS:
        conversation = waiting.pop()
        order.append(conversation)
        waiting.extend(reversed(children.get(conversation, [])))
    return order
