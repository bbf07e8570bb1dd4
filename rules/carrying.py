"""Which own links carry a virtual instance on (semantics.md §4): the links that the KV cache comes along.

`attention` and `transfer` always; `rebuild` where `reconstruction` is `same`, unless its measured drift exceeds `max_drift`;
`unknown` where `reconstruction` is `same` or `unknown_cache` is `carry`. A link marked `edited` does not where `edits` is `cut`.
"""

from __future__ import annotations

import numpy as np

from rules.readings import EDITS, MAX_DRIFT, RECONSTRUCTION, UNKNOWN_CACHE, Readings
from rules.view import Rows
from traces.stages import REBUILD, TRANSCRIPT, UNKNOWN, StageTable

READINGS = (RECONSTRUCTION, UNKNOWN_CACHE, EDITS, MAX_DRIFT)


def carried_own_links(stages: StageTable, readings: Readings) -> Rows:
    """For each stage where its own link comes from if it carries, else -1."""
    carries = np.ones(TRANSCRIPT + 1, np.bool_)
    carries[REBUILD] = readings["reconstruction"] == "same"
    carries[UNKNOWN] = readings["reconstruction"] == "same" or readings["unknown_cache"] == "carry"
    kept = carries[stages.own_kind]
    if readings["edits"] == "cut":
        kept &= ~stages.edited
    if readings["max_drift"] != np.inf:
        kept &= ~((stages.own_kind == REBUILD) & (stages.drift > readings["max_drift"]))
    return np.where(kept, stages.own, -1)
