"""The laws of semantics.md, section 7, on random traces with branches, unknown caches, edits and drifts."""

import copy
import itertools
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from worlds import worlds

from individuation import individuate, open_trace
from rules.registry import VIEWS
from rules.view import Cover, Partition

COMBINABLE = {
    "reconstruction": ["same", "new"],
    "unknown_cache": ["carry", "cut"],
    "edits": ["carry", "cut"],
    "max_drift": [None, 0.01],
}
PERSONA = {"user_turns": ["poised", "intermittent"], "outside": ["none", "last"]}
BRANCHING = ["one", "overlap", "end", "closest"]

thorough = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def readings(**choices):
    return st.fixed_dictionaries({name: st.sampled_from(values) for name, values in choices.items()})


def mind_of(trace, view, **chosen):
    """The number of the mind of each assigned stage."""
    result = individuate(trace, view, **chosen)
    assert isinstance(result.verdict, Partition)
    numbers = result.verdict.mind.tolist()
    return {stage: mind for stage, mind in enumerate(numbers) if mind >= 0}


def refines(finer, coarser):
    """Every mind of the first lies within one mind of the second, on the stages that both assign."""
    within = {}
    return all(
        within.setdefault(mind, coarser[stage]) == coarser[stage] for stage, mind in finer.items() if stage in coarser
    )


def counts(world, branching="one"):
    """The count of every view under every combination of the readings that matter to it (one value for each in turn)."""
    trace = open_trace(world)
    found = {}
    for view in VIEWS.values():
        names = [reading.name for reading in view.readings]
        varied = [COMBINABLE.get(n) or PERSONA.get(n) or (["new", "same"] if n == "recurrence" else []) for n in names]
        for values in itertools.product(*([v[0], *v[1:]] if v else [None] for v in varied)):
            chosen = {n: v for n, v, options in zip(names, values, varied, strict=True) if options}
            if "branching" in names:
                chosen["branching"] = branching
            if chosen.get("recurrence") == "same" and branching == "overlap":
                continue
            result = individuate(trace, view, **chosen)
            found[view.name, tuple(chosen.items())] = result.count
    return found


@thorough
@given(worlds(), readings(**COMBINABLE))
def test_law_1_virtual_instances_refine_by_reconstruction_and_lie_in_threads_and_models(world, chosen):
    trace = open_trace(world)
    new = mind_of(trace, "virtual-instance", **{**chosen, "reconstruction": "new"})
    same = mind_of(trace, "virtual-instance", **{**chosen, "reconstruction": "same"})
    thread = mind_of(trace, "thread")
    model = mind_of(trace, "model")
    assert refines(new, same)
    assert refines(same, thread)
    assert refines(new, model)
    assert refines(same, model)


@thorough
@given(worlds(), readings(**COMBINABLE, **PERSONA))
def test_law_2_instance_personas_lie_in_virtual_instances_and_in_model_personas(world, chosen):
    trace = open_trace(world)
    new = mind_of(trace, "instance-persona", **chosen, recurrence="new")
    same = mind_of(trace, "instance-persona", **chosen, recurrence="same")
    instance = mind_of(trace, "virtual-instance", **{n: chosen[n] for n in COMBINABLE})
    persona = mind_of(trace, "model-persona", **{n: chosen[n] for n in PERSONA})
    assert refines(new, same)
    assert refines(same, instance)
    assert refines(same, persona)
    assert refines(persona, mind_of(trace, "model"))
    assert set(new) == set(same) == set(persona)


@given(worlds())
def test_law_3_physical_instances_lie_in_models(world):
    trace = open_trace(world)
    assert refines(mind_of(trace, "physical-instance"), mind_of(trace, "model"))


@thorough
@given(worlds(), readings(**COMBINABLE, **PERSONA), st.sampled_from(["virtual-instance", "instance-persona", "thread"]))
def test_law_3_a_branching_result_says_that_refinement_may_fail_under_end_and_closest(world, chosen, view):
    trace = open_trace(world)
    known = {reading.name for reading in VIEWS[view].readings}
    chosen = {name: value for name, value in chosen.items() if name in known}
    for branching in ("end", "closest"):
        result = individuate(trace, view, **chosen, branching=branching)
        warned = any("only x and y" in caveat for caveat in result.caveats)
        assert warned == result.stages.branches


