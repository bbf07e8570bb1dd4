"""The thread view: the mind is the conversation, whatever runs it.

Two stages belong to one mind iff they are connected by links from each stage to the one just before it on its path, of
any kind; the transcript is enough. A conversation handed from one model to another stays one thread. Source: Beckmann &
Butlin 2026, §1.2 (after Chalmers).

Reading `branching`: what becomes of the mind where a conversation branches.
"""

from __future__ import annotations

from rules.branching import minds_by_links
from rules.readings import BRANCHING, Readings
from rules.view import Cover, Partition, View
from traces.stages import StageTable


def rule(stages: StageTable, readings: Readings) -> Partition | Cover:
    """One mind for each tree of stages that follow on one another."""
    return minds_by_links(stages, stages.previous, stages.previous_kind, readings["branching"])


VIEW = View(
    name="thread",
    definition="connected by predecessor links of any kind",
    source="§1.2 (Chalmers)",
    rule=rule,
    label="{conversation}",
    readings=(BRANCHING,),
    rests_on=frozenset({"branches"}),
)
