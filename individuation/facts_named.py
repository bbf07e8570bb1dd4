"""Rows of a stage table as named facts."""

from __future__ import annotations

import math
from dataclasses import replace

from individuation.reasons import Cause, Connection, LinkFact, StageFact
from rules.bars import Judge, Link, kind_section
from rules.declaration import Attribute
from traces.stages import StageTable
from traces.vocabulary import ROLES


class Naming:
    """Names links and stages as a view sees them."""

    def __init__(self, stages: StageTable, judge: Judge) -> None:
        self.stages = stages
        self.judge = judge

    def link(self, link: Link, goal: dict[Attribute, int] | None = None) -> LinkFact:
        """One link, with what keeps it from carrying."""
        bars = self.judge.bars(link, goal)
        return replace(self.plain(link), bars=tuple(Cause(bar.cause, bar.values, bar.source) for bar in bars))

    def plain(self, link: Link) -> LinkFact:
        """One link as it is, with nothing said of whether it carries."""
        stages = self.stages
        drift = float(stages.drift[link.stage])
        mass, kl = stages.connection(link.stage, link.origin)
        return LinkFact(
            origin=stages.name(link.origin),
            stage=stages.name(link.stage),
            kind=link.kind,
            servers=(self._server(link.origin), self._server(link.stage)),
            drift=None if math.isnan(drift) else drift,
            edited=bool(stages.edited[link.stage]) and link.origin == int(stages.own[link.stage]),
            source=kind_section(link.kind),
            mass=mass,
            kl=kl,
        )

    def stage(self, row: int) -> StageFact:
        """One stage, with the attributes that the view looks at."""
        stages = self.stages
        codes = self.judge.attributes(row)
        region = self.judge.region(row) if "region" in codes else None
        return StageFact(
            stage=stages.name(row),
            role=ROLES[int(stages.role[row])],
            server=self._server(row),
            attributes={name: self.judge.named(name, code) if code >= 0 else None for name, code in codes.items()},
            region_basis=None if region is None else region.basis,
            region_from=() if region is None else tuple(stages.name(found) for found in region.found_at),
        )

    def _server(self, row: int) -> str | None:
        code = int(self.stages.server[row])
        return self.stages.servers[code] if code >= 0 else None


def connection_between(stages: StageTable, rows: tuple[int, int]) -> Connection | None:
    """How far one of two stages rests on the other, if that was measured."""
    # What a stage rests on stands before it.
    earlier, later = sorted(rows)
    mass, kl = stages.connection(later, earlier)
    if mass is None and kl is None:
        return None
    return Connection(stages.name(later), stages.name(earlier), mass, kl)
