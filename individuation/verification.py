"""Whether an explanation holds of a trace: its facts looked up one by one, and its answer drawn from them again.

No view is applied: a chain is walked link by link, a cut is checked by all links that cross it. So a fault in the rules
and one in the search for evidence would have to agree to go unnoticed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from individuation.facts_named import Naming, connection_between
from individuation.reasons import (
    Chain,
    Cut,
    Differing,
    Evidence,
    Fork,
    LinkFact,
    Missing,
    Passes,
    Ruled,
    SharedKey,
    Span,
    StageFact,
)
from rules.bars import Judge, Link
from rules.declaration import SHARED
from rules.readings import Value
from rules.registry import VIEWS
from rules.view import Tally, View
from traces.errors import TraceError

if TYPE_CHECKING:
    from individuation.engine import Trace
    from individuation.explanation import Explanation


class _NotSoError(Exception):
    """Something that an explanation says is not so."""


def holds(explanation: Explanation, trace: Trace) -> bool:
    """Whether every fact that an explanation names is so, and its answer follows from them."""
    try:
        _check(explanation, trace)
    except (_NotSoError, TraceError, KeyError, ValueError, TypeError):
        return False
    return True


def _demand(condition: bool) -> None:
    if not condition:
        raise _NotSoError


def _check(explanation: Explanation, trace: Trace) -> None:
    view = explanation.criterion
    _demand((explanation.view, explanation.definition, explanation.source) == (view.name, view.definition, view.source))
    _demand(view.name not in VIEWS or VIEWS[view.name] == view)
    values = view.complete(explanation.readings)
    _demand({name: _shown(value) for name, value in values.items()} == dict(explanation.readings))
    _demand(_implied(explanation, trace, values, explanation.evidence) == explanation.same)
    stages = trace.stages(explanation.labelling)
    rows = stages.find(explanation.a), stages.find(explanation.b)
    _demand(connection_between(stages, rows) == explanation.connection)
    readings = {reading.name: reading for reading in view.readings}
    said: set[tuple[str, Value]] = set()
    for other in explanation.otherwise:
        reading = readings[other.reading]
        changed = view.complete({**values, other.reading: other.value})
        _demand(other.source == reading.source and changed != values)
        _demand((other.reading, changed[other.reading]) not in said and other.value == _shown(changed[other.reading]))
        said.add((other.reading, changed[other.reading]))
        _demand(explanation.same is not None and other.same is (not explanation.same))
        _demand(_implied(explanation, trace, changed, other.evidence) == other.same)


def _shown(value: Value) -> Value | None:
    return None if value == math.inf else value


def _implied(explanation: Explanation, trace: Trace, values: Mapping[str, Value], evidence: Evidence) -> bool | None:
    """The answer that evidence bears out. Raises `_NotSoError` where it names what is not so."""
    view = explanation.criterion
    stages = trace.stages(explanation.labelling)
    rows = stages.find(explanation.a), stages.find(explanation.b)
    if isinstance(evidence, Passes):
        return _of_passes(trace, explanation, values, rows, evidence)
    if isinstance(evidence, Ruled):
        from individuation.explanation import minds_of_stages

        _demand(view.declaration is None)
        minds = minds_of_stages(trace, view, explanation.labelling, values, rows)
        _demand(minds == evidence.minds)
        return bool(set(minds[0]) & set(minds[1]))
    if view.declaration is None:
        raise _NotSoError
    return _Checker(view, Judge(stages, view.declaration, view.settled(values)), rows).implied(evidence)


def _of_passes(
    trace: Trace, explanation: Explanation, values: Mapping[str, Value], rows: tuple[int, int], evidence: Passes
) -> bool | None:
    verdict = explanation.criterion.rule(trace.stages(explanation.labelling), values)
    if not isinstance(verdict, Tally):
        raise _NotSoError
    if rows[0] != rows[1]:
        _demand(evidence == Passes(None, None))
        return False
    own, again = int(verdict.own[rows[0]]), int(verdict.again[rows[0]])
    known = own >= 0 and verdict.count is not None
    _demand(evidence == Passes(own if own >= 0 else None, again if known else None))
    return own + again == 1 if known else None


class _Checker:
    def __init__(self, view: View, judge: Judge, rows: tuple[int, int]) -> None:
        self.view = view
        self.judge = judge
        self.declaration = judge.declaration
        self.stages = judge.stages
        self.rows = rows
        self.naming = Naming(judge.stages, judge)
        self.goal = judge.attributes(rows[0]) if judge.intermittent else None

    def implied(self, evidence: Evidence) -> bool:
        match evidence:
            case Chain():
                self._walked(evidence.links, evidence.stages)
                _demand(self.declaration.linked and all(link.carries for link in evidence.links))
                _demand(self._both_belong() and self._agree(self.declaration.agree))
                _demand(self.judge.readings["branching"] != "overlap" or self._turn(evidence.links) is None)
                return True
            case SharedKey():
                self._ends(evidence.stages)
                _demand(not self.declaration.linked and evidence.attributes == self.declaration.pool)
                _demand(evidence.source == self.view.source)
                _demand(self._both_belong() and self._agree(self.declaration.pool))
                return True
            case Cut():
                if evidence.way:
                    self._walked(evidence.way, evidence.stages)
                else:
                    self._ends(evidence.stages)
                self._separated(evidence)
                return False
            case Fork():
                self._walked(evidence.links, evidence.stages)
                _demand(self.judge.readings["branching"] == "overlap" and SHARED not in self.declaration.carry)
                _demand(all(link.carries for link in evidence.links) and self._turn(evidence.links) == evidence.at)
                return False
            case Differing():
                self._ends(evidence.stages)
                compared = self.declaration.agree if self.declaration.linked else self.declaration.pool
                ours, theirs = (self.judge.attributes(row) for row in self.rows)
                differing = tuple(name for name in compared if ours[name] != theirs[name])
                _demand(bool(differing) and differing == evidence.attributes)
                _demand(evidence.source == self.view.source)
                return False
            case Missing():
                self._ends(evidence.stages)
                lacking = {self.stages.name(row): self.judge.lacks(row) for row in self.rows}
                found = {name: lacks for name, lacks in lacking.items() if lacks}
                _demand(bool(found) and found == dict(evidence.lacking))
                _demand(evidence.source == self.view.source)
                return False
            case _:
                raise _NotSoError

    def _both_belong(self) -> bool:
        return not any(self.judge.lacks(row) for row in self.rows)

    def _agree(self, attributes: Sequence[str]) -> bool:
        ours, theirs = (self.judge.attributes(row) for row in self.rows)
        return all(ours[name] == theirs[name] for name in ours if name in attributes)

    def _ends(self, named: Sequence[StageFact]) -> None:
        _demand(tuple(named) == tuple(self.naming.stage(row) for row in self.rows))

    def _link(self, fact: LinkFact) -> Link:
        """The link of the trace that a fact names, if everything it says of it is so."""
        row = self.stages.find(fact.stage)
        for link in self.judge.links_to(row):
            if self.naming.link(link, self.goal) == fact:
                return link
        raise _NotSoError

    def _walked(self, links: Sequence[LinkFact], named: Sequence[StageFact]) -> None:
        """Check that links lead from the first stage to the second, by way of the stages named."""
        _demand(tuple(named) == tuple(self.naming.stage(self.stages.find(fact.stage)) for fact in named))
        _demand(len(named) == len(links) + 1 == len({fact.stage for fact in named}))
        self._way(links, [fact.stage for fact in named])

    def _way(self, links: Sequence[LinkFact], at: Sequence[str]) -> None:
        here, end = (self.stages.name(row) for row in self.rows)
        for fact, place in zip(links, at, strict=False):
            self._link(fact)
            _demand(place == here and here in (fact.origin, fact.stage))
            here = fact.stage if here == fact.origin else fact.origin
        _demand(here == end == at[-1])

    def _turn(self, links: Sequence[LinkFact]) -> str | None:
        for earlier, later in pairwise(links):
            if earlier.origin == later.origin:
                return earlier.origin
        return None

    def _separated(self, cut: Cut) -> None:
        side = self._rows_of(cut.side)
        a, b = self.rows
        _demand(cut.inside == self.stages.name(a) and a in side and b not in side)
        crossing = {
            link
            for row in side
            for link in (*self.judge.links_to(row), *self.judge.links_from(row))
            if (link.origin in side) != (link.stage in side)
        }
        named = [self._link(fact) for fact in cut.separators]
        _demand(len(named) == len(set(named)) and set(named) == crossing)
        _demand(not any(fact.carries for fact in cut.separators))
        _demand(bool(cut.way) == bool(cut.separators))
        if cut.way:
            self._least(len(cut.separators), sum(not fact.carries for fact in cut.way))

    def _least(self, separators: int, barred: int) -> None:
        """Check that no fewer links separate the two stages, and that no way between them has fewer that are barred."""
        import networkx as nx

        a, b = self.rows
        found, waiting = {a}, [a]
        graph = nx.Graph()
        while waiting:
            row = waiting.pop()
            for link in self.judge.links_to(row):
                ends = link.origin, link.stage
                carries = not self.judge.bars(link, self.goal)
                before = graph.get_edge_data(*ends, default={"capacity": 0, "barred": 1})
                many = float("inf") if carries else before["capacity"] + 1
                graph.add_edge(*ends, capacity=many, barred=0 if carries else before["barred"])
            around = [link.origin for link in self.judge.links_to(row)] + [k.stage for k in self.judge.links_from(row)]
            for other in around:
                if other not in found:
                    found.add(other)
                    waiting.append(other)
        _demand(nx.dijkstra_path_length(graph, a, b, weight="barred") == barred)
        _demand(nx.maximum_flow_value(graph, a, b) == separators)

    def _rows_of(self, spans: Sequence[Span]) -> set[int]:
        found: set[int] = set()
        for span in spans:
            _demand(span.first <= span.last)
            first, last = (self.stages.find(f"{span.conversation}/{n}") for n in (span.first, span.last))
            # The stages of a conversation stand side by side.
            _demand(last - first == span.last - span.first)
            _demand(found.isdisjoint(range(first, last + 1)))
            found.update(range(first, last + 1))
        return found
