"""Why two stages belong to one mind, or do not: the evidence, found."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from individuation.criteria import find_view
from individuation.engine import Openable, Trace, individuate, open_trace
from individuation.facts_named import Naming
from individuation.ranges import readings_that_can_differ
from individuation.reasons import (
    Chain,
    Cut,
    Differing,
    Evidence,
    Fork,
    LinkFact,
    Missing,
    Otherwise,
    Passes,
    Ruled,
    SharedKey,
    Span,
    as_data,
)
from rules.bars import Judge, Link
from rules.readings import Value
from rules.view import Partition, Tally, Verdict, View
from traces.errors import TraceError
from traces.stages import StageTable

if TYPE_CHECKING:
    import networkx

_FEW = 4
_LOOKING = 1000
"""How much more it takes to look at a stage than to have the rule pass over it."""


@dataclass(frozen=True)
class Explanation:
    """Whether two stages belong to one mind under a view, and the evidence (semantics.md §8).

    `same` is None where the record does not say (forward-pass, without token counts). `otherwise`: the readings that
    would turn the answer round, each alone. Data first; `str(explanation)` is its prose, `verify` checks it.
    """

    a: str
    b: str
    view: str
    definition: str
    source: str
    readings: Mapping[str, Any]
    labelling: str | None
    same: bool | None
    evidence: Evidence
    otherwise: tuple[Otherwise, ...]
    criterion: View

    def verify(self, trace: Trace | Openable) -> bool:
        """Whether the explanation holds of a trace: whether every fact that it names is as it says, and whether the
        answer follows from these facts.

        The view is not applied again: links and stages are looked up one by one. Of a view that declares nothing
        (`Ruled`) only the rule itself can be asked.

        >>> trace = open_trace({"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": [
        ...     {"role": "user", "model": "m", "server": "s"}, {"role": "assistant"}]}}})
        >>> from dataclasses import replace
        >>> found = why(trace, "c/0", "c/1", "thread")
        >>> found.verify(trace), replace(found, same=False).verify(trace)
        (True, False)
        """
        from individuation.verification import holds

        return holds(self, trace if isinstance(trace, Trace) else open_trace(trace))

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "a": self.a,
            "b": self.b,
            "view": self.view,
            "definition": self.definition,
            "source": self.source,
            "declaration": None if self.criterion.declaration is None else self.criterion.declaration.to_dict(),
            "readings": dict(self.readings),
            "labelling": self.labelling,
            "same": self.same,
            "evidence": as_data(self.evidence),
            "otherwise": as_data(self.otherwise),
        }

    def __str__(self) -> str:
        from individuation.telling import told

        return "\n".join(told(self))

    def _repr_html_(self) -> str:
        from individuation.html import preformatted

        return preformatted(str(self))


def why(
    trace: Trace | Openable, a: str, b: str, view: str | View, *, labelling: str | None = None, **readings: object
) -> Explanation:
    """Whether two stages belong to one mind under a view, and why (semantics.md §8).

    *Same*: a chain of links that carry, or the attributes that both share. *Different*: the least set of links that
    separates them (a minimum cut), or the attributes that differ. Raises `TraceError` for a stage that is not there,
    and what `individuate` raises.

    >>> trace = open_trace({"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": [
    ...     {"role": "user", "model": "m", "server": "here"}, {"role": "assistant", "server": "there"}]}}})
    >>> print(why(trace, "c/0", "c/1", "virtual-instance", reconstruction="new"))
    Different minds under virtual-instance, with reconstruction=new.
      c/0  user, on here
       x rebuild     reconstruction=new: a recomputed cache begins another mind                §2.3
      c/1  assistant, on there
    The link marked x separates them.
    It would be one mind if reconstruction=same (§2.3, two readings of pre-filling).
    """
    opened = trace if isinstance(trace, Trace) else open_trace(trace)
    chosen = view if isinstance(view, View) else find_view(view)
    values = chosen.complete(readings)
    stages = opened.stages(labelling)
    rows = stages.find(a), stages.find(b)
    same, evidence = _answer(opened, chosen, labelling, values, rows)
    return Explanation(
        a=stages.name(rows[0]),
        b=stages.name(rows[1]),
        view=chosen.name,
        definition=chosen.definition,
        source=chosen.source,
        readings={name: None if value == math.inf else value for name, value in values.items()},
        labelling=labelling,
        same=same,
        evidence=evidence,
        otherwise=tuple(_otherwise(opened, chosen, labelling, values, rows, same, evidence)),
        criterion=chosen,
    )


def _answer(
    trace: Trace, view: View, labelling: str | None, values: Mapping[str, Value], rows: tuple[int, int]
) -> tuple[bool | None, Evidence]:
    stages = trace.stages(labelling)
    if view.declaration is not None:
        judge = Judge(stages, view.declaration, view.settled(values))
        return _Finder(stages, judge, rows, view.source).answer()
    verdict = view.rule(stages, values)
    if isinstance(verdict, Tally):
        return _passes(verdict, rows)
    minds = minds_of_stages(trace, view, labelling, values, rows)
    return bool(set(minds[0]) & set(minds[1])), Ruled(minds)


def _same(verdict: Verdict, rows: tuple[int, int]) -> bool | None:
    """What a verdict says of two stages; None for passes, which it does not list."""
    a, b = rows
    if isinstance(verdict, Partition):
        return bool(verdict.mind[a] >= 0 and verdict.mind[a] == verdict.mind[b])
    if isinstance(verdict, Tally):
        return None
    if not (verdict.assigned[a] and verdict.assigned[b]):
        return False
    low, high = max(a, b), min(a, b)
    # Stages come after what they hang on.
    while low > high:
        low = int(verdict.up[low])
    return low == high


def _passes(verdict: Tally, rows: tuple[int, int]) -> tuple[bool | None, Passes]:
    if rows[0] != rows[1]:
        return False, Passes(None, None)
    own, again = int(verdict.own[rows[0]]), int(verdict.again[rows[0]])
    if own < 0 or verdict.count is None:
        return None, Passes(own if own >= 0 else None, None)
    return own + again == 1, Passes(own, again)


def minds_of_stages(
    trace: Trace, view: View, labelling: str | None, values: Mapping[str, Value], rows: Iterable[int]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The ids of the minds that each of two stages belongs to."""
    result = individuate(trace, view, labelling=labelling, **values)
    table = result.minds.table
    wanted = list(rows)
    found: list[tuple[str, ...]] = [() for _ in wanted]
    if table is not None:
        for index in range(len(table)):
            members = table.members(index)
            for place, row in enumerate(wanted):
                if row in members:
                    found[place] = (*found[place], table.ids[index])
    return found[0], found[1]


