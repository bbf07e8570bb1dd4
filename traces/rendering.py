"""Facts as the data of a trace file: what a person would have written, with nothing lost."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import BaseModel

from traces.facts import CacheSpans, Facts, TurnDetail
from traces.paths import turn_on_path
from traces.vocabulary import CACHES, DERIVATIONS, FORMAT_VERSION, ROLES, Probe


def document_data(facts: Facts) -> dict[str, Any]:
    """The trace file's data for facts: a mapping that reads back to the same facts.

    What carries over from the turn before is left out, as a person would.
    """
    data: dict[str, Any] = {"individuation": FORMAT_VERSION}
    for key in ("title", "source", "case"):
        if getattr(facts, key) is not None:
            data[key] = getattr(facts, key)
    data["models"] = _dumped(facts.models)
    if facts.servers:
        servers = _dumped(facts.servers)
        data["servers"] = servers if any(servers.values()) else list(servers)
    if facts.spaces:
        data["spaces"] = _dumped(facts.spaces)
    if facts.labellings:
        data["labellings"] = {name: _labelling(facts, name) for name in facts.labellings}
    # A probe that says no more than its own name is implied by the coordinate that bears it.
    probes = {
        name: probe for name, probe in facts.probes.items() if probe != Probe(axis=name) or _undeclarable(facts, name)
    }
    if probes:
        data["probes"] = _dumped(probes)
    if facts.interventions:
        data["interventions"] = _dumped(facts.interventions)
    if facts.caches.names:
        data["caches"] = _cache_data(facts)
    data["conversations"] = _conversation_data(facts)
    return data


def _undeclarable(facts: Facts, axis: str) -> bool:
    """Whether a bare probe must be declared, because no space has it as an axis or only single tokens bear it."""
    spaces = [*facts.spaces.values(), *(space for group in facts.labellings.values() for space in group.values())]
    bare = bool(spaces) and not all(axis in space.axes for space in spaces)
    number = list(facts.probes).index(axis)
    return bare or number not in facts.coordinates.probe


def _labelling(facts: Facts, name: str) -> dict[str, Any]:
    data: dict[str, Any] = {"spaces": _dumped(facts.labellings[name])}
    if name in facts.turn_labels:
        labels = facts.turn_labels[name]
        data["turns"] = _dumped({facts.stage_name(row): labelled for row, labelled in labels.turns.items()})
        if labels.made is not None:
            data["made"] = _plain(labels.made)
    return data


def _dumped(items: Mapping[str, BaseModel]) -> dict[str, Any]:
    return {name: _plain(item.model_dump(exclude_defaults=True)) for name, item in items.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value


def _cache_data(facts: Facts) -> dict[str, Any]:
    caches, models, servers = facts.caches, list(facts.models), list(facts.servers)
    data: dict[str, Any] = {}
    for i, name in enumerate(caches.names):
        entry: dict[str, Any] = {"model": models[caches.model[i]]}
        if caches.server[i] >= 0:
            entry["server"] = servers[caches.server[i]]
        if caches.source[i] >= 0:
            entry["from"] = caches.names[caches.source[i]]
        entry["how"] = DERIVATIONS[caches.how[i]]
        if caches.positions[i] >= 0:
            entry["positions"] = int(caches.positions[i])
        for field in ("drift", "drift_mean", "drift_kl"):
            value = float(getattr(caches, field)[i])
            if not math.isnan(value):
                entry[field] = value
        if (measured := caches.drift_layers[i]) is not None:
            entry["drift_layers"] = dict(measured)
        if caches.time[i] is not None:
            entry["time"] = caches.time[i]
        data[name] = entry
    spans = facts.cache_spans()
    for i, cache in enumerate(spans.cache.tolist()):
        data[caches.names[cache]].setdefault("spans", []).append(_span_data(facts, spans, i))
    return data


def _span_data(facts: Facts, spans: CacheSpans, i: int) -> dict[str, Any]:
    span: dict[str, Any] = {"start": int(spans.start[i]), "end": int(spans.end[i]), "how": DERIVATIONS[spans.how[i]]}
    if spans.source[i] >= 0:
        span["from"] = facts.caches.names[spans.source[i]]
    if spans.source_start[i] >= 0:
        span["from_start"] = int(spans.source_start[i])
    if spans.server[i] >= 0:
        span["server"] = list(facts.servers)[spans.server[i]]
    if (time := spans.time[i]) is not None:
        span["time"] = time
    if (layers := spans.layers[i]) is not None:
        span["layers"] = list(layers)
    return span


def _conversation_data(facts: Facts) -> dict[str, Any]:
    table, turns = facts.conversations, facts.turns
    models, servers, probes = list(facts.models), list(facts.servers), list(facts.probes)
    details = facts.details()
    at: dict[int, dict[str, float]] = {}
    for row, probe, value in zip(
        facts.coordinates.turn.tolist(), facts.coordinates.probe.tolist(), facts.coordinates.value.tolist(), strict=True
    ):
        at.setdefault(row, {})[probes[probe]] = value
    believes: dict[int, list[str]] = {}
    beliefs = facts.beliefs
    for row, proposition, holds in zip(
        beliefs.turn.tolist(), beliefs.proposition.tolist(), beliefs.holds.tolist(), strict=True
    ):
        text = beliefs.propositions[proposition]
        believes.setdefault(row, []).append(text if holds else f"not {text}")
    probable: dict[int, dict[str, float]] = {}
    chances = facts.chances
    for row, region, probability in zip(
        chances.turn.tolist(), chances.region.tolist(), chances.value.tolist(), strict=True
    ):
        probable.setdefault(row, {})[facts.regions[region]] = probability
    measured = _connection_data(facts, details)
    data: dict[str, Any] = {}
    for c, name in enumerate(table.names):
        entry: dict[str, Any] = {}
        if table.parent[c] >= 0:
            entry |= {"parent": table.names[table.parent[c]], "at": int(table.at[c])}
        inherited = table.principal[table.parent[c]] if table.parent[c] >= 0 else -1
        if table.principal[c] != inherited:
            entry["principal"] = None if table.principal[c] < 0 else facts.principals[table.principal[c]]
        before = turn_on_path(table, int(table.parent[c]), int(table.at[c]) - 1)
        model, server = (-1, -1) if before < 0 else (int(turns.model[before]), int(turns.server[before]))
        rows: list[dict[str, Any]] = []
        for row in range(int(table.first[c]), int(table.first[c]) + int(table.size[c])):
            turn: dict[str, Any] = {"role": ROLES[turns.role[row]]}
            turn["tokens"] = None if turns.tokens[row] < 0 else int(turns.tokens[row])
            if turns.model[row] != model:
                model = int(turns.model[row])
                turn["model"] = models[model]
            if turns.server[row] != server:
                server = int(turns.server[row])
                turn["server"] = None if server < 0 else servers[server]
            if turns.cache[row] >= 0:
                turn["cache"] = CACHES[turns.cache[row]]
            if turns.kv[row] >= 0:
                turn["kv"] = facts.caches.names[turns.kv[row]]
            if turns.start[row] >= 0:
                turn["start"] = int(turns.start[row])
            if turns.edited[row]:
                turn["edited"] = True
            if not math.isnan(turns.drift[row]):
                turn["drift"] = float(turns.drift[row])
            if turns.shared_from[row] >= 0:
                turn["shared_from"] = facts.stage_name(int(turns.shared_from[row]))
            if row in at:
                turn["at"] = at[row]
            if facts.stated[row] >= 0:
                turn["region"] = facts.regions[facts.stated[row]]
            if row in probable:
                turn["region_probabilities"] = probable[row]
            if row in believes:
                turn["believes"] = believes[row]
            if row in details:
                turn |= _detail_data(details[row])
            if row in measured:
                turn["connections"] = measured[row]
            rows.append(turn)
        data[name] = entry | {"turns": rows}
    return data


def _connection_data(facts: Facts, details: Mapping[int, TurnDetail]) -> dict[int, dict[str, dict[str, Any]]]:
    data: dict[int, dict[str, dict[str, Any]]] = {}
    table, nothing = facts.connections, TurnDetail()
    for row, origin, mass, kl in zip(
        table.turn.tolist(), table.source.tolist(), table.mass.tolist(), table.kl.tolist(), strict=True
    ):
        entry: dict[str, Any] = {name: value for name, value in (("mass", mass), ("kl", kl)) if not math.isnan(value)}
        layers = details.get(row, nothing).connection_layers.get(origin)
        if layers is not None:
            # The shortest numbers that stand for the same 32 bits.
            entry["mass_by_layer"] = [float(str(value)) for value in layers]
        data.setdefault(row, {})[facts.stage_name(origin)] = entry
    return data


def _detail_data(detail: TurnDetail) -> dict[str, Any]:
    data: dict[str, Any] = {}
    if detail.interventions:
        data["interventions"] = list(detail.interventions)
    if detail.time is not None:
        data["time"] = detail.time
    if detail.sampling is not None:
        data["sampling"] = dict(detail.sampling)
    if detail.text is not None:
        data["text"] = detail.text
    if detail.token_ids is not None:
        data["token_ids"] = detail.token_ids.tolist()
    if detail.token_marks is not None:
        data["token_marks"] = detail.token_marks
    if detail.token_coordinates is not None:
        packed = base64.b64encode(np.ascontiguousarray(detail.token_coordinates, "<f4").tobytes()).decode()
        data["at_tokens"] = {"probes": list(detail.token_probes), "float32": packed}
    return data
