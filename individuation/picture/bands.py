"""The ranges of persona regions along the axes that were read, for the bands behind the curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from traces.coordinates import StageCoordinates
from traces.facts import Facts
from traces.identity import models_named
from traces.labelling import labelling_names, probes_read, spaces_of


@dataclass(frozen=True)
class Band:
    """One region's range on one axis: closed, None for an open end, in the probe's own unit.

    `probe` is the column of the coordinates; `models`: names and digests of the models whose space it is of.
    """

    probe: str
    region: str
    low: float | None
    high: float | None
    space: str
    models: frozenset[str]


def bands_of(recordings: Sequence[Facts], coordinates: StageCoordinates, labelling: str | None = None) -> list[Band]:
    """The bands of all spaces that the labelling goes by, each where its axis was read.

    >>> from traces.coordinates import stage_coordinates
    >>> from traces.file import facts_from_data
    >>> from traces.stages import StageTable
    >>> facts = facts_from_data({"individuation": 1, "models": {"m": {}}, "spaces": {"s": {"model": "m", "axes": ["x"],
    ...     "regions": {"calm": {"x": [0, None]}}}}, "conversations": {"c": {"turns": [
    ...     {"role": "assistant", "model": "m", "at": {"x": 2.0}}]}}})
    >>> [(band.probe, band.region, band.low) for band in
    ...     bands_of([facts], stage_coordinates([facts], StageTable.of(facts)))]
    [('x', 'calm', 0.0)]
    """
    found: dict[Band, None] = {}
    for facts in recordings:
        if labelling is not None and labelling not in labelling_names(facts):
            continue
        for name, space in spaces_of(facts, labelling).items():
            keys = models_named(facts.models, space.model)
            models = frozenset(
                known for key in keys for known in (facts.models[key].name or key, facts.models[key].digest) if known
            )
            for axis in space.axes:
                fitting = probes_read(facts, space, axis)
                if len(fitting) != 1:
                    continue
                columns = [c for c, probe in coordinates.probes.items() if probe == facts.probes[fitting[0]]]
                column = fitting[0] if fitting[0] in columns else next(iter(columns), None)
                if column is None:
                    continue
                for region, ranges in space.regions.items():
                    if axis in ranges:
                        found[Band(column, region, *ranges[axis], name, models)] = None
    return list(found)
