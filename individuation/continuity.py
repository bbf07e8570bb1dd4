"""Interactivity, persistence and unification: what stages and links alone say of minds (docs/desiderata.md)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from individuation.measures import Score
from individuation.memberships import Memberships, path_table
from rules.view import Cover, Partition, Tally
from traces.forest import sums_from_root, trees
from traces.paths import latest_with
from traces.stages import ATTENTION, TRANSFER, UNKNOWN, StageTable
from traces.vocabulary import ROLES

Rows = NDArray[np.int64]

ONE_PASS = Score(
    None, 0, "a mind is a single pass: nothing is recorded of it alone, and there is nothing in it to join"
)
TOO_MANY = Score(None, 0, "these minds share too many stages to be listed")

_WORDS_FROM_WITHOUT = [ROLES.index("user"), ROLES.index("tool")]


def interactivity(found: Memberships, intermittent: bool) -> Score:
    """The share of replies that directly follow words that the same mind took in.

    A reply is a stretch of assistant stages of one mind that follow directly on one another along a path; one that
    splits it in two changes nothing. It answers if the stage just before it is a user's or tool's, and of the same
    mind.
    """
    stages = found.stages
    replying = stages.assistant[found.stage]
    before = stages.previous[found.stage]
    taken_in = found.row(found.mind, before) >= 0
    begins = replying & ~(taken_in & stages.assistant[before])
    answers = begins & taken_in & np.isin(stages.role[before], _WORDS_FROM_WITHOUT)
    note = "user_turns=intermittent: users' words belong to no mind, so no mind takes any in" if intermittent else ""
    return Score.share(int(answers.sum()), int(begins.sum()), "no assistant stage belongs to a mind", note)


def persistence(stages: StageTable, verdict: Partition | Cover) -> Score:
    """The largest share of a conversation's path that one mind holds, averaged over conversations by their length.

    Lengths are in tokens where every stage's are known, else in stages. Complexity: n log n in the stages.
    """
    weight = _weights(stages)
    if isinstance(verdict, Cover):
        # A chain and a path that meet at a stage have all of the chain above it in common.
        held = np.where(verdict.assigned, sums_from_root(verdict.up, weight), 0)
    else:
        assigned = verdict.mind >= 0
        held = np.where(assigned, sums_from_root(_same_mind_before(stages, verdict.mind), weight), 0)
    ends = _ends(stages)
    most, whole = _greatest_from_root(stages.previous, held)[ends], sums_from_root(stages.previous, weight)[ends]
    return Score.share(int(most.sum()), int(whole.sum()), "no stage belongs to a mind", _in_stages(stages))


def persistence_of_passes(stages: StageTable) -> Score:
    """The same for minds that are single forward passes: each holds one token position."""
    if not stages.tokens_known:
        return Score(None, 0, "a pass holds one token position, and token counts are not all known")
    ends = _ends(stages)
    whole = int(sums_from_root(stages.previous, stages.tokens)[ends].sum())
    return Score.share(len(ends), whole, "there are no stages")


def unification(found: Memberships) -> Score:
    """Of the joints that would make each mind one piece, the share that its largest piece has.

    Pieces are what `attention` and `transfer` own links join whose both ends are in the mind. A mind of n stages whose
    largest piece has m counts m - 1 of n - 1. Links whose cache is unknown may or may not be such: with any, there are
    bounds instead of a value, unless these agree.
    """
    minds = np.bincount(found.mind)
    needed = int((minds - 1)[minds > 0].sum())
    if not needed:
        return Score(None, 0, "no mind has a second stage to be joined to")
    stages = found.stages
    origin = found.row(found.mind, stages.own[found.stage])
    kind = stages.own_kind[found.stage]
    low = _joints(found, np.where(np.isin(kind, [ATTENTION, TRANSFER]), origin, -1)) / needed
    high = _joints(found, np.where(np.isin(kind, [ATTENTION, TRANSFER, UNKNOWN]), origin, -1)) / needed
    if low == high:
        return Score(low, needed)
    unknown = int(((kind == UNKNOWN) & (origin >= 0)).sum())
    linked = int((origin >= 0).sum())
    return Score(None, needed, f"the cache is unknown for {unknown:,} of {linked:,} own links within minds", low, high)


def _weights(stages: StageTable) -> Rows:
    return stages.tokens if stages.tokens_known else np.ones(len(stages), np.int64)


def _in_stages(stages: StageTable) -> str:
    return "" if stages.tokens_known else "counted in stages, as token counts are not all known"


def _ends(stages: StageTable) -> Rows:
    """The last stage of every conversation that has one."""
    last = np.full(len(stages.conversations), -1, np.int64)
    last[stages.conversation] = np.arange(len(stages))
    return last[last >= 0]


def _same_mind_before(stages: StageTable, mind: Rows) -> Rows:
    """For each stage the latest earlier one on its path that is of the same mind, or -1."""
    before = stages.previous
    goes_on = (before >= 0) & (mind[before] == mind)
    found = np.where(goes_on, before, -1)
    wanted = np.flatnonzero(~goes_on & (before >= 0) & (mind >= 0))
    if len(wanted):
        attribute = np.where(mind >= 0, mind, int(mind.max()) + 1)
        found[wanted] = latest_with(path_table(stages), attribute, stages.conversation, wanted)
    return found


def _greatest_from_root(parent: Rows, value: Rows) -> Rows:
    """For each node the greatest value over the chain from its root down to it, itself included."""
    greatest, jump = value.copy(), parent.copy()
    active = np.flatnonzero(jump >= 0)
    while len(active):
        step = jump[active]
        greatest[active] = np.maximum(greatest[active], greatest[step])
        jump[active] = jump[step]
        active = active[jump[active] >= 0]
    return greatest


def _joints(found: Memberships, parent: Rows) -> int:
    """Over all minds, the joints within the largest of its pieces; `parent` links rows of memberships."""
    piece, first = trees(parent)
    size = np.bincount(piece, minlength=len(first))
    largest = np.zeros(int(found.mind.max()) + 1, np.int64)
    np.maximum.at(largest, found.mind[first], size)
    return int((largest - 1)[largest > 0].sum())


def interactivity_of_passes(stages: StageTable) -> Score:
    """The same for minds that are single forward passes: none holds both a word taken in and a reply."""
    going_on = (stages.previous >= 0) & stages.assistant[stages.previous]
    replies = int((stages.assistant & ~going_on).sum())
    return Score.share(0, replies, "there is no assistant stage", "a pass takes in one position and gives the next")


def scores_of(
    stages: StageTable, verdict: Partition | Cover | Tally, found: Memberships | None, intermittent: bool
) -> tuple[Score, Score, Score]:
    """Interactivity, persistence and unification of a view's minds."""
    if isinstance(verdict, Tally):
        return interactivity_of_passes(stages), persistence_of_passes(stages), ONE_PASS
    lasting = persistence(stages, verdict)
    if found is None:
        return TOO_MANY, lasting, TOO_MANY
    return interactivity(found, intermittent), lasting, unification(found)
