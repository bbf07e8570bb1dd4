"""Labellings that say regions turn by turn: how probable they are, and where within a turn they change."""

import base64
import copy
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from test_laws import split
from worlds import worlds

from individuation import compare, desiderata, individuate, open_trace, sensitivity, why
from rules.registry import VIEWS
from traces.check import check_store
from traces.coordinates import stage_coordinates
from traces.errors import TraceError
from traces.file import facts_from_data, write
from traces.recognition import read
from traces.rendering import document_data
from traces.stages import StageTable
from traces.store import add_labelling, gathered, load, save
from traces.vocabulary import Change, LabelledTurn, Space

SPACE = {"model": "m", "axes": ["a"], "regions": {"calm": {}, "wild": {}}}


def a_world(turns=None, **labelling):
    said = [
        {"role": "user", "tokens": 3, "model": "m", "server": "s"},
        {"role": "assistant", "tokens": 8, "believes": ["p"]},
        {"role": "user", "tokens": 2},
        {"role": "assistant", "tokens": 4},
    ]
    branch = {"parent": "c", "at": 2, "turns": [{"role": "user", "tokens": 1}, {"role": "assistant", "tokens": 5}]}
    labelled = turns or {
        "c/1": {"region": "calm", "changes": [{"at": 5, "region": "wild"}]}, "c/3": {"region": "wild"}, "d/1": {"region": "calm"},
    }  # fmt: skip
    return {
        "individuation": 1, "models": {"m": {}}, "probes": {"a": {"axis": "a"}},
        "labellings": {"found": {"spaces": {"mixed": SPACE}, "turns": labelled, "made": {"method": "mixture"}, **labelling}},
        "conversations": {"c": {"turns": said}, "d": branch},
    }  # fmt: skip


def test_each_part_of_a_turn_within_which_the_region_changes_is_a_stage():
    stages = StageTable.of(facts_from_data(a_world()), "found")
    names = [stages.name(row) for row in range(len(stages))]
    assert names == ["c/0", "c/1", "c/2", "c/3", "c/4", "d/0", "d/1"]
    assert stages.tokens.tolist() == [3, 5, 3, 2, 4, 1, 5]
    assert stages.token.tolist() == [0, 0, 5, 0, 0, 0, 0]
    assert stages.turn.tolist() == [0, 1, 1, 2, 3, 4, 5]
    regions = [stages.regions.names[code] if code >= 0 else None for code in stages.region.tolist()]
    assert regions == [None, "calm", "wild", None, "wild", None, "calm"]
    # The branch goes on from the end of the turn that was split.
    assert stages.previous.tolist() == [-1, 0, 1, 2, 3, 2, 5]
    assert [stages.name(int(row)) for row in stages.belief_stage] == ["c/1", "c/2"]
    # Other labellings, and none, keep their stages.
    assert len(open_trace(a_world()).stages()) == 7
    without = a_world()
    without["spaces"] = {"own": {"model": "m", "axes": ["a"], "regions": {"calm": {}}}}
    assert len(StageTable.of(facts_from_data(without))) == 6
    assert len(StageTable.of(facts_from_data(without), "own")) == 6


def test_a_persona_that_takes_over_within_a_turn_is_another_mind_and_why_says_it():
    trace = open_trace(a_world())
    result = individuate(trace, "instance-persona")
    assert [mind.stages for mind in result.minds][:2] == [("c/0", "c/1"), ("c/2", "c/3", "c/4")]
    assert individuate(trace, "virtual-instance").count == 1
    answer = why(trace, "c/1", "c/2", "instance-persona")
    assert not answer.same
    assert "calm" in str(answer)
    assert why(trace, "c/1", "c/2", "virtual-instance").same
    assert {pair.first for pair in compare(trace).pairs}


@st.composite
def labelled_worlds(draw):
    """A world without regions of its own, and a labelling of its assistant turns that says them turn by turn."""
    world = copy.deepcopy(draw(worlds(max_conversations=3, spaces=False, null_tokens=False)))
    world.pop("spaces", None)
    world.pop("labellings", None)
    turns, model = {}, next(iter(world["models"]))
    for name, conversation in world["conversations"].items():
        for ordinal, turn in enumerate(conversation["turns"]):
            for field in ("region", "region_probabilities", "at", "at_tokens"):
                turn.pop(field, None)
            if turn["role"] == "assistant" and draw(st.booleans()):
                turns[f"{name}/{ordinal}"] = {"region": draw(st.sampled_from(["calm", "wild", None]))}
    assume(turns)
    space = {**SPACE, "model": model}
    world["labellings"] = {"found": {"spaces": {"mixed": space}, "turns": turns}}
    return world


FEW = settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


