"""Cases: the paper's give the numbers of the acceptance table, marks and all; a user's are kept and run the same way."""

import json
import os
import pty
import re
import shlex
import subprocess
from contextlib import suppress
from dataclasses import replace
from importlib.resources import files

import pytest

from individuation.case_block import MARKS, Block, Expectation
from individuation.case_files import PAPER_CASES, case_of, cases_in, paper_cases
from individuation.case_outcomes import run_case
from traces.errors import TraceError

CASES = sorted(
    (case for case in files("individuation").joinpath("cases").iterdir() if case.name.endswith(".yaml")),
    key=lambda case: case.name,
)

# The acceptance table: the paper's cases, where they stand, and how many minds each view finds, with the mark of whose
# claim it is (P: the paper says so; i: it follows from its definitions; open: the paper leaves it open). What a case
# adds to a number stands behind it. Rows and numbers are those of the design, not of the files: they are compared.
TABLE = """
case                   | section  | open | model               | physical-instance | virtual-instance
three-cities           | 1.2, 2.3 | no   | 1                   | 3 P               | 1 P; 3 P reconstruction=new
three-cities-transfer  | 2.3      | no   | 1                   | 3 i               | 1 P; 1 P reconstruction=new
multi-tenancy          | 1.2      | no   | 1                   | 1 P               | 3 P
router                 | 1.2      | no   | 2                   | -                 | 2 P
router-return          | 1.2, 2.2 | no   | 2                   | -                 | 2 i; 3 open reconstruction=new
router-return-retained | 1.2, 2.2 | no   | 2                   | -                 | 2; 2 reconstruction=new
rabbit                 | 2.2      | no   | 2                   | -                 | 2 P
mixture-of-experts     | fn 3     | no   | 1                   | -                 | 1 P
forward-passes         | 2.1      | no   | 1                   | 1                 | 1 i
aura-drift             | 3.3, 4.2 | no   | 1                   | 1                 | 1 P
aura-capped            | 3.3      | no   | 1                   | 1                 | 1 i
mood                   | 3.3      | no   | 1                   | 1                 | 1 i
villains               | 3.3      | no   | 1                   | 1                 | 3 i
aura-and-back          | -        | yes  | 1                   | 1                 | 1 i
evil-in-context        | 4.2      | no   | 1                   | 1                 | 1 P
gage                   | 4.2      | no   | 1                   | 1                 | 1 P
user-turns             | 3.4, 4.2 | no   | 1                   | 1                 | 1 i
kv-edit                | 3.4      | yes  | 1                   | 1                 | 1 i; 2 open edits=cut
aura-again             | 4.3      | no   | 1                   | 1                 | 2 i
pantheon               | 4.3      | no   | 1                   | -                 | 6 i
two-auras              | 4.3      | no   | 1                   | 1                 | 2 i
one-region             | 4.3      | no   | 1                   | 1                 | 3 i
same-region-two-models | 4.3      | no   | 2                   | -                 | 2 i
never-instantiated     | 4.3      | no   | -                   | -                 | -
no-basins              | 3.3, 4.3 | no   | 1                   | 1                 | 1 i
narrow-finetune        | 3.1      | yes  | 2; 1 open weights=base | -              | 2 i
regenerate             | -        | yes  | 1                   | 1                 | 1 i; 2 open branching=overlap; 3 open branching=end; 2 open branching=closest

case                   | thread | instance-persona                                                         | model-persona
three-cities           | 1 i    | 1 i; 3 open reconstruction=new                                           | 1 i
three-cities-transfer  | 1 i    | 1 i                                                                      | 1 i
multi-tenancy          | 3 i    | 3 i                                                                      | 1 i
router                 | 1 P    | 2 i                                                                      | 2 i
router-return          | 1 i    | 2 i; 3 open reconstruction=new                                           | 2 i
router-return-retained | 1 i    | 2; 2 reconstruction=new                                                  | 2 i
rabbit                 | 1 i    | 2 i                                                                      | 2 i
mixture-of-experts     | 1 i    | 1 i                                                                      | 1 i
forward-passes         | 1 i    | -                                                                        | -
aura-drift             | 1 i    | 2 P                                                                      | 2 i
aura-capped            | 1 i    | 1 i                                                                      | 1 i
mood                   | 1 i    | 1 P                                                                      | 1 i
villains               | 3 i    | 3 i                                                                      | 1 P
aura-and-back          | 1 i    | 3 i; 2 open recurrence=same                                              | 2 i
evil-in-context        | 1 i    | 2 P                                                                      | 2 i
gage                   | 1 i    | 2 i                                                                      | 2 i
user-turns             | 1 i    | 1 i stages:3 unassigned:0; 1 i user_turns=intermittent stages:2 unassigned:1 | 1 i
kv-edit                | 1 i    | 2 i                                                                      | 2 i
aura-again             | 2 i    | 4 i; 2 P region:aura                                                     | 2 i; 1 P region:aura
pantheon               | 6 i    | 6 i                                                                      | 1 P
two-auras              | 2 i    | 2 i                                                                      | 1 P contradictions:1
one-region             | 3 i    | 3 i                                                                      | 1 P
same-region-two-models | 2 i    | 2 i                                                                      | 2 i
never-instantiated     | -      | -                                                                        | 0 i
no-basins              | 1 i    | 0 i caveat                                                               | 0 i caveat
narrow-finetune        | 2 i    | 2 i                                                                      | 2 i; 1 open weights=base
regenerate             | 1 i; 2 open branching=overlap; 3 open branching=end; 2 open branching=closest | 1 i; 2 open branching=overlap; 3 open branching=end; 2 open branching=closest | 1 i

case                   | forward-pass | abstract-model-persona
forward-passes         | 11 P         | -
never-instantiated     | -            | 1
"""


