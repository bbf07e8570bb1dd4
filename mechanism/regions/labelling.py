"""Which region each recorded turn is in, by a mixture: an interpretation of a trace, to be stored beside its facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mechanism.regions.change_points import LEAST, Run, TokenNoise, runs, token_noise
from mechanism.regions.gaussians import Floats
from mechanism.regions.hysteresis import check_entry, held
from mechanism.regions.mixture import Mixture
from traces.errors import TraceError
from traces.facts import Facts
from traces.identity import models_named
from traces.labelling import axis_values, probes_read
from traces.paths import path_order, turn_on_path
from traces.vocabulary import ROLES, Change, LabelledPart, LabelledTurn, Space

_ASSISTANT = ROLES.index("assistant")
_SMALLEST = 1e-6
"""A region that is less probable is not written down."""


class Labelled(NamedTuple):
    """`turns` by CONVERSATION/ORDINAL. Of the turns and parts, `kept` is how many stayed in a region because another
    was not probable enough, `unsure` how many are in their region with less than nine in ten. `unread`: how many
    turns were not read on all axes, and are in none, or where the turn before was. `noise`: how tokens scatter, where
    change points were looked for.
    """

    turns: dict[str, LabelledTurn]
    kept: int
    unsure: int
    unread: int
    noise: TokenNoise | None

    @property
    def split(self) -> int:
        """How many turns change region."""
        return sum(bool(turn.changes) for turn in self.turns.values())


def labelled(
    facts: Facts,
    name: str,
    space: Space,
    mixture: Mixture,
    *,
    entry: float | None = None,
    change_points: bool = False,
    least: int = LEAST,
    seed: int = 0,
) -> Labelled:
    """The assistant's turns of the space's model, each in the region that is most probable there.

    `space` is called `name` in messages, and is the mixture's as the trace has it. With `entry`, a region is left only
    for another that is at least so probable (`mechanism.regions.hysteresis`), along the path of a conversation. With
    `change_points`, a turn is cut where its tokens show that the region changes. The probabilities are those of each
    turn or part by itself.

    Raises `TraceError` where no turn was read on the mixture's axes, or tokens are asked for that were not kept.
    """
    if entry is not None:
        check_entry(entry)
    rows = _rows(facts, space)
    points = np.stack([axis_values(facts, name, space, axis)[rows] for axis in mixture.axes], axis=1)
    read: NDArray[np.bool_] = np.asarray(np.isfinite(points).all(axis=1))
    if not read.any():
        found = f"no assistant turn of {space.model} was read on all of {', '.join(mixture.axes)}"
        raise TraceError(facts.name, found, "a trace recorded with this space (individuate record --space)")
    tokens = _tokens(facts, space, mixture, rows[read]) if change_points else {}
    noise = token_noise([turn for _, turn in tokens.values()])
    parts: list[tuple[int, int, Floats]] = []  # place among the rows, first token, chances
    whole = mixture.probabilities(points)
    for place, (row, chances) in enumerate(zip(rows.tolist(), whole, strict=True)):
        found_runs: list[Run] = []
        if noise is not None and row in tokens:
            found_runs = runs(tokens[row][1], mixture, noise, least=least, seed=seed)
        if len(found_runs) < 2:
            parts.append((place, 0, chances))
        else:
            where = tokens[row][0]
            parts += [(place, int(where[run.start]) if number else 0, run.chances)
                      for number, run in enumerate(found_runs)]  # fmt: skip
    regions = _followed(facts, rows, parts, entry)
    return _told(facts, mixture, rows, whole, parts, regions, noise)


def _rows(facts: Facts, space: Space) -> NDArray[np.int64]:
    """The assistant's turns of a space's model, each after all that are before it on its path."""
    keys = list(facts.models)
    models = [keys.index(key) for key in models_named(facts.models, space.model)]
    mine = (facts.turns.role == _ASSISTANT) & np.isin(facts.turns.model, models)
    table = facts.conversations
    found = [
        int(table.first[conversation]) + np.flatnonzero(mine[table.first[conversation] :][: table.size[conversation]])
        for conversation in path_order(table.parent)
    ]
    rows: NDArray[np.int64] = np.concatenate([np.empty(0, np.int64), *found]).astype(np.int64)
    return rows


def _tokens(
    facts: Facts, space: Space, mixture: Mixture, rows: NDArray[np.int64]
) -> dict[int, tuple[NDArray[np.int64], Floats]]:
    """Of each turn the places of its content tokens that were read, and their coordinates [tokens, axes]."""
    wanted = [set(probes_read(facts, space, axis)) for axis in mixture.axes]
    details, found = facts.details(), {}
    for row in rows.tolist():
        detail = details.get(row)
        if detail is None or detail.token_coordinates is None:
            continue
        places = [[at for at, probe in enumerate(detail.token_probes) if probe in probes] for probes in wanted]
        if not all(places):
            continue
        grid = detail.token_coordinates[[at[0] for at in places]].T.astype(np.float64)
        content = np.isfinite(grid).all(axis=1)
        if detail.token_marks is not None:
            content &= np.array([mark == "c" for mark in detail.token_marks])
        if content.any():
            found[row] = np.flatnonzero(content), grid[content]
    if not found:
        expected = "a trace in which the coordinates of each token were kept, or no --change-points"
        raise TraceError(facts.name, "it has no coordinates of single tokens", expected)
    return found


def _followed(
    facts: Facts, rows: NDArray[np.int64], parts: Sequence[tuple[int, int, Floats]], entry: float | None
) -> NDArray[np.int64]:
    """The region of each part: the most probable, or the one that is held. -1: none."""
    chances = np.stack([part[2] for part in parts])
    if entry is None:
        best = np.where(np.isnan(chances).any(axis=1), -1, np.nan_to_num(chances).argmax(axis=1))
        return np.where(best == chances.shape[1] - 1, -1, best)
    last_of = {place: number for number, (place, _, _) in enumerate(parts)}
    place_of = {row: place for place, row in enumerate(rows.tolist())}
    before = []
    for number, (place, start, _) in enumerate(parts):
        if start:
            before.append(number - 1)
        else:
            earlier = _earlier(facts, int(rows[place]), place_of)
            before.append(-1 if earlier < 0 else last_of[earlier])
    return held(chances, before, entry)


def _earlier(facts: Facts, row: int, place_of: Mapping[int, int]) -> int:
    """The place of the labelled turn before this one on its path, or -1."""
    table = facts.conversations
    conversation = int(facts.turns.conversation[row])
    position = int(table.at[conversation]) + facts.ordinal(row)
    while position > 0:
        position -= 1
        place = place_of.get(turn_on_path(table, conversation, position))
        if place is not None:
            return place
    return -1


def _told(
    facts: Facts,
    mixture: Mixture,
    rows: NDArray[np.int64],
    whole: Floats,
    parts: Sequence[tuple[int, int, Floats]],
    regions: NDArray[np.int64],
    noise: TokenNoise | None,
) -> Labelled:
    outside, read = len(mixture.regions), np.isfinite(whole[:, 0])
    by_turn: dict[int, list[tuple[int, int, Floats]]] = {}
    kept = unsure = 0
    for (place, start, chances), region in zip(parts, regions.tolist(), strict=True):
        of_turn = by_turn.setdefault(place, [])
        # What held on to its region is no change.
        if not of_turn or of_turn[-1][1] != region:
            of_turn.append((start, region, chances))
        if read[place]:
            own = outside if region < 0 else region
            kept += int(chances.argmax()) != own
            unsure += float(chances[own]) < 0.9
    turns = {}
    for place, of_turn in by_turn.items():
        # A turn that is not cut is as probable as all its tokens make it.
        told = [_part(mixture, region, chances if len(of_turn) > 1 else whole[place]) for _, region, chances in of_turn]
        changes = tuple(
            Change(at=start, region=part.region, probabilities=part.probabilities)
            for (start, _, _), part in zip(of_turn[1:], told[1:], strict=True)
        )
        turns[facts.stage_name(int(rows[place]))] = LabelledTurn(
            region=told[0].region, probabilities=told[0].probabilities, changes=changes
        )
    return Labelled(turns, kept, unsure, int((~read).sum()), noise)


def _part(mixture: Mixture, region: int, chances: Floats) -> LabelledPart:
    probabilities: dict[str, float] = {}
    if not np.isnan(chances).any():
        shares = np.where(chances < _SMALLEST, 0.0, chances)
        shares = shares / shares.sum()
        probabilities = {
            name: min(1.0, float(share)) for name, share in zip(mixture.regions, shares[:-1], strict=True) if share > 0
        }
    return LabelledPart(region=None if region < 0 else mixture.regions[region], probabilities=probabilities)