def changed_somewhere(draw, world, region):
    """The world with one labelled turn that changes to a region at its last token, and where; `same`: to its own."""
    labelled = world["labellings"]["found"]["turns"]
    places = [
        (name, ordinal)
        for name, conversation in world["conversations"].items()
        for ordinal, turn in enumerate(conversation["turns"])
        if f"{name}/{ordinal}" in labelled and (turn.get("tokens") or 0) > 1
    ]
    assume(places)
    name, ordinal = draw(st.sampled_from(places))
    changed = copy.deepcopy(world)
    said = changed["labellings"]["found"]["turns"][f"{name}/{ordinal}"]
    to = said["region"] if region == "same" else region
    tokens = world["conversations"][name]["turns"][ordinal]["tokens"]
    said["changes"] = [{"at": tokens - 1, "region": to}]
    return changed, name, ordinal, to


@FEW
@given(labelled_worlds(), st.data())
def test_law_6_a_change_to_the_same_region_changes_no_count(world, data):
    changed, *_ = changed_somewhere(data.draw, world, "same")
    one, two = open_trace(world), open_trace(changed)
    for view in VIEWS:
        assert individuate(one, view, labelling="found").count == individuate(two, view, labelling="found").count


@FEW
@given(labelled_worlds(), st.sampled_from(["calm", "wild", None]), st.data())
def test_a_turn_that_changes_is_counted_as_if_it_had_been_recorded_as_two(world, region, data):
    changed, name, ordinal, to = changed_somewhere(data.draw, world, region)
    stated = copy.deepcopy(world)
    labelled = stated.pop("labellings")["found"]["turns"]
    for stage, said in labelled.items():
        conversation, _, turn = stage.rpartition("/")
        if said["region"] is not None:
            stated["conversations"][conversation]["turns"][int(turn)]["region"] = said["region"]
    stated = split(stated, name, ordinal)
    later = stated["conversations"][name]["turns"][ordinal + 1]
    later.pop("region", None)
    if to is not None:
        later["region"] = to
    one, two = open_trace(changed), open_trace(stated)
    for view in VIEWS:
        if view == "abstract-model-persona":
            continue  # The labelling's space has regions that no stage is in.
        given_, found = individuate(two, view), individuate(one, view, labelling="found")
        assert found.count == given_.count
        assert [mind.stages for mind in found.minds] == [mind.stages for mind in given_.minds]


def test_a_file_and_the_store_give_it_back(tmp_path):
    facts = facts_from_data(a_world())
    save(tmp_path / "t.db", [facts])
    assert document_data(load(tmp_path / "t.db")) == document_data(facts)
    write(load(tmp_path / "t.db"), tmp_path / "t.yaml")
    assert document_data(read(tmp_path / "t.yaml")) == document_data(facts)
    assert all(found.holds for found in check_store(tmp_path / "t.db"))
    # Added to another recording, the labelling has the turns of both.
    more = a_world()
    more["conversations"] = {name * 2: value for name, value in more["conversations"].items()}
    more["conversations"]["dd"]["parent"] = "cc"
    labelled = more["labellings"]["found"]["turns"]
    more["labellings"]["found"]["turns"] = {key[0] * 2 + key[1:]: value for key, value in labelled.items()}
    save(tmp_path / "t.db", [facts_from_data(more)])
    both = load(tmp_path / "t.db")
    assert document_data(both) == document_data(gathered([facts, facts_from_data(more)], "t.db"))
    assert individuate(open_trace(tmp_path / "t.db"), "model-persona", labelling="found").count == 2
    other = a_world(made={"method": "another"})
    other["conversations"] = {}
    other["labellings"]["found"]["turns"] = {}
    with pytest.raises(TraceError, match="another space of that name"):
        save(
            tmp_path / "t.db",
            [
                facts_from_data(
                    {
                        **other,
                        "conversations": {},
                        "labellings": {"found": {"spaces": {"mixed": {**SPACE, "axes": ["b"]}}}},
                    }
                )
            ],
        )


def stored(tmp_path):
    world = a_world()
    del world["labellings"]
    world["conversations"]["c"]["turns"][1] |= {"at": {"a": 1.0}}
    save(tmp_path / "t.db", [facts_from_data(world)])
    return tmp_path / "t.db"


def test_it_is_added_beside_the_facts_with_how_probable_regions_are(tmp_path):
    path = stored(tmp_path)
    turns = {
        "c/1": LabelledTurn(region="calm", probabilities={"calm": 0.75, "wild": 0.25}, changes=(Change(at=2, region="wild", probabilities={"wild": 0.5}),)),
        "c/3": LabelledTurn(),
    }  # fmt: skip
    add_labelling(path, "found", {"mixed": Space(**{**SPACE, "axes": ("a",)})}, turns, {"method": "mixture"})
    stages = open_trace(path).stages("found")
    chances = zip(
        stages.chance_stage.tolist(), stages.chance_region.tolist(), stages.chance_value.tolist(), strict=True
    )
    assert list(chances) == [(1, 0, 0.75), (1, 1, 0.25), (2, 1, 0.5)]
    assert "turn by turn (mixture)" in stages.regions.basis
    with pytest.raises(TraceError, match="already has a labelling"):
        add_labelling(path, "found", {"mixed": Space(**{**SPACE, "axes": ("a",)})}, turns)


