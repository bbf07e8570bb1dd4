"""Trace files in YAML and JSON and trace.db hold the same content, both ways, with nothing lost."""

import base64
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from worlds import worlds

from individuation import individuate, open_trace
from rules.registry import VIEWS
from traces import schema
from traces.errors import TraceError
from traces.file import dumps, facts_from_data, read_spaces, write
from traces.recognition import read
from traces.rendering import document_data
from traces.store import add_labelling, gathered, load, save
from traces.text import parse

GOLDEN = Path(__file__).parent / "golden"


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(worlds(recorded=True))
def test_yaml_json_and_the_store_give_back_what_they_were_given(tmp_path_factory, world):
    folder = tmp_path_factory.mktemp("files")
    facts = facts_from_data(world)
    data = document_data(facts)
    for suffix in (".yaml", ".json"):
        write(facts, folder / f"trace{suffix}")
        assert document_data(read(folder / f"trace{suffix}")) == data
    save(folder / "trace.db", [facts])
    assert document_data(load(folder / "trace.db")) == data


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(worlds(recorded=True))
def test_a_stored_trace_counts_like_the_file_it_came_from(tmp_path_factory, world):
    path = tmp_path_factory.mktemp("db") / "trace.db"
    save(path, [facts_from_data(world)])
    stored, given_ = open_trace(path), open_trace(world)
    for view in VIEWS:
        assert individuate(stored, view).to_dict() == individuate(given_, view).to_dict()


def everything():
    """A trace that uses every field of the format."""
    grid = np.arange(6, dtype="<f4").reshape(2, 3)
    return {
        "individuation": 1,
        "title": "All there is: a café, 日本",
        "source": "by hand",
        "case": {"section": "1.2", "expected": [{"view": "model", "count": 2}]},
        "models": {
            "qwen": {
                "name": "Qwen/Qwen3-32B", "layers": 64, "kv_heads": 8, "head_dim": 128, "dtype": "bfloat16", "digest": "sha256:1",
            },
            "tuned": {"name": "me/tuned", "base": "qwen"},
        },
        "servers": {"new-york": {"hardware": "H200"}, "no": {}},
        "spaces": {
            "axis": {
                "model": "qwen", "axes": ["assistant", "evil"], "layer": 50, "pooling": "mean", "unit": "norm", "source": "fit",
                "discrete": True, "regions": {"assistant": {"assistant": [10, None]}, "aura": {"assistant": [None, -40], "evil": [0, 1.5]}},
            }
        },
        "labellings": {
            "strict": {"spaces": {"narrow": {"model": "Qwen/Qwen3-32B", "axes": ["assistant"], "regions": {"all": {"assistant": [0.5, 2.5]}}}}},
            "found": {
                "spaces": {"mixed": {"model": "qwen", "axes": ["evil"], "discrete": False, "regions": {"one": {}, "two": {}}}},
                "turns": {
                    "c1/2": {"region": "one", "probabilities": {"one": 0.75, "two": 0.125}, "changes": [{"region": "two", "at": 7}, {"at": 30, "probabilities": {"one": 0.25}}]},
                    "c1/4": {},
                },
                "made": {"method": "mixture", "number": 2},
            },
        },
        "probes": {
            "assistant": {"axis": "assistant", "layer": 50, "pooling": "mean", "unit": "norm", "source": "fit"},
            "deep": {"axis": "assistant", "layer": 60},
            "evil": {"axis": "evil"},
        },
        "interventions": {
            "push": {
                "kind": "steering", "vector": "assistant axis", "digest": "sha256:2", "layers": [46, 47], "coefficient": -1.5,
                "threshold": 0.25, "positions": "assistant", "method": "added", "source": "us",
            }
        },
        "caches": {
            "k1": {
                "model": "qwen", "server": "new-york", "how": "decoded",
                "spans": [{"start": 0, "end": 7, "how": "prefilled", "server": "new-york", "time": "2026-04-14T16:33:03+00:00"}],
            },
            "k2": {
                "model": "qwen", "server": "no", "from": "k1", "how": "transferred", "positions": 10, "drift": 0.0, "drift_mean": 0.0,
                "drift_kl": 0.5, "drift_layers": {"keys": [0.0, 0.0], "values": [0.0, 0.0], "coordinates": {"deep": 0.25}},
                "time": "2026-04-14T16:33:03+00:00",
                "spans": [
                    {"start": 0, "end": 5, "how": "transferred", "from": "k1", "from_start": 2},
                    {"start": 5, "end": 9, "how": "edited", "from": "k1", "from_start": 0, "layers": [46, 47]},
                ],
            },
        },
        "conversations": {
            "c1": {
                "principal": "Café Ltd",
                "turns": [
                    {"role": "system", "tokens": None, "model": "qwen", "server": "new-york", "kv": "k1", "text": "no"},
                    {
                        "role": "user", "tokens": 3, "kv": "k1", "start": 4, "text": "a: [b]\n# c", "token_ids": [1, 2, 3], "token_marks": "tch",
                        "time": "2026-04-14T16:33:03+00:00", "at": {"assistant": -12.25, "deep": 1e-9},
                        "at_tokens": {"probes": ["assistant", "deep"], "float32": base64.b64encode(grid.tobytes()).decode()},
                    },
                    {
                        "role": "assistant", "tokens": 40, "server": "no", "kv": "k2", "edited": True, "region": "aura",
                        "believes": ["p", "not q"], "interventions": ["push"], "sampling": {"temperature": 0.7, "stop": ["x"]},
                        "connections": {"c1/0": {"mass": 0.25, "mass_by_layer": [0.1, 0.4]}, "c1/1": {"kl": 1.5}},
                    },
                    {"role": "tool", "tokens": 2, "server": None, "cache": "rebuilt", "drift": 0.0021},
                    {"role": "assistant", "tokens": 4, "region_probabilities": {"new": 0.25, "aura": 0.7}},
                ]
            },
            "c2": {"parent": "c1", "at": 2, "principal": None, "turns": [{"role": "assistant", "tokens": 1, "model": "tuned"}]},
            "12": {"turns": [{"role": "user", "tokens": 1, "model": "qwen", "shared_from": "c1/0"}]},
        },
    }  # fmt: skip


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_every_field_survives_every_way_round(tmp_path, suffix):
    facts = facts_from_data(everything())
    data = document_data(facts)
    write(facts, tmp_path / f"all{suffix}")
    again = read(tmp_path / f"all{suffix}")
    save(tmp_path / "all.db", [again])
    assert document_data(load(tmp_path / "all.db")) == data
    # Nothing that was written down is missing: only values that carry over are left out.
    for section in ("title", "source", "case", "interventions", "caches", "probes", "labellings", "servers"):
        assert data[section] == everything()[section]
    assert data["conversations"]["c1"]["turns"][1] == everything()["conversations"]["c1"]["turns"][1]
    assert data["conversations"]["c1"]["turns"][3:] == everything()["conversations"]["c1"]["turns"][3:]
    assert list(data["conversations"]["c1"]["turns"][4]["region_probabilities"]) == ["new", "aura"]
    for name, conversation in everything()["conversations"].items():
        assert {**data["conversations"][name], "turns": []} == {**conversation, "turns": []}


