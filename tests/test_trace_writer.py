"""A trace that grows while it is recorded: what is in it, what is refused, and what an end at any moment leaves."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from worlds import worlds

from traces.check import check_store
from traces.errors import TraceError
from traces.file import facts_from_data, write
from traces.recognition import read
from traces.rendering import document_data
from traces.schema import SCHEMA_VERSION
from traces.store import load
from traces.vocabulary import (
    CacheSpan,
    Connection,
    Intervention,
    KVCache,
    Model,
    Probe,
    Server,
    Space,
    TraceDocument,
    Turn,
)
from traces.writer import NewTurn, TraceWriter

GOLDEN = Path(__file__).parent / "golden"


def breaches(path):
    return [breach for finding in check_store(path) for breach in finding.breaches]


def begun(path, **more):
    """A writer with what a small recording declares."""
    writer = TraceWriter.open(path, recording="a chat", **more)
    with writer.atomically():
        writer.model("m", Model(name="a model", digest="sha256:1", layers=2))
        writer.model("other", Model(digest="sha256:2"))
        writer.server("here", Server(hardware="CPU"))
        writer.server("there", Server())
        writer.probe("calm", Probe(axis="calm", layer=1))
        writer.space("calm axis", Space(model="m", axes=("calm",), layer=1, regions={"high": {"calm": (0.0, None)}}))
        writer.intervention("nudge", Intervention(kind="steering", coefficient=2.0, layers=(1,)))
        writer.cache("k", KVCache(model="m", server="here", how="decoded"))
        writer.conversation("c", principal="Ann")
    return writer


def said(role="user", tokens=2, model="m", **more):
    return NewTurn(Turn(role=role, tokens=tokens, model=model, **more))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "trace.db"


# --- what is in it


def declared(writer, facts):
    for kind, items in (
        ("model", facts.models), ("server", facts.servers), ("probe", facts.probes), ("space", facts.spaces),
    ):  # fmt: skip
        for key, item in items.items():
            getattr(writer, kind)(key, item)


def ready(world, written, name):
    """Whether the next turn of a conversation can be written: what it refers to is there."""
    conversation = world["conversations"][name]
    parent = conversation.get("parent")
    if parent is not None and name not in written:
        # A turn of the path may stand in any of the branches above.
        if parent not in written:
            return False
        above = world["conversations"][parent]
        if above.get("at", 0) + written[parent] < conversation["at"]:
            return False
    done = written.get(name, 0)
    if done == len(conversation["turns"]):
        return False
    origin, _, ordinal = conversation["turns"][done].get("shared_from", "").rpartition("/")
    return not origin or written.get(origin, 0) > int(ordinal)


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(worlds(recorded=True), st.randoms(use_true_random=False), st.booleans())
def test_what_is_written_turn_by_turn_in_any_order_is_what_a_file_would_hold(tmp_path_factory, world, rng, at_once):
    for conversation in world["conversations"].values():
        if "parent" in conversation:
            conversation.pop("principal", None)
    facts = facts_from_data(world)
    document = TraceDocument.model_validate({**world, "title": None})
    path = tmp_path_factory.mktemp("written") / "trace.db"
    written = {}
    with TraceWriter.open(path, recording="world") as writer:
        declared(writer, facts)
        for key, cache in document.caches.items():
            writer.cache(key, cache)
        while names := [name for name in world["conversations"] if ready(world, written, name)]:
            name = rng.choice(names)
            conversation = document.conversations[name]
            writer.conversation(name, conversation.parent, conversation.at, conversation.principal)
            done = written.setdefault(name, 0)
            first = int(facts.conversations.first[facts.conversations.names.index(name)])
            more = 1
            while at_once and rng.random() < 0.5 and ready(world, {**written, name: done + more}, name):
                more += 1
            turns = []
            for ordinal in range(done, done + more):
                row = first + ordinal
                server = facts.turns.server[row]
                known = {
                    "model": list(facts.models)[facts.turns.model[row]],
                    "server": None if server < 0 else list(facts.servers)[server],
                }
                turns.append(NewTurn(conversation.turns[ordinal].model_copy(update=known)))
            assert writer.turns(name, turns) == tuple(f"{name}/{k}" for k in range(done, done + more))
            written[name] += more
        for name in world["conversations"]:
            assert len(writer.recorded(name)) == len(world["conversations"][name]["turns"])
    assert document_data(load(path)) == document_data(facts)
    # What the views cannot make sense of was in the world already.
    assert breaches(path) == []


def test_a_turn_is_recorded_with_everything_that_it_carries(path):
    grid = np.array([[0.5, np.nan, -2.0]], np.float32)
    turn = NewTurn(
        Turn(
            role="assistant", tokens=3, model="m", server="here", kv="k", start=0, text="né", token_marks="tch",
            time="2026-04-14T16:33:03Z", sampling={"seed": 7}, interventions=["nudge"], edited=True,
        ),
        token_ids=np.array([5, 6, 7]), coordinates={"calm": np.float64(0.25)}, token_probes=("calm",),
        token_coordinates=grid, spans={"k": [CacheSpan(start=0, end=3, how="prefilled", server="here")]},
    )  # fmt: skip
    with begun(path, title="All", source="us") as writer:
        assert writer.turns("c", [turn]) == ("c/0",)
        writer.turns("c", [said(connections={"c/0": Connection(mass=0.5, mass_by_layer=(0.25, 0.75))})])
        (there, _) = writer.recorded("c")
        assert (there.ordinal, there.role, there.tokens, there.kv, there.start) == (0, "assistant", 3, "k", 0)
        assert (there.model, there.server, there.text, there.token_marks) == ("m", "here", "né", "tch")
        assert there.token_ids.tolist() == [5, 6, 7]
        assert writer.spans("k") == (CacheSpan(start=0, end=3, how="prefilled", server="here"),)
        assert writer.names("model") == ["m", "other"]
    data = document_data(load(path))
    packed = "AAAAPwAAwH8AAADA"
    assert (data["title"], data["source"]) == ("All", "us")
    assert data["conversations"]["c"] == {
        "principal": "Ann",
        "turns": [
            {
                "role": "assistant", "tokens": 3, "model": "m", "server": "here", "kv": "k", "start": 0, "edited": True,
                "at": {"calm": 0.25}, "interventions": ["nudge"], "time": "2026-04-14T16:33:03Z", "sampling": {"seed": 7},
                "text": "né", "token_ids": [5, 6, 7], "token_marks": "tch",
                "at_tokens": {"probes": ["calm"], "float32": packed},
            },
            {"role": "user", "tokens": 2, "server": None, "connections": {"c/0": {"mass": 0.5, "mass_by_layer": [0.25, 0.75]}}},
        ],
    }  # fmt: skip
    assert breaches(path) == []
    # A token that was not read is so in a file, too.
    write(load(path), path.with_suffix(".json"))
    again = read(path.with_suffix(".json")).details()[0].token_coordinates
    assert np.array_equal(again, grid, equal_nan=True)


def test_a_file_that_is_opened_and_given_nothing_is_an_empty_trace(path, run):
    TraceWriter.open(path, recording="nothing").close()
    assert breaches(path) == []
    assert len(load(path).turns) == 0
    assert run("info", path).exit_code == 0
    assert [item.name for item in path.parent.iterdir()] == ["trace.db"]


def test_a_recording_goes_on_in_the_same_trace(path):
    with begun(path) as writer:
        writer.turns("c", [said()])
    with begun(path) as writer:
        assert [turn.ordinal for turn in writer.recorded("c")] == [0]
        assert writer.recorded("new") == []
        writer.turns("c", [said("assistant", server="there")])
        writer.conversation("branch", "c", 1)
        assert writer.turns("branch", [said()]) == ("branch/0",)
    facts = load(path)
    assert [facts.stage_name(row) for row in range(3)] == ["c/0", "c/1", "branch/0"]
    assert [facts.principals[code] for code in facts.conversations.principal] == ["Ann", "Ann"]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM recording").fetchone() == (1,)


@pytest.mark.parametrize("version", [1, 2])
def test_a_trace_of_an_older_version_is_brought_up_to_date(version, path):
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((GOLDEN / f"everything-{version}.sql").read_text(encoding="utf-8"))
        connection.execute("UPDATE space SET layer = 50 WHERE name = 'narrow'")
        connection.commit()
    before = len(load(path).turns)
    with begun(path) as writer:
        writer.turns("c", [said(start=3)])
        writer.turns("c1", [said(model="qwen")])
    assert len(load(path).turns) == before + 2
    assert breaches(path) == []
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)


def test_a_cache_grows_by_what_is_new_of_its_spans(path):
    first = CacheSpan(start=0, end=4, how="prefilled")
    with begun(path) as writer:
        writer.turns("c", [NewTurn(said().turn, spans={"k": [first]})])
        grown = [first, CacheSpan(start=4, end=6, how="decoded"), CacheSpan(start=6, end=9, how="prefilled")]
        writer.turns("c", [NewTurn(said().turn, spans={"k": grown[:2]})])
        # As a cache tells it that has joined what it decoded before and after.
        writer.turns("c", [NewTurn(said().turn, spans={"k": [first, CacheSpan(start=4, end=8, how="decoded")]})])
        fork = CacheSpan(start=0, end=8, how="shared", source="k", source_start=0)
        writer.cache("f", KVCache(model="m", server="here", how="decoded", source="k", spans=(fork,)))
        longer = CacheSpan(start=0, end=8, how="shared", source="k", source_start=0)
        writer.turns("c", [NewTurn(said().turn, spans={"f": [longer, CacheSpan(start=8, end=9, how="decoded")]})])
        assert [(span.start, span.end) for span in writer.spans("k")] == [(0, 4), (4, 6), (6, 8)]
    with begun(path) as writer:
        assert [(span.start, span.end, span.source) for span in writer.spans("f")] == [(0, 8, "k"), (8, 9, None)]
    assert breaches(path) == []


def test_connections_can_be_measured_later_and_once(path):
    with begun(path) as writer:
        writer.turns("c", [said(), said("assistant")])
        writer.conversation("b", "c", 1)
        writer.turns("b", [said("assistant")])
        writer.connections("b/0", {"c/0": Connection(kl=0.5)})
        with pytest.raises(TraceError, match="recorded already"):
            writer.connections("b/0", {"c/0": Connection(kl=0.75)})
        with pytest.raises(TraceError, match="which is not before it"):
            writer.connections("b/0", {"c/1": Connection(kl=0.5)})
    assert load(path).connections.kl.tolist() == [0.5]


# --- what is refused


def span(start, end, how="decoded", **more):
    return CacheSpan(start=start, end=end, how=how, **more)


def with_spans(*spans, cache="k"):
    return lambda w: w.turns("c", [NewTurn(said().turn, spans={cache: list(spans)})])


def with_grid(probes, grid, tokens=2):
    grid = np.array(grid, np.float32)
    return lambda w: w.turns("c", [NewTurn(said(tokens=tokens).turn, token_probes=probes, token_coordinates=grid)])


REFUSED = {
    "another model of the name": (lambda w: w.model("m", Model(name="else")), "its name is"),
    "another server of the name": (lambda w: w.server("here", Server()), "its hardware is"),
    "another space of the name": (lambda w: w.space("calm axis", Space(model="m", axes=("calm",))), "another space"),
    "a space of no model": (lambda w: w.space("new", Space(model="x", axes=("calm",))), "no model"),
    "another cache of the name": (lambda w: w.cache("k", KVCache(model="m", how="prefilled")), "its server is"),
    "a cache from nowhere": (lambda w: w.cache("n", KVCache(model="m", how="transferred")), "its source is missing"),
    "a cache from another model's": (
        lambda w: w.cache("n", KVCache(model="other", how="transferred", source="k")), "another model",
    ),
    "another conversation of the name": (lambda w: w.conversation("c", "c", 1), "another conversation of that name"),
    "a branch beyond the path": (lambda w: w.conversation("b", "c", 9), "has 1 turns"),
    "a branch from nothing": (lambda w: w.conversation("b", "x", 0), "no conversation"),
    "half a branch": (lambda w: w.conversation("b", "c"), "only one of parent and at"),
    "a name of nothing": (lambda w: w.conversation(" "), "the name is"),
    "turns of no conversation": (lambda w: w.turns("x", [said()]), "no conversation"),
    "a turn without a model": (lambda w: w.turns("c", [said(model=None)]), "no model is given"),
    "a turn of no model": (lambda w: w.turns("c", [said(model="x")]), 'no model "x"'),
    "a turn on no server": (lambda w: w.turns("c", [said(server="x")]), "no server"),
    "a turn in no cache": (lambda w: w.turns("c", [said(kv="x")]), "no cache"),
    "a turn in another model's cache": (lambda w: w.turns("c", [said(model="other", kv="k")]), "a cache of model m"),
    "a turn in a cache elsewhere": (lambda w: w.turns("c", [said(kv="k", server="there")]), "on server here"),
    "an intervention of no name": (lambda w: w.turns("c", [said(interventions=["x"])]), "no intervention"),
    "a coordinate on no probe": (lambda w: w.turns("c", [said(at={"x": 1.0})]), "no probe"),
    "a coordinate that is none": (
        lambda w: w.turns("c", [NewTurn(said().turn, coordinates={"calm": np.nan})]), "its coordinate on calm is nan",
    ),
    "coordinates and a region": (
        lambda w: w.turns("c", [NewTurn(said("assistant", region="high").turn, coordinates={"calm": 1.0})]), "both",
    ),
    "ids that are not one for each token": (
        lambda w: w.turns("c", [NewTurn(said().turn, token_ids=np.arange(3))]), "token_ids has shape",
    ),
    "a grid of another shape": (with_grid(("calm",), [[1, 2, 3]]), r"\[1, 2\]"),
    "a grid of no probe": (with_grid(("x",), [[1, 2]]), "no probe"),
    "an infinite reading": (with_grid(("calm",), [[1, np.inf]]), "infinity"),
    "a gap in a cache": (with_spans(span(0, 2, "prefilled"), span(3, 4)), "go on at 3, but 2"),
    "a cache that was cut": (with_spans(span(0, 1, "prefilled")), "has 1 entries, but 2"),
    "entries that changed": (with_spans(span(0, 5)), "was recorded as prefilled"),
    "entries from elsewhere now": (with_spans(span(0, 3, "prefilled", source="k")), "prefilled otherwise"),
    "entries from the cache itself": (with_spans(span(2, 3, "shared", source="k")), "from itself"),
    "entries from nowhere": (with_spans(span(2, 3, "transferred")), "from which cache"),
    "entries that are not there": (with_spans(span(0, 3, "shared", source="k"), cache="l"), "2 were recorded"),
    "entries of another model's": (with_spans(span(0, 1, "shared", source="k"), cache="o"), "another model"),
    "a connection to itself": (lambda w: w.turns("c", [said(connections={"c/1": Connection(mass=1)})]), "not before it"),
    "a connection to nothing": (lambda w: w.turns("c", [said(connections={"c/9": Connection(mass=1)})]), "no stage"),
    "a prefix of its own": (lambda w: w.turns("c", [said(shared_from="c/0")]), "of the same conversation"),
    "a prefix of no stage": (lambda w: w.turns("c", [said(shared_from="c")]), "a stage: CONVERSATION/ORDINAL"),
    "text that is none": (lambda w: w.turns("c", [said(text="\ud800")]), "half of a surrogate pair"),
    "a second turn that is wrong": (lambda w: w.turns("c", [said(), said(model="x")]), "turn 2"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_recorded_is_refused_and_nothing_of_it_is_there(what, path):
    wrong, found = REFUSED[what]
    with begun(path) as writer:
        writer.cache("l", KVCache(model="m", how="decoded"))
        writer.cache("o", KVCache(model="other", how="decoded"))
        writer.turns("c", [NewTurn(said().turn, spans={"k": [span(0, 2, "prefilled")]})])
        before = document_data(load(path))
        with pytest.raises(TraceError, match=found):
            wrong(writer)
        assert document_data(load(path)) == before
        # The writer goes on as if nothing had been tried.
        writer.turns("c", [NewTurn(said().turn, spans={"k": [span(2, 3)]})])
        writer.conversation("after")
    assert len(load(path).turns) == 2
    assert breaches(path) == []


def test_what_is_done_at_once_is_all_there_or_nothing(path):
    with begun(path) as writer:
        with writer.atomically():
            writer.conversation("x")
            writer.turns("x", [said()])
            assert len(load(path).turns) == 0
        assert len(load(path).turns) == 1

        def fails():
            with writer.atomically():
                writer.conversation("y")
                writer.turns("y", [said()])
                raise ZeroDivisionError

        def refused():
            with writer.atomically():
                writer.turns("x", [said()])
                with pytest.raises(TraceError, match="no model"):
                    writer.turns("x", [said(model="unknown")])

        with pytest.raises(ZeroDivisionError):
            fails()
        with pytest.raises(TraceError, match="a part of what was to be recorded"):
            refused()
        assert (len(load(path).turns), writer.names("conversation")) == (1, ["c", "x"])
        writer.turns("x", [said()])
    assert breaches(path) == []


def test_a_writer_that_was_closed_says_so(path):
    writer = begun(path)
    writer.close()
    writer.close()
    for call in (lambda: writer.turns("c", [said()]), lambda: writer.recorded("c"), lambda: writer.names("model")):
        with pytest.raises(TraceError, match="has been closed"):
            call()
    with pytest.raises(TraceError, match="no kind"):
        writer.names("minds")


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda path: path.mkdir(), "is a directory"),
        (lambda path: path.write_text("individuation: 1"), "not an SQLite file"),
        (lambda path: closing(sqlite3.connect(path)).thing.execute("CREATE TABLE t (a)"), "not a trace"),
        (lambda path: changed(path, "PRAGMA user_version = 99"), "newer version"),
        (lambda path: changed(path, "DROP TABLE coordinate"), "lacks tables"),
        (lambda path: changed(path, "UPDATE conversation SET parent_id = id, at = 0"), "do not fit together"),
    ],
    ids=["a folder", "text", "another program's", "newer", "without tables", "damaged"],
)
def test_what_is_no_sound_trace_of_this_version_is_not_written_to(make, found, path):
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(TraceError, match=found):
        TraceWriter.open(path, recording="x")
    assert before == (path.read_bytes() if path.is_file() else None)


def changed(path, statement):
    begun(path).close()
    with closing(sqlite3.connect(path)) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(statement)
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def test_there_must_be_a_folder_to_write_in(tmp_path):
    with pytest.raises(TraceError, match="its folder does not exist"):
        TraceWriter.open(tmp_path / "no" / "trace.db", recording="x")


# --- several at once


def test_two_writers_record_different_conversations_into_one_trace(path):
    with begun(path) as one, begun(path) as two:
        one.conversation("1")
        two.conversation("2")
        for _ in range(5):
            one.turns("1", [said(), said("assistant")])
            two.turns("2", [said(text="some")])
            two.cache(f"k{len(two.names('kv_cache'))}", KVCache(model="m", how="decoded"))
    facts = load(path)
    assert facts.conversations.names == ["c", "1", "2"]
    assert facts.conversations.size.tolist() == [0, 10, 5]
    assert [bool(detail.text) for detail in facts.details().values()] == [True] * 5
    assert breaches(path) == []


def test_two_writers_of_one_conversation_do_not_mix_their_turns(path):
    with begun(path) as one, begun(path) as two:
        one.turns("c", [said()])
        assert len(two.recorded("c")) == 1
        one.turns("c", [said("assistant")])
        with pytest.raises(TraceError, match="another program has added turns to it meanwhile"):
            two.turns("c", [said("tool")])
        # Who has looked again goes on after what is there.
        assert len(two.recorded("c")) == 2
        two.turns("c", [said("tool")])
        with pytest.raises(TraceError, match="meanwhile"):
            one.turns("c", [said()])
    assert load(path).turns.role.tolist() == [1, 2, 3]


def test_a_writer_waits_for_another_and_then_gives_up(path):
    with begun(path) as one, begun(path, wait=0.05) as two:
        with one.atomically():
            one.turns("c", [said()])
            with pytest.raises(TraceError, match="another program holds it"):
                two.conversation("d")
        two.conversation("d")
    assert breaches(path) == []


def test_threads_share_a_writer(path):
    with begun(path) as writer:

        def record(name):
            writer.conversation(name)
            for _ in range(20):
                with writer.atomically():
                    writer.turns(name, [said()])
                    writer.turns(name, [said("assistant")])

        threads = [threading.Thread(target=record, args=[f"t{number}"]) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert load(path).conversations.size.tolist() == [0, 40, 40, 40, 40]
    assert breaches(path) == []


READ = """
import sqlite3, sys
with sqlite3.connect(sys.argv[1]) as connection:
    print(connection.execute("SELECT count(*) FROM turn").fetchone()[0])
