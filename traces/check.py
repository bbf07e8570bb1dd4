"""Every invariant of a stored trace, tried one by one: what `individuate check` reports.

A trace that was only ever written through this package holds them all; a file that was edited by hand, or damaged, may
not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from traces import schema
from traces.errors import TraceError
from traces.facts import Facts
from traces.identity import find_model, has_base_cycle, model_identities
from traces.labelling import STATED, labelling_names, regions_of
from traces.paths import is_before, path_order
from traces.provenance import span_breaches, without_origin
from traces.rendering import document_data
from traces.resolution import facts_from
from traces.stages import StageTable
from traces.store import load_as_it_is, reading
from traces.text import Source
from traces.turn_labels import breaches
from traces.vocabulary import DERIVATIONS, PROBABILITY_SLACK, ROLES

_On = TypeVar("_On")


@dataclass(frozen=True)
class Finding:
    """One invariant, and what breaks it (nothing where it holds)."""

    invariant: str
    breaches: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether nothing breaks it."""
        return not self.breaches


def check_store(path: Path) -> Iterator[Finding]:
    """Try the invariants of a trace.db, those of the file first; stops after the group in which one fails.

    Raises `TraceError` where the file cannot be opened as a trace at all.
    """
    with reading(path) as connection:
        yield from (findings := [_tried(text, check, connection) for text, check in _OF_THE_FILE])
    if not all(finding.holds for finding in findings):
        # Columns cannot be read back soundly from tables that are not.
        return
    try:
        facts = load_as_it_is(path)
        facts.details()
        facts.cache_spans()
    except TraceError as error:
        yield Finding("the tables read back", (error.found,))
        return
    yield from check_facts(facts)


def check_facts(facts: Facts) -> Iterator[Finding]:
    """Try the invariants of facts, wherever they come from."""
    broken = False
    for text, check in _OF_THE_FACTS:
        if check is _as_a_file and broken:
            # It could only say again, in other words, what was said above.
            return
        finding = _tried(text, check, facts)
        broken |= not finding.holds
        yield finding
        if not finding.holds and check is _branches:
            return


def _tried(text: str, check: Callable[[_On], Iterator[str]], on: _On) -> Finding:
    return Finding(text, tuple(check(on)))


def _weights(facts: Facts) -> NDArray[np.int32]:
    """For each model the number of the first one with the same weights."""
    identity = model_identities(facts.models)
    return np.array([list(facts.models).index(identity[key]) for key in facts.models], np.int32)


def _stages(facts: Facts, rows: NDArray[Any], saying: str) -> Iterator[str]:
    for row in rows[:5].tolist():
        yield f"{facts.stage_name(row)} {saying}"
    if len(rows) > 5:
        yield f"and {len(rows) - 5:,} more"


# --- of the file


def _integrity(connection: Connection) -> Iterator[str]:
    for (message,) in connection.exec_driver_sql("PRAGMA integrity_check(5)").fetchall():
        if message != "ok":
            yield str(message).splitlines()[0]
    version = schema.stored_version(connection)
    for table in schema.metadata.sorted_tables:
        for column in table.columns:
            if not (schema.has(version, table) and schema.has(version, column)):
                continue
            kind = {"INTEGER": "integer", "REAL": "real", "TEXT": "text", "BLOB": "blob"}[str(column.type)]
            wrong = f"SELECT 1 FROM {table.name} WHERE typeof(\"{column.name}\") NOT IN ('{kind}', 'null') LIMIT 1"
            if connection.exec_driver_sql(wrong).first() is not None:
                yield f"column {column.name} of table {table.name} holds a value that is not {kind}"


def _references(connection: Connection) -> Iterator[str]:
    for table, row, parent, _ in connection.exec_driver_sql("PRAGMA foreign_key_check").fetchmany(5):
        yield f"row {row} of {table} refers to a row of {parent} that is not there"


