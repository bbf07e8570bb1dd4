"""Views that go by links: one mind for each set of stages that carried links connect, with equal attributes.

Branches are read first, on the carried links; cuts where attributes differ come after (semantics.md §5).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rules.attributes import attribute_codes, attribute_names, combined, known_where
from rules.branching import branched, chains, minds_by_links
from rules.carrying import carried_links, followed
from rules.declaration import SHARED, Declaration
from rules.readings import Readings
from rules.view import Cover, Naming, Partition, Rows
from traces.forest import children_count, nearest, roots
from traces.stages import StageTable


def linked(stages: StageTable, declaration: Declaration, readings: Readings) -> Partition | Cover:
    """The minds of a linked view."""
    parent, kind = carried_links(stages, declaration, readings), followed(stages, declaration)[1]
    how = readings["branching"]
    if not declaration.attributes:
        minds = minds_by_links(stages, parent, kind, how)
        return _joined_by_shared(stages, minds) if isinstance(minds, Partition) and _shares(declaration) else minds
    carried = branched(stages, parent, kind, how)
    value, naming = values(stages, declaration, readings)
    if readings["recurrence"] == "same":
        top = _joined_by_shared(stages, Partition.by_links(carried)).mind if _shares(declaration) else roots(carried)
        width = int(value.max(initial=-1)) + 1
        return Partition.by_key(np.where(value >= 0, top * width + value, -1), naming)
    intermittent = is_intermittent(declaration, readings)
    # Where only assistant stages are in a run, it leads from one to the next across whatever stands between.
    before = np.where(stages.assistant, nearest(carried, stages.assistant), -1) if intermittent else carried
    goes_on = (before >= 0) & (value >= 0) & (value[before] == value)
    up = np.where(goes_on, before, -1)
    if intermittent and how == "one":
        up = _joined_across_words(stages, carried, value, up)
    if how == "overlap":
        return _runs_of_chains(stages, intermittent, carried, before, up, naming, value >= 0)
    runs = Partition.by_links(up, value >= 0, naming)
    return _joined_by_shared(stages, runs, value) if _shares(declaration) else runs


def values(stages: StageTable, declaration: Declaration, readings: Readings) -> tuple[Rows, Naming]:
    """What must be equal along the links of a mind: a code a stage (int64 [stages]), -1 for a stage in no mind."""
    codes = {name: attribute_codes(stages, name, readings) for name in declaration.attributes}
    if declaration.agree == declaration.known and len(codes) == 1:
        # One attribute that must be known: its codes serve as they are.
        value = next(iter(codes.values())).astype(np.int64)
    else:
        sizes = {name: len(attribute_names(stages, name, readings)) for name in codes}
        value = combined([(codes[name], sizes[name]) for name in declaration.agree], len(stages))
        if declaration.known:
            value = np.where(known_where(codes, declaration.known), value, -1)
    return value, Naming(region=codes.get("region"))


def is_intermittent(declaration: Declaration, readings: Readings) -> bool:
    """Whether runs go on across stages that they do not contain: those that are not the assistant's."""
    return "region" in declaration.attributes and readings["user_turns"] == "intermittent"


def _shares(declaration: Declaration) -> bool:
    return SHARED in declaration.carry


def _joined_by_shared(stages: StageTable, minds: Partition, value: Rows | None = None) -> Partition:
    """Minds joined where one reuses a prefix that another computed."""
    to = np.flatnonzero(stages.shared >= 0)
    if value is not None:
        to = to[(value[to] >= 0) & (value[stages.shared[to]] == value[to])]
    if not len(to):
        return minds
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = (minds.mind[to], minds.mind[stages.shared[to]])
    graph = coo_array((np.ones(len(to), np.bool_), ends), shape=(minds.count, minds.count))
    _, component = connected_components(graph, directed=False)
    joined = np.where(minds.mind >= 0, component[minds.mind], -1).astype(np.int64)
    return Partition.by_key(joined, minds.naming)


def _joined_across_words(stages: StageTable, carried: Rows, value: Rows, up: Rows) -> Rows:
    """Links between answers of one region to the same words: in one branching mind their run goes on across these
    words.
    """
    assistant = stages.assistant
    inner = ~assistant & (carried >= 0)
    inner[inner] = ~assistant[carried[inner]]
    words = roots(np.where(inner, carried, -1))
    answers = np.flatnonzero(assistant & (value >= 0) & (up < 0) & (carried >= 0))
    answers = answers[~assistant[carried[answers]]]
    key = words[carried[answers]] * (int(value.max(initial=-1)) + 1) + value[answers]
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
