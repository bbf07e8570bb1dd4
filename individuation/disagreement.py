"""Where two views disagree on a trace: the stages that the one puts together and the other keeps apart, and by what."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from individuation.facts_named import Naming
from individuation.reasons import Cause, LinkFact, as_data
from individuation.result import Result
from individuation.sorting import Sorting
from rules.bars import NOT_BUILT_IN, Judge, Link, section
from rules.declaration import SHARED, Declaration
from rules.view import Rows
from traces.stages import LINKS, TRANSCRIPT, StageTable

if TYPE_CHECKING:
    from individuation.engine import Openable, Trace
    from individuation.explanation import Explanation

RULE = "rule"
"""The cause where a view that declares nothing keeps the ends of a link apart."""
NOT_FOLLOWED = "not followed"
"""The cause where a view goes by other links than the one at hand."""

_KINDS = (*LINKS, SHARED)
_ANY_LINK = Declaration(follow="previous", carry=frozenset(LINKS))


@dataclass(frozen=True)
class Boundary:
    """A stage at which one view begins something new and the other goes on. `before`: the stage just before it in the
    mind that goes on.
    """

    stage: str
    before: str


@dataclass(frozen=True)
class Witness:
    """Two stages that one view puts together and another keeps apart, with the evidence of both."""

    a: str
    b: str
    together: Explanation
    apart: Explanation

    def verify(self, trace: Trace | Openable) -> bool:
        """Whether both explanations hold of a trace, and disagree about the two stages."""
        return (
            all((told.a, told.b) == (self.a, self.b) and told.verify(trace) for told in (self.together, self.apart))
            and self.together.same is True
            and self.apart.same is False
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        told = {"together": as_data(self.together.evidence), "apart": as_data(self.apart.evidence)}
        return {"a": self.a, "b": self.b, **told}


@dataclass(frozen=True, eq=False, repr=False)
class Links:
    """All links of a trace as columns (int64 [links]), by the stages that have them: rows of both ends, and the kind.

    Own links, those from the stage just before where that is another model's, and shared prefixes.
    """

    origin: Rows
    stage: Rows
    kind: Rows

    @classmethod
    def of(cls, stages: StageTable) -> Links:
        """The links of all stages."""
        own, previous, shared = stages.own, stages.previous, stages.shared
        columns = [
            (own, stages.own_kind.astype(np.int64), own >= 0),
            (previous, np.full(len(stages), TRANSCRIPT), (previous >= 0) & (own != previous)),
            (shared, np.full(len(stages), len(LINKS)), shared >= 0),
        ]
        stage = np.concatenate([np.flatnonzero(there) for _, _, there in columns])
        origin = np.concatenate([origins[there] for origins, _, there in columns])
        kind = np.concatenate([kinds[there] for _, kinds, there in columns])
        order = np.argsort(stage, kind="stable")
        return cls(origin[order], stage[order], kind[order])

    def __getitem__(self, number: int) -> Link:
        return Link(int(self.origin[number]), int(self.stage[number]), _KINDS[int(self.kind[number])])


class Side:
    """One view of a comparison: its result, and what it says of single links and pairs of stages."""

    def __init__(self, trace: Trace, labelling: str | None, result: Result) -> None:
        self.trace = trace
        self.labelling = labelling
        self.result = result
        self._told: dict[tuple[str, str], Explanation] = {}

    @property
    def name(self) -> str:
        """The view's name."""
        return self.result.view

    def why(self, a: str, b: str) -> Explanation:
        """Whether two stages are one mind under the view, and why."""
        if (a, b) not in self._told:
            from individuation.explanation import why

            view, readings = self.result.criterion, self.result.readings
            self._told[a, b] = why(self.trace, a, b, view, labelling=self.labelling, **readings)
        return self._told[a, b]

    @cached_property
    def _judge(self) -> Judge:
        view = self.result.criterion
        chosen = {name: math.inf if value is None else value for name, value in self.result.readings.items()}
        # Of a view that declares nothing it only names links.
        return Judge(self.result.stages, view.declaration or _ANY_LINK, view.settled(chosen))

    def barred(self, link: Link) -> LinkFact:
        """A link whose ends the view keeps apart, with what does it: bars on the link, or attributes that differ."""
        return replace(Naming(self.result.stages, self._judge).plain(link), bars=tuple(self._causes(link)))

    def _causes(self, link: Link) -> Iterator[Cause]:
        if self.result.criterion.declaration is None:
            yield Cause(RULE, (), NOT_BUILT_IN)
            return
        judge, declaration = self._judge, self._judge.declaration
        a, b = judge.attributes(link.origin), judge.attributes(link.stage)
        followed = declaration.linked and link in judge.links_to(link.stage)
        bars = judge.bars(link, a if judge.intermittent else None) if followed else ()
        if bars:
            yield from (Cause(bar.cause, bar.values, bar.source) for bar in bars)
            return
        differing = [name for name in (declaration.agree or declaration.pool) if a[name] != b[name]]
        for name in differing:
            yield Cause(name, (judge.named(name, a[name]), judge.named(name, b[name])), section(name))
        if not differing:
            yield Cause(NOT_FOLLOWED, (), NOT_BUILT_IN)


