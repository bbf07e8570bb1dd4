"""The tables of trace.db back into facts.

The large tables are read as a few packed integers a row: every Python object that the driver makes costs more than the arithmetic
that SQLite does to pack them (benchmarks/).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Table, select

from traces import schema
from traces.facts import Beliefs, Caches, Conversations, Coordinates, Facts, TurnDetail, Turns
from traces.vocabulary import Intervention, Model, Probe, Server, Space

_CHUNK = 20_000
_ROLE_BITS, _CACHE_BITS, _EDITED_BITS, _ID_BITS = 3, 4, 1, 27


def read_facts(connection: Connection, name: str) -> Facts:
    """All facts but the details of turns, which are read when asked for."""
    recordings = connection.execute(select(schema.recording).order_by(schema.recording.c.id)).all()
    titles = [row.title for row in recordings if row.title]
    sources = [row.source for row in recordings if row.source]
    facts = Facts(
        name=name,
        title=" + ".join(dict.fromkeys(titles)) or None,
        source=" + ".join(dict.fromkeys(sources)) or None,
        case=json.loads(recordings[0].case_json) if len(recordings) == 1 and recordings[0].case_json else None,
        models=_items(connection, schema.model, Model),
        servers=_items(connection, schema.server, Server),
        probes=_items(connection, schema.probe, Probe),
        interventions=_items(connection, schema.intervention, Intervention),
    )
    facts.spaces, facts.labellings = read_spaces(connection)
    row_of_id = _turns(connection, facts)
    facts.caches = _caches(connection)
    facts.coordinates = _coordinates(connection, row_of_id)
    facts.regions = [row for (row,) in connection.exec_driver_sql("SELECT name FROM region_name ORDER BY id")]
    facts.stated = np.full(len(facts.turns), -1, np.int32)
    stated = _packed(connection, "SELECT (turn_id << 20) | region_name_id FROM stated_region", 1)[0]
    facts.stated[row_of_id[stated >> 20]] = (stated & 0xFFFFF) - 1
    propositions = [row for (row,) in connection.exec_driver_sql("SELECT text FROM proposition ORDER BY id")]
    turn, proposition = _packed(connection, "SELECT turn_id, (proposition_id << 1) | holds FROM belief ORDER BY id", 2)
    facts.beliefs = Beliefs(
        propositions, row_of_id[turn], ((proposition >> 1) - 1).astype(np.int32), (proposition & 1).astype(np.bool_)
    )
    return facts


def read_spaces(connection: Connection) -> tuple[dict[str, Space], dict[str, dict[str, Space]]]:
    """The trace's own spaces, and the labellings added since with theirs."""
    axes: dict[int, dict[int, str]] = {}
    for row in connection.execute(select(schema.space_axis).order_by(schema.space_axis.c.id)):
        axes.setdefault(row.space_id, {})[row.id] = row.name
    regions: dict[int, dict[str, dict[str, Any]]] = {}
    owner: dict[int, tuple[int, str]] = {}
    for row in connection.execute(select(schema.region).order_by(schema.region.c.id)):
        regions.setdefault(row.space_id, {})[row.name] = {}
        owner[row.id] = (row.space_id, row.name)
    for row in connection.execute(select(schema.region_range).order_by(schema.region_range.c.id)):
        space, region = owner[row.region_id]
        regions[space][region][axes[space][row.axis_id]] = (row.low, row.high)
    own: dict[str, Space] = {}
    added: dict[str, dict[str, Space]] = {}
    joined = select(schema.space, schema.labelling.c.name.label("labelling"), schema.labelling.c.own).join(
        schema.labelling
    )
    for row in connection.execute(joined.order_by(schema.space.c.id)):
        space = Space(
            model=row.model, axes=tuple(axes.get(row.id, {}).values()), layer=row.layer, pooling=row.pooling, unit=row.unit,
            source=row.source, discrete=None if row.discrete is None else bool(row.discrete), regions=regions.get(row.id, {}),
        )  # fmt: skip
        if row.own:
            own[row.name] = space
        else:
            added.setdefault(row.labelling, {})[row.name] = space
    return own, added