def test_law_3_refinement_fails_under_closest_where_whether_two_stages_are_one_mind_depends_on_a_third():
    # With rebuilds carrying, the retained branch is the closest continuer of the trunk; the trunk's other child, rebuilt,
    # begins a new mind. Where they do not carry there is one child, and nothing is cut: `end` loses what it had.
    turns = [{"role": "user", "tokens": 1, "model": "m", "server": "a"}]
    world = {
        "individuation": 1,
        "models": {"m": {}},
        "conversations": {
            "trunk": {"turns": [*turns, {"role": "assistant", "tokens": 1}]},
            "other": {"parent": "trunk", "at": 1, "turns": [{"role": "assistant", "tokens": 1, "server": "b"}]},
        },
    }
    trace = open_trace(world)
    new = mind_of(trace, "virtual-instance", reconstruction="new", branching="end")
    same = mind_of(trace, "virtual-instance", reconstruction="same", branching="end")
    assert not refines(new, same)


@thorough
@given(worlds(), readings(**COMBINABLE, **PERSONA))
def test_law_4_a_partition_assigns_every_stage_once_and_a_cover_says_that_it_is_not_transitive(world, chosen):
    trace = open_trace(world)
    for view in VIEWS.values():
        known = {reading.name for reading in view.readings}
        mine = {name: value for name, value in chosen.items() if name in known}
        for branching in BRANCHING if "branching" in known else [None]:
            result = individuate(trace, view, **mine, **({"branching": branching} if branching else {}))
            listed = [stage for mind in result.minds for stage in mind.stages]
            names = {result.stages.name(i) for i in range(len(result.stages))}
            if view.name == "forward-pass":
                continue
            assert set(listed) | set(result.unassigned) == names
            assert not set(listed) & set(result.unassigned)
            if isinstance(result.verdict, Cover):
                shared = len(listed) > len(set(listed))
                assert not shared or any("not transitive" in caveat for caveat in result.caveats)
            else:
                assert len(listed) == len(set(listed))


def test_law_4_under_overlap_being_of_the_same_mind_is_not_transitive():
    result = individuate(
        {
            "individuation": 1,
            "models": {"m": {}},
            "conversations": {
                "c1": {"turns": [{"role": "user", "tokens": 1, "model": "m", "server": "a"}, {"role": "assistant"}]},
                "c2": {"parent": "c1", "at": 1, "turns": [{"role": "assistant", "tokens": 1}]},
            },
        },
        "virtual-instance",
        branching="overlap",
    )
    assert [mind.id for mind in result.minds] == ["c1/0..c1/1", "c1/0..c2/0"]
    together = [set(mind.stages) for mind in result.minds]
    assert any({"c1/0", "c1/1"} <= mind for mind in together)
    assert any({"c1/0", "c2/0"} <= mind for mind in together)
    assert not any({"c1/1", "c2/0"} <= mind for mind in together)


@given(worlds(one_region=True), readings(**PERSONA))
def test_law_5_if_a_model_has_one_region_model_persona_counts_one_mind_for_it(world, chosen):
    trace = open_trace(world)
    result = individuate(trace, "model-persona", **chosen)
    stages = result.stages
    assert result.count == len(np.unique(stages.model[stages.assistant]))


def split(world, conversation, turn):
    """The same trace with one turn written as two, a retained cache between them."""
    world = copy.deepcopy(world)
    entries = world["conversations"][conversation]["turns"]
    first, second = entries[turn], copy.deepcopy(entries[turn])
    for field in ("cache", "edited", "drift", "believes", "model", "server", "shared_from"):
        second.pop(field, None)
    second["cache"] = "retained"
    if first.get("tokens") is not None:
        first["tokens"], second["tokens"] = first["tokens"] - 1, 1
    entries.insert(turn + 1, second)
    position = start_of(world, conversation) + turn
    for name, other in world["conversations"].items():
        if "parent" in other and on_path(world, name, conversation, position):
            other["at"] += 1
        for entry in other["turns"]:
            origin, _, ordinal = entry.get("shared_from", "/").rpartition("/")
            if origin == conversation and int(ordinal) > turn:
                entry["shared_from"] = f"{origin}/{int(ordinal) + 1}"
    return world


def start_of(world, conversation):
    return world["conversations"][conversation].get("at", 0)


def on_path(world, name, ancestor, position):
    """Whether a branch takes over the turn of an ancestor that stands at a position of its path."""
    reach = start_of(world, name)
    while name != ancestor:
        name = world["conversations"][name].get("parent")
        if name is None:
            return False
        if name != ancestor:
            reach = min(reach, start_of(world, name))
    return reach > position


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(worlds(max_conversations=3, max_turns=4), st.data(), st.sampled_from(BRANCHING))
def test_law_6_splitting_a_stage_with_a_retained_link_changes_no_count(world, data, branching):
    places = [
        (c, k) for c, it in world["conversations"].items() for k, t in enumerate(it["turns"]) if t.get("tokens") != 1
    ]
    assume(places)
    conversation, turn = data.draw(st.sampled_from(places))
    assert counts(split(world, conversation, turn), branching) == counts(world, branching)


