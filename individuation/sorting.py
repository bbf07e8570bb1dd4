"""How a view sorts some stages into minds, and what two such sortings make of each other: who refines whom, their meet
and their join.

A sorting is kept as a forest: from each stage a pointer to the stage just before it in the same mind. Where every stage
is in one mind at most, a mind is a chain of all its stages; where minds share stages (branching=overlap), each way from
a root to a leaf is a mind. In both, two stages belong to one mind iff one of them stands above the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rules.view import Cover, Partition, Rows
from traces.forest import children_count, nearest, roots, sums_from_root

Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False, repr=False)
class Sorting:
    """Stages sorted into minds; positions count from 0 among the `rows` that are sorted.

    `rows` (int64 [n]): rows of the stage table, ascending; every one of them is in some mind. `up` (int64 [n]): the
    position of the stage just before in the same mind, -1 where there is none; always a smaller one. `mind` (int64
    [n]): the mind of each stage, numbered by first appearance; None where minds share stages.
    """

    rows: Rows
    up: Rows
    mind: Rows | None

    @classmethod
    def of(cls, verdict: Partition | Cover, rows: Rows) -> Sorting:
        """A verdict on some of the stages that it assigns.

        >>> Sorting.of(Partition(np.array([0, 1, 0, -1, 1]), 2), np.array([1, 2, 4])).up.tolist()
        [-1, -1, 0]
        """
        if isinstance(verdict, Partition):
            return cls.by_key(verdict.mind[rows], rows)
        wanted = np.zeros(len(verdict.up), np.bool_)
        wanted[rows] = True
        above = nearest(verdict.up, wanted)[rows]
        return cls(rows, np.where(above >= 0, np.searchsorted(rows, above), -1), None)

    @classmethod
    def by_key(cls, key: Rows, rows: Rows) -> Sorting:
        """One mind for each key (int64 [n])."""
        _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
        rank = np.empty(len(first), np.int64)
        rank[np.argsort(first)] = np.arange(len(first))
        mind = rank[inverse]
        order = np.argsort(mind, kind="stable")
        up = np.full(len(rows), -1, np.int64)
        goes_on = mind[order[1:]] == mind[order[:-1]]
        up[order[1:][goes_on]] = order[:-1][goes_on]
        return cls(rows, up, mind)

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def count(self) -> int:
        """How many minds; where they share stages, those that lie within no other."""
        return int((children_count(self.up) == 0).sum())

    @cached_property
    def pairs(self) -> int:
        """How many pairs of stages belong to one mind."""
        return int((sums_from_root(self.up, np.ones(len(self), np.int64)) - 1).sum())

    @cached_property
    def _first(self) -> Rows:
        """The first stage of the mind of each stage; of those minds that share it, the first that they share."""
        return roots(self.up)

    @cached_property
    def _visits(self) -> tuple[Rows, Rows]:
        """For each stage its place on a walk down the forest, and the place after the last below it."""
        up = self.up.tolist()
        size = [1] * len(up)
        for stage in range(len(up) - 1, -1, -1):
            if up[stage] >= 0:
                size[up[stage]] += size[stage]
        place, free, next_root = [0] * len(up), [0] * len(up), 0
        for stage, above in enumerate(up):
            if above >= 0:
                place[stage] = free[above]
                free[above] += size[stage]
            else:
                place[stage] = next_root
                next_root += size[stage]
            free[stage] = place[stage] + 1
        found = np.array(place, np.int64)
        return found, found + np.array(size, np.int64)

    def above(self, earlier: Rows, later: Rows) -> Flags:
        """Whether stages belong to one mind with later ones; positions, `earlier` below `later` in each pair."""
        if self.mind is not None:
            same: Flags = self.mind[earlier] == self.mind[later]
            return same
        place, end = self._visits
        inside: Flags = (place[earlier] <= place[later]) & (place[later] < end[earlier])
        return inside

    def together(self, some: Rows, others: Rows) -> Flags:
        """Whether stages belong to one mind with others, in whatever order."""
        return self.above(np.minimum(some, others), np.maximum(some, others))

    def parted_by(self, other: Sorting) -> Flags:
        """The stages (bool [n]) that go on a mind here, but that the other keeps apart from the stage just before in
        that mind. There is one iff this sorting does not refine the other.
        """
        goes_on = np.flatnonzero(self.up >= 0)
        found = np.zeros(len(self), np.bool_)
        found[goes_on] = ~other.above(self.up[goes_on], goes_on)
        return found

    def refines(self, other: Sorting) -> bool:
        """Whether every mind here lies within one mind of the other (semantics.md §7).

        >>> rows = np.arange(3)
        >>> fine, coarse = (Sorting.by_key(np.array(key), rows) for key in ([0, 1, 1], [5, 5, 5]))
        >>> fine.refines(coarse), coarse.refines(fine), fine.refines(fine)
        (True, False, True)
        """
        return not bool(self.parted_by(other).any())

    def meet(self, other: Sorting) -> Sorting:
        """The common refinement: stages belong together iff they do in both.

        >>> rows = np.arange(4)
        >>> a, b = (Sorting.by_key(np.array(key), rows) for key in ([0, 0, 1, 1], [0, 0, 0, 1]))
        >>> a.meet(b).mind.tolist(), a.join(b).mind.tolist()
        ([0, 0, 1, 2], [0, 0, 0, 0])
        """
        if self.mind is not None and other.mind is not None:
            return Sorting.by_key(self.mind * (int(other.mind.max(initial=0)) + 1) + other.mind, self.rows)
        forest, test = (self, other) if self.mind is None else (other, self)
        # Up the minds of the one until a stage is met that the other joins too; beyond its first there is none.
        up = forest.up.copy()
        seeking = np.flatnonzero(up >= 0)
        while len(seeking):
            beyond = up[seeking] < test._first[seeking]
            up[seeking[beyond]] = -1
            seeking = seeking[~beyond]
            seeking = seeking[~test.above(up[seeking], seeking)]
            up[seeking] = forest.up[up[seeking]]
            seeking = seeking[up[seeking] >= 0]
        return Sorting(self.rows, up, None)

    def join(self, other: Sorting) -> Sorting:
        """The finest sorting that both refine: stages belong together iff a chain of stages leads from one to the
        other of which each shares a mind with the next, here or there. Never one in which minds share stages.
        """
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        ends = [(up, np.flatnonzero(up >= 0)) for up in (self.up, other.up)]
        links = tuple(np.concatenate(side) for side in zip(*((up[low], low) for up, low in ends), strict=True))
        graph = coo_array((np.ones(len(links[0]), np.bool_), links), shape=(len(self), len(self)))
        _, component = connected_components(graph, directed=False)
        return Sorting.by_key(component.astype(np.int64), self.rows)

    def minds(self) -> Iterator[Rows]:
        """The rows of each mind, by first appearance."""
        if self.mind is not None:
            order = np.argsort(self.mind, kind="stable")
            yield from np.split(self.rows[order], np.cumsum(np.bincount(self.mind))[:-1]) if len(self) else []
            return
        leaves = np.flatnonzero(children_count(self.up) == 0)
        for leaf in leaves[np.lexsort((leaves, self._first[leaves]))].tolist():
            chain = [leaf]
            while self.up[chain[-1]] >= 0:
                chain.append(int(self.up[chain[-1]]))
            yield self.rows[chain[::-1]]
