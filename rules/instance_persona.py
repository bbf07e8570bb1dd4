"""The instance-persona view: the mind is a persona within one virtual instance.

Two stages belong to one mind iff they are connected as in the virtual-instance view, within one unbroken run of one
effective persona region. Leaving the region ends the mind. A stage whose effective region is none belongs to no mind.
Source: Beckmann & Butlin 2026, §4, §4.2.

Readings: `user_turns` (is the persona there while the user's words are read? If `intermittent`, a run goes on across
such stages but does not contain them), `recurrence` (is a region that is entered again the earlier mind?), `outside`,
and those of the virtual-instance view. Branches are read first, on the carried links; persona cuts come after.
"""

from __future__ import annotations

from rules.declaration import Declaration
from rules.declared import declared
from rules.readings import BRANCHING, EDITS, MAX_DRIFT, OUTSIDE, RECONSTRUCTION, RECURRENCE, UNKNOWN_CACHE, USER_TURNS

VIEW = declared(
    "instance-persona",
    Declaration(
        follow="own",
        carry=frozenset({"attention", "transfer", "rebuild", "unknown"}),
        agree=("region",),
        known=("region",),
    ),
    definition="connected as in virtual-instance, within one unbroken run of one effective region",
    source="§4, §4.2",
    label="{region} of {model} in {conversation}",
    readings=(RECONSTRUCTION, USER_TURNS, RECURRENCE, BRANCHING, UNKNOWN_CACHE, EDITS, OUTSIDE, MAX_DRIFT),
    about=__doc__,
)
