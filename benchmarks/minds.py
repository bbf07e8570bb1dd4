"""Virtual instances labelled and tabled, against networkx finding the connected components of the same links."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import measuring
from measuring import Figure

if TYPE_CHECKING:
    from individuation.minds import Lists
    from rules.readings import Value
    from rules.view import View
    from traces.stages import StageTable

BAR = 1 / 20


def measure(stages: int, repeat: int) -> list[Figure]:
    """Medians of alternating runs, each in a process of its own."""
    peer, ours = measuring.alternating(
        repeat,
        lambda: measuring.child("minds.py", "peer", stages),
        lambda: measuring.child("minds.py", "ours", stages),
    )
    components, built = peer["components"], [sum(pair) for pair in zip(peer["components"], peer["build"], strict=True)]
    of = f"virtual instances of {stages:,} stages"
    return [
        Figure(f"{of}: labels, minds table", "s", ours["table"], components, BAR),
        Figure("  with distinct sets, as columns", "s", ours["sets"], components),
        Figure("  with distinct sets, as Python lists", "s", ours["lists"], components),
        Figure("  labels, minds table; peer builds its graph", "s", ours["table"], built),
    ]


def peer(stages: str) -> dict[str, float]:
    """`networkx.connected_components` on the carried links; what it finds is what we find."""
    import networkx as nx
    import numpy as np

    from rules.carrying import carried_links
    from rules.registry import VIEWS
    from rules.view import Partition

    table, readings, view = _virtual_instances(int(stages))

    link = carried_links(table, VIEWS["virtual-instance"].declaration, view.settled(readings))
    linked = np.flatnonzero(link >= 0)
    edges = list(zip(linked.tolist(), link[linked].tolist(), strict=True))
    gc.collect()
    start = time.process_time()
    graph = nx.Graph()
    graph.add_nodes_from(range(len(table)))
    graph.add_edges_from(edges)
    build = time.process_time() - start
    components = list(nx.connected_components(graph))
    verdict = view.rule(table, readings)
    assert isinstance(verdict, Partition)
    label = verdict.mind.tolist()
    if len(components) != verdict.count or any(len({label[stage] for stage in of}) != 1 for of in components):
        raise SystemExit("networkx finds other components")
    del components, label
    gc.collect()
    start = time.process_time()
    components = list(nx.connected_components(graph))
    spent = time.process_time() - start
    return {"build": build, "components": spent, "found": len(components)}


def ours(stages: str) -> dict[str, float]:
    """The rule and the table; then also the distinct conversations, models, servers and regions of every mind."""
    from individuation.minds import MindTable
    from rules.view import Partition

    once, readings, view = _virtual_instances(int(stages))
    times: list[float] = []
    for _ in range(2):
        # The first round is a warm-up, as the peer has one. A new table of stages has nothing cached yet.
        table = replace(once)
        gc.collect()
        times = [time.process_time()]
        verdict = view.rule(table, readings)
        assert isinstance(verdict, Partition)
        minds = MindTable(table, verdict, view)
        times.append(time.process_time())
        columns = (table.conversation, table.model, table.server, minds.region_of_stage)
        sets = [minds.distinct(column) for column in columns]
        times.append(time.process_time())
        lists = [[values[a:b] for a, b in pairwise(start)] for values, start in _plain(sets)]
        times.append(time.process_time())
        assert all(len(of_column) == len(minds) for of_column in lists)
        del verdict, minds, sets, lists
    return {name: done - times[0] for name, done in zip(("table", "sets", "lists"), times[1:], strict=True)}


def _plain(sets: Sequence[Lists]) -> Iterator[tuple[list[int], list[int]]]:
    return ((of_column.values.tolist(), of_column.start.tolist()) for of_column in sets)


def _virtual_instances(stages: int) -> tuple[StageTable, dict[str, Value], View]:
    from worlds import world

    from rules.readings import complete
    from rules.registry import find_view
    from traces.stages import StageTable

    view = find_view("virtual-instance")
    return StageTable.of(world(stages)), complete(view.readings, {}, view.name), view


if __name__ == "__main__":
    measuring.main(measure, {"peer": peer, "ours": ours})
