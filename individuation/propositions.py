"""Contradictions and faithfulness: what a mind's propositions say of each other (docs/desiderata.md)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from individuation.measures import Score
from individuation.memberships import Memberships, path_table
from traces.paths import latest_with

Rows = NDArray[np.int64]

NO_PROPOSITIONS = "no proposition is recorded"
_DENIES, _HOLDS, _BOTH = 1, 2, 3


@dataclass(frozen=True, eq=False, repr=False)
class _Said:
    """What is said, a row for each stage, proposition and mind of that stage, in the order of the stages."""

    stage: Rows
    topic: Rows
    """The proposition, as one mind speaks on it."""
    says: Rows


def contradictions(found: Memberships) -> Score:
    """Of the propositions on which a mind speaks at two stages or more, or both ways at one, the share that it both
    holds and denies.
    """
    if not len(found.stages.belief_stage):
        return Score(None, 0, NO_PROPOSITIONS)
    said = _said(found)
    times = np.bincount(said.topic, np.where(said.says == _BOTH, 2, 1))
    holds = np.bincount(said.topic, said.says != _DENIES) > 0
    denies = np.bincount(said.topic, said.says != _HOLDS) > 0
    repeated = times > 1
    return Score.share(
        int((repeated & holds & denies).sum()), int(repeated.sum()), "no mind speaks twice on the same proposition"
    )


def faithfulness(found: Memberships) -> Score:
    """Of the times that a mind speaks on a proposition on which it has spoken before on the same path, the share at
    which it says the same as the last time; who says both says the same as nothing.

    Conversations of one mind have no order among them, so that only what lies on one path is compared.
    """
    if not len(found.stages.belief_stage):
        return Score(None, 0, NO_PROPOSITIONS)
    said, stages = _said(found), found.stages
    table = path_table(stages, np.bincount(said.stage, minlength=len(stages)))
    before = latest_with(table, said.topic, stages.conversation[said.stage], np.arange(len(said.stage)))
    again = before >= 0
    agrees = again & (said.says == said.says[before]) & (said.says != _BOTH)
    return Score.share(int(agrees.sum()), int(again.sum()), "no mind comes back to a proposition on the same path")


def _said(found: Memberships) -> _Said:
    stages = found.stages
    pairs = np.stack([stages.belief_stage, stages.belief_proposition.astype(np.int64)])
    (stage, proposition), which = np.unique(pairs, axis=1, return_inverse=True)
    says = np.zeros(len(stage), np.int64)
    np.bitwise_or.at(says, which.reshape(-1), np.where(stages.belief_holds, _HOLDS, _DENIES))
    given, mind = found.of_stages(stage)
    _, topic = np.unique(mind * (len(stages.proposition_names) + 1) + proposition[given], return_inverse=True)
    return _Said(stage[given], topic.astype(np.int64), says[given])
