"""Stages whose turn passes from one persona region into another are several stages (semantics.md §2).

Under a labelling that says where in a turn the region changes, each part is a stage of its own. A later part goes on
from the one before it in place: its own link is that of a retained cache (semantics.md §7, law 6).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from traces.turn_labels import Part
from traces.vocabulary import CACHES

if TYPE_CHECKING:
    from traces.facts import Longs
    from traces.stages import StageTable

_RETAINED = CACHES.index("retained")


def split(stages: StageTable, parts: Sequence[Part]) -> StageTable:
    """The stages of a single recording, a row a turn, with a row more for each later part of a turn.

    What was recorded of a turn as a whole (its text, its beliefs) is that of each of its parts; what was measured of
    its beginning (its link, its drift, how far it rests on earlier stages) that of the first.
    """
    if not parts:
        return stages
    parts = sorted(parts, key=lambda part: (part.turn, part.token))
    turns = np.array([part.turn for part in parts], np.int64)
    rows = np.insert(np.arange(len(stages)), turns + 1, turns)
    later = np.zeros(len(rows), np.bool_)
    later[1:] = rows[1:] == rows[:-1]
    first_of = np.flatnonzero(~later)
    last_of = np.append(first_of[1:], len(rows)) - 1
    token = np.zeros(len(rows), np.int64)
    token[later] = [part.token for part in parts]
    end = np.where(np.append(later[1:], False), np.append(token[1:], 0), stages.tokens[rows])
    region = stages.region[rows].copy()
    region[later] = [part.region for part in parts]
    before = np.arange(len(rows)) - 1

    def from_last(column: Longs) -> Longs:
        found = column[rows]
        return np.where(later, before, np.where(found >= 0, last_of[found], -1))

    by_turn = np.searchsorted(rows, np.arange(len(stages)))
    held = [np.arange(by_turn[row], last_of[row] + 1) for row in stages.belief_stage.tolist()]
    times = np.array([len(each) for each in held], np.int64)
    own_chances = [(int(place), chance) for place, part in zip(np.flatnonzero(later), parts, strict=True)
                   for chance in part.chances]  # fmt: skip
    chance_stage = np.append(first_of[stages.chance_stage], [place for place, _ in own_chances]).astype(np.int64)
    chance_region = np.append(stages.chance_region, [code for _, (code, _) in own_chances]).astype(np.int32)
    chance_value = np.append(stages.chance_value, [value for _, (_, value) in own_chances])
    by_stage = np.argsort(chance_stage, kind="stable")
    first_of_conversation = np.searchsorted(stages.conversation[rows], stages.conversation[rows])
    return replace(
        stages,
        conversation=stages.conversation[rows],
        ordinal=(np.arange(len(rows)) - first_of_conversation).astype(np.int32),
        role=stages.role[rows],
        tokens=np.where(stages.tokens[rows] < 0, -1, end - token),
        model=stages.model[rows],
        server=stages.server[rows],
        principal=stages.principal[rows],
        region=region,
        edited=stages.edited[rows] & ~later,
        drift=np.where(later, np.nan, stages.drift[rows]),
        previous=from_last(stages.previous),
        own=from_last(stages.own),
        own_kind=np.where(later, _RETAINED, stages.own_kind[rows]).astype(np.int8),
        shared=np.where(later | (stages.shared[rows] < 0), -1, last_of[stages.shared[rows]]),
        cache=np.where(later, _RETAINED, stages.cache[rows]).astype(np.int8),
        cache_known=stages.cache_known[rows] | later,
        recording=stages.recording[rows],
        turn=stages.turn[rows],
        token=token,
        belief_stage=np.concatenate([*held, np.empty(0, np.int64)]).astype(np.int64),
        belief_proposition=np.repeat(stages.belief_proposition, times),
        belief_holds=np.repeat(stages.belief_holds, times),
        chance_stage=chance_stage[by_stage],
        chance_region=chance_region[by_stage],
        chance_value=chance_value[by_stage],
        connection_stage=first_of[stages.connection_stage],
        connection_source=last_of[stages.connection_source],
    )
