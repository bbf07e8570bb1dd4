"""Evidence for whether two stages belong to one mind, found by a search on the graph of all links."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from individuation.facts_named import Naming
from individuation.reasons import Chain, Cut, Differing, Evidence, Fork, LinkFact, Missing, SharedKey, Span
from rules.bars import Judge, Link
from traces.stages import StageTable

if TYPE_CHECKING:
    import networkx


class Finder:
    """Finds evidence on the graph of all links that lead to either of two stages."""

    def __init__(self, stages: StageTable, judge: Judge, rows: tuple[int, int], source: str) -> None:
        self.source = source
        self.stages = stages
        self.judge = judge
        self.rows = rows
        self.naming = Naming(stages, judge)
        self.goal = judge.attributes(rows[0]) if judge.intermittent else None
        self._judged: dict[Link, bool] = {}

    def same(self) -> bool:
        """The answer alone."""
        a, b = self.rows
        if any(self.judge.lacks(row) for row in self.rows):
            return False
        declaration = self.judge.declaration
        compared = declaration.agree if declaration.linked else declaration.pool
        ours, theirs = self.judge.attributes(a), self.judge.attributes(b)
        if any(ours[name] != theirs[name] for name in compared):
            return False
        if not declaration.linked:
            return True
        chain = self._path(only_carried=True)
        return chain is not None and not (
            self.judge.readings["branching"] == "overlap" and self._turn(*chain) is not None
        )

    def answer(self) -> tuple[bool, Evidence]:
        """The answer, and what bears it out."""
        a, b = self.rows
        declaration = self.judge.declaration
        both = self.naming.stage(a), self.naming.stage(b)
        lacking = {self.stages.name(row): self.judge.lacks(row) for row in self.rows}
        if any(lacking.values()):
            return False, Missing({name: lacks for name, lacks in lacking.items() if lacks}, self.source, both)
        compared = declaration.agree if declaration.linked else declaration.pool
        ours, theirs = self.judge.attributes(a), self.judge.attributes(b)
        differing = tuple(name for name in compared if ours[name] != theirs[name])
        if not declaration.linked:
            if differing:
                return False, Differing(differing, self.source, both)
            return True, SharedKey(declaration.pool, self.source, both)
        if differing and (self.judge.intermittent or not self.judge.attributes_cut):
            return False, Differing(differing, self.source, both)
        chain = self._path(only_carried=True)
        if chain is None:
            return False, self._cut(both)
        links, rows = chain
        if self.judge.readings["branching"] == "overlap":
            turn = self._turn(links, rows)
            if turn is not None:
                return False, Fork(self._named(links), self.stages.name(turn), self._named_stages(rows))
        return True, Chain(self._named(links), self._named_stages(rows))

    def _named(self, links: Iterable[Link]) -> tuple[LinkFact, ...]:
        return tuple(self.naming.link(link, self.goal) for link in links)

    def _named_stages(self, rows: Iterable[int]) -> Any:
        return tuple(self.naming.stage(row) for row in rows)

    def _carries(self, link: Link) -> bool:
        if link not in self._judged:
            self._judged[link] = not self.judge.bars(link, self.goal)
        return self._judged[link]

    def _links_at(self, row: int) -> list[tuple[Link, int]]:
        up = [(link, link.origin) for link in self.judge.links_to(row)]
        return up + [(link, link.stage) for link in self.judge.links_from(row)]

    def _path(self, only_carried: bool) -> tuple[list[Link], list[int]] | None:
        """The way with the fewest links that do not carry, then the fewest links; by a search in two layers."""
        a, b = self.rows
        came: dict[int, tuple[Link, int] | None] = {a: None}
        done: set[int] = set()
        cost = {a: 0}
        queue = deque([a])
        while queue:
            row = queue.popleft()
            if row in done:
                continue
            done.add(row)
            if row == b:
                break
            for link, other in self._links_at(row):
                barred = not self._carries(link)
                if (only_carried and barred) or other in done:
                    continue
                reached = cost[row] + barred
                if other not in cost or reached < cost[other]:
                    cost[other] = reached
                    came[other] = (link, row)
                    (queue.append if barred else queue.appendleft)(other)
        if b not in done:
            return None
        links: list[Link] = []
        rows = [b]
        while (step := came[rows[-1]]) is not None:
            links.append(step[0])
            rows.append(step[1])
        return links[::-1], rows[::-1]

    def _turn(self, links: list[Link], rows: list[int]) -> int | None:
        """Where a way through a forest stops going up and goes down, or None where it goes one way only."""
        for number in range(1, len(links)):
            going_up = links[number - 1].origin == rows[number]
            going_down = links[number].origin == rows[number]
            if going_up and going_down:
                return rows[number]
        return None

    def _cut(self, both: Any) -> Cut:
        way = self._path(only_carried=False)
        side, separators = self._least_cut() if way is not None else (self._all_around(self.rows[0]), [])
        return Cut(
            separators=self._named(separators),
            side=spans(self.stages, side),
            inside=self.stages.name(self.rows[0]),
            way=self._named(way[0]) if way is not None else (),
            stages=self._named_stages(way[1]) if way is not None else both,
        )

    def _all_around(self, row: int) -> set[int]:
        found, waiting = {row}, [row]
        while waiting:
            for _, other in self._links_at(waiting.pop()):
                if other not in found:
                    found.add(other)
                    waiting.append(other)
        return found

    def _least_cut(self) -> tuple[set[int], list[Link]]:
        """A minimum cut: what lies on the side of the first stage, and the links that lead out of it.

        Stages that carried links join are one node first, so that the graph stays small.
        """
        import networkx as nx

        everything = self._all_around(self.rows[0])
        links = [link for row in sorted(everything) for link in self.judge.links_to(row)]
        carried = [link for link in links if self._carries(link)]
        joined: networkx.Graph = nx.Graph()
        joined.add_nodes_from(sorted(everything))
        joined.add_edges_from((link.origin, link.stage) for link in carried)
        node = {row: number for number, rows in enumerate(nx.connected_components(joined)) for row in rows}
        barred = [link for link in links if node[link.origin] != node[link.stage]]
        graph: networkx.Graph = nx.Graph()
        for link in barred:
            ends = node[link.origin], node[link.stage]
            graph.add_edge(*ends, capacity=graph.edges[ends]["capacity"] + 1 if graph.has_edge(*ends) else 1)
        _, (inside, _) = nx.minimum_cut(graph, node[self.rows[0]], node[self.rows[1]])
        side = {row for row in everything if node[row] in inside}
        return side, [link for link in barred if (link.origin in side) != (link.stage in side)]


def spans(stages: StageTable, rows: Iterable[int]) -> tuple[Span, ...]:
    """Stages as runs of ordinals within conversations, in the order of the record.

    >>> from traces.file import facts_from_data
    >>> world = {"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": [
    ...     {"role": "user", "model": "m"}, {"role": "assistant"}, {"role": "user"}]}}}
    >>> [str(span) for span in spans(StageTable.of(facts_from_data(world)), {0, 1})]
    ['c/0 to 1']
    """
    found: list[Span] = []
    listed = np.array(sorted(rows), np.int64)
    for row in listed.tolist():
        name, ordinal = stages.conversations[int(stages.conversation[row])], int(stages.ordinal[row])
        if found and found[-1].conversation == name and found[-1].last == ordinal - 1:
            found[-1] = Span(name, found[-1].first, ordinal)
        else:
            found.append(Span(name, ordinal, ordinal))
    return tuple(found)
