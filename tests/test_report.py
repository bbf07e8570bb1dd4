"""The report as a file: what it says, that its markup is sound, that nothing in a trace can become markup, and what the
command refuses. tests/test_report_browser.py opens it.
"""

import base64
import hashlib
import os
import random
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from drawing import HOSTILE, hostile_world, long_turns, world
from hypothesis import given, settings
from pages import Page, found_in, page_of
from worlds import random_world, worlds

from individuation import TraceError, overview, why
from individuation.case_files import paper_case, paper_cases
from individuation.comparison import compare
from individuation.engine import individuate, open_trace
from individuation.picture.lettering import plain
from individuation.report.findings import MOST_REASONS, findings
from individuation.report.page import page, script
from individuation.report.seams import allotted, in_short, seams_of
from individuation.robustness import sensitivity
from rules.view import Tally


@pytest.fixture(scope="module")
def aura(examples):
    return page_of(examples / "qwen3-32b-aura.yaml")


@pytest.fixture(scope="module")
def branching(cases):
    """A trace of branches on which minds share stages."""
    return found_in(cases / "regenerate.yaml", readings={"branching": "overlap"})


# --- what it says


def test_every_case_makes_a_sound_page_with_the_counts_of_the_engine_and_all_as_expected():
    for case in paper_cases():
        read = Page(page(findings(case.trace, case=case)))
        assert not read.faults, (case.name, read.faults)
        assert not read.stack, case.name
        counted = {row[0]: row[1] for row in read.table("Minds under each view")}
        for result in overview(case.trace):
            some = result.count or (result.range is not None and result.count is not None)
            assert counted[result.view] == (result.count_text if some else "-"), (case.name, result.view)
        rows = read.table("What the case expects")
        assert [row[0] for row in rows] == [expectation.view for expectation in case.expected]
        assert [row[3] for row in rows] == [expectation.mark or "" for expectation in case.expected]
        assert [row[5].partition(" ")[0] for row in rows] == [f"{e.count:,}" for e in case.expected], case.name
        assert {row[6] for row in rows} == {"as expected"}, case.name
        assert case.statement in " ".join(read.said("p"))


def test_a_case_that_does_not_hold_says_where(cases, tmp_path):
    from individuation.case_files import case_of

    text = (cases / "gage.yaml").read_text(encoding="utf-8")
    path = tmp_path / "gage.yaml"
    path.write_text(text.replace("instance-persona, count: 2", "instance-persona, count: 7"), encoding="utf-8")
    case = case_of(path)
    read = Page(page(findings(case.trace, case=case)))
    outcomes = {row[0]: row[6] for row in read.table("What the case expects")}
    assert outcomes["instance-persona"] == "differs: count 7 expected, 2 found"
    assert outcomes["thread"] == "as expected"


def test_a_persona_count_never_stands_without_its_range():
    for name in ("router-return", "three-cities", "gage"):
        case = paper_case(name)
        read = Page(page(findings(case.trace, case=case)))
        ranged = {result.view: result for result in overview(case.trace) if result.range is not None}
        assert ranged
        for view, result in ranged.items():
            named = [said for said in read.said("h3", "summary") if re.match(rf"{view}: \d", said)]
            assert named
            assert all(said.startswith(f"{view}: {result.minds_text}") for said in named)
            for row in (row for table in read.tables for row in table["rows"] if row and row[0] == view):
                bare = [cell for cell in row if re.fullmatch(r"\d+", cell)]
                # Beside what a case expects stands what was found, with its range.
                assert len(bare) <= ("as expected" in row), row