def test_the_written_form_is_the_golden_one():
    text = dumps(facts_from_data(everything()))
    assert text == (GOLDEN / "everything.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(text)["conversations"]["c1"]["turns"][0]["text"] == "no"


def as_version_3_had_it():
    """What golden/everything-3.sql holds: the same trace, less what schema 3 had no place for."""
    world = everything()
    del world["labellings"]["found"]
    return world


def as_version_2_had_it():
    """What golden/everything-2.sql holds: less still."""
    world = as_version_3_had_it()
    for cache in world["caches"].values():
        for field in ("spans", "drift_mean", "drift_layers"):
            cache.pop(field, None)
    for conversation in world["conversations"].values():
        for turn in conversation["turns"]:
            turn.pop("start", None)
            turn.pop("connections", None)
    return world


def as_version_1_had_it():
    """What golden/everything-1.sql holds: less still."""
    world = as_version_2_had_it()
    for conversation in world["conversations"].values():
        conversation.pop("principal", None)
        conversation["turns"] = [turn for turn in conversation["turns"] if "region_probabilities" not in turn]
    return world


AS_OF = {1: as_version_1_had_it, 2: as_version_2_had_it, 3: as_version_3_had_it, 4: everything}


def stored_as(version, path):
    # Each was dumped when its schema was made; later versions must go on reading it.
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((GOLDEN / f"everything-{version}.sql").read_text(encoding="utf-8"))
    return path


def version_of(path):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]


@pytest.mark.parametrize("version", AS_OF)
def test_a_store_of_every_schema_version_still_reads_and_is_not_changed_by_it(version, tmp_path, run):
    old = stored_as(version, tmp_path / "old.db")
    before = old.read_bytes()
    assert document_data(load(old)) == document_data(facts_from_data(AS_OF[version]()))
    # One of its labellings fits two probes.
    assert run("check", old).exit_code == 1
    assert old.read_bytes() == before


