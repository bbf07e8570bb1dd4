"""Coordinates by stage are those that were recorded, wherever a stage comes to stand."""

import json
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from worlds import worlds

from individuation import open_trace
from traces.coordinates import stage_coordinates
from traces.file import facts_from_data


def read(trace):
    """What each stage reads on each probe, by names."""
    stages = trace.stages()
    found = stage_coordinates(trace.recordings, stages)
    assert found.values.shape == (len(stages), len(found.probes))
    assert found.values.dtype == np.float64
    return {
        stages.name(row): {
            name: value for name, value in zip(found.probes, found.values[row].tolist(), strict=True) if value == value
        }
        for row in range(len(stages))
    }


def world(at, probes=None, **more):
    turns = [{"role": "user", "model": "m", "at": at}, {"role": "assistant"}]
    return {"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": turns}}, **more} | (
        {"probes": probes} if probes else {}
    )


def opened(tmp_path, *given):
    for name, data in zip("abc", given, strict=False):
        (tmp_path / f"{name}.json").write_text(json.dumps(data))
    return open_trace(*(tmp_path / f"{name}.json" for name, _ in zip("abc", given, strict=False)))


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(worlds())
def test_every_stage_reads_what_its_turn_says(world):
    said = {
        f"{name}/{ordinal}": {axis: float(value) for axis, value in turn.get("at", {}).items()}
        for name, conversation in world["conversations"].items()
        for ordinal, turn in enumerate(conversation["turns"])
    }
    assert read(open_trace(world)) == said


def test_a_branch_recorded_before_its_parent_reads_its_own_coordinates():
    trace = open_trace(
        {
            "individuation": 1,
            "models": {"m": {}},
            "conversations": {
                "branch": {"parent": "trunk", "at": 1, "turns": [{"role": "assistant", "at": {"x": 3}}]},
                "trunk": {"turns": [{"role": "user", "model": "m", "at": {"x": 1}}, {"role": "user", "at": {"y": 2}}]},
            },
        }
    )
    stages = trace.stages()
    assert [stages.name(row) for row in range(3)] == ["trunk/0", "trunk/1", "branch/0"]
    assert stages.turn.tolist() == [1, 2, 0]
    assert stages.recording.tolist() == [0, 0, 0]
    assert read(trace) == {"trunk/0": {"x": 1.0}, "trunk/1": {"y": 2.0}, "branch/0": {"x": 3.0}}


def test_stages_know_their_recording_and_their_turn_in_it(tmp_path):
    branching = world({"x": 1})
    branching["conversations"] = {
        "b": {"parent": "c", "at": 1, "turns": [{"role": "assistant", "at": {"x": 7}}]},
        **branching["conversations"],
    }
    trace = opened(tmp_path, world({"x": 0}), branching)
    stages = trace.stages()
    assert [stages.name(row) for row in range(5)] == ["a:c/0", "a:c/1", "b:c/0", "b:c/1", "b:b/0"]
    assert stages.recording.tolist() == [0, 0, 1, 1, 1]
    assert stages.turn.tolist() == [0, 1, 1, 2, 0]
    assert read(trace) == {"a:c/0": {"x": 0.0}, "a:c/1": {}, "b:c/0": {"x": 1.0}, "b:c/1": {}, "b:b/0": {"x": 7.0}}


def test_equal_probes_of_several_recordings_share_a_column_and_others_are_prefixed(tmp_path):
    deep = {"x": {"axis": "x", "layer": 3}}
    assert read(opened(tmp_path, world({"x": 1}), world({"x": 2, "y": 3}))) == {
        "a:c/0": {"x": 1.0}, "a:c/1": {}, "b:c/0": {"x": 2.0, "y": 3.0}, "b:c/1": {},
    }  # fmt: skip
    trace = opened(tmp_path, world({"x": 1}, deep), world({"x": 2, "y": 4}), world({"x": 3}, deep))
    found = stage_coordinates(trace.recordings, trace.stages())
    assert {name: probe.layer for name, probe in found.probes.items()} == {"a:x": 3, "b:x": None, "y": None}
    expected = np.array([[1, math.nan, math.nan], [math.nan, 2, 4], [3, math.nan, math.nan]])
    np.testing.assert_array_equal(found.values[[0, 2, 4]], expected)
    assert np.isnan(found.values[[1, 3, 5]]).all()


def test_a_prefixed_name_that_is_a_key_already_is_prefixed_once_more(tmp_path):
    first = world({"x": 1}, {"x": {"axis": "x", "layer": 3}})
    second = world({"x": 2, "a:x": 5})
    assert read(opened(tmp_path, first, second)) == {
        "a:c/0": {"a:a:x": 1.0}, "a:c/1": {}, "b:c/0": {"b:x": 2.0, "a:x": 5.0}, "b:c/1": {},
    }  # fmt: skip


def test_a_trace_without_coordinates_has_no_columns():
    trace = open_trace(world({}))
    assert stage_coordinates(trace.recordings, trace.stages()).values.shape == (2, 0)


def test_stages_of_other_recordings_are_refused():
    facts = facts_from_data(world({"x": 1}))
    other = open_trace({"individuation": 1, "models": {"m": {}}, "conversations": {}})
    with pytest.raises(ValueError, match="not those of the recordings"):
        stage_coordinates([facts], other.stages())
