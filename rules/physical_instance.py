"""The physical-instance view: the mind is a piece of hardware running a model.

Two stages belong to one mind iff they ran on the same server and the same model. One server hosts one mind, however
many conversations it serves at a time; a conversation that is passed among servers passes among minds. A stage whose
server is unknown belongs to no mind. Source: Beckmann & Butlin 2026, §1.2.
"""

from __future__ import annotations

import numpy as np

from rules.readings import Readings
from rules.view import Partition, View
from traces.stages import StageTable


def rule(stages: StageTable, readings: Readings) -> Partition:
    """One mind for each server and model that it runs."""
    key = stages.server.astype(np.int64) * len(stages.models) + stages.model
    return Partition.by_key(np.where(stages.server >= 0, key, -1))


VIEW = View(
    name="physical-instance",
    definition="the same server and the same model",
    source="§1.2",
    rule=rule,
    key="{server}/{model}",
    label="{model} on {server}",
    rests_on=frozenset({"names", "servers"}),
)
