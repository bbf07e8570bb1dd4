"""The forward-pass view: the mind is a single forward pass.

One mind for each token position that is processed. A stage's own tokens count, and the positions that had to be
processed again for it: all before it on its path where its KV cache was rebuilt, or where its model has not run before
on the path; those between, where its own link comes from further back than the stage just before; else none. Where the
record does not say how the cache came about, none are counted, with a caveat. Without all token counts there is no
count. Minds are summarised for each stage, not listed. Source: Beckmann & Butlin 2026, §1.2 (after Birch), §2.1.
"""

from __future__ import annotations

import numpy as np

from rules.readings import Readings
from rules.view import Tally, View
from traces.stages import REBUILD, StageTable


def rule(stages: StageTable, readings: Readings) -> Tally:
    """How many passes each stage took: over its own tokens, and over earlier ones again."""
    before, own = stages.before, stages.own
    from_start = (own < 0) | (stages.own_kind == REBUILD)
    between = np.where(own != stages.previous, before - before[own] - stages.tokens[own], 0)
    again = np.where(from_start, before, between)
    count = int(stages.tokens.sum() + again.sum()) if stages.tokens_known else None
    return Tally(stages.tokens, again, count)


VIEW = View(
    name="forward-pass",
    definition="the same forward pass: one for each token position processed",
    source="§1.2 (Birch), §2.1",
    rule=rule,
    label="passes of {stage}",
    rests_on=frozenset({"tokens", "cache"}),
    about=(__doc__ or "").strip(),
)
