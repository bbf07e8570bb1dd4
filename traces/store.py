"""trace.db: a trace in one SQLite file. Facts are added whole or not at all, and read back as columns.

>>> from pathlib import Path
>>> from tempfile import TemporaryDirectory
>>> from traces.file import facts_from_data
>>> facts = facts_from_data({"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": [
...     {"role": "user", "tokens": 3, "model": "m"}]}}})
>>> with TemporaryDirectory() as folder:
...     save(Path(folder, "trace.db"), [facts])
...     load(Path(folder, "trace.db")).turns.tokens.tolist()
[3]
"""

from __future__ import annotations

import os
import sqlite3
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection, NullPool, create_engine, event, func, insert, select
from sqlalchemy.exc import DBAPIError

from traces.errors import TraceError, quoted
from traces.facts import CacheSpans, Facts, TurnDetail
from traces.labelling import STATED, check_space_fits, labelling_names, regions_of
from traces.new_file import new_file, sweep
from traces.paths import path_order
from traces.schema import (
    APPLICATION_ID,
    LOOKUPS,
    SCHEMA_VERSION,
    STATEMENTS,
    UPGRADES,
    conversation,
    metadata,
    recording,
    stored_version,
    turn,
)
from traces.sqlite_file import MAGIC, is_held
from traces.store_reading import read_cache_spans, read_details, read_facts
from traces.store_writing import Progress, add_facts, add_spaces, add_turn_labels
from traces.turn_labels import rows_of
from traces.vocabulary import CACHES, DERIVATIONS, ROLES, LabelledTurn, Labelling, Name, Space

_HEADER = 100
_WAIT_SECONDS = 3.0


def load(path: Path) -> Facts:
    """All facts of a stored trace; texts and other details are read when asked for.

    Raises `TraceError` for a file that is missing, not a trace, truncated, damaged, locked, or of a newer version.
    """
    facts = load_as_it_is(path)
    with _fitting_together(path):
        _refuse_unsound(facts)
    return facts


def load_as_it_is(path: Path) -> Facts:
    """All facts of a stored trace, sound or not, for `individuate check`, which says what is wrong with them."""
    with _opened(path, writing=False) as connection, _fitting_together(path):
        facts = read_facts(connection, path.name)

    def details() -> Mapping[int, TurnDetail]:
        with _opened(path, writing=False) as connection, _fitting_together(path):
            return read_details(connection)

    def cache_spans() -> CacheSpans:
        with _opened(path, writing=False) as connection, _fitting_together(path):
            return read_cache_spans(connection, facts)

    facts.details = details
    facts.cache_spans = cache_spans
    return facts


@contextmanager
def _fitting_together(path: Path) -> Iterator[None]:
    """Values that this program would not have written, in the user's words."""
    try:
        yield
    except (ValueError, TypeError, LookupError, ArithmeticError, MemoryError) as error:
        raise TraceError(
            str(path),
            "it is damaged: its tables do not fit together",
            "an undamaged trace.db; `individuate check` says what is wrong with this one",
        ) from error


def _refuse_unsound(facts: Facts) -> None:
    """Raise `ValueError` where a column refers to nothing: later, that would be an index error or an endless path."""
    table, turns, caches = facts.conversations, facts.turns, facts.caches
    models, servers = len(facts.models), len(facts.servers)
    for codes, least, number in (
        (turns.role, 0, len(ROLES)), (turns.model, 0, models), (turns.server, -1, servers),
        (turns.cache, -1, len(CACHES)), (turns.kv, -1, len(caches)), (turns.shared_from, -1, len(turns)),
        (table.parent, -1, len(table)), (caches.model, 0, models), (caches.server, -1, servers),
        (caches.source, -1, len(caches)), (caches.how, 0, len(DERIVATIONS)),
        (facts.coordinates.probe, 0, len(facts.probes)), (facts.coordinates.turn, 0, len(turns)),
        (facts.stated, -1, len(facts.regions)), (facts.beliefs.turn, 0, len(turns)),
        (facts.chances.turn, 0, len(turns)), (facts.chances.region, 0, len(facts.regions)),
        (facts.beliefs.proposition, 0, len(facts.beliefs.propositions)),
        (facts.connections.turn, 0, len(turns)), (facts.connections.source, 0, len(turns)),
    ):  # fmt: skip
        if len(codes) and not (least <= int(codes.min()) and int(codes.max()) < number):
            raise ValueError("a code stands for nothing")
    for name, labels in facts.turn_labels.items():
        known = {region for space in facts.labellings[name].values() for region in space.regions}
        said = {region for each in labels.turns.values() for _, part in each.parts for region in part.regions}
        if not said <= known or not all(0 <= row < len(turns) for row in labels.turns):
            raise ValueError("a labelled turn or its region is not there")
    path_order(table.parent)
    longest = table.at[table.parent] + table.size[table.parent]
    if bool(((table.parent >= 0) & ((table.at > longest) | (table.at < 0))).any()):
        raise ValueError("a branch point lies beyond its parent's path")


