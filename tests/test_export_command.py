"""`individuate export`: the right file for the words typed, all of it or nothing."""

import csv
import io
import json
import os
import pty
import subprocess
import sys

import networkx
import pytest
from prov.model import ProvDocument

from individuation import VIEWS
from individuation.export import FORMATS


@pytest.fixture
def aura(examples):
    return examples / "qwen3-32b-aura.yaml"


def assert_refused(result, *words, wrote=False):
    assert result.exit_code == 2, (result.stdout, result.stderr)
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert lines[1].startswith("Expected: "), result.stderr
    assert lines[2:] == (["Nothing was written."] if wrote else [])
    for word in words:
        assert word in result.stderr, result.stderr


def test_without_a_view_all_that_list_minds_are_exported(run, aura, tmp_path):
    result = run("export", aura, "-o", tmp_path / "a.json")
    assert result.exit_code == 0
    listing = [view for view in VIEWS if view != "forward-pass"]
    assert result.stdout.endswith(f"a.json: 46 stages, 45 links, with 7 views ({', '.join(listing)}).\n")
    assert json.loads((tmp_path / "a.json").read_text())["graph"]["views"] == listing


def test_readings_and_labellings_are_those_of_counting(run, cases, aura):
    words = ("--view", "virtual-instance", "--reading", "reconstruction=new")
    counted = json.loads(run(cases / "three-cities.yaml", *words, "--format", "json").stdout)
    exported = json.loads(run("export", cases / "three-cities.yaml", *words, "--format", "json").stdout)["graph"]
    assert exported["count:virtual-instance"] == counted["count"] == 3
    assert exported["readings:virtual-instance"]["reconstruction"] == "new"
    assert list(exported["minds:virtual-instance"]) == [mind["id"] for mind in counted["minds"]]
    words = ("--view", "model-persona", "--labelling", "assistant-axis", "--format", "json")
    counted = json.loads(run(aura, *words).stdout)
    exported = json.loads(run("export", aura, *words).stdout)
    for mind in counted["minds"]:
        assert mind["stages"] == [
            node["id"] for node in exported["nodes"] if node.get("mind:model-persona") == mind["id"]
        ]


@pytest.mark.parametrize("name", FORMATS)
def test_standard_output_gets_what_a_file_gets(run, cases, tmp_path, name):
    trace = cases / "router-return.yaml"
    for output in ((), ("-o", "-")):
        printed = run("export", trace, "--format", name, *output)
        assert printed.exit_code == 0
        file = tmp_path / f"{len(output)}.any"
        assert run("export", trace, "--format", name, "-o", file).exit_code == 0
        assert printed.stdout_bytes == file.read_bytes()


def test_the_first_named_view_is_drawn_by_dot_and_the_only_one_by_mermaid(run, cases):
    trace = cases / "router.yaml"
    drawn = run("export", trace, "-v", "thread", "-v", "model", "-f", "dot").stdout
    assert drawn.count("subgraph") == 1
    assert run("export", trace, "-v", "model", "-v", "thread", "-f", "dot").stdout.count("subgraph") == 2
    assert run("export", trace, "-f", "dot").stdout.count("subgraph") == 0
    assert run("export", trace, "-v", "model", "-f", "mermaid").stdout.count("subgraph") == 2
    assert run("export", trace, "-f", "mermaid").stdout.count("subgraph") == 0
    assert_refused(run("export", trace, "-v", "model", "-v", "thread", "-f", "mermaid"), "mermaid")


def test_links_are_a_table_of_their_own(run, cases):
    rows = list(csv.DictReader(io.StringIO(run("export", cases / "three-cities.yaml", "--links", "-f", "csv").stdout)))
    assert [(row["source"], row["target"], row["kind"]) for row in rows] == [
        ("c1/0", "c1/1", "attention"), ("c1/1", "c1/2", "rebuild"), ("c1/2", "c1/3", "rebuild"),
    ]  # fmt: skip
    assert_refused(run("export", cases / "three-cities.yaml", "--links", "-f", "gexf"), "--links", "csv")


def test_several_traces_are_one_graph(run, cases, tmp_path):
    done = run("export", cases / "router.yaml", cases / "gage.yaml", "-v", "model", "-o", tmp_path / "both.graphml")
    assert done.exit_code == 0
    graph = networkx.read_graphml(tmp_path / "both.graphml", force_multigraph=True)
    assert {stage.partition(":")[0] for stage in graph} == {"router", "gage"}
    assert len(graph) == 10


