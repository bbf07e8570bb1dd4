"""The thread view: the mind is the conversation, whatever runs it.

Two stages belong to one mind iff they are connected by links from each stage to the one just before it on its path, of
any kind; the transcript is enough. A conversation handed from one model to another stays one thread. Source: Beckmann &
Butlin 2026, §1.2 (after Chalmers).

Reading `branching`: what becomes of the mind where a conversation branches.
"""

from __future__ import annotations

from rules.declaration import Declaration
from rules.declared import declared
from rules.readings import BRANCHING
from traces.stages import LINKS

VIEW = declared(
    "thread",
    Declaration(follow="previous", carry=frozenset(LINKS)),
    definition="connected by predecessor links of any kind",
    source="§1.2 (Chalmers)",
    label="{conversation}",
    readings=(BRANCHING,),
    about=__doc__,
)