def more():
    turns = [
        {"role": "user", "tokens": 1, "model": "qwen", "server": "no"},
        {"role": "assistant", "tokens": 1, "region_probabilities": {"other": 0.5, "aura": 0.25}},
    ]
    conversations = {
        "13": {"principal": "Ann", "turns": turns},
        "14": {"parent": "13", "at": 1, "turns": [{"role": "assistant", "tokens": 1}]},
    }
    return {
        "individuation": 1,
        "models": {"qwen": everything()["models"]["qwen"]},
        "servers": {"no": {}},
        "conversations": conversations,
    }


@pytest.mark.parametrize("version", AS_OF)
def test_a_store_of_every_schema_version_can_be_added_to(version, tmp_path, run):
    old, world = stored_as(version, tmp_path / "old.db"), AS_OF[version]()
    # As it stands, one labelling fits two probes, and nothing could be added to that.
    world["labellings"]["strict"]["spaces"]["narrow"]["layer"] = 50
    with closing(sqlite3.connect(old)) as connection, connection:
        connection.execute("UPDATE space SET layer = 50 WHERE name = 'narrow'")
    assert run("check", old).exit_code == 0
    save(old, [facts_from_data(more())])
    assert version_of(old) == schema.SCHEMA_VERSION
    both = gathered([facts_from_data(world), facts_from_data(more())], "old.db")
    assert document_data(load(old)) == document_data(both)
    assert run("check", old).exit_code == 0
    with closing(sqlite3.connect(old)) as connection:
        rows = connection.execute("SELECT stage, principal FROM turns WHERE conversation > '12'").fetchall()
        assert ("13/0", "Ann") in rows
        # Everything a new file has is there, and under the same guard.
        assert names_in(connection) == names_in_a_new_file(tmp_path)


def names_in(connection):
    """All tables with their columns, views and triggers."""
    there = connection.execute("SELECT type, name, tbl_name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'")
    columns = 'SELECT name, type, "notnull", pk FROM pragma_table_info(?)'
    return {(*item, *connection.execute(columns, item[1:2]).fetchall()) for item in there}


def names_in_a_new_file(folder):
    save(folder / "new.db", [facts_from_data(everything())])
    with closing(sqlite3.connect(folder / "new.db")) as connection:
        return names_in(connection)


def test_what_is_refused_leaves_an_old_store_as_it_was(tmp_path):
    old = stored_as(1, tmp_path / "old.db")
    before = old.read_bytes()
    with pytest.raises(TraceError, match="already has a conversation"):
        save(old, [facts_from_data(everything())])
    assert (old.read_bytes(), version_of(old)) == (before, 1)


def test_a_labelling_can_be_added_to_an_old_store(tmp_path):
    old = stored_as(1, tmp_path / "old.db")
    (tmp_path / "s.json").write_text(json.dumps({"individuation": 1, "spaces": everything()["spaces"]}))
    add_labelling(old, "again", read_spaces(tmp_path / "s.json"))
    assert load(old).labellings["again"] == facts_from_data(everything()).spaces
    assert version_of(old) == schema.SCHEMA_VERSION


def test_info_says_for_how_many_conversations_each_principal_stands(run, tmp_path):
    write(facts_from_data(more()), tmp_path / "more.yaml")
    assert json.loads(run("info", tmp_path / "more.yaml", "-f", "json").stdout)["principals"] == {
        "Ann": {"conversations": 2}
    }
    assert "principals Ann: conversations 2" in " ".join(run("info", tmp_path / "more.yaml").stdout.split())
    write(facts_from_data({**more(), "conversations": {}}), tmp_path / "none.yaml")
    assert "principals" not in run("info", tmp_path / "none.yaml").stdout


def regions(world, labelling=None):
    stages = open_trace(world).stages(labelling)
    return [stages.regions.names[code] if code >= 0 else None for code in stages.region]


def probable(*probabilities, **more):
    turns = [{"role": "assistant", "tokens": 1, "region_probabilities": given} for given in probabilities]
    turns[0]["model"] = "m"
    return {"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": turns}}, **more}


