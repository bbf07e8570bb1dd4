"""Paths through branching conversations: which turn stands where, and which came before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from traces.facts import Conversations


def path_order(parent: NDArray[np.int32]) -> Sequence[int]:
    """Conversations in the order of the record, but each after its parent.

    Raises `ValueError` with a member of the cycle where parents lead back to a conversation.

    >>> path_order(np.array([1, -1, 0], np.int32))
    [1, 0, 2]
    """
    if bool((parent < np.arange(len(parent))).all()):
        return range(len(parent))
    order: list[int] = []
    placed = np.zeros(len(parent), np.bool_)
    for conversation in range(len(parent)):
        chain: list[int] = []
        waiting: set[int] = set()
        current = conversation
        while current >= 0 and not placed[current]:
            if current in waiting:
                raise ValueError(current)
            waiting.add(current)
            chain.append(current)
            current = int(parent[current])
        for member in reversed(chain):
            placed[member] = True
            order.append(member)
    return order


def turn_on_path(table: Conversations, conversation: int, position: int) -> int:
    """The turn row at a position (from 0) of a conversation's path, or -1 where there is none."""
    while conversation >= 0:
        own = position - int(table.at[conversation])
        if own >= 0:
            return int(table.first[conversation]) + own
        conversation = int(table.parent[conversation])
    return -1


def is_before(
    table: Conversations, conversation_of: NDArray[np.int32], earlier: NDArray[np.int64], later: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether turn rows `earlier` stand before turn rows `later`, one by one, on the path of the later.

    >>> talk = {"turns": [{"role": "user", "model": "m"}, {"role": "assistant"}]}
    >>> branch = {"parent": "c", "at": 1, "turns": [{"role": "assistant"}]}
    >>> from traces.file import facts_from_data
    >>> world = {"individuation": 1, "models": {"m": {}}, "conversations": {"c": talk, "b": branch}}
    >>> facts = facts_from_data(world)
    >>> is_before(facts.conversations, facts.turns.conversation, np.array([0, 1]), np.array([2, 2])).tolist()
    [True, False]
    """
    wanted, holder = conversation_of[earlier], conversation_of[later].astype(np.int64)
    at = table.at.astype(np.int64)
    position = earlier - table.first[wanted] + at[wanted]
    limit = later - table.first[holder] + at[holder]
    climbing = np.flatnonzero(holder != wanted)
    while len(climbing):
        limit[climbing] = np.minimum(limit[climbing], at[holder[climbing]])
        holder[climbing] = table.parent[holder[climbing]]
        climbing = climbing[(holder[climbing] >= 0) & (holder[climbing] != wanted[climbing])]
    found: NDArray[np.bool_] = (holder == wanted) & (position < limit)
    return found


def before_first(table: Conversations) -> NDArray[np.int64]:
    """For each conversation the turn row just before its own first turn on its path (int64 [conversations]), or -1.

    >>> talk = {"turns": [{"role": "user", "model": "m"}, {"role": "assistant"}]}
    >>> branch = {"parent": "c", "at": 1, "turns": []}
    >>> from traces.file import facts_from_data
    >>> world = {"individuation": 1, "models": {"m": {}}, "conversations": {"c": talk, "b": branch}}
    >>> before_first(facts_from_data(world).conversations).tolist()
    [-1, 0]
    """
    holder = table.parent.astype(np.int64)
    position = table.at.astype(np.int64) - 1
    result = np.full(len(table), -1, np.int64)
    active = np.flatnonzero((holder >= 0) & (position >= 0))
    while len(active):
        own = position[active] - table.at[holder[active]]
        here = own >= 0
        found = active[here]
        result[found] = table.first[holder[found]] + own[here]
        active = active[~here]
        holder[active] = table.parent[holder[active]]
        active = active[holder[active] >= 0]
    return result


def latest_with(
    table: Conversations, attribute: NDArray[np.int64], conversation_of: NDArray[np.int32], wanted: NDArray[np.int64]
) -> NDArray[np.int64]:
    """For each wanted turn row the latest earlier turn on its path with the same attribute, or -1.

    `attribute`: a non-negative code for every turn row. Complexity: a sort of the turns, then one binary search for
    each wanted row and branch that it climbs.
    """
    if not len(wanted):
        return np.empty(0, np.int64)
    turns = len(attribute)
    ordinal = np.arange(turns) - table.first[conversation_of]
    kinds = int(attribute.max()) + 1
    longest = int(ordinal.max()) + 2
    key = (conversation_of.astype(np.int64) * kinds + attribute) * longest + ordinal
    by_key = np.argsort(key, kind="stable")
    sorted_keys = key[by_key]

    result = np.full(len(wanted), -1, np.int64)
    holder = conversation_of[wanted].astype(np.int64)
    last = ordinal[wanted] + table.at[holder] - 1
    code = attribute[wanted]
    active = np.arange(len(wanted))
    while len(active):
        owner = holder[active]
        own_last = last[active] - table.at[owner]
        group = (owner * kinds + code[active]) * longest
        position = np.searchsorted(sorted_keys, group + np.maximum(own_last, -1), side="right") - 1
        found = (position >= 0) & (own_last >= 0) & (sorted_keys[np.maximum(position, 0)] >= group)
        result[active[found]] = by_key[position[found]]
        active = active[~found]
        last[active] = np.minimum(last[active], table.at[holder[active]] - 1)
        holder[active] = table.parent[holder[active]]
        active = active[(holder[active] >= 0) & (last[active] >= 0)]
    return result
