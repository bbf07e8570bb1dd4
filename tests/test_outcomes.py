"""Outcomes for people: on the terminal, as a folder of files, as pictures."""

import csv
import io
import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from individuation.outcomes.plots import picture
from individuation.outcomes.text import show
from individuation.outcomes.words import number
from individuation.outcomes.writing import file_name, report, write
from mechanism.outcome import Estimate, Finding, Outcome, Plot, Series, Table
from traces.errors import TraceError


def plot(name="a-plot", kind="lines", **more):
    series = [
        Series("one", [1, 2, 3], [0.1, math.nan, 0.9], [0, math.nan, 0.8], [0.2, math.nan, 1]),
        Series("two", [1, 2, 3], [1, 2, 3]),
    ]
    return Plot(name, "A plot", kind, "turn", "share", more.pop("series", series), "What is seen.", **more)


def outcome(**more):
    given = {
        "name": "trial", "title": "A trial", "question": "Is it so?", "source": "Somebody 2026, §1",
        "findings": [
            Finding("first", "It is so.", Estimate(0.5, 0.25, 0.75, 12, "Wilson, 95 %"), "a coin", 0.0004, True, "§1"),
            Finding("second", "It is not.", passed=False),
            Finding("third", "There are 3."),
        ],
        "tables": [Table("All | rows", ("name", "share"), [("a|b", Estimate(0.5, 0.4, 0.6, 9)), ("c", None), ("d", math.nan)])],
        "plots": [plot()],
        "settings": {"seed": 3, "model": "m"},
        "caveats": ["It is a toy.", "It is small."],
        "next": ["individuate trace.db"],
    }  # fmt: skip
    return Outcome(**{**given, **more})


def shown(given, **more):
    out = Console(file=io.StringIO(), width=120)
    show(given, out=out, **more)
    return out.file.getvalue()


def test_the_answer_comes_first_then_how_sure_it_is_then_the_numbers(tmp_path):
    text = shown(outcome(), files=["report.md"])
    order = ["Is it so?", "It is a toy.", "+ It is so.", "borne out: 0.5 (0.25 to 0.75)", "a coin: p < 0.001", "x It is not.",
             "not borne out", "There are 3.", "All | rows", "It is small.", "report.md", "individuate trace.db"]  # fmt: skip
    places = [text.index(each) for each in order]
    assert places == sorted(places)


def test_an_outcome_without_anything_beside_its_answer_is_shown_and_written_too(tmp_path):
    bare = Outcome("n", "T", "Q?", "S", [])
    assert "T\nQ?" in shown(bare)
    assert [path.name for path in write(bare, tmp_path / "new" / "folder")] == ["report.md", "outcome.json"]


def test_all_files_are_written_and_the_report_names_each(tmp_path):
    files = write(outcome(plots=[plot(), plot("b", "bars"), plot("c", "scatter")]), tmp_path)
    names = [path.name for path in files]
    assert names[0] == "report.md"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    text = (tmp_path / "report.md").read_text()
    for name in ("all-rows.csv", "a-plot.svg", "b.svg", "c.svg"):
        assert f"({name})" in text
    assert (tmp_path / "a-plot.png").read_bytes().startswith(b"\x89PNG")
    for said in (
        "Is it so?",
        "It is a toy.",
        "**Borne out.** It is so.",
        "p < 0.001",
        '"seed": 3',
        "individuate trace.db",
    ):
        assert said in text
    told = json.loads((tmp_path / "outcome.json").read_text())
    assert told["tables"][0]["rows"][2] == ["d", None]


def test_a_table_keeps_the_ends_of_its_intervals(tmp_path):
    write(outcome(), tmp_path)
    with (tmp_path / "all-rows.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0].values()) == ["a|b", "0.5", "0.4", "0.6", "9"]
    assert list(rows[0]) == ["name", "share", "share, low", "share, high", "share, n"]
    assert list(rows[1].values()) == ["c", "", "", "", ""]


def test_rows_of_a_table_stay_rows_in_markdown():
    lines = [line for line in report(outcome()).splitlines() if line.startswith("| ")]
    assert all(line.replace("\\|", "").count("|") == 3 for line in lines)


def test_long_tables_are_cut_on_the_terminal_only(tmp_path):
    long = outcome(tables=[Table("Long", ("n",), [(n,) for n in range(100)])])
    assert "and 76 more rows, in the CSV file" in shown(long)
    write(long, tmp_path)
    assert len((tmp_path / "long.csv").read_text().splitlines()) == 101


def test_given_again_the_files_are_the_same_to_the_byte(tmp_path, snapshot):
    write(outcome(), tmp_path)
    first = snapshot(tmp_path)
    write(outcome(), tmp_path)
    assert snapshot(tmp_path) == first


@pytest.mark.parametrize("kind", ["lines", "bars", "scatter"])
def test_plots_take_numbers_names_gaps_bands_and_lines(kind):
    names = [
        Series(f"s{n}", ["raw", "exact", "none of the others"], [n, math.nan, 2], [0, math.nan, 1], [3, math.nan, 4])
        for n in range(9)
    ]
    for each in (
        plot(kind=kind, bands=[("aura", 0.7, None), ("", None, 0.2)], lines=[("half", 0.5), ("far", 9.0)]),
        plot(kind=kind, series=names),
        plot(kind=kind, series=[Series("one", [3], [1.0], labels=["point"])]),
    ):
        drawn = picture(each, "svg")
        assert drawn.startswith(b"<?xml")
        assert not [url for url in re.findall(rb"https?://[^\"' )]+", drawn) if b"www.w3.org" not in url]


def test_colour_never_stands_alone():
    two = [Series("one", [1, 2], [1, 2]), Series("two", [1, 2], [2, 1])]
    for kind, told in (("lines", "stroke-dasharray"), ("bars", "pattern")):
        assert told in picture(plot(kind=kind, series=two)).decode()
        assert told not in picture(plot(kind=kind, series=two[:1])).decode()


def test_a_plot_of_nothing_is_refused_and_left_out_of_a_report(tmp_path):
    for series in ([], [Series("one", [], [])], [Series("one", [1], [math.nan])]):
        write(outcome(plots=[plot(series=series)]), tmp_path)
        assert not (tmp_path / "a-plot.svg").exists()
        assert "there is nothing to be drawn" in (tmp_path / "report.md").read_text()
        with pytest.raises(TraceError, match="no finite point"):
            picture(plot(series=series))


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_any_number_is_said_in_few_characters(value):
    said = number(value)
    assert len(said) <= 10 or abs(value) > 1e6
    if said != "-" and abs(value) > 1e-12:
        assert float(said.replace(",", "")) == pytest.approx(value, rel=0.02)


@given(st.text(max_size=200))
def test_any_title_names_a_file(title):
    name = file_name(title)
    assert 0 < len(name) <= 80
    assert not set(name) & set("/\\. \n\0")
