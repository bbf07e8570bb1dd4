"""What becomes of a mind where its conversation branches (semantics.md §5).

Carried links form a forest: a stage has at most one parent but, where a conversation branches, several children. `one`:
the tree is one branching mind. `overlap` (Lewis): each chain from root to leaf is a mind, and minds share stages.
`end`: the mind ends at the branch, and each child begins a new one. `closest` (Nozick): the child with the strongest
link continues; a tie goes to the child in the same conversation, then to the branch first recorded; the others begin
new minds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rules.readings import Value
from rules.view import Cover, Naming, Partition, Rows
from traces.forest import children_count, roots
from traces.stages import StageTable


def branched(stages: StageTable, parent: Rows, kind: NDArray[np.int8], how: Value) -> Rows:
    """The carried links that are left once branches are read; under `one` and `overlap` all of them.

    `parent` (int64 [stages]): where each stage's carried link comes from, or -1. `kind` (int8 [stages]): its kind, a
    code of `traces.stages.LINKS`, strongest first.

    >>> from traces.file import facts_from_data
    >>> talk = {"turns": [{"role": "user", "model": "m"}, {"role": "assistant"}]}
    >>> again = {"parent": "c", "at": 1, "turns": [{"role": "assistant"}]}
    >>> world = {"individuation": 1, "models": {"m": {}}, "conversations": {"c": talk, "again": again}}
    >>> stages = StageTable.of(facts_from_data(world))
    >>> {how: branched(stages, stages.own, stages.own_kind, how).tolist() for how in ("one", "end", "closest")}
    {'one': [-1, 0, 0], 'end': [-1, -1, -1], 'closest': [-1, 0, -1]}
    """
    if how in ("one", "overlap"):
        return parent
    linked = parent >= 0
    several = linked & (children_count(parent)[parent] > 1)
    if not several.any():
        return parent
    cut = several
    if how == "closest":
        children = np.flatnonzero(several)
        origin = parent[children]
        elsewhere = stages.conversation[children] != stages.conversation[origin]
        order = np.lexsort((stages.recorded[stages.conversation[children]], elsewhere, kind[children], origin))
        ranked = origin[order]
        best = np.ones(len(order), np.bool_)
        best[1:] = ranked[1:] != ranked[:-1]
        cut = several.copy()
        cut[children[order[best]]] = False
    return np.where(cut, -1, parent)


def minds_by_links(stages: StageTable, parent: Rows, kind: NDArray[np.int8], how: Value) -> Partition | Cover:
    """The minds of a view that goes by links alone."""
    parent = branched(stages, parent, kind, how)
    if how == "overlap":
        leaves = np.flatnonzero(children_count(parent) == 0)
        return Cover(parent, _by_first(parent, leaves), np.ones(len(parent), np.bool_))
    return Partition.by_links(parent)


def chains(up: Rows, last: Rows, assigned: NDArray[np.bool_], naming: Naming) -> Cover:
    """A cover by chains, in order of first appearance."""
    return Cover(up, _by_first(up, last), assigned, naming)


def _by_first(up: Rows, last: Rows) -> Rows:
    return last[np.lexsort((last, roots(up)[last]))]
