"""What keeps a link from carrying a mind on, said of one link at a time.

The rules of `rules.linked` look at all links at once; here the same is worked out for a single link, slowly and by
other means, from the facts around it. Explanations name these facts, and are checked by them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rules.attributes import attribute_names
from rules.declaration import SHARED, Attribute, Declaration
from rules.readings import Readings
from traces.stages import LINKS, REBUILD, TRANSCRIPT, UNKNOWN, StageTable

NOT_BUILT_IN = "the view's own rule"

_SECTIONS: dict[str, str] = {
    "transcript": "§2.2",
    SHARED: "§2",
    "reconstruction": "§2.3",
    "unknown_cache": "-",
    "max_drift": "fn 4",
    "edits": "§3.4",
    "least_connectedness": "§2.1",
    "branching": "open",
    "region": "§4.2",
    "model": "§1.2",
    "server": "§1.2",
}


def section(cause: str) -> str:
    """Where the paper treats what bars a link.

    >>> section("reconstruction"), section("principal")
    ('§2.3', "the view's own rule")
    """
    return _SECTIONS.get(cause, NOT_BUILT_IN)


_SECTIONS_OF_KINDS = {
    "attention": "§2.1",
    "transfer": "§2.3, fn 6",
    "rebuild": "§2.3",
    "unknown": "-",
    "transcript": "§1.2, §2.2",
    SHARED: "§2",
}


def kind_section(kind: str) -> str:
    """Where the paper treats links of a kind; "-" for a gap in the record.

    >>> kind_section("rebuild")
    '§2.3'
    """
    return _SECTIONS_OF_KINDS[kind]


@dataclass(frozen=True)
class Link:
    """A link of a trace: `stage` has it from `origin`; rows of a `StageTable`. `kind`: one of `CARRIERS`."""

    origin: int
    stage: int
    kind: str


@dataclass(frozen=True)
class Bar:
    """One thing that keeps a link from carrying: a kind of link, a reading, or an attribute that differs.

    `cause` is the name of the kind, the reading or the attribute; `values` the attribute at both ends, or the sibling
    that goes on instead; `source` the section of the paper.
    """

    cause: str
    values: tuple[str, ...]
    source: str


@dataclass(frozen=True)
class RegionFound:
    """The effective region of a stage (code, -1 none), and the stages that it was found at.

    `basis`: "own", "kept" (outside=last), "next" or "before" (poised), "branches disagree", or "none".
    """

    code: int
    basis: Literal["own", "kept", "next", "before", "branches disagree", "none"]
    found_at: tuple[int, ...]


class Judge:
    """Judges single links and stages of a trace under a declared view, on given readings."""

    def __init__(self, stages: StageTable, declaration: Declaration, readings: Readings) -> None:
        self.stages = stages
        self.declaration = declaration
        self.readings = readings
        self.intermittent = "region" in declaration.attributes and readings["user_turns"] == "intermittent"
        self.attributes_cut = readings["recurrence"] == "new"
        self._regions: dict[int, RegionFound] = {}
        self._going_on: dict[int, list[Link]] = {}

    # --- links

    def links_to(self, stage: int) -> Iterator[Link]:
        """The links by which a stage hangs on earlier ones, as far as the view could follow them."""
        stages = self.stages
        previous, own = int(stages.previous[stage]), int(stages.own[stage])
        if own >= 0 and (self.declaration.follow == "own" or own == previous):
            yield Link(own, stage, LINKS[int(stages.own_kind[stage])])
        if previous >= 0 and own != previous:
            yield Link(previous, stage, LINKS[TRANSCRIPT])
        if int(stages.shared[stage]) >= 0:
            yield Link(int(stages.shared[stage]), stage, SHARED)

    def links_from(self, stage: int) -> Iterator[Link]:
        """The links by which later stages hang on a stage."""
        for column in ("previous", "own", "shared"):
            for child in self._below(column, stage):
                yield from (
                    link for link in self.links_to(child) if link.origin == stage and _comes_by(link, column, self)
                )

    def _below(self, column: str, stage: int) -> list[int]:
        order, start = self._children(column)
        found: list[int] = order[start[stage] : start[stage + 1]].tolist()
        return found

    def _children(self, column: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        asked, kept = ("stages below", column), self.stages.worked_out
        if asked not in kept:
            parent = getattr(self.stages, column)
            order = np.argsort(parent, kind="stable")
            kept[asked] = (order, np.searchsorted(parent[order], np.arange(len(parent) + 1)))
        found: tuple[NDArray[np.int64], NDArray[np.int64]] = kept[asked]
        return found

    def bars(self, link: Link, goal: dict[Attribute, int] | None = None) -> tuple[Bar, ...]:
        """All that keeps a link from carrying; empty where it carries.

        `goal`: with intermittent personas, the attributes of the mind in question: a link carries for that mind where
        no assistant stage with others stands at its ends.
        """
        found = list(self._bars_of_kind(link))
        if not found:
            found += self._bars_of_branches(link)
        if self.attributes_cut:
            found += self._bars_of_attributes(link, goal)
        return tuple(found)

    def _bars_of_kind(self, link: Link) -> Iterator[Bar]:
        stages, declaration, readings, kind = self.stages, self.declaration, self.readings, link.kind
        if kind not in declaration.carry:
            yield Bar(kind, (), section(kind))
            return
        if kind == LINKS[REBUILD] and readings["reconstruction"] == "new":
            yield Bar("reconstruction", ("new",), section("reconstruction"))
        if kind == LINKS[UNKNOWN] and readings["reconstruction"] == "new" and readings["unknown_cache"] == "cut":
            yield Bar("unknown_cache", ("cut",), section("unknown_cache"))
        drift = float(stages.drift[link.stage])
        if kind == LINKS[REBUILD] and drift > float(readings["max_drift"]):
            yield Bar("max_drift", (f"{drift:g}", f"{float(readings['max_drift']):g}"), section("max_drift"))
        is_own = kind != SHARED and link.origin == int(stages.own[link.stage])
        if is_own and readings["edits"] == "cut" and bool(stages.edited[link.stage]):
            yield Bar("edits", ("cut",), section("edits"))
        least = float(readings["least_connectedness"])
        if is_own and least:
            measured = stages.connection(link.stage, link.origin)[1]
            if measured is not None and measured < least:
                yield Bar("least_connectedness", (f"{measured:g}", f"{least:g}"), section("least_connectedness"))

    def _bars_of_branches(self, link: Link) -> Iterator[Bar]:
        how = self.readings["branching"]
        if how in ("one", "overlap") or link.kind == SHARED:
            return
        if link.origin not in self._going_on:
            found = [other for other in self._siblings(link) if not any(self._bars_of_kind(other))]
            self._going_on[link.origin] = sorted(found, key=self._rank)[:2] if how == "closest" else found[:2]
        going_on = self._going_on[link.origin]
        if len(going_on) < 2:
            return
        other = going_on[0] if going_on[0].stage != link.stage else going_on[1]
        if how == "closest" and going_on[0].stage == link.stage:
            return
        yield Bar("branching", (str(how), self.stages.name(other.stage)), section("branching"))

    def _siblings(self, link: Link) -> list[Link]:
        column = "own" if self.declaration.follow == "own" else "previous"
        found = []
        for child in self._below(column, link.origin):
            found += [other for other in self.links_to(child) if other.origin == link.origin and other.kind != SHARED]
        return [other for other in found if self.declaration.follow != "own" or other.kind != LINKS[TRANSCRIPT]]

    def _rank(self, link: Link) -> tuple[int, bool, int]:
        stages = self.stages
        there, here = int(stages.conversation[link.origin]), int(stages.conversation[link.stage])
        return LINKS.index(link.kind), there != here, int(stages.recorded[here])

    def _bars_of_attributes(self, link: Link, goal: dict[Attribute, int] | None) -> Iterator[Bar]:
        if not self.declaration.attributes:
            return
        a, b = self.attributes(link.origin), self.attributes(link.stage)
        if not self.intermittent:
            ends = [(a, b)]
        elif link.kind == SHARED:
            ends = [(goal or a, a), (goal or b, b)]
        else:
            ends = [
                (goal or mine, mine)
                for row, mine in ((link.origin, a), (link.stage, b))
                if bool(self.stages.assistant[row])
            ]
        seen = set()
        for here, there in ends:
            for name in self.declaration.attributes:
                lacking = name in self.declaration.known and -1 in (here[name], there[name])
                differs = name in self.declaration.agree and here[name] != there[name]
                if (lacking or differs) and name not in seen:
                    seen.add(name)
                    yield Bar(name, (self.named(name, here[name]), self.named(name, there[name])), section(name))

    # --- stages

    def attributes(self, stage: int) -> dict[Attribute, int]:
        """The codes of the attributes that the view looks at, at one stage; -1 for unknown or none."""
        return {name: self._attribute(stage, name) for name in self.declaration.attributes}

    def lacks(self, stage: int) -> tuple[Attribute, ...]:
        """The attributes that a stage would need to belong to a mind, and lacks."""
        return tuple(name for name in self.declaration.known if self._attribute(stage, name) < 0)

    def named(self, attribute: Attribute, code: int) -> str:
        """The name of an attribute's value, or that there is none."""
        if code < 0:
            return "no region" if attribute == "region" else "unknown"
        return attribute_names(self.stages, attribute, self.readings)[code]

    def _attribute(self, stage: int, name: Attribute) -> int:
        stages = self.stages
        if name == "region":
            return self.region(stage).code
        if name == "model":
            column = stages.base_model[0] if self.readings["weights"] == "base" else stages.model
            return int(column[stage])
        return int(getattr(stages, name)[stage])

    def region(self, stage: int) -> RegionFound:
        """The effective region of one stage (semantics.md §4), walked to along own links."""
        if stage not in self._regions:
            self._regions[stage] = self._region(stage)
        return self._regions[stage]

    def _region(self, stage: int) -> RegionFound:
        if bool(self.stages.assistant[stage]):
            return self._region_of_assistant(stage)
        if self.readings["user_turns"] == "intermittent":
            return RegionFound(-1, "none", ())
        following = sorted(self._next_assistants(stage))
        if following:
            codes = {self._region_of_assistant(row).code for row in following}
            if len(codes) > 1:
                return RegionFound(-1, "branches disagree", tuple(following))
            return RegionFound(codes.pop(), "next", tuple(following))
        above = int(self.stages.own[stage])
        while above >= 0 and not bool(self.stages.assistant[above]):
            above = int(self.stages.own[above])
        if above >= 0:
            return RegionFound(self._region_of_assistant(above).code, "before", (above,))
        return RegionFound(-1, "none", ())

    def _region_of_assistant(self, stage: int) -> RegionFound:
        stages, row = self.stages, stage
        if int(stages.region[row]) < 0 and self.readings["outside"] == "last":
            while row >= 0 and not (bool(stages.assistant[row]) and int(stages.region[row]) >= 0):
                row = int(stages.own[row])
            if row >= 0:
                return RegionFound(int(stages.region[row]), "kept", (row,))
        code = int(stages.region[stage])
        return RegionFound(code, "own" if code >= 0 else "none", ())

    def _next_assistants(self, stage: int) -> list[int]:
        found, waiting = [], self._below("own", stage)
        while waiting:
            row = waiting.pop()
            if bool(self.stages.assistant[row]):
                found.append(row)
            else:
                waiting += self._below("own", row)
        return found


def _comes_by(link: Link, column: str, judge: Judge) -> bool:
    """Whether a link is one that a column of the stage table holds, so that none is yielded twice."""
    if link.kind == SHARED:
        return column == "shared"
    if column == "previous":
        return link.kind == LINKS[TRANSCRIPT] or link.origin == int(judge.stages.previous[link.stage])
    return column == "own" and link.origin != int(judge.stages.previous[link.stage]) and link.kind != LINKS[TRANSCRIPT]
