"""What a recording holds, as data: for `individuate info`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePath
from typing import Any

import numpy as np

from individuation.cache_history import cache_history
from traces.facts import Facts
from traces.labelling import labelling_names, regions_of
from traces.stages import LINKS, StageTable
from traces.vocabulary import DERIVATIONS, ROLES


def contents(facts: Facts) -> dict[str, Any]:
    """Counts and ranges of everything a recording holds; sections that are empty say so by being empty."""
    # As recorded: a labelling may see several stages in one turn.
    stages = StageTable.of(replace(facts, spaces={}, labellings={}, turn_labels={}))
    details = facts.details()
    turns = facts.turns
    times = sorted(detail.time for detail in details.values() if detail.time is not None)
    return {
        "title": facts.title or PurePath(facts.name).name,
        "source": facts.source,
        "conversations": {
            "in all": len(facts.conversations),
            "branches": int((facts.conversations.parent >= 0).sum()),
        },
        "turns": {
            "in all": len(turns),
            **{
                role: n
                for role, n in zip(ROLES, np.bincount(turns.role, minlength=len(ROLES)).tolist(), strict=True)
                if n
            },
        },
        "tokens": {
            "in all": int(turns.tokens.sum()) if stages.tokens_known else None,
            "turns without a count": int((turns.tokens < 0).sum()) or None,
        },
        "time": f"{times[0]} to {times[-1]}" if times else None,
        "models": {key: _model(facts, stages, number, key) for number, key in enumerate(facts.models)},
        "servers": list(facts.servers) or "not recorded",
        "principals": {
            name: {"conversations": int((facts.conversations.principal == number).sum())}
            for number, name in enumerate(facts.principals)
        },
        "links": {
            kind: n
            for kind, n in zip(
                LINKS, np.bincount(stages.own_kind[stages.own >= 0], minlength=len(LINKS)).tolist(), strict=True
            )
            if n
        }
        | ({"transcript": transcripts} if (transcripts := _transcripts(stages)) else {}),
        "caches": {
            how: n
            for how, n in zip(
                DERIVATIONS, np.bincount(facts.caches.how, minlength=len(DERIVATIONS)).tolist(), strict=True
            )
            if n
        },
        "cache history": cache_history(facts),
        "connections": _connections(facts),
        "edited": int(stages.edited.sum()) or None,
        "coordinates": {name: _probe(facts, number, name) for number, name in enumerate(facts.probes)},
        "per token": _per_token(details),
        "interventions": {
            name: {
                "kind": item.kind,
                "layers": _span(item.layers),
                "positions": item.positions,
                "turns": sum(name in detail.interventions for detail in details.values()),
            }
            for name, item in facts.interventions.items()
        },
        "propositions": len(facts.beliefs.propositions) or None,
        "text": sum(detail.text is not None for detail in details.values()) or "none kept",
        "labellings": {name: _labelling(facts, name) for name in labelling_names(facts)},
    }


def _model(facts: Facts, stages: StageTable, number: int, key: str) -> dict[str, Any]:
    model = facts.models[key]
    said: dict[str, Any] = {
        "name": model.name, "digest": model.digest or "none", "base": model.base,
        "turns": int((facts.turns.model == number).sum()),
    }  # fmt: skip
    if stages.tokens_known and len(stages):
        mine = facts.turns.model == number
        ends = (stages.before + stages.tokens)[stages.model == number] if mine.any() else np.zeros(1, np.int64)
        streams = model.attention_streams(max(int(ends.max(initial=0)) - 1, 0))
        if streams is not None:
            said["attention streams at its last token (§2.1)"] = f"{streams[0]:,} of {streams[1]} dimensions"
    return said


def _transcripts(stages: StageTable) -> int:
    return int(((stages.previous >= 0) & (stages.own != stages.previous)).sum())


def _probe(facts: Facts, number: int, name: str) -> dict[str, Any]:
    probe = facts.probes[name]
    values = facts.coordinates.value[facts.coordinates.probe == number]
    return {
        "axis": probe.axis if probe.axis != name else None,
        "layer": probe.layer,
        "pooling": probe.pooling,
        "turns": len(values),
        "from": float(values.min()) if len(values) else None,
        "to": float(values.max()) if len(values) else None,
    }


def _per_token(details: Any) -> dict[str, Any]:
    grids = [detail.token_coordinates for detail in details.values() if detail.token_coordinates is not None]
    return {"turns": len(grids), "readings": sum(grid.size for grid in grids)} if grids else {}


def _connections(facts: Facts) -> dict[str, Any]:
    table = facts.connections
    said: dict[str, Any] = {"pairs of stages": len(table)} if len(table) else {}
    for name, values in (("attention mass", table.mass), ("KL divergence (nats)", table.kl)):
        measured = values[~np.isnan(values)]
        if len(measured):
            said[name] = {"from": float(measured.min()), "to": float(measured.max())}
    return said


def _labelling(facts: Facts, name: str) -> dict[str, Any]:
    regions = regions_of(facts, name)
    counts = np.bincount(regions.of_turn[regions.of_turn >= 0], minlength=len(regions.names)).tolist()
    found: dict[str, Any] = {"turns": dict(zip(regions.names, counts, strict=True))}
    if name in facts.turn_labels:
        labels = facts.turn_labels[name]
        found["turns labelled one by one"] = len(labels.turns)
        found["changes within turns"] = sum(len(turn.changes) for turn in labels.turns.values())
        found["found by"] = (labels.made or {}).get("method")
    if regions.continuous:
        found["regions not shown to be discrete"] = list(regions.continuous)
    return found


def _span(layers: tuple[int, ...] | None) -> str | None:
    if not layers:
        return None
    contiguous = list(layers) == list(range(layers[0], layers[-1] + 1))
    return f"{layers[0]}-{layers[-1]}" if contiguous and len(layers) > 1 else ", ".join(map(str, layers))