def _otherwise(
    trace: Trace,
    view: View,
    labelling: str | None,
    values: Mapping[str, Value],
    rows: tuple[int, int],
    same: bool | None,
    evidence: Evidence,
) -> Iterable[Otherwise]:
    if same is None:
        return
    stages = trace.stages(labelling)
    others = readings_that_can_differ(view, stages, values)
    if len(others.get("max_drift", ())) > _FEW:
        others["max_drift"] = _telling_bounds(others["max_drift"], evidence)
    around = int(np.isin(stages.conversation, stages.conversation[list(rows)]).sum())
    for reading in view.readings:
        for value in others[reading.name]:
            changed = {**values, reading.name: value}
            try:
                view.complete(changed)
            except TraceError:
                continue
            # Evidence is looked for only where it is needed.
            if _is_same(view, stages, changed, rows, around) is (not same):
                turned, found = _answer(trace, view, labelling, changed, rows)
                shown = None if value == math.inf else value
                yield Otherwise(reading.name, shown, reading.source, bool(turned), found)
                if not reading.values:
                    # Of a bound, the first value that turns the answer is enough.
                    break


def _telling_bounds(bounds: list[Value], evidence: Evidence) -> list[Value]:
    """Of many bounds on drift those that tell links of the evidence apart: none, 0, and the one below the largest."""
    named = [link.drift or 0.0 for link in evidence.links] if isinstance(evidence, Chain | Fork) else []
    below = [value for value in bounds if float(value) < max(named, default=0.0)]
    return [value for value in bounds if value in (math.inf, 0.0) or value == max(below, default=None)]


def _is_same(
    view: View, stages: StageTable, values: Mapping[str, Value], rows: tuple[int, int], around: int
) -> bool | None:
    """Whether two stages are of one mind: by looking around them where little is around, else by the rule."""
    if view.declaration is not None and around * _LOOKING < len(stages):
        return _Finder(stages, Judge(stages, view.declaration, view.settled(values)), rows, view.source).same()
    return _same(view.rule(stages, values), rows)


class _Finder:
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