def renamed(world):
    """The same trace under other ids, all of a different length and order of letters."""
    models = {name: f"weights {i}" for i, name in enumerate(reversed(world["models"]))}
    servers = {name: f"rack {i}" for i, name in enumerate(reversed(world["servers"]))}
    conversations = {name: f"talk {i}" for i, name in enumerate(reversed(world["conversations"]))}
    world = copy.deepcopy(world)
    world["models"] = {
        models[key]: {**model, "name": model.get("name", key), **({"base": models.get(model["base"], model["base"])} if model.get("base") else {})}
        for key, model in world["models"].items()
    }  # fmt: skip
    world["servers"] = [servers[name] for name in world["servers"]]
    for space in world.get("spaces", {}).values():
        space["model"] = models.get(space["model"], space["model"])
    renamed_conversations = {}
    for name, conversation in world["conversations"].items():
        if "parent" in conversation:
            conversation["parent"] = conversations[conversation["parent"]]
        for turn in conversation["turns"]:
            if turn.get("model") is not None:
                turn["model"] = models[turn["model"]]
            if turn.get("server") is not None:
                turn["server"] = servers[turn["server"]]
            if "shared_from" in turn:
                origin, _, ordinal = turn["shared_from"].rpartition("/")
                turn["shared_from"] = f"{conversations[origin]}/{ordinal}"
        renamed_conversations[conversations[name]] = conversation
    world["conversations"] = renamed_conversations
    return world


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(worlds(max_conversations=3, max_turns=4), st.sampled_from(BRANCHING))
def test_law_6_renaming_ids_changes_no_count(world, branching):
    assert counts(renamed(world), branching) == counts(world, branching)


@given(worlds())
def test_the_same_input_gives_the_same_bytes(world):
    def everything():
        trace = open_trace(copy.deepcopy(world))
        return json.dumps([individuate(trace, view).to_dict() for view in VIEWS])

    assert everything() == everything()


@given(worlds(), readings(**COMBINABLE), st.sampled_from(BRANCHING))
def test_minds_are_listed_in_order_of_first_appearance_with_unique_ids_and_labels(world, chosen, branching):
    trace = open_trace(world)
    for view, more in [("virtual-instance", {**chosen, "branching": branching}), ("model-persona", {}), ("thread", {})]:
        result = individuate(trace, view, **more)
        rows = {result.stages.name(i): i for i in range(len(result.stages))}
        firsts = [rows[mind.first] for mind in result.minds]
        assert firsts == sorted(firsts)
        assert len({mind.id for mind in result.minds}) == len(result.minds)
        assert len({mind.label for mind in result.minds}) == len(result.minds)


@given(worlds())
def test_what_a_mind_sums_up_is_what_its_stages_hold(world):
    trace = open_trace(world)
    for view, more in [("virtual-instance", {"branching": "overlap"}), ("instance-persona", {}), ("model", {})]:
        result = individuate(trace, view, **more)
        stages = result.stages
        rows = {stages.name(i): i for i in range(len(stages))}
        for mind in result.minds:
            mine = [rows[name] for name in mind.stages]
            tokens = [int(stages.tokens[row]) for row in mine]
            spoken = [int(stages.tokens[row]) for row in mine if stages.assistant[row]]
            assert mind.tokens == (None if -1 in tokens else sum(tokens))
            assert mind.assistant_tokens == (None if -1 in spoken else sum(spoken))
            assert mind.conversations == tuple(
                dict.fromkeys(stages.conversations[stages.conversation[r]] for r in mine)
            )
            assert mind.models == tuple(dict.fromkeys(stages.models[stages.model[r]] for r in mine))
            assert mind.servers == tuple(
                dict.fromkeys(stages.servers[stages.server[r]] for r in mine if stages.server[r] >= 0)
            )
            held = {(stages.proposition_names[p], bool(h)) for s, p, h in zip(stages.belief_stage.tolist(), stages.belief_proposition.tolist(), stages.belief_holds.tolist(), strict=True) if s in mine}  # fmt: skip
            contradicted = {p for p, holds in held if holds and (p, False) in held}
            assert {c.proposition for c in mind.contradictions} == contradicted


@pytest.mark.parametrize("branching", BRANCHING)
def test_regenerating_an_answer_is_counted_as_each_reading_of_branches_says(branching):
    world = {
        "individuation": 1,
        "models": {"m": {}},
        "conversations": {
            "c1": {"turns": [{"role": "user", "tokens": 1, "model": "m", "server": "a"}, {"role": "assistant"}]},
            "c2": {"parent": "c1", "at": 1, "turns": [{"role": "assistant", "tokens": 1}]},
        },
    }
    assert (
        individuate(world, "thread", branching=branching).count
        == {"one": 1, "overlap": 2, "end": 3, "closest": 2}[branching]
    )