def expected_by_the_table():
    """Section, open, and for each view its numbers, by case."""
    rows, header = {}, []
    for line in TABLE.strip().splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if cells[0] in ("", "case"):
            header = cells
            continue
        row = rows.setdefault(cells[0], {"numbers": set()})
        for title, cell in zip(header, cells, strict=True):
            if title in ("section", "open"):
                row[title] = cell
            elif title != "case" and cell != "-":
                row["numbers"] |= {(title, *sorted(number.split())) for number in cell.split(";")}
    return rows


def numbers_of(case):
    """The numbers of a case file, each as the table writes it."""
    found = []
    for entry in case.expected:
        words = [str(entry.count), *(f"{name}={value}" for name, value in entry.readings.items())]
        words += [entry.mark] if entry.mark else []
        words += [f"region:{entry.region}"] if entry.region else []
        words += [f"stages:{size}" for size in entry.stages or ()]
        words += [f"unassigned:{entry.unassigned}"] if entry.unassigned is not None else []
        words += [f"contradictions:{len(entry.contradictions)}"] if entry.contradictions else []
        words += ["caveat"] if entry.caveat else []
        found.append((entry.view, *sorted(words)))
    return found


BY_TABLE = expected_by_the_table()
EXPECTATIONS = [(case, number) for case in paper_cases() for number in range(len(case.expected))]
NAMED = [f"{case.name}-{number}" for case, number in EXPECTATIONS]


# --- the paper's cases


def test_every_row_of_the_table_is_a_case():
    assert {file.name.removesuffix(".yaml") for file in CASES} == set(BY_TABLE)
    assert {case.name for case in paper_cases()} == set(BY_TABLE)


@pytest.mark.parametrize("case", paper_cases(), ids=lambda case: case.name)
def test_a_case_says_what_the_table_says_and_nothing_else(case):
    row = BY_TABLE[case.name]
    assert case.section == row["section"]
    assert case.open == (row["open"] == "yes")
    said = numbers_of(case)
    assert len(said) == len(set(said))
    assert set(said) == row["numbers"]


def test_the_marks_of_the_paper_are_those_of_the_table():
    marked = {
        (case.name, entry.view, entry.count) for case in paper_cases() for entry in case.expected if entry.mark == "P"
    }
    by_table = {
        (name, view, int(next(word for word in words if word.isdecimal())))
        for name, row in BY_TABLE.items()
        for view, *words in row["numbers"]
        if "P" in words
    }
    assert marked == by_table
    assert len(marked) == 23


def test_what_the_paper_says_is_quoted_by_section():
    for case in paper_cases():
        of_case = case.section.split(", ")
        for entry in case.expected:
            if entry.mark == "P":
                assert re.fullmatch(r"(\d\.\d|fn \d)(, \d\.\d)*", entry.section), case.name
                assert set(entry.section.split(", ")) <= set(of_case), case.name
            else:
                assert entry.section is None, case.name


