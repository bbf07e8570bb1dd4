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

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection as Alchemy
from sqlalchemy import Table, insert

from traces import schema
from traces.errors import TraceError, UnknownNameError, quoted
from traces.growing_caches import GrowingCaches
from traces.identity import find_model
from traces.known_names import KnownConversation, KnownNames
from traces.sqlite_file import held
from traces.store import address, bring_up_to_date, making, saying_why
from traces.store_reading import read_spaces
from traces.store_writing import INSERT_CONNECTION, INSERT_CONVERSATION, add_spaces, same_or_new
from traces.turn_rows import NewTurn, TurnRows
from traces.vocabulary import (
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

__all__ = ["NewTurn", "RecordedTurn", "TraceWriter", "Turn"]

_KINDS = ("model", "server", "probe", "intervention", "conversation", "kv_cache", "space")
_NAME = TypeAdapter(Name)
_LOG_PAGES = 4000
"""How long the log may grow before it is moved into the file, which waits for the disk: 16 MB."""


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


class TraceWriter:
    """Adds to a trace.db while it is being recorded.

    Each call is one transaction, or part of the one that `atomically` opens. What a call has returned from survives
    the end of the process at any moment, kill -9 too (SQLite's WAL mode; after a loss of power the last turns may be
    missing, and nothing else). Others may read meanwhile, and write: a conversation has one writer, and what another
    program adds to it ends in a `TraceError` here. A writer may be used from several threads.

    Every method raises `TraceError` for what cannot be recorded, and then nothing of the call is.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, open_for: ExitStack) -> None:
        """Use `TraceWriter.open`."""
        self.path = path
        self._connection = connection
        self._open_for = open_for
        self._recording = 0
        self._lock = threading.RLock()
        self._depth = 0
        self._failed = False
        self._version = -1
        self._known = KnownNames(path.name, connection)
        self._caches = GrowingCaches(self._known)
        self._ends: dict[str, int] = {}
        """How many turns conversations had when this writer last added to them, or told of them."""
        self._new_ends: dict[str, int] = {}

    @classmethod
    def open(
        cls, path: Path | str, *, recording: str, title: str | None = None, source: str | None = None, wait: float = 10
    ) -> TraceWriter:
        """Open a trace.db to add to it; it is made if it does not exist, and brought up to date if it is older.

        `recording`, `title` and `source` say what is being recorded; one that the trace has already goes on. `wait`:
        for how many seconds a transaction of another program is waited for. Raises `TraceError` for a file that
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
                raw.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
            writer = cls(path, raw, stack)
            stack.callback(writer._known.close)
            with writer._transaction():
                writer._recording = _recording(writer._known.alchemy, recording, title, source)
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
        """Everything within is recorded at once, or none of it: where a part of it is refused, or the process ends."""
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
            self._begin()
            try:
                yield
                if self._failed:
                    raise TraceError(
                        self.path.name,
                        "a part of what was to be recorded at once was refused",
                        "parts that can all be recorded",
                    )
                with self._saying_why():
                    self._connection.execute("COMMIT")
                self._ends |= self._new_ends
            except BaseException:
                # A full disk may have ended the transaction already.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                self._forget()
                raise
            finally:
                self._depth, self._failed = 0, False
                self._new_ends = {}

    def _begin(self) -> None:
        with self._saying_why():
            self._connection.execute("BEGIN IMMEDIATE")
            # It changes where another program has written.
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            self._forget()
            self._version = version
        self._depth = 1

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self.atomically(), self._saying_why():
            yield

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
        self._known.forget()
        self._caches.forget()

    # --- what is declared

    def model(self, key: str, model: Model) -> None:
        """Declare a model. Like all declarations: new, or the same as before."""
        self._declare(schema.model, key, model)

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
        self._refuse_name("space", name)
        with self._transaction():
            where = f"{self.path.name}: space {name}"
            if not find_model(self._known.models(), space.model):
                raise UnknownNameError(where, "model", space.model, self._known.models())
            own, added = read_spaces(self._known.alchemy)
            if name == "stated" or name in added:
                raise TraceError(where, "a labelling has that name", "another name")
            if name not in own:
                add_spaces(self._known.alchemy, name, {name: space}, own=True)
            elif own[name] != space:
                raise TraceError(where, "the trace has another space of that name", "the same axes and ranges")

    def conversation(
        self, key: str, parent: str | None = None, at: int | None = None, principal: str | None = None
    ) -> None:
        """Declare a conversation, which may branch from a parent after the first `at` turns of the parent's path.

        `principal`: on whose behalf it acts; None is that of the parent, else unknown.
        """
        self._refuse_name("conversation", key)
        where = f"{self.path.name}: conversation {key}"
        if (parent is None) != (at is None):
            raise TraceError(where, "only one of parent and at is given", "both, or none")
        with self._transaction():
            known = self._known.conversations()
            if principal is None and parent is not None:
                principal = self._known.conversation(where, parent).principal
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
            longest = 0 if parent is None else self._known.path_length(parent)
            if at is not None and not 0 <= at <= longest:
                raise TraceError(
                    where,
                    f"at is {at}, but the path of {parent} has {longest} turns",
                    f"a whole number from 0 to {longest}",
                )
            number = self._known.new_id("conversation")
            parent_id = -1 if parent is None else known[parent].id
            self._connection.execute(
                INSERT_CONVERSATION, (number, key, self._recording, parent_id, -1 if at is None else at, principal)
            )
            known[key] = KnownConversation(number, parent, at, principal, 0)

    def cache(self, key: str, cache: KVCache) -> None:
        """Declare a KV cache. Spans that it brings are added to those recorded of it, as those of turns are."""
        self._refuse_name("cache", key)
        with self._transaction():
            self._caches.declare(f"{self.path.name}: cache {key}", key, cache)

    # --- what happens

    def turns(self, conversation: str, turns: Sequence[NewTurn]) -> tuple[str, ...]:
        """Add turns at the end of a conversation, all of them or none; gives back the names of their stages."""
        with self._transaction():
            known = self._known.conversation(self.path.name, conversation)
            first = self._end(conversation, known)
            new = TurnRows(self._known, self._caches, known.id)
            for ordinal, turn in enumerate(turns, first):
                new.add(f"{self.path.name}: conversation {conversation}, turn {ordinal}", ordinal, turn)
            for statement, rows in new.rows.items():
                self._connection.executemany(statement, rows)
            known.size = self._new_ends[conversation] = first + len(turns)
            names = tuple(f"{conversation}/{ordinal}" for ordinal in range(first, known.size))
            for name, turn in zip(names, turns, strict=True):
                if turn.turn.connections:
                    self.connections(name, turn.turn.connections)
            return names

    def connections(self, stage: str, connections: Mapping[str, Connection]) -> None:
        """Add what was measured, then or later, of how much earlier stages on its path bear on a stage."""
        with self._transaction():
            where = f"{self.path.name}: stage {stage}"
            conversation, ordinal, turn = self._known.stage(where, stage)
            rows = []
            for name, measured in connections.items():
                source, place, origin = self._known.stage(where, name)
                if not self._known.is_before(source, place, conversation, ordinal):
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
            (self._new_ends if self._depth else self._ends)[conversation] = len(found)
        return [
            RecordedTurn(
                ordinal, ROLES[role], tokens, model, server, kv, start, text,
                None if ids is None else np.frombuffer(ids, "<i4"), marks,
            )
            for ordinal, role, tokens, model, server, kv, start, text, ids, marks in found
        ]  # fmt: skip

    def names(self, kind: str) -> list[str]:
        """The names of what is declared, in order: of `model`, `server`, `probe`, `intervention`, `conversation`,
        `kv_cache` or `space`.
        """
        if kind not in _KINDS:
            raise UnknownNameError(self.path.name, "kind", kind, _KINDS)
        with self._lock, self._saying_why():
            column = "name" if kind == "space" else "key"
            return [key for (key,) in self._connection.execute(f"SELECT {column} FROM {kind} ORDER BY id").fetchall()]

    def has(self, kind: str, name: str) -> bool:
        """Whether something of a kind (one of those of `names`) is declared by that name."""
        if kind not in _KINDS:
            raise UnknownNameError(self.path.name, "kind", kind, _KINDS)
        with self._lock, self._saying_why():
            column = "name" if kind == "space" else "key"
            found = self._connection.execute(f"SELECT 1 FROM {kind} WHERE {column} = ?", (name,)).fetchone()
            return found is not None

    def connected(self, conversation: str) -> bool:
        """Whether a connection of one of the conversation's own stages to an earlier one is recorded."""
        with self._lock, self._saying_why():
            found = self._connection.execute(
                "SELECT 1 FROM connection n JOIN turn t ON t.id = n.turn_id "
                "JOIN conversation c ON c.id = t.conversation_id WHERE c.key = ? LIMIT 1",
                (conversation,),
            ).fetchone()
            return found is not None

    def spans(self, cache: str) -> tuple[CacheSpan, ...]:
        """The spans recorded so far of a declared cache."""
        with self._transaction():
            self._caches.cache(self.path.name, cache)
            return tuple(self._caches.spans(cache))

    def _declare(self, table: Table, key: str, item: Model | Server | Probe | Intervention) -> None:
        self._refuse_name(table.name, key)
        with self._transaction():
            items: Any = {key: item}
            (number,) = same_or_new(
                self._known.alchemy, table, items, "what is being recorded", self.path.name, "another name"
            )
            self._known.declared(table.name, key, number)

    def _refuse_name(self, kind: str, name: str) -> None:
        try:
            _NAME.validate_python(name)
        except ValidationError:
            expected = "a name without blanks at its ends, line breaks or control characters"
            raise TraceError(f"{self.path.name}: {kind}", f"the name is {quoted(name)}", expected) from None

    def _end(self, name: str, conversation: KnownConversation) -> int:
        """How many turns a conversation has, if no other program has added to it."""
        end = self._known.size(conversation)
        if self._new_ends.get(name, self._ends.get(name, end)) != end:
            raise TraceError(
                f"{self.path.name}: conversation {name}",
                "another program has added turns to it meanwhile",
                "one program that records a conversation",
            )
        return end


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
