"""Whatever shows a count says on which readings, and of what part of which trace; and nothing unknown is shown as none."""

from __future__ import annotations

import json

import networkx as nx
import pytest

import individuation

NEW = ("-v", "virtual-instance", "-r", "reconstruction=new")


@pytest.mark.parametrize("words", [("-o", "x.svg"), ("--graph", "-o", "x.svg"), ()], ids=["lanes", "graph", "terminal"])
def test_a_picture_says_on_which_readings_it_was_drawn(words, run, cases, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    drawn = run("draw", cases / "three-cities.yaml", *NEW, *words)
    assert drawn.exit_code == 0, drawn.output
    shown = (tmp_path / "x.svg").read_text() if words else drawn.stdout
    assert "reconstruction=new" in " ".join(shown.split())
    assert "reconstruction" not in run("draw", cases / "three-cities.yaml", "-v", "virtual-instance").stdout


def test_results_explanations_and_scores_say_on_which_readings(run, cases):
    trace = str(cases / "three-cities.yaml")
    assert (
        "reconstruction=new" in individuation.individuate(trace, "virtual-instance", reconstruction="new")._repr_html_()
    )
    assert str(individuation.why(trace, "c1/0", "c1/3", "virtual-instance", reconstruction="new")).startswith(
        "Different minds under virtual-instance, with reconstruction=new."
    )
    assert str(individuation.why(trace, "c1/0", "c1/3", "virtual-instance")).startswith(
        "Same mind under virtual-instance, on its default readings."
    )
    assert "Readings chosen: virtual-instance with reconstruction=new" in run("desiderata", trace, *NEW).stdout


def test_a_picture_of_a_part_says_that_its_counts_are_of_the_whole(run, cases, tmp_path):
    trace, picture = cases / "pantheon.yaml", tmp_path / "part.svg"
    run("draw", trace, "-c", "day1-copy1", "-o", picture)
    text = picture.read_text()
    assert "1 of the conversations drawn" in text
    assert "Counts are of the whole trace." in text
    assert "and 5 more, not drawn" in text
    assert "counts are of the whole trace" in " ".join(run("draw", trace, "-c", "day1-copy1").stdout.split())


def test_an_export_holds_the_range_of_every_persona_count(run, cases, tmp_path):
    path = tmp_path / "gage.json"
    run("export", cases / "gage.yaml", "-o", path)
    graph = nx.node_link_graph(json.loads(path.read_text()), edges="edges")
    assert graph.graph["range:instance-persona"] == "2-2"
    assert {key for key in graph.graph if key.startswith("range:")} == {
        "range:instance-persona", "range:model-persona", "range:abstract-model-persona",
    }  # fmt: skip


def test_what_was_found_in_a_case_has_its_range(run):
    assert "1 (1-3)" in run("cases", "three-cities").stdout


def test_a_file_without_a_title_is_called_by_its_name_not_its_place(run, tmp_path):
    trace = tmp_path / "plain.yaml"
    trace.write_text("individuation: 1\nmodels: {m: {}}\nconversations: {c: {turns: [{role: user, model: m}]}}\n")
    for form in ("dot", "json", "gexf", "graphml"):
        assert str(tmp_path) not in run("export", trace, "-f", form).stdout
    picture = tmp_path / "plain.svg"
    run("draw", trace, "-o", picture)
    assert str(tmp_path) not in picture.read_text()
    assert "plain.yaml" in picture.read_text()


def test_where_no_server_is_known_there_is_no_count_of_physical_instances(run):
    result = individuation.individuate("examples/qwen3-32b-aura.yaml", "physical-instance")
    assert result.nothing_known
    assert result.count_text == "-"
    assert "no count of minds" in repr(result)
    assert (
        "physical-instance: no count of minds" in run("examples/qwen3-32b-aura.yaml", "-v", "physical-instance").stdout
    )


@pytest.mark.parametrize(
    "words", [("--width", "700"), ("--dark",), ("--time", "tokens"), ("--graph", "--width", "700"), ("-c", "nobody")]
)
def test_an_option_that_would_do_nothing_is_refused_before_anything_is_printed(words, run, cases):
    result = run("draw", cases / "gage.yaml", *words)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert words[-2 if len(words) > 1 else 0] in result.stderr or "nobody" in result.stderr