def save(path: Path, recordings: Sequence[Facts], progress: Progress | None = None) -> None:
    """Add recordings to a stored trace, all or none; the file is made if it does not exist.

    Raises `TraceError`, and then the file is as it was before.
    """
    if path.exists():
        sweep(path)
        with _opened(path, writing=True) as connection:
            _add_all(connection, recordings, path.name, progress)
        return
    with making(path) as connection:
        _add_all(connection, recordings, path.name, progress)


@contextmanager
def making(path: Path) -> Iterator[Connection]:
    """A connection to the empty tables of a new trace.db, which appears whole once the block ends well, or not at all.

    Raises `TraceError` where it cannot be, or a file is there.
    """
    with saying_why(path), new_file(path) as temporary:
        with _transaction(temporary, "rwc", writing=True) as connection:
            create_tables(connection)
            yield connection
        # Lasting, and impossible within the transaction that SQLAlchemy opens for every connection.
        with closing(sqlite3.connect(temporary)) as finished:
            finished.execute("PRAGMA journal_mode = WAL")


def bring_up_to_date(path: Path) -> None:
    """Make the tables of a stored trace those of this version. Raises `TraceError` for what `load` refuses."""
    sweep(path)
    with _opened(path, writing=True):
        pass
    load(path)


def gathered(recordings: Sequence[Facts], name: str) -> Facts:
    """Several recordings as one trace, as `save` would join them, without a file."""
    with _transaction(None, "rwc", writing=True) as connection:
        create_tables(connection)
        _add_all(connection, recordings, name, None)
        joined = read_facts(connection, name)
        details, spans = read_details(connection), read_cache_spans(connection, joined)
    joined.details = lambda: details
    joined.cache_spans = lambda: spans
    return joined


def add_labelling(
    path: Path,
    name: str,
    spaces: Mapping[str, Space],
    turns: Mapping[str, LabelledTurn] | None = None,
    made: Mapping[str, Any] | None = None,
) -> Facts:
    """Add a labelling to a stored trace, and give back its facts with it.

    It goes by the ranges of its spaces; or, where `turns` are given, by what they say of each turn
    (CONVERSATION/ORDINAL), in the regions of its spaces. `made` says how that was found.

    Raises `TraceError` where the name is taken, a space is of a model or its ranges on axes that the trace does not
    have, or `turns` say what cannot be said of the trace's turns.
    """
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError:
        expected = "a name without blanks at its ends, line breaks or control characters"
        raise TraceError("--name", f"it is {quoted(name)}", expected) from None
    with _opened(path, writing=True) as connection:
        with _fitting_together(path):
            facts = read_facts(connection, path.name)
        if name in (STATED, *labelling_names(facts), *facts.spaces):
            raise TraceError(path.name, f'it already has a labelling "{name}"', "another name (--name)")
        for key, space in spaces.items():
            check_space_fits(facts, key, space, by_ranges=turns is None)
        add_spaces(connection, name, spaces, own=False, made=made)
        if turns is not None:
            _add_turns(connection, facts, name, _labelling(name, spaces, turns))
    return load(path)


def _labelling(name: str, spaces: Mapping[str, Space], turns: Mapping[str, LabelledTurn]) -> Labelling:
    if not turns:
        raise TraceError(f"labelling {name}", "it says nothing of any turn", "one labelled turn at least")
    try:
        return Labelling(spaces=dict(spaces), turns=dict(turns))
    except ValidationError as error:
        found, _, expected = error.errors()[0]["msg"].partition("|")
        raise TraceError(f"labelling {name}", found, expected or "labelled turns") from None