def test_how_sure_says_what_the_engine_finds(examples):
    path = examples / "qwen3-32b-aura.yaml"
    read = page_of(path)
    rows = {row[0]: row for row in read.table("The least and the greatest count")}
    for view in ("virtual-instance", "instance-persona", "model-persona"):
        sure = sensitivity(path, view)
        assert rows[view][2] == str(sure.over_readings.range)
        for code in sure.over_boundaries:
            assert str(code.range) in rows[view][3]
    [code] = sensitivity(path, "instance-persona").over_boundaries
    told = read.table("Stretches of constant count")
    assert [row[1] for row in told] == [f"{stretch.count:,}" for stretch in code.stretches]
    bars = re.search(r"<svg [^>]*>\n<title[^>]*>Minds by where assistant-axis.*?</svg>", read.html, re.S)[0]
    titles = re.findall(r"<rect [^>]*><title>(.*?)</title>", bars)
    assert [title.rpartition(" ")[2] for title in titles] == [f"{stretch.count:,}" for stretch in code.stretches]


def test_the_distribution_of_a_count_is_the_engines():
    said = {"role": "assistant", "model": "m", "region_probabilities": {"calm": 0.25, "aura": 0.5}}
    trace = {"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": [said, said, said]}}}
    chances = sensitivity(trace, "instance-persona").chances
    read = page_of(trace, views=["instance-persona"])
    told = {int(row[0]): row[1] for row in read.table("Probability of each count")}
    assert told == {count: f"{p:.2%}" for count, p in chances.probability.items()}


def test_each_boundary_has_the_reason_that_why_gives(aura, examples):
    trace = open_trace(examples / "qwen3-32b-aura.yaml")
    prose = aura.said("pre")
    for view in ("instance-persona", "model-persona"):
        told = why(trace, "drift/7", "drift/8", view)
        assert str(told) in prose
        short, cited = in_short(told)
        assert any(f"drift/7 → drift/8 1 → 2 {short} {cited}" in text for text in aura.said("summary"))


def test_caveats_readings_definitions_and_the_paper_are_in_the_page(aura, examples):
    text = " ".join(aura.said("p", "li"))
    rows = {row[0]: row for row in aura.table("Questions that the views leave open")}
    definitions = {row[0]: row[1:] for row in aura.table("Definitions")}
    for result in overview(examples / "qwen3-32b-aura.yaml"):
        for caveat in result.caveats:
            assert f"{caveat[0].upper()}{caveat[1:]}." in text
        assert definitions[result.view] == [result.criterion.definition, result.criterion.source]
        for reading in result.criterion.readings:
            assert rows[reading.name][1] == reading.question
            assert rows[reading.name][4] == reading.source
            value = result.readings[reading.name]
            assert rows[reading.name][2] == ("inf" if value is None else value)
    assert "arXiv:2604.17031" in text
    regions = aura.table("Regions by activation ranges")
    assert [row[1:3] for row in regions] == [["assistant", "assistant from -63.9"], ["aura", "assistant up to -63.9"]]


def test_the_matrix_says_how_each_view_stands_to_each_other(cases):
    path = cases / "aura-again.yaml"
    read = page_of(path)
    comparison = compare(path)
    rows = read.table("How the view of a row")
    names = [row[0] for row in rows]
    assert names == [result.view for result in comparison.results]
    words = {"equal": "the same minds", "refines": "finer", "refined by": "coarser", "incomparable": "neither is finer"}
    turned = {"refines": "refined by", "refined by": "refines"}
    for row in rows:
        for other, cell in zip(names, row[1:], strict=True):
            if other == row[0]:
                assert cell == "·"
                continue
            pair = comparison.pair(row[0], other)
            relation = pair.relation if pair.first == row[0] else turned.get(pair.relation, pair.relation)
            assert words[relation] in cell, (row[0], other)
            if pair.agreement is not None and pair.agreement.rand in (0, 1):
                assert f"ARI {pair.agreement.rand:.0f}" in cell


