"""The facts of a trace as numpy columns: what was recorded, with nothing interpreted and nothing derived.

Every source of traces (files, the store, importers) fills these tables, and everything above reads them. Rows keep the
order of the record. Names live in lists; columns hold their positions, with -1 for "not recorded".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traces.vocabulary import Intervention, LabelledTurn, Model, Probe, Server, Space, Turn

Ints = NDArray[np.int32]
Longs = NDArray[np.int64]
Bytes = NDArray[np.int8]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def _ints() -> Ints:
    return np.empty(0, np.int32)


def _longs() -> Longs:
    return np.empty(0, np.int64)


def _floats() -> Floats:
    return np.empty(0, np.float64)


@dataclass(eq=False, repr=False)
class Conversations:
    """One row a conversation. `parent` -1: none; `at`: turns of the parent's path before the branch.

    Principals are carried over to branches already. A table that is made without them says of none on whose behalf it
    acts.
    """

    names: list[str] = field(default_factory=list)
    parent: Ints = field(default_factory=_ints)
    at: Ints = field(default_factory=_ints)
    first: Longs = field(default_factory=_longs)
    """The row of its first own turn in `Turns`; its turns are contiguous."""
    size: Ints = field(default_factory=_ints)
    principal: Ints = field(default_factory=_ints)
    """On whose behalf it acts: a position in `Facts.principals`, or -1."""

    def __post_init__(self) -> None:
        if not len(self.principal):
            self.principal = np.full(len(self.names), -1, np.int32)

    def __len__(self) -> int:
        return len(self.names)


@dataclass(eq=False, repr=False)
class Turns:
    """One row a turn, by conversation and ordinal. Model and server are carried over already."""

    conversation: Ints = field(default_factory=_ints)
    role: Bytes = field(default_factory=lambda: np.empty(0, np.int8))
    tokens: Longs = field(default_factory=_longs)
    model: Ints = field(default_factory=_ints)
    server: Ints = field(default_factory=_ints)
    cache: Bytes = field(default_factory=lambda: np.empty(0, np.int8))
    """As stated: a code of `CACHES`, or -1 where the record does not say."""
    kv: Ints = field(default_factory=_ints)
    edited: Flags = field(default_factory=lambda: np.empty(0, np.bool_))
    drift: Floats = field(default_factory=_floats)
    """Measured drift of the cache, NaN where not measured."""
    shared_from: Longs = field(default_factory=_longs)
    """The row of the turn whose cached prefix this one reuses, or -1."""
    start: Longs = field(default_factory=_longs)
    """The position of its first token in its KV cache, or -1. A table that is made without them knows of none."""

    def __post_init__(self) -> None:
        if not len(self.start):
            self.start = np.full(len(self.conversation), -1, np.int64)

    def __len__(self) -> int:
        return len(self.conversation)


@dataclass(eq=False, repr=False)
class Caches:
    """One row a recorded KV cache. `source`: the row it was derived from; `how`: a code of `DERIVATIONS`."""

    names: list[str] = field(default_factory=list)
    model: Ints = field(default_factory=_ints)
    server: Ints = field(default_factory=_ints)
    source: Ints = field(default_factory=_ints)
    how: Bytes = field(default_factory=lambda: np.empty(0, np.int8))
    positions: Longs = field(default_factory=_longs)
    drift: Floats = field(default_factory=_floats)
    drift_kl: Floats = field(default_factory=_floats)
    time: list[str | None] = field(default_factory=list)
    drift_mean: Floats = field(default_factory=_floats)
    drift_layers: list[Mapping[str, Any] | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.names)


@dataclass(eq=False, repr=False)
class CacheSpans:
    """Where the entries of recorded caches came from: one row a span, by cache and start.

    Row i says of positions `start[i]` up to, not including, `end[i]` of cache `cache[i]` (a row of `Caches`) `how[i]`
    (a code of `DERIVATIONS`) they came to be, from which cache (a row of `Caches`, or -1) and from which position
    there (or -1), and on which server.
    """

    cache: Ints = field(default_factory=_ints)
    start: Longs = field(default_factory=_longs)
    end: Longs = field(default_factory=_longs)
    how: Bytes = field(default_factory=lambda: np.empty(0, np.int8))
    source: Ints = field(default_factory=_ints)
    source_start: Longs = field(default_factory=_longs)
    server: Ints = field(default_factory=_ints)
    time: list[str | None] = field(default_factory=list)
    layers: list[tuple[int, ...] | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.cache)


@dataclass(eq=False, repr=False)
class Connections:
    """Row i says how much the earlier turn `source[i]` on its path bears on turn `turn[i]`, as measured.

    `mass`: the share of attention (0 to 1), `kl`: in nats (`traces.vocabulary.Connection`); NaN where not measured.
    Masses by layer are in the details of turns.
    """

    turn: Longs = field(default_factory=_longs)
    source: Longs = field(default_factory=_longs)
    mass: Floats = field(default_factory=_floats)
    kl: Floats = field(default_factory=_floats)

    def __len__(self) -> int:
        return len(self.turn)


@dataclass(eq=False, repr=False)
class Coordinates:
    """Per-turn coordinates as recorded: row i says that turn `turn[i]` read `value[i]` on probe `probe[i]`."""

    turn: Longs = field(default_factory=_longs)
    probe: Ints = field(default_factory=_ints)
    value: Floats = field(default_factory=_floats)


@dataclass(eq=False, repr=False)
class Chances:
    """Row i says that turn `turn[i]` is in region `region[i]` with probability `value[i]`; the rest of one is for none.

    The rows of a turn stand together, in the order in which its regions are listed.
    """

    turn: Longs = field(default_factory=_longs)
    region: Ints = field(default_factory=_ints)
    value: Floats = field(default_factory=_floats)

    def __len__(self) -> int:
        return len(self.turn)


@dataclass(eq=False, repr=False)
class Beliefs:
    """Row i says that turn `turn[i]` holds (`holds[i]`) or denies proposition `proposition[i]`."""

    propositions: list[str] = field(default_factory=list)
    turn: Longs = field(default_factory=_longs)
    proposition: Ints = field(default_factory=_ints)
    holds: Flags = field(default_factory=lambda: np.empty(0, np.bool_))


@dataclass(frozen=True)
class TurnDetail:
    """What a few turns carry and no view needs.

    `token_coordinates`: float32, shape [probes, tokens], NaN for a token that was not read. `connection_layers`: by the
    row of an earlier turn, the mass of attention that this one gives it, float32 with an entry a layer.
    """

    text: str | None = None
    token_ids: NDArray[np.int32] | None = None
    token_marks: str | None = None
    time: str | None = None
    sampling: Mapping[str, Any] | None = None
    interventions: tuple[str, ...] = ()
    token_probes: tuple[str, ...] = ()
    token_coordinates: NDArray[np.float32] | None = None
    connection_layers: Mapping[int, NDArray[np.float32]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, repr=False)
class TurnLabels:
    """What a labelling says turn by turn, by the row of the turn; and how it was found."""

    turns: Mapping[int, LabelledTurn]
    made: Mapping[str, Any] | None = None


Details = Callable[[], Mapping[int, TurnDetail]]
"""Details by turn row; read from the store only when asked for."""


@dataclass(eq=False, repr=False)
class Facts:
    """A trace as recorded. `spaces` and `stated` are the author's own labellings, `labellings` those added since."""

    name: str
    title: str | None = None
    source: str | None = None
    case: Mapping[str, Any] | None = None
    models: dict[str, Model] = field(default_factory=dict)
    servers: dict[str, Server] = field(default_factory=dict)
    spaces: dict[str, Space] = field(default_factory=dict)
    labellings: dict[str, dict[str, Space]] = field(default_factory=dict)
    turn_labels: dict[str, TurnLabels] = field(default_factory=dict)
    """Of those `labellings` that say it turn by turn, what they say; their spaces then only name the regions."""
    probes: dict[str, Probe] = field(default_factory=dict)
    interventions: dict[str, Intervention] = field(default_factory=dict)
    principals: list[str] = field(default_factory=list)
    """Persons and organisations on whose behalf conversations act, in order of first appearance."""
    conversations: Conversations = field(default_factory=Conversations)
    turns: Turns = field(default_factory=Turns)
    caches: Caches = field(default_factory=Caches)
    cache_spans: Callable[[], CacheSpans] = CacheSpans
    """Where the entries of caches came from; read from the store only when asked for."""
    connections: Connections = field(default_factory=Connections)
    coordinates: Coordinates = field(default_factory=Coordinates)
    regions: list[str] = field(default_factory=list)
    stated: Ints = field(default_factory=_ints)
    """For each turn the stated region as a position in `regions`, or -1."""
    chances: Chances = field(default_factory=Chances)
    """How probable the regions of a turn are, where it says so; no turn has these and a stated region."""
    beliefs: Beliefs = field(default_factory=Beliefs)
    details: Details = dict
    locate: Callable[[str, int, str], str] | None = None
    """Where in the author's file a field of a turn stands, for messages: (conversation, ordinal, field) -> text."""

    def ordinal(self, turn: int) -> int:
        """The position of a turn row among its conversation's own turns, from 0."""
        return int(turn - self.conversations.first[self.turns.conversation[turn]])

    def stage_name(self, turn: int) -> str:
        """`CONVERSATION/ORDINAL` of a turn row."""
        return f"{self.conversations.names[self.turns.conversation[turn]]}/{self.ordinal(turn)}"

    def place(self, turn: int, of: str = "") -> str:
        """A turn for an error message: file, conversation, ordinal and, where known, the line."""
        conversation = self.conversations.names[self.turns.conversation[turn]]
        if self.locate is not None:
            return self.locate(conversation, self.ordinal(turn), of)
        return f"{self.name}: conversation {conversation}, turn {self.ordinal(turn)}"