connection.close()
"""


def test_readers_see_whole_turns_and_take_nothing_from_the_writer(path, run):
    log = Path(f"{path}-wal")
    with begun(path) as writer:
        writer.turns("c", [said()])
        of_the_log = log.stat().st_ino
        for number in range(2, 5):
            # In this process, where to open and close the file otherwise than through SQLite would drop its locks.
            assert len(load(path).turns) == number - 1
            assert run("check", path).exit_code == 0
            assert len(read(path).turns) == number - 1
            # And in another, which would then take the log for its own to remove.
            done = subprocess.run([sys.executable, "-c", READ, path], capture_output=True, text=True, check=True)
            assert int(done.stdout) == number - 1
            assert log.stat().st_ino == of_the_log
            writer.turns("c", [said()])
    assert not log.exists()
    assert len(load(path).turns) == 4
    assert breaches(path) == []


# --- an end at any moment

CHILD = """
import os, random, resource, sys
from pathlib import Path
import numpy as np
from traces.errors import TraceError
from traces.vocabulary import CacheSpan, Connection, KVCache, Model, Probe, Server, Space, Turn
from traces.writer import NewTurn, TraceWriter

TURNS = 60


def turn(name, n):
    at = 4 if name == "b" else 0
    cache = name
    start = 5 * (at + n)
    grid = np.full((1, 5), n, np.float32)
    spans = {cache: [CacheSpan(start=start, end=start + 5, how="decoded" if n % 2 else "prefilled", server="s")]}
    said = Turn(
        role="assistant" if n % 2 else "user", tokens=5, model="m", server="s", kv=cache, start=start,
        text=f"{name} {n} " * 50, token_marks="tcccc", sampling={"seed": n},
        connections={f"{name}/{n - 1}": Connection(mass=0.25, mass_by_layer=(0.5, 0.0))} if n else {},
    )
    return NewTurn(
        said, token_ids=np.arange(5), coordinates={"x": n / 2}, token_probes=("x",), token_coordinates=grid, spans=spans
    )


