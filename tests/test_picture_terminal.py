"""`individuate draw`: lanes on a terminal, files of every format, and what it refuses."""

import io
import json
import re

import numpy as np
import pytest
from drawing import HOSTILE, connected, hostile_world, long_turns, results_of, tree, world
from rich.console import Console

from individuation.cli.lanes import MARKS, mark, show_lanes
from individuation.picture.bands import bands_of
from traces.coordinates import stage_coordinates

AURA = "examples/qwen3-32b-aura.yaml"


def printed(trace, width=80, encoding="utf-8", views=None, readings=None, **look):
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    opened, results = results_of(trace, views, readings)
    stages = opened.stages()
    coordinates = stage_coordinates(opened.recordings, stages)
    console = Console(file=out, width=width, color_system=None, highlight=False, emoji=False)
    show_lanes(console, stages, results, coordinates, bands_of(opened.recordings, coordinates), **look)
    out.flush()
    return out.buffer.getvalue().decode(encoding)


def lane(text, view):
    return next(line[2:].removeprefix(view).lstrip() for line in text.splitlines() if line.startswith(f"  {view} "))


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize(
    ("trace", "views"),
    [
        (AURA, None),
        (tree(), None),
        (hostile_world(), None),
        (world(long_turns(5000, models=2)), ["model", "virtual-instance"]),
        (world(long_turns(1)), None),
    ],
    ids=["aura", "tree", "hostile", "5000", "one"],
)
def test_no_line_is_wider_than_the_terminal_and_none_commands_it(trace, views, width):
    from rich.cells import cell_len

    text = printed(trace, width, views=views)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e]", text)


@pytest.mark.parametrize("view", ["thread", "virtual-instance", "instance-persona"])
def test_a_lane_reads_as_the_minds_of_the_stages(view):
    trace = world(long_turns(30, models=2))
    readings = {} if view == "thread" else {"reconstruction": "new"}
    _, (result,) = results_of(trace, [view], readings)
    text = printed(trace, views=[view], readings=readings)
    columns = int(re.search(r"(\d) columns a stage|One column a stage", text)[1] or 1)
    bar = lane(text, view)[: 30 * columns : columns]
    assert len(bar) == 30
    minds, current = [], -1
    for sign in bar:
        current = -1 if sign in "·" else current if sign == "━" else MARKS.index(sign)
        minds.append(current)
    assert minds == result.verdict.mind.tolist()


def test_the_legend_names_every_mind_by_its_mark(cases):
    for case in sorted(cases.glob("*.yaml")):
        _, results = results_of(str(case))
        text = " ".join(printed(str(case), width=300).split())
        for result in results:
            for number, mind in enumerate(result.minds):
                assert f"{mark(number)} = {mind.label}" in text


def test_branches_are_indented_to_where_they_branch_off():
    text = printed(tree(), views=["thread"])
    assert "branches after c1/0" in text
    lines = text.splitlines()
    turns = {line.split()[0]: lines[i + 1] for i, line in enumerate(lines) if re.match(r"(c1|b\w)\b", line)}
    start = {name: re.search(r"[ua]", line[9:]).start() for name, line in turns.items()}
    assert start["b0"] - start["c1"] == 4
    assert start["b1"] - start["c1"] == 8


def test_links_are_shown_by_kind(cases):
    text = printed(str(cases / "router-return.yaml"))
    assert lane(text, "links").split() == ["-", ".", "-", ":", "-"]
    assert "- attention · : rebuild · . transcript" in text
    assert "* edited" in printed(str(cases / "kv-edit.yaml"))


def test_coordinates_are_a_curve_of_the_assistants_turns():
    text = printed(AURA)
    curve = lane(text, "assistant").replace(" ", "")
    assert len(curve) == 23
    assert curve[0] == "█"
    assert "▁" in curve
    assert "assistant from -93.622 to -8.152" in text


def test_minds_that_share_stages_have_lines_of_their_own():
    text = printed(tree(), views=["thread"], readings={"branching": "overlap"})
    root = text.split("\n\n")[0]
    assert [line.split()[-1][0] for line in root.splitlines() if re.search(r"[1-4]━", line)] == ["1", "2", "3", "4"]
    assert "and 4 more minds" in root


def test_stages_in_no_mind_are_dots_and_the_legend_says_so(cases):
    text = printed(str(cases / "never-instantiated.yaml"), views=["instance-persona", "thread"])
    assert set(lane(text, "instance-persona").strip()) == {"·"}
    assert "· in no mind." in text
    assert "in no mind" not in printed(tree(), views=["thread"], readings={"branching": "overlap"})


def test_stages_that_share_a_column_are_marked_where_they_differ():
    text = printed(world(long_turns(5000, models=2)), views=["model", "thread"])
    assert set(lane(text, "model").strip()) == {"+"}
    assert lane(text, "thread").strip()[0] == "1"
    assert "stages a column." in text


def test_a_terminal_without_unicode_gets_ascii():
    text = printed(AURA, encoding="ascii", views=["thread", "instance-persona"])
    assert lane(text, "instance-persona").strip() == "1=======2" + "=" * 37
    assert text.isascii()


def test_marks_are_distinct_as_far_as_they_go():
    assert len(set(MARKS)) == len(MARKS) == 61
    assert mark(61) == "#"


def test_the_command_draws_on_the_terminal_without_colour_in_a_pipe(run):
    done = run("draw", AURA)
    assert done.exit_code == 0
    assert "\x1b" not in done.stdout
    assert done.stdout.startswith("Qwen 3 32B drifts into Aura\n")
    assert "instance-persona  " in done.stdout


