"""The command as a person and as a program meet it."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from individuation.cli.main import cli
from rules.registry import VIEWS
from traces.store import load

AURA = "qwen3-32b-aura.yaml"
CASES = Path(__file__).parent.parent / "individuation" / "cases"


@pytest.fixture
def aura(examples):
    return str(examples / AURA)


def test_counting_needs_no_sub_command(run, aura):
    bare, named = run(aura), run("count", aura)
    assert bare.exit_code == 0
    assert bare.stdout == named.stdout


def test_options_may_stand_before_the_trace(run, aura):
    assert run("--view", "thread", aura).stdout == run(aura, "--view", "thread").stdout


def test_every_view_has_a_line_with_its_count_and_who_they_are(run, aura):
    lines = run(aura).stdout.splitlines()
    rows = {
        line.split()[0]: [part.strip() for part in re.split(r" {3,}", line.strip())[1:]]
        for line in lines
        if line.split() and line.split()[0] in VIEWS
    }
    assert list(rows) == list(VIEWS)
    assert rows["instance-persona"][0] == "2 (2-46)"
    assert rows["physical-instance"] == ["-", "needs to know the server"]
    assert rows["forward-pass"][0] == "-"
    assert rows["model-persona"][1] == "assistant of qwen3-32b · aura of qwen3-32b"


def test_the_overview_says_what_it_rests_on_and_what_to_do_next(run, aura):
    text = " ".join(run(aura).stdout.split())
    assert "Qwen 3 32B drifts into Aura · 1 conversation · 46 stages · 1 model · server not recorded" in text
    assert "activation ranges of space assistant-axis" in text
    assert "was not tested (Hypothesis 3" in text
    assert "individuate views" in text


def test_one_view_lists_its_minds(run, aura):
    text = " ".join(run(aura, "--view", "instance-persona").stdout.split())
    assert "instance-persona: 2 minds (2-46). Same mind iff" in text
    assert "aura of" in text
    assert "drift/8 to" in text
    assert "user_turns=poised" in text


def test_json_is_what_python_gives(run, aura):
    from individuation import individuate, open_trace

    trace = open_trace(aura)
    one = run(aura, "--view", "instance-persona", "--format", "json")
    assert json.loads(one.stdout) == individuate(trace, "instance-persona").to_dict()
    two = run(aura, "--view", "thread", "--view", "model", "--format", "json")
    assert [result["view"] for result in json.loads(two.stdout)] == ["thread", "model"]
    every = json.loads(run(aura, "--format", "json").stdout)
    assert [view["view"] for view in every["views"]] == list(VIEWS)
    assert every["views"][5]["count"] == 2


def test_csv_can_be_read_by_a_program(run, aura):
    rows = list(csv.DictReader(io.StringIO(run(aura, "-v", "instance-persona", "-f", "csv").stdout)))
    assert [row["first"] for row in rows] == ["drift/0", "drift/8"]
    assert len(json.loads(rows[1]["stages"])) == 38
    passes = csv.DictReader(io.StringIO(run(str(CASES / "router.yaml"), "-v", "forward-pass", "-f", "csv").stdout))
    assert sum(int(row["passes"]) for row in passes) == 371
    overview = list(csv.DictReader(io.StringIO(run(aura, "-f", "csv").stdout)))
    assert {row["view"]: row["count"] for row in overview}["model-persona"] == "2"


def test_readings_change_the_count_and_go_to_the_views_that_have_them(run, examples):
    case = str(examples.parent / "individuation" / "cases" / "three-cities.yaml")
    found = json.loads(run(case, "-r", "reconstruction=new", "-f", "json").stdout)
    counts = {view["view"]: view["count"] for view in found["views"]}
    assert (counts["virtual-instance"], counts["thread"], counts["model"]) == (3, 1, 1)


def test_contradictions_are_shown(run, examples):
    case = str(examples.parent / "individuation" / "cases" / "two-auras.yaml")
    assert "contradicts itself" in run(case, "-v", "model-persona").stdout


def test_several_traces_are_counted_together(run, examples):
    found = run(str(examples / AURA), str(examples / "qwen3-32b-aura-capped.yaml"), "-v", "model-persona", "-f", "json")
    minds = json.loads(found.stdout)["minds"]
    assert [mind["label"] for mind in minds] == ["assistant of qwen3-32b", "aura of qwen3-32b"]
    assert minds[0]["conversations"] == ["qwen3-32b-aura:drift", "qwen3-32b-aura-capped:capped"]


def test_import_label_count_info_and_check_work_on_one_trace(run, examples, tmp_path):
    trace = str(tmp_path / "aura.db")
    done = run("import", str(examples / AURA), str(examples / "qwen3-32b-aura-capped.yaml"), "-o", trace)
    assert (done.exit_code, done.stdout) == (
        0,
        f"{trace}: 2 conversations, 92 stages imported. Next: individuate {trace}\n",
    )
    (tmp_path / "strict.yaml").write_text(
        "individuation: 1\nspaces:\n  strict:\n    model: Qwen/Qwen3-32B\n    axes: [assistant]\n    layer: 50\n"
        "    regions: {aura: {assistant: [null, -50]}}\n"
    )
    labelled = run("label", trace, "--space", str(tmp_path / "strict.yaml"))
    assert labelled.exit_code == 0
    assert "strict" in labelled.stdout
    assert json.loads(run(trace, "-v", "model-persona", "--labelling", "strict", "-f", "json").stdout)["count"] == 1
    info = json.loads(run("info", trace, "-f", "json").stdout)
    assert info["labellings"]["strict"] == {"turns": {"aura": 20}}
    assert info["interventions"]["cap"]["turns"] == 23
    assert run("check", trace).exit_code == 0
    assert run("info", trace).exit_code == 0


def test_info_computes_the_attention_streams_of_the_paper(run, tmp_path):
    # §2.1: at token 101 of Llama 3 70B there are 100 prior positions.
    turns = [{"role": "user", "tokens": 90, "model": "llama"}, {"role": "assistant", "tokens": 11}]
    models = {"llama": {"name": "Llama 3 70B", "layers": 80, "kv_heads": 8, "head_dim": 128}}
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"individuation": 1, "models": models, "conversations": {"c": {"turns": turns}}}))
    assert "64,000 of 128 dimensions" in " ".join(run("info", str(path)).stdout.split())


def test_a_stored_trace_becomes_a_file_again(run, examples, tmp_path):
    run("import", str(examples / AURA), "-o", str(tmp_path / "a.db"))
    for name in ("a.yaml", "a.json"):
        assert run("import", str(tmp_path / "a.db"), "-o", str(tmp_path / name)).exit_code == 0
        assert run(str(tmp_path / name), "-f", "json").stdout == run(str(tmp_path / "a.db"), "-f", "json").stdout


def test_import_can_leave_out_the_words(run, tmp_path):
    path = tmp_path / "t.json"
    turns = [
        {
            "role": "user",
            "tokens": 2,
            "model": "m",
            "text": "a secret",
            "token_ids": [7, 8],
            "time": "2026-01-01T00:00:00",
        }
    ]
    path.write_text(json.dumps({"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": turns}}}))
    run("import", str(path), "-o", str(tmp_path / "t.db"), "--no-text")
    assert b"secret" not in (tmp_path / "t.db").read_bytes()
    detail = load(tmp_path / "t.db").details()[0]
    assert (detail.text, detail.token_ids, detail.time) == (None, None, "2026-01-01T00:00:00")


def test_names_that_clash_can_be_prefixed(run, examples, tmp_path):
    cases = examples.parent / "individuation" / "cases"
    both = [str(cases / "router.yaml"), str(cases / "three-cities.yaml")]
    assert run("import", *both, "-o", str(tmp_path / "t.db")).exit_code == 2
    assert not (tmp_path / "t.db").exists()
    assert run("import", *both, "--prefix", "-o", str(tmp_path / "t.db")).exit_code == 0
    assert load(tmp_path / "t.db").conversations.names == ["router:c1", "three-cities:c1"]


def test_views_lists_every_view_and_reading_with_its_source(run):
    text = run("views").stdout
    data = json.loads(run("views", "-f", "json").stdout)
    assert [view["view"] for view in data["views"]] == list(VIEWS)
    for view in VIEWS.values():
        assert view.name in text
        assert all(reading.name in text for reading in view.readings)
    assert all(view["source"] for view in data["views"])
    assert all(reading["source"] for reading in data["readings"])
    assert [view["view"] for view in json.loads(run("views", "thread", "-f", "json").stdout)["views"]] == ["thread"]


@pytest.mark.parametrize("command", ["", *sorted(cli.list_commands(None))])
def test_every_command_has_help_with_examples(run, command):
    shown = run(*([command] if command else []), "--help")
    assert shown.exit_code == 0
    assert "Examples:" in shown.stdout
    assert "individuate" in shown.stdout


def test_no_arguments_show_the_help(run):
    assert "Usage:" in run().stdout + run().stderr


def test_a_pipe_gets_plain_text_and_a_closed_one_no_traceback(aura):
    command = [sys.executable, "-m", "individuation.cli.main", aura]
    piped = subprocess.run(command, capture_output=True, check=True)
    assert b"\x1b" not in piped.stdout
    shell = f"{sys.executable} -m individuation.cli.main {aura} | head -1; exit ${{PIPESTATUS[0]}}"
    closed = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
    assert "Traceback" not in closed.stderr


@pytest.mark.parametrize("width", [60, 80, 200])
def test_tables_fit_the_width_of_the_terminal(aura, width):
    environment = {**os.environ, "COLUMNS": str(width)}
    command = [sys.executable, "-m", "individuation.cli.main", aura]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    lines = shown.splitlines()
    assert {line.split()[0] for line in lines if line.strip()} >= set(VIEWS)
    assert max(len(line) for line in lines if "individuate " not in line) <= width


def test_colour_is_only_for_terminals_and_can_be_refused(aura):
    def on_a_terminal(**environment):
        command = f"{sys.executable} -m individuation.cli.main {aura}"
        # `script` gives the program a real terminal.
        return subprocess.run(
            ["script", "-qec", command, "/dev/null"], capture_output=True, text=True, check=True,
            env={**os.environ, "TERM": "xterm-256color", **environment},
        ).stdout  # fmt: skip

    assert "\x1b[1m" in on_a_terminal()
    refused = on_a_terminal(NO_COLOR="1")
    assert "\x1b[" not in refused


def test_the_same_input_gives_the_same_bytes_in_another_process(aura):
    def counted(seed):
        command = [
            sys.executable,
            "-m",
            "individuation.cli.main",
            aura,
            *(f"--view={view}" for view in VIEWS),
            "-f",
            "json",
        ]
        return subprocess.run(
            command, capture_output=True, check=True, env={**os.environ, "PYTHONHASHSEED": seed}
        ).stdout

    assert counted("1") == counted("2")
