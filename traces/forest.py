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
    heads, sizes, top = _runs(parent)
    return np.repeat(heads[top], sizes)


def trees(parent: Parents) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The tree that each node is in, numbered by first appearance of roots, and the root of each tree.

    >>> number, root = trees(np.array([-1, 0, 1, -1, 3, 1]))
    >>> number.tolist(), root.tolist()
    ([0, 0, 0, 1, 1, 0], [0, 3])
    """
    heads, sizes, top = _runs(parent)
    is_root = top == np.arange(len(heads))
    number = np.cumsum(is_root) - 1
    return np.repeat(number[top], sizes), heads[is_root]


def _runs(parent: Parents) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Runs of nodes that each follow the one before: first nodes, sizes, and for each run the one with its root.

    All nodes of a run have one root, so that it takes jumping over runs only.
    """
    starts = parent != np.arange(-1, len(parent) - 1)
    starts[:1] = True
    heads = np.flatnonzero(starts)
    above = parent[heads]
    top = np.arange(len(heads))
    active = np.flatnonzero(above >= 0)
    top[active] = np.searchsorted(heads, above[active], side="right") - 1
    while len(active):
        further = top[top[active]]
        moved = further != top[active]
        top[active] = further
        active = active[moved]
    return heads, np.diff(heads, append=len(parent)), top


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
    active = np.flatnonzero((jump >= 0) & ~wanted[jump])
    while len(active):
        above = jump[jump[active]]
        jump[active] = above
        active = active[(above >= 0) & ~wanted[above]]
    return jump


def children_count(parent: Parents) -> NDArray[np.int64]:
    """How many children each node has."""
    return np.bincount(parent[parent >= 0], minlength=len(parent))
