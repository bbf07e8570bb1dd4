"""What a trace.db that is being written to holds already: the ids of names, the ends of conversations.

Read when first needed, and forgotten when another program has written, or a transaction came to nothing.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from sqlalchemy import Connection as Alchemy
from sqlalchemy import StaticPool, create_engine

from traces import schema
from traces.errors import TraceError, UnknownNameError, quoted
from traces.identity import model_identities
from traces.store_reading import read_items
from traces.vocabulary import Model


@dataclass
class KnownConversation:
    """A conversation that is declared; `size`: how many turns of its own it has, None while that is not known."""

    id: int
    parent: str | None
    at: int | None
    principal: str | None
    size: int | None


class KnownNames:
    """The names of a trace.db. Ask and add within a transaction on its connection."""

    def __init__(self, trace: str, connection: sqlite3.Connection) -> None:
        self.trace = trace
        """What the trace is called in messages."""
        self.connection = connection
        # One that stays: to give it back to its pool would end the transaction that is open here.
        engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool)
        self.alchemy: Alchemy = engine.connect()
        self.forget()

    def close(self) -> None:
        """Let go of the connection, which is closed."""
        self.alchemy.close()
        self.alchemy.engine.dispose()

    def forget(self) -> None:
        """What was known may no longer be so."""
        self._conversations: dict[str, KnownConversation] | None = None
        self._models: dict[str, Model] | None = None
        self._ids: dict[str, dict[str, int]] = {}
        self._next: dict[str, int] = {}

    def declared(self, table: str, name: str, number: int) -> None:
        """A model, server, probe or intervention is there now."""
        if table in self._ids:
            self._ids[table][name] = number
        if table == "model":
            self._models = None

    def new_id(self, table: str) -> int:
        """The id of the next row of a table."""
        if table not in self._next:
            (last,) = self.connection.execute(f"SELECT coalesce(max(id), 0) FROM {table}").fetchone()
            self._next[table] = last + 1
        self._next[table] += 1
        return self._next[table] - 1

    def id(self, where: str, table: str, name: str) -> int:
        """The id of a named model, server, probe or intervention."""
        if table not in self._ids:
            self._ids[table] = dict(self.connection.execute(f"SELECT key, id FROM {table} ORDER BY id").fetchall())
        if name not in self._ids[table]:
            raise UnknownNameError(where, table, name, self._ids[table])
        return self._ids[table][name]

    def models(self) -> dict[str, Model]:
        """All models by their keys."""
        if self._models is None:
            self._models = read_items(self.alchemy, schema.model, Model)
        return self._models

    def same_weights(self, one: str, other: str) -> bool:
        """Whether two model keys stand for the same weights."""
        if one == other:
            return True
        identity = model_identities(self.models())
        return identity[one] == identity[other]

    def conversations(self) -> dict[str, KnownConversation]:
        """All conversations by their keys."""
        if self._conversations is None:
            self._conversations = {
                key: KnownConversation(number, parent, at, principal, None)
                for number, key, parent, at, principal in self.connection.execute(
                    "SELECT c.id, c.key, p.key, c.at, c.principal FROM conversation c "
                    "LEFT JOIN conversation p ON p.id = c.parent_id ORDER BY c.id"
                ).fetchall()
            }
        return self._conversations

    def conversation(self, where: str, name: str) -> KnownConversation:
        """A conversation that must be there."""
        known = self.conversations()
        if name not in known:
            raise UnknownNameError(where, "conversation", name, known)
        return known[name]

    def size(self, conversation: KnownConversation) -> int:
        """How many turns of its own a conversation has."""
        if conversation.size is None:
            (conversation.size,) = self.connection.execute(
                "SELECT count(*) FROM turn WHERE conversation_id = ?", (conversation.id,)
            ).fetchone()
        return conversation.size

    def path_length(self, name: str) -> int:
        """How many turns the path of a conversation has."""
        conversation = self.conversations()[name]
        return (conversation.at or 0) + self.size(conversation)

    def stage(self, where: str, name: str) -> tuple[str, int, int]:
        """The conversation, ordinal and turn id of a named stage."""
        conversation, slash, ordinal = name.rpartition("/")
        if not slash or not (ordinal.isascii() and ordinal.isdecimal() and len(ordinal) < 20):
            raise TraceError(where, f"the stage is {quoted(name)}", "a stage: CONVERSATION/ORDINAL, ordinals from 0")
        found = self.connection.execute(
            "SELECT id FROM turn WHERE conversation_id = ? AND ordinal = ?",
            (self.conversation(where, conversation).id, int(ordinal)),
        ).fetchone()
        if found is None:
            raise TraceError(where, f"there is no stage {quoted(name)}", "a stage that is recorded")
        return conversation, int(ordinal), found[0]

    def is_before(self, earlier: str, place: int, later: str, ordinal: int) -> bool:
        """Whether `EARLIER/PLACE` stands before `LATER/ORDINAL` on the path of the later."""
        known = self.conversations()
        current, limit = later, (known[later].at or 0) + ordinal
        while current != earlier:
            parent = known[current].parent
            if parent is None:
                return False
            current, limit = parent, min(limit, known[current].at or 0)
        return (known[current].at or 0) + place < limit