@pytest.mark.parametrize(("case", "number"), EXPECTATIONS, ids=NAMED)
def test_the_case_gives_the_tables_number(case, number):
    outcome = run_case(case)[number]
    assert outcome.differences == ()
    assert outcome.found.count == case.expected[number].count


@pytest.mark.parametrize("case", paper_cases(), ids=lambda case: case.name)
def test_every_case_says_where_in_the_paper_it_stands_and_what_it_is_about(case):
    assert re.fullmatch(r"(\d\.\d(, \d\.\d)?|fn \d|-)", case.section)
    assert case.statement.endswith(".")
    assert case.story.endswith((".", "?"))
    assert case.story != case.statement


def test_without_regions_the_caveat_says_that_there_is_nothing_to_count(cases):
    for outcome in run_case(case_of(cases / "no-basins.yaml")):
        if outcome.expectation.caveat:
            assert any("persona region" in caveat for caveat in outcome.found.caveats)


# --- what an expectation can say is checked


def otherwise(case, number, **changes):
    """The outcome of one expectation of a case, had it said something else."""
    entry = case.expected[number].model_copy(update=changes)
    return run_case(replace(case, expected=(entry,)))[0]


@pytest.mark.parametrize(("case", "number"), EXPECTATIONS, ids=NAMED)
@pytest.mark.parametrize("by", [1, -1])
def test_a_wrong_count_is_noticed(case, number, by):
    wrong = case.expected[number].count + by
    outcome = otherwise(case, number, count=wrong)
    assert not outcome.holds
    assert [(d.what, d.expected, d.found) for d in outcome.differences] == [("count", wrong, wrong - by)]


@pytest.mark.parametrize(
    ("name", "view", "changes", "what", "found"),
    [
        ("user-turns", "instance-persona", {"stages": (2,)}, "stages", [3]),
        ("multi-tenancy", "thread", {"stages": (2, 2, 3)}, "stages", [2, 2, 2]),
        ("user-turns", "instance-persona", {"unassigned": 1}, "unassigned", 0),
        ("mixture-of-experts", "thread", {"unassigned": 2}, "unassigned", 0),
        ("two-auras", "model-persona", {"contradictions": ()}, "contradictions", ["the harbour bridge is open"]),
        ("two-auras", "model-persona", {"contradictions": ("q",)}, "contradictions", ["the harbour bridge is open"]),
        ("two-auras", "instance-persona", {"contradictions": ("q",)}, "contradictions", []),
        ("no-basins", "model-persona", {"caveat": False}, "caveat", True),
        ("multi-tenancy", "physical-instance", {"caveat": True}, "caveat", False),
        ("aura-again", "thread", {"region": "aura", "stages": (1, 1)}, "stages", [4, 4]),
    ],
)
def test_whatever_else_was_found_otherwise_is_noticed(cases, name, view, changes, what, found):
    case = case_of(cases / f"{name}.yaml")
    number = next(i for i, entry in enumerate(case.expected) if entry.view == view)
    outcome = otherwise(case, number, **changes)
    assert [(d.what, d.found) for d in outcome.differences] == [(what, found)]
    right = otherwise(case, number, **changes | {what: tuple(found) if isinstance(found, list) else found})
    assert right.holds


def test_with_a_region_only_the_minds_that_are_in_it_are_looked_at(cases):
    case = case_of(cases / "aura-again.yaml")
    number = next(i for i, entry in enumerate(case.expected) if entry.region == "aura")
    assert otherwise(case, number, region="assistant").found.count == 2
    assert otherwise(case, number, region=None).found.count == 4
    assert otherwise(case, number).found.stages == (2, 2)


# --- the command


def test_the_list_shows_every_case_with_section_marks_and_statement(run):
    shown = run("cases")
    assert shown.exit_code == 0
    text = " ".join(shown.stdout.split())
    for case in paper_cases():
        assert case.statement in text or " ".join(case.statement.split()[:4]) in text
        line = next(line for line in shown.stdout.splitlines() if line.split()[:1] == [case.name])
        assert all(f"§{part}" in line for part in case.section.split(", ") if part[0].isdecimal())
        assert all(mark in line.split() for mark in case.marks)
    assert "P the paper says so" in text
    assert "individuate cases --check" in text


