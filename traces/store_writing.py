"""Facts into the tables of trace.db, in one transaction that the caller holds.

Rows go to the driver in large batches of tuples; `NULLIF(?, -1)` turns the columns' "not recorded" into NULL.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel
from sqlalchemy import Connection, Table, insert, select

from traces import schema
from traces.errors import TraceError, quoted
from traces.facts import Facts, TurnDetail
from traces.store_reading import read_made, read_spaces
from traces.vocabulary import Intervention, LabelledTurn, Model, Probe, Server, Space

Progress = Callable[[int, int], None]
"""Called with the number of turns written so far and their total."""

_BATCH = 50_000

# Rows as tuples, -1 where a number is not recorded; SQLite stores NaN as NULL, which is what is not measured.
INSERT_CONVERSATION = (
    "INSERT INTO conversation (id, key, recording_id, parent_id, at, principal) "
    "VALUES (?, ?, ?, NULLIF(?, -1), NULLIF(?, -1), ?)"
)
INSERT_TURN = (
    "INSERT INTO turn (id, conversation_id, ordinal, role, tokens, model_id, server_id, cache, edited, kv_cache_id, "
    "drift, shared_from_id, start) VALUES (?, ?, ?, ?, NULLIF(?, -1), ?, NULLIF(?, -1), NULLIF(?, -1), ?, "
    "NULLIF(?, -1), ?, NULLIF(?, -1), NULLIF(?, -1))"
)
INSERT_COORDINATE = "INSERT INTO coordinate (turn_id, probe_id, value) VALUES (?, ?, ?)"
INSERT_STATED_REGION = "INSERT INTO stated_region (turn_id, region_name_id) VALUES (?, ?)"
INSERT_REGION_PROBABILITY = (
    "INSERT INTO region_probability (turn_id, ordinal, region_name_id, probability) VALUES (?, ?, ?, ?)"
)
INSERT_BELIEF = "INSERT INTO belief (turn_id, proposition_id, holds) VALUES (?, ?, ?)"
INSERT_DETAIL = (
    "INSERT INTO turn_detail (turn_id, text, token_ids, token_marks, time, sampling_json) VALUES (?, ?, ?, ?, ?, ?)"
)
INSERT_TURN_INTERVENTION = "INSERT INTO turn_intervention (turn_id, ordinal, intervention_id) VALUES (?, ?, ?)"
INSERT_TOKEN_COORDINATES = "INSERT INTO token_coordinates (turn_id, probes_json, tokens, float32) VALUES (?, ?, ?, ?)"
INSERT_SPAN = (
    'INSERT INTO cache_span (cache_id, start, "end", how, source_id, source_start, server_id, time, layers_json) '
    "VALUES (?, ?, ?, ?, NULLIF(?, -1), NULLIF(?, -1), NULLIF(?, -1), ?, ?)"
)
INSERT_CACHE = (
    "INSERT INTO kv_cache (id, key, model_id, server_id, source_id, how, positions, drift, drift_kl, time, drift_mean, "
    "drift_json) VALUES (?, ?, ?, NULLIF(?, -1), NULLIF(?, -1), ?, NULLIF(?, -1), ?, ?, ?, ?, ?)"
)
INSERT_LABELLED_PART = "INSERT INTO labelled_part (id, labelling_id, turn_id, token, region) VALUES (?, ?, ?, ?, ?)"
INSERT_LABELLED_PROBABILITY = (
    "INSERT INTO labelled_probability (part_id, region, ordinal, probability) VALUES (?, ?, ?, ?)"
)
INSERT_CONNECTION = "INSERT INTO connection (turn_id, from_id, mass, kl, layers) VALUES (?, ?, ?, ?, ?)"


def add_facts(connection: Connection, facts: Facts, target: str, progress: Progress | None) -> None:
    """Append facts to what a trace holds. Names mean the same thing in both; conversations and caches must be new.

    Raises `TraceError` where a name is taken, or means something else already.
    """
    recording = _next_id(connection, schema.recording)
    connection.execute(
        insert(schema.recording).values(
            id=recording, name=facts.name, title=facts.title, source=facts.source, case_json=json_or_null(facts.case)
        )
    )
    models = same_or_new(connection, schema.model, facts.models, facts.name, target)
    servers = same_or_new(connection, schema.server, facts.servers, facts.name, target)
    probes = same_or_new(connection, schema.probe, facts.probes, facts.name, target)
    same_or_new(connection, schema.intervention, facts.interventions, facts.name, target)
    conversations = _conversations(connection, facts, recording, target)
    caches = _caches(connection, facts, models, servers, target)
    _cache_spans(connection, facts, caches, servers)
    first_turn = _turns(connection, facts, conversations, models, servers, caches, progress)
    _coordinates(connection, facts, first_turn, probes)
    _stated_regions(connection, facts, first_turn)
    _beliefs(connection, facts, first_turn)
    details = facts.details()
    _connections(connection, facts, details, first_turn)
    _details(connection, details, first_turn)
    _labellings(connection, facts, target, first_turn)


def add_spaces(
    connection: Connection, name: str, spaces: Mapping[str, Space], own: bool, made: Mapping[str, Any] | None = None
) -> None:
    """Add a labelling with its spaces; `made` says how it was found."""
    labelling = _next_id(connection, schema.labelling)
    connection.execute(
        insert(schema.labelling).values(id=labelling, name=name, own=int(own), made_json=json_or_null(made))
    )
    for key, space in spaces.items():
        number = _next_id(connection, schema.space)
        fields = space.model_dump(exclude={"axes", "regions"})
        connection.execute(insert(schema.space).values(id=number, labelling_id=labelling, name=key, **fields))
        axes: dict[str, int] = {}
        for axis in space.axes:
            axes[axis] = _next_id(connection, schema.space_axis)
            connection.execute(insert(schema.space_axis).values(id=axes[axis], space_id=number, name=axis))
        for region, ranges in space.regions.items():
            region_id = _next_id(connection, schema.region)
            connection.execute(insert(schema.region).values(id=region_id, space_id=number, name=region))
            for axis, (low, high) in ranges.items():
                connection.execute(
                    insert(schema.region_range).values(region_id=region_id, axis_id=axes[axis], low=low, high=high)
                )


def add_turn_labels(connection: Connection, name: str, turns: Mapping[int, LabelledTurn]) -> None:
    """Add what a labelling that is there says turn by turn, by the ids of the turns."""
    of = select(schema.labelling.c.id).where(schema.labelling.c.name == name)
    labelling = connection.execute(of).scalar_one()
    number = _next_id(connection, schema.labelled_part)
    parts: list[tuple[int, int, int, int, str | None]] = []
    chances: list[tuple[int, str, int, float]] = []
    for turn, labelled in turns.items():
        for token, part in labelled.parts:
            parts.append((number, labelling, turn, token, part.region))
            chances += [(number, key, place, value) for place, (key, value) in enumerate(part.probabilities.items())]
            number += 1
    if parts:
        connection.exec_driver_sql(INSERT_LABELLED_PART, parts)
    if chances:
        connection.exec_driver_sql(INSERT_LABELLED_PROBABILITY, chances)


def _next_id(connection: Connection, table: Table) -> int:
    return int(connection.exec_driver_sql(f"SELECT coalesce(max(rowid), 0) + 1 FROM {table.name}").scalar_one())


def json_or_null(value: Any) -> str | None:
    """A value as JSON text, None as it is."""
    return None if value is None else json.dumps(value, ensure_ascii=False)


def _row(item: BaseModel) -> dict[str, Any]:
    row = item.model_dump()
    if isinstance(item, Intervention):
        layers = row.pop("layers")
        row["layers_json"] = json_or_null(None if layers is None else list(layers))
    return row


def same_or_new(
    connection: Connection,
    table: Table,
    items: Mapping[str, Model] | Mapping[str, Server] | Mapping[str, Probe] | Mapping[str, Intervention],
    name: str,
    target: str,
    instead: str = "--prefix to put each file's name before its own names",
) -> list[int]:
    """The ids of named things: those that stand in the table already with the same fields, and new ones.

    Raises `TraceError` where a name stands for something else.
    """
    kind = table.name
    known = {row.key: row._asdict() for row in connection.execute(select(table))}
    next_id = _next_id(connection, table)
    ids: list[int] = []
    new: list[dict[str, Any]] = []
    for key, item in items.items():
        row = _row(item)
        if key in known:
            stored = {field: value for field, value in known[key].items() if field not in ("id", "key")}
            if stored != row:
                differing = next(field for field in row if row[field] != stored[field])
                raise TraceError(
                    f"{name}: {kind} {key}",
                    f"its {differing} is {quoted(row[differing])}, but {target} has a {kind} of that name "
                    f"with {quoted(stored[differing])}",
                    f"the same thing under the same name, or {instead}",
                )
            ids.append(known[key]["id"])
        else:
            ids.append(next_id + len(new))
            new.append({"id": ids[-1], "key": key, **row})
    if new:
        connection.execute(insert(table), new)
    return ids


def _insert(connection: Connection, statement: str, columns: Sequence[Iterable[Any]]) -> None:
    rows = list(zip(*columns, strict=True))
    if rows:
        connection.exec_driver_sql(statement, rows)


def _translated(ids: Sequence[int], codes: NDArray[Any]) -> NDArray[np.int64]:
    """Positions in a list of names as ids of rows; -1 stays -1."""
    translated: NDArray[np.int64] = np.array([*ids, -1], np.int64)[codes]
    return translated


def _refuse_taken(connection: Connection, table: Table, names: Sequence[str], facts: Facts, target: str) -> None:
    taken = set(connection.execute(select(table.c.key)).scalars())
    for name in names:
        if name in taken:
            kind = table.name.replace("_", " ")
            raise TraceError(
                f"{facts.name}: {kind} {name}",
                f"{target} already has a {kind} of that name",
                "names that are free, or --prefix to put each file's name before its own names",
            )


def _conversations(connection: Connection, facts: Facts, recording: int, target: str) -> list[int]:
    table = facts.conversations
    _refuse_taken(connection, schema.conversation, table.names, facts, target)
    first = _next_id(connection, schema.conversation)
    ids = list(range(first, first + len(table)))
    parent = _translated(ids, table.parent)
    principals = [*facts.principals, None]
    # A branch may stand before its parent in the record, so the references are checked when all are there.
    connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
    _insert(
        connection,
        INSERT_CONVERSATION,
        (
            ids, table.names, [recording] * len(ids), parent.tolist(), np.where(parent < 0, -1, table.at).tolist(),
            [principals[code] for code in table.principal.tolist()],
        ),
    )  # fmt: skip
    return ids


def _caches(connection: Connection, facts: Facts, models: list[int], servers: list[int], target: str) -> list[int]:
    caches = facts.caches
    _refuse_taken(connection, schema.kv_cache, caches.names, facts, target)
    first = _next_id(connection, schema.kv_cache)
    ids = list(range(first, first + len(caches)))
    _insert(
        connection,
        INSERT_CACHE,
        (
            ids, caches.names, _translated(models, caches.model).tolist(), _translated(servers, caches.server).tolist(),
            _translated(ids, caches.source).tolist(), caches.how.tolist(), caches.positions.tolist(),
            caches.drift.tolist(), caches.drift_kl.tolist(), caches.time, caches.drift_mean.tolist(),
            map(json_or_null, caches.drift_layers),
        ),
    )  # fmt: skip
    return ids


def _cache_spans(connection: Connection, facts: Facts, caches: list[int], servers: list[int]) -> None:
    spans = facts.cache_spans()
    layers = [None if of is None else list(of) for of in spans.layers]
    _insert(
        connection,
        INSERT_SPAN,
        (
            _translated(caches, spans.cache).tolist(), spans.start.tolist(), spans.end.tolist(), spans.how.tolist(),
            _translated(caches, spans.source).tolist(), spans.source_start.tolist(),
            _translated(servers, spans.server).tolist(), spans.time, map(json_or_null, layers),
        ),
    )  # fmt: skip


def _connections(connection: Connection, facts: Facts, details: Mapping[int, TurnDetail], first_turn: int) -> None:
    table = facts.connections
    turns, sources = table.turn.tolist(), table.source.tolist()
    nothing = TurnDetail()
    masses = (details.get(t, nothing).connection_layers.get(s) for t, s in zip(turns, sources, strict=True))
    _insert(
        connection,
        INSERT_CONNECTION,
        (
            (table.turn + first_turn).tolist(), (table.source + first_turn).tolist(), table.mass.tolist(),
            table.kl.tolist(), (None if of is None else np.ascontiguousarray(of, "<f4").tobytes() for of in masses),
        ),
    )  # fmt: skip


def _turns(
    connection: Connection,
    facts: Facts,
    conversations: list[int],
    models: list[int],
    servers: list[int],
    caches: list[int],
    progress: Progress | None,
) -> int:
    turns = facts.turns
    first = _next_id(connection, schema.turn)
    total = len(turns)
    ordinal = np.arange(total) - facts.conversations.first[turns.conversation]
    columns = (
        np.arange(first, first + total), _translated(conversations, turns.conversation), ordinal, turns.role,
        turns.tokens,
        _translated(models, turns.model), _translated(servers, turns.server), turns.cache, turns.edited.astype(np.int8),
        _translated(caches, turns.kv), turns.drift, np.where(turns.shared_from < 0, -1, turns.shared_from + first),
        turns.start,
    )  # fmt: skip
    for start in range(0, total, _BATCH):
        _insert(connection, INSERT_TURN, [column[start : start + _BATCH].tolist() for column in columns])
        if progress is not None:
            progress(min(start + _BATCH, total), total)
    return first


def _coordinates(connection: Connection, facts: Facts, first_turn: int, probes: list[int]) -> None:
    table = facts.coordinates
    turn, probe = table.turn + first_turn, _translated(probes, table.probe)
    for start in range(0, len(turn), _BATCH):
        cut = slice(start, start + _BATCH)
        _insert(
            connection,
            INSERT_COORDINATE,
            (turn[cut].tolist(), probe[cut].tolist(), table.value[cut].tolist()),
        )


def name_ids(connection: Connection, table: Table, column: str, names: Sequence[str]) -> list[int]:
    """Ids of names in a table that holds nothing else; new ones are added."""
    known = {row[0]: row[1] for row in connection.execute(select(table.c[column], table.c.id))}
    next_id = _next_id(connection, table)
    new = [name for name in names if name not in known]
    known |= {name: next_id + i for i, name in enumerate(new)}
    if new:
        connection.execute(insert(table), [{"id": known[name], column: name} for name in new])
    return [known[name] for name in names]


def _stated_regions(connection: Connection, facts: Facts, first_turn: int) -> None:
    ids = name_ids(connection, schema.region_name, "name", facts.regions)
    _region_probabilities(connection, facts, first_turn, ids)
    rows = np.flatnonzero(facts.stated >= 0)
    region = _translated(ids, facts.stated)[rows]
    for start in range(0, len(rows), _BATCH):
        cut = slice(start, start + _BATCH)
        _insert(
            connection,
            INSERT_STATED_REGION,
            ((rows[cut] + first_turn).tolist(), region[cut].tolist()),
        )


def _region_probabilities(connection: Connection, facts: Facts, first_turn: int, regions: list[int]) -> None:
    chances = facts.chances
    by_turn = np.argsort(chances.turn, kind="stable")
    turn, region = chances.turn[by_turn], _translated(regions, chances.region)[by_turn]
    ordinal = np.arange(len(turn)) - np.searchsorted(turn, turn)
    for start in range(0, len(turn), _BATCH):
        cut = slice(start, start + _BATCH)
        _insert(
            connection,
            INSERT_REGION_PROBABILITY,
            (
                (turn[cut] + first_turn).tolist(), ordinal[cut].tolist(), region[cut].tolist(),
                chances.value[by_turn[cut]].tolist(),
            ),
        )  # fmt: skip


def _beliefs(connection: Connection, facts: Facts, first_turn: int) -> None:
    beliefs = facts.beliefs
    ids = name_ids(connection, schema.proposition, "text", beliefs.propositions)
    _insert(
        connection,
        INSERT_BELIEF,
        (
            (beliefs.turn + first_turn).tolist(),
            _translated(ids, beliefs.proposition).tolist(),
            beliefs.holds.astype(np.int8).tolist(),
        ),
    )


def _details(
    connection: Connection,
    details: Mapping[int, TurnDetail],
    first_turn: int,
) -> None:
    if not details:
        return
    named = select(schema.intervention.c.key, schema.intervention.c.id)
    intervention_ids = {row[0]: row[1] for row in connection.execute(named)}
    plain: list[tuple[Any, ...]] = []
    acts: list[tuple[int, int, int]] = []
    grids: list[tuple[int, str, int, bytes]] = []
    for row, detail in details.items():
        turn = row + first_turn
        ids = None if detail.token_ids is None else np.ascontiguousarray(detail.token_ids, "<i4").tobytes()
        fields = (detail.text, ids, detail.token_marks, detail.time, json_or_null(detail.sampling))
        if any(field is not None for field in fields):
            plain.append((turn, *fields))
        acts += [(turn, place, intervention_ids[name]) for place, name in enumerate(detail.interventions)]
        if detail.token_coordinates is not None:
            grid = np.ascontiguousarray(detail.token_coordinates, "<f4")
            grids.append(
                (turn, json.dumps(list(detail.token_probes), ensure_ascii=False), grid.shape[1], grid.tobytes())
            )
    for statement, rows in (
        (INSERT_DETAIL, plain),
        (INSERT_TURN_INTERVENTION, acts),
        (INSERT_TOKEN_COORDINATES, grids),
    ):
        if rows:
            connection.exec_driver_sql(statement, rows)


def _labellings(connection: Connection, facts: Facts, target: str, first_turn: int) -> None:
    own, added = read_spaces(connection)
    made_of = read_made(connection)
    for name, spaces, is_own in (
        *((name, {name: space}, True) for name, space in facts.spaces.items()),
        *((name, spaces, False) for name, spaces in facts.labellings.items()),
    ):
        labels = None if is_own else facts.turn_labels.get(name)
        made = None if labels is None else labels.made
        stored = ({name: own[name]} if name in own else None) if is_own else added.get(name)
        if stored is None and name not in own and name not in added:
            add_spaces(connection, name, spaces, is_own, made)
        elif stored != spaces or made_of.get(name) != made:
            raise TraceError(
                f"{facts.name}: space {name}",
                f"{target} has another space of that name",
                "the same axes and ranges; or count the files together without importing them into one trace",
            )
        if labels is not None:
            turns = {first_turn + row: labelled for row, labelled in labels.turns.items()}
            add_turn_labels(connection, name, turns)