def test_regions_that_no_ranges_draw_need_no_axis_that_was_read_but_a_model_of_the_trace(tmp_path):
    path = stored(tmp_path)
    said = {"c/1": LabelledTurn(region="calm")}
    space = Space(**{**SPACE, "axes": ("unread",)})
    with pytest.raises(TraceError, match="axis unread was not recorded"):
        add_labelling(path, "ranges", {"judged": space})
    with pytest.raises(TraceError, match='no model "other"'):
        add_labelling(path, "judged", {"judged": space.model_copy(update={"model": "other"})}, said)
    add_labelling(path, "judged", {"judged": space}, said, {"method": "three raters"})
    assert individuate(path, "model-persona").count == 1


@pytest.mark.parametrize(
    ("turns", "found"),
    [
        ({}, "nothing of any turn"),
        ({"c/9": LabelledTurn()}, 'no turn "c/9"'),
        ({"x/0": LabelledTurn()}, 'no turn "x/0"'),
        ({"c/0": LabelledTurn(region="calm")}, "turn of the user's"),
        ({"c/1": LabelledTurn(region="odd")}, 'region "odd"'),
        ({"c/1": LabelledTurn(changes=(Change(at=8),))}, "at token 8, and has 8"),
    ],
)
def test_what_cannot_be_said_of_the_turns_is_refused_and_nothing_is_stored(tmp_path, turns, found):
    path = stored(tmp_path)
    with pytest.raises(TraceError, match=found):
        add_labelling(path, "found", {"mixed": Space(**{**SPACE, "axes": ("a",)})}, turns)
    assert not load(path).labellings


@pytest.mark.parametrize(
    ("labelled", "found"),
    [
        ({"c/1": {"region": "calm", "changes": [{"at": 5}, {"at": 5}]}}, "ascending"),
        ({"c/1": {"region": "calm", "changes": [{"at": 0}]}}, "turn c/1: at is 0"),
        ({"c/1": {"probabilities": {"calm": 0.75, "wild": 0.5}}}, "add up to 1.25"),
        ({"c/1": {"region": "calm", "chances": {}}}, 'no field "chances"'),
        ({"c/1": {"region": "odd"}}, "which no space of the labelling has"),
    ],
)
def test_a_file_that_says_what_cannot_be_is_refused_with_its_place(labelled, found):
    with pytest.raises(TraceError, match=found) as refused:
        facts_from_data(a_world(labelled))
    assert "labelling found" in str(refused.value)


def test_coordinates_of_the_parts_are_means_of_their_own_tokens():
    world = a_world()
    grid = np.arange(8, dtype="<f4").reshape(1, 8)
    world["conversations"]["c"]["turns"][1] |= {
        "at": {"a": 3.5}, "token_marks": "tccccccc",
        "at_tokens": {"probes": ["a"], "float32": base64.b64encode(grid.tobytes()).decode()},
    }  # fmt: skip
    facts = facts_from_data(world)
    found = stage_coordinates([facts], StageTable.of(facts, "found")).values[:, 0].tolist()
    assert found[1:3] == [2.5, 6.0]


def test_a_count_of_regions_that_failed_hypothesis_3_says_so_first(tmp_path, run):
    unsure = {"region": "wild", "probabilities": {"calm": 0.5, "wild": 0.5}}
    world = a_world({"c/1": {"region": "calm"}, "c/3": unsure, "d/1": {"region": "calm"}})
    world["labellings"]["found"]["spaces"]["mixed"] = {**SPACE, "discrete": False}
    (tmp_path / "w.json").write_text(json.dumps(world))
    shown = run("count", tmp_path / "w.json", "--view", "model-persona").stdout
    first = "First: the regions of space mixed were not shown to be discrete"
    assert shown.index(first) < shown.index("model-persona: 1-2 minds (2 as labelled)")
    assert "the range comes first" in shown
    overview = run("count", tmp_path / "w.json").stdout
    assert overview.index("First: ") < overview.index("virtual-instance")
    assert overview.count("were not shown to be discrete: they did not pass the test") == 1
    for command in ("compare", "sensitivity"):
        assert first in run(command, tmp_path / "w.json").stdout
    asked = run("sensitivity", tmp_path / "w.json", "--view", "model-persona", "--format", "json").stdout
    assert first.removeprefix("First: ") in json.loads(asked)["caveats"][0]
    data = json.loads(run("count", tmp_path / "w.json", "--view", "model-persona", "--format", "json").stdout)
    assert "not shown to be discrete" in data["caveats"][0]
    page = tmp_path / "w.html"
    assert run("report", tmp_path / "w.json", "-o", page).exit_code == 0
    text = page.read_text(encoding="utf-8")
    assert text.index("not shown to be discrete") < text.index("Minds under each view")


