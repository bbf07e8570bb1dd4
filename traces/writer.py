"""A trace that grows while it is recorded: turns are added to a trace.db as they happen, each whole or not at all.

>>> from pathlib import Path
>>> from tempfile import TemporaryDirectory
>>> from traces.store import load
>>> with TemporaryDirectory() as folder:
...     with TraceWriter.open(Path(folder, "trace.db"), recording="chat") as writer:
...         writer.model("m", Model(name="a model"))
...         writer.conversation("c")
...         writer.turns("c", [NewTurn(Turn(role="user", tokens=3, model="m")),
...                            NewTurn(Turn(role="assistant", tokens=5, model="m"))])
...     load(Path(folder, "trace.db")).turns.tokens.tolist()
('c/0', 'c/1')
[3, 5]
"""

from __future__ import annotations

import json
import sqlite3
import threading
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection as Alchemy
from sqlalchemy import StaticPool, create_engine, insert

from traces import schema
from traces.errors import TraceError, UnknownNameError, quoted
from traces.facts import split_belief
from traces.identity import find_model, model_identities
from traces.sqlite_file import held
from traces.store import address, bring_up_to_date, making, saying_why
from traces.store_reading import read_items, read_spaces
from traces.store_writing import (
    INSERT_BELIEF,
    INSERT_CONNECTION,
    INSERT_CONVERSATION,
    INSERT_COORDINATE,
    INSERT_DETAIL,
    INSERT_REGION_PROBABILITY,
    INSERT_SPAN,
    INSERT_STATED_REGION,
    INSERT_TOKEN_COORDINATES,
    INSERT_TURN,
    INSERT_TURN_INTERVENTION,
    add_spaces,
    json_or_null,
    name_ids,
    same_or_new,
)
from traces.vocabulary import (
    CACHES,
    DERIVATIONS,
    ROLES,
    CacheSpan,
    Connection,
    Intervention,
    KVCache,
    Model,
    Name,
    Probe,
    Server,
    Space,
    Turn,
)

_KINDS = ("model", "server", "probe", "intervention", "conversation", "kv_cache")
_NAME = TypeAdapter(Name)
_INSERT_CACHE = (
    "INSERT INTO kv_cache (id, key, model_id, server_id, source_id, how, positions, drift, drift_kl, time, drift_mean, "
    "drift_json) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_CACHE_FIELDS = (
    "model", "server", "from", "how", "positions", "drift", "drift_kl", "time", "drift_mean", "drift_layers",
)  # fmt: skip


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


@dataclass(frozen=True, eq=False)
class RecordedTurn:
    """A turn that a trace holds already, with what a recorder needs to go on after it."""

    ordinal: int
    role: str
    tokens: int | None
    model: str
    server: str | None
    kv: str | None
    start: int | None
    text: str | None
    token_ids: NDArray[np.int32] | None
    token_marks: str | None


@dataclass
class _Conversation:
    id: int
    parent: str | None
    at: int | None
    principal: str | None
    size: int | None


