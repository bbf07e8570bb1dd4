"""`individuate check`: sound traces pass, and each invariant that is broken on purpose is the one that is reported."""

import base64
import json
import re
import sqlite3
from contextlib import closing

import pytest

FULL = {
    "individuation": 1,
    "title": "Everything at once",
    "case": {"claims": ["p"]},
    "models": {
        "small": {"name": "lab/small", "digest": "aa"},
        "tuned": {"base": "small", "layers": 4, "kv_heads": 2, "head_dim": 8},
        "spare": {},
    },
    "servers": {"here": {"hardware": "one GPU"}, "there": {}},
    "spaces": {
        "line": {"model": "small", "axes": ["x"], "regions": {"low": {"x": [None, 0]}, "high": {"x": [1, None]}}},
        "plane": {"model": "tuned", "axes": ["x", "y"], "regions": {"corner": {"x": [0, 1], "y": [0, 1]}}},
    },
    "labellings": {
        "strict": {"spaces": {"line": {"model": "small", "axes": ["x"], "regions": {"low": {"x": [None, -1]}}}}}
    },
    "probes": {"x": {"axis": "x", "layer": 3}, "y": {"axis": "y"}},
    "interventions": {"push": {"kind": "steering", "layers": [1, 2], "coefficient": 2.5}},
    "caches": {
        "k0": {
            "model": "small",
            "server": "here",
            "how": "prefilled",
            "spans": [{"start": 0, "end": 2, "how": "prefilled", "server": "here"}],
        },
        "k1": {
            "model": "small",
            "server": "there",
            "from": "k0",
            "how": "transferred",
            "drift": 0.25,
            "drift_layers": {"keys": [0.25]},
            "spans": [
                {"start": 0, "end": 2, "how": "transferred", "from": "k0", "from_start": 0},
                {"start": 2, "end": 4, "how": "decoded"},
            ],
        },
        "k2": {"model": "tuned", "server": "there", "how": "prefilled"},
        "k3": {
            "model": "small",
            "server": "there",
            "from": "k1",
            "how": "edited",
            "spans": [{"start": 0, "end": 4, "how": "edited", "from": "k1", "from_start": 0, "layers": [1, 2]}],
        },
    },
    "conversations": {
        "a": {
            "principal": "Ann",
            "turns": [
                {
                    "role": "user",
                    "tokens": 2,
                    "model": "small",
                    "server": "here",
                    "kv": "k0",
                    "start": 0,
                    "time": "2026-04-14T16:33:03Z",
                },
                {
                    "role": "assistant",
                    "tokens": 2,
                    "server": "there",
                    "kv": "k1",
                    "start": 2,
                    "connections": {"a/0": {"mass": 0.5, "kl": 0.125, "mass_by_layer": [0.25, 0.75]}},
                    "at": {"x": 2.5},
                    "text": "Good day.",
                },
                {"role": "user", "tokens": 3, "token_ids": [5, 6, 7], "token_marks": "tcc", "sampling": {"seed": 1}},
                {
                    "role": "assistant",
                    "tokens": 2,
                    "region": "high",
                    "believes": ["p", "not q"],
                    "interventions": ["push"],
                },
                {"role": "assistant", "region_probabilities": {"high": 0.5, "low": 0.25}},
            ],
        },
        "b": {
            "parent": "a",
            "at": 2,
            "turns": [
                {"role": "tool", "tokens": 4, "cache": "retained", "edited": True, "drift": 0.125},
                {
                    "role": "assistant",
                    "tokens": 2,
                    "at_tokens": {"probes": ["x", "y"], "float32": base64.b64encode(bytes(16)).decode()},
                },
            ],
        },
        "c": {
            "turns": [
                {"role": "system", "model": "tuned", "server": "there", "tokens": 2},
                {"role": "assistant", "tokens": 2, "kv": "k2", "at": {"x": 0.5, "y": 0.5}},
            ]
        },
        "d": {"turns": [{"role": "user", "model": "small", "server": "here", "tokens": 2, "shared_from": "a/0"}]},
    },
}


