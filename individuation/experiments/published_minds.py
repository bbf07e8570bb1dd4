"""How many minds the published conversations hold under the persona views, by where the boundary of a region is put."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from individuation.engine import Trace, individuate
from mechanism.outcome import Cell, Estimate, Finding, Part, Plot, Series, Table
from traces.facts import Facts
from traces.vocabulary import Space

VIEWS = ("instance-persona", "model-persona")
BOUNDARIES = tuple(range(0, -61, -10))
"""Projections on the assistant axis at which the assistant's region may plausibly end."""
MIDDLE = -30

_AXIS, _SOURCE = "assistant", "§3.3, §4.3; counted by this program"
_TOGETHER = "together"


def counted(recordings: Sequence[Facts]) -> Part:
    """Count the minds of each recording, and of all together, with the assistant's region above a boundary and another
    region below it, for every plausible boundary.
    """
    groups = {", ".join(facts.conversations.names): [facts] for facts in recordings}
    if len(recordings) > 1:
        groups[_TOGETHER] = list(recordings)
    rows: list[tuple[Cell | Estimate, ...]] = []
    findings, plots = [], []
    for view in VIEWS:
        series = []
        for name, chosen in groups.items():
            counts = [individuate(_bounded(chosen, boundary), view).count or 0 for boundary in BOUNDARIES]
            middle = individuate(_bounded(chosen, MIDDLE), view)
            rows.append((name, view, middle.count, _range(counts), str(middle.range), *counts))
            series.append(Series(name, list(BOUNDARIES), counts))
            if len(set(counts)) > 1 and name != _TOGETHER:
                findings.append(
                    Finding(
                        f"minds/{view}/{name}",
                        f"{name}: {_range(counts)} minds under {view}, by where the boundary between the assistant and "
                        f"what lies beyond it is put ({BOUNDARIES[0]} to {BOUNDARIES[-1]}).",
                        Estimate(middle.count or 0, min(counts), max(counts), len(counts), "least and most"),
                        source=_SOURCE,
                    )
                )
        plots.append(
            Plot(
                f"minds-{view}",
                f"Minds under {view}, by where the assistant's region ends",
                "lines",
                "boundary on the assistant axis",
                "minds",
                series,
                "Published conversations; two regions, the assistant's above the boundary and one below it.",
            )
        )
    table = Table(
        "Minds in the published conversations, by boundary",
        (
            "conversation", "view", f"minds at {MIDDLE}", "over the boundaries", f"over the readings, at {MIDDLE}",
            *(str(boundary) for boundary in BOUNDARIES),
        ),
        rows,
    )  # fmt: skip
    caveat = (
        "The published files define no regions: counts under the persona views are for two regions, divided at one "
        "point of one axis. Hypothesis 3 (that regions are discrete) was not tested on them."
    )
    return Part(tuple(findings), (table,), tuple(plots), (caveat,))


def _bounded(recordings: Sequence[Facts], boundary: float) -> Trace:
    return Trace([replace(facts, spaces=_spaces(facts, boundary)) for facts in recordings])


def _spaces(facts: Facts, boundary: float) -> dict[str, Space]:
    probe = next(probe for probe in facts.probes.values() if probe.axis == _AXIS)
    return {
        f"{model} at {boundary:g}": Space(
            model=model,
            axes=(_AXIS,),
            layer=probe.layer,
            pooling=probe.pooling,
            regions={
                "assistant": {_AXIS: (boundary, None)},
                "away from the assistant": {_AXIS: (None, boundary)},
            },
        )
        for model in facts.models
    }


def _range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"
