"""Which own links carry a virtual instance on (semantics.md §4): the links that the KV cache comes along.

`attention` and `transfer` always; `rebuild` where `reconstruction` is `same`, unless its measured drift exceeds
`max_drift`; `unknown` where `reconstruction` is `same` or `unknown_cache` is `carry`. A link marked `edited` does not
where `edits` is `cut`.
"""

from __future__ import annotations

import numpy as np

from rules.readings import Readings
from rules.view import Rows
from traces.stages import REBUILD, UNKNOWN, StageTable


def carried_own_links(stages: StageTable, readings: Readings) -> Rows:
    """For each stage (int64 [stages]) the stage that its own link comes from, if that carries, else -1.

    The result may be a column of `stages` itself: do not write into it.

    >>> from traces.file import facts_from_data
    >>> turns = [{"role": "user", "model": "m", "server": "a"}, {"role": "assistant", "server": "b"}]
    >>> world = {"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": turns}}}
    >>> stages = StageTable.of(facts_from_data(world))
    >>> others = {"unknown_cache": "carry", "edits": "carry", "max_drift": np.inf}
    >>> carried_own_links(stages, {**others, "reconstruction": "same"}).tolist()
    [-1, 0]
    >>> carried_own_links(stages, {**others, "reconstruction": "new"}).tolist()
    [-1, -1]
    """
    kept = np.ones(len(stages), np.bool_)
    if readings["reconstruction"] == "new":
        kept &= stages.own_kind != REBUILD
        if readings["unknown_cache"] == "cut":
            kept &= stages.own_kind != UNKNOWN
    if readings["edits"] == "cut":
        kept &= ~stages.edited
    max_drift = float(readings["max_drift"])
    if max_drift != np.inf:
        kept &= ~((stages.own_kind == REBUILD) & (stages.drift > max_drift))
    return stages.own if bool(kept.all()) else np.where(kept, stages.own, -1)
