"""The tables of trace.db back into facts.

The large tables are read as columns: SQLite joins the integers of a column to one text that numpy parses, which takes
less than the driver's making a Python object of each (benchmarks/). Only real numbers, which no text of SQLite's gives
exactly, come one by one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Table, select

from traces import schema
from traces.facts import (
    Beliefs,
    Caches,
    CacheSpans,
    Chances,
    Connections,
    Conversations,
    Coordinates,
    Facts,
    TurnDetail,
    TurnLabels,
    Turns,
    numbered,
)
from traces.vocabulary import DERIVATIONS, Change, Intervention, LabelledTurn, Model, Probe, Server, Space

_CHUNK = 50_000


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
        models=read_items(connection, schema.model, Model),
        servers=read_items(connection, schema.server, Server),
        probes=read_items(connection, schema.probe, Probe),
        interventions=read_items(connection, schema.intervention, Intervention),
    )
    facts.spaces, facts.labellings = read_spaces(connection)
    version = schema.stored_version(connection)
    row_of_id = _turns(connection, facts, version)
    facts.turn_labels = _turn_labels(connection, row_of_id)
    facts.caches = _caches(connection, version)
    facts.coordinates = _coordinates(connection, row_of_id)
    facts.regions = [row for (row,) in connection.exec_driver_sql("SELECT name FROM region_name ORDER BY id")]
    facts.stated = np.full(len(facts.turns), -1, np.int32)
    stated_turn, stated_region = _integers(connection, schema.stated_region, ["turn_id"], ["region_name_id"])
    facts.stated[row_of_id[stated_turn]] = stated_region - 1
    if schema.has(version, schema.region_probability):
        facts.chances = _chances(connection, row_of_id)
    if schema.has(version, schema.connection):
        facts.connections = _connections(connection, row_of_id)
    propositions = [row for (row,) in connection.exec_driver_sql("SELECT text FROM proposition ORDER BY id")]
    _, turn, proposition, holds = _integers(connection, schema.belief, ["id"], ["turn_id", "proposition_id", "holds"])
    facts.beliefs = Beliefs(propositions, row_of_id[turn], (proposition - 1).astype(np.int32), holds.astype(np.bool_))
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
        number, region = owner[row.region_id]
        regions[number][region][axes[number][row.axis_id]] = (row.low, row.high)
    own: dict[str, Space] = {}
    added: dict[str, dict[str, Space]] = {}
    joined = select(schema.space, schema.labelling.c.name.label("labelling"), schema.labelling.c.own).join(
        schema.labelling
    )
    for row in connection.execute(joined.order_by(schema.space.c.id)):
        space = Space(
            model=row.model,
            axes=tuple(axes.get(row.id, {}).values()),
            layer=row.layer,
            pooling=row.pooling,
            unit=row.unit,
            source=row.source,
            discrete=None if row.discrete is None else bool(row.discrete),
            regions=regions.get(row.id, {}),
        )
        if row.own:
            own[row.name] = space
        else:
            added.setdefault(row.labelling, {})[row.name] = space
    return own, added


def read_made(connection: Connection) -> dict[str, Mapping[str, Any]]:
    """How labellings were found, where they say it."""
    if not schema.has(schema.stored_version(connection), schema.labelling.c.made_json):
        return {}
    query = "SELECT name, made_json FROM labelling WHERE made_json IS NOT NULL"
    return {name: json.loads(text) for name, text in connection.exec_driver_sql(query)}


def _turn_labels(connection: Connection, row_of_id: NDArray[np.int64]) -> dict[str, TurnLabels]:
    """What labellings say turn by turn."""
    if not schema.has(schema.stored_version(connection), schema.labelled_part):
        return {}
    chances: dict[int, dict[str, float]] = {}
    query = "SELECT part_id, region, probability FROM labelled_probability ORDER BY part_id, ordinal"
    for part, region, value in connection.exec_driver_sql(query):
        chances.setdefault(part, {})[region] = value
    found: dict[str, dict[int, list[tuple[int, str | None, dict[str, float]]]]] = {}
    query = (
        "SELECT l.name, p.turn_id, p.token, p.region, p.id FROM labelled_part p JOIN labelling l "
        "ON l.id = p.labelling_id ORDER BY l.id, p.turn_id, p.token"
    )
    for name, turn, token, region, part in connection.exec_driver_sql(query):
        parts = found.setdefault(name, {}).setdefault(int(row_of_id[turn]), [])
        parts.append((token, region, chances.get(part, {})))
    made = read_made(connection)
    return {
        name: TurnLabels({row: _labelled(parts) for row, parts in sorted(turns.items())}, made.get(name))
        for name, turns in found.items()
    }


def _labelled(parts: Sequence[tuple[int, str | None, dict[str, float]]]) -> LabelledTurn:
    (token, region, chances), *later = parts
    if token:
        raise ValueError("the first part of a labelled turn is missing")
    changes = tuple(Change(at=at, region=name, probabilities=of) for at, name, of in later)
    return LabelledTurn(region=region, probabilities=chances, changes=changes)


def read_details(connection: Connection) -> dict[int, TurnDetail]:
    """Texts, token ids, times, sampling, interventions and per-token coordinates, by turn row."""
    row_of_id = _row_of_id(*_integers(connection, schema.turn, ["id"], ["conversation_id", "ordinal"]))
    acts: dict[int, list[str]] = {}
    for turn, key in connection.exec_driver_sql(
        "SELECT a.turn_id, i.key FROM turn_intervention a JOIN intervention i ON i.id = a.intervention_id "
        "ORDER BY a.turn_id, a.ordinal"
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
    masses: dict[int, dict[int, NDArray[np.float32]]] = {}
    if schema.has(schema.stored_version(connection), schema.connection):
        for turn, origin, data in connection.exec_driver_sql(
            "SELECT turn_id, from_id, layers FROM connection WHERE layers IS NOT NULL"
        ):
            masses.setdefault(turn, {})[int(row_of_id[origin])] = np.frombuffer(data, "<f4")
    details: dict[int, TurnDetail] = {}
    for turn in sorted({*plain, *acts, *grids, *masses}):
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
            connection_layers=masses.get(turn, {}),
        )
    return details


def read_cache_spans(connection: Connection, facts: Facts) -> CacheSpans:
    """Where the entries of recorded caches came from. Raises `ValueError` where a span refers to nothing."""
    if not schema.has(schema.stored_version(connection), schema.cache_span):
        return CacheSpans()
    cache, start, end, how, source, source_start, server = _integers(
        connection, schema.cache_span, ["cache_id", "start"], ["end", "how", "source_id", "source_start", "server_id"]
    )
    rows = connection.exec_driver_sql("SELECT time, layers_json FROM cache_span ORDER BY cache_id, start").fetchall()
    for codes, least, number in (
        (cache, 1, len(facts.caches)), (source, -1, len(facts.caches)), (server, -1, len(facts.servers)),
        (how, 0, len(DERIVATIONS) - 1),
    ):  # fmt: skip
        if len(codes) and not (least <= int(codes.min()) and int(codes.max()) <= number):
            raise ValueError("a code stands for nothing")
    return CacheSpans(
        cache=(cache - 1).astype(np.int32), start=start, end=end, how=how.astype(np.int8),
        source=(np.maximum(source, 0) - 1).astype(np.int32), source_start=source_start,
        server=(np.maximum(server, 0) - 1).astype(np.int32),
        time=[time for time, _ in rows],
        layers=[None if layers is None else tuple(json.loads(layers)) for _, layers in rows],
    )  # fmt: skip


def read_items(connection: Connection, table: Table, kind: type[Any]) -> dict[str, Any]:
    """Named things of one kind by their keys, in the order of their ids."""
    items: dict[str, Any] = {}
    for row in connection.execute(select(table).order_by(table.c.id)):
        fields = {field: value for field, value in row._asdict().items() if field not in ("id", "key")}
        if "layers_json" in fields:
            layers = fields.pop("layers_json")
            fields["layers"] = None if layers is None else tuple(json.loads(layers))
        items[row.key] = kind(**fields)
    return items


def _integers(connection: Connection, table: Table, keys: list[str], columns: Sequence[str] = ()) -> NDArray[np.int64]:
    """The columns of a table's key and others, in the order of the key: an array [columns, rows], -1 for NULL."""
    names, order = [*keys, *columns], ", ".join(keys)
    query = (
        f"SELECT {', '.join(f'group_concat(coalesce({name}, -1))' for name in names)} FROM (SELECT {', '.join(names)} "
        f"FROM {table.name} WHERE ({order}) > ({', '.join('?' for _ in keys)}) ORDER BY {order} LIMIT {_CHUNK})"
    )
    chunks = [np.empty((len(names), 0), np.int64)]
    last = [-1] * len(keys)
    while (texts := connection.exec_driver_sql(query, tuple(last)).one())[0] is not None:
        chunks.append(np.array([np.fromstring(text, np.int64, sep=",") for text in texts]))
        last = chunks[-1][: len(keys), -1].tolist()
    return np.concatenate(chunks, axis=1)