def test_the_data_of_a_stage_is_what_the_engine_says_of_it(cases):
    for name in ("router-return", "pantheon", "kv-edit", "two-auras"):
        trace = open_trace(cases / f"{name}.yaml")
        read = Page(page(findings(trace)))
        data, stages = read.data, trace.stages()
        names = [data["conversation"]["names"][code] for code in data["conversation"]["codes"]]
        assert [f"{c}/{i}" for c, i in zip(names, data["ordinal"], strict=True)] == [
            stages.name(i) for i in range(len(stages))
        ]
        for view, result in zip(data["views"], overview(trace), strict=True):
            if isinstance(result.verdict, Tally):
                assert view["minds"] is None
                continue
            for row, mind in enumerate(view["minds"]):
                label = None if mind < 0 else view["labels"][str(mind)]
                of = result.minds.of_stage(row)
                assert label == (None if of is None else result.minds[of].label)


# --- seams


def _brute_seams(result):
    """Neighbours on a path that have no mind in common, though one of them has some."""
    stages = result.stages
    minds = [set() for _ in range(len(stages))]
    for number, mind in enumerate(result.minds):
        for name in mind.stages:
            minds[stages.find(name)].add(number)
    return {
        (int(before), after)
        for after, before in enumerate(stages.previous.tolist())
        if before >= 0 and minds[before] | minds[after] and not minds[before] & minds[after]
    }


@given(worlds())
@settings(max_examples=25)
def test_a_seam_is_where_neighbours_on_a_path_have_no_mind_in_common(trace):
    opened = open_trace(trace)
    for readings in ({}, {"branching": "overlap"}, {"branching": "end", "reconstruction": "new"}):
        for result in overview(opened, readings=readings):
            if not isinstance(result.verdict, Tally):
                paths = {(seam.before, seam.after) for seam in seams_of(result) if seam.kind == "path"}
                assert paths == _brute_seams(result)


def test_every_reason_on_random_traces_says_different_and_holds():
    told = 0
    for seed in range(6):
        trace = random_world(random.Random(seed))
        for readings in ({}, {"branching": "overlap"}):
            for seams in found_in(trace, readings=readings).seams:
                for reason in seams.reasons:
                    told += 1
                    assert reason.explanation.same is False
                    assert reason.holds
                    assert in_short(reason.explanation)[0]
    assert told > 100


def test_branches_that_share_a_past_are_parted_where_they_fork(branching):
    thread = next(seams for seams in branching.seams if seams.result.view == "thread")
    [reason] = thread.reasons
    assert reason.seam.kind == "fork"
    read = Page(page(branching))
    assert "they part at first-answer/0, and share what came before" in " ".join(read.said("summary"))


def test_conversations_that_nothing_connects_are_told_of_once(cases):
    found = found_in(cases / "pantheon.yaml")
    kinds = {seams.result.view: [seam.kind for seam in seams.all] for seams in found.seams}
    assert kinds["virtual-instance"] == ["apart"]
    assert kinds["model-persona"] == []
    assert "no link connects them" in " ".join(Page(page(found)).said("summary"))


def test_of_very_many_boundaries_the_first_are_explained_and_the_rest_counted():
    turns = [
        {"role": "assistant", "model": "m", "server": "ab"[i % 2], "region": ("calm", "aura")[i % 2]}
        for i in range(301)
    ]
    trace = {"individuation": 1, "models": {"m": {}}, "servers": ["a", "b"], "conversations": {"c": {"turns": turns}}}
    found = found_in(trace, views=["physical-instance", "model-persona", "model"])
    assert [len(seams.all) for seams in found.seams] == [300, 300, 0]
    assert [len(seams.reasons) for seams in found.seams] == [100, 100, 0]
    text = " ".join(Page(page(found)).said("p"))
    assert text.count("The reasons of the first 100 are given; 200 are left out.") == 2


def test_no_view_starves_for_anothers_plenty():
    assert allotted([3, 500, 40], 100) == [3, 57, 40]
    assert sum(allotted([500, 500, 500], MOST_REASONS)) == 200


# --- large traces


