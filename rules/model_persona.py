"""The model-persona view: the mind is a persona of a model, wherever it is active.

Two stages belong to one mind iff they ran on the same model and are in the same effective persona region, in any
conversation. Parallel conversations in one region are one mind, and a persona that is led back to years later is the
same one. A stage whose effective region is none belongs to no mind. Source: Beckmann & Butlin 2026, §4, §4.3.

Readings: `user_turns`, `weights` (is a fine-tuned model the given model?), `outside`.
"""

from __future__ import annotations

import numpy as np

from rules.readings import OUTSIDE, USER_TURNS, WEIGHTS, Readings
from rules.regions import effective_regions
from rules.view import Naming, Partition, View
from traces.stages import StageTable


def rule(stages: StageTable, readings: Readings) -> Partition:
    """One mind for each model and region that some stage is in."""
    region = effective_regions(stages, readings)
    model, names = stages.base_model if readings["weights"] == "base" else (stages.model, stages.models)
    key = model.astype(np.int64) * (len(stages.regions.names) + 1) + region
    return Partition.by_key(np.where(region >= 0, key, -1), Naming(model=(model, names), region=region))


VIEW = View(
    name="model-persona",
    definition="the same model and the same effective region, in any conversation",
    source="§4, §4.3",
    rule=rule,
    key="{model}/{region}",
    label="{region} of {model}",
    readings=(USER_TURNS, WEIGHTS, OUTSIDE),
    rests_on=frozenset({"names", "regions", "discreteness"}),
)
