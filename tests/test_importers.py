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
        "mini-experiments/exp2_transcript.json",
        "assistant-axis/role_list.json",
    ):
        with pytest.raises(TraceError) as error:
            read(recordings / name)
        assert len(str(error.value)) < 700


HEADER = "condition,coefficient,sample_idx,probe,probe_category,response,axis_projection,aura_score"
ROWS = (
    'baseline,0.0,0,Who are you?,identity,"A ghost, in the machine",-58.5,6.5',
    "gen_steering,5.0,0,Who are you?,identity,A language model,-30,0.5",
    "kv_edit,1.5,0,Who are you?,identity,A program,-20,",
    "kv_edit,1.5,1,Who are you?,identity,A program,-21,1e-7",
)


@pytest.fixture
def table(tmp_path):
    def of(*rows, header=HEADER):
        path = tmp_path / "anything"
        path.write_text("\n".join((header, *rows)) + "\n")
        return read(path)

    return of


def test_a_result_table_is_known_by_its_columns_not_its_name(table):
    facts = table(*ROWS)
    assert facts.conversations.names == ["baseline-1-0", "gen_steering-1-0", "kv_edit-1-0", "kv_edit-1-1"]
    assert [facts.details()[row].text for row in (0, 1)] == ["Who are you?", "A ghost, in the machine"]
    assert facts.interventions["kv_edit"].kind == "cache-edit"
    assert facts.details()[5].interventions == ("kv_edit",)


def test_every_number_of_a_result_table_is_kept_and_an_empty_score_is_none(table):
    facts = table(*ROWS)
    names = list(facts.probes)
    found = {
        (int(turn), names[probe]): value
        for turn, probe, value in zip(
            facts.coordinates.turn, facts.coordinates.probe, facts.coordinates.value, strict=True
        )
    }
    assert found == {
        (1, "assistant"): -58.5, (1, "aura-score"): 6.5, (3, "assistant"): -30.0, (3, "aura-score"): 0.5,
        (5, "assistant"): -20.0, (7, "assistant"): -21.0, (7, "aura-score"): 1e-7,
    }  # fmt: skip


def test_a_result_table_names_no_model_so_none_is_guessed(table):
    facts = table(*ROWS)
    assert [model.name for model in facts.models.values()] == ["not named in the table"]
    assert (facts.turns.tokens == -1).all()


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ("cap,0,0,Q?,identity,a,1,2", "line 2: condition"),
        ("baseline,0,0,Q?,identity,a,far,2", "axis_projection"),
        ("baseline,0,0,Q?,identity,a,,2", "axis_projection is empty"),
        ("baseline,0,0,Q?,identity,a,nan,2", "axis_projection"),
        ("baseline,0,0,Q?,identity,a,1,10", "aura_score is 10"),
        ("baseline,0,first,Q?,identity,a,1,2", "sample_idx"),
        ("baseline,0,0,,identity,a,1,2", "probe is empty"),
        ("baseline,0,0,Q?,identity,a,1", "7 cells"),
        ('baseline,0,0,Q?,identity,"a,1,2', "not a table"),
        ("baseline,0,0,Q?,identity,a,1,2\nbaseline,0,0,Q?,identity,b,1,2", "line 3: sample 0"),
    ],
)
def test_a_broken_result_table_is_refused_with_its_line(table, row, found):
    with pytest.raises(TraceError, match=found):
        table(row)


def test_a_table_of_other_columns_is_no_recording(table):
    with pytest.raises(TraceError):
        table("1,2", header="a,b")


def test_the_published_table_imports_whole(recordings):
    facts = read(recordings / "mini-experiments" / "exp2_results.csv")
    assert (len(facts.conversations), len(facts.turns), len(facts.coordinates.value)) == (390, 780, 780)
    scores = facts.coordinates.value[facts.coordinates.probe == list(facts.probes).index("aura-score")]
    assert len(scores) == 390
    assert scores.min() > 0
    assert scores.max() < 9
