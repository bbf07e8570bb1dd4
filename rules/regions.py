"""The effective region of a stage (semantics.md §4): its own for the assistant's; for others as the reading
`user_turns` says.

`poised`: the region of the next assistant stage down the stage's own links; in each branch the first one met, and none
if branches disagree. Where none follows, the region of the nearest assistant stage up its own links. `intermittent`:
none. `outside=last` first gives an assistant stage in no region that of the nearest assistant stage up its own links
that has one.
"""

from __future__ import annotations

import numpy as np

from rules.readings import Readings
from rules.view import Codes
from traces.forest import nearest
from traces.stages import StageTable


def effective_regions(stages: StageTable, readings: Readings) -> Codes:
    """The effective region code of each stage (int32 [stages], -1 for none). Do not write into it: it is kept.

    `readings` needs `user_turns` and `outside`.

    >>> from traces.file import facts_from_data
    >>> turns = [{"role": "user", "model": "m"}, {"role": "assistant", "region": "calm"}, {"role": "user"}]
    >>> world = {"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": turns}}}
    >>> stages = StageTable.of(facts_from_data(world))
    >>> effective_regions(stages, {"user_turns": "poised", "outside": "none"}).tolist()
    [0, 0, 0]
    >>> effective_regions(stages, {"user_turns": "intermittent", "outside": "none"}).tolist()
    [-1, 0, -1]
    """
    asked = ("effective regions", readings["user_turns"], readings["outside"])
    if asked not in stages.worked_out:
        stages.worked_out[asked] = _effective(stages, readings)
    found: Codes = stages.worked_out[asked]
    return found


def _effective(stages: StageTable, readings: Readings) -> Codes:
    region = stages.region
    if readings["outside"] == "last":
        region = _kept(stages, region)
    return region if readings["user_turns"] == "intermittent" else _poised(stages, region)


def _kept(stages: StageTable, region: Codes) -> Codes:
    outside = stages.assistant & (region < 0)
    if not outside.any():
        return region
    last = nearest(stages.own, stages.assistant & (region >= 0))
    return np.where(outside & (last >= 0), region[last], region)


def _poised(stages: StageTable, region: Codes) -> Codes:
    assistant, own = stages.assistant, stages.own
    # The least and the greatest region (from 1; 0 is an assistant stage in none) that the branches below lead to.
    least = np.full(len(stages), np.iinfo(np.int32).max, np.int32)
    greatest = np.full(len(stages), -1, np.int32)
    met = np.flatnonzero(assistant & (own >= 0))
    met = met[~assistant[own[met]]]
    np.minimum.at(least, own[met], region[met] + 1)
    np.maximum.at(greatest, own[met], region[met] + 1)

    waiting = np.flatnonzero(~assistant & (own >= 0))
    waiting = waiting[~assistant[own[waiting]]]
    jump = np.full(len(stages), -1, np.int64)
    jump[waiting] = own[waiting]
    while len(waiting):
        # Each round hands on what was gathered so far over twice the distance of the round before.
        above = jump[waiting]
        low, high = least[waiting], greatest[waiting]
        np.minimum.at(least, above, low)
        np.maximum.at(greatest, above, high)
        jump[waiting] = jump[above]
        waiting = waiting[jump[waiting] >= 0]

    following = greatest >= 0
    down = np.where(least == greatest, greatest - 1, -1)
    silent = ~assistant & ~following
    result = np.where(assistant, region, down).astype(np.int32)
    if silent.any():
        earlier = nearest(own, assistant)
        result = np.where(silent, np.where(earlier >= 0, region[earlier], -1), result).astype(np.int32)
    return result
