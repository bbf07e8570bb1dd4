"""The example traces are the published recordings' figures, and say what the README says they say."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from individuation import individuate, open_trace
from traces.file import facts_from_data
from traces.recognition import read
from traces.rendering import document_data

HERE = Path(__file__).parent.parent / "examples"
AURA, CAPPED = HERE / "qwen3-32b-aura.yaml", HERE / "qwen3-32b-aura-capped.yaml"


@pytest.fixture(scope="module")
def build():
    return runpy.run_path(str(HERE / "build.py"), run_name="build")


def test_the_boundary_is_the_one_that_the_stated_method_gives(build):
    values = build["assistant_projections"](read(AURA))
    assert len(values) == 23
    boundary = build["fisher_boundary"](values)
    # By exhaustion, in another way: no cut of the ordered values leaves less spread within its two sides.
    ordered = sorted(values)
    spread = {}
    for cut in range(1, len(ordered)):
        sides = (ordered[:cut], ordered[cut:])
        spread[cut] = sum(sum((x - sum(side) / len(side)) ** 2 for x in side) for side in sides)
    best = min(spread, key=spread.get)
    assert boundary == round((ordered[best - 1] + ordered[best]) / 2, 1) == -63.9
    for path in (AURA, CAPPED):
        assert read(path).spaces["assistant-axis"].regions == {
            "assistant": {"assistant": (boundary, None)},
            "aura": {"assistant": (None, boundary)},
        }


def test_the_examples_hold_no_words():
    for path in (AURA, CAPPED):
        facts = read(path)
        assert all(detail.text is None and detail.token_ids is None for detail in facts.details().values())
        assert (facts.turns.tokens == -1).all()


def test_the_examples_are_what_the_build_script_makes_of_the_recordings(build, recordings):
    for name, text in build["build"](recordings / "mini-experiments").items():
        assert (HERE / name).read_text(encoding="utf-8") == text


def test_the_figures_are_those_of_the_recordings(recordings):
    for example, recording in ((AURA, "delusion_unsteered.json"), (CAPPED, "delusion_cap_asst.json")):
        published = json.loads((recordings / "mini-experiments" / recording).read_text(encoding="utf-8"))[
            "conversation"
        ]
        facts = read(example)
        assert facts.coordinates.value.tolist() == [turn["projection"] for turn in published]
        assert [("system", "user", "assistant", "tool")[code] for code in facts.turns.role] == [
            t["role"] for t in published
        ]


@pytest.mark.parametrize(
    ("path", "view", "count"),
    [
        (AURA, "model", 1), (AURA, "thread", 1), (AURA, "virtual-instance", 1),
        (AURA, "instance-persona", 2), (AURA, "model-persona", 2),
        (CAPPED, "instance-persona", 1), (CAPPED, "model-persona", 1), (CAPPED, "abstract-model-persona", 2),
    ],
)  # fmt: skip
def test_the_examples_count_as_the_paper_tells_the_story(path, view, count):
    assert individuate(open_trace(path), view).count == count


def test_the_count_hangs_on_the_boundary_as_the_design_measured():
    data = document_data(read(AURA))
    counts = []
    for boundary in range(0, -61, -10):
        data["spaces"]["assistant-axis"]["regions"] = {
            "assistant": {"assistant": [boundary, None]},
            "aura": {"assistant": [None, boundary]},
        }
        counts.append(individuate(data, "instance-persona").count)
    assert counts == [1, 2, 2, 2, 2, 4, 2]


def test_user_turns_hardly_differ_between_the_recordings_while_assistant_turns_do():
    unsteered, capped = read(AURA), read(CAPPED)
    user = unsteered.turns.role == 1
    difference = np.abs(unsteered.coordinates.value - capped.coordinates.value)
    assert difference[user].mean() < difference[~user].mean() / 8


def test_an_example_through_json_and_back_is_the_same(tmp_path):
    data = document_data(read(AURA))
    assert document_data(facts_from_data(json.loads(json.dumps(data)))) == data


@pytest.mark.slow
def test_the_demonstration_records_a_drift_two_migrations_a_fork_and_a_switch(tmp_path):
    trace = tmp_path / "organism.db"
    done = subprocess.run(
        [sys.executable, str(HERE / "organism_demo.py"), str(trace)], capture_output=True, text=True, check=True
    )
    assert "[aura: " in done.stdout
    facts = open_trace(trace)
    counts = [individuate(facts, view).count for view in ("model", "physical-instance", "thread", "virtual-instance")]
    assert counts == [2, 4, 1, 2]
    # Boston; Denver and Seattle; the other model; the branch.
    assert individuate(facts, "virtual-instance", reconstruction="new").count == 4
    caches = document_data(read(trace))["caches"].values()
    hows = sorted(cache["how"] for cache in caches)
    assert hows == ["decoded", "decoded", "prefilled", "prefilled", "transferred"]
    assert all(cache.get("drift", 0) < 1e-5 for cache in caches)
