"""Why two stages belong to one mind, or do not: the evidence, found."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from individuation.criteria import find_view
from individuation.engine import Openable, Trace, individuate, open_trace
from individuation.facts_named import connection_between
from individuation.finding import Finder
from individuation.ranges import readings_that_can_differ
from individuation.reasons import (
    Chain,
    Connection,
    Cut,
    Evidence,
    Fork,
    Otherwise,
    Passes,
    Ruled,
    as_data,
)
from rules.bars import Judge
from rules.readings import Value
from rules.view import Partition, Tally, Verdict, View
from traces.errors import TraceError
from traces.stages import StageTable

if TYPE_CHECKING:
    pass

_FEW = 4
_LOOKING = 1000
"""How much more it takes to look at a stage than to have the rule pass over it."""


@dataclass(frozen=True)
class Explanation:
    """Whether two stages belong to one mind under a view, and the evidence (semantics.md §8).

    `same` is None where the record does not say (forward-pass, without token counts). `otherwise`: the readings that
    would turn the answer round, each alone; of a bound, one value that does. `connection`: how far the later of the two
    rests on the earlier one, where that was measured; only a view that asks for it goes by it. Data first;
    `str(explanation)` is its prose, `verify` checks it.
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
    connection: Connection | None = None

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
            "connection": as_data(self.connection),
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
        connection=connection_between(stages, rows),
    )


def _answer(
    trace: Trace, view: View, labelling: str | None, values: Mapping[str, Value], rows: tuple[int, int]
) -> tuple[bool | None, Evidence]:
    stages = trace.stages(labelling)
    if view.declaration is not None:
        judge = Judge(stages, view.declaration, view.settled(values))
        return Finder(stages, judge, rows, view.source).answer()
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
    if len(others.get("least_connectedness", ())) > _FEW:
        others["least_connectedness"] = _telling_leasts(others["least_connectedness"], evidence)
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


def _telling_leasts(bounds: list[Value], evidence: Evidence) -> list[Value]:
    """Of many bounds on connectedness those that tell links of the evidence apart: none, the one above the smallest of
    a chain, and the largest that all links of a way reach.
    """
    links = evidence.links if isinstance(evidence, Chain | Fork) else evidence.way if isinstance(evidence, Cut) else ()
    least = min((link.kl for link in links if link.kl is not None), default=math.inf)
    above = min((value for value in bounds if float(value) > least), default=None)
    below = max((value for value in bounds if float(value) <= least), default=None)
    return [value for value in bounds if value == 0 or value in (above, below)]


def _is_same(
    view: View, stages: StageTable, values: Mapping[str, Value], rows: tuple[int, int], around: int
) -> bool | None:
    """Whether two stages are of one mind: by looking around them where little is around, else by the rule."""
    if view.declaration is not None and around * _LOOKING < len(stages):
        return Finder(stages, Judge(stages, view.declaration, view.settled(values)), rows, view.source).same()
    return _same(view.rule(stages, values), rows)
