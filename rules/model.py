"""The model view: the mind is the model.

Two stages belong to one mind iff they ran on the same model, that is the same weights, in whatever conversation and on
whatever server. Source: Beckmann & Butlin 2026, §1.2.

Reading `weights`: whether a fine-tuned model, one that names a base, is still "the given model" (§3.1, fn 8).
"""

from __future__ import annotations

import numpy as np

from rules.readings import WEIGHTS, Readings
from rules.view import Naming, Partition, View
from traces.stages import StageTable


def rule(stages: StageTable, readings: Readings) -> Partition:
    """One mind a model."""
    model, names = stages.base_model if readings["weights"] == "base" else (stages.model, stages.models)
    return Partition.by_key(model.astype(np.int64), Naming(model=(model, names)))


VIEW = View(
    name="model",
    definition="the same model",
    source="§1.2",
    rule=rule,
    key="{model}",
    label="{model}",
    readings=(WEIGHTS,),
    rests_on=frozenset({"names"}),
)
