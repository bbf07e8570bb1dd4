"""The instance-persona view: the mind is a persona within one virtual instance.

Two stages belong to one mind iff they are connected as in the virtual-instance view, within one unbroken run of one
effective persona region. Leaving the region ends the mind. A stage whose effective region is none belongs to no mind.
Source: Beckmann & Butlin 2026, §4, §4.2.

Readings: `user_turns` (is the persona there while the user's words are read? If `intermittent`, a run goes on across
such stages but does not contain them), `recurrence` (is a region that is entered again the earlier mind?), `outside`,
and those of the virtual-instance view. Branches are read first, on the carried links; persona cuts come after.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rules.branching import branched, chains
from rules.carrying import carried_own_links
from rules.readings import (
    BRANCHING,
    EDITS,
    MAX_DRIFT,
    OUTSIDE,
    RECONSTRUCTION,
    RECURRENCE,
    UNKNOWN_CACHE,
    USER_TURNS,
    Readings,
)
from rules.regions import effective_regions
from rules.view import Codes, Cover, Naming, Partition, Rows, View
from traces.forest import children_count, nearest, roots
from traces.stages import StageTable


def rule(stages: StageTable, readings: Readings) -> Partition | Cover:
    """One mind for each unbroken run of one region within a tree of carried own links."""
    region = effective_regions(stages, readings)
    carried = branched(stages, carried_own_links(stages, readings), stages.own_kind, readings["branching"])
    naming = Naming(region=region)
    if readings["recurrence"] == "same":
        key = roots(carried) * (len(stages.regions.names) + 1) + region
        return Partition.by_key(np.where(region >= 0, key, -1), naming)
    intermittent = readings["user_turns"] == "intermittent"
    # Where only assistant stages are in a run, it leads from one to the next across whatever stands between.
    before = np.where(stages.assistant, nearest(carried, stages.assistant), -1) if intermittent else carried
    goes_on = (before >= 0) & (region >= 0) & (region[before] == region)
    up = np.where(goes_on, before, -1)
    if intermittent and readings["branching"] == "one":
        up = _joined_across_words(stages, carried, region, up)
    if readings["branching"] == "overlap":
        return _runs_of_chains(stages, intermittent, carried, before, up, naming, region >= 0)
    return Partition.by_links(up, region >= 0, naming)


def _joined_across_words(stages: StageTable, carried: Rows, region: Codes, up: Rows) -> Rows:
    """Links between answers of one region to the same words: in one branching mind their run goes on across these
    words.
    """
    assistant = stages.assistant
    inner = ~assistant & (carried >= 0)
    inner[inner] = ~assistant[carried[inner]]
    words = roots(np.where(inner, carried, -1))
    answers = np.flatnonzero(assistant & (region >= 0) & (up < 0) & (carried >= 0))
    answers = answers[~assistant[carried[answers]]]
    key = words[carried[answers]] * (len(stages.regions.names) + 1) + region[answers]
    _, first, group = np.unique(key, return_index=True, return_inverse=True)
    joined = up.copy()
    later = np.arange(len(answers)) != first[group]
    joined[answers[later]] = answers[first[group]][later]
    return joined


def _runs_of_chains(
    stages: StageTable,
    intermittent: bool,
    carried: Rows,
    before: Rows,
    up: Rows,
    naming: Naming,
    assigned: NDArray[np.bool_],
) -> Cover:
    """The runs within each chain from root to leaf; a run that two chains share as a whole is one mind."""
    ends = np.zeros(len(stages), np.bool_)
    leaves = children_count(carried) == 0
    if not intermittent:
        ends |= leaves
    else:
        ends |= leaves & stages.assistant
        # A chain that ends among the user's words ends the run of the assistant stage above them.
        above = nearest(carried, stages.assistant)[leaves & ~stages.assistant]
        ends[above[above >= 0]] = True
    broken = (before >= 0) & (up < 0)
    ends[before[broken]] = True
    return chains(up, np.flatnonzero(ends & assigned), assigned, naming)


VIEW = View(
    name="instance-persona",
    definition="connected as in virtual-instance, within one unbroken run of one effective region",
    source="§4, §4.2",
    rule=rule,
    label="{region} of {model} in {conversation}",
    readings=(RECONSTRUCTION, USER_TURNS, RECURRENCE, BRANCHING, UNKNOWN_CACHE, EDITS, OUTSIDE, MAX_DRIFT),
    rests_on=frozenset({"names", "cache", "links", "branches", "regions", "discreteness"}),
)