@pytest.mark.parametrize(
    ("probabilities", "region"),
    [
        ({"aura": 0.7, "calm": 0.2}, "aura"),
        ({"aura": 0.2, "calm": 0.7}, "calm"),
        ({"aura": 1}, "aura"),
        # No region is an outcome too, and may be the most probable one.
        ({"aura": 0.4}, None),
        ({"aura": 0.3, "calm": 0.2}, None),
        ({"aura": 0}, None),
        # The region listed first wins a tie, whatever the other turns list first; any region wins over none.
        ({"calm": 0.5, "aura": 0.5}, "calm"),
        ({"aura": 0.5, "calm": 0.5}, "aura"),
        ({"evil": 0.1, "calm": 0.4, "aura": 0.4}, "calm"),
        ({"aura": 0.5}, "aura"),
        ({"aura": 0.35, "calm": 0.3}, "aura"),
        ({"aura": 0.1, "calm": 0.45}, "calm"),
        # As sums of floating-point numbers go.
        ({"a": 0.1, "b": 0.2, "c": 0.3, "d": 0.4 + 1e-10}, "d"),
    ],
)
def test_a_turn_counts_with_its_most_probable_region(probabilities, region, tmp_path):
    world = probable({"aura": 0.9, "evil": 0.1}, probabilities)
    assert regions(world) == regions(world, "stated") == ["aura", region]
    save(tmp_path / "t.db", [facts_from_data(world)])
    assert regions(tmp_path / "t.db") == ["aura", region]


def test_the_probabilities_of_regions_stand_beside_the_stages_under_stated_regions_only():
    space = {"s": {"model": "m", "axes": ["x"], "regions": {"evil": {"x": [0, 1]}, "calm": {"x": [2, 3]}}}}
    world = probable({"aura": 0.5, "calm": 0.25}, {"calm": 0.75, "evil": 0.125}, spaces=space)
    world["conversations"]["c"]["turns"].insert(1, {"role": "assistant", "at": {"x": 1}})
    # The branch stands before its parent in the record and after it in the table of stages.
    branch = {"parent": "c", "at": 1, "turns": [{"role": "assistant", "region_probabilities": {"evil": 0.25}}]}
    world["conversations"] = {"b": branch, **world["conversations"]}
    trace = open_trace(world)
    assert trace.labellings == ["stated", "s"]

    def chances(labelling):
        stages = trace.stages(labelling)
        rows = zip(stages.chance_stage, stages.chance_region, stages.chance_value, strict=True)
        return sorted((stages.name(stage), stages.regions.names[region], float(value)) for stage, region, value in rows)

    said = [
        ("b/0", "evil", 0.25), ("c/0", "aura", 0.5), ("c/0", "calm", 0.25), ("c/2", "calm", 0.75), ("c/2", "evil", 0.125),
    ]  # fmt: skip
    assert chances(None) == chances("stated") == said
    assert chances("s") == []
    assert regions(world) == ["aura", "evil", "calm", None]
    assert regions(world, "stated") == ["aura", None, "calm", None]
    assert regions(world, "s") == [None, "evil", None, None]
    assert "most probable" in trace.stages().regions.basis
    assert "most probable" not in trace.stages("s").regions.basis
    # A region that is never the most probable one is a region of the model's all the same.
    assert individuate(trace, "abstract-model-persona", labelling="stated").count == 3


def test_a_branch_acts_for_its_parents_principal_unless_it_says_otherwise():
    turns = [{"role": "user", "tokens": 1, "model": "m"}]
    branch = {"parent": "root", "at": 1, "turns": [{"role": "assistant", "tokens": 1}]}
    world = {
        "individuation": 1,
        "models": {"m": {}},
        "conversations": {
            "grandchild": {**branch, "parent": "child"},
            "child": branch,
            "other": {**branch, "principal": "Ben"},
            "nobody": {**branch, "principal": None},
            "under nobody": {**branch, "parent": "nobody"},
            "root": {"principal": "Ann", "turns": turns},
            "silent": {"turns": turns},
        },
    }
    facts = facts_from_data(world)
    acting = [None if code < 0 else facts.principals[code] for code in facts.conversations.principal]
    assert acting == ["Ann", "Ann", "Ben", None, None, "Ann", None]
    written = document_data(facts)["conversations"]
    assert {name: it["principal"] for name, it in written.items() if "principal" in it} == {
        "other": "Ben", "nobody": None, "root": "Ann",
    }  # fmt: skip
    stages = open_trace(world).stages()
    assert stages.name(0) == "root/0"
    by_conversation = dict(zip((stages.conversations[c] for c in stages.conversation), stages.principal, strict=True))
    assert {name: stages.principals[code] for name, code in by_conversation.items() if code >= 0} == {
        "root": "Ann", "child": "Ann", "grandchild": "Ann", "other": "Ben",
    }  # fmt: skip