def row(shown, view):
    """The row of a view, with single blanks."""
    return next(" ".join(line.split()) for line in shown.splitlines() if line.split()[:1] == [view])


def test_a_case_is_told_and_what_was_expected_stands_beside_what_was_found(run):
    shown = run("cases", "router-return").stdout
    assert shown.splitlines()[0].strip() == "A router returns to the first model · §1.2, §2.2"
    text = " ".join(shown.split())
    assert "Its cache was dropped in between" in text
    assert "In short: A model leaves a conversation" in text
    assert "router-return-retained shows the same" in text
    assert row(shown, "virtual-instance") == "virtual-instance 2 i 2 3 under reconstruction=new (open)"
    assert row(shown, "thread") == "thread 1 i 1"
    assert re.search(r"c1/4 +user +5 +standard +rebuild", shown)


def test_what_the_paper_says_is_shown_with_its_section(run):
    shown = run("cases", "three-cities").stdout
    assert row(shown, "virtual-instance") == "virtual-instance 1 P §2.3 1 3 under reconstruction=new (P §2.3)"
    assert row(shown, "physical-instance") == "physical-instance 3 P §1.2, §2.3 3"
    assert "P fn 3" in run("cases", "mixture-of-experts").stdout


def test_everything_that_is_expected_is_shown(run):
    shown = " ".join(run("cases", "user-turns").stdout.split())
    assert "3 stages 0 stages in no mind 1 under user_turns=intermittent (i): 2 stages, 1 stage in no mind" in shown
    assert 'contradicts itself: "the harbour bridge is open"' in run("cases", "two-auras").stdout
    assert "instance-persona in region aura" in run("cases", "aura-again").stdout
    assert "caveat: no assistant stage is in a persona region" in run("cases", "no-basins").stdout


@pytest.mark.parametrize("case", paper_cases(), ids=lambda case: case.name)
def test_every_case_is_told_in_full_and_as_json(run, case):
    shown = run("cases", case.name)
    assert shown.exit_code == 0
    words = " ".join(shown.stdout.split())
    assert case.statement in words
    assert case.story.replace("\n\n", " ") in words
    assert (case.note or "") in words
    assert "differs" not in words
    data = json.loads(run("cases", case.name, "--format", "json").stdout)
    assert (data["story"], data["holds"], data["open"]) == (case.story, True, case.open)
    assert [o["expected"]["count"] for o in data["outcomes"]] == [o["found"]["count"] for o in data["outcomes"]]
    assert [turn["stage"] for turn in data["turns"]] == [stage for c in turns_by_hand(case) for stage in c]


def turns_by_hand(case):
    (facts,) = case.trace.recordings
    return [
        [f"{name}/{i}" for i in range(size)]
        for name, size in zip(facts.conversations.names, facts.conversations.size, strict=True)
    ]