def _add_turns(connection: Connection, facts: Facts, name: str, labelling: Labelling) -> None:
    rows = rows_of(facts, f"labelling {name}", labelling.turns)
    keys = connection.execute(select(conversation.c.key, conversation.c.id))
    conversations = {row.key: row.id for row in keys}
    ids = {(row.conversation_id, row.ordinal): row.id for row in connection.execute(select(turn))}
    by_id = {
        ids[conversations[facts.conversations.names[facts.turns.conversation[row]]], facts.ordinal(row)]: labelled
        for row, labelled in rows.items()
    }
    add_turn_labels(connection, name, by_id)


def _add_all(connection: Connection, recordings: Sequence[Facts], target: str, progress: Progress | None) -> None:
    for facts in recordings:
        add_facts(connection, facts, target, progress)
    if connection.execute(select(func.count()).select_from(recording)).scalar_one() > 1:
        # Each recording may be sound and the whole not: a space that fits one may be ambiguous among all probes.
        with _fitting_together(Path(target)):
            joined = read_facts(connection, target)
        for labelling in (None, *labelling_names(joined)):
            regions_of(joined, labelling)


def create_tables(connection: Connection) -> None:
    """Make the tables of an empty trace.db."""
    metadata.create_all(connection)
    for table, names in LOOKUPS:
        connection.execute(insert(table), [{"code": code, "name": name} for code, name in enumerate(names)])
    for statement in STATEMENTS:
        connection.exec_driver_sql(statement)
    connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _upgrade(connection: Connection) -> None:
    """Bring the tables of an older version up to this one, within the transaction that is to write in them."""
    for version in range(stored_version(connection) + 1, SCHEMA_VERSION + 1):
        for statement in UPGRADES[version]:
            if isinstance(statement, str):
                connection.exec_driver_sql(statement)
            else:
                connection.execute(statement)
        connection.exec_driver_sql(f"PRAGMA user_version = {version}")


@contextmanager
def reading(path: Path) -> Iterator[Connection]:
    """A connection to a stored trace that cannot change it."""
    with _opened(path, writing=False) as connection:
        yield connection


# --- opening