def test_per_token_coordinates_are_one_little_endian_array_a_turn(tmp_path):
    save(tmp_path / "all.db", [facts_from_data(everything())])
    with closing(sqlite3.connect(tmp_path / "all.db")) as connection:
        rows = connection.execute("SELECT probes_json, tokens, float32 FROM token_coordinates").fetchall()
    assert len(rows) == 1
    assert (json.loads(rows[0][0]), rows[0][1]) == (["assistant", "deep"], 3)
    assert np.frombuffer(rows[0][2], "<f4").tolist() == [0, 1, 2, 3, 4, 5]
    detail = load(tmp_path / "all.db").details()[1]
    assert detail.token_coordinates.shape == (2, 3)


def test_the_bare_file_can_be_read_with_plain_sql(tmp_path):
    save(tmp_path / "all.db", [facts_from_data(everything())])
    with closing(sqlite3.connect(tmp_path / "all.db")) as connection:
        rows = connection.execute(
            "SELECT stage, role, tokens, model, server, kv_cache, stated_region FROM turns"
        ).fetchall()
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert rows[2] == ("c1/2", "assistant", 40, "qwen", "no", "k2", "aura")


def test_what_carries_over_is_written_once(tmp_path):
    data = document_data(
        facts_from_data(
            {
                "individuation": 1,
                "models": {"m": {}},
                "conversations": {
                    "c": {
                        "turns": [
                            {"role": "user", "tokens": 1, "model": "m", "server": "a"},
                            {"role": "user", "tokens": 1, "model": "m", "server": "a"},
                            {"role": "user", "tokens": 1, "server": None},
                        ]
                    }
                },
            }
        )
    )
    assert data["conversations"]["c"]["turns"] == [
        {"role": "user", "tokens": 1, "model": "m", "server": "a"},
        {"role": "user", "tokens": 1},
        {"role": "user", "tokens": 1, "server": None},
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("2026-04-14", "2026-04-14"),
        ("0x1f", 31),
        ("1e3", 1000.0),
        ("010", 10),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("true", True),
        ("~", None),
        ("'12'", "12"),
        ("=", "="),
    ],
)
def test_yaml_means_what_it_says(text, value):
    parsed = parse("x.yaml", f"a: {text}".encode()).data["a"]
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    "text", ["no", "12", "1e3", "", " x", "a: b", "# c", "0x1f", "true", "null", "- a", "x\ny", "é", "'", '"', "@a"]
)
def test_any_text_survives_yaml(text, tmp_path):
    world = {
        "individuation": 1,
        "models": {"m": {}},
        "conversations": {"c": {"turns": [{"role": "user", "tokens": 1, "model": "m", "text": text}]}},
    }
    write(facts_from_data(world), tmp_path / "t.yaml")
    assert read(tmp_path / "t.yaml").details()[0].text == text


def test_anchors_and_aliases_may_be_used_within_reason():
    source = parse("x.yaml", b"a: &x {role: user}\nb: [*x, *x]\n")
    assert source.data["b"] == [{"role": "user"}, {"role": "user"}]


def test_a_labelling_stands_beside_the_facts_and_can_be_picked(tmp_path, examples):
    trace = tmp_path / "aura.db"
    facts = read(examples / "qwen3-32b-aura.yaml")
    save(trace, [facts])
    (tmp_path / "strict.yaml").write_text(
        "individuation: 1\nspaces:\n  strict:\n    model: Qwen/Qwen3-32B\n    axes: [assistant]\n    regions:\n"
        "      assistant: {assistant: [-50, null]}\n      aura: {assistant: [null, -50]}\n"
    )
    before = individuate(open_trace(trace), "instance-persona").to_dict()
    add_labelling(trace, "at-50", read_spaces(tmp_path / "strict.yaml"))
    opened = open_trace(trace)
    assert opened.labellings == ["assistant-axis", "at-50"]
    assert individuate(opened, "instance-persona").to_dict() == before
    assert individuate(opened, "instance-persona", labelling="at-50").count == 4
    assert individuate(opened, "instance-persona", labelling="assistant-axis").count == 2
    # The coordinates are as recorded, whatever was made of them.
    assert np.array_equal(load(trace).coordinates.value, facts.coordinates.value)