def test_a_view_of_ones_own_is_exported_under_its_name(run, cases, examples):
    from individuation.criteria import find_view

    paths = sorted((examples / "views").glob("*.toml"))
    assert paths
    for path in paths:
        view = find_view(str(path)).name
        graph = json.loads(run("export", cases / "pantheon.yaml", "--view", path, "-f", "json").stdout)["graph"]
        assert graph["views"] == [view]
        assert len(graph[f"minds:{view}"]) == graph[f"count:{view}"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), ("--format", "standard output")),
        (("-o", "aura"), ("no ending", ".graphml")),
        (("-o", "aura.svg"), ('".svg"', ".graphml")),
        (("-f", "csv", "-v", "thred"), ('did you mean "thread"?',)),
        (("-f", "csv", "-r", "branching"), ("NAME=VALUE",)),
        (("-f", "csv", "-r", "reconstructon=new"), ("reconstruction",)),
        (("-f", "csv", "--labelling", "axis"), ("assistant-axis",)),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_can(run, aura, words, said):
    assert_refused(run("export", aura, *words), *said)


def test_a_file_that_is_there_is_left_as_it_is(run, aura, tmp_path):
    path = tmp_path / "a.dot"
    path.write_text("mine")
    assert_refused(run("export", aura, "-o", path), "it is there already", wrote=True)
    assert path.read_text() == "mine"


@pytest.fixture
def unspeakable(tmp_path):
    """A trace with a name, late in it, that XML cannot hold."""
    turns = [{"role": "user", "model": "m"}]
    path = tmp_path / "unspeakable.json"
    conversations = {"fine": {"turns": turns}, "c\ufffe": {"turns": turns}}
    path.write_text(json.dumps({"individuation": 1, "models": {"m": {}}, "conversations": conversations}))
    return path


@pytest.mark.parametrize("name", ["graphml", "gexf"])
def test_what_a_format_cannot_hold_leaves_nothing_behind(run, unspeakable, tmp_path, snapshot, name):
    before = snapshot(tmp_path)
    assert_refused(run("export", unspeakable, "-o", tmp_path / f"a.{name}"), "U+FFFE", wrote=True)
    assert_refused(run("export", unspeakable, "-v", "model", "-f", name), "U+FFFE")
    assert snapshot(tmp_path) == before


def test_overlapping_minds_are_refused_by_mermaid_with_a_way_out(run, cases, tmp_path):
    words = ("-v", "thread", "-r", "branching=overlap", "-o", tmp_path / "a.mmd")
    assert_refused(run("export", cases / "regenerate.yaml", *words), "branching=one", wrote=True)


def test_mermaids_bound_is_said(run, tmp_path):
    turns = [{"role": "user", "tokens": 1}] * 502
    turns[0] = turns[0] | {"model": "m", "server": "s"}
    world = {"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": turns}}}
    (tmp_path / "long.json").write_text(json.dumps(world))
    result = run("export", tmp_path / "long.json", "-v", "thread", "-o", tmp_path / "long.mmd")
    assert result.exit_code == 0
    assert "at most 500 links" in result.stderr
    assert (tmp_path / "long.mmd").is_file()


WITHOUT_PROV = """
import sys
sys.modules["prov"] = None
from individuation.cli.main import run
run()
"""


def test_without_the_package_prov_its_extra_is_named(cases, tmp_path):
    words = ["export", str(cases / "router.yaml"), "-o", str(tmp_path / "a.provn")]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PROV, *words], capture_output=True, encoding="utf-8", check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'individuate[prov]'" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_prov_is_written_under_any_name(run, cases, tmp_path):
    for name, notation in (("a.json", "json"), ("a.provjson", "json"), ("a.provn", "provn")):
        assert run("export", cases / "router.yaml", "-f", "prov", "-o", tmp_path / name).exit_code == 0
        document = ProvDocument.deserialize(source=str(tmp_path / name), format=notation)
        assert len(list(document.bundles)) == 7


IMPATIENT = """
import individuation.cli.export
individuation.cli.export._PATIENCE = 0
from individuation.cli.main import run
run()
"""


def test_long_work_is_shown_to_a_terminal_only(cases, tmp_path):
    words = [sys.executable, "-c", IMPATIENT, "export", str(cases / "router.yaml")]
    ours, theirs = pty.openpty()
    done = subprocess.run([*words, "-o", str(tmp_path / "a.gexf")], stdout=subprocess.PIPE, stderr=theirs, check=False)
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert done.returncode == 0
    assert "0:00:0" in shown
    quiet = subprocess.run([*words, "-f", "gexf"], capture_output=True, check=False)
    assert quiet.stderr == b""
    assert quiet.stdout == (tmp_path / "a.gexf").read_bytes()


def test_starting_loads_neither_networkx_nor_numpy():
    code = (
        "import sys, individuation.cli.export; print(sorted({'networkx', 'numpy', 'rich', 'prov'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout == "[]\n"
