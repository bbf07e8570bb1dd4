"""The package's face: its public names, its light start, and its guard against packages of the same name."""

import json
import subprocess
import sys

import pytest

import individuation
from individuation import VIEWS, TraceError, individuate, open_trace
from traces.errors import UnknownNameError

WORLD = {
    "individuation": 1,
    "models": {"m": {}},
    "conversations": {"c": {"turns": [{"role": "user", "tokens": 1, "model": "m"}]}},
}


def python(code, *arguments, **environment):
    import os

    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        capture_output=True, text=True, check=False, env={**os.environ, **environment},
    )  # fmt: skip


def test_the_public_names_are_these():
    assert set(individuation.__all__) == {
        "VIEWS", "Comparison", "Contradiction", "Desiderata", "Explanation", "Mind", "Result", "Sensitivity", "Trace",
        "TraceError", "compare", "desiderata", "individuate", "open_trace", "overview", "sensitivity", "why",
    }  # fmt: skip
    assert all(getattr(individuation, name) is not None for name in individuation.__all__)
    with pytest.raises(AttributeError, match="no attribute 'mind'"):
        _ = individuation.mind


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, individuation, individuation.cli.main; print(sorted({'numpy', 'pydantic', 'sqlalchemy', 'rich', 'networkx'} & set(sys.modules)))"
    assert python(code).stdout.strip() == "[]"


def test_counting_a_file_needs_neither_sqlalchemy_nor_torch():
    code = (
        "import sys, individuation as i; i.individuate(i.open_trace(sys.argv[1]), 'thread');"
        "print(sorted({'sqlalchemy', 'torch', 'transformers', 'sklearn', 'networkx'} & set(sys.modules)))"
    )
    assert (
        python(code, str(__file__).replace("tests/test_package.py", "examples/qwen3-32b-aura.yaml")).stdout.strip()
        == "[]"
    )


@pytest.mark.parametrize("name", ["rules", "traces"])
def test_another_package_of_the_same_name_is_named_as_the_intruder(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    # Before everything else on the path, as a folder of that name beside a user's script would be.
    result = python(f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import individuation")
    assert result.returncode == 1
    assert f"needs its own package '{name}'" in result.stderr
    assert str(tmp_path) in result.stderr


def test_an_unknown_view_lists_what_there_is_with_the_nearest_name():
    with pytest.raises(UnknownNameError) as error:
        individuate(WORLD, "virtual_instance")
    assert 'did you mean "virtual-instance"?' in str(error.value)
    assert all(view in str(error.value) for view in VIEWS)


def test_an_unknown_reading_lists_those_of_the_view():
    with pytest.raises(TraceError) as error:
        individuate(WORLD, "virtual-instance", reconstructon="new")
    assert 'did you mean "reconstruction"?' in str(error.value)
    assert "user_turns" not in str(error.value)


@pytest.mark.parametrize("value", ["newest", None, 3, True])
def test_a_value_that_a_reading_does_not_have_is_refused(value):
    with pytest.raises(TraceError):
        individuate(WORLD, "virtual-instance", reconstruction=value)


@pytest.mark.parametrize("value", ["-1", -0.5, "nan", "far", True])
def test_a_drift_that_is_no_bound_is_refused(value):
    with pytest.raises(TraceError, match="max_drift"):
        individuate(WORLD, "virtual-instance", max_drift=value)


def test_recurrence_has_no_meaning_among_minds_that_share_stages():
    with pytest.raises(TraceError, match="recurrence=same"):
        individuate(WORLD, "instance-persona", recurrence="same", branching="overlap")


def test_an_unknown_labelling_lists_those_there_are(examples):
    with pytest.raises(UnknownNameError, match="assistant-axis"):
        individuate(open_trace(examples / "qwen3-32b-aura.yaml"), "model-persona", labelling="axis")


def test_the_json_of_the_format_page(tmp_path):
    turns = [
        {"role": "user", "tokens": 12, "model": "qwen", "server": "new-york"},
        {"role": "assistant", "tokens": 40, "region": "assistant"},
        {"role": "user", "tokens": 9, "server": "texas", "cache": "rebuilt", "drift": 0.0021},
        {"role": "assistant", "tokens": 31, "region": "aura", "believes": ["p", "not q"]},
    ]
    world = {"individuation": 1, "models": {"qwen": {}}, "conversations": {"c1": {"turns": turns}}}
    result = individuate(world, "virtual-instance").to_dict()
    assert result == {
        "view": "virtual-instance",
        "readings": {"reconstruction": "same", "branching": "one", "unknown_cache": "carry", "edits": "carry", "max_drift": None},
        "count": 1,
        "minds": [
            {
                "id": "c1/0", "label": "qwen in c1", "stages": ["c1/0", "c1/1", "c1/2", "c1/3"], "conversations": ["c1"],
                "models": ["qwen"], "servers": ["new-york", "texas"], "regions": ["assistant", "aura"], "tokens": 92,
                "assistant_tokens": 71, "first": "c1/0", "last": "c1/3", "contradictions": [],
            }
        ],
        "unassigned": [],
        "caveats": [
            "no cache information was recorded for 2 of 3 links: they follow from servers and models by the default rules"
            " (semantics §3)"
        ],
    }  # fmt: skip
    assert list(result) == ["view", "readings", "count", "minds", "unassigned", "caveats"]
    assert list(result["readings"]) == ["reconstruction", "branching", "unknown_cache", "edits", "max_drift"]
    json.dumps(result, allow_nan=False)


def test_forward_passes_are_summarised_by_stage():
    turns = [
        {"role": "user", "tokens": 5, "model": "m", "server": "a"},
        {"role": "assistant", "tokens": 7, "model": "n"},
        {"role": "user", "tokens": 3, "model": "m", "cache": "retained"},
        {"role": "assistant", "tokens": 2, "server": "b"},
    ]
    world = {"individuation": 1, "models": {"m": {}, "n": {}}, "conversations": {"c": {"turns": turns}}}
    result = individuate(world, "forward-pass")
    assert [(s["own"], s["again"]) for s in result.per_stage()] == [(5, 0), (7, 5), (3, 7), (2, 15)]
    assert (result.count, len(result.minds), result.unassigned) == (44, 0, [])
    turns[0]["tokens"] = None
    assert individuate(world, "forward-pass").count is None


def test_the_numbers_of_the_paper_are_computed():
    from traces.vocabulary import Model

    # §2.1: Llama 3 70B at token 101, 100 prior positions.
    assert Model(layers=80, kv_heads=8, head_dim=128).attention_streams(100) == (64_000, 128)
    assert Model(layers=80).attention_streams(100) is None


def test_a_mind_can_be_reached_by_index_slice_and_loop(examples):
    minds = individuate(examples / "qwen3-32b-aura.yaml", "instance-persona").minds
    assert [mind.label for mind in minds] == [minds[0].label, minds[-1].label]
    assert [mind.id for mind in minds[1:]] == ["drift/8"]
    with pytest.raises(IndexError):
        _ = minds[2]
    assert "2 minds" in repr(minds)
