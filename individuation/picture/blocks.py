"""The cells of a row: for each stage, or each stretch of like stages, what it is filled with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from individuation.minds import MindTable
from individuation.result import Result
from rules.view import Cover, Partition
from traces.facts import Floats, Longs

NONE = -1
MIXED = -2
"""The code of a cell that stands for stages of several codes, each too short to be drawn."""

MOST_LAYERS = 4


@dataclass(frozen=True)
class Block:
    """A cell from stage `first` to stage `last` (rows of the stage table), both included."""

    first: int
    last: int
    code: int


def runs(rows: Longs, codes: NDArray[Any]) -> list[Block]:
    """One cell for each stretch of stages with one code.

    >>> runs(np.array([4, 5, 6]), np.array([1, 1, 0]))
    [Block(first=4, last=5, code=1), Block(first=6, last=6, code=0)]
    """
    if not len(rows):
        return []
    start = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]]))
    end = np.append(start[1:], len(rows)) - 1
    return [
        Block(first, last, code)
        for first, last, code in zip(rows[start].tolist(), rows[end].tolist(), codes[start].tolist(), strict=True)
    ]


def single(rows: Longs, codes: NDArray[Any]) -> list[Block]:
    """One cell for each stage."""
    return [Block(row, row, code) for row, code in zip(rows.tolist(), codes.tolist(), strict=True)]


def coarsened(cells: list[Block], left: Floats, right: Floats, least: float) -> list[Block]:
    """Cells that are at least so long: shorter neighbours become one, of mixed code where theirs differ.

    `left` and `right` give where each stage begins and ends, in the unit of `least`.

    >>> ends = np.arange(1.0, 7.0)
    >>> coarsened(single(np.arange(6), np.array([0, 1, 0, 1, 1, 1])), ends - 1, ends, 3.0)
    [Block(first=0, last=2, code=-2), Block(first=3, last=5, code=1)]
    """
    found: list[Block] = []
    open_cells: list[Block] = []

    def close() -> None:
        if open_cells:
            codes = {cell.code for cell in open_cells}
            code = codes.pop() if len(codes) == 1 else MIXED
            if found and found[-1].code == code:
                found[-1] = Block(found[-1].first, open_cells[-1].last, code)
            else:
                found.append(Block(open_cells[0].first, open_cells[-1].last, code))
            open_cells.clear()

    for cell in cells:
        if right[cell.last] - left[cell.first] >= least:
            close()
            open_cells.append(cell)
            close()
        else:
            open_cells.append(cell)
            if right[cell.last] - left[open_cells[0].first] >= least:
                close()
    close()
    return found


class MindsOfStages:
    """Which minds each stage belongs to under one result, asked for conversation by conversation."""

    def __init__(self, result: Result) -> None:
        self.result = result
        self.table: MindTable | None = result.minds.table

    def of(self, rows: Longs) -> list[tuple[int, ...]]:
        """The minds of each of these stages."""
        verdict = self.result.verdict
        if isinstance(verdict, Partition):
            return [(mind,) if mind >= 0 else () for mind in verdict.mind[rows].tolist()]
        return [tuple(self._members.get(row, ())) for row in rows.tolist()]

    def layers(self, rows: Longs) -> tuple[list[Longs], int]:
        """For the stages of one conversation the mind of each (-1: none), one array a layer; and the minds left over.

        There is one layer, but where minds share stages: then as many as lie over one another, up to `MOST_LAYERS`.
        """
        verdict = self.result.verdict
        if isinstance(verdict, Partition):
            return [verdict.mind[rows]], 0
        if not isinstance(verdict, Cover) or self.table is None:
            return [], 0
        found: list[Longs] = []
        left_over = 0
        for mind, inside in self._minds_in(rows).items():
            places = np.searchsorted(rows, inside)
            for layer in found:
                if (layer[places[0] : places[-1] + 1] < 0).all():
                    break
            else:
                if len(found) == MOST_LAYERS:
                    left_over += 1
                    continue
                layer = np.full(len(rows), NONE, np.int64)
                found.append(layer)
            layer[places] = mind
        return found or [np.full(len(rows), NONE, np.int64)], left_over

    @cached_property
    def _members(self) -> dict[int, list[int]]:
        """The minds of each stage that has any, where minds share stages."""
        found: dict[int, list[int]] = {}
        for mind in range(0 if self.table is None else len(self.table)):
            for stage in () if self.table is None else self.table.members(mind).tolist():
                found.setdefault(stage, []).append(mind)
        return found

    def _minds_in(self, rows: Longs) -> dict[int, list[int]]:
        """The minds that have any of these stages, in their order, with the stages."""
        found: dict[int, list[int]] = {}
        for row in rows.tolist():
            for mind in self._members.get(row, ()):
                found.setdefault(mind, []).append(row)
        return dict(sorted(found.items()))
