"""Which stage belongs to which mind, a row a membership: one shape, whether or not minds share stages."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rules.view import Cover, Partition
from traces.facts import Conversations
from traces.forest import sums_from_root
from traces.stages import StageTable

Rows = NDArray[np.int64]

MOST_MEMBERSHIPS = 5_000_000
"""Minds that share stages may belong together in more ways than there is room to list; beyond this none are listed."""


@dataclass(frozen=True, eq=False, repr=False)
class Memberships:
    """All pairs of a mind and a stage of it, mind by mind, stages in order.

    `mind` and `stage` are int64 [memberships]. Minds that no stage belongs to do not appear.
    """

    stages: StageTable
    mind: Rows
    stage: Rows

    @classmethod
    def of(cls, stages: StageTable, verdict: Partition | Cover) -> Memberships | None:
        """The memberships of a verdict; None where there are more than `MOST_MEMBERSHIPS`.

        >>> from traces.file import facts_from_data
        >>> turns = [{"role": "user", "model": "m"}, {"role": "assistant"}, {"role": "user"}]
        >>> world = {"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": turns}}}
        >>> found = Memberships.of(StageTable.of(facts_from_data(world)), Partition(np.array([0, 1, 0]), 2))
        >>> found.mind.tolist(), found.stage.tolist(), found.row(np.array([0, 1]), np.array([2, 2])).tolist()
        ([0, 0, 1], [0, 2, 1], [1, -1])
        """
        if isinstance(verdict, Partition):
            order = np.argsort(verdict.mind, kind="stable")
            order = order[np.searchsorted(verdict.mind[order], 0) :]
            return cls(stages, verdict.mind[order], order)
        size = sums_from_root(verdict.up, np.ones(len(stages), np.int64))[verdict.last]
        if int(size.sum()) > MOST_MEMBERSHIPS:
            return None
        end = np.cumsum(size)
        stage = np.empty(int(size.sum()), np.int64)
        current, place = verdict.last, end - 1
        while len(current):
            stage[place] = current
            current = verdict.up[current]
            going = current >= 0
            current, place = current[going], place[going] - 1
        return cls(stages, np.repeat(np.arange(len(size)), size), stage)

    def __len__(self) -> int:
        return len(self.mind)

    @cached_property
    def _key(self) -> Rows:
        return self.mind * len(self.stages) + self.stage

    def row(self, mind: Rows, stage: Rows) -> Rows:
        """The row that says that a stage belongs to a mind, -1 where it does not; stage -1 belongs to none."""
        key = mind * len(self.stages) + stage
        found = np.searchsorted(self._key, key)
        there = (stage >= 0) & (found < len(self))
        there[there] = self._key[found[there]] == key[there]
        return np.where(there, found, -1)

    def of_stages(self, stage: Rows) -> tuple[Rows, Rows]:
        """Every membership of the given stages: the position among those given, and the mind."""
        by_stage = np.argsort(self.stage, kind="stable")
        listed = self.stage[by_stage]
        low, high = np.searchsorted(listed, stage, "left"), np.searchsorted(listed, stage, "right")
        size = high - low
        given = np.repeat(np.arange(len(stage)), size)
        place = np.arange(len(given)) - np.repeat(np.cumsum(size) - size, size) + np.repeat(low, size)
        return given, self.mind[by_stage[place]]


def path_table(stages: StageTable, count: Rows | None = None) -> Conversations:
    """How conversations hang together, for `traces.paths.latest_with`.

    `count` (int64 [stages]): how many entries each stage has, by default one; entries follow one another in the order
    of the stages.
    """
    count = np.ones(len(stages), np.int64) if count is None else count
    holders, first, own = np.unique(stages.conversation, return_index=True, return_inverse=True)
    names = stages.conversations
    before = stages.previous[first]
    parent = np.full(len(names), -1, np.int32)
    parent[holders] = np.where(before >= 0, stages.conversation[before], -1)
    at = np.zeros(len(names), np.int32)
    at[holders] = np.where(before >= 0, sums_from_root(stages.previous, count)[before], 0)
    start = np.zeros(len(names), np.int64)
    start[holders] = (np.cumsum(count) - count)[first]
    size = np.zeros(len(names), np.int32)
    size[holders] = np.bincount(own, count)
    return Conversations(names, parent, at, start, size)