def test_a_trace_without_regions_of_its_own_uses_the_first_labelling_added(tmp_path, examples):
    data = document_data(read(examples / "qwen3-32b-aura.yaml"))
    space = data.pop("spaces")["assistant-axis"]
    save(tmp_path / "bare.db", [facts_from_data(data)])
    assert individuate(open_trace(tmp_path / "bare.db"), "instance-persona").count == 0
    (tmp_path / "s.json").write_text(json.dumps({"individuation": 1, "spaces": {"axis": space}}))
    add_labelling(tmp_path / "bare.db", "axis", read_spaces(tmp_path / "s.json"))
    assert individuate(open_trace(tmp_path / "bare.db"), "instance-persona").count == 2


def test_a_stated_region_goes_before_coordinates_and_makes_a_labelling_of_its_own():
    world = {
        "individuation": 1,
        "models": {"m": {}},
        "spaces": {"s": {"model": "m", "axes": ["x"], "regions": {"low": {"x": [None, 0]}, "zero": {"x": [0, 0]}}}},
        "conversations": {
            "c": {
                "turns": [
                    {"role": "assistant", "tokens": 1, "model": "m", "server": "a", "region": "high"},
                    {"role": "assistant", "tokens": 1, "at": {"x": 0}},
                    {"role": "user", "tokens": 1, "at": {"x": -1}},
                    {"role": "assistant", "tokens": 1, "at": {"x": 5}},
                ]
            }
        },
    }
    trace = open_trace(world)
    assert trace.labellings == ["stated", "s"]

    def regions(labelling):
        stages = trace.stages(labelling)
        return [stages.regions.names[code] if code >= 0 else None for code in stages.region]

    # Ranges are closed, the first region listed wins, and coordinates on user turns give no region.
    assert regions(None) == ["high", "low", None, None]
    assert regions("stated") == ["high", None, None, None]
    assert regions("s") == [None, "low", None, None]
    assert trace.stages().regions.ambiguous == 1


def test_several_files_become_one_trace_where_their_names_agree(tmp_path, examples):
    both = [read(examples / "qwen3-32b-aura.yaml"), read(examples / "qwen3-32b-aura-capped.yaml")]
    save(tmp_path / "both.db", both)
    save(tmp_path / "one.db", both[:1])
    save(tmp_path / "one.db", both[1:])
    first, second = load(tmp_path / "both.db"), load(tmp_path / "one.db")
    assert document_data(first) == document_data(second) == document_data(gathered(both, "x"))
    assert first.conversations.names == ["drift", "capped"]


def test_recordings_whose_probes_make_a_space_ambiguous_are_not_joined(tmp_path, examples):
    data = document_data(read(examples / "qwen3-32b-aura.yaml"))
    data["conversations"] = {"other": data["conversations"].pop("drift")}
    data["probes"] = {"again": data["probes"].pop("assistant")}
    for turn in data["conversations"]["other"]["turns"]:
        turn["at"] = {"again": turn["at"]["assistant"]}
    save(tmp_path / "t.db", [read(examples / "qwen3-32b-aura.yaml")])
    before = (tmp_path / "t.db").read_bytes()
    with pytest.raises(TraceError, match="recorded 2 times"):
        save(tmp_path / "t.db", [facts_from_data(data)])
    assert (tmp_path / "t.db").read_bytes() == before


def test_an_infinite_end_of_a_range_is_an_unbounded_one(tmp_path):
    (tmp_path / "s.yaml").write_text(
        "individuation: 1\nspaces: {s: {model: m, axes: [x], regions: {r: {x: [-.inf, 3]}}}}\nmodels: {m: {}}\nconversations: {}\n"
    )
    write(read(tmp_path / "s.yaml"), tmp_path / "t.json")
    assert read(tmp_path / "t.json").spaces["s"].regions["r"]["x"] == (None, 3.0)


def test_a_yaml_flow_mapping_may_stand_on_one_line(tmp_path):
    (tmp_path / "t.yaml").write_text("{individuation: 1, models: {m: {}}, conversations: {}}\n")
    assert list(read(tmp_path / "t.yaml").models) == ["m"]


@pytest.mark.parametrize(
    ("caches", "found"),
    [
        ({"k": {"model": "n", "how": "decoded"}}, "ran on m"),
        ({"k": {"model": "m", "server": "b", "how": "decoded"}}, "on server b"),
        ({"k": {"model": "m", "how": "decoded", "from": "k"}}, "back to itself"),
        ({"k": {"model": "m", "how": "transferred"}}, "from"),
        ({"k": {"model": "m", "how": "edited", "from": "j"}, "j": {"model": "n", "how": "decoded"}}, "another model"),
    ],
)
def test_a_recorded_cache_that_cannot_be_is_refused(caches, found):
    turns = [{"role": "user", "tokens": 1, "model": "m", "server": "a", "kv": "k"}]
    world = {
        "individuation": 1,
        "models": {"m": {}, "n": {}},
        "caches": caches,
        "conversations": {"c": {"turns": turns}},
    }
    with pytest.raises(TraceError, match=found):
        facts_from_data(world)