class TraceWriter:
    """Adds to a trace.db while it is being recorded.

    Each call is one transaction, or part of the one that `atomically` opens. What a call has returned from survives
    the end of the process at any moment, kill -9 too (SQLite's WAL mode; after a loss of power the last turns may be
    missing, and nothing else). Others may read meanwhile, and write: a conversation has one writer, and what another
    program adds to it ends in a `TraceError` here. A writer may be used from several threads.

    Every method raises `TraceError` for what cannot be recorded, and then nothing of the call is.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, recording: int, open_for: ExitStack) -> None:
        """Use `TraceWriter.open`."""
        self.path = path
        self._connection = connection
        self._recording = recording
        self._open_for = open_for
        self._lock = threading.RLock()
        self._depth = 0
        self._failed = False
        self._version = -1
        # One that stays: to give it back to its pool would end the transaction that is open here.
        self._alchemy: Alchemy = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool).connect()
        self._forget()

    @classmethod
    def open(
        cls, path: Path | str, *, recording: str, title: str | None = None, source: str | None = None, wait: float = 10
    ) -> TraceWriter:
        """Open a trace.db to add to it; it is made if it does not exist, and brought up to date if it is older.

        `recording`, `title` and `source` say what is being recorded; one that the trace has already goes on. `wait`: for
        how many seconds a transaction of another program is waited for. Raises `TraceError` for a file that
        `traces.store.load` refuses, or that cannot be written.
        """
        path = Path(path)
        if not path.exists():
            with making(path) as made:
                _recording(made, recording, title, source)
        with ExitStack() as stack:
            bring_up_to_date(path)
            stack.enter_context(held(path))
            with saying_why(path):
                raw = sqlite3.connect(
                    address(path, "rw"), uri=True, isolation_level=None, timeout=wait, check_same_thread=False
                )
                stack.callback(raw.close)
                raw.execute("PRAGMA foreign_keys = ON")
                raw.execute("PRAGMA journal_mode = WAL")
                raw.execute("PRAGMA synchronous = NORMAL")
            writer = cls(path, raw, 0, stack)
            with writer.atomically():
                writer._recording = _recording(writer._alchemy, recording, title, source)
            writer._open_for = stack.pop_all()
            return writer

    def __enter__(self) -> TraceWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file. A second time does nothing."""
        with self._lock, saying_why(self.path):
            self._open_for.close()

    # --- transactions

    @contextmanager
    def atomically(self) -> Iterator[None]:
        """Everything within is recorded at once, or none of it: where something in it fails, and if the process ends."""
        with self._lock:
            if self._depth:
                self._depth += 1
                try:
                    yield
                except BaseException:
                    self._failed = True
                    raise
                finally:
                    self._depth -= 1
                return
            with self._saying_why():
                self._connection.execute("BEGIN IMMEDIATE")
                self._depth = 1
                try:
                    (version,) = self._connection.execute("PRAGMA data_version").fetchone()
                    if version != self._version:
                        self._forget()
                        self._version = version
                    yield
                    if self._failed:
                        raise TraceError(
                            self.path.name,
                            "something that was to be recorded together with the rest was refused",
                            "parts that can all be recorded",
                        )
                    self._connection.execute("COMMIT")
                except BaseException:
                    # A full disk may have ended the transaction already.
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                    self._forget()
                    raise
                finally:
                    self._depth, self._failed = 0, False

    @contextmanager
    def _saying_why(self) -> Iterator[None]:
        with saying_why(self.path):
            try:
                yield
            except UnicodeEncodeError:
                raise TraceError(self.path.name, "a text holds half of a surrogate pair", "text in Unicode") from None
            except sqlite3.ProgrammingError as error:
                if "closed" in str(error):
                    raise TraceError(self.path.name, "it has been closed", "a writer that is open") from None
                raise

    def _forget(self) -> None:
        """What was known of the file may no longer be so."""
        self._conversations: dict[str, _Conversation] | None = None
        self._caches: dict[str, tuple[int, KVCache]] | None = None
        self._models: dict[str, Model] | None = None
        self._ids: dict[str, dict[str, int]] = {}
        self._spans: dict[str, list[CacheSpan]] = {}
        self._next: dict[str, int] = {}

    def _new_id(self, table: str) -> int:
        if table not in self._next:
            (last,) = self._connection.execute(f"SELECT coalesce(max(id), 0) FROM {table}").fetchone()
            self._next[table] = last + 1
        self._next[table] += 1
        return self._next[table] - 1

    def _id(self, where: str, table: str, name: str) -> int:
        """The id of a named model, server, probe or intervention."""
        if table not in self._ids:
            self._ids[table] = dict(self._connection.execute(f"SELECT key, id FROM {table} ORDER BY id").fetchall())
        if name not in self._ids[table]:
            raise UnknownNameError(where, table, name, self._ids[table])
        return self._ids[table][name]

    # --- what is declared

    def model(self, key: str, model: Model) -> None:
        """Declare a model. Like all declarations: new, or the same as before."""
        self._declare(schema.model, key, model)
        self._models = None

    def server(self, key: str, server: Server) -> None:
        """Declare a server."""
        self._declare(schema.server, key, server)

    def probe(self, key: str, probe: Probe) -> None:
        """Declare what a coordinate measures."""
        self._declare(schema.probe, key, probe)

    def intervention(self, key: str, intervention: Intervention) -> None:
        """Declare something that is done to a model."""
        self._declare(schema.intervention, key, intervention)

    def space(self, name: str, space: Space) -> None:
        """Declare a persona space of a declared model; it is one of the trace's own."""
        self._name("space", name)
        with self.atomically():
            where = f"{self.path.name}: space {name}"
            if not find_model(self._model_table(), space.model):
                raise UnknownNameError(where, "model", space.model, self._model_table())
            own, added = read_spaces(self._alchemy)
            if name == "stated" or name in added:
                raise TraceError(where, "a labelling has that name", "another name")
            if name not in own:
                add_spaces(self._alchemy, name, {name: space}, own=True)
            elif own[name] != space:
                raise TraceError(where, "the trace has another space of that name", "the same axes and ranges")

    def conversation(
        self, key: str, parent: str | None = None, at: int | None = None, principal: str | None = None
    ) -> None:
        """Declare a conversation, which may branch from a parent after the first `at` turns of the parent's path.

        `principal`: on whose behalf it acts; None is that of the parent, else unknown.
        """
        self._name("conversation", key)
        where = f"{self.path.name}: conversation {key}"
        if (parent is None) != (at is None):
            raise TraceError(where, "only one of parent and at is given", "both, or none")
        with self.atomically():
            known = self._conversation_table()
            if principal is None and parent is not None:
                principal = self._known_conversation(where, parent).principal
            if key in known:
                there = known[key]
                if (there.parent, there.at, there.principal) != (parent, at, principal):
                    raise TraceError(
                        where,
                        f"{self.path.name} has another conversation of that name: "
                        f"{_told(there.parent, there.at, there.principal)}",
                        f"the same one ({_told(parent, at, principal)}), or another name",
                    )
                return
            longest = 0 if parent is None else self._path_length(parent)
            if at is not None and not 0 <= at <= longest:
                raise TraceError(
                    where,
                    f"at is {at}, but the path of {parent} has {longest} turns",
                    f"a whole number from 0 to {longest}",
                )
            number = self._new_id("conversation")
            parent_id = -1 if parent is None else known[parent].id
            self._connection.execute(
                INSERT_CONVERSATION, (number, key, self._recording, parent_id, -1 if at is None else at, principal)
            )
            known[key] = _Conversation(number, parent, at, principal, 0)

    def cache(self, key: str, cache: KVCache) -> None:
        """Declare a KV cache. Spans that it brings are added to those recorded of it, as those of turns are."""
        self._name("cache", key)
        where = f"{self.path.name}: cache {key}"
        with self.atomically():
            known = self._cache_table()
            bare = cache.model_copy(update={"spans": ()})
            if key in known:
                _refuse_other(where, known[key][1], bare)
            else:
                model = self._id(where, "model", cache.model)
                server = None if cache.server is None else self._id(where, "server", cache.server)
                source = None if cache.source is None else self._known_cache(where, cache.source)[0]
                self._refuse_foreign(where, cache)
                number = self._new_id("kv_cache")
                self._connection.execute(
                    _INSERT_CACHE,
                    (
                        number, key, model, server, source, DERIVATIONS.index(cache.how), cache.positions, cache.drift,
                        cache.drift_kl, cache.time, cache.drift_mean, json_or_null(cache.drift_layers),
                    ),
                )  # fmt: skip
                known[key] = (number, bare)
                self._spans[key] = []
            self._add_spans(where, key, cache.spans)

    # --- what happens

    def turns(self, conversation: str, turns: Sequence[NewTurn]) -> tuple[str, ...]:
        """Add turns at the end of a conversation, all of them or none; gives back the names of their stages."""
        with self.atomically():
            known = self._known_conversation(self.path.name, conversation)
            first = self._size(known)
            rows: dict[str, list[tuple[Any, ...]]] = {}
            for ordinal, new in enumerate(turns, first):
                where = f"{self.path.name}: conversation {conversation}, turn {ordinal}"
                self._turn(where, rows, known.id, ordinal, new)
            self._insert(rows)
            known.size = first + len(turns)
            for ordinal, new in enumerate(turns, first):
                if new.turn.connections:
                    self.connections(f"{conversation}/{ordinal}", new.turn.connections)
            return tuple(f"{conversation}/{ordinal}" for ordinal in range(first, known.size))

    def connections(self, stage: str, connections: Mapping[str, Connection]) -> None:
        """Add what was measured, then or later, of how much earlier stages on its path bear on a stage."""
        with self.atomically():
            where = f"{self.path.name}: stage {stage}"
            conversation, ordinal, turn = self._stage(where, stage)
            rows = []
            for name, measured in connections.items():
                source, place, origin = self._stage(where, name)
                if not self._is_before(source, place, conversation, ordinal):
                    raise TraceError(
                        where, f"it has a connection to {name}, which is not before it", "an earlier stage on its path"
                    )
                layers = measured.mass_by_layer
                blob = None if layers is None else np.array(layers, "<f4").tobytes()
                rows.append((turn, origin, measured.mass, measured.kl, blob))
            try:
                self._connection.executemany(INSERT_CONNECTION, rows)
            except sqlite3.IntegrityError:
                raise TraceError(
                    where, "a connection between the same stages is recorded already", "each connection once"
                ) from None

    def recorded(self, conversation: str) -> list[RecordedTurn]:
        """The turns that a conversation has of its own; none where it has not been declared."""
        with self._lock, self._saying_why():
            found = self._connection.execute(
                "SELECT t.ordinal, t.role, t.tokens, m.key, s.key, k.key, t.start, d.text, d.token_ids, d.token_marks "
                "FROM turn t JOIN conversation c ON c.id = t.conversation_id JOIN model m ON m.id = t.model_id "
                "LEFT JOIN server s ON s.id = t.server_id LEFT JOIN kv_cache k ON k.id = t.kv_cache_id "
                "LEFT JOIN turn_detail d ON d.turn_id = t.id WHERE c.key = ? ORDER BY t.ordinal",
                (conversation,),
            ).fetchall()
        return [
            RecordedTurn(ordinal, ROLES[role], *more, None if ids is None else np.frombuffer(ids, "<i4"), marks)
            for ordinal, role, *more, ids, marks in found
        ]

    def names(self, kind: str) -> list[str]:
        """The names of what is declared, in order: of `model`, `server`, `probe`, `intervention`, `conversation` or
        `kv_cache`.
        """
        if kind not in _KINDS:
            raise UnknownNameError(self.path.name, "kind", kind, _KINDS)
        with self._lock, self._saying_why():
            return [key for (key,) in self._connection.execute(f"SELECT key FROM {kind} ORDER BY id").fetchall()]

    def spans(self, cache: str) -> tuple[CacheSpan, ...]:
        """The spans recorded so far of a declared cache."""
        with self.atomically():
            self._known_cache(self.path.name, cache)
            return tuple(self._recorded_spans(cache))

    # --- names

    def _name(self, kind: str, name: str) -> None:
        try:
            _NAME.validate_python(name)
        except ValidationError:
            expected = "a name without blanks at its ends, line breaks or control characters"
            raise TraceError(f"{self.path.name}: {kind}", f"the name is {quoted(name)}", expected) from None

    def _declare(self, table: Any, key: str, item: Any) -> None:
        self._name(table.name, key)
        with self.atomically():
            (number,) = same_or_new(
                self._alchemy, table, {key: item}, "what is being recorded", self.path.name, "another name"
            )
            if table.name in self._ids:
                self._ids[table.name][key] = number

    def _model_table(self) -> dict[str, Model]:
        if self._models is None:
            self._models = read_items(self._alchemy, schema.model, Model)
        return self._models

    def _same_weights(self, one: str, other: str) -> bool:
        if one == other:
            return True
        identity = model_identities(self._model_table())
        return identity[one] == identity[other]

    # --- conversations and stages

    def _conversation_table(self) -> dict[str, _Conversation]:
        if self._conversations is None:
            self._conversations = {
                key: _Conversation(number, parent, at, principal, None)
                for number, key, parent, at, principal in self._connection.execute(
                    "SELECT c.id, c.key, p.key, c.at, c.principal FROM conversation c "
                    "LEFT JOIN conversation p ON p.id = c.parent_id ORDER BY c.id"
                ).fetchall()
            }
        return self._conversations

    def _known_conversation(self, where: str, name: str) -> _Conversation:
        known = self._conversation_table()
        if name not in known:
            raise UnknownNameError(where, "conversation", name, known)
        return known[name]

    def _size(self, conversation: _Conversation) -> int:
        if conversation.size is None:
            (conversation.size,) = self._connection.execute(
                "SELECT count(*) FROM turn WHERE conversation_id = ?", (conversation.id,)
            ).fetchone()
        return conversation.size

    def _path_length(self, name: str) -> int:
        conversation = self._conversation_table()[name]
        return (conversation.at or 0) + self._size(conversation)

    def _stage(self, where: str, name: str) -> tuple[str, int, int]:
        """The conversation, ordinal and turn id of a named stage."""
        conversation, slash, ordinal = name.rpartition("/")
        if not slash or not (ordinal.isascii() and ordinal.isdecimal() and len(ordinal) < 20):
            raise TraceError(where, f"the stage is {quoted(name)}", "a stage: CONVERSATION/ORDINAL, ordinals from 0")
        found = self._connection.execute(
            "SELECT id FROM turn WHERE conversation_id = ? AND ordinal = ?",
            (self._known_conversation(where, conversation).id, int(ordinal)),
        ).fetchone()
        if found is None:
            raise TraceError(where, f"there is no stage {quoted(name)}", "a stage that is recorded")
        return conversation, int(ordinal), found[0]

    def _is_before(self, earlier: str, place: int, later: str, ordinal: int) -> bool:
        known = self._conversation_table()
        current, limit = later, (known[later].at or 0) + ordinal
        while current != earlier:
            parent = known[current].parent
            if parent is None:
                return False
            current, limit = parent, min(limit, known[current].at or 0)
        return (known[current].at or 0) + place < limit

    # --- turns

    def _turn(
        self, where: str, rows: dict[str, list[tuple[Any, ...]]], conversation: int, ordinal: int, new: NewTurn
    ) -> None:
        """The rows of a turn, by the statements that insert them."""
        turn = new.turn
        if turn.model is None:
            raise TraceError(where, "no model is given", "a model on every turn: nothing carries over here")
        model = self._id(where, "model", turn.model)
        server = -1 if turn.server is None else self._id(where, "server", turn.server)
        number = self._new_id("turn")

        def add(statement: str, *row: Any) -> None:
            rows.setdefault(statement, []).append(row)

        add(
            INSERT_TURN,
            number, conversation, ordinal, ROLES.index(turn.role), -1 if turn.tokens is None else turn.tokens,
            model, server, -1 if turn.cache is None else CACHES.index(turn.cache), int(turn.edited),
            -1 if turn.kv is None else self._cache_of_turn(where, turn), turn.drift,
            -1 if turn.shared_from is None else self._shared(where, turn, conversation),
            -1 if turn.start is None else turn.start,
        )  # fmt: skip
        ids = new.token_ids if turn.token_ids is None else np.array(turn.token_ids, np.int32)
        if ids is not None and turn.tokens is not None and ids.shape != (turn.tokens,):
            raise TraceError(where, f"token_ids has shape {list(ids.shape)}", f"[{turn.tokens}]: one for each token")
        blob = None if ids is None else np.ascontiguousarray(ids, "<i4").tobytes()
        detail = (turn.text, blob, turn.token_marks, turn.time, json_or_null(turn.sampling))
        if any(item is not None for item in detail):
            add(INSERT_DETAIL, number, *detail)
        for place, name in enumerate(turn.interventions):
            add(INSERT_TURN_INTERVENTION, number, place, self._id(where, "intervention", name))
        self._coordinates(where, add, number, new)
        self._labels(add, number, turn)
        for key, spans in new.spans.items():
            self._add_spans(where, key, spans)

    def _coordinates(self, where: str, add: Any, number: int, new: NewTurn) -> None:
        coordinates = {**new.turn.at, **new.coordinates}
        if coordinates and (new.turn.region is not None or new.turn.region_probabilities):
            raise TraceError(where, "it has both coordinates and a stated region", "one of them")
        for probe, value in coordinates.items():
            if not np.isfinite(value):
                raise TraceError(where, f"its coordinate on {probe} is {value}", "a finite number")
            add(INSERT_COORDINATE, number, self._id(where, "probe", probe), float(value))
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
            self._id(where, "probe", probe)
        packed = np.ascontiguousarray(grid, "<f4").tobytes()
        add(INSERT_TOKEN_COORDINATES, number, json.dumps(list(new.token_probes), ensure_ascii=False), shape[1], packed)

    def _labels(self, add: Any, number: int, turn: Turn) -> None:
        if turn.region is not None:
            add(INSERT_STATED_REGION, number, name_ids(self._alchemy, schema.region_name, "name", [turn.region])[0])
        if turn.region_probabilities:
            regions = name_ids(self._alchemy, schema.region_name, "name", list(turn.region_probabilities))
            for place, (region, chance) in enumerate(zip(regions, turn.region_probabilities.values(), strict=True)):
                add(INSERT_REGION_PROBABILITY, number, place, region, chance)
        for text in turn.believes:
            proposition, holds = split_belief(text)
            (known,) = name_ids(self._alchemy, schema.proposition, "text", [proposition])
            add(INSERT_BELIEF, number, known, int(holds))

    def _insert(self, rows: Mapping[str, list[tuple[Any, ...]]]) -> None:
        turns = rows.get(INSERT_TURN, [])
        try:
            self._connection.executemany(INSERT_TURN, turns)
        except sqlite3.IntegrityError as error:
            if "UNIQUE" not in str(error):
                raise
            raise TraceError(
                self.path.name, "another program has added to this conversation meanwhile", "one writer a conversation"
            ) from None
        for statement, of in rows.items():
            if statement != INSERT_TURN:
                self._connection.executemany(statement, of)

    def _shared(self, where: str, turn: Turn, conversation: int) -> int:
        _, _, number = self._stage(where, str(turn.shared_from))
        owner, model = self._connection.execute(
            "SELECT t.conversation_id, m.key FROM turn t JOIN model m ON m.id = t.model_id WHERE t.id = ?", (number,)
        ).fetchone()
        if owner == conversation:
            found = f"shared_from is {quoted(turn.shared_from)}, of the same conversation"
            raise TraceError(where, found, "a stage of another conversation")
        if not self._same_weights(model, str(turn.model)):
            found = f"shared_from is {quoted(turn.shared_from)}, which ran on another model"
            raise TraceError(where, found, "a stage on the same model: a cache means nothing to other weights")
        return int(number)

    # --- caches

    def _cache_table(self) -> dict[str, tuple[int, KVCache]]:
        if self._caches is None:
            self._caches = {}
            for number, key, *fields, layers in self._connection.execute(
                "SELECT v.id, v.key, m.key, s.key, o.key, v.how, v.positions, v.drift, v.drift_kl, v.time, v.drift_mean, "
                "v.drift_json FROM kv_cache v JOIN model m ON m.id = v.model_id LEFT JOIN server s ON s.id = v.server_id "
                "LEFT JOIN kv_cache o ON o.id = v.source_id ORDER BY v.id"
            ).fetchall():
                fields[3] = DERIVATIONS[fields[3]]
                given = (*fields, None if layers is None else json.loads(layers))
                self._caches[key] = (number, KVCache(**dict(zip(_CACHE_FIELDS, given, strict=True))))
        return self._caches

    def _known_cache(self, where: str, name: str) -> tuple[int, KVCache]:
        known = self._cache_table()
        if name not in known:
            raise UnknownNameError(where, "cache", name, known)
        return known[name]

    def _refuse_foreign(self, where: str, cache: KVCache) -> None:
        if cache.source is None:
            if cache.how in ("transferred", "edited"):
                raise TraceError(
                    where, f"it was {cache.how}, but its source is missing", "the cache it was derived from"
                )
        elif not self._same_weights(self._known_cache(where, cache.source)[1].model, cache.model):
            found = f"it is derived from {cache.source}, a cache of another model"
            raise TraceError(where, found, "a cache of its own model: a cache means nothing to other weights")

    def _cache_of_turn(self, where: str, turn: Turn) -> int:
        number, cache = self._known_cache(where, str(turn.kv))
        if not self._same_weights(cache.model, str(turn.model)):
            found = f"kv is {quoted(turn.kv)}, a cache of model {cache.model}, but the turn ran on {turn.model}"
            raise TraceError(where, found, "a cache of the turn's own model: a cache means nothing to other weights")
        if cache.server is not None and turn.server is not None and cache.server != turn.server:
            found = f"kv is {quoted(turn.kv)}, a cache on server {cache.server}, but the turn ran on {turn.server}"
            raise TraceError(where, found, "a cache on the turn's own server")
        return number

    def _recorded_spans(self, key: str) -> list[CacheSpan]:
        if key not in self._spans:
            found = self._connection.execute(
                'SELECT a.start, a."end", a.how, o.key, a.source_start, s.key, a.time, a.layers_json FROM cache_span a '
                "JOIN kv_cache v ON v.id = a.cache_id LEFT JOIN kv_cache o ON o.id = a.source_id "
                "LEFT JOIN server s ON s.id = a.server_id WHERE v.key = ? ORDER BY a.start",
                (key,),
            ).fetchall()
            self._spans[key] = [
                CacheSpan(
                    start=start, end=end, how=DERIVATIONS[how], source=source, source_start=source_start, server=server,
                    time=time, layers=None if layers is None else json.loads(layers),
                )
                for start, end, how, source, source_start, server, time, layers in found
            ]  # fmt: skip
        return self._spans[key]

    def _add_spans(self, where: str, key: str, spans: Sequence[CacheSpan]) -> None:
        """Record what is new of the spans of a cache. What it had before must still be so: entries never change."""
        if not spans:
            return
        number, cache = self._known_cache(where, key)
        recorded = self._recorded_spans(key)
        end = recorded[-1].end if recorded else 0
        if spans[-1].end < end:
            raise TraceError(
                where,
                f"cache {key} has {spans[-1].end} entries, but {end} were recorded",
                "a new cache, shared from it, where entries were cut off",
            )
        rows = []
        for span in spans:
            self._refuse_changed(where, key, recorded, span)
            end = recorded[-1].end if recorded else 0
            if span.start > end:
                raise TraceError(
                    where,
                    f"the spans of cache {key} go on at {span.start}, but {end} entries were recorded",
                    "spans without gaps: every entry has an origin",
                )
            if span.end <= end:
                continue
            shift = end - span.start
            if shift:
                place = None if span.source_start is None else span.source_start + shift
                span = span.model_copy(update={"start": end, "source_start": place})
            source = -1
            if span.source is not None:
                source, origin = self._known_cache(where, span.source)
                if span.source == key:
                    raise TraceError(where, f"entries of cache {key} were taken from itself", "another cache")
                if not self._same_weights(origin.model, cache.model):
                    found = f"entries of cache {key} were taken from {span.source}, a cache of another model"
                    raise TraceError(where, found, "a cache of its own model: a cache means nothing to other weights")
            elif span.how in ("transferred", "edited"):
                found = f"entries of cache {key} were {span.how}, but from which cache is not given"
                raise TraceError(where, found, "the cache that they were taken from")
            server = -1 if span.server is None else self._id(where, "server", span.server)
            layers = None if span.layers is None else list(span.layers)
            rows.append(
                (
                    number, span.start, span.end, DERIVATIONS.index(span.how), source,
                    -1 if span.source_start is None else span.source_start, server, span.time, json_or_null(layers),
                )
            )  # fmt: skip
            recorded.append(span)
        self._connection.executemany(INSERT_SPAN, rows)

    def _refuse_changed(self, where: str, key: str, recorded: list[CacheSpan], span: CacheSpan) -> None:
        first = max(0, bisect_right(recorded, span.start, key=lambda known: known.start) - 1)
        for known in recorded[first:]:
            if known.start >= span.end:
                return
            if known is span or known.end <= span.start:
                continue
            if _origin(known) != _origin(span):
                raise TraceError(
                    where,
                    f"entry {max(known.start, span.start)} of cache {key} was recorded as {known.how}, and is now {span.how}"
                    + ("" if known.how != span.how else " from elsewhere"),
                    "a new cache, where entries are others than they were",
                )


