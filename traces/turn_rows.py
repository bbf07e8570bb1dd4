"""A turn that is to be recorded, as rows of the tables of trace.db."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traces import schema
from traces.errors import TraceError, quoted
from traces.facts import split_belief
from traces.growing_caches import GrowingCaches
from traces.known_names import KnownNames
from traces.store_writing import (
    INSERT_BELIEF,
    INSERT_COORDINATE,
    INSERT_DETAIL,
    INSERT_REGION_PROBABILITY,
    INSERT_STATED_REGION,
    INSERT_TOKEN_COORDINATES,
    INSERT_TURN,
    INSERT_TURN_INTERVENTION,
    json_or_null,
    name_ids,
)
from traces.vocabulary import CACHES, ROLES, CacheSpan, Turn

Rows = dict[str, list[tuple[Any, ...]]]
"""Rows by the statements that insert them."""


@dataclass(frozen=True, eq=False)
class NewTurn:
    """A turn to be recorded, with its numbers as arrays.

    `turn` names its model (nothing carries over here; a `server` of None is unknown) and, where it is known, its `kv`
    cache and the position there at which it starts. `coordinates`, one number for the turn by probe, and `token_ids`
    (int32, one for each token) may stand here rather than in it. `token_coordinates`: float32 [probes, tokens], with a
    row for each of `token_probes`; NaN for a token that was not read. `spans`: for caches, by their keys, where entries
    came from; those that were recorded before may be among them.
    """

    turn: Turn
    token_ids: NDArray[np.int32] | None = None
    coordinates: Mapping[str, float] = field(default_factory=dict)
    token_probes: tuple[str, ...] = ()
    token_coordinates: NDArray[np.float32] | None = None
    spans: Mapping[str, Sequence[CacheSpan]] = field(default_factory=dict)


class TurnRows:
    """Collects the rows of the turns that are added to one conversation."""

    def __init__(self, known: KnownNames, caches: GrowingCaches, conversation: int) -> None:
        self.known = known
        self.caches = caches
        self.conversation = conversation
        self.rows: Rows = {}

    def _add(self, statement: str, *row: Any) -> None:
        self.rows.setdefault(statement, []).append(row)

    def add(self, where: str, ordinal: int, new: NewTurn) -> None:
        """The rows of one more turn. Raises `TraceError`, which begins with `where`, for what cannot be recorded."""
        turn = new.turn
        if turn.model is None:
            raise TraceError(where, "no model is given", "a model on every turn: nothing carries over here")
        model = self.known.id(where, "model", turn.model)
        server = -1 if turn.server is None else self.known.id(where, "server", turn.server)
        number = self.known.new_id("turn")
        self._add(
            INSERT_TURN,
            number, self.conversation, ordinal, ROLES.index(turn.role), -1 if turn.tokens is None else turn.tokens,
            model, server, -1 if turn.cache is None else CACHES.index(turn.cache), int(turn.edited),
            -1 if turn.kv is None else self.caches.of_turn(where, turn), turn.drift,
            -1 if turn.shared_from is None else self._shared(where, turn),
            -1 if turn.start is None else turn.start,
        )  # fmt: skip
        ids = new.token_ids if turn.token_ids is None else np.array(turn.token_ids, np.int32)
        if ids is not None and turn.tokens is not None and ids.shape != (turn.tokens,):
            raise TraceError(where, f"token_ids has shape {list(ids.shape)}", f"[{turn.tokens}]: one for each token")
        blob = None if ids is None else np.ascontiguousarray(ids, "<i4").tobytes()
        detail = (turn.text, blob, turn.token_marks, turn.time, json_or_null(turn.sampling))
        if any(item is not None for item in detail):
            self._add(INSERT_DETAIL, number, *detail)
        for place, name in enumerate(turn.interventions):
            self._add(INSERT_TURN_INTERVENTION, number, place, self.known.id(where, "intervention", name))
        self._coordinates(where, number, new)
        self._labels(number, turn)
        for key, spans in new.spans.items():
            self.caches.add_spans(where, key, spans)

    def _coordinates(self, where: str, number: int, new: NewTurn) -> None:
        coordinates = {**new.turn.at, **new.coordinates}
        if coordinates and (new.turn.region is not None or new.turn.region_probabilities):
            raise TraceError(where, "it has both coordinates and a stated region", "one of them")
        for probe, value in coordinates.items():
            if not np.isfinite(value):
                raise TraceError(where, f"its coordinate on {probe} is {value}", "a finite number")
            self._add(INSERT_COORDINATE, number, self.known.id(where, "probe", probe), float(value))
        if new.turn.at_tokens is not None:
            raise TraceError(where, "at_tokens is given", "token_coordinates, as an array")
        grid = new.token_coordinates
        if grid is None:
            return
        shape = (len(new.token_probes), new.turn.tokens)
        if grid.shape != shape:
            raise TraceError(
                where,
                f"token_coordinates has shape {list(grid.shape)}",
                f"{list(shape)}: a row for each of its probes, a column for each token",
            )
        if bool(np.isinf(grid).any()):
            raise TraceError(
                where, "token_coordinates holds infinity", "finite numbers; NaN where a token was not read"
            )
        for probe in new.token_probes:
            self.known.id(where, "probe", probe)
        probes = json.dumps(list(new.token_probes), ensure_ascii=False)
        self._add(INSERT_TOKEN_COORDINATES, number, probes, shape[1], np.ascontiguousarray(grid, "<f4").tobytes())

    def _labels(self, number: int, turn: Turn) -> None:
        if turn.region is not None:
            (region,) = name_ids(self.known.alchemy, schema.region_name, "name", [turn.region])
            self._add(INSERT_STATED_REGION, number, region)
        if turn.region_probabilities:
            regions = name_ids(self.known.alchemy, schema.region_name, "name", list(turn.region_probabilities))
            for place, (code, chance) in enumerate(zip(regions, turn.region_probabilities.values(), strict=True)):
                self._add(INSERT_REGION_PROBABILITY, number, place, code, chance)
        for text in turn.believes:
            proposition, holds = split_belief(text)
            (known,) = name_ids(self.known.alchemy, schema.proposition, "text", [proposition])
            self._add(INSERT_BELIEF, number, known, int(holds))

    def _shared(self, where: str, turn: Turn) -> int:
        _, _, number = self.known.stage(where, str(turn.shared_from))
        owner, model = self.known.connection.execute(
            "SELECT t.conversation_id, m.key FROM turn t JOIN model m ON m.id = t.model_id WHERE t.id = ?", (number,)
        ).fetchone()
        if owner == self.conversation:
            found = f"shared_from is {quoted(turn.shared_from)}, of the same conversation"
            raise TraceError(where, found, "a stage of another conversation")
        if not self.known.same_weights(model, str(turn.model)):
            found = f"shared_from is {quoted(turn.shared_from)}, which ran on another model"
            raise TraceError(where, found, "a stage on the same model: a cache means nothing to other weights")
        return int(number)
