"""Reasons and ranges: what it takes to explain a verdict, and to say how far a count moves, on a large trace."""

from __future__ import annotations

import gc
import random
import time

import measuring
from measuring import Figure

PAIRS = 40
STAGES = 100_000
WHY_BAR = 2.0
"""Ours explains in no more than twice the time that the peer needs to build its graph and find the bare ways."""


def measure(stages: int, repeat: int) -> list[Figure]:
    """Medians of alternating runs, on at most a hundred thousand stages."""
    stages = min(stages, STAGES)
    peer_side, ours_side, ranged = measuring.alternating(
        repeat,
        lambda: measuring.child("reasons.py", "peer", stages),
        lambda: measuring.child("reasons.py", "ours", stages),
        lambda: measuring.child("reasons.py", "ranged", stages),
    )
    return [
        Figure(
            f"why, {PAIRS} pairs on {stages:,} stages; peer: graph and bare ways",
            "s", ours_side["cpu"], peer_side["with_graph"], WHY_BAR,
        ),
        Figure("  peer has its graph already", "s", ours_side["cpu"], peer_side["cpu"]),
        Figure("  checked by verify", "s", ours_side["verify"]),
        Figure(f"range of an instance-persona count on {stages:,} stages", "s", ranged["range"], ranged["count"]),
    ]  # fmt: skip


def _pairs(stages: str) -> tuple[object, object, list[tuple[str, str]]]:
    """Pairs of stages of one conversation each: those that have a way between them."""
    from worlds import world

    from individuation.engine import Trace

    trace = Trace([world(int(stages))])
    table = trace.stages()
    rng = random.Random(1)
    found = []
    while len(found) < PAIRS:
        row = rng.randrange(len(table))
        same = [other for other in range(max(0, row - 30), row) if table.conversation[other] == table.conversation[row]]
        if same:
            found.append((table.name(rng.choice(same)), table.name(row)))
    return trace, table, found


def peer(stages: str) -> dict[str, float]:
    """`networkx.shortest_path` on the graph of all links."""
    import networkx as nx
    import numpy as np

    _, table, pairs = _pairs(stages)
    gc.collect()
    start = time.process_time()
    graph = nx.Graph()
    graph.add_nodes_from(range(len(table)))
    for column in (table.own, table.previous):
        to = np.flatnonzero(column >= 0)
        graph.add_edges_from(zip(to.tolist(), column[to].tolist(), strict=True))
    built = time.process_time()
    for a, b in pairs:
        nx.shortest_path(graph, table.find(a), table.find(b))
    end = time.process_time()
    return {"cpu": end - built, "with_graph": end - start}


def ours(stages: str) -> dict[str, float]:
    """`why` under the virtual-instance view: the way, what separates, and what would turn the answer round."""
    from individuation.explanation import why

    trace, _, pairs = _pairs(stages)
    gc.collect()
    start = time.process_time()
    found = [why(trace, a, b, "virtual-instance", reconstruction="new") for a, b in pairs]
    told = time.process_time()
    if not all(explanation.verify(trace) for explanation in found):
        raise SystemExit("an explanation does not verify")
    return {"cpu": told - start, "verify": time.process_time() - told}


def ranged(stages: str) -> dict[str, float]:
    """A persona count, and its range."""
    from individuation.engine import individuate

    trace, _, _ = _pairs(stages)
    gc.collect()
    start = time.process_time()
    result = individuate(trace, "instance-persona")
    counted = time.process_time()
    if result.range is None:
        raise SystemExit("there is no range")
    return {"count": counted - start, "range": time.process_time() - counted}


if __name__ == "__main__":
    measuring.main(measure, {"peer": peer, "ours": ours, "ranged": ranged})