def _connected(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(address(path, mode), uri=True, isolation_level=None, timeout=_WAIT_SECONDS)


def address(path: Path, mode: str) -> str:
    """A file as SQLite opens it by a URI."""
    return f"file:{quote(str(path.absolute()))}?mode={mode}"


def _reader(path: Path) -> sqlite3.Connection:
    """A connection to a file and its write-ahead log, whatever may be written beside them.

    As it lies, without SQLite's locks, it is read only where its folder takes no log, and none with content is there.
    """
    log = Path(f"{path}-wal")
    as_it_lies = "ro&immutable=1"
    if os.access(path, os.W_OK) and os.access(path.absolute().parent, os.W_OK):
        ways = ["rw", "ro", as_it_lies]
    else:
        ways = ["ro", as_it_lies] if log.exists() else [as_it_lies]
    while True:
        way = ways.pop(0)
        connection = _connected(path, way)
        try:
            connection.execute("SELECT 1 FROM sqlite_master").fetchone()
            return connection
        except BaseException as error:
            # Not only SQLite's own errors: on a damaged file the driver may fail to decode the message of one.
            connection.close()
            another_way_may_do = isinstance(error, sqlite3.OperationalError) and "locked" not in str(error)
            if not ways or not another_way_may_do:
                raise
            if ways == [as_it_lies] and log.exists() and log.stat().st_size:
                raise TraceError(
                    str(path),
                    f"what was written last is still in {log.name}, which cannot be read here",
                    "a folder that you may write to, or a trace that its owner has read since",
                ) from error


@contextmanager
def _transaction(path: Path | None, mode: str, writing: bool) -> Iterator[Connection]:
    """One transaction on a file (None: in memory), committed at the end; every connection is closed, come what may."""
    opened: list[sqlite3.Connection] = []

    def connect() -> sqlite3.Connection:
        if path is None:
            opened.append(sqlite3.connect(":memory:", isolation_level=None))
        else:
            opened.append(_reader(path) if mode == "ro" else _connected(path, mode))
        return opened[-1]

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def _set_up(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA foreign_keys = ON")
        if mode == "rwc":
            # Nobody sees the file before it is whole, so a journal would protect nothing.
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute("PRAGMA synchronous = OFF")
        else:
            connection.execute(f"PRAGMA query_only = {'OFF' if writing else 'ON'}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # The driver's own idea of when to begin would leave reads and table definitions outside the transaction.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    try:
        with engine.begin() as connection:
            yield connection
    finally:
        # SQLAlchemy drops a connection on which its own first questions fail, as on a damaged file, without closing it.
        for raw in opened:
            raw.close()


@contextmanager
def _opened(path: Path, writing: bool) -> Iterator[Connection]:
    _check_header(path)
    with saying_why(path):
        if writing and not os.access(path, os.W_OK):
            raise TraceError(str(path), "it is read-only", "a trace.db that you may write to")
        with _transaction(path, "rw" if writing else "ro", writing) as connection:
            if writing:
                _upgrade(connection)
            yield connection


def _check_header(path: Path) -> None:
    """Refuse what SQLite itself would refuse late or not at all, by the file's first 100 bytes."""
    if is_held(path):
        return
    where = str(path)
    expected = "a trace.db, as `individuate import` makes them"
    if path.is_dir():
        raise TraceError(where, "it is a directory", expected)
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER)
        size = path.stat().st_size
    except FileNotFoundError:
        raise TraceError(where, "there is no such file", expected) from None
    except OSError as error:
        raise TraceError(where, f"it cannot be read: {error.strerror}", "a file that you may read") from None
    if not header.startswith(MAGIC) or len(header) < _HEADER:
        found = (
            "it is an SQLite file cut off in its first 100 bytes"
            if header.startswith(MAGIC)
            else "it is not an SQLite file"
        )
        raise TraceError(where, found, expected)
    page_size = struct.unpack(">H", header[16:18])[0]
    page_size = 65536 if page_size == 1 else page_size
    changes, pages = struct.unpack(">II", header[24:32])
    version, application = struct.unpack(">I", header[60:64])[0], struct.unpack(">I", header[68:72])[0]
    size_is_valid = changes == struct.unpack(">I", header[92:96])[0]
    if application != APPLICATION_ID:
        raise TraceError(where, "it is an SQLite file, but not a trace", expected)
    if version > SCHEMA_VERSION:
        raise TraceError(
            where,
            f"it was written by a newer version of this program (schema {version})",
            f"schema {SCHEMA_VERSION} or older",
        )
    if size_is_valid and size < page_size * pages:
        # Not so while another process moves its log into the file, which then grows.
        if Path(f"{path}-wal").exists() or path.stat().st_size > size:
            return
        raise TraceError(
            where, f"it is truncated: {size:,} of {page_size * pages:,} bytes", "the whole file: copy it again"
        )


@contextmanager
def saying_why(path: Path) -> Iterator[None]:
    """Errors of the driver in the user's words."""
    try:
        yield
    except DBAPIError as error:
        raise _explained(path, str(error.orig)) from error
    except sqlite3.Error as error:
        raise _explained(path, str(error)) from error
    except UnicodeDecodeError as error:
        # What the driver wanted to say quoted the damage.
        raise _explained(path, "malformed") from error


_REASONS: tuple[tuple[str, str, str], ...] = (
    ("locked", "another program holds it for itself", "a trace.db that nobody else is using: try again in a moment"),
    ("is full", "there is no room left on the device", "free space"),
    ("disk I/O", "the device failed or has no room left", "a device that works and has room"),
    ("readonly", "it is read-only", "a place that you may write to"),
    ("unable to open", "it cannot be opened there", "a folder that exists and that you may write to"),
    ("malformed", "it is damaged", "an undamaged file: copy it again, or import its source again"),
    ("not a database", "it is damaged", "an undamaged file: copy it again, or import its source again"),
    ("no such table", "it lacks tables of a trace", "a trace.db, as `individuate import` makes them"),
    ("no such column", "it lacks columns of a trace", "a trace.db, as `individuate import` makes them"),
    ("append-only", "something tried to change what was recorded", "facts are only ever added"),
)


def _explained(path: Path, message: str) -> TraceError:
    for sign, found, expected in _REASONS:
        if sign in message:
            return TraceError(str(path), found, expected)
    return TraceError(str(path), f"SQLite says: {message}", "a sound trace.db")