def test_of_a_long_conversation_stretches_are_drawn_and_every_stage_is_told_of():
    trace = world(long_turns(500, models=2, servers=3, tokens=True))
    read = page_of(trace, views=["model", "thread"])
    assert len(read.data["ordinal"]) == 500
    ends = [
        tuple(map(int, attributes["data-at"].split("-")))
        for name, attributes, around in read.elements
        if name == "rect" and "data-at" in attributes and around[-1] == "g"
    ]
    assert any(len(of) == 2 for of in ends)
    rows = {}
    view = None
    for name, attributes, _ in read.elements:
        if name == "g" and attributes.get("class") == "row":
            view = attributes.get("data-view")
        elif name == "rect" and "data-at" in attributes and view is not None:
            first, _, last = attributes["data-at"].partition("-")
            rows.setdefault(view, []).extend(range(int(first), int(last or first) + 1))
    assert {view: sorted(of) for view, of in rows.items()} == {"0": list(range(500)), "1": list(range(500))}


def test_a_page_is_small_and_one_of_five_thousand_stages_below_ten_megabytes(aura):
    assert len(aura.html.encode()) < 1_000_000
    turns = long_turns(5000, models=2, servers=3, tokens=True)
    rng = random.Random(0)
    parts = {
        f"c{i}": {"turns": [{**turn, "text": "word " * rng.randint(5, 300)} for turn in turns[i * 200 : i * 200 + 200]]}
        for i in range(25)
    }
    trace = world(turns[:40])
    trace["conversations"] = parts
    read = page_of(trace, views=["model", "physical-instance", "thread"])
    assert len(read.html.encode()) < 10_000_000
    assert "more: not drawn" in " ".join(read.said("figcaption"))


# --- nothing in a trace becomes markup


def _with_words(trace):
    for conversation in trace["conversations"].values():
        for turn in conversation["turns"]:
            turn["text"] = f"{HOSTILE}\n</script><script>alert(1)</script>\n<!-- \x00 \u2028"
    next(iter(trace["conversations"].values()))["turns"][0]["believes"] = [HOSTILE, f"not {HOSTILE}"]
    return trace


def test_hostile_names_and_words_stay_text():
    calm = {
        "individuation": 1,
        "models": {"m": {}},
        "conversations": {"c": {"turns": [{"role": "user", "model": "m"}]}},
    }
    read = page_of(_with_words(hostile_world()))
    assert not read.faults
    assert read.said("h1") == [plain(HOSTILE)]
    kinds = {name for name, _, _ in page_of(paper_case("gage").path).elements}
    assert {name for name, _, _ in read.elements} <= kinds | {"blockquote"}
    for name, attributes, _ in read.elements:
        assert not [key for key in attributes if key.startswith("on")], name
        assert attributes.get("href", "#").startswith(("#", "data:,"))
    scripts = [attributes for name, attributes, _ in read.elements if name == "script"]
    assert scripts == [{"type": "application/json", "id": "data"}, {}]
    assert [text for name, text in read.texts if name == "script"][-1] == page_of(calm).said("script")[-1]
    assert "\u202e" not in re.sub(r'"texts":.*', "", read.html)
    assert read.data["texts"]["0"][0].startswith(HOSTILE)