def two_models(**more):
    """Two models with a space each on an axis of the same name, and a probe each at the same layer."""
    space = {"axes": ["x"], "layer": 2, "regions": {"high": {"x": [1, None]}, "low": {"x": [None, 0]}}}
    return {
        "individuation": 1,
        "models": {"m": {}, "n": {}, "unread": {}},
        "spaces": {name: {**space, "model": name} for name in ("m", "n", "unread")},
        "probes": {"x of m": {"axis": "x", "layer": 2}, "x of n": {"axis": "x", "layer": 2}},
        "conversations": {
            "c": {
                "turns": [
                    {"role": "assistant", "model": "m", "at": {"x of m": 5.0}},
                    {"role": "assistant", "model": "n", "at": {"x of n": -5.0, **more}},
                    {"role": "assistant", "model": "n"},
                ]
            }
        },
    }


def test_each_models_own_probe_is_read_where_several_fit(tmp_path):
    world = two_models()
    # The third space has no reading at all, and may be of either probe.
    world["spaces"].pop("unread")
    assert regions(world) == ["high", "low", None]
    save(tmp_path / "t.db", [facts_from_data(world)])
    assert regions(tmp_path / "t.db") == ["high", "low", None]
    (tmp_path / "s.json").write_text(json.dumps({"individuation": 1, "spaces": {"again": world["spaces"]["n"]}}))
    add_labelling(tmp_path / "t.db", "again", read_spaces(tmp_path / "s.json"))
    assert regions(tmp_path / "t.db", "again") == [None, "low", None]


def test_several_probes_of_one_model_are_still_refused():
    with pytest.raises(TraceError, match="recorded 2 times"):
        regions(two_models(**{"x of m": 3.0}))


def history(run, path):
    return json.loads(run("info", path, "-f", "json").stdout)


def test_info_tells_a_conversations_cache_history(run, tmp_path):
    world = everything()
    world["labellings"] = {}
    save(tmp_path / "t.db", [facts_from_data(world)])
    told = history(run, tmp_path / "t.db")
    assert told["cache history"] == {
        "c1": [
            {
                "cache": "k1", "turns": "0-1", "how": "decoded", "server": "new-york", "entries": 7,
                "origins": {"prefilled": 7},
            },
            {
                "cache": "k2", "turns": "2", "how": "transferred", "from": "k1", "server": "no", "positions": 10,
                "drift": 0.0, "drift_mean": 0.0, "drift_kl": 0.5, "time": "2026-04-14T16:33:03+00:00", "entries": 9,
                "origins": {"transferred": 5, "edited": 4},
                "taken over": [
                    {"entries": "0-4", "how": "transferred", "from": "k1", "from_start": 2},
                    {"entries": "5-8", "how": "edited", "from": "k1", "from_start": 0},
                ],
            },
        ]
    }  # fmt: skip
    assert told["connections"] == {
        "pairs of stages": 2, "attention mass": {"from": 0.25, "to": 0.25}, "KL divergence (nats)": {"from": 1.5, "to": 1.5},
    }  # fmt: skip
    shown = " ".join(run("info", tmp_path / "t.db").stdout.split())
    assert "cache history c1: k1 at turns 0-1: decoded on new-york; 7 entries: 7 prefilled" in shown
    assert (
        "c1: k2 at turn 2: transferred from k1 on no (10 entries, drift 0, drift mean 0, drift kl 0.5); 9 entries"
        in shown
    )
    assert "5 transferred, 4 edited (0-4 from k1, 5-8 from k1)" in shown


def test_a_long_cache_history_is_cut_in_the_table_and_whole_in_json(run, tmp_path):
    caches = {f"k{number}": {"model": "m", "how": "prefilled"} for number in range(30)}
    turns = [{"role": "user", "model": "m", "kv": name} for name in caches]
    write(
        facts_from_data({**more(), "models": {"m": {}}, "caches": caches, "conversations": {"c": {"turns": turns}}}),
        tmp_path / "t.json",
    )
    assert len(history(run, tmp_path / "t.json")["cache history"]["c"]) == 30
    assert "and 6 more (--format json" in run("info", tmp_path / "t.json").stdout


