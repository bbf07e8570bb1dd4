"""Forests given by parent pointers, as numpy arrays: -1 marks a root. Nothing here loops over nodes.

Everything is pointer jumping: each round doubles the distance covered, so a forest of depth d takes log2(d) rounds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Parents = NDArray[np.int64]


def roots(parent: Parents) -> NDArray[np.int64]:
    """The root of each node. O(n log depth), and O(n) where most parents are the node just before.

    >>> roots(np.array([-1, 0, 1, -1, 3, 1])).tolist()
    [0, 0, 0, 3, 3, 0]
    """
    node = np.arange(len(parent), dtype=np.int64)
    starts = parent != node - 1
    starts[:1] = True
    heads = np.flatnonzero(starts)
    # Runs of nodes that each follow the one before have one root: jump over runs, not nodes.
    run = np.cumsum(starts) - 1
    above = parent[heads]
    jump = np.where(above >= 0, run[above], np.arange(len(heads)))
    while True:
        further = jump[jump]
        if np.array_equal(further, jump):
            break
        jump = further
    result: NDArray[np.int64] = heads[jump][run]
    return result


def sums_from_root(parent: Parents, value: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each node the sum of `value` over the chain from its root down to it, itself included.

    >>> sums_from_root(np.array([-1, 0, 1, -1, 1]), np.array([1, 2, 3, 4, 5])).tolist()
    [1, 3, 6, 4, 8]
    """
    total = value.copy()
    jump = parent.copy()
    active = np.flatnonzero(jump >= 0)
    while len(active):
        # Gather first: every node must read the sums of the round before.
        step = jump[active]
        total[active] += total[step]
        jump[active] = jump[step]
        active = active[jump[active] >= 0]
    return total


def nearest(parent: Parents, wanted: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For each node the nearest wanted proper ancestor, or -1.

    >>> nearest(np.array([-1, 0, 1, 2]), np.array([True, False, False, True])).tolist()
    [-1, 0, 0, 0]
    """
    jump = parent.copy()
    while True:
        above = jump[np.maximum(jump, 0)]
        onwards = (jump >= 0) & ~wanted[np.maximum(jump, 0)]
        if not onwards.any():
            return jump
        jump = np.where(onwards, above, jump)


def children_count(parent: Parents) -> NDArray[np.int64]:
    """How many children each node has."""
    return np.bincount(parent[parent >= 0], minlength=len(parent))