def test_the_next_commands_are_there_and_work(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = run("cases", "gage").stdout.splitlines()
    following = [line.strip() for line in lines[lines.index("Next") + 1 :] if line.strip()]
    assert len(following) == 3
    for command in following:
        program, *words = shlex.split(command)
        assert program == "individuate"
        done = run(*words)
        assert done.exit_code == 0, command
        assert done.stdout


def test_the_commands_name_files_from_where_one_stands(run, monkeypatch, cases):
    monkeypatch.chdir(cases.parent.parent)
    assert "individuate why individuation/cases/gage.yaml c1/1 c1/5" in run("cases", "gage").stdout
    monkeypatch.chdir(cases)
    assert "individuate draw gage.yaml -o gage.svg" in run("cases", "gage").stdout


def test_all_cases_of_the_paper_hold(run):
    checked = run("cases", "--check")
    assert checked.exit_code == 0
    lines = checked.stdout.splitlines()
    assert len(lines) == len(BY_TABLE) + 1
    assert all(line.startswith("ok ") for line in lines[:-1])
    assert lines[-1] == f"{len(BY_TABLE)} of {len(BY_TABLE)} cases hold."
    data = json.loads(run("cases", "--check", "-f", "json").stdout)
    assert data["holds"] is True
    assert sum(len(case["outcomes"]) for case in data["cases"]) == len(EXPECTATIONS)


def test_the_json_of_the_list_holds_all_that_the_cases_say(run):
    data = json.loads(run("cases", "-f", "json").stdout)
    assert data == [json.loads(json.dumps(case.to_dict())) for case in paper_cases()]
    router = next(case for case in data if case["name"] == "router")
    assert router["marks"] == ["P", "i"]
    assert {"view": "thread", "count": 1, "mark": "P", "section": "1.2"} in router["expected"]


# --- a user's cases


ARGUMENT = """\
# A teleporter takes a conversation apart here
#   and puts it together there.
#
# Is it the same one?

# (not part of the story)
individuation: 1
title: The teleporter
case:
  statement: A conversation is rebuilt from its
    transcript on another server.
  expected:
    - {view: thread, count: 1}
    - {view: virtual-instance, count: 1, mark: open}
    - {view: virtual-instance, readings: {reconstruction: new}, count: 2, mark: open}
models: {wren: {}}
conversations:
  c1:
    turns:
      - {role: user, tokens: 5, model: wren, server: here}
      - {role: assistant, tokens: 9, server: there, cache: rebuilt}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "arguments").mkdir()
    (tmp_path / "arguments" / "teleporter.yaml").write_text(ARGUMENT)
    return tmp_path / "arguments"


def test_an_argument_kept_as_a_file_runs_like_the_papers_cases(run, folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    shown = run("cases", "arguments/teleporter.yaml").stdout
    assert shown.splitlines()[0].strip() == "The teleporter"
    assert "puts it together there.\n\nIs it the same one?\n" in re.sub(r" +\n", "\n", shown)
    assert "not part of the story" not in shown
    assert row(shown, "virtual-instance") == "virtual-instance 1 open 1 2 under reconstruction=new (open)"
    assert "individuate why arguments/teleporter.yaml c1/0 c1/1" in shown
    assert run("cases", "arguments/teleporter.yaml", "--check").exit_code == 0


def test_a_folder_of_arguments_is_listed_and_checked(run, folder):
    (folder / "again.json").write_text(
        json.dumps(
            {
                "individuation": 1,
                "case": {"statement": "Two talks.", "expected": [{"view": "thread", "count": 2}]},
                "models": {"m": {}},
                "conversations": {name: {"turns": [{"role": "user", "model": "m"}]} for name in "ab"},
            }
        )
    )
    (folder / ".hidden.yaml").write_text("no trace")
    (folder / "notes.txt").write_text("no trace")
    listed = run("cases", folder)
    assert listed.exit_code == 0
    assert [line.split()[0] for line in listed.stdout.splitlines() if line.split()[1:2] == ["-"]] == [
        "again",
        "teleporter",
    ]
    assert f"individuate cases {folder}/again.json" in listed.stdout
    checked = run("cases", folder, "--check")
    assert checked.exit_code == 0
    assert checked.stdout.splitlines()[-1] == "2 of 2 cases hold."
    both = run("cases", folder, "gage", "--check")
    assert both.stdout.splitlines()[-1] == "3 of 3 cases hold."


def test_a_case_that_differs_is_named_with_its_difference_and_status_1(run, folder):
    (folder / "wrong.yaml").write_text(ARGUMENT.replace("new}, count: 2", "new}, count: 3"))
    checked = run("cases", folder, "--check")
    assert checked.exit_code == 1
    assert checked.stdout.splitlines() == [
        "ok       teleporter  3 of 3 as expected",
        "DIFFERS  wrong       2 of 3 as expected",
        "           virtual-instance (reconstruction=new): 3 minds expected, 2 found [open]",
        "1 of 2 cases hold; see above.",
    ]
    data = json.loads(run("cases", folder, "--check", "-f", "json").stdout)
    assert [case["holds"] for case in data["cases"]] == [True, False]
    assert data["cases"][1]["outcomes"][2]["differences"] == [{"what": "count", "expected": 3, "found": 2}]
    told = run("cases", folder / "wrong.yaml")
    assert "2 (3 expected) under reconstruction=new (open)" in told.stdout
    assert "Not as expected" in told.stdout


def test_a_stored_trace_keeps_its_case(run, folder, tmp_path):
    assert run("import", folder / "teleporter.yaml", "-o", tmp_path / "kept.db").exit_code == 0
    kept, written = case_of(tmp_path / "kept.db"), case_of(folder / "teleporter.yaml")
    assert (kept.expected, kept.statement) == (written.expected, written.statement)
    assert run("cases", tmp_path / "kept.db", "--check").exit_code == 0


def test_a_case_may_use_a_view_of_ones_own_kept_beside_it(run, folder):
    (folder / "machine.toml").write_text(
        'individuation = 1\nname = "machine"\ndefinition = "on the same server"\nsource = "mine"\n'
        'label = "{server}"\npool = ["server"]\nknown = ["server"]\n'
    )
    (folder / "teleporter.yaml").write_text(
        ARGUMENT.replace("{view: thread, count: 1}", "{view: machine.toml, count: 2}")
    )
    assert run("cases", folder, "--check").exit_code == 0
    (folder / "machine.toml").unlink()
    refused = run("cases", folder, "--check")
    assert refused.exit_code == 2
    assert "machine.toml: there is no such file" in refused.stderr


def test_what_a_turn_says_cannot_reach_the_terminal_as_an_order(run, tmp_path):
    said = {
        "individuation": 1,
        "case": {"statement": "One talk.", "expected": [{"view": "thread", "count": 1}]},
        "models": {"m": {}},
        "conversations": {"c": {"turns": [{"role": "user", "model": "m", "text": "\x1b[31mred\x07 \u202e turned"}]}},
    }
    (tmp_path / "hostile.json").write_text(json.dumps(said))
    shown = run("cases", tmp_path / "hostile.json").stdout
    assert "red" in shown
    assert not set("\x1b\x07\u202e") & set(shown)


def test_the_turns_of_a_long_case_are_cut_and_counted(run, folder):
    turns = "".join("      - {role: user, tokens: 1}\n" for _ in range(40))
    (folder / "long.yaml").write_text(ARGUMENT + turns)
    shown = run("cases", folder / "long.yaml").stdout
    assert "42 stages" in shown
    assert "... and 22 more stages." in shown


# --- what is refused


@pytest.mark.parametrize(
    ("old", "new", "place", "found", "expected"),
    [
        ("statement: A", "statment: A", "case (line", 'no field "statment"; did you mean "statement"?', "statement"),
        ("{view: thread, count: 1}", "{view: thread, cuont: 1}", "expected[0] (line", 'did you mean "count"?', "count"),
        ("{view: thread, count: 1}", "{view: thread}", "expected[0] (line", "count is missing", "how many minds"),
        ("{view: thread, count: 1}", "thread is 1", "expected[0] (line", 'is "thread is 1"', "{view: thread, count: 1}"),
        ("thread, count: 1", "thread, count: one", "expected[0] (line", 'count is "one"', "a whole number >= 0"),
        ("thread, count: 1", "thread, count: -1", "expected[0] (line", "count is -1", "a whole number >= 0"),
        ("thread, count: 1", "thread, count: true", "expected[0] (line", "count is true", "a whole number >= 0"),
        ("view: thread", "view: thred", "expected[0] (line", 'no view "thred"; did you mean "thread"?', "virtual-instance"),
        ("{reconstruction", "{reconstuction", "expected[2] (line", 'did you mean "reconstruction"?', "edits"),
        ("reconstruction: new", "reconstruction: newer", "reading reconstruction", 'no value "newer"', "same, new"),
        ("count: 2, mark: open", "count: 2, mark: p", "expected[2] (line", 'mark is "p"', "one of P, i, open"),
        ("count: 2, mark: open", "count: 2, mark: P", "expected[2] (line", "no section is named", 'section: "4.3"'),
        ("count: 2, mark: open", "count: 2, section: 4.3", "expected[2] (line", "section is 4.3", "in quotes"),
        ("count: 2, mark: open", "count: 2, region: aura", "expected[2] (line", 'no region "aura"', "there is none here"),
        ("count: 2, mark: open", "count: 2, stages: [1]", "expected[2] (line", "1 of them, but count is 2", "each mind"),
        ("count: 2, mark: open", "count: 2, stages: [1, x]", "expected[2] (line", 'stages[1] is "x"', "whole number"),
        ("count: 2, mark: open", "count: 2, caveat: some", "expected[2] (line", 'caveat is "some"', "true or false"),
        ("{reconstruction: new}", "{reconstruction: same}", "expected[2] (line", "a second time", "once"),
        ("thread, count: 1", "forward-pass, count: 14, stages: [1]", "expected[0]", "stages has 1", "each mind"),
        ("thread, count: 1", "forward-pass, count: 1, stages: [1]", "expected[0]", "lists no minds", "count alone"),
        ("view: thread", "view: ./thread.toml", "thread.toml", "no such file", "a view file"),
        ("  statement:", "  open: maybe\n  statement:", "case (line", 'open is "maybe"', "true"),
        ("cache: rebuilt", "cache: rebuild", "conversation c1, turn 1", 'cache is "rebuild"', "rebuilt"),
    ],
)  # fmt: skip
def test_a_malformed_case_is_refused_with_its_place(run, folder, old, new, place, found, expected):
    assert ARGUMENT.count(old) == 1
    path = folder / "teleporter.yaml"
    path.write_text(ARGUMENT.replace(old, new))
    for words in ((path,), (path, "--check"), (folder, "--check")):
        refused = run("cases", *words)
        assert refused.exit_code == 2
        assert refused.stdout == ""
        where, said = refused.stderr.splitlines()
        assert where.startswith(str(path))
        assert place in where
        assert found in where
        assert expected in said


def test_a_file_without_a_case_block_is_refused_with_what_is_missing(run, folder, examples):
    (folder / "teleporter.yaml").write_text(re.sub(r"case:.*?(?=models:)", "", ARGUMENT, flags=re.S))
    for target in (folder, folder / "teleporter.yaml", examples / "qwen3-32b-aura.yaml"):
        refused = run("cases", target)
        assert refused.exit_code == 2
        assert (
            "it has no `case:` block.\nExpected: one that holds at least `statement` and `expected`" in refused.stderr
        )


def test_a_case_that_expects_nothing_is_refused(folder):
    (folder / "teleporter.yaml").write_text(re.sub(r"expected:.*?(?=models:)", "expected: []\n", ARGUMENT, flags=re.S))
    with pytest.raises(TraceError, match="expected is empty"):
        case_of(folder / "teleporter.yaml")


def test_an_unknown_name_is_answered_with_the_nearest(run):
    refused = run("cases", "router-retrun")
    assert refused.exit_code == 2
    assert 'there is no case "router-retrun"; did you mean "router-return"?' in refused.stderr


def test_a_folder_without_trace_files_and_a_file_that_is_not_there_are_refused(run, tmp_path):
    (tmp_path / "notes.txt").write_text("no trace")
    refused = run("cases", tmp_path)
    assert (refused.exit_code, "there is no trace file in it" in refused.stderr) == (2, True)
    refused = run("cases", tmp_path / "none.yaml")
    assert (refused.exit_code, "there is no such file" in refused.stderr) == (2, True)


def test_reading_a_folder_tells_how_far_it_is():
    told = []
    found = cases_in(PAPER_CASES, lambda done, of: told.append((done, of)))
    assert told == [(number, len(found)) for number in range(1, len(found) + 1)]
    assert [case.name for case in found] == sorted(BY_TABLE)


def test_a_large_folder_shows_progress_on_a_terminal_and_none_in_a_pipe(command, folder):
    for number in range(60):
        (folder / f"copy{number}.yaml").write_text(ARGUMENT)
    words = command("cases", folder, "--check")
    piped = subprocess.run(words, capture_output=True, encoding="utf-8", timeout=60, check=True)
    assert piped.stderr == ""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=theirs, encoding="utf-8", env={**os.environ, "TERM": "xterm"}
    ) as process:
        os.close(theirs)
        shown = b""
        # A terminal whose other end is closed is at its end by an error.
        with suppress(OSError):
            while part := os.read(ours, 10_000):
                shown += part
        assert process.stdout.read() == piped.stdout
    os.close(ours)
    assert process.returncode == 0
    assert b"Reading" in shown


def test_the_page_of_cases_names_every_field_and_mark():
    page = (PAPER_CASES.parent.parent / "docs" / "cases.md").read_text(encoding="utf-8")
    for field in (*Block.model_fields, *Expectation.model_fields):
        assert f"| `{field}` |" in page, field
    assert all(f"`{mark}`" in page for mark in MARKS)