@pytest.mark.parametrize(
    ("spans", "found"),
    [
        ([{"start": 1, "end": 2, "how": "decoded"}], "begins at 1, but is first"),
        ([{"start": 0, "end": 2, "how": "decoded"}, {"start": 3, "end": 4, "how": "decoded"}], "ends at 2"),
        ([{"start": 0, "end": 2, "how": "decoded"}, {"start": 1, "end": 4, "how": "decoded"}], "ends at 2"),
        ([{"start": 0, "end": 0, "how": "decoded"}], "end is 0"),
        ([{"start": 3, "end": 2, "how": "decoded"}], "from 3 to 2"),
        ([{"start": 0, "end": 2, "how": "decoded", "from_start": 1}], "from is missing"),
        ([{"start": 0, "end": 2, "how": "transferred"}], "were transferred, but `from` is missing"),
        ([{"start": 0, "end": 2, "how": "shared", "from": "x"}], 'no cache "x"'),
        ([{"start": 0, "end": 2, "how": "shared", "from": "k"}], "in the end from itself"),
        ([{"start": 0, "end": 2, "how": "shared", "from": "l"}], "in the end from itself"),
        ([{"start": 0, "end": 2, "how": "shared", "from": "n"}], "a cache of another model"),
        ([{"start": 0, "end": 9, "how": "shared", "from": "o"}], "has only 4"),
        ([{"start": 0, "end": 2, "how": "decoded", "server": "x"}], 'no server "x"'),
        ([{"start": 0, "end": 2, "how": "grown"}], 'how is "grown"'),
        ([{"start": 0, "end": 2, "how": "decoded", "till": 3}], 'no field "till"'),
        ({}, "spans"),
    ],
)  # fmt: skip
def test_spans_that_leave_an_entry_without_one_origin_are_refused(spans, found):
    world = {
        **more(), "models": {"m": {}, "n": {}}, "conversations": {},
        "caches": {
            "k": {"model": "m", "how": "decoded", "spans": spans},
            "l": {"model": "m", "how": "decoded", "from": "k"},
            "n": {"model": "n", "how": "decoded"},
            "o": {"model": "m", "how": "decoded", "spans": [{"start": 0, "end": 4, "how": "decoded"}]},
        },
    }  # fmt: skip
    with pytest.raises(TraceError, match=found):
        facts_from_data(world)


@pytest.mark.parametrize(
    ("connections", "found"),
    [
        ({"c/1": {"mass": 0.5}}, "not before this turn"),
        ({"c/2": {"mass": 0.5}}, "not before this turn"),
        ({"d/0": {"mass": 0.5}}, "not before this turn"),
        ({"c/9": {"mass": 0.5}}, "c/ORDINAL with an ordinal below 3"),
        ({"c": {"mass": 0.5}}, "CONVERSATION/ORDINAL"),
        ({"x/0": {"mass": 0.5}}, 'no conversation "x"'),
        ({"c/0": {}}, "neither mass nor kl"),
        ({"c/0": {"mass": 1.5}}, "mass is 1.5"),
        ({"c/0": {"kl": -1}}, "kl is -1"),
        ({"c/0": {"mass": 0.5, "mass_by_layer": [2]}}, "mass_by_layer"),
        ({"c/0": {"weight": 0.5}}, 'no field "weight"'),
        ({"c/0": 0.5}, "c/0 is 0.5"),
    ],
)
def test_connections_that_cannot_be_are_refused(connections, found):
    turns = [{"role": "user", "model": "m"}, {"role": "user", "connections": connections}, {"role": "user"}]
    other = {"turns": [{"role": "user", "model": "m"}]}
    world = {**more(), "models": {"m": {}}, "conversations": {"c": {"turns": turns}, "d": other}}
    with pytest.raises(TraceError, match=found):
        facts_from_data(world)


def test_a_connection_may_reach_into_the_conversations_that_a_branch_comes_from():
    turn = {"role": "user", "model": "m"}
    measured = {"a/0": {"mass": 0.5}, "b/0": {"kl": 0.25}}
    world = {
        **more(),
        "models": {"m": {}},
        "conversations": {
            "b": {"parent": "a", "at": 1, "turns": [turn, turn]},
            "c": {"parent": "b", "at": 2, "turns": [{**turn, "connections": measured}]},
            "a": {"turns": [turn, turn]},
        },
    }
    data = document_data(facts_from_data(world))
    assert data["conversations"]["c"]["turns"][0]["connections"] == measured
    world["conversations"]["c"]["turns"][0]["connections"] = {"b/1": {"mass": 0.5}}
    with pytest.raises(TraceError, match="not before this turn"):
        facts_from_data(world)