def _append_only(connection: Connection) -> Iterator[str]:
    there = {sql for (sql,) in connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE type = 'trigger'")}
    version = schema.stored_version(connection)
    for table in schema.FACTS:
        for statement in schema.triggers(table) if schema.has(version, table) else ():
            if statement not in there:
                verb = statement.split()[2].rpartition("_")[2]
                yield f"table {table} may be changed: its trigger against {verb} is not there, or not the one that was"


def _contiguous(connection: Connection) -> Iterator[str]:
    query = (
        "SELECT c.key FROM turn t JOIN conversation c ON c.id = t.conversation_id GROUP BY t.conversation_id "
        "HAVING min(t.ordinal) <> 0 OR max(t.ordinal) <> count(*) - 1"
    )
    for (name,) in connection.exec_driver_sql(query).fetchmany(5):
        yield f"the turns of conversation {name} are not numbered 0, 1, 2, ..."
    for (kind,) in connection.exec_driver_sql(
        " UNION ALL ".join(
            f"SELECT '{table}' WHERE (SELECT count(*) FROM {table}) <> (SELECT coalesce(max(id), 0) FROM {table})"
            for table in ("turn", "conversation", "model", "server", "probe", "kv_cache", "region_name", "proposition")
        )
    ):
        yield f"rows of table {kind} are missing"


def _blobs(connection: Connection) -> Iterator[str]:
    query = (
        "SELECT g.turn_id FROM token_coordinates g JOIN turn t ON t.id = g.turn_id "
        "WHERE length(g.float32) <> 4 * g.tokens * json_array_length(g.probes_json) OR g.tokens <> t.tokens"
    )
    for (turn,) in connection.exec_driver_sql(query).fetchmany(5):
        yield f"turn {turn}: its token coordinates have not 4 bytes for each probe and token"
    query = (
        "SELECT d.turn_id FROM turn_detail d JOIN turn t ON t.id = d.turn_id "
        "WHERE length(d.token_ids) <> 4 * t.tokens OR length(d.token_marks) <> t.tokens"
    )
    for (turn,) in connection.exec_driver_sql(query).fetchmany(5):
        yield f"turn {turn}: its token ids or marks are not one for each token"
    if schema.has(schema.stored_version(connection), schema.connection):
        query = "SELECT turn_id FROM connection WHERE length(layers) % 4 <> 0"
        for (turn,) in connection.exec_driver_sql(query).fetchmany(5):
            yield f"turn {turn}: its masses by layer have not 4 bytes each"


_OF_THE_FILE: tuple[tuple[str, Callable[[Connection], Iterator[str]]], ...] = (
    ("the SQLite file is sound, and every value is of its kind and in its bounds", _integrity),
    ("every reference leads somewhere", _references),
    ("facts are append-only", _append_only),
    ("the turns of every conversation are numbered without gaps, and no row is missing", _contiguous),
    ("per-token data has an entry for each token", _blobs),
)


# --- of the facts


def _branches(facts: Facts) -> Iterator[str]:
    table = facts.conversations
    try:
        path_order(table.parent)
    except ValueError as error:
        yield f"the parents of conversation {table.names[int(error.args[0])]} lead back to itself"
        return
    longest = table.at[table.parent] + table.size[table.parent]
    for c in np.flatnonzero((table.parent >= 0) & ((table.at > longest) | (table.at < 0))).tolist():
        yield (
            f"conversation {table.names[c]} branches after {table.at[c]} turns, but its parent's path has {longest[c]}"
        )


def _bases(facts: Facts) -> Iterator[str]:
    cycle = has_base_cycle(facts.models)
    if cycle is not None:
        yield f"the base of model {cycle} leads back to itself"


def _links(facts: Facts) -> Iterator[str]:
    try:
        StageTable.of(replace(facts, spaces={}, labellings={}, turn_labels={}))
    except TraceError as error:
        yield f"{error.where}: {error.found}"


def _derivations(facts: Facts) -> Iterator[str]:
    caches, weights = facts.caches, _weights(facts)
    current = caches.source.copy()
    for _ in range(len(caches).bit_length() + 1):
        current = np.where(current >= 0, current[current], -1) if len(current) else current
    for c in np.flatnonzero(current >= 0)[:5].tolist():
        yield f"cache {caches.names[c]} is derived from itself"
    for c in np.flatnonzero(caches.source >= 0).tolist():
        if weights[caches.model[c]] != weights[caches.model[caches.source[c]]]:
            yield f"cache {caches.names[c]} is derived from a cache of another model"
    alone = np.isin(caches.how, [DERIVATIONS.index(how) for how in ("transferred", "edited")]) & (caches.source < 0)
    for c in np.flatnonzero(alone).tolist():
        yield f"cache {caches.names[c]} was {DERIVATIONS[caches.how[c]]}, but from which cache is not recorded"


def _cache_of_turn(facts: Facts) -> Iterator[str]:
    turns, caches, weights = facts.turns, facts.caches, _weights(facts)
    rows = np.flatnonzero(turns.kv >= 0)
    mine = turns.kv[rows]
    foreign = weights[caches.model[mine]] != weights[turns.model[rows]]
    yield from _stages(facts, rows[foreign], "uses a cache of another model")
    elsewhere = (caches.server[mine] >= 0) & (turns.server[rows] >= 0) & (caches.server[mine] != turns.server[rows])
    yield from _stages(facts, rows[elsewhere], "uses a cache that is on another server")


def _origins(facts: Facts) -> Iterator[str]:
    spans = facts.cache_spans()
    for cache, found, _ in span_breaches(facts, spans):
        yield f"cache {facts.caches.names[cache]}: {found}"
    yield from _stages(facts, without_origin(facts, spans), "uses entries of its cache that no span gives an origin")


def _connections(facts: Facts) -> Iterator[str]:
    table = facts.connections
    before = is_before(facts.conversations, facts.turns.conversation, table.source, table.turn)
    yield from _stages(facts, np.unique(table.turn[~before]), "has a connection to a stage that is not before it")
    nothing = np.isnan(table.mass) & np.isnan(table.kl)
    yield from _stages(facts, np.unique(table.turn[nothing]), "has a connection of which nothing was measured")
    masses = (mass for detail in facts.details().values() for mass in detail.connection_layers.values())
    if not all(bool(((mass >= 0) & (mass <= 1)).all()) for mass in masses):
        yield "a mass by layer is not from 0 to 1"


def _shared(facts: Facts) -> Iterator[str]:
    turns = facts.turns
    rows = np.flatnonzero(turns.shared_from >= 0)
    origin = turns.shared_from[rows]
    weights = _weights(facts)
    yield from _stages(
        facts, rows[weights[turns.model[origin]] != weights[turns.model[rows]]], "shares the cache of another model"
    )
    yield from _stages(
        facts, rows[turns.conversation[origin] == turns.conversation[rows]], "shares its own conversation's cache"
    )


def _stated_regions(facts: Facts) -> Iterator[str]:
    spoken = facts.turns.role == ROLES.index("assistant")
    yield from _stages(facts, np.flatnonzero((facts.stated >= 0) & ~spoken), "has a region, but is not the assistant's")
    both = facts.coordinates.turn[facts.stated[facts.coordinates.turn] >= 0]
    yield from _stages(facts, np.unique(both), "has both a stated region and coordinates")
    probable = np.unique(facts.chances.turn)
    yield from _stages(facts, probable[~spoken[probable]], "has probabilities of regions, but is not the assistant's")
    yield from _stages(
        facts, probable[facts.stated[probable] >= 0], "has both a stated region and probabilities of regions"
    )
    located = np.intersect1d(probable, facts.coordinates.turn)
    yield from _stages(facts, located, "has both probabilities of regions and coordinates")


def _probabilities(facts: Facts) -> Iterator[str]:
    turn, value = facts.chances.turn, facts.chances.value
    wrong = np.unique(turn[~((value >= 0) & (value <= 1))])
    yield from _stages(facts, wrong, "has a probability of a region that is not from 0 to 1")
    total = np.bincount(turn, value)
    yield from _stages(facts, np.flatnonzero(total > 1 + PROBABILITY_SLACK), "has probabilities of more than 1 in all")


def _coordinates(facts: Facts) -> Iterator[str]:
    bad = facts.coordinates.turn[~np.isfinite(facts.coordinates.value)]
    yield from _stages(facts, bad, "has a coordinate that is not a finite number")


def _spaces(facts: Facts) -> Iterator[str]:
    named = [*facts.spaces.items(), *(item for group in facts.labellings.values() for item in group.items())]
    for name, space in named:
        if not find_model(facts.models, space.model):
            yield f'space {name} is of model "{space.model}", which is not in the trace'
    for name in labelling_names(facts):
        try:
            regions_of(facts, name)
        except TraceError as error:
            yield f"labelling {name}: {error.found}"


def _turn_labels(facts: Facts) -> Iterator[str]:
    for name, labels in facts.turn_labels.items():
        if name not in facts.labellings:
            yield f"labelling {name} says regions turn by turn, and has no space"
            continue
        known = {region for space in facts.labellings[name].values() for region in space.regions}
        for row, labelled in labels.turns.items():
            for _, part in labelled.parts:
                for region in part.regions:
                    if region not in known:
                        where = f"labelling {name}: {facts.stage_name(row)}"
                        yield f'{where} is in region "{region}", which no space of it has'
        for row, found, _ in breaches(facts, labels.turns):
            yield f"labelling {name}: {facts.stage_name(row)}: {found}"


def _times(facts: Facts) -> Iterator[str]:
    for row, detail in facts.details().items():
        if detail.time is not None:
            try:
                datetime.fromisoformat(detail.time)
            except ValueError:
                yield f"{facts.stage_name(row)} has the time {detail.time!r}, which is not ISO 8601"


def _as_a_file(facts: Facts) -> Iterator[str]:
    if not facts.models and not len(facts.conversations):
        # A recording that was cut short before anything happened.
        return
    try:
        facts_from(Source(facts.name, document_data(facts)))
    except TraceError as error:
        yield f"{error.where}: {error.found}"
    for name in facts.labellings:
        if name == STATED or name in facts.spaces:
            yield f'the labelling "{name}" has the name of one of the trace\'s own'
    for c in np.flatnonzero(facts.caches.positions < -1).tolist():
        yield f"cache {facts.caches.names[c]} took over {facts.caches.positions[c]} positions"


_OF_THE_FACTS: tuple[tuple[str, Callable[[Facts], Iterator[str]]], ...] = (
    ("branches lie on the path of their parents, and none leads back to itself", _branches),
    ("no model is its own base", _bases),
    ("every cache could have come about as recorded (semantics §3)", _links),
    ("the derivation of recorded caches is acyclic, within one model, and names its source", _derivations),
    ("every turn's recorded cache is of its model and on its server", _cache_of_turn),
    ("every entry of every recorded cache that was used has exactly one origin", _origins),
    ("connections are measured to earlier stages on the path", _connections),
    ("shared prefixes come from another conversation on the same model", _shared),
    ("regions are stated on assistant turns only, and never beside coordinates", _stated_regions),
    ("the probabilities of a turn's regions are from 0 to 1, and at most 1 in all", _probabilities),
    ("coordinates are finite", _coordinates),
    ("labelled turns are the assistant's, in regions of their labelling, and change within themselves", _turn_labels),
    ("every labelling's spaces can be placed on the trace", _spaces),
    ("times are ISO 8601", _times),
    ("as a trace file, it would be accepted", _as_a_file),
)