@pytest.fixture(scope="session")
def full(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("full")
    (folder / "full.json").write_text(json.dumps(FULL), encoding="utf-8")
    done = run("import", folder / "full.json", "-o", folder / "full.db")
    assert done.exit_code == 0, done.stderr
    return folder / "full.db"


@pytest.fixture
def changed(full, tmp_path):
    """Change a trace.db behind the program's back, and leave its triggers as they were."""

    def change(*statements, triggers_too=False):
        path = tmp_path / "changed.db"
        path.write_bytes(full.read_bytes())
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("PRAGMA foreign_keys = OFF")
            connection.execute("PRAGMA ignore_check_constraints = ON")
            triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
            if not triggers_too:
                for name, _ in triggers:
                    connection.execute(f"DROP TRIGGER {name}")
            for statement in statements:
                connection.execute(statement)
            if not triggers_too:
                for _, sql in triggers:
                    connection.execute(sql)
        return path

    return change


def findings(result):
    return {finding["invariant"]: finding["breaches"] for finding in json.loads(result.stdout)}


def assert_sound(run, path):
    result = run("check", path)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert len(lines) > 5
    assert all(line.startswith("ok      ") for line in lines[:-1])
    assert lines[-1] == f"{len(lines) - 1} of {len(lines) - 1} invariants hold."
    breaches = findings(run("check", path, "--format", "json"))
    assert len(breaches) == len(lines) - 1
    assert not any(breaches.values())


def test_a_stored_trace_with_everything_in_it_passes(run, full):
    assert_sound(run, full)
    assert_sound(run, full.with_suffix(".json"))


def test_every_example_passes_as_a_file_and_stored(run, examples, tmp_path):
    paths = sorted(examples.glob("*.yaml"))
    assert paths
    for path in paths:
        assert_sound(run, path)
    assert run("import", *paths, "-o", tmp_path / "examples.db", "--prefix").exit_code == 0
    assert_sound(run, tmp_path / "examples.db")


def test_every_case_passes_as_a_file_and_stored(run, cases, tmp_path):
    paths = sorted(cases.glob("*.yaml"))
    assert paths
    for path in paths:
        assert_sound(run, path)
    assert run("import", *paths, "-o", tmp_path / "cases.db", "--prefix").exit_code == 0
    assert_sound(run, tmp_path / "cases.db")


def test_the_published_recordings_pass(run, recordings, tmp_path):
    paths = sorted((recordings / "mini-experiments").glob("delusion_*.json"))
    assert paths
    assert run("import", *paths, "-o", tmp_path / "published.db").exit_code == 0
    assert_sound(run, tmp_path / "published.db")


def test_a_trace_changed_behind_the_programs_back_but_soundly_passes(run, changed):
    assert_sound(run, changed("UPDATE turn SET tokens = 3 WHERE tokens = 4"))


KIND = "the SQLite file is sound, and every value is of its kind and in its bounds"
REFERENCES = "every reference leads somewhere"
APPEND_ONLY = "facts are append-only"
NUMBERED = "the turns of every conversation are numbered without gaps, and no row is missing"
PER_TOKEN = "per-token data has an entry for each token"
READ_BACK = "the tables read back"
BRANCHES = "branches lie on the path of their parents, and none leads back to itself"
BASES = "no model is its own base"
LINKS = "every cache could have come about as recorded (semantics §3)"
DERIVATIONS = "the derivation of recorded caches is acyclic, within one model, and names its source"
OF_TURN = "every turn's recorded cache is of its model and on its server"
ORIGINS = "every entry of every recorded cache that was used has exactly one origin"
CONNECTED = "connections are measured to earlier stages on the path"
SHARED = "shared prefixes come from another conversation on the same model"
STATED = "regions are stated on assistant turns only, and never beside coordinates"
PROBABLE = "the probabilities of a turn's regions are from 0 to 1, and at most 1 in all"
FINITE = "coordinates are finite"
SPACES = "every labelling's spaces can be placed on the trace"
TIMES = "times are ISO 8601"
FILE = "as a trace file, it would be accepted"

A0, A1, A2, A3, A4, B0, B1, C0, C1, D0 = range(1, 11)


@pytest.mark.parametrize(
    ("invariant", "breach", "statements"),
    [
        (KIND, "turn", [f"UPDATE turn SET tokens = 0 WHERE id = {A0}"]),
        (KIND, "turn", [f"UPDATE turn SET tokens = 'many' WHERE id = {A0}"]),
        (KIND, "turn", [f"UPDATE turn SET role = 9 WHERE id = {A0}"]),
        (KIND, "turn", [f"UPDATE turn SET cache = 4 WHERE id = {A0}"]),
        (KIND, "turn", [f"UPDATE turn SET edited = 2 WHERE id = {A0}"]),
        (KIND, "turn", [f"UPDATE turn SET drift = -1 WHERE id = {A2}"]),
        (KIND, "conversation", ["UPDATE conversation SET at = NULL WHERE key = 'b'"]),
        (KIND, "conversation", ["UPDATE conversation SET at = -1 WHERE key = 'b'"]),
        (KIND, "region_range", ["UPDATE region_range SET low = 2 WHERE high = 1"]),
        (KIND, "coordinate", [f"UPDATE coordinate SET value = 'high' WHERE turn_id = {A1}"]),
        (KIND, "column layers of table model", ["UPDATE model SET layers = 'many' WHERE key = 'tuned'"]),
        (KIND, "column principal of table conversation", ["UPDATE conversation SET principal = x'ff' WHERE key = 'a'"]),
        (KIND, "column text of table turn_detail", ["UPDATE turn_detail SET text = x'ff' WHERE text IS NOT NULL"]),
        (REFERENCES, "row 1 of turn refers to a row of model", [f"UPDATE turn SET model_id = 99 WHERE id = {A0}"]),
        (REFERENCES, "of belief refers to a row of proposition", ["UPDATE belief SET proposition_id = 99"]),
        (
            REFERENCES,
            "of conversation refers to a row of conversation",
            ["UPDATE conversation SET parent_id = 99 WHERE at = 2"],
        ),
        (NUMBERED, "turns of conversation a", [f"UPDATE turn SET ordinal = 7 WHERE id = {A3}"]),
        (NUMBERED, "turns of conversation c", [f"UPDATE turn SET ordinal = ordinal + 5 WHERE id IN ({C0}, {C1})"]),
        (NUMBERED, "rows of table model are missing", ["UPDATE model SET id = 99 WHERE key = 'spare'"]),
        (NUMBERED, "rows of table turn are missing", [f"UPDATE turn SET id = 1099511627776 WHERE id = {D0}"]),
        (PER_TOKEN, "token coordinates", ["UPDATE token_coordinates SET float32 = x'00'"]),
        (PER_TOKEN, "token coordinates", ["UPDATE token_coordinates SET tokens = 1, float32 = x'0000000000000000'"]),
        (PER_TOKEN, "token ids", [f"UPDATE turn_detail SET token_ids = x'00' WHERE turn_id = {A2}"]),
        (PER_TOKEN, "token ids or marks", [f"UPDATE turn_detail SET token_marks = 't' WHERE turn_id = {A2}"]),
        (BRANCHES, "conversation b branches after 9 turns", ["UPDATE conversation SET at = 9 WHERE key = 'b'"]),
        (BRANCHES, "lead back to itself", ["UPDATE conversation SET parent_id = id WHERE key = 'b'"]),
        (
            BRANCHES,
            "lead back to itself",
            ["UPDATE conversation SET parent_id = 3 - id, at = 0 WHERE key IN ('a', 'b')"],
        ),
        (BASES, "model small", ["UPDATE model SET base = 'tuned' WHERE key = 'small'"]),
        (LINKS, 'conversation c, turn 0: cache is "retained"', [f"UPDATE turn SET cache = 0 WHERE id = {C0}"]),
        (LINKS, "conversation b, turn 0", [f"UPDATE turn SET server_id = 1 WHERE id = {B0}"]),
        (DERIVATIONS, "derived from itself", ["UPDATE kv_cache SET source_id = 4 WHERE key = 'k1'"]),
        (
            DERIVATIONS,
            "k1 is derived from a cache of another model",
            ["UPDATE kv_cache SET source_id = 3 WHERE key = 'k1'"],
        ),
        (DERIVATIONS, "k3 was edited, but from which", ["UPDATE kv_cache SET source_id = NULL WHERE key = 'k3'"]),
        (OF_TURN, "c/1 uses a cache of another model", [f"UPDATE turn SET kv_cache_id = 4 WHERE id = {C1}"]),
        (OF_TURN, "a/2 uses a cache that is on another server", [f"UPDATE turn SET kv_cache_id = 1 WHERE id = {A2}"]),
        (KIND, "cache_span", ['UPDATE cache_span SET "end" = start']),
        (KIND, "cache_span", ["UPDATE cache_span SET how = 9 WHERE cache_id = 1"]),
        (KIND, "column end of table cache_span", ["UPDATE cache_span SET \"end\" = 'late' WHERE cache_id = 4"]),
        (KIND, "connection", ["UPDATE connection SET mass = 1.5"]),
        (
            REFERENCES,
            "of cache_span refers to a row of kv_cache",
            ["UPDATE cache_span SET source_id = 99 WHERE how = 2"],
        ),
        (REFERENCES, "of connection refers to a row of turn", ["UPDATE connection SET from_id = 99"]),
        (PER_TOKEN, "masses by layer", ["UPDATE connection SET layers = x'00'"]),
        (READ_BACK, "", ["UPDATE cache_span SET layers_json = 'many'"]),
        (READ_BACK, "", ["UPDATE kv_cache SET drift_json = 'much'"]),
        (
            ORIGINS,
            "cache k1: its spans leave the origin of entry 2 open",
            ["UPDATE cache_span SET start = 3 WHERE start = 2"],
        ),
        (ORIGINS, "k1: its spans leave the origin of entry 0", ["DELETE FROM cache_span WHERE how = 2"]),
        (
            ORIGINS,
            "k0: its spans give entry 1 two",
            ["INSERT INTO cache_span VALUES (1, 1, 3, 0, NULL, NULL, NULL, NULL, NULL)"],
        ),
        (
            ORIGINS,
            "k1: the entries from 0 on were transferred, but",
            ["UPDATE cache_span SET source_id = NULL WHERE how = 2"],
        ),
        (ORIGINS, "k1: the entries from 0 on are from k2, a", ["UPDATE cache_span SET source_id = 3 WHERE how = 2"]),
        (
            ORIGINS,
            "k1: the entries from 0 on are from k0, which has only 2",
            ["UPDATE cache_span SET source_start = 1 WHERE how = 2"],
        ),
        (ORIGINS, "in the end from itself", ["UPDATE cache_span SET source_id = 2 WHERE how = 2"]),
        (ORIGINS, "in the end from itself", ["UPDATE cache_span SET source_id = 4 WHERE how = 2"]),
        (ORIGINS, "a/0 uses entries", [f"UPDATE turn SET start = 3 WHERE id = {A0}"]),
        (
            ORIGINS,
            "a/2 uses entries",
            [f"UPDATE turn SET kv_cache_id = 1, start = 3, server_id = NULL WHERE id = {A2}"],
        ),
        (ORIGINS, "k3: the entries from 0 on are from k1, which", ["DELETE FROM cache_span WHERE start = 2"]),
        (CONNECTED, "a/1 has a connection to a stage", [f"UPDATE connection SET from_id = {A2}"]),
        (CONNECTED, "a/1 has a connection to a stage", [f"UPDATE connection SET from_id = {D0}"]),
        (CONNECTED, "a/1 has a connection of which nothing", ["UPDATE connection SET mass = NULL, kl = NULL"]),
        (CONNECTED, "a mass by layer", ["UPDATE connection SET layers = x'0000803f0000c07f'"]),
        (SHARED, "d/0 shares the cache of another model", [f"UPDATE turn SET shared_from_id = {C0} WHERE id = {D0}"]),
        (SHARED, "d/0 shares its own conversation", [f"UPDATE turn SET shared_from_id = {D0} WHERE id = {D0}"]),
        (STATED, "a/0 has a region, but", [f"INSERT INTO stated_region VALUES ({A0}, 1)"]),
        (STATED, "a/1 has both", [f"INSERT INTO stated_region VALUES ({A1}, 1)"]),
        (STATED, "a/4 has both", [f"INSERT INTO stated_region VALUES ({A4}, 1)"]),
        (STATED, "a/4 has both", [f"INSERT INTO coordinate VALUES ({A4}, 1, 0.5)"]),
        (STATED, "a/4 has prob", [f"UPDATE turn SET role = 1 WHERE id = {A4}"]),
        (KIND, "region_probability", ["UPDATE region_probability SET probability = 1.5"]),
        (PROBABLE, "a/4 has probabilities of more", ["UPDATE region_probability SET probability = 0.75"]),
        (REFERENCES, "of region_probability", ["UPDATE region_probability SET region_name_id = 99 WHERE ordinal = 1"]),
        (FINITE, "a/1 has a coordinate", [f"UPDATE coordinate SET value = 9e999 WHERE turn_id = {A1}"]),
        (SPACES, 'space line is of model "gone"', ["UPDATE space SET model = 'gone' WHERE name = 'line'"]),
        (SPACES, "recorded 2 times", ["UPDATE probe SET axis = 'x', layer = 4 WHERE key = 'y'"]),
        (TIMES, "a/0 has the time 'yesterday'", ["UPDATE turn_detail SET time = 'yesterday' WHERE time IS NOT NULL"]),
        (FILE, 'conversation a: the name is " "', ["UPDATE conversation SET principal = ' ' WHERE key = 'a'"]),
        (READ_BACK, "", ["UPDATE intervention SET kind = 'shouting'"]),
        (READ_BACK, "", ["UPDATE intervention SET layers_json = 'many'"]),
        (READ_BACK, "", ["UPDATE turn_detail SET sampling_json = 'warm' WHERE sampling_json IS NOT NULL"]),
        (READ_BACK, "", ["UPDATE model SET layers = 0 WHERE key = 'tuned'"]),
        (READ_BACK, "", ["UPDATE recording SET case_json = '{'"]),
        (READ_BACK, "", ["UPDATE region_range SET axis_id = 3 WHERE axis_id = 1"]),
        (READ_BACK, "", ["UPDATE space SET model = '' WHERE name = 'line'"]),
    ],
    ids=lambda value: value[0][:60] if isinstance(value, list) else "",
)
def test_a_broken_invariant_is_reported_and_no_other(invariant, breach, statements, run, changed):
    path = changed(*statements)
    result = run("check", path, "--format", "json")
    assert result.exit_code == 1, result.output
    broken = {name: breaches for name, breaches in findings(result).items() if breaches}
    assert set(broken) == {invariant}
    assert any(breach in said for said in broken[invariant])
    shown = run("check", path)
    assert shown.exit_code == 1
    assert f"BROKEN  {invariant}\n          {broken[invariant][0]}\n" in shown.stdout
    assert shown.stdout.endswith("invariants hold; see above.\n")
    for command in ([], ["info"]):
        result = run(*command, path)
        assert result.exit_code in (0, 2)
        assert result.exit_code == 0 or re.fullmatch(r"\S.*: .+\.\nExpected: .+\.\n", result.stderr)


@pytest.mark.parametrize(
    "statement",
    [
        f"UPDATE turn SET role = 9 WHERE id = {A0}",
        f"UPDATE turn SET cache = 9 WHERE id = {A1}",
        f"UPDATE turn SET model_id = 99 WHERE id = {A0}",
        f"UPDATE turn SET server_id = 99 WHERE id = {A0}",
        f"UPDATE turn SET kv_cache_id = 99 WHERE id = {A0}",
        f"UPDATE turn SET shared_from_id = 99 WHERE id = {D0}",
        f"UPDATE turn SET conversation_id = 1099511627776 WHERE id = {D0}",
        f"UPDATE turn SET id = 1099511627776 WHERE id = {D0}",
        "UPDATE kv_cache SET model_id = 99",
        "UPDATE kv_cache SET how = 9",
        "UPDATE connection SET turn_id = 99",
        "UPDATE connection SET from_id = 99",
        "UPDATE belief SET proposition_id = 99",
        "UPDATE conversation SET at = 9 WHERE key = 'b'",
        "UPDATE conversation SET parent_id = id WHERE key = 'b'",
        "UPDATE conversation SET parent_id = 3 - id, at = 1 WHERE key IN ('a', 'b')",
        "UPDATE coordinate SET value = 'high'",
        "UPDATE region_probability SET turn_id = 99",
        "UPDATE region_probability SET region_name_id = 99 WHERE ordinal = 1",
        "UPDATE region_probability SET probability = 'high'",
    ],
)
def test_a_trace_whose_tables_do_not_fit_together_is_refused_and_not_miscounted(statement, run, changed):
    path = changed(statement)
    for command in ([], ["info"]):
        result = run(*command, path)
        assert result.exit_code == 2
        assert result.stdout == ""
        assert result.stderr.startswith(f"{path}: it is damaged: its tables do not fit together.\nExpected: ")
        assert "individuate check" in result.stderr


@pytest.mark.parametrize(
    "statements",
    [
        ["DROP TRIGGER turn_no_update"],
        ["DROP TRIGGER coordinate_no_delete"],
        ["DROP TRIGGER turn_no_update", "CREATE TRIGGER turn_no_update BEFORE UPDATE ON turn BEGIN SELECT 1; END"],
    ],
    ids=["gone", "gone from another table", "there in name only"],
)
def test_facts_that_may_be_changed_are_reported(statements, run, changed):
    result = run("check", changed(*statements, triggers_too=True), "--format", "json")
    assert result.exit_code == 1
    broken = {name: breaches for name, breaches in findings(result).items() if breaches}
    assert set(broken) == {APPEND_ONLY}
    assert statements[0].split()[2].rpartition("_no_")[0] in broken[APPEND_ONLY][0]


def test_many_breaches_of_one_invariant_are_cut_short(run, changed):
    path = changed(
        "INSERT OR REPLACE INTO coordinate SELECT id, 1, 9e999 FROM turn WHERE role <> 2",
        "UPDATE coordinate SET value = 9e999",
    )
    said = findings(run("check", path, "--format", "json"))[FINITE]
    assert 2 <= len(said) <= 6
    assert said[-1].startswith("and ")


def test_every_fact_table_refuses_changes(full):
    with closing(sqlite3.connect(full)) as connection:
        tables = [
            name for (name,) in connection.execute("SELECT DISTINCT tbl_name FROM sqlite_master WHERE type = 'trigger'")
        ]
        assert len(tables) == 19
        for table in tables:
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] > 0, table
            column = connection.execute(f"SELECT name FROM pragma_table_info('{table}') LIMIT 1").fetchone()[0]
            for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET {column} = {column}"):
                with pytest.raises(sqlite3.IntegrityError, match="facts are append-only"):
                    connection.execute(statement)
