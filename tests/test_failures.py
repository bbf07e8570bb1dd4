"""What goes wrong outside the program: no permission, no room, damaged files, other processes, an end at any moment."""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from types import SimpleNamespace

import pytest

from traces.schema import SCHEMA_VERSION

APPLICATION_ID = 0x494E4456
SPACE = "individuation: 1\nspaces: {warm: {model: m, axes: [x], regions: {high: {x: [0.25, null]}}}}\n"


def trace_text(conversations, turns, prefix="c", words=20):
    pair = [
        {"role": "user", "tokens": 7, "text": "ask " * words},
        {"role": "assistant", "tokens": 11, "at": {"x": 0.5}, "text": "say " * words},
    ]
    rows = pair * (turns // 2)
    rows = [{**rows[0], "model": "m", "server": "here"}, *rows[1:]]
    named = {f"{prefix}{i}": {"turns": rows} for i in range(conversations)}
    return json.dumps({"individuation": 1, "models": {"m": {}}, "conversations": named})


@pytest.fixture(scope="session")
def ready(run, tmp_path_factory):
    """Files to begin with: a small trace, another one stored, a large one, and a space."""
    folder = tmp_path_factory.mktemp("ready")
    (folder / "small.json").write_text(trace_text(2, 4), encoding="utf-8")
    (folder / "other.json").write_text(trace_text(3, 20, "other"), encoding="utf-8")
    (folder / "large.json").write_text(trace_text(4, 10, "large", 4_000), encoding="utf-8")
    (folder / "space.yaml").write_text(SPACE, encoding="utf-8")
    assert run("import", folder / "other.json", "-o", folder / "other.db").exit_code == 0
    return folder


@pytest.fixture
def other(ready, tmp_path):
    """A stored trace of its own for one test, alone in its folder."""
    folder = tmp_path / "own"
    folder.mkdir()
    path = folder / "other.db"
    path.write_bytes((ready / "other.db").read_bytes())
    return path


def stages(run, path):
    result = run("info", path, "--format", "json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["turns"]["in all"]


def assert_sound(run, path):
    result = run("check", path)
    assert result.exit_code == 0, result.output


def assert_refused(result, *words, wrote=False):
    assert result.exit_code == 2, (result.exit_code, result.stdout, result.stderr)
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert lines[1].startswith("Expected: "), result.stderr
    assert lines[2:] == (["Nothing was written."] if wrote else [])
    for word in words:
        assert word in result.stderr, result.stderr


# --- several commands in one process that lacks something

DRIVER = """
import hashlib, json, pathlib, resource, shutil, subprocess, sys, traceback
from click.testing import CliRunner
from individuation.cli.main import cli

plan = json.loads(sys.argv[1])
folder = pathlib.Path(plan["folder"])
if plan.get("size"):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=" + plan["size"], "tmpfs", folder], check=True)
for name, source in plan.get("copies", {}).items():
    shutil.copy(source, folder / name)


def listing():
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


for step in plan["steps"]:
    if step == "fill":
        with (folder / "filler").open("wb", buffering=0) as file:
            for block in (65536, 4096, 1):
                try:
                    while True:
                        file.write(bytes(block))
                except OSError:
                    pass
    elif step == "free":
        (folder / "filler").unlink()
    elif isinstance(step, int):
        resource.setrlimit(resource.RLIMIT_FSIZE, (step, resource.RLIM_INFINITY))
    else:
        before = listing()
        result = CliRunner().invoke(cli, step, prog_name="individuate")
        said = result.stderr
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            said += "".join(traceback.format_exception(*result.exc_info))
        told = {"exit_code": result.exit_code, "stdout": result.stdout, "stderr": said}
        print(json.dumps({**told, "before": before, "after": listing()}))
"""


def driven(prefix, **plan):
    """Run commands one after the other in one process, begun by the words in `prefix`."""
    steps = [[str(word) for word in step] if isinstance(step, list) else step for step in plan.pop("steps")]
    text = json.dumps({**plan, "steps": steps}, default=str)
    done = subprocess.run(
        [*prefix, sys.executable, "-c", DRIVER, text], capture_output=True, encoding="utf-8", timeout=90
    )
    assert done.returncode == 0, done.stderr
    return [SimpleNamespace(**json.loads(line)) for line in done.stdout.splitlines()]


# Twenty turns more for the last conversation of the stored trace, in one statement.
INSERT = (
    "INSERT INTO turn SELECT id + 20, conversation_id, ordinal + 20, role, tokens, model_id, server_id, "
    "NULL, 0, NULL, NULL, NULL, NULL FROM turn WHERE conversation_id = 3"
)


# --- no permission


def test_a_file_that_may_only_be_read_is_read_and_never_changed(bound, ready, other):
    other.chmod(0o444)
    into, label, yaml, counted, info, checked = driven(
        bound,
        folder=other.parent,
        steps=[
            ["import", ready / "small.json", "-o", other],
            ["label", other, "--space", ready / "space.yaml"],
            ["import", other, "-o", other.parent / "copy.yaml"],
            [other],
            ["info", other],
            ["check", other],
        ],
    )
    for refused in (into, label):
        assert_refused(refused, str(other), "read-only", wrote=True)
        assert refused.after == refused.before
    assert yaml.exit_code == 0
    for reading in (counted, info, checked):
        assert reading.exit_code == 0, reading.stderr
        assert set(reading.after) == {"other.db", "copy.yaml"}


def test_in_a_folder_that_may_only_be_read_traces_are_read_and_nothing_is_written(bound, ready, other):
    folder = other.parent
    folder.chmod(0o555)
    try:
        *refused, counted, info, checked = driven(
            bound,
            folder=folder,
            steps=[
                ["import", ready / "small.json", "-o", folder / "new.db"],
                ["import", ready / "small.json", "-o", folder / "new.yaml"],
                ["import", ready / "small.json", "-o", folder / "new.json"],
                ["import", ready / "small.json", "-o", other],
                ["label", other, "--space", ready / "space.yaml"],
                [other],
                ["info", other],
                ["check", other],
            ],
        )
    finally:
        folder.chmod(0o755)
    for result, name in zip(refused, ("new.db", "new.yaml", "new.json", "other.db", "other.db"), strict=True):
        assert_refused(result, str(folder / name), "that you may write to", wrote=True)
        assert result.after == result.before
    for reading in (counted, info, checked):
        assert reading.exit_code == 0, reading.stderr
        assert set(reading.after) == {"other.db"}


CRASH = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(sys.argv[2])
os._exit(0)
"""


def test_where_nothing_may_be_written_what_a_crash_left_in_the_log_is_not_passed_over(bound, run, other):
    was = stages(run, other)
    subprocess.run([sys.executable, "-c", CRASH, other, INSERT], check=True)
    log, index = other.with_name("other.db-wal"), other.with_name("other.db-shm")
    assert log.stat().st_size
    for path in (other, log, index):
        path.chmod(0o444)
    other.parent.chmod(0o555)
    try:
        (beside,) = driven(bound, folder=other.parent, steps=[["info", other, "--format", "json"]])
        other.parent.chmod(0o755)
        index.unlink()
        other.parent.chmod(0o555)
        (without,) = driven(bound, folder=other.parent, steps=[["info", other, "--format", "json"]])
    finally:
        other.parent.chmod(0o755)
    assert json.loads(beside.stdout)["turns"]["in all"] == was + 20
    assert_refused(without, str(other), "other.db-wal")


# --- no room


def may_mount():
    """Whether a file system can be mounted in a namespace of one's own here; containers mostly forbid it."""
    probe = "mount -t tmpfs tmpfs /mnt"
    done = subprocess.run(["unshare", "-rm", "sh", "-c", probe], capture_output=True, check=False)
    return done.returncode == 0


# A file size limit is there for everybody; a file system that is really full only where one can be mounted.
ROOMS = ["limit", "device"] if sys.platform == "linux" and may_mount() else ["limit"]


def in_a_small_room(room, ready, folder, limit, commands):
    """Commands in a folder that holds a small trace and has less room than they need."""
    if room == "limit":
        (folder / "other.db").write_bytes((ready / "other.db").read_bytes())
        return driven([], folder=folder, steps=[limit, *commands])
    copies = {"other.db": ready / "other.db"}
    return driven(["unshare", "-rm"], folder=folder, size="512k", copies=copies, steps=commands)


@pytest.mark.parametrize("room", ROOMS)
def test_an_import_that_finds_no_room_changes_nothing(room, ready, tmp_path):
    targets = ["new.db", "other.db", "new.yaml", "new.json"]
    commands = [["import", ready / "large.json", "-o", tmp_path / name] for name in targets]
    *refused, counted, checked = in_a_small_room(
        room, ready, tmp_path, 300_000, [*commands, [tmp_path / "other.db"], ["check", tmp_path / "other.db"]]
    )
    for result, name in zip(refused, targets, strict=True):
        assert_refused(result, str(tmp_path / name), "room", wrote=True)
        assert result.after == result.before
        assert set(result.after) == {"other.db"}
    for reading in (counted, checked):
        assert reading.exit_code == 0, reading.stderr
        assert set(reading.after) == {"other.db"}


@pytest.mark.parametrize("room", ROOMS)
def test_a_label_that_finds_no_room_changes_nothing_and_finds_it_later(room, ready, tmp_path):
    path = tmp_path / "other.db"
    label = ["label", path, "--space", ready / "space.yaml"]
    if room == "limit":
        steps = [label, ["import", ready / "small.json", "-o", path], 2**40, ["check", path], label]
    else:
        steps = ["fill", label, ["import", ready / "small.json", "-o", path], "free", ["check", path], label]
    first, second, checked, again = in_a_small_room(room, ready, tmp_path, 2_000, steps)
    for result in (first, second):
        assert_refused(result, str(path), "room", wrote=True)
        assert result.after["other.db"] == result.before["other.db"]
        # SQLite may leave these where it finds no room for them, and takes them away when the file is opened again.
        assert set(result.after) - set(result.before) <= {"other.db-wal", "other.db-shm"}
    assert checked.exit_code == 0, checked.stderr
    assert again.exit_code == 0, again.stderr
    assert set(again.after) == {"other.db"}


@pytest.mark.parametrize("room", ROOMS)
def test_a_trace_is_read_where_there_is_no_room_at_all(room, ready, tmp_path):
    path = tmp_path / "other.db"
    fill = ["fill"] if room == "device" else []
    for result in in_a_small_room(room, ready, tmp_path, 0, [*fill, [path], ["info", path], ["check", path]]):
        assert result.exit_code == 0, result.stderr
        assert result.after["other.db"] == result.before["other.db"]


# --- not the file that it should be


def assert_no_trace(run, path, ready, *words):
    before = path.read_bytes()
    for command in ([], ["info"], ["check"]):
        assert_refused(run(*command, path), str(path), *words)
    for command in (["import", ready / "small.json", "-o", path], ["label", path, "--space", ready / "space.yaml"]):
        assert_refused(run(*command), str(path), *words, wrote=True)
    assert_refused(run("import", path, "-o", path.with_name("new.db")), str(path), *words, wrote=True)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_trace_of_a_newer_version_is_refused(run, ready, other):
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("PRAGMA user_version = 99")
    assert_no_trace(run, other, ready, "newer version", "schema 99", f"schema {SCHEMA_VERSION} or older")


def test_another_programs_sqlite_file_is_refused(run, ready, other):
    other.unlink()
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE turn (id INTEGER PRIMARY KEY)")
    assert_no_trace(run, other, ready, "SQLite file, but not a trace", "individuate import")


def test_an_sqlite_file_that_calls_itself_a_trace_and_holds_none_is_refused(run, ready, other):
    other.unlink()
    with closing(sqlite3.connect(other)) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
    assert_no_trace(run, other, ready, "lacks tables", "individuate import")


@pytest.mark.parametrize("kept", [16, 50, 99, 100, 4096, 0.5, -4096, -1])
def test_a_file_that_was_cut_off_is_refused(kept, run, ready, other):
    whole = other.read_bytes()
    length = int(len(whole) * kept) if isinstance(kept, float) else kept % len(whole)
    other.write_bytes(whole[:length])
    assert_no_trace(run, other, ready, "cut off" if length < 100 else f"truncated: {length:,} of {len(whole):,} bytes")


@pytest.mark.parametrize("seed", range(12))
def test_garbage_in_a_page_is_reported_by_check_and_never_ends_in_a_traceback(seed, run, ready, other):
    rng = random.Random(seed)
    content = bytearray(other.read_bytes())
    page = rng.randrange(1, len(content) // 4096) * 4096
    content[page : page + 4096] = rng.randbytes(4096) if seed % 3 else bytes(4096)
    other.write_bytes(content)
    checked = run("check", other)
    assert checked.exit_code in (1, 2), (page, checked.output)
    assert "BROKEN" in checked.stdout or "damaged" in checked.stderr
    for command in ([], ["info"], ["import", "-o", other.with_name("copy.json")]):
        result = run(*command, other)
        if result.exit_code:
            assert_refused(result, str(other), "damaged", wrote=command[:1] == ["import"])
    added = run("import", ready / "small.json", "-o", other)
    if added.exit_code:
        assert_refused(added, str(other), "damaged", wrote=True)


@pytest.mark.parametrize("seed", range(6))
def test_bytes_that_flipped_never_end_in_a_traceback(seed, run, other):
    rng = random.Random(1000 + seed)
    whole = other.read_bytes()
    for _ in range(6):
        content = bytearray(whole)
        for _ in range(rng.randrange(1, 30)):
            content[rng.randrange(100, len(content))] = rng.randrange(256)
        other.write_bytes(content)
        assert run("check", other).exit_code in (0, 1, 2)
        for command in ([], ["info"]):
            result = run(*command, other)
            if result.exit_code:
                assert_refused(result, str(other))


# --- other processes

HOLDER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in sys.argv[3:]:
    connection.execute(statement)
print("held", flush=True)
time.sleep(float(sys.argv[2]))
connection.execute("COMMIT")
"""


def held(path, seconds, *statements):
    """A second process that holds a lock on a trace.db."""
    words = [sys.executable, "-c", HOLDER, str(path), str(seconds), *statements]
    holder = subprocess.Popen(words, stdout=subprocess.PIPE, encoding="utf-8")
    assert holder.stdout.readline() == "held\n"
    return holder


def ended(process):
    out, err = process.communicate(timeout=60)
    return SimpleNamespace(exit_code=process.returncode, stdout=out, stderr=err)


def test_a_trace_that_another_process_holds_for_itself_is_refused_after_a_wait(start, ready, other):
    before = other.read_bytes()
    with held(other, 60, "PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE", "CREATE TABLE t (a)") as holder:
        began = time.monotonic()
        writing = [
            start("import", ready / "small.json", "-o", other),
            start("label", other, "--space", ready / "space.yaml"),
        ]
        reading = [start(other)]
        for process in writing:
            assert_refused(ended(process), str(other), "another program holds", "try again", wrote=True)
        for process in reading:
            assert_refused(ended(process), str(other), "another program holds", "try again")
        assert 2 < time.monotonic() - began < 40
        holder.kill()
    assert other.read_bytes() == before


def test_an_import_waits_for_another_process_to_end_its_writing(run, ready, other):
    was = stages(run, other)
    with held(other, 1, "BEGIN IMMEDIATE", "INSERT INTO proposition (text) VALUES ('held')"):
        result = run("import", ready / "small.json", "-o", other)
    assert result.exit_code == 0, result.stderr
    assert stages(run, other) == was + 8
    assert_sound(run, other)


def test_reading_goes_on_while_another_process_writes_and_sees_only_what_is_committed(run, other):
    was = stages(run, other)
    with held(other, 1, "BEGIN IMMEDIATE", INSERT) as holder:
        assert stages(run, other) == was
        assert_sound(run, other)
        assert holder.wait(timeout=30) == 0
    assert stages(run, other) == was + 20
    assert_sound(run, other)
    assert [path.name for path in other.parent.iterdir()] == [other.name]


IMPORTER = """
import sys
from click.testing import CliRunner
from individuation.cli.main import cli
for path in sys.argv[2:]:
    result = CliRunner().invoke(cli, ["import", path, "-o", sys.argv[1]])
    assert result.exit_code == 0, result.output
"""


def test_a_reader_meets_a_sound_trace_at_every_moment_of_many_imports(run, other, tmp_path):
    paths = []
    for number in range(12):
        paths.append(tmp_path / f"{number}.json")
        paths[-1].write_text(trace_text(2, 10, f"n{number}-", words=200), encoding="utf-8")
    seen = [stages(run, other)]
    words = [sys.executable, "-c", IMPORTER, other, *paths]
    with subprocess.Popen(words, stderr=subprocess.PIPE, encoding="utf-8") as importer:
        while importer.poll() is None:
            seen.append(stages(run, other))
        assert importer.returncode == 0, importer.stderr.read()
    seen.append(stages(run, other))
    assert seen == sorted(seen)
    assert seen[-1] - seen[0] == 12 * 20
    assert all((count - seen[0]) % 20 == 0 for count in seen)
    assert len(set(seen)) > 3
    assert_sound(run, other)
    assert [path.name for path in other.parent.iterdir()] == [other.name]


def test_a_file_whose_log_is_half_moved_into_it_is_not_taken_for_truncated(run, other, tmp_path):
    was = stages(run, other)
    many = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) "
        "INSERT INTO proposition (text) SELECT i || hex(zeroblob(200)) FROM n"
    )
    subprocess.run([sys.executable, "-c", CRASH, other, many], check=True)
    done = tmp_path / "done"
    shutil.copytree(other.parent, done)
    with closing(sqlite3.connect(done / "other.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    # SQLite moves the first page first: it then counts pages that the file does not have yet.
    with other.open("r+b") as file, (done / "other.db").open("rb") as whole:
        file.write(whole.read(4096))
    assert stages(run, other) == was
    assert_sound(run, other)


def test_reading_leaves_no_file_behind_and_the_trace_as_it_was(run, other):
    before = other.read_bytes()
    for command in ([], ["info"], ["check"], ["import", "-o", other.parent.parent / "copy.yaml"]):
        assert run(*command, other).exit_code == 0
        assert [path.name for path in other.parent.iterdir()] == [other.name]
    assert other.read_bytes() == before


@pytest.mark.parametrize("names", ["other", "same"])
def test_two_imports_into_one_new_trace_at_once_leave_a_sound_one(names, run, start, tmp_path):
    sources = [tmp_path / "one.json", tmp_path / "two.json"]
    for source, prefix in zip(sources, ("a", "a" if names == "same" else "b"), strict=True):
        source.write_text(trace_text(30, 50, prefix), encoding="utf-8")
    folder = tmp_path / "target"
    folder.mkdir()
    target = folder / "new.db"
    results = [ended(process) for process in [start("import", source, "-o", target) for source in sources]]
    won = [result for result in results if result.exit_code == 0]
    lost = [result for result in results if result.exit_code != 0]
    assert won
    for result in lost:
        assert_refused(result, "new.db", wrote=True)
        # When the loser finds out hangs on how far it was: before it began to write, at its end, or on joining in.
        found = ("it is there already", "another program made it meanwhile", "already has a conversation")
        assert any(words in result.stderr for words in found)
    if names == "same":
        assert len(won) == 1
    assert stages(run, target) == 1500 * len(won)
    assert_sound(run, target)
    assert [path.name for path in folder.iterdir()] == ["new.db"]


def test_two_imports_into_one_stored_trace_at_once_are_both_recorded(run, start, other, tmp_path):
    was = stages(run, other)
    sources = [tmp_path / "one.json", tmp_path / "two.json"]
    for source in sources:
        source.write_text(trace_text(30, 50, source.stem), encoding="utf-8")
    for result in [ended(process) for process in [start("import", source, "-o", other) for source in sources]]:
        assert result.exit_code == 0, result.stderr
    assert stages(run, other) == was + 3000
    assert_sound(run, other)


# --- an end at any moment

KILLS = 5


@pytest.fixture(scope="session")
def big(run, tmp_path_factory):
    """A stored trace that takes a second or two to import, and that SQLite makes sooner than any parser."""
    folder = tmp_path_factory.mktemp("big")
    (folder / "seed.json").write_text(trace_text(1, 50, "seed"), encoding="utf-8")
    path = folder / "big.db"
    assert run("import", folder / "seed.json", "-o", path).exit_code == 0
    count = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 800) "
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            f"INSERT INTO conversation (id, key, recording_id) {count} SELECT i + 1, 'big' || i, 1 FROM n"
        )
        connection.execute(
            f"INSERT INTO turn {count} SELECT t.id + 50 * i, i + 1, t.ordinal, t.role, t.tokens, t.model_id, "
            "t.server_id, t.cache, t.edited, t.kv_cache_id, t.drift, NULL, NULL FROM turn t, n"
        )
        connection.execute(
            f"INSERT INTO coordinate {count} SELECT c.turn_id + 50 * i, c.probe_id, i FROM coordinate c, n"
        )
    return path


def killed_within(process, running, seconds):
    """Kill a process so long after it began to write; give back whether it had not ended by then."""
    deadline = time.monotonic() + 60
    while process.poll() is None and not running():
        assert time.monotonic() < deadline
        time.sleep(0.001)
    until = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < until:
        time.sleep(0.001)
    process.kill()
    process.communicate(timeout=60)
    return process.returncode == -signal.SIGKILL


def test_an_import_into_a_new_trace_that_is_killed_leaves_none_or_all_of_it(run, start, big, tmp_path):
    target = tmp_path / "new.db"
    began = time.monotonic()
    assert ended(start("import", big, "-o", target)).exit_code == 0
    whole = time.monotonic() - began
    content = stages(run, target)
    target.unlink()
    unfinished = 0
    for kill in range(KILLS):
        process = start("import", big, "-o", target)
        killed = killed_within(process, lambda: any(tmp_path.glob(".*.partial")), whole / 2 * kill / KILLS)
        if target.exists():
            assert stages(run, target) == content
            assert_sound(run, target)
            target.unlink()
        elif killed:
            unfinished += 1
            assert list(tmp_path.glob(".*.partial*"))
    assert unfinished
    assert ended(start("import", big, "-o", target)).exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["new.db"]
    assert stages(run, target) == content
    assert_sound(run, target)


def test_an_import_into_a_stored_trace_that_is_killed_leaves_it_as_it_was(run, start, big, other):
    was, before = stages(run, other), other.read_bytes()
    log = other.with_name("other.db-wal")
    began = time.monotonic()
    assert ended(start("import", big, "-o", other)).exit_code == 0
    whole = time.monotonic() - began
    became = stages(run, other)
    unfinished = 0
    for kill in range(KILLS):
        other.write_bytes(before)
        process = start("import", big, "-o", other)
        killed_within(process, lambda: log.exists() and log.stat().st_size, whole / 2 * kill / KILLS)
        now = stages(run, other)
        assert now in (was, became)
        if now == was:
            unfinished += 1
            assert_sound(run, other)
        assert [path.name for path in other.parent.iterdir()] == [other.name]
    assert unfinished
    if now == was:
        assert ended(start("import", big, "-o", other)).exit_code == 0
    assert stages(run, other) == became
    assert_sound(run, other)


def test_an_export_never_takes_the_place_of_a_file(run, examples, tmp_path):
    for name in ("there.yaml", "there.json"):
        (tmp_path / name).write_text("mine")
        result = run("import", examples / "qwen3-32b-aura.yaml", "-o", tmp_path / name)
        assert_refused(result, name, "it is there already", wrote=True)
        assert (tmp_path / name).read_text() == "mine"


def test_a_new_file_has_the_permissions_that_the_user_asks_for(run, examples, tmp_path):
    before = os.umask(0o077)
    try:
        for name in ("private.yaml", "private.db"):
            assert run("import", examples / "qwen3-32b-aura.yaml", "-o", tmp_path / name).exit_code == 0
            assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)