def _origin(span: CacheSpan) -> tuple[Any, ...]:
    place = None if span.source_start is None else span.source_start - span.start
    return (span.how, span.source, place, span.server, span.layers)


def _refuse_other(where: str, known: KVCache, cache: KVCache) -> None:
    if known == cache:
        return
    field = next(name for name in KVCache.model_fields if getattr(known, name) != getattr(cache, name))
    raise TraceError(
        where,
        f"its {field} is {quoted(getattr(cache, field))}, but a cache of that name is recorded with "
        f"{quoted(getattr(known, field))}",
        "the same cache under the same name, or another name",
    )


def _told(parent: str | None, at: int | None, principal: str | None) -> str:
    branch = "it has no parent" if parent is None else f"it branches from {parent} at {at}"
    return f"{branch}, and acts for {principal or 'nobody known'}"


def _recording(connection: Alchemy, name: str, title: str | None, source: str | None) -> int:
    """The id of what is being recorded: the row that is there, or a new one."""
    table = schema.recording
    same = (table.c.name == name) & table.c.title.is_not_distinct_from(title)
    same = same & table.c.source.is_not_distinct_from(source)
    found = connection.execute(table.select().where(same)).first()
    if found is not None:
        return int(found.id)
    made = connection.execute(insert(table).values(name=name, title=title, source=source))
    return int(made.inserted_primary_key[0]) if made.inserted_primary_key else 0
