"""Views compared on one trace: side by side, pair by pair, and in the order of refinement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from individuation.agreement import Agreement, agreement
from individuation.criteria import find_view
from individuation.disagreement import Divergence, Links, Side
from individuation.engine import Openable, Trace, open_trace, overview
from individuation.finding import spans
from individuation.lattice import Order, Relation, relation
from individuation.result import Result
from individuation.sorting import Sorting
from rules.registry import VIEWS
from rules.view import Cover, Partition, Tally, View
from traces.errors import TraceError

if TYPE_CHECKING:
    import networkx

_TURNED: dict[Relation | None, Relation | None] = {"refines": "refined by", "refined by": "refines"}
WHY_LEFT_OUT = "it sorts token positions into minds, not stages, and lists none of them"


@dataclass(frozen=True, eq=False, repr=False)
class Pair:
    """Two views, on the stages that both assign; `stages` is how many these are.

    `relation`: that of the first to the second, None where there are no such stages. `meet` and `join`: their common
    refinement, and the finest sorting that both refine. `first_only`: what the first puts together and the second
    keeps apart; `second_only`: the other way round. `agreement`: None for fewer than 2 stages, or where minds share
    stages.
    """

    first: str
    second: str
    relation: Relation | None
    sortings: tuple[Sorting, Sorting]
    meet: Sorting
    join: Sorting
    first_only: Divergence
    second_only: Divergence
    agreement: Agreement | None

    @property
    def stages(self) -> int:
        """How many stages both views assign."""
        return len(self.meet)

    @property
    def all_pairs(self) -> int:
        """How many pairs of stages there are among those that both views assign."""
        return self.stages * (self.stages - 1) // 2

    @property
    def divergences(self) -> tuple[Divergence, ...]:
        """Those of the two ways to disagree that there are."""
        return tuple(found for found in (self.first_only, self.second_only) if found.pairs)

    def turned(self) -> Pair:
        """The same, with the second view first."""
        return Pair(
            first=self.second,
            second=self.first,
            relation=_TURNED.get(self.relation, self.relation),
            sortings=self.sortings[::-1],
            meet=self.meet,
            join=self.join,
            first_only=self.second_only,
            second_only=self.first_only,
            agreement=self.agreement,
        )

    def numbers(self) -> dict[str, Any]:
        """All numbers of the pair, by name. The four of pairs of stages add up to stages * (stages - 1) / 2."""
        only = self.first_only.pairs, self.second_only.pairs
        return {
            "stages": self.stages,
            "relation": self.relation,
            "together_in_both": self.meet.pairs,
            "first_only": only[0],
            "second_only": only[1],
            "apart_in_both": self.all_pairs - self.meet.pairs - sum(only),
            "meet": self.meet.count,
            "join": self.join.count,
            "adjusted_rand_index": None if self.agreement is None else self.agreement.rand,
            "variation_of_information_bits": None if self.agreement is None else self.agreement.information,
        }

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it. The groups of meet and join are null where one view refines the other: the meet is then the
        finer of the two, the join the coarser.
        """
        return {
            "first": self.first,
            "second": self.second,
            **self.numbers(),
            "meet_groups": self._groups(self.meet),
            "join_groups": self._groups(self.join),
            "divergences": [found.to_dict() for found in self.divergences],
        }

    def _groups(self, sorting: Sorting) -> list[list[str]] | None:
        if self.relation != "incomparable":
            return None
        stages = self.first_only.joining.result.stages
        return [list(map(str, spans(stages, rows))) for rows in sorting.minds()]


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Views compared on one trace: data first; `str(comparison)` is its prose.

    `results`: one for each view that sorts stages. `left_out`: the other views, each with why. `pairs`: every two
    views, in the order of `results`. `order`: the order of refinement (`individuation.lattice.Order`). `sides`: each
    view by name, to be asked about single stages and links.
    """

    trace: Trace
    labelling: str | None
    results: tuple[Result, ...]
    left_out: Mapping[str, str]
    pairs: tuple[Pair, ...]
    order: Order
    sides: Mapping[str, Side]

    def pair(self, first: str, second: str) -> Pair:
        """The pair of two views, by name, the first named first. Raises `KeyError`."""
        for pair in self.pairs:
            if (pair.first, pair.second) == (first, second):
                return pair
            if (pair.first, pair.second) == (second, first):
                return pair.turned()
        raise KeyError((first, second))

    @cached_property
    def alike(self) -> tuple[tuple[str, ...], ...]:
        """Views that assign the same stages and sort them into the same minds, together; one by one, those that no
        other is like.
        """
        groups: list[list[str]] = []
        for result in self.results:
            same = next((group for group in groups if self._alike(group[0], result)), None)
            if same is None:
                groups.append([result.view])
            else:
                same.append(result.view)
        return tuple(map(tuple, groups))

    def _alike(self, view: str, result: Result) -> bool:
        pair = self.pair(view, result.view)
        assigned = [len(one.stages) - one.unassigned_count for one in (self._result(view), result)]
        return pair.relation in ("equal", None) and assigned == [pair.stages, pair.stages]

    def _result(self, view: str) -> Result:
        return next(result for result in self.results if result.view == view)

    def graph(self) -> networkx.DiGraph:
        """The Hasse diagram of the order of refinement (see `individuation.lattice.Order.graph`).

        >>> turns = [{"role": "user", "model": "m"}, {"role": "assistant", "model": "n"}]
        >>> world = {"individuation": 1, "models": {"m": {}, "n": {}}, "conversations": {"c": {"turns": turns}}}
        >>> list(compare(world, views=["thread", "model", "virtual-instance"]).graph().edges)
        [('model = virtual-instance', 'thread')]
        """
        return self.order.graph()

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, with all links and boundaries."""
        return {
            "trace": self.trace.title,
            "stages": len(self.results[0].stages),
            "labelling": self.labelling,
            "views": [_side_by_side(result) for result in self.results],
            "left_out": dict(self.left_out),
            "pairs": [pair.to_dict() for pair in self.pairs],
            "order": self.order.to_dict(),
        }

    def __str__(self) -> str:
        from individuation.telling_comparison import told_comparison

        return "\n".join(told_comparison(self))

    def __repr__(self) -> str:
        return f"<Comparison of {', '.join(result.view for result in self.results)} on {self.trace.title!r}>"

    def _repr_html_(self) -> str:
        from individuation.telling_comparison import html_of_comparison

        return html_of_comparison(self)


