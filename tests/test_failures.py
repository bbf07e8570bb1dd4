"""What goes wrong outside the program: no permission, no room, damaged files, other processes, and an end at any moment."""

import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from types import SimpleNamespace

import pytest

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
    """Files to begin with: a small trace, another one stored, one of two megabytes, and a space."""
    folder = tmp_path_factory.mktemp("ready")
    (folder / "small.json").write_text(trace_text(2, 4), encoding="utf-8")
    (folder / "other.json").write_text(trace_text(3, 20, "other"), encoding="utf-8")
    (folder / "large.json").write_text(trace_text(40, 50, "large", 250), encoding="utf-8")
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
        assert_refused(result, str(folder / name), "a place that you may write to", wrote=True)
        assert result.after == result.before
    for reading in (counted, info, checked):
        assert reading.exit_code == 0, reading.stderr
        assert set(reading.after) == {"other.db"}


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
    return driven(["unshare", "-rm"], folder=folder, size="1m", copies=copies, steps=commands)


@pytest.mark.parametrize("room", ROOMS)
def test_an_import_that_finds_no_room_changes_nothing(room, ready, tmp_path):
    targets = ["new.db", "other.db", "new.yaml", "new.json"]
    commands = [["import", ready / "large.json", "-o", tmp_path / name] for name in targets]
    *refused, counted, checked = in_a_small_room(
        room, ready, tmp_path, 400_000, [*commands, [tmp_path / "other.db"], ["check", tmp_path / "other.db"]]
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
        assert result.after == result.before
    assert checked.exit_code == 0, checked.stderr
    assert again.exit_code == 0, again.stderr


@(
    pytest.mark.skipif(ROOMS == ["limit"], reason="no file system can be mounted here")
    if False
    else pytest.mark.parametrize("room", ROOMS)
)
def test_a_trace_is_read_where_there_is_no_room_at_all(room, ready, tmp_path):
    path = tmp_path / "other.db"
    fill = ["fill"] if room == "device" else []
    for result in in_a_small_room(room, ready, tmp_path, 0, [*fill, [path], ["info", path], ["check", path]]):
        assert result.exit_code == 0, result.stderr
        assert result.after == result.before
