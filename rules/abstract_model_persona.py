"""The abstract-model-persona view: the mind is the persona region itself.

One mind for each region of a model's persona space, with the circuits that it gates, whether any conversation has
entered it or not. Its stages are those that instantiate it. Source: Beckmann & Butlin 2026, §4.3.

Readings: `user_turns`, `outside`; they decide which stages instantiate a region, never how many regions there are.
"""

from __future__ import annotations

import numpy as np

from rules.readings import OUTSIDE, USER_TURNS, Readings
from rules.regions import effective_regions
from rules.view import Naming, Partition, View
from traces.stages import StageTable


def rule(stages: StageTable, readings: Readings) -> Partition:
    """One mind for each region of each model, entered or not."""
    region = effective_regions(stages, readings)
    width = len(stages.regions.names) + 1
    key = np.where(region >= 0, stages.model.astype(np.int64) * width + region, -1)
    entered = np.zeros(len(stages.models) * width, np.bool_)
    entered[key[key >= 0]] = True
    empty = [
        (stages.models[model], stages.regions.names[code])
        for model, code in stages.regions.defined
        if not entered[model * width + code]
    ]
    return Partition.by_key(key, Naming(region=region), empty)


VIEW = View(
    name="abstract-model-persona",
    definition="the region itself, with the circuits it gates, instantiated or not",
    source="§4.3",
    rule=rule,
    key="{model}/{region}",
    label="{region} of {model}",
    readings=(USER_TURNS, OUTSIDE),
    rests_on=frozenset({"names", "regions", "discreteness"}),
)
