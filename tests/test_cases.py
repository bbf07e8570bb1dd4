"""The paper's cases (individuation/cases) give the numbers of the acceptance table, marks and all."""

from importlib.resources import files

import pytest
import yaml

from individuation import individuate, open_trace

CASES = sorted(
    (case for case in files("individuation").joinpath("cases").iterdir() if case.name.endswith(".yaml")),
    key=lambda case: case.name,
)
# What the authors themselves say, by section: a mark must not wander where it would suit the code.
MARKED_P = {
    ("three-cities", "physical-instance", 3), ("three-cities", "virtual-instance", 1), ("three-cities", "virtual-instance", 3),
    ("three-cities-transfer", "virtual-instance", 1), ("multi-tenancy", "physical-instance", 1),
    ("multi-tenancy", "virtual-instance", 3), ("router", "virtual-instance", 2), ("router", "thread", 1),
    ("rabbit", "virtual-instance", 2), ("mixture-of-experts", "virtual-instance", 1), ("forward-passes", "forward-pass", 11),
    ("aura-drift", "virtual-instance", 1), ("aura-drift", "instance-persona", 2), ("mood", "instance-persona", 1),
    ("villains", "model-persona", 1), ("evil-in-context", "virtual-instance", 1), ("evil-in-context", "instance-persona", 2),
    ("gage", "virtual-instance", 1), ("aura-again", "instance-persona", 2), ("aura-again", "model-persona", 1),
    ("pantheon", "model-persona", 1), ("two-auras", "model-persona", 1), ("one-region", "model-persona", 1),
}  # fmt: skip
NAMES = {
    "three-cities", "three-cities-transfer", "multi-tenancy", "router", "router-return", "router-return-retained", "rabbit",
    "mixture-of-experts", "forward-passes", "aura-drift", "aura-capped", "mood", "villains", "aura-and-back",
    "evil-in-context", "gage", "user-turns", "kv-edit", "aura-again", "pantheon", "two-auras", "one-region",
    "same-region-two-models", "never-instantiated", "no-basins", "narrow-finetune", "regenerate",
}  # fmt: skip


def case_of(file):
    return yaml.safe_load(file.read_text(encoding="utf-8"))["case"]


EXPECTATIONS = [(file, number) for file in CASES for number in range(len(case_of(file)["expected"]))]


def test_every_row_of_the_table_is_a_case():
    assert {file.name.removesuffix(".yaml") for file in CASES} == NAMES


def test_the_marks_of_the_paper_are_those_of_the_table():
    marked = {
        (file.name.removesuffix(".yaml"), entry["view"], entry["count"])
        for file in CASES
        for entry in case_of(file)["expected"]
        if entry.get("mark") == "P"
    }
    assert marked == MARKED_P


@pytest.mark.parametrize(
    ("file", "number"), EXPECTATIONS, ids=[f"{file.name}-{number}" for file, number in EXPECTATIONS]
)
def test_the_case_gives_the_tables_number(file, number):
    entry = case_of(file)["expected"][number]
    assert set(entry) <= {
        "view", "readings", "count", "mark", "region", "caveat", "stages", "unassigned", "contradictions",
    }  # fmt: skip
    assert entry.get("mark") in (None, "P", "i", "open")
    result = individuate(open_trace(str(file)), entry["view"], **entry.get("readings", {}))
    if "region" in entry:
        assert sum(entry["region"] in mind.regions for mind in result.minds) == entry["count"]
    else:
        assert result.count == entry["count"]
    if entry.get("caveat"):
        assert result.caveats
    if "unassigned" in entry:
        assert len(result.unassigned) == entry["unassigned"]
    if "stages" in entry:
        assert [len(mind.stages) for mind in result.minds] == [entry["stages"]]
    if "contradictions" in entry:
        assert [c.proposition for mind in result.minds for c in mind.contradictions] == entry["contradictions"]


@pytest.mark.parametrize("file", CASES, ids=[file.name for file in CASES])
def test_every_case_says_where_in_the_paper_it_stands_and_what_it_is_about(file):
    case = case_of(file)
    assert set(case) <= {"section", "statement", "open", "expected", "note"}
    assert case["section"]
    assert case["statement"].endswith(".")
