"""Views that go by attributes alone: one mind for each set of equal attributes, in any conversation."""

from __future__ import annotations

import numpy as np

from rules.attributes import attribute_codes, attribute_names, combined, known_where
from rules.declaration import Declaration
from rules.readings import Readings
from rules.view import Codes, Naming, Partition
from traces.stages import StageTable


def pooled(stages: StageTable, declaration: Declaration, readings: Readings) -> Partition:
    """One mind for each combination of the pooled attributes that some stage has."""
    codes = {name: attribute_codes(stages, name, readings) for name in declaration.attributes}
    sizes = {name: len(attribute_names(stages, name, readings)) for name in declaration.attributes}
    key = combined([(codes[name], sizes[name]) for name in declaration.pool], len(stages))
    if declaration.known:
        key = np.where(known_where(codes, declaration.known), key, -1)
    model = (codes["model"], attribute_names(stages, "model", readings)) if "model" in codes else None
    naming = Naming(model=model, region=codes.get("region"))
    empty = _never_entered(stages, codes["model"], codes["region"]) if declaration.uninstantiated else []
    return Partition.by_key(key, naming, empty)


def _never_entered(stages: StageTable, model: Codes, region: Codes) -> list[tuple[str, str]]:
    width = len(stages.regions.names) + 1
    entered = np.zeros(len(stages.models) * width, np.bool_)
    inside = region >= 0
    entered[model[inside].astype(np.int64) * width + region[inside]] = True
    return [
        (stages.models[of], stages.regions.names[code])
        for of, code in stages.regions.defined
        if not entered[of * width + code]
    ]