def numbered(names: Sequence[str | None]) -> tuple[Ints, list[str]]:
    """Names as codes (int32, -1 for None), and the names that the codes stand for, in order of first appearance.

    >>> codes, distinct = numbered(["b", None, "a", "b"])
    >>> codes.tolist(), distinct
    ([0, -1, 1, 0], ['b', 'a'])
    """
    number = {name: code for code, name in enumerate(dict.fromkeys(name for name in names if name is not None))}
    return np.fromiter((-1 if name is None else number[name] for name in names), np.int32, len(names)), list(number)


def split_belief(text: str) -> tuple[str, bool]:
    """A proposition and whether it is held: each leading `not ` turns it round.

    >>> split_belief("not p"), split_belief("not not p")
    (('p', False), ('p', True))
    """
    holds = True
    while text.startswith("not "):
        text, holds = text[4:].lstrip(), not holds
    return text, holds


def is_detailed(turn: Turn) -> bool:
    """Whether a turn carries anything of a `TurnDetail`."""
    return bool(
        turn.text is not None
        or turn.token_ids is not None
        or turn.token_marks is not None
        or turn.time is not None
        or turn.sampling is not None
        or turn.interventions
        or turn.at_tokens is not None
        or any(connection.mass_by_layer is not None for connection in turn.connections.values())
    )
