"""Several traces counted together: names prefixed, models one where digests (else names) agree."""

import pytest

from individuation import individuate, open_trace
from traces.file import facts_from_data
from traces.store import load, save
from traces.together import prefixed


def one(model=None, region="evil", server="a", turns=2, **more):
    spoken = [{"role": "user", "tokens": 1}, {"role": "assistant", "tokens": 2, "region": region}] * (turns // 2)
    spoken = [dict(turn) for turn in spoken]
    spoken[0] |= {"model": "m", "server": server}
    return {"individuation": 1, "models": {"m": model or {}}, "conversations": {"c1": {"turns": spoken}}, **more}


def opened(tmp_path, *worlds):
    import json

    paths = []
    for name, world in zip("abcdef", worlds, strict=False):
        paths.append(tmp_path / f"{name}.json")
        paths[-1].write_text(json.dumps(world))
    return open_trace(*paths)


def test_names_are_prefixed_by_the_stem_of_the_file(tmp_path):
    trace = opened(tmp_path, one(), one())
    result = individuate(trace, "virtual-instance")
    assert [mind.id for mind in result.minds] == ["a:c1/0", "b:c1/0"]
    assert [mind.label for mind in result.minds] == ["m in a:c1", "m in b:c1"]
    assert [mind.servers for mind in result.minds] == [("a:a",), ("b:a",)]


def test_one_trace_alone_keeps_its_names(tmp_path):
    assert individuate(opened(tmp_path, one()), "thread").minds[0].id == "c1/0"


@pytest.mark.parametrize(
    ("first", "second", "models", "labels"),
    [
        ({}, {}, 1, ["evil of m"]),
        ({"name": "x"}, {"name": "y"}, 2, ["evil of a:m", "evil of b:m"]),
        ({"name": "x", "digest": "1"}, {"name": "x", "digest": "2"}, 2, ["evil of a:m", "evil of b:m"]),
        ({"name": "x", "digest": "1"}, {"name": "y", "digest": "1"}, 1, ["evil of m"]),
        ({"name": "x", "digest": "1"}, {"name": "x"}, 1, ["evil of m"]),
    ],
)
def test_models_are_one_where_digests_else_names_agree(tmp_path, first, second, models, labels):
    trace = opened(tmp_path, one(first), one(second))
    assert individuate(trace, "model").count == models
    assert [mind.label for mind in individuate(trace, "model-persona").minds] == labels


def test_a_base_in_another_trace_is_found_under_its_name(tmp_path):
    tuned = {"individuation": 1, "models": {"t": {"base": "m"}, "m": {}}, "conversations": {"c": {"turns": [
        {"role": "assistant", "tokens": 1, "model": "t", "region": "evil"}]}}}  # fmt: skip
    trace = opened(tmp_path, one(), tuned)
    assert individuate(trace, "model").count == 2
    assert individuate(trace, "model", weights="base").count == 1
    assert individuate(trace, "model-persona", weights="base").count == 1


def test_regions_are_those_of_each_traces_own_space(tmp_path):
    def with_boundary(boundary):
        return {
            "individuation": 1,
            "models": {"m": {}},
            "spaces": {"s": {"model": "m", "axes": ["x"], "regions": {"aura": {"x": [None, boundary]}}}},
            "conversations": {"c": {"turns": [{"role": "assistant", "tokens": 1, "model": "m", "at": {"x": -10}}]}},
        }

    trace = opened(tmp_path, with_boundary(0), with_boundary(-20))
    result = individuate(trace, "model-persona")
    assert [mind.stages for mind in result.minds] == [("a:c/0",)]
    assert result.unassigned == ["b:c/0"]


def test_beliefs_of_different_traces_meet_in_one_mind(tmp_path):
    first, second = one(), one()
    first["conversations"]["c1"]["turns"][1]["believes"] = ["p"]
    second["conversations"]["c1"]["turns"][1]["believes"] = ["q", "not p"]
    contradiction = individuate(opened(tmp_path, first, second), "model-persona").minds[0].contradictions[0]
    assert (contradiction.proposition, contradiction.held_by, contradiction.denied_by) == (
        "p",
        ("a:c1/1",),
        ("b:c1/1",),
    )


def test_a_principal_is_the_same_one_in_every_trace(tmp_path):
    first, second, third = one(), one(), one()
    for world, name in ((second, "Ann"), (third, "Ben")):
        world["conversations"]["c1"]["principal"] = name
    second["conversations"]["c2"] = {"principal": "Ben", "turns": [{"role": "user", "model": "m"}]}
    trace = opened(tmp_path, first, second, third)
    stages = trace.stages()
    assert stages.principals == ["Ann", "Ben"]
    acting = {stages.name(i): stages.principal[i] for i in range(len(stages)) if stages.ordinal[i] == 0}
    assert acting == {"a:c1/0": -1, "b:c1/0": 0, "b:c2/0": 1, "c:c1/0": 1}
    renamed = prefixed(facts_from_data(second), "b")
    assert (renamed.principals, renamed.conversations.names) == (["Ann", "Ben"], ["b:c1", "b:c2"])


def test_probabilities_of_regions_go_along_with_their_stages(tmp_path):
    def with_chances(*regions):
        world = one()
        del world["conversations"]["c1"]["turns"][1]["region"]
        world["conversations"]["c1"]["turns"][1]["region_probabilities"] = dict(zip(regions, (0.5, 0.25), strict=True))
        return world

    trace = opened(tmp_path, with_chances("aura", "evil"), one(), with_chances("evil", "calm"))
    stages = trace.stages("stated")
    rows = zip(stages.chance_stage, stages.chance_region, stages.chance_value, strict=True)
    assert [(stages.name(stage), stages.regions.names[region], float(value)) for stage, region, value in rows] == [
        ("a:c1/1", "aura", 0.5), ("a:c1/1", "evil", 0.25), ("c:c1/1", "evil", 0.5), ("c:c1/1", "calm", 0.25),
    ]  # fmt: skip
    assert [stages.regions.names[code] for code in stages.region[[1, 3, 5]]] == ["aura", "evil", "evil"]
    # A recording that lacks the labelling has neither regions nor probabilities in it.
    space = {"s": {"model": "m", "axes": ["x"], "regions": {"evil": {"x": [0, 1]}}}}
    mixed = opened(tmp_path, with_chances("aura", "evil"), {**one(), "spaces": space}).stages("s")
    assert (len(mixed.chance_stage), mixed.region.tolist()) == (0, [-1, -1, -1, -1])


def test_the_same_stem_twice_is_told_apart(tmp_path):
    (tmp_path / "x").mkdir()
    import json

    for folder in (tmp_path, tmp_path / "x"):
        (folder / "t.json").write_text(json.dumps(one()))
    trace = open_trace(tmp_path / "t.json", tmp_path / "x" / "t.json")
    assert [mind.id for mind in individuate(trace, "thread").minds] == ["t:c1/0", "t-2:c1/0"]


def test_importing_with_prefixes_counts_like_counting_together(tmp_path):
    worlds = [one({"name": "x"}), one({"name": "x"}, region="calm"), one({"name": "y"}, turns=4)]
    trace = opened(tmp_path, *worlds)
    recordings = [
        prefixed(facts_from_data(world, f"{name}.json"), name) for name, world in zip("abc", worlds, strict=True)
    ]
    save(tmp_path / "all.db", recordings)
    assert load(tmp_path / "all.db").conversations.names == ["a:c1", "b:c1", "c:c1"]
    for view in ("model", "physical-instance", "thread", "virtual-instance", "instance-persona", "model-persona"):
        stored, together = individuate(tmp_path / "all.db", view), individuate(trace, view)
        assert [mind.stages for mind in stored.minds] == [mind.stages for mind in together.minds]


def test_branches_stay_with_their_own_trace(tmp_path):
    branching = one()
    branching["conversations"]["c2"] = {"parent": "c1", "at": 1, "turns": [{"role": "assistant", "tokens": 1}]}
    trace = opened(tmp_path, branching, branching)
    assert individuate(trace, "thread").count == 2
    assert individuate(trace, "thread", branching="overlap").count == 4


def test_a_region_that_two_traces_draw_differently_is_pooled_by_name_and_said_to_be(tmp_path):
    def drawn(low, high):
        space = {"model": "m", "axes": ["x"], "regions": {"aura": {"x": [low, high]}}}
        turn = {"role": "assistant", "tokens": 1, "model": "m", "at": {"x": low}}
        return {
            "individuation": 1,
            "models": {"m": {}},
            "spaces": {"s": space},
            "conversations": {"c": {"turns": [turn]}},
        }

    def said(*worlds):
        result = individuate(opened(tmp_path, *worlds), "model-persona")
        return result.count, any("more than one way" in caveat for caveat in result.caveats)

    assert said(drawn(0, 1), drawn(5, 6)) == (1, True)
    assert said(drawn(0, 1), drawn(0, 1)) == (1, False)


def test_regions_of_two_models_are_not_said_to_be_drawn_in_two_ways(tmp_path):
    def space(model, low):
        return {"model": model, "axes": ["x"], "layer": low, "regions": {"aura": {"x": [low, low + 1]}}}

    turns = [{"role": "assistant", "tokens": 1, "model": model, "region": "aura"} for model in "mn"]
    world = {
        "individuation": 1,
        "models": {"m": {"digest": "sha256:1"}, "n": {"digest": "sha256:2"}},
        "spaces": {"of-m": space("m", 0), "of-n": space("n", 5)},
        "conversations": {"c": {"turns": turns}},
    }
    assert not any("more than one way" in caveat for caveat in individuate(world, "model-persona").caveats)