def a_world_of_ranges():
    """A recording with a labelling of the same name as that of `a_world`, by ranges."""
    said = [{"role": "assistant", "tokens": 2, "model": "m", "server": "s", "at": {"a": a}} for a in (3.0, 1.0, -2.0)]
    drawn = {**SPACE, "regions": {"calm": {"a": [0, None]}, "wild": {"a": [None, 0]}}}
    return {
        "individuation": 1, "models": {"m": {}}, "labellings": {"found": {"spaces": {"drawn": drawn}}},
        "conversations": {"r": {"turns": said}},
    }  # fmt: skip


def test_a_boundary_that_moves_leaves_alone_what_was_labelled_turn_by_turn():
    alone, both = open_trace(a_world_of_ranges()), open_trace(a_world(), a_world_of_ranges())
    asked = {"labelling": "found", "vary": ["drawn.calm.a=-5..5"]}
    of_one = sensitivity(alone, "instance-persona", **asked).over_boundaries[0]
    of_both = sensitivity(both, "instance-persona", **asked).over_boundaries[0]
    others = individuate(a_world(), "instance-persona").count
    ends = [(bar.low, bar.high, bar.count + others) for bar in of_one.stretches]
    assert len(ends) > 1
    assert [(bar.low, bar.high, bar.count) for bar in of_both.stretches] == ends


def test_how_well_regions_found_in_coordinates_predict_them_is_said_to_be_circular():
    world = a_world()
    for place, value in ((1, 1.0), (3, 2.0)):
        world["conversations"]["c"]["turns"][place]["at"] = {"a": value}
    scores = desiderata(world, labelling="found")
    assert scores["model-persona"].circular
    assert not scores["thread"].circular
    assert any("partly circular" in caveat for caveat in scores.caveats)


def test_what_a_trace_holds_says_how_turns_were_labelled(tmp_path, run):
    (tmp_path / "w.json").write_text(json.dumps(a_world()))
    content = json.loads(run("info", tmp_path / "w.json", "--format", "json").stdout)
    assert content["labellings"]["found"] == {
        "turns": {"calm": 2, "wild": 1}, "turns labelled one by one": 3, "changes within turns": 1, "found by": "mixture",
    }  # fmt: skip
    # Links are those of the record, whatever a labelling sees in it.
    assert content["links"] == {"attention": 5}


def test_the_report_says_which_part_of_its_turn_a_stage_is(tmp_path, run):
    (tmp_path / "w.json").write_text(json.dumps(a_world()))
    assert run("report", tmp_path / "w.json", "-o", tmp_path / "w.html").exit_code == 0
    text = (tmp_path / "w.html").read_text(encoding="utf-8")
    assert "tokens 1 to 5 of it (words are shown of the whole turn)" in text
    assert "tokens 6 to 8 of it" in text


def test_a_trace_whose_spaces_draw_no_regions_goes_by_what_was_added():
    world = a_world()
    world["spaces"] = {"bare": {"model": "m", "axes": ["a"]}}
    assert individuate(world, "model-persona").count == 2
    ranged = {**a_world_of_ranges(), "spaces": world["spaces"]}
    assert individuate(ranged, "model-persona").count == 2
    assert sensitivity(ranged, "model-persona", vary=["drawn.calm.a=-5..5"]).over_boundaries
    world["spaces"]["bare"]["regions"] = {"calm": {}}
    assert individuate(world, "model-persona").count == 0


def test_a_count_over_thousands_of_unsure_turns_is_exact_and_soon_found():
    said = [{"role": "user", "model": "m", "server": "s", "tokens": 1}, {"role": "assistant", "tokens": 1}] * 10
    unsure = {"region": "calm", "probabilities": {"calm": 0.75, "wild": 0.25}}
    world = a_world({f"c{number}/{turn}": unsure for number in range(200) for turn in range(1, 20, 2)})
    world["conversations"] = {f"c{number}": {"turns": said} for number in range(200)}
    found = sensitivity(world, "instance-persona").chances
    assert found.method == "exact"
    assert found.turns == 2000
    # In each conversation one, and one more wherever two turns on end differ.
    assert found.mean == pytest.approx(200 * (1 + 9 * 2 * 0.75 * 0.25))
    assert sum(found.probability.values()) == pytest.approx(1)