def test_the_policy_lets_only_the_pages_own_script_run_and_nothing_be_loaded(aura):
    [policy] = [a["content"] for n, a, _ in aura.elements if a.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.strip().partition(" ")[::2] for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    in_page = re.findall(r"<script>(.*?)</script>", aura.html, re.S)
    assert in_page == [script()]
    digest = base64.b64encode(hashlib.sha256(in_page[0].encode()).digest()).decode()
    assert rules["script-src"] == f"'sha256-{digest}'"
    assert set(rules) == {"default-src", "style-src", "script-src", "img-src", "base-uri", "form-action"}
    outside = [a for _, a, _ in aura.elements if "src" in a or re.match(r"\w+:(?!,)", a.get("href", ""))]
    assert outside == []
    assert not re.search(r"@import|url\(", aura.html)
    # No part of the script makes markup from text.
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", script())


def test_the_page_is_built_so_that_all_can_use_it(cases):
    for name in ("gage", "pantheon", "two-auras"):
        case = paper_case(name)
        read = Page(page(findings(case.trace, case=case)))
        names = [name for name, _, _ in read.elements]
        assert all(names.count(landmark) == 1 for landmark in ("main", "nav", "h1")), name
        assert {"header", "footer"} <= set(names)
        levels = [int(name[1]) for name in names if re.fullmatch(r"h[1-6]", name)]
        assert all(after <= before + 1 for before, after in pairwise(levels)), levels
        ids = [attributes["id"] for _, attributes, _ in read.elements if "id" in attributes]
        assert len(ids) == len(set(ids))
        for _, attributes, _ in read.elements:
            for key in ("aria-labelledby", "aria-describedby"):
                assert set(attributes.get(key, "").split()) <= set(ids)
            if attributes.get("href", "").startswith("#"):
                assert attributes["href"][1:] in ids
        assert all(table["caption"] for table in read.tables)
        assert all(a.get("scope") in ("row", "col") for n, a, _ in read.elements if n == "th")
        assert names.count("details") == names.count("summary")
        assert [a["lang"] for n, a, _ in read.elements if n == "html"] == ["en"]


# --- the command


def test_the_same_trace_gives_the_same_bytes_and_no_place_of_this_machine(command, examples, tmp_path):
    made = []
    for seed, folder in (("1", "one"), ("2", "another")):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "untitled.yaml"
        text = (examples / "qwen3-32b-aura.yaml").read_text(encoding="utf-8")
        path.write_text(text.replace("title: Qwen 3 32B drifts into Aura\n", ""), encoding="utf-8")
        target = tmp_path / folder / f"{folder}.html"
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run(command("report", path, "-o", target), check=True, env=environment, capture_output=True)
        made.append(target.read_bytes())
    assert made[0] == made[1]
    assert str(tmp_path).encode() not in made[0]
    assert Page(made[0].decode()).said("h1") == ["untitled.yaml"]


def test_the_command_in_the_page_makes_the_page_again(run, cases, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("evil.yaml").write_bytes((cases / "gage.yaml").read_bytes())
    options = ("--view", "thread", "--view", "instance-persona", "--reading", "recurrence=same", "--no-text")
    assert run("report", tmp_path / "evil.yaml", "-o", "first.html", *options).exit_code == 0
    first = Path("first.html").read_text(encoding="utf-8")
    again = next(text for text in Page(first).said("pre") if text.startswith("individuate report"))
    assert run(*shlex.split(again)[1:]).exit_code == 0
    assert Path("report.html").read_text(encoding="utf-8") == first


def test_words_are_in_the_page_only_where_they_are_kept_and_wanted(run, cases, tmp_path):
    said = "I start a new job on Monday"
    assert run("report", cases / "gage.yaml", "-o", tmp_path / "with.html").exit_code == 0
    assert run("report", cases / "gage.yaml", "-o", tmp_path / "without.html", "--no-text").exit_code == 0
    with_words = (tmp_path / "with.html").read_text(encoding="utf-8")
    without = (tmp_path / "without.html").read_text(encoding="utf-8")
    assert with_words.count(said) == 2
    assert said not in without
    assert "memory of the conversation is kept whole" in with_words
    assert "memory of the conversation is kept whole" not in without


def test_views_readings_and_several_traces_are_reported(run, cases, tmp_path):
    own = tmp_path / "principal.toml"
    own.write_text(
        'individuation = 1\nname = "by-server"\ndefinition = "the same server"\nsource = "mine"\nlabel = "{server}"\npool = ["server"]\nknown = ["server"]\n',
        encoding="utf-8",
    )
    target = tmp_path / "r.html"
    done = run(
        "report", cases / "gage.yaml", cases / "three-cities.yaml", "-o", target, "--view", own,
        "--view", "virtual-instance[reconstruction=new]", "--view", "virtual-instance", "--reading", "edits=cut",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert done.output == f"{target}: {target.stat().st_size:,} bytes. Open it in a browser.\n"
    read = Page(target.read_text(encoding="utf-8"))
    rows = {row[0]: row for row in read.table("Minds under each view")}
    assert rows["by-server"][1] == "4"
    assert rows["virtual-instance[reconstruction=new]"][1] == "4"
    assert rows["virtual-instance"][1] == "2"
    assert "edits=cut" in rows["virtual-instance"][3]
    assert str(tmp_path) not in read.html
    assert read.data["sources"] == ["gage.yaml", "three-cities.yaml"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-o", "report.txt"], "a file that ends in .html or .htm"),
        (["-o", "report"], "a file that ends in .html or .htm"),
        (["-o", "there.html"], "it is there already"),
        (["-o", "r.html", "--view", "tread"], 'there is no view "tread"; did you mean "thread"?'),
        (["-o", "r.html", "--view", "thread", "--view", "thread"], "each view once"),
        (["-o", "r.html", "--reading", "reconstruction=old"], "reading reconstruction"),
        (["-o", "r.html", "--labelling", "none"], "labelling"),
        (["-o", "no/such/r.html"], "its folder does not exist"),
    ],
)
def test_what_cannot_be_made_is_refused_and_nothing_is_written(run, cases, tmp_path, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    Path("there.html").write_text("mine", encoding="utf-8")
    done = run("report", cases / "gage.yaml", *options)
    assert done.exit_code == 2
    assert said in done.output
    assert done.output.endswith("Nothing was written.\n")
    assert [path.name for path in tmp_path.iterdir()] == ["there.html"]
    assert Path("there.html").read_text(encoding="utf-8") == "mine"


def test_a_target_must_be_named(run, cases):
    done = run("report", cases / "gage.yaml")
    assert done.exit_code == 2
    assert "--output" in done.output


def test_a_trace_without_stages_has_a_page(tmp_path):
    empty = {"individuation": 1, "models": {"m": {}}, "conversations": {}}
    read = page_of(empty)
    assert not read.faults
    assert "There are no stages." in read.said("p")


def test_two_views_of_one_name_are_refused():
    trace = {
        "individuation": 1,
        "models": {"m": {}},
        "conversations": {"c": {"turns": [{"role": "user", "model": "m"}]}},
    }
    with pytest.raises(TraceError, match="each view once"):
        found_in(trace, views=["model", "model"])


def test_progress_is_told_to_the_end(cases):
    told = []
    found_in(cases / "router-return.yaml", progress=lambda what, done, of: told.append((what, done, of)))
    explained = [(done, of) for what, done, of in told if what == "Explaining"]
    assert explained == [(number, 10) for number in range(1, 11)]
    assert next(what for what, _, _ in told) == "Counting"


def test_counts_are_made_on_the_readings_that_were_chosen(cases):
    read = page_of(cases / "three-cities.yaml", views=["virtual-instance"], readings={"reconstruction": "new"})
    [row] = read.table("Minds under each view")
    assert (
        row[1] == str(individuate(cases / "three-cities.yaml", "virtual-instance", reconstruction="new").count) == "3"
    )
    assert "reconstruction=new" in row[3]


def test_the_script_is_part_of_the_installed_package():
    folder = Path(sys.modules["individuation.report.page"].__file__).parent
    names = {path.name for path in folder.joinpath("script").glob("*.js")}
    assert all(
        f"// {path.read_text(encoding='utf-8').splitlines()[0][3:]}" in script()
        for path in folder.joinpath("script").iterdir()
    )
    assert len(names) == 7