def _row_of_id(
    ids: NDArray[np.int64], conversation: NDArray[np.int64], ordinal: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Where each turn id stands once turns are ordered by conversation and ordinal."""
    if int(ids.max(initial=0)) != len(ids) or int(ids.min(initial=1)) < 1:
        raise ValueError("turns are missing")
    row_of_id = np.full(len(ids) + 1, -1, np.int64)
    row_of_id[ids[np.lexsort((ordinal, conversation))]] = np.arange(len(ids))
    return row_of_id


def _turns(connection: Connection, facts: Facts, version: int) -> NDArray[np.int64]:
    principal = "principal" if schema.has(version, schema.conversation.c.principal) else "NULL"
    names, parents, ats, principals = _columns(
        connection, f"SELECT key, coalesce(parent_id, 0) - 1, coalesce(at, 0), {principal} FROM conversation "
        "ORDER BY id", 4,
    )  # fmt: skip
    columns = _integers(
        connection, schema.turn, ["id"],
        ["conversation_id", "ordinal", "role", "tokens", "model_id", "server_id", "cache", "edited"],
    )  # fmt: skip
    row_of_id = _row_of_id(*columns[:3])
    if bool((np.diff(row_of_id[columns[0]]) < 0).any()):
        columns = columns[:, np.argsort(row_of_id[columns[0]])]
    _, conversation_id, _, role, tokens, model_id, server_id, cache, edited = columns
    if int(conversation_id.max(initial=0)) > len(names) or int(conversation_id.min(initial=1)) < 1:
        raise ValueError("conversations are missing")
    conversation = (conversation_id - 1).astype(np.int32)
    size = np.bincount(conversation, minlength=len(names)).astype(np.int32)
    acting, facts.principals = numbered(principals)
    facts.conversations = Conversations(
        names, np.array(parents, np.int32), np.array(ats, np.int32), (np.cumsum(size) - size).astype(np.int64), size,
        acting,
    )  # fmt: skip
    count = len(conversation)
    placed = "count(start)" if schema.has(version, schema.turn.c.start) else "0"
    caches, drifts, shares, starts = connection.exec_driver_sql(
        f"SELECT count(kv_cache_id), count(drift), count(shared_from_id), {placed} FROM turn"
    ).one()
    kv = np.full(count, -1, np.int32)
    if caches:
        ids, cache_id = _integers(connection, schema.turn, ["id"], ["kv_cache_id"])
        kv[row_of_id[ids]] = np.maximum(cache_id, 0) - 1
    shared_from = np.full(count, -1, np.int64)
    if shares:
        ids, origin = _integers(connection, schema.turn, ["id"], ["shared_from_id"])
        shared_from[row_of_id[ids]] = np.where(origin < 0, -1, row_of_id[origin])
    start = np.full(count, -1, np.int64)
    if starts:
        ids, position = _integers(connection, schema.turn, ["id"], ["start"])
        start[row_of_id[ids]] = position
    drift = np.full(count, np.nan)
    if drifts:
        query = "SELECT id, drift FROM turn WHERE drift IS NOT NULL"
        ids, measured = _columns(connection, query, 2)
        drift[row_of_id[np.array(ids)]] = measured
    facts.turns = Turns(
        conversation=conversation,
        role=role.astype(np.int8),
        tokens=tokens.copy(),
        model=(model_id - 1).astype(np.int32),
        server=(np.maximum(server_id, 0) - 1).astype(np.int32),
        cache=cache.astype(np.int8),
        kv=kv,
        edited=edited.astype(np.bool_),
        drift=drift,
        shared_from=shared_from,
        start=start,
    )
    return row_of_id


def _columns(connection: Connection, query: str, width: int) -> list[list[Any]]:
    rows: Sequence[Any] = connection.exec_driver_sql(query).cursor.fetchall()
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]


def _caches(connection: Connection, version: int) -> Caches:
    since_3 = "drift_mean, drift_json" if schema.has(version, schema.kv_cache.c.drift_mean) else "NULL, NULL"
    names, model, server, source, how, positions, drift, drift_kl, time, drift_mean, drift_layers = _columns(
        connection,
        "SELECT key, model_id - 1, coalesce(server_id, 0) - 1, coalesce(source_id, 0) - 1, how, "
        f"coalesce(positions, -1), drift, drift_kl, time, {since_3} FROM kv_cache ORDER BY id",
        11,
    )
    return Caches(
        names,
        np.array(model, np.int32), np.array(server, np.int32), np.array(source, np.int32), np.array(how, np.int8),
        np.array(positions, np.int64), np.array(drift, np.float64), np.array(drift_kl, np.float64), time,
        np.array(drift_mean, np.float64), [None if text is None else json.loads(text) for text in drift_layers],
    )  # fmt: skip


def _coordinates(connection: Connection, row_of_id: NDArray[np.int64]) -> Coordinates:
    turn, probe = _integers(connection, schema.coordinate, ["turn_id", "probe_id"])
    value = _reals(connection, "SELECT value FROM coordinate ORDER BY turn_id, probe_id", len(turn))
    row, probe = row_of_id[turn], (probe - 1).astype(np.int32)
    if bool((np.diff(row) < 0).any()):
        # Conversations that were recorded at the same time; a file has them one after the other.
        order = np.argsort(row, kind="stable")
        row, probe, value = row[order], probe[order], value[order]
    return Coordinates(row, probe, value)


def _connections(connection: Connection, row_of_id: NDArray[np.int64]) -> Connections:
    turn, source = _integers(connection, schema.connection, ["turn_id", "from_id"])
    if not len(turn):
        return Connections()
    rows = connection.exec_driver_sql("SELECT mass, kl FROM connection ORDER BY turn_id, from_id").cursor.fetchall()
    mass, kl = np.array(rows, np.float64).T
    order = np.lexsort((row_of_id[source], row_of_id[turn]))
    return Connections(row_of_id[turn][order], row_of_id[source][order], mass[order], kl[order])


def _chances(connection: Connection, row_of_id: NDArray[np.int64]) -> Chances:
    turn, _, region = _integers(connection, schema.region_probability, ["turn_id", "ordinal"], ["region_name_id"])
    query = "SELECT probability FROM region_probability ORDER BY turn_id, ordinal"
    return Chances(row_of_id[turn], (region - 1).astype(np.int32), _reals(connection, query, len(turn)))


def _reals(connection: Connection, query: str, count: int) -> NDArray[np.float64]:
    cursor: Any = connection.exec_driver_sql(query).cursor
    return np.fromiter(chain.from_iterable(cursor), np.float64, count=count)
