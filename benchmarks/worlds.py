"""A large invented trace: seeded, valid, and with everything in it that makes counting minds hard.

Switches of model and back, migrations between servers, branches of branches, unknown servers, edits, and personas that
drift from region to region.
"""

from __future__ import annotations

from typing import Any

import measuring  # noqa: F401  (finds the packages)
import numpy as np
from numpy.typing import NDArray

from traces.facts import Conversations, Coordinates, Facts, Turns
from traces.paths import before_first
from traces.stages import StageTable
from traces.vocabulary import CACHES, ROLES, Model, Probe, Server, Space

Column = NDArray[Any]

MODELS, SERVERS = 4, 12
TURNS = (20, 60)
TOKENS = (5, 500)
SWITCHES, MIGRATIONS, BRANCHES, SILENT, EDITED = 0.05, 0.10, 0.03, 0.03, 0.001
_TRANSFERRED, _REBUILT = CACHES.index("transferred"), CACHES.index("rebuilt")


def world(stages: int = 1_000_000, seed: int = 20260414) -> Facts:
    """A trace with so many stages; the same seed gives the same trace."""
    rng = np.random.default_rng(seed)
    table = _conversations(rng, stages)
    conversation = np.repeat(np.arange(len(table), dtype=np.int32), table.size)
    position = np.arange(stages) - table.first[conversation] + table.at[conversation]
    known = rng.random(stages) >= SILENT
    switches = np.where(rng.random(stages) < SWITCHES, rng.integers(1, MODELS, stages), 0)
    migrates = rng.random(stages) < MIGRATIONS
    migrations = np.where(migrates, rng.integers(1, SERVERS, stages), 0)
    facts = Facts(
        name="world",
        title=f"An invented trace of {stages:,} stages",
        models={f"model-{i}": Model(name=f"lab/model-{i}", digest=f"{i:064x}") for i in range(MODELS)},
        servers={f"server-{i:02}": Server() for i in range(SERVERS)},
        probes={"assistant": Probe(axis="assistant")},
        spaces={f"space-{i}": _space(f"model-{i}") for i in range(MODELS)},
        conversations=table,
        turns=Turns(
            conversation=conversation,
            role=np.where(position % 2 == 0, ROLES.index("user"), ROLES.index("assistant")).astype(np.int8),
            tokens=rng.integers(TOKENS[0], TOKENS[1] + 1, stages),
            model=_carried_over(rng, table, conversation, switches, MODELS),
            server=np.where(known, _carried_over(rng, table, conversation, migrations, SERVERS), -1).astype(np.int32),
            cache=np.full(stages, -1, np.int8),
            kv=np.full(stages, -1, np.int32),
            edited=rng.random(stages) < EDITED,
            drift=np.full(stages, np.nan),
            shared_from=np.full(stages, -1, np.int64),
        ),
        coordinates=Coordinates(np.arange(stages), np.zeros(stages, np.int32), _drifting(rng, table, conversation)),
        stated=np.full(stages, -1, np.int32),
    )
    _state_caches(rng, facts, migrates)
    return facts


def _space(model: str) -> Space:
    regions: dict[str, dict[str, tuple[float | None, float | None]]] = {
        "assistant": {"assistant": (10.0, None)},
        "mystic": {"assistant": (-40.0, 0.0)},
        "aura": {"assistant": (None, -40.0)},
    }
    return Space(model=model, axes=("assistant",), regions=regions)


def _conversations(rng: np.random.Generator, stages: int) -> Conversations:
    size = rng.integers(TURNS[0], TURNS[1] + 1, stages // TURNS[0] + 1)
    count = int(np.searchsorted(np.cumsum(size), stages)) + 1
    size = size[:count]
    size[-1] -= int(size.sum()) - stages
    parent, at = np.full(count, -1, np.int32), np.zeros(count, np.int32)
    for child in np.flatnonzero(rng.random(count) < BRANCHES).tolist():
        if child:
            parent[child] = rng.integers(child)
            at[child] = rng.integers(1, at[parent[child]] + size[parent[child]] + 1)
    first = np.cumsum(size, dtype=np.int64) - size
    names = [f"c{number}" for number in range(count)]
    return Conversations(names, parent, at, first, size.astype(np.int32))


def _carried_over(
    rng: np.random.Generator, table: Conversations, conversation: Column, steps: Column, kinds: int
) -> Column:
    """Codes that stay as they were on the path but for steps, taken round a circle of `kinds`."""
    gone = _within(table, conversation, steps)
    start = rng.integers(0, kinds, len(table))
    before = before_first(table)
    for child in np.flatnonzero(before >= 0).tolist():
        start[child] = start[conversation[before[child]]] + gone[before[child]]
    codes: Column = ((start[conversation] + gone) % kinds).astype(np.int32)
    return codes


def _within(table: Conversations, conversation: Column, steps: Column) -> Column:
    """Running sums that begin anew with each conversation."""
    total = np.cumsum(steps)
    within: Column = total - (total - steps)[table.first][conversation]
    return within


def _drifting(rng: np.random.Generator, table: Conversations, conversation: Column) -> Column:
    start = rng.normal(30, 15, len(table))
    walked = _within(table, conversation, rng.normal(-0.5, 8, len(conversation)))
    coordinates: Column = np.round(start[conversation] + walked, 3)
    return coordinates


def _state_caches(rng: np.random.Generator, facts: Facts, migrates: Column) -> None:
    """Each a third of the migrations: rebuilt with its drift measured, transferred, not stated.

    Nothing is stated where the model has not run before on the path, so that there is no cache to move.
    """
    turns = facts.turns
    says = rng.integers(0, 3, len(turns))
    movable = migrates & (StageTable.of(facts).own >= 0)
    rebuilt = movable & (says == 0)
    turns.cache[rebuilt] = _REBUILT
    turns.cache[movable & (says == 1)] = _TRANSFERRED
    turns.drift[rebuilt] = rng.lognormal(-6, 1, int(rebuilt.sum()))
