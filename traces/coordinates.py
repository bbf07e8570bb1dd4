"""Coordinates beside the stages that they were read at: a row a stage, a column a probe.

Facts hold coordinates as they were recorded, by turn and probe. Curves, dispersions and predictions need them in the
order of the stages, over all recordings that are counted together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from traces.facts import Facts, Floats, Longs
from traces.stages import StageTable
from traces.together import prefixes
from traces.vocabulary import Probe


@dataclass(frozen=True, eq=False, repr=False)
class StageCoordinates:
    """What was read at each stage, whatever its role and whatever regions any labelling draws (§3.3)."""

    probes: dict[str, Probe]
    """What the columns of `values` measure, in their order; units are the probes' own."""
    values: Floats
    """float64 [stages, probes], NaN where nothing was recorded."""


def stage_coordinates(recordings: Sequence[Facts], stages: StageTable) -> StageCoordinates:
    """The coordinates of all stages; `stages` are those of the recordings together (`traces.together`).

    There is a column for each probe key, in order of first appearance. Probes of one key that are equal in several
    recordings share a column; where a key stands for different probes, each has a column of its own, which bears the
    prefix of the first recording that has it. Raises `ValueError` where the stages are not those of the recordings.

    >>> from traces.file import facts_from_data
    >>> facts = facts_from_data({"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": [
    ...     {"role": "user", "model": "m"}, {"role": "assistant", "at": {"assistant": -12.5}}]}}})
    >>> read = stage_coordinates([facts], StageTable.of(facts))
    >>> list(read.probes), read.values.tolist()
    (['assistant'], [[nan], [-12.5]])
    """
    whole = stages.token == 0
    counts = np.bincount(stages.recording[whole], minlength=len(recordings)).tolist()
    if counts != [len(facts.turns) for facts in recordings]:
        raise ValueError("the stages are not those of the recordings")
    columns = _columns(recordings)
    probes = {name: probe for (_, probe), name in columns.items()}
    number = {name: column for column, name in enumerate(probes)}
    values = np.full((len(stages), len(probes)), np.nan)
    for recording, facts in enumerate(recordings):
        mine = np.flatnonzero((stages.recording == recording) & whole)
        stage_of = np.empty(len(mine), np.int64)
        stage_of[stages.turn[mine]] = mine
        column_of = np.array([number[columns[item]] for item in facts.probes.items()], np.int64)
        read = facts.coordinates
        values[stage_of[read.turn], column_of[read.probe]] = read.value
        _of_parts(facts, stages, values, np.flatnonzero((stages.recording == recording) & ~whole), column_of)
    return StageCoordinates(probes, values)


def _of_parts(facts: Facts, stages: StageTable, values: Floats, later: Longs, column_of: Longs) -> None:
    """The coordinates of the parts of turns that were split: means over their own content tokens, where tokens were
    read; elsewhere what was read of the whole turn says nothing of its parts.
    """
    if not len(later):
        return
    details, probes = facts.details(), list(facts.probes)
    mine = np.flatnonzero(stages.recording == stages.recording[later[0]])
    for row in mine[np.isin(stages.turn[mine], stages.turn[later])].tolist():
        values[row] = np.nan
        detail = details.get(int(stages.turn[row]))
        if detail is None or detail.token_coordinates is None:
            continue
        start = int(stages.token[row])
        grid = detail.token_coordinates[:, start : start + int(stages.tokens[row])].astype(np.float64)
        if detail.token_marks is not None:
            marks = detail.token_marks[start : start + grid.shape[1]]
            grid = grid[:, [mark == "c" for mark in marks]]
        read = ~np.isnan(grid).all(axis=1) if grid.size else np.zeros(len(grid), np.bool_)
        for place in np.flatnonzero(read).tolist():
            column = column_of[probes.index(detail.token_probes[place])]
            values[row, column] = np.nanmean(grid[place])


def _columns(recordings: Sequence[Facts]) -> dict[tuple[str, Probe], str]:
    """Each distinct probe under its key, with the name of its column."""
    first: dict[tuple[str, Probe], str] = {}
    for prefix, facts in zip(prefixes(recordings), recordings, strict=True):
        for item in facts.probes.items():
            first.setdefault(item, prefix)
    uses = Counter(key for key, _ in first)
    names: dict[tuple[str, Probe], str] = {}
    taken = {key for key in uses if uses[key] == 1}
    for (key, probe), prefix in first.items():
        name = key
        while uses[key] > 1 and (name == key or name in taken):
            name = f"{prefix}:{name}"
        names[key, probe] = name
        taken.add(name)
    return names
