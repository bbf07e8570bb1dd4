"""What two minds have in common although they are two: links between them, and states that reach from one to the other.

The paper's thought is that a mind may be "already connected to the mental life of another" (§4.2): two
instance-personas in one virtual instance share its cache, so that the later one attends to what the earlier one said.
"""

from __future__ import annotations

import numpy as np

from individuation.explanation import spans
from individuation.facts_named import Naming
from individuation.reasons import LinkFact, Sharing
from individuation.result import Result
from rules.bars import Judge
from rules.declaration import Declaration
from traces.errors import TraceError
from traces.forest import sums_from_root
from traces.stages import ATTENTION, TRANSFER, StageTable

_ANY_LINK = Declaration(follow="own", carry=frozenset({"attention"}))


def sharing(result: Result, first: int, second: int) -> Sharing:
    """What two minds of a result share, by their positions in `result.minds`.

    A stage reaches another where keys and values computed at the one were in the cache that the other was computed
    from: along `attention` and `transfer` links, one or many. Raises `TraceError` where the view lists no minds.

    >>> from individuation.engine import individuate
    >>> turns = [{"role": "user", "model": "m", "server": "s"}, {"role": "assistant", "region": "calm"},
    ...     {"role": "assistant", "region": "evil"}]
    >>> world = {"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": turns}}}
    >>> found = sharing(individuate(world, "instance-persona"), 0, 1)
    >>> [(link.origin, link.stage, link.kind) for link in found.links], found.reached, found.reaching
    ([('c/1', 'c/2', 'attention')], 2, 1)
    """
    table, stages = result.minds.table, result.stages
    if table is None:
        raise TraceError(f"view {result.view}", "it lists no minds", "a view whose minds have stages")
    rows = set(table.members(first).tolist()), set(table.members(second).tolist())
    both = rows[0] & rows[1]
    reached, reaching = _reach(stages, rows[0] - both, rows[1] - both)
    return Sharing(
        minds=(table.ids[first], table.ids[second]),
        links=_links_between(stages, rows[0] - both, rows[1] - both),
        reached=reached,
        reaching=reaching,
        stages_in_common=spans(stages, both),
        of=(spans(stages, rows[0]), spans(stages, rows[1])),
    )


def sharing_holds(found: Sharing, stages: StageTable) -> bool:
    """Whether what a `Sharing` says of its two sets of stages is so."""
    try:
        rows = [
            {
                stages.find(f"{span.conversation}/{ordinal}")
                for span in side
                for ordinal in range(span.first, span.last + 1)
            }
            for side in found.of
        ]
    except TraceError:
        return False
    both = rows[0] & rows[1]
    return (
        found.links == _links_between(stages, rows[0] - both, rows[1] - both)
        and (found.reached, found.reaching) == _reach(stages, rows[0] - both, rows[1] - both)
        and found.stages_in_common == spans(stages, both)
    )


def _links_between(stages: StageTable, a: set[int], b: set[int]) -> tuple[LinkFact, ...]:
    judge = Judge(stages, _ANY_LINK, {"user_turns": "poised", "recurrence": "same", "branching": "one"})
    naming = Naming(stages, judge)
    return tuple(
        naming.plain(link)
        for row in sorted(a | b)
        for link in judge.links_to(row)
        if (link.origin in a and row in b) or (link.origin in b and row in a)
    )


def _reach(stages: StageTable, a: set[int], b: set[int]) -> tuple[int, int]:
    """How many stages of either set are reached into, and how many reach into the other."""
    kept = (stages.own_kind == ATTENTION) | (stages.own_kind == TRANSFER)
    parent = np.where(kept, stages.own, -1)
    reached, reaching = 0, 0
    for mine, others in ((a, b), (b, a)):
        there = np.zeros(len(stages), np.int64)
        there[list(others)] = 1
        above = sums_from_root(parent, there) - there
        reaching += int((above[list(mine)] > 0).sum())
        seen: set[int] = set()
        for row in mine:
            while row >= 0 and row not in seen:
                seen.add(row)
                row = int(parent[row])
        reached += len((seen - mine) & others)
    return reached, reaching
