"""The tables of trace.db. Facts in one group of tables, labellings in another; facts are append-only, and triggers hold
it so.

Columns named as in `traces.vocabulary`. Codes (`role`, `cache`, `how`) have look-up tables, and the view `turns` spells
them out for whoever opens the file with another program.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    REAL,
    CheckConstraint,
    Column,
    Connection,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.schema import CreateTable

from traces.vocabulary import CACHES, DERIVATIONS, ROLES

SCHEMA_VERSION = 4
"""`PRAGMA user_version`. Raise it with each change of a table, and keep reading what was written before.

What came with a later version than 1 bears it (`info={"since": 2}`), and `UPGRADES` says how it is added.
"""

APPLICATION_ID = 0x494E4456
"""`PRAGMA application_id`: "INDV"."""

metadata = MetaData()


def _key() -> Column[str]:
    return Column("key", Text, nullable=False, unique=True)


def _id() -> Column[int]:
    return Column("id", Integer, primary_key=True)


# --- facts

recording = Table(
    "recording", metadata, _id(),
    Column("name", Text, nullable=False), Column("title", Text), Column("source", Text), Column("case_json", Text),
)  # fmt: skip
model = Table(
    "model", metadata, _id(), _key(),
    Column("name", Text), Column("digest", Text), Column("base", Text), Column("dtype", Text),
    Column("layers", Integer), Column("kv_heads", Integer), Column("head_dim", Integer),
)  # fmt: skip
server = Table("server", metadata, _id(), _key(), Column("hardware", Text))
probe = Table(
    "probe", metadata, _id(), _key(),
    Column("axis", Text, nullable=False), Column("layer", Integer), Column("pooling", Text), Column("unit", Text),
    Column("source", Text),
)  # fmt: skip
intervention = Table(
    "intervention", metadata, _id(), _key(),
    Column("kind", Text, nullable=False), Column("vector", Text), Column("digest", Text), Column("layers_json", Text),
    Column("coefficient", REAL), Column("threshold", REAL), Column("positions", Text), Column("method", Text),
    Column("source", Text),
)  # fmt: skip
conversation = Table(
    "conversation", metadata, _id(), _key(),
    Column("recording_id", ForeignKey("recording.id"), nullable=False),
    Column("parent_id", ForeignKey("conversation.id")),
    Column("at", Integer, CheckConstraint("at >= 0")),
    Column("principal", Text, info={"since": 2}),
    CheckConstraint("(parent_id IS NULL) = (at IS NULL)"),
)  # fmt: skip
kv_cache = Table(
    "kv_cache", metadata, _id(), _key(),
    Column("model_id", ForeignKey("model.id"), nullable=False),
    Column("server_id", ForeignKey("server.id")),
    Column("source_id", ForeignKey("kv_cache.id")),
    Column("how", Integer, CheckConstraint(f"how BETWEEN 0 AND {len(DERIVATIONS) - 1}"), nullable=False),
    Column("positions", Integer), Column("drift", REAL, CheckConstraint("drift >= 0")), Column("drift_kl", REAL),
    Column("time", Text),
    Column("drift_mean", REAL, CheckConstraint("drift_mean >= 0"), info={"since": 3}),
    Column("drift_json", Text, info={"since": 3}),
)  # fmt: skip
turn = Table(
    "turn", metadata, _id(),
    Column("conversation_id", ForeignKey("conversation.id"), nullable=False),
    Column("ordinal", Integer, CheckConstraint("ordinal >= 0"), nullable=False),
    Column("role", Integer, CheckConstraint(f"role BETWEEN 0 AND {len(ROLES) - 1}"), nullable=False),
    Column("tokens", Integer, CheckConstraint("tokens >= 1")),
    Column("model_id", ForeignKey("model.id"), nullable=False),
    Column("server_id", ForeignKey("server.id")),
    Column("cache", Integer, CheckConstraint(f"cache BETWEEN 0 AND {len(CACHES) - 1}")),
    Column("edited", Integer, CheckConstraint("edited IN (0, 1)"), nullable=False),
    Column("kv_cache_id", ForeignKey("kv_cache.id")),
    Column("drift", REAL, CheckConstraint("drift >= 0")),
    Column("shared_from_id", ForeignKey("turn.id")),
    Column("start", Integer, CheckConstraint("start >= 0"), info={"since": 3}),
    UniqueConstraint("conversation_id", "ordinal"),
)  # fmt: skip
cache_span = Table(
    "cache_span", metadata,
    Column("cache_id", ForeignKey("kv_cache.id"), primary_key=True), Column("start", Integer, primary_key=True),
    Column("end", Integer, nullable=False),
    Column("how", Integer, CheckConstraint(f"how BETWEEN 0 AND {len(DERIVATIONS) - 1}"), nullable=False),
    Column("source_id", ForeignKey("kv_cache.id")),
    Column("source_start", Integer, CheckConstraint("source_start >= 0")),
    Column("server_id", ForeignKey("server.id")), Column("time", Text), Column("layers_json", Text),
    CheckConstraint('start >= 0 AND "end" > start'),
    sqlite_with_rowid=False, info={"since": 3},
)  # fmt: skip
connection = Table(
    "connection", metadata,
    Column("turn_id", ForeignKey("turn.id"), primary_key=True), Column("from_id", ForeignKey("turn.id"),
    primary_key=True),
    Column("mass", REAL, CheckConstraint("mass BETWEEN 0 AND 1")), Column("kl", REAL, CheckConstraint("kl >= 0")),
    Column("layers", LargeBinary),
    sqlite_with_rowid=False, info={"since": 3},
)  # fmt: skip
turn_detail = Table(
    "turn_detail", metadata, Column("turn_id", ForeignKey("turn.id"), primary_key=True),
    Column("text", Text), Column("token_ids", LargeBinary), Column("token_marks", Text), Column("time", Text),
    Column("sampling_json", Text),
)  # fmt: skip
turn_intervention = Table(
    "turn_intervention", metadata,
    Column("turn_id", ForeignKey("turn.id"), primary_key=True), Column("ordinal", Integer, primary_key=True),
    Column("intervention_id", ForeignKey("intervention.id"), nullable=False),
    sqlite_with_rowid=False,
)  # fmt: skip
coordinate = Table(
    "coordinate", metadata,
    Column("turn_id", ForeignKey("turn.id"), primary_key=True), Column("probe_id", ForeignKey("probe.id"),
    primary_key=True),
    Column("value", REAL, nullable=False),
    sqlite_with_rowid=False,
)  # fmt: skip
token_coordinates = Table(
    "token_coordinates", metadata, Column("turn_id", ForeignKey("turn.id"), primary_key=True),
    Column("probes_json", Text, nullable=False), Column("tokens", Integer, nullable=False),
    Column("float32", LargeBinary, nullable=False),
)  # fmt: skip
proposition = Table("proposition", metadata, _id(), Column("text", Text, nullable=False, unique=True))
belief = Table(
    "belief", metadata, _id(),
    Column("turn_id", ForeignKey("turn.id"), nullable=False),
    Column("proposition_id", ForeignKey("proposition.id"), nullable=False),
    Column("holds", Integer, CheckConstraint("holds IN (0, 1)"), nullable=False),
)  # fmt: skip

# --- interpretation

labelling = Table(
    "labelling",
    metadata,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    Column("own", Integer, nullable=False),
    Column("made_json", Text, info={"since": 4}),
)
space = Table(
    "space", metadata, _id(),
    Column("labelling_id", ForeignKey("labelling.id"), nullable=False), Column("name", Text, nullable=False),
    Column("model", Text, nullable=False), Column("layer", Integer), Column("pooling", Text), Column("unit", Text),
    Column("source", Text), Column("discrete", Integer, CheckConstraint("discrete IN (0, 1)")),
    UniqueConstraint("labelling_id", "name"),
)  # fmt: skip
space_axis = Table(
    "space_axis",
    metadata,
    _id(),
    Column("space_id", ForeignKey("space.id"), nullable=False),
    Column("name", Text, nullable=False),
)
region = Table(
    "region", metadata, _id(), Column("space_id", ForeignKey("space.id"), nullable=False), Column("name", Text,
    nullable=False),
    UniqueConstraint("space_id", "name"),
)  # fmt: skip
region_range = Table(
    "region_range", metadata, _id(),
    Column("region_id", ForeignKey("region.id"), nullable=False), Column("axis_id",
    ForeignKey("space_axis.id"), nullable=False),
    Column("low", REAL), Column("high", REAL), CheckConstraint("low <= high"),
)  # fmt: skip
region_name = Table("region_name", metadata, _id(), Column("name", Text, nullable=False, unique=True))
stated_region = Table(
    "stated_region", metadata,
    Column("turn_id", ForeignKey("turn.id"), primary_key=True),
    Column("region_name_id", ForeignKey("region_name.id"), nullable=False),
)  # fmt: skip

region_probability = Table(
    "region_probability", metadata,
    Column("turn_id", ForeignKey("turn.id"), primary_key=True), Column("ordinal", Integer, primary_key=True),
    Column("region_name_id", ForeignKey("region_name.id"), nullable=False),
    Column("probability", REAL, CheckConstraint("probability BETWEEN 0 AND 1"), nullable=False),
    UniqueConstraint("turn_id", "region_name_id"),
    sqlite_with_rowid=False, info={"since": 2},
)  # fmt: skip

labelled_part = Table(
    "labelled_part", metadata, _id(),
    Column("labelling_id", ForeignKey("labelling.id"), nullable=False),
    Column("turn_id", ForeignKey("turn.id"), nullable=False),
    Column("token", Integer, CheckConstraint("token >= 0"), nullable=False), Column("region", Text),
    UniqueConstraint("labelling_id", "turn_id", "token"),
    info={"since": 4},
)  # fmt: skip
labelled_probability = Table(
    "labelled_probability", metadata,
    Column("part_id", ForeignKey("labelled_part.id"), primary_key=True), Column("region", Text, primary_key=True),
    Column("ordinal", Integer, CheckConstraint("ordinal >= 0"), nullable=False),
    Column("probability", REAL, CheckConstraint("probability BETWEEN 0 AND 1"), nullable=False),
    sqlite_with_rowid=False, info={"since": 4},
)  # fmt: skip

# --- look-up tables and what a reader of the bare file sees

role = Table("role", metadata, Column("code", Integer, primary_key=True), Column("name", Text, nullable=False))
cache = Table("cache", metadata, Column("code", Integer, primary_key=True), Column("name", Text, nullable=False))
derivation = Table(
    "derivation", metadata, Column("code", Integer, primary_key=True), Column("name", Text, nullable=False)
)

LOOKUPS = ((role, ROLES), (cache, CACHES), (derivation, DERIVATIONS))

FACTS = (
    recording, model, server, probe, intervention, conversation, kv_cache, turn, turn_detail,
    turn_intervention, coordinate,
    token_coordinates, proposition, belief, region_name, stated_region, region_probability, cache_span, connection,
)  # fmt: skip

TURNS = (
    "CREATE VIEW turns AS SELECT c.key || '/' || t.ordinal AS stage, c.key AS conversation, t.ordinal, "
    "r.name AS role, t.tokens, m.key "
    "AS model, s.key AS server, c.principal, "
    "k.name AS cache, t.edited, t.drift, v.key AS kv_cache, t.start, n.name AS stated_region, d.time, d.text "
    "FROM turn t JOIN conversation c ON c.id = t.conversation_id JOIN role r ON r.code = t.role JOIN "
    "model m ON m.id = t.model_id "
    "LEFT JOIN server s ON s.id = t.server_id LEFT JOIN cache k ON k.code = t.cache LEFT JOIN "
    "kv_cache v ON v.id = t.kv_cache_id "
    "LEFT JOIN stated_region g ON g.turn_id = t.id LEFT JOIN region_name n ON n.id = g.region_name_id "
    "LEFT JOIN turn_detail d ON d.turn_id = t.id ORDER BY t.conversation_id, t.ordinal"
)


def triggers(table: Table) -> tuple[str, ...]:
    """What holds a table of facts append-only."""
    return tuple(
        f"CREATE TRIGGER {table.name}_no_{verb} BEFORE {verb} ON {table.name} "
        f"BEGIN SELECT RAISE(ABORT, 'facts are append-only'); END"
        for verb in ("update", "delete")
    )


STATEMENTS = (*(statement for table in FACTS for statement in triggers(table)), TURNS)

UPGRADES: dict[int, tuple[str | CreateTable, ...]] = {
    2: (
        "ALTER TABLE conversation ADD COLUMN principal TEXT",
        CreateTable(region_probability),
        *triggers(region_probability),
    ),
    3: (
        "ALTER TABLE turn ADD COLUMN start INTEGER CHECK (start >= 0)",
        "ALTER TABLE kv_cache ADD COLUMN drift_mean REAL CHECK (drift_mean >= 0)",
        "ALTER TABLE kv_cache ADD COLUMN drift_json TEXT",
        CreateTable(cache_span),
        CreateTable(connection),
        *triggers(cache_span),
        *triggers(connection),
        # Last, for a view names columns of every version.
        "DROP VIEW turns",
        TURNS,
    ),
    4: (
        "ALTER TABLE labelling ADD COLUMN made_json TEXT",
        CreateTable(labelled_part),
        CreateTable(labelled_probability),
    ),
}
"""What makes tables of the version before into those of a version. What was recorded stays as it is."""


def stored_version(connection: Connection) -> int:
    """The version of the tables that a connection leads to."""
    return max(1, int(connection.exec_driver_sql("PRAGMA user_version").scalar_one()))


def has(version: int, item: Table | Column[Any]) -> bool:
    """Whether tables of a version have a table, or a column."""
    since: int = item.info.get("since", 1)
    return since <= version