def read_details(connection: Connection) -> dict[int, TurnDetail]:
    """Texts, token ids, times, sampling, interventions and per-token coordinates, by turn row."""
    row_of_id = _row_of_id(_packed(connection, "SELECT id, (conversation_id << 31) | ordinal FROM turn", 2))
    acts: dict[int, list[str]] = {}
    for turn, key in connection.exec_driver_sql(
        "SELECT a.turn_id, i.key FROM turn_intervention a JOIN intervention i ON i.id = a.intervention_id ORDER BY a.turn_id, a.ordinal"
    ):
        acts.setdefault(turn, []).append(key)
    grids = {
        turn: (tuple(json.loads(probes)), np.frombuffer(data, "<f4").reshape(-1, tokens))
        for turn, probes, tokens, data in connection.exec_driver_sql(
            "SELECT turn_id, probes_json, tokens, float32 FROM token_coordinates"
        )
    }
    plain = {
        turn: fields
        for turn, *fields in connection.exec_driver_sql(
            "SELECT turn_id, text, token_ids, token_marks, time, sampling_json FROM turn_detail"
        )
    }
    details: dict[int, TurnDetail] = {}
    for turn in sorted({*plain, *acts, *grids}):
        text, ids, marks, time, sampling = plain.get(turn, [None] * 5)
        probes, grid = grids.get(turn, ((), None))
        details[int(row_of_id[turn])] = TurnDetail(
            text=text,
            token_ids=None if ids is None else np.frombuffer(ids, "<i4"),
            token_marks=marks,
            time=time,
            sampling=None if sampling is None else json.loads(sampling),
            interventions=tuple(acts.get(turn, ())),
            token_probes=probes,
            token_coordinates=grid,
        )
    return details


def _items(connection: Connection, table: Table, kind: type[Any]) -> dict[str, Any]:
    items: dict[str, Any] = {}
    for row in connection.execute(select(table).order_by(table.c.id)):
        fields = {field: value for field, value in row._asdict().items() if field not in ("id", "key")}
        if "layers_json" in fields:
            layers = fields.pop("layers_json")
            fields["layers"] = None if layers is None else tuple(json.loads(layers))
        items[row.key] = kind(**fields)
    return items


def _packed(connection: Connection, query: str, width: int) -> NDArray[np.int64]:
    """The integer columns of a query as an array [width, rows]."""
    cursor = connection.exec_driver_sql(query).cursor
    chunks: list[NDArray[np.int64]] = []
    while rows := cursor.fetchmany(_CHUNK):
        chunks.append(np.array(rows, np.int64).T)
    return np.concatenate(chunks, axis=1) if chunks else np.empty((width, 0), np.int64)


