"""trace.db: read and counted under all views, against a bare scan of the same rows; written, against bare executemany.

CPU time is that of the work; `with start` is that of the process, with the interpreter's start and all imports.
"""

from __future__ import annotations

import gc
import json
import resource
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import measuring
from measuring import Figure

READING_BAR, MEMORY_BAR, WRITING_BAR = 1.8, 600.0, 2.0

READ = {
    "recording": "id, name, title, source, case_json",
    "model": "id, key, name, digest, base, dtype, layers, kv_heads, head_dim",
    "server": "id, key, hardware",
    "probe": "id, key, axis, layer, pooling, unit, source",
    "intervention": "id, key, kind, vector, digest, layers_json, coefficient, threshold, positions, method, source",
    "space_axis": "id, space_id, name",
    "region": "id, space_id, name",
    "region_range": "id, region_id, axis_id, low, high",
    "space": "id, labelling_id, name, model, layer, pooling, unit, source, discrete",
    "labelling": "id, name, own",
    "conversation": "id, key, parent_id, at, principal",
    "turn": "id, conversation_id, ordinal, role, tokens, model_id, server_id, cache, edited, kv_cache_id, drift, "
    "shared_from_id, start",
    "kv_cache": "id, key, model_id, server_id, source_id, how, positions, drift, drift_kl, time, "
    "drift_mean, drift_json",
    "connection": "turn_id, from_id, mass, kl",
    "coordinate": "turn_id, probe_id, value",
    "region_name": "id, name",
    "stated_region": "turn_id, region_name_id",
    "region_probability": "turn_id, ordinal, region_name_id, probability",
    "proposition": "id, text",
    "belief": "id, turn_id, proposition_id, holds",
}
"""The tables and columns that `traces.store.load` reads."""


def measure(stages: int, repeat: int) -> list[Figure]:
    """Medians of alternating runs, each in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder, "trace.db")
        measuring.child("store.py", "write", stages, trace)
        scan, count = measuring.alternating(
            repeat,
            lambda: measuring.child("store.py", "scan", trace),
            lambda: measuring.child("store.py", "count", trace),
        )
        bare, write = measuring.alternating(
            repeat,
            lambda: measuring.child("store.py", "bare", trace, Path(folder, "bare.db")),
            lambda: measuring.child("store.py", "write", stages, Path(folder, "written.db")),
        )
    bare_cost, cost = (
        [1e6 * cpu / rows for cpu, rows in zip(side["cpu"], side["rows"], strict=True)] for side in (bare, write)
    )
    return [
        Figure(f"trace.db of {stages:,} stages to all views", "s", count["cpu"], scan["cpu"], READING_BAR),
        Figure("  with start", "s", count["with_start"], scan["with_start"]),
        Figure("  peak memory", "MB", count["memory"], None, MEMORY_BAR),
        Figure("  peak memory, against the scan's", "MB", count["memory"], scan["memory"]),
        Figure(f"import of {stages:,} stages, CPU a row", "µs", cost, bare_cost, WRITING_BAR),
    ]


def scan(trace: str) -> dict[str, float]:
    """Every row of every table and column that `load` reads, through the driver, and nothing done with it."""
    imported = time.process_time()
    with closing(sqlite3.connect(trace)) as connection:
        for table, columns in READ.items():
            for _ in connection.execute(f"SELECT {columns} FROM {table}"):
                pass
    return _spent(imported)


def count(trace: str) -> dict[str, float]:
    """From the file to the summaries of all views as JSON."""
    import individuation.engine
    import rules.registry
    import traces.store  # noqa: F401  (imported when first needed, else)

    imported = time.process_time()
    opened = individuation.engine.open_trace(trace)
    text = json.dumps([result.summary() for result in individuation.engine.overview(opened)])
    spent = _spent(imported)
    if len(json.loads(text)) != len(rules.registry.VIEWS):
        raise SystemExit("a view is missing")
    return spent


def _spent(imported: float) -> dict[str, float]:
    now = time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "cpu": now - imported,
        "with_start": now,
        "memory": peak / (1e6 if sys.platform == "darwin" else 1e3 / 1.024),
    }


def write(stages: str, path: str) -> dict[str, float]:
    """`traces.store.save` into a new file, with the turning of columns into rows."""
    from worlds import world

    from traces.store import save

    facts = world(int(stages))
    Path(path).unlink(missing_ok=True)
    gc.collect()
    start = time.process_time()
    save(Path(path), [facts])
    return {"cpu": time.process_time() - start, "rows": _rows(path)}


def bare(trace: str, path: str) -> dict[str, float]:
    """The same rows, as tuples that are there already, by `executemany` into tables with the same columns."""
    Path(path).unlink(missing_ok=True)
    with closing(sqlite3.connect(trace)) as connection:
        tables = {table: connection.execute(f"PRAGMA table_info({table})").fetchall() for table in _tables(connection)}
        rows = {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables}
    gc.collect()
    start = time.process_time()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("BEGIN")
        for table, columns in tables.items():
            keys = sum(bool(key) for *_, key in columns)
            described = ", ".join(
                f'"{name}" {kind}' + (" PRIMARY KEY" if key and keys == 1 else "") for _, name, kind, *_, key in columns
            )
            connection.execute(f"CREATE TABLE {table} ({described})")
            connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' for _ in columns)})", rows[table])
    spent = time.process_time() - start
    if _rows(path) != _rows(trace):
        raise SystemExit("rows are missing")
    return {"cpu": spent, "rows": _rows(path)}


def _tables(connection: sqlite3.Connection) -> list[str]:
    query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
    return [name for (name,) in connection.execute(query)]


def _rows(path: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        counts = [connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in _tables(connection)]
    return sum(counts)


if __name__ == "__main__":
    measuring.main(measure, {"scan": scan, "count": count, "write": write, "bare": bare})
