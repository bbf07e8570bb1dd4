"""The virtual-instance view: the mind is the model as it runs on a single conversation.

Two stages belong to one mind iff they are connected by carried own links. A stage's own link comes from the latest
earlier stage on its path that ran on the same model, and says how the KV cache, with the states it holds, came along:
`attention` (it went on in place), `transfer` (it was copied from another server), `rebuild` (it was recomputed from the
transcript), `unknown`. Keys and values mean nothing to other weights, so a switch of models begins another mind.
Source: Beckmann & Butlin 2026, §1.2, §2.

Readings: `reconstruction` (does a rebuild carry? §2.3), `max_drift` (how exact must it be? fn 4), `unknown_cache`,
`edits` (does an edited cache carry? §3.4), `branching`.
"""

from __future__ import annotations

from rules.branching import minds_by_links
from rules.carrying import carried_own_links
from rules.readings import BRANCHING, EDITS, MAX_DRIFT, RECONSTRUCTION, UNKNOWN_CACHE, Readings
from rules.view import Cover, Partition, View
from traces.stages import StageTable


def rule(stages: StageTable, readings: Readings) -> Partition | Cover:
    """One mind for each tree of carried own links."""
    return minds_by_links(stages, carried_own_links(stages, readings), stages.own_kind, readings["branching"])


VIEW = View(
    name="virtual-instance",
    definition="connected by own links that carry the KV cache on",
    source="§1.2, §2",
    rule=rule,
    label="{model} in {conversation}",
    readings=(RECONSTRUCTION, BRANCHING, UNKNOWN_CACHE, EDITS, MAX_DRIFT),
    rests_on=frozenset({"names", "cache", "links", "branches"}),
)