def record(path, said):
    with TraceWriter.open(path, recording="killed") as writer:
        with writer.atomically():
            writer.model("m", Model(digest="sha256:1"))
            writer.server("s", Server())
            writer.probe("x", Probe(axis="x"))
            writer.space("axis", Space(model="m", axes=("x",), regions={"high": {"x": (9.0, None)}}))
            writer.conversation("a")
            writer.cache("a", KVCache(model="m", server="s", how="decoded"))
        done = {"a": len(writer.recorded("a")), "b": len(writer.recorded("b"))}
        for n in range(2 * TURNS):
            name, ordinal = ("a", n) if n < 6 else ("ab"[n % 2], n // 2 + 3 * (n % 2 == 0) - 3 * (n % 2))
            if ordinal < done[name]:
                continue
            if name == "b" and ordinal == 0 and "b" not in writer.names("kv_cache"):
                with writer.atomically():
                    writer.conversation("b", "a", 4)
                    shared = CacheSpan(start=0, end=20, how="shared", source="a", source_start=0)
                    writer.cache("b", KVCache(model="m", server="s", how="decoded", source="a", spans=(shared,)))
            writer.turns(name, [turn(name, ordinal)])
            done[name] += 1
            said(f"{name} {ordinal}")
"""

FORKING = (
    CHILD
    + """
print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if not child:
        record(line.strip(), lambda text: os.write(1, (text + "\\n").encode()))
        os._exit(0)
    print("began", child, flush=True)
    os.waitpid(child, 0)
    print("ended", flush=True)
"""
)


@pytest.fixture
def forking():
    """A process that begins a recording in a process of its own for each line that it is sent."""
    words = [sys.executable, "-c", FORKING]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdout.readline() == "ready\n"
        yield process
        process.stdin.close()
        assert process.wait(timeout=60) == 0


def recording(forking, path, kill_after=None):
    """Let it record until so many turns were reported, or to the end; give back what was reported."""
    forking.stdin.write(f"{path}\n")
    reported, child = [], None
    while (line := forking.stdout.readline().strip()) != "ended":
        assert line, "the process died"
        if line.startswith("began"):
            child = int(line.split()[1])
        else:
            reported.append(line)
        if child is not None and kill_after is not None and len(reported) >= kill_after:
            # The moment is one of the next turn's: it goes on while this is said.
            os.kill(child, signal.SIGKILL)
            kill_after = None
    return reported


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_killed_at_any_moment_a_recording_holds_what_was_said_and_ends_as_an_undisturbed_one(forking, tmp_path):
    undisturbed, path = tmp_path / "undisturbed.db", tmp_path / "killed.db"
    whole = recording(forking, undisturbed)
    assert len(whole) == 120
    rng = random.Random(20260414)
    done = []
    kills = 0
    while len(done) < len(whole):
        done += recording(forking, path, rng.randrange(8))
        kills += 1
        facts = load(path)
        there = {facts.stage_name(row).replace("/", " ") for row in range(len(facts.turns))}
        # At most the turn that was being reported was not.
        assert set(done) <= there
        assert len(there) <= len(done) + kills
        done = sorted(there, key=whole.index)
        if kills % 5 == 0:
            assert breaches(path) == []
    assert kills > 12
    assert document_data(load(path)) == document_data(load(undisturbed))
    assert breaches(path) == breaches(undisturbed) == []


def test_a_recording_that_is_killed_while_its_file_is_made_leaves_none_or_an_empty_one(forking, tmp_path):
    for number in range(6):
        path = tmp_path / f"{number}.db"
        recording(forking, path, 0)
        if path.exists():
            assert breaches(path) == []
        assert len(recording(forking, path)) == 120
    assert {item.suffix for item in tmp_path.iterdir()} == {".db"}


FULL = (
    CHILD
    + """
# So much that some turns fit, and not all.
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
written = []
try:
    record(sys.argv[1], written.append)
except TraceError as error:
    print(error.found)
print(len(written))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""
)


def test_where_there_is_no_room_left_the_turns_before_are_there_and_it_goes_on_later(forking, tmp_path):
    path = tmp_path / "full.db"
    done = subprocess.run([sys.executable, "-c", FULL, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said_, count = done.stdout.splitlines()
    assert "room" in said_
    assert 0 < int(count) < 120
    assert len(load(path).turns) == int(count)
    assert breaches(path) == []
    assert len(recording(forking, path)) == 120 - int(count)
    assert breaches(path) == []


def test_json_of_a_recording_reads_back(path):
    with begun(path) as writer:
        writer.turns("c", [said(tokens=None)])
    text = json.dumps(document_data(load(path)))
    assert document_data(facts_from_data(json.loads(text))) == json.loads(text)
