"""A recording written turn by turn: the cost of `TraceWriter` over the same rows in the same transactions by `sqlite3`.

CPU time a turn. The disk is the same for both, and waited for only when SQLite moves its log into the file.
"""

from __future__ import annotations

import gc
import sqlite3
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import measuring
from measuring import Figure

TURNS, TOKENS, PROBES = 2_000, (20, 60), 6
WRITING_BAR, LATENCY_BAR = 3.0, 1.0


def measure(stages: int, repeat: int) -> list[Figure]:
    """Medians of alternating runs, each in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder, "written.db")
        measuring.child("writer.py", "write", written)
        ours, bare = measuring.alternating(
            repeat,
            lambda: measuring.child("writer.py", "write", Path(folder, "again.db")),
            lambda: measuring.child("writer.py", "bare", written, Path(folder, "bare.db")),
        )
    return [
        Figure(f"a turn of a recording, {PROBES} probes, CPU", "µs", ours["cpu"], bare["cpu"], WRITING_BAR),
        Figure("  from call to commit, median", "ms", ours["latency"], None, LATENCY_BAR),
    ]


def write(path: str) -> dict[str, float]:
    """One conversation, turn by turn, as a recorder records it."""
    import numpy as np

    from traces.vocabulary import CacheSpan, KVCache, Model, Probe, Server, Turn
    from traces.writer import NewTurn, TraceWriter

    Path(path).unlink(missing_ok=True)
    rng = np.random.default_rng(20260414)
    probes = tuple(f"axis@{number}" for number in range(PROBES))
    with TraceWriter.open(path, recording="benchmark") as writer:
        writer.model("m", Model(digest="sha256:1"))
        writer.server("s", Server())
        for probe in probes:
            writer.probe(probe, Probe(axis="axis", layer=int(probe[5:])))
        writer.cache("k", KVCache(model="m", server="s", how="decoded"))
        writer.conversation("c")
        turns, start = [], 0
        for number in range(TURNS):
            tokens = TOKENS[number % 2]
            grid = rng.normal(size=(PROBES, tokens)).astype(np.float32)
            span = CacheSpan(start=start, end=start + tokens, how="decoded" if number % 2 else "prefilled", server="s")
            said = Turn(
                role="assistant" if number % 2 else "user", tokens=tokens, model="m", server="s", kv="k", start=start,
                time="2026-04-14T16:33:03Z", text="word " * tokens, token_marks="c" * tokens, sampling={"seed": number},
            )  # fmt: skip
            turns.append(
                NewTurn(
                    said, token_ids=np.arange(tokens, dtype=np.int32), token_probes=probes, token_coordinates=grid,
                    coordinates=dict(zip(probes, grid.mean(1).tolist(), strict=True)), spans={"k": [span]},
                )
            )  # fmt: skip
            start += tokens
        gc.collect()
        waits = []
        spent = time.process_time()
        for turn in turns:
            began = time.perf_counter()
            writer.turns("c", [turn])
            waits.append(time.perf_counter() - began)
        spent = time.process_time() - spent
    return {"cpu": 1e6 * spent / TURNS, "latency": 1e3 * statistics.median(waits)}


_OF_A_TURN = {
    "turn": "id", "turn_detail": "turn_id", "coordinate": "turn_id", "token_coordinates": "turn_id",
}  # fmt: skip


def bare(trace: str, path: str) -> dict[str, float]:
    """The rows of the same turns, which are there already as tuples, into tables that are made alike."""
    Path(path).unlink(missing_ok=True)
    with closing(sqlite3.connect(trace)) as source, closing(sqlite3.connect(path, isolation_level=None)) as target:
        for (sql,) in source.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type <> 'table'"):
            target.execute(sql)
        target.execute("PRAGMA journal_mode = WAL")
        target.execute("PRAGMA synchronous = NORMAL")
        target.execute("PRAGMA wal_autocheckpoint = 4000")
        rows: list[list[tuple[str, list[tuple[Any, ...]]]]] = []
        spans = source.execute("SELECT * FROM cache_span ORDER BY start").fetchall()
        for number in range(1, TURNS + 1):
            of_turn = []
            for table, key in _OF_A_TURN.items():
                of = source.execute(f"SELECT * FROM {table} WHERE {key} = ?", (number,)).fetchall()
                of_turn.append((f"INSERT INTO {table} VALUES ({', '.join('?' for _ in of[0])})", of))
            span = spans[number - 1]
            of_turn.append((f"INSERT INTO cache_span VALUES ({', '.join('?' for _ in span)})", [span]))
            rows.append(of_turn)
        gc.collect()
        spent = time.process_time()
        for of_turn in rows:
            target.execute("BEGIN IMMEDIATE")
            for statement, of in of_turn:
                target.executemany(statement, of)
            target.execute("COMMIT")
        spent = time.process_time() - spent
    return {"cpu": 1e6 * spent / TURNS}


if __name__ == "__main__":
    measuring.main(measure, {"write": write, "bare": bare})