def _row_of_id(ids_and_places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each turn id stands once turns are ordered by conversation and ordinal."""
    ids, place = ids_and_places
    row_of_id = np.full(int(ids.max(initial=0)) + 1, -1, np.int64)
    row_of_id[ids[np.argsort(place, kind="stable")]] = np.arange(len(ids))
    return row_of_id


def _turns(connection: Connection, facts: Facts) -> NDArray[np.int64]:
    names, parents, ats = _columns(
        connection, "SELECT key, coalesce(parent_id, 0) - 1, coalesce(at, 0) FROM conversation ORDER BY id", 3
    )
    # SQLite gives all bit operators one precedence, hence the parentheses.
    query = (
        "SELECT id, (conversation_id << 31) | ordinal, coalesce(tokens, -1), role"
        f" | ((coalesce(cache, -1) + 1) << {_ROLE_BITS})"
        f" | (edited << {_ROLE_BITS + _CACHE_BITS})"
        f" | (model_id << {_ROLE_BITS + _CACHE_BITS + _EDITED_BITS})"
        f" | (coalesce(server_id, 0) << {_ROLE_BITS + _CACHE_BITS + _EDITED_BITS + _ID_BITS}) FROM turn"
    )
    packed = _packed(connection, query, 4)
    row_of_id = _row_of_id(packed[:2])
    if not bool((np.diff(packed[1]) > 0).all()):
        packed = packed[:, np.argsort(packed[1], kind="stable")]
    _, place, tokens, word = packed

    def field(offset: int, bits: int) -> NDArray[np.int64]:
        return (word >> offset) & ((1 << bits) - 1)

    conversation = (place >> 31) - 1
    size = np.bincount(conversation, minlength=len(names)).astype(np.int32)
    facts.conversations = Conversations(
        names, np.array(parents, np.int32), np.array(ats, np.int32), (np.cumsum(size) - size).astype(np.int64), size
    )
    count = len(place)
    drift = np.full(count, np.nan)
    kv = np.full(count, -1, np.int32)
    shared_from = np.full(count, -1, np.int64)
    for turn, cache, measured, shared in connection.exec_driver_sql(
        "SELECT id, kv_cache_id, drift, shared_from_id FROM turn "
        "WHERE drift IS NOT NULL OR kv_cache_id IS NOT NULL OR shared_from_id IS NOT NULL"
    ):
        row = row_of_id[turn]
        if cache is not None:
            kv[row] = cache - 1
        if measured is not None:
            drift[row] = measured
        if shared is not None:
            shared_from[row] = row_of_id[shared]
    offset = _ROLE_BITS + _CACHE_BITS
    facts.turns = Turns(
        conversation=conversation.astype(np.int32),
        role=field(0, _ROLE_BITS).astype(np.int8),
        tokens=tokens.copy(),
        model=(field(offset + _EDITED_BITS, _ID_BITS) - 1).astype(np.int32),
        server=(field(offset + _EDITED_BITS + _ID_BITS, _ID_BITS) - 1).astype(np.int32),
        cache=(field(_ROLE_BITS, _CACHE_BITS) - 1).astype(np.int8),
        kv=kv,
        edited=field(offset, _EDITED_BITS).astype(np.bool_),
        drift=drift,
        shared_from=shared_from,
    )
    return row_of_id


def _columns(connection: Connection, query: str, width: int) -> list[list[Any]]:
    rows: Sequence[Any] = connection.exec_driver_sql(query).cursor.fetchall()
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]


def _caches(connection: Connection) -> Caches:
    names, model, server, source, how, positions, drift, drift_kl, time = _columns(
        connection,
        "SELECT key, model_id - 1, coalesce(server_id, 0) - 1, coalesce(source_id, 0) - 1, how, coalesce(positions, -1), "
        "drift, drift_kl, time FROM kv_cache ORDER BY id",
        9,
    )
    return Caches(
        names, np.array(model, np.int32), np.array(server, np.int32), np.array(source, np.int32), np.array(how, np.int8),
        np.array(positions, np.int64), np.array(drift, np.float64), np.array(drift_kl, np.float64), time,
    )  # fmt: skip


def _coordinates(connection: Connection, row_of_id: NDArray[np.int64]) -> Coordinates:
    cursor = connection.exec_driver_sql("SELECT (turn_id << 20) | probe_id, value FROM coordinate").cursor
    keys: list[NDArray[np.int64]] = []
    values: list[NDArray[np.float64]] = []
    while rows := cursor.fetchmany(_CHUNK):
        key, value = zip(*rows, strict=True)
        keys.append(np.array(key, np.int64))
        values.append(np.array(value, np.float64))
    if not keys:
        return Coordinates()
    key = np.concatenate(keys)
    return Coordinates(row_of_id[key >> 20], ((key & 0xFFFFF) - 1).astype(np.int32), np.concatenate(values))