class Divergence:
    """What one view puts together and another keeps apart, on the stages that both assign.

    `pairs`: how many pairs of stages. `links`: every link across which the one goes on and the other does not, with
    what the other has against it. `boundaries`: every stage at which the other view cuts a mind of the one; there are
    as many as there are more minds once both views must agree. Where minds share stages: every stage that the other
    keeps apart from the one just before it in the mind. `witness`: the first boundary and the stage before it, with
    the evidence of both views; None where `pairs` is 0.
    """

    def __init__(self, joining: Side, parting: Side, sortings: tuple[Sorting, Sorting, Sorting], links: Links) -> None:
        """`sortings`: of the joining view, of the parting one, and their meet. `links`: all of the trace."""
        self.joining, self.parting = joining, parting
        self._sortings, self._links = sortings, links
        self.pairs = sortings[0].pairs - sortings[2].pairs

    @cached_property
    def boundary_rows(self) -> Rows:
        """The boundaries as rows of the stage table (int64 [boundaries])."""
        return self._sortings[0].rows[self._cuts]

    @cached_property
    def _cuts(self) -> Rows:
        joining, parting, meet = self._sortings
        if meet.mind is None:
            return np.flatnonzero(joining.parted_by(parting))
        return np.flatnonzero((meet.up < 0) & (joining.up >= 0))

    @cached_property
    def link_numbers(self) -> Rows:
        """The links, as positions among all links of the trace (int64 [links])."""
        joining, parting, _ = self._sortings
        if not self.pairs:
            return np.empty(0, np.int64)
        place = np.full(len(self.joining.result.stages), -1, np.int64)
        place[joining.rows] = np.arange(len(joining))
        origin, stage = place[self._links.origin], place[self._links.stage]
        both = np.flatnonzero((origin >= 0) & (stage >= 0))
        origin, stage = origin[both], stage[both]
        found: Rows = both[joining.together(origin, stage) & ~parting.together(origin, stage)]
        return found

    def first_links(self, most: int) -> tuple[LinkFact, ...]:
        """The first few links."""
        return tuple(self.parting.barred(self._links[number]) for number in self.link_numbers[:most].tolist())

    @cached_property
    def links(self) -> tuple[LinkFact, ...]:
        """Every link across which the one view goes on and the other does not, with what the other has against it."""
        return self.first_links(len(self.link_numbers))

    @cached_property
    def unlinked(self) -> Rows:
        """The boundaries, as rows, to which no such link leads: what is cut there hangs together otherwise."""
        return np.setdiff1d(self.boundary_rows, self._links.stage[self.link_numbers])

    @cached_property
    def boundaries(self) -> tuple[Boundary, ...]:
        """Every stage at which the other view cuts a mind of the one."""
        return tuple(self._boundary(cut) for cut in self._cuts.tolist())

    def _boundary(self, cut: int) -> Boundary:
        joining, name = self._sortings[0], self.joining.result.stages.name
        return Boundary(name(int(joining.rows[cut])), name(int(joining.rows[joining.up[cut]])))

    @property
    def first(self) -> Boundary | None:
        """The first boundary, None where `pairs` is 0."""
        return self._boundary(int(self._cuts[0])) if len(self._cuts) else None

    @cached_property
    def witness(self) -> Witness | None:
        """The first boundary and the stage before it, with the evidence of both views; None where `pairs` is 0."""
        if self.first is None:
            return None
        a, b = self.first.before, self.first.stage
        return Witness(a, b, self.joining.why(a, b), self.parting.why(a, b))

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, with all links and boundaries."""
        return {
            "together": self.joining.name,
            "apart": self.parting.name,
            "pairs": self.pairs,
            "links": [as_data(link) for link in self.links],
            "boundaries": [[cut.before, cut.stage] for cut in self.boundaries],
            "witness": None if self.witness is None else self.witness.to_dict(),
        }