def compare(
    trace: Trace | Openable,
    views: Sequence[str | View] = tuple(VIEWS),
    *,
    labelling: str | None = None,
    readings: Mapping[str, object] | None = None,
) -> Comparison:
    """Compare views on one trace, by default all built-in ones; each reading goes to the views that have it.

    A view may be named with readings of its own: `virtual-instance[reconstruction=new]`. Views that do not sort stages
    (forward-pass) are left out. Raises `TraceError` where fewer than two views are left, or where two have one name,
    and what `overview` raises.

    >>> turns = [{"role": "user", "model": "m"}, {"role": "assistant"}, {"role": "assistant", "model": "n"}]
    >>> world = {"individuation": 1, "models": {"m": {}, "n": {}}, "conversations": {"c": {"turns": turns}}}
    >>> pair = compare(world).pair("model", "thread")
    >>> pair.relation, pair.second_only.pairs, pair.agreement.rand
    ('refines', 2, 0.0)
    >>> [(link.origin, link.stage, link.kind, link.bars[0].cause) for link in pair.second_only.links]
    [('c/1', 'c/2', 'transcript', 'model')]
    """
    opened = trace if isinstance(trace, Trace) else open_trace(trace)
    found = [view if isinstance(view, View) else find_view(view) for view in views]
    names = [view.name for view in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise TraceError("views", f'two of them are called "{twice}"', "views of different names")
    every = overview(opened, views=found, labelling=labelling, readings=readings)
    results = tuple(result for result in every if not isinstance(result.verdict, Tally))
    left_out = {result.view: WHY_LEFT_OUT for result in every if isinstance(result.verdict, Tally)}
    if len(results) < 2:
        but = f" ({', '.join(left_out)} is left out: {WHY_LEFT_OUT})" if left_out else ""
        raise TraceError("views", f"there are {len(results)} to compare{but}", "at least two views that sort stages")
    sorter = _Sorter(results)
    sides = [Side(opened, labelling, result) for result in results]
    links = Links.of(results[0].stages)
    pairs = tuple(_pair(sides, sorter, links, i, j) for i, j in combinations(range(len(results)), 2))
    by_name = {side.name: side for side in sides}
    return Comparison(opened, labelling, results, left_out, pairs, sorter.order(), by_name)


def _pair(sides: Sequence[Side], sorter: _Sorter, links: Links, i: int, j: int) -> Pair:
    a, b = sorter.both(i, j)
    meet = a.meet(b)
    return Pair(
        first=sides[i].name,
        second=sides[j].name,
        relation=relation(a, b),
        sortings=(a, b),
        meet=meet,
        join=a.join(b),
        first_only=Divergence(sides[i], sides[j], (a, b, meet), links),
        second_only=Divergence(sides[j], sides[i], (b, a, meet), links),
        agreement=agreement(a, b),
    )


class _Sorter:
    """Sorts stages by the verdicts of several views; what was sorted once is kept, for most assign the same stages."""

    def __init__(self, results: Sequence[Result]) -> None:
        self.results = results
        self.assigned = [_assigned(result) for result in results]
        self._found: dict[tuple[int, bytes], Sorting] = {}

    def of(self, view: int, kept: NDArray[np.bool_]) -> Sorting:
        """The stages where `kept` (bool [stages]) is true, as a view sorts them."""
        key = view, np.packbits(kept).tobytes()
        if key not in self._found:
            verdict = self.results[view].verdict
            assert isinstance(verdict, Partition | Cover)
            self._found[key] = Sorting.of(verdict, np.flatnonzero(kept))
        return self._found[key]

    def both(self, i: int, j: int) -> tuple[Sorting, Sorting]:
        """The stages that two views assign, as the one and as the other sorts them."""
        kept = self.assigned[i] & self.assigned[j]
        return self.of(i, kept), self.of(j, kept)

    def order(self) -> Order:
        """The order of refinement, on the stages that all views assign that assign any."""
        there = [view for view, assigned in enumerate(self.assigned) if assigned.any()]
        left_out = tuple(result.view for view, result in enumerate(self.results) if view not in there)
        if len(there) < 2:
            return Order(0, (), (), left_out)
        kept = np.logical_and.reduce([self.assigned[view] for view in there])
        return Order.of({self.results[view].view: self.of(view, kept) for view in there}, left_out)


def _assigned(result: Result) -> NDArray[np.bool_]:
    verdict = result.verdict
    if isinstance(verdict, Partition):
        found: NDArray[np.bool_] = verdict.mind >= 0
        return found
    assert isinstance(verdict, Cover)
    return verdict.assigned


def minds_per_conversation(result: Result) -> dict[str, int]:
    """For each conversation that has stages, how many minds have one of them."""
    table, stages = result.minds.table, result.stages
    counts = np.zeros(len(stages.conversations), np.int64)
    if table is not None:
        counts += np.bincount(table.distinct(stages.conversation).values, minlength=len(counts))
    there = np.flatnonzero(np.bincount(stages.conversation, minlength=len(counts)))
    order = there[np.argsort(stages.recorded[there])]
    return {stages.conversations[code]: int(counts[code]) for code in order.tolist()}


def _side_by_side(result: Result) -> dict[str, Any]:
    span = result.range
    return {
        "view": result.view,
        "definition": result.criterion.definition,
        "source": result.criterion.source,
        "readings": dict(result.readings),
        "count": result.count,
        "range": None if span is None else {"low": span.low, "high": span.high, "complete": span.complete},
        "unassigned": result.unassigned_count,
        "minds_per_conversation": minds_per_conversation(result),
        "caveats": list(result.caveats),
    }