def test_a_chosen_reading_changes_the_lanes(run, cases):
    case = cases / "three-cities.yaml"
    same = run("draw", case, "--view", "virtual-instance").stdout
    new = run("draw", case, "--view", "virtual-instance", "--reading", "reconstruction=new").stdout
    assert "1 mind: 1 = wren in c1" in same
    assert "3 minds: 1 = wren in c1  2 = wren in c1 (2)" in new


@pytest.mark.parametrize(("name", "begins"), [("a.svg", b"<svg"), ("a.PNG", b"\x89PNG"), ("a.pdf", b"%PDF")])
@pytest.mark.parametrize("options", [[], ["--dark"], ["--graph"]])
def test_the_command_writes_each_format(run, tmp_path, cases, name, begins, options):
    done = run("draw", cases / "regenerate.yaml", "-o", tmp_path / name, *options)
    assert done.exit_code == 0, done.output
    content = (tmp_path / name).read_bytes()
    assert content.startswith(begins)
    assert done.stdout == f"{tmp_path / name}: {len(content):,} bytes.\n"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_that_is_there_is_not_replaced(run, tmp_path):
    (tmp_path / "a.svg").write_text("mine")
    done = run("draw", AURA, "-o", tmp_path / "a.svg")
    assert done.exit_code == 2
    assert "it is there already" in done.output
    assert done.output.endswith("Nothing was written.\n")
    assert (tmp_path / "a.svg").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-o", "a.gif"], "a file that ends in .svg, .png, .pdf"),
        (["-o", "a"], "a file that ends in .svg, .png, .pdf"),
        (["--view", "thred"], 'did you mean "thread"?'),
        (["--conversation", "drfit"], 'did you mean "drift"?'),
        (["--reading", "x"], "NAME=VALUE"),
        (["--labelling", "none"], "there is no labelling"),
        (["-o", "a.svg", "--width", "10"], "480 to 4,000"),
        (["-o", "a.svg", "--time", "tokens"], "some stages have no token count"),
        (["--graph", "--view", "thread", "--view", "model"], "one view"),
        (["--connections", "all"], "only those to the stage before are shown"),
        (["--graph", "--connections", "none"], "it does nothing with --graph"),
        (["-o", "nowhere/a.svg"], "its folder does not exist"),
    ],
)
def test_what_cannot_be_drawn_is_refused_and_nothing_is_written(run, tmp_path, monkeypatch, examples, words, said):
    trace = examples / "qwen3-32b-aura.yaml"
    monkeypatch.chdir(tmp_path)
    done = run("draw", trace, *words)
    assert done.exit_code == 2
    assert said in done.output
    assert list(tmp_path.iterdir()) == []


def test_a_graph_without_a_file_is_dot_text(run, cases):
    import graphviz

    done = run("draw", cases / "regenerate.yaml", "--graph", "--view", "thread")
    assert done.stdout.startswith("digraph stages {\n")
    assert b"<svg" in graphviz.Source(done.stdout).pipe(format="svg")


def test_several_traces_are_drawn_together(run, cases, tmp_path):
    done = run("draw", cases / "router.yaml", cases / "gage.yaml", "-o", tmp_path / "a.svg")
    assert done.exit_code == 0
    text = (tmp_path / "a.svg").read_text()
    assert "router:" in text
    assert "gage:" in text


def test_names_in_the_file_are_text(run, tmp_path):
    import json

    (tmp_path / "t.json").write_text(json.dumps(hostile_world()))
    assert run("draw", tmp_path / "t.json", "-o", tmp_path / "a.svg").exit_code == 0
    assert HOSTILE[:8] not in (tmp_path / "a.svg").read_text()


def test_a_lane_of_a_stored_trace_is_that_of_its_file(run, tmp_path, cases):
    case = cases / "aura-again.yaml"
    assert run("import", case, "-o", tmp_path / "t.db").exit_code == 0
    for source, name in ((case, "a.svg"), (tmp_path / "t.db", "b.svg")):
        assert run("draw", source, "-o", tmp_path / name).exit_code == 0
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_all_columns_of_a_stage_belong_to_it():
    text = printed(world(long_turns(3)), views=["thread"])
    assert lane(text, "thread").strip() == "1" + "━" * 11
    assert np.all([sign in "ua " for sign in lane(text, "turns")])


def test_how_far_a_stage_rests_on_the_one_before_it_is_a_level():
    text = printed(connected())
    assert re.sub(" +", "", lane(text, "connected")) == "██▁█████"
    assert "how far a stage predicts otherwise with the one before it hidden, from 0 nats to 0.5 nats" in " ".join(
        text.split()
    )
    assert re.sub(" +", "", lane(printed(connected(), encoding="ascii"), "connected")) == "77077777"
    shares = printed(connected(kl=False))
    assert "gives of its attention to the one before it, from 0% to 25%" in " ".join(shares.split())
    assert "connected" not in printed(connected(), connections=False)
    assert "connected" not in printed(world(long_turns(9)))
    assert max(map(len, printed(connected(300)).splitlines())) <= 80


def test_connections_are_drawn_as_they_are_asked_for(run, tmp_path):
    trace = tmp_path / "t.json"
    trace.write_text(json.dumps(connected()), encoding="utf-8")
    sizes = {}
    for which in ("before", "all", "none"):
        file = tmp_path / f"{which}.svg"
        assert run("draw", trace, "-o", file, "--connections", which).exit_code == 0
        sizes[which] = len(file.read_bytes())
    assert sizes["none"] < sizes["before"] < sizes["all"]
    assert "connected" in run("draw", trace).stdout
    assert "connected" not in run("draw", trace, "--connections", "none").stdout
