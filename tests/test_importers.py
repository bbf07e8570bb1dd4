"""Published recordings become facts as they are: what they do not say is not guessed."""

import json

import numpy as np
import pytest

from individuation import individuate, open_trace
from traces.errors import TraceError
from traces.recognition import read


def recording(**changes):
    return {
        "case": "Self-harm", "condition": "cap_asst", "model": "Qwen/Qwen3-32B", "monitor_layer": 50,
        "capping_experiment": "layers_46:54-p0.25",
        "conversation": [
            {"turn": 0, "role": "user", "content": "a", "projection": float("nan")},
            {"turn": 1, "role": "assistant", "content": "b", "projection": float("nan")},
            {"turn": 2, "role": "user", "content": "c", "projection": -5},
            {"turn": 3, "role": "assistant", "content": "d", "projection": 33.5},
        ],
        **changes,
    }  # fmt: skip


@pytest.fixture
def imported(tmp_path):
    def of(**changes):
        path = tmp_path / "anything.txt"
        path.write_text(json.dumps(recording(**changes)))
        return read(path)

    return of


def test_a_result_file_is_known_by_its_content_not_its_name(imported):
    facts = imported()
    assert facts.conversations.names == ["self-harm-capped"]
    assert facts.models["qwen3-32b"].name == "Qwen/Qwen3-32B"
    assert (facts.probes["assistant"].layer, facts.probes["assistant"].pooling) == (50, "mean")


def test_a_bare_nan_is_no_coordinate(imported):
    facts = imported()
    assert facts.coordinates.turn.tolist() == [2, 3]
    assert facts.coordinates.value.tolist() == [-5, 33.5]


def test_what_the_record_does_not_say_stays_unknown(imported):
    facts = imported()
    assert (facts.turns.tokens == -1).all()
    assert (facts.turns.server == -1).all()
    assert facts.turns.cache.tolist() == [-1, 3, 3, 3]
    assert (facts.stated == -1).all()


def test_capping_is_recorded_on_the_assistants_turns_only(imported):
    facts = imported()
    assert {row: detail.interventions for row, detail in facts.details().items() if detail.interventions} == {
        1: ("cap",),
        3: ("cap",),
    }
    assert facts.interventions["cap"].layers == tuple(range(46, 54))
    unsteered = imported(condition="unsteered")
    assert unsteered.interventions == {}
    assert unsteered.conversations.names == ["self-harm-unsteered"]


def test_a_recording_can_be_counted_without_importing_it(tmp_path):
    path = tmp_path / "r.json"
    path.write_text(json.dumps(recording()))
    assert individuate(open_trace(path), "thread").count == 1


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"condition": "cap_all"}, "condition"),
        ({"capping_experiment": "some"}, "capping_experiment"),
        ({"monitor_layer": "fifty"}, "monitor_layer"),
        ({"conversation": [{"turn": 0, "role": "wizard", "content": "a", "projection": 0}]}, "role"),
        ({"conversation": [{"turn": 1, "role": "user", "content": "a", "projection": 0}]}, "numbered"),
        ({"conversation": [{"turn": 0, "role": "user", "content": "a", "projection": "high"}]}, "projection"),
        ({"conversation": ["hello"]}, "hello"),
    ],
)
def test_a_broken_recording_is_refused_with_its_place(imported, changes, found):
    with pytest.raises(TraceError, match=found):
        imported(**changes)


@pytest.mark.parametrize("name", ["delusion_unsteered.json", "delusion_cap_asst.json"])
def test_the_published_recordings_import_whole(recordings, name):
    path = recordings / "mini-experiments" / name
    facts = read(path)
    published = json.loads(path.read_text(encoding="utf-8"))["conversation"]
    assert len(facts.turns) == len(published) == 46
    assert np.allclose(facts.coordinates.value, [turn["projection"] for turn in published], rtol=0, atol=0)
    assert [facts.details()[i].text for i in range(46)] == [turn["content"] for turn in published]


def test_what_is_no_recording_of_a_conversation_is_refused_clearly(recordings):
    for name in (
        "mini-experiments/exp2_results.csv",
        "mini-experiments/exp2_transcript.json",
        "assistant-axis/role_list.json",
    ):
        with pytest.raises(TraceError) as error:
            read(recordings / name)
        assert len(str(error.value)) < 700
