"""The order of refinement among views on a trace: who refines whom, and its Hasse diagram.

`A <= B`, A refines B: every A-mind lies within one B-mind, on the stages that both assign (semantics.md §7). Between
two views that is a matter of the stages that both assign. Among several it is an order only on stages that all of them
assign: on the stages of two at a time, A may refine B and B refine C, and A not refine C, by stages that B leaves out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from individuation.sorting import Sorting

if TYPE_CHECKING:
    import networkx

Relation = Literal["equal", "refines", "refined by", "incomparable"]


def relation(a: Sorting, b: Sorting) -> Relation | None:
    """How two sortings of the same stages stand to each other; None where there are no stages to tell.

    >>> import numpy as np
    >>> a, b = (Sorting.by_key(np.array(key), np.arange(3)) for key in ([0, 1, 1], [0, 0, 0]))
    >>> relation(a, b), relation(b, a)
    ('refines', 'refined by')
    """
    if not len(a):
        return None
    up, down = a.refines(b), b.refines(a)
    if up and down:
        return "equal"
    return "refines" if up else "refined by" if down else "incomparable"


@dataclass(frozen=True)
class Order:
    """The order of refinement among views, on the stages that every one of them assigns.

    `stages`: how many these are; with none of them there is no order, and no node. `nodes`: views that are equal on
    these stages are one. `covers`: (finer, coarser) for nodes with none between them, as positions in `nodes`.
    `left_out`: views that assign no stage at all.
    """

    stages: int
    nodes: tuple[tuple[str, ...], ...]
    covers: tuple[tuple[int, int], ...]
    left_out: tuple[str, ...] = ()

    @classmethod
    def of(cls, sortings: Mapping[str, Sorting], left_out: tuple[str, ...] = ()) -> Order:
        """The order among sortings of the same stages.

        >>> import numpy as np
        >>> keys = {"a": [0, 1, 2], "b": [0, 0, 1], "c": [0, 0, 0], "d": [4, 4, 4]}
        >>> Order.of({name: Sorting.by_key(np.array(key), np.arange(3)) for name, key in keys.items()}).lines()
        ['a < b < c = d']
        """
        import networkx as nx

        stages = len(next(iter(sortings.values()))) if sortings else 0
        if not stages:
            return cls(0, (), (), left_out)
        nodes: list[list[str]] = []
        for name, sorting in sortings.items():
            same = next((node for node in nodes if relation(sortings[node[0]], sorting) == "equal"), None)
            if same is None:
                nodes.append([name])
            else:
                same.append(name)
        first = [sortings[node[0]] for node in nodes]
        finer = nx.DiGraph()
        finer.add_nodes_from(range(len(nodes)))
        finer.add_edges_from(
            (i, j) for i, a in enumerate(first) for j, b in enumerate(first) if i != j and a.refines(b)
        )
        covers = sorted(nx.transitive_reduction(finer).edges)
        return cls(stages, tuple(map(tuple, nodes)), tuple(covers), left_out)

    def graph(self) -> networkx.DiGraph:
        """The Hasse diagram: an edge from each node to those just coarser. Nodes are named by their views, joined by
        ` = `, and hold them as `views`.
        """
        import networkx as nx

        names = [" = ".join(node) for node in self.nodes]
        graph: networkx.DiGraph = nx.DiGraph(stages=self.stages)
        graph.add_nodes_from((name, {"views": list(node)}) for name, node in zip(names, self.nodes, strict=True))
        graph.add_edges_from((names[finer], names[coarser]) for finer, coarser in self.covers)
        return graph

    def lines(self) -> list[str]:
        """The diagram as lines of text, the finest view first; each cover stands on one line."""
        left = list(self.covers)
        lower = {coarser for _, coarser in self.covers}
        starts = sorted(range(len(self.nodes)), key=lambda node: (node in lower, node))
        found = []
        for start in starts:
            while True:
                chain = [start]
                while (step := next((cover for cover in left if cover[0] == chain[-1]), None)) is not None:
                    left.remove(step)
                    chain.append(step[1])
                if len(chain) > 1:
                    found.append(chain)
                else:
                    break
        linked = {node for cover in self.covers for node in cover}
        found += [[node] for node in range(len(self.nodes)) if node not in linked]
        return [" < ".join(" = ".join(self.nodes[node]) for node in chain) for chain in found]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "stages": self.stages,
            "nodes": [list(node) for node in self.nodes],
            "covers": [list(cover) for cover in self.covers],
            "left_out": list(self.left_out),
        }
