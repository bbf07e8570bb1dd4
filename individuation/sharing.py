"""What two minds have in common although they are two: links between them, and states that reach from one to the other.

The paper's thought is that a mind may be "already connected to the mental life of another" (§4.2): two
instance-personas in one virtual instance share its cache, so that the later one attends to what the earlier one said.
"""

from __future__ import annotations

from individuation.facts_named import Naming
from individuation.finding import spans
from individuation.reasons import LinkFact, Reach, Sharing
from individuation.result import Result
from rules.bars import Judge
from rules.declaration import SHARED, Declaration
from traces.errors import TraceError
from traces.stages import StageTable

_ANY_LINK = Declaration(follow="own", carry=frozenset({"attention"}))
_PLAIN = {"recurrence": "same"}


def sharing(result: Result, first: int, second: int) -> Sharing:
    """What two minds of a result share, by their positions in `result.minds`.

    A stage reaches another where keys and values computed at the one were in the cache that the other was computed
    from: along `attention`, `transfer` and `shared` links, one or many. Raises `TraceError` where the view lists no
    minds.

    >>> from individuation.engine import individuate
    >>> turns = [{"role": "user", "model": "m", "server": "s"}, {"role": "assistant", "region": "calm"},
    ...     {"role": "assistant", "region": "evil"}]
    >>> world = {"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": turns}}}
    >>> found = sharing(individuate(world, "instance-persona"), 0, 1)
    >>> [(link.origin, link.stage, link.kind) for link in found.links], found.first_reaches
    ([('c/1', 'c/2', 'attention')], Reach(attending=1, attended=2))
    """
    table, stages = result.minds.table, result.stages
    if table is None:
        raise TraceError(f"view {result.view}", "it lists no minds", "a view whose minds have stages")
    rows = set(table.members(first).tolist()), set(table.members(second).tolist())
    both = rows[0] & rows[1]
    return Sharing(
        minds=(table.ids[first], table.ids[second]),
        labels=(table.labels[first], table.labels[second]),
        links=_links_between(stages, rows[0] - both, rows[1] - both),
        first_reaches=_reach(stages, rows[0] - both, rows[1] - both),
        second_reaches=_reach(stages, rows[1] - both, rows[0] - both),
        stages_in_common=spans(stages, both),
        of=(spans(stages, rows[0]), spans(stages, rows[1])),
    )


def sharing_holds(found: Sharing, stages: StageTable) -> bool:
    """Whether what a `Sharing` says of its two sets of stages is so."""
    try:
        rows = [{stages.find(name) for span in side for name in span.names()} for side in found.of]
    except TraceError:
        return False
    both = rows[0] & rows[1]
    first, second = rows[0] - both, rows[1] - both
    return (
        found.links == _links_between(stages, first, second)
        and found.first_reaches == _reach(stages, first, second)
        and found.second_reaches == _reach(stages, second, first)
        and found.stages_in_common == spans(stages, both)
    )


def _links_between(stages: StageTable, a: set[int], b: set[int]) -> tuple[LinkFact, ...]:
    judge = Judge(stages, _ANY_LINK, _PLAIN)
    naming = Naming(stages, judge)
    return tuple(
        naming.plain(link)
        for row in sorted(a | b)
        for link in judge.links_to(row)
        if (link.origin in a and row in b) or (link.origin in b and row in a)
    )


def _reach(stages: StageTable, one: set[int], other: set[int]) -> Reach:
    """How states of one set of stages reach into another: along attention and transfer links, and shared prefixes."""
    judge = Judge(stages, _ANY_LINK, _PLAIN)
    carried = {"attention", "transfer", SHARED}

    def around(start: set[int], down: bool) -> set[int]:
        found, waiting = set(start), list(start)
        while waiting:
            row = waiting.pop()
            links = judge.links_from(row) if down else judge.links_to(row)
            for link in links:
                further = link.stage if down else link.origin
                if link.kind in carried and further not in found:
                    found.add(further)
                    waiting.append(further)
        return found

    attending = around(one, down=True) & other
    return Reach(len(attending), len(around(attending, down=False) & one))
