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

from rules.declaration import Declaration
from rules.declared import declared
from rules.readings import BRANCHING, EDITS, MAX_DRIFT, RECONSTRUCTION, UNKNOWN_CACHE

VIEW = declared(
    "virtual-instance",
    Declaration(follow="own", carry=frozenset({"attention", "transfer", "rebuild", "unknown"})),
    definition="connected by own links that carry the KV cache on",
    source="§1.2, §2",
    label="{model} in {conversation}",
    readings=(RECONSTRUCTION, BRANCHING, UNKNOWN_CACHE, EDITS, MAX_DRIFT),
    about=__doc__,
)
