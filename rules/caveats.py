"""What a verdict rests on and its trace does not give (semantics.md §6)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rules.carrying import followed, kinds_that_carry
from rules.readings import Readings
from rules.view import Tally, Verdict, View
from traces.stages import REBUILD, UNKNOWN, StageTable


def caveats(view: View, stages: StageTable, readings: Readings, verdict: Verdict) -> list[str]:
    """One sentence for each thing that a reader of the count should know (semantics.md §6).

    >>> from rules.registry import find_view
    >>> from traces.file import facts_from_data
    >>> turns = [{"role": "user", "model": "m"}]
    >>> world = {"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": turns}}}
    >>> stages, view = StageTable.of(facts_from_data(world)), find_view("physical-instance")
    >>> caveats(view, stages, view.settled({}), view.rule(stages, {}))
    ['no server was recorded for 1 of 1 stages; a stage whose server is unknown belongs to no mind']
    """
    return list(_caveats(view, stages, readings, verdict))


def _caveats(view: View, stages: StageTable, readings: Readings, verdict: Verdict) -> Iterator[str]:
    rests_on = view.rests_on
    if (first := not_discrete(view, stages)) is not None:
        yield first
    if "regions" in rests_on:
        yield from _of_regions(stages, verdict, "discreteness" in rests_on)
    if "tokens" in rests_on:
        yield from _of_passes(stages, verdict)
    if "links" in rests_on:
        yield from _of_links(stages, view, readings)
    if view.declaration is not None and view.declaration.linked and readings["least_connectedness"]:
        own = (stages.own >= 0) & (followed(stages, view.declaration)[0] == stages.own)
        unmeasured = int((own & np.isnan(stages.own_kl)).sum())
        if unmeasured:
            yield (
                f"how far stages rest on what they come from was not measured for {unmeasured:,} of {int(own.sum()):,} "
                "links; least_connectedness does not cut them"
            )
    if "servers" in rests_on:
        unknown = int((stages.server < 0).sum())
        if unknown:
            yield (
                f"no server was recorded for {unknown:,} of {len(stages):,} stages; "
                "a stage whose server is unknown belongs to no mind"
            )
    if "principals" in rests_on:
        unknown = int((stages.principal < 0).sum())
        if unknown:
            yield (
                f"no principal was recorded for {unknown:,} of {len(stages):,} stages; "
                "a stage whose principal is unknown belongs to no mind"
            )
    if "branches" in rests_on and stages.branches:
        yield from _of_branches(str(readings["branching"]))
    if "names" in rests_on and stages.models_by_name_only:
        yield "models are told apart, or taken for one, by name only: not all weight digests were recorded"


def _of_regions(stages: StageTable, verdict: Verdict, discreteness: bool) -> Iterator[str]:
    regions = stages.regions
    if not bool((stages.region >= 0).any()):
        nothing = ", so there is nothing that a persona view could count" if not verdict.count else ""
        yield f"no assistant stage is in a persona region{nothing}"
        return
    if regions.ambiguous:
        turns = _count(regions.ambiguous, "turn")
        yield f"more than one region of their space holds the coordinates of {turns}; the first one listed was taken"
    several = list(dict.fromkeys(name for (_, name), ways in regions.drawn.items() if len(ways) > 1))
    if several:
        yield f"region {', '.join(several)} is drawn in more than one way; regions of one name are taken for one"
    if discreteness:
        if regions.untested:
            yield (
                f"whether the regions of space {', '.join(regions.untested)} are discrete was not tested "
                f"(Hypothesis 3, §3.3), or could not be told"
            )
        elif not regions.continuous and "stated" in regions.basis:
            yield "regions are as stated in the trace; nothing in it shows that they are discrete (Hypothesis 3, §3.3)"


def not_discrete(view: View, stages: StageTable) -> str | None:
    """What has to be said before a count of regions: that they did not pass the test; else None."""
    spaces = stages.regions.continuous
    if not spaces or "discreteness" not in view.rests_on:
        return None
    return (
        f"the regions of space {', '.join(spaces)} were not shown to be discrete: they did not pass the test of "
        "Hypothesis 3; where it fails, a view that counts regions is less apt than the simulator view (§3.3)"
    )


def _of_passes(stages: StageTable, verdict: Verdict) -> Iterator[str]:
    silent = int((stages.tokens < 0).sum())
    if silent:
        yield f"no token count was recorded for {silent:,} of {len(stages):,} stages, so passes cannot be counted"
    unknown = stages.own_kind == UNKNOWN
    in_place = int((unknown & (stages.own == stages.previous)).sum())
    if in_place:
        stage = _count(in_place, "stage")
        yield f"how {stage} came by the KV cache is unknown; no position is taken to be processed again there"
    returned = int((unknown & (stages.own != stages.previous)).sum())
    if returned:
        yield (
            f"how {_count(returned, 'stage')} came by the KV cache is unknown; only the positions since the same model "
            "last ran are taken to be processed again there"
        )
    if isinstance(verdict, Tally) and bool((stages.shared >= 0).any()):
        yield "positions whose KV entries were shared by another conversation are counted as processed"


def _of_links(stages: StageTable, view: View, readings: Readings) -> Iterator[str]:
    linked = stages.own >= 0
    if not linked.any():
        return
    silent = int((linked & ~stages.cache_known).sum())
    if silent:
        yield (
            f"no cache information was recorded for {silent:,} of {int(linked.sum()):,} links: "
            "they follow from servers and models by the default rules (semantics §3)"
        )
    unknown = int((stages.own_kind == UNKNOWN).sum())
    if unknown:
        carried = view.declaration is None or "unknown" in kinds_that_carry(view.declaration, readings)
        yield (
            f"how {_count(unknown, 'stage')} came by the KV cache is unknown; on these readings the mind is taken to "
            + ("go on" if carried else "end there")
        )
    unmeasured = int(((stages.own_kind == REBUILD) & np.isnan(stages.drift)).sum())
    if readings["max_drift"] != np.inf and unmeasured:
        yield f"the drift of {_count(unmeasured, 'rebuild')} was not measured; max_drift does not cut them"


def _of_branches(how: str) -> Iterator[str]:
    if how in ("end", "closest"):
        yield (
            f"branching={how} on a trace that branches: whether two stages are one mind depends on a third "
            '(the "only x and y" principle is broken), so the laws of refinement do not hold'
        )
    elif how == "overlap":
        yield (
            "branching=overlap on a trace that branches: minds share stages, so being of the same mind "
            "is not transitive"
        )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
