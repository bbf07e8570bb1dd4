"""Claims of semantics.md one by one, on traces small enough to check by hand."""

import json
import os
import pickle
import threading

import pytest

from individuation import TraceError, individuate, open_trace
from traces.stages import LINKS


def trace(*turns, models=None, branches=None, **more):
    """One conversation `c` with these turns (fields of a turn; the first is on model m), and branches of it."""
    turns = [{"role": "user", "tokens": 1, **turn} for turn in turns]
    turns[0].setdefault("model", "m")
    conversations = {"c": {"turns": turns}}
    for name, (at, *own) in (branches or {}).items():
        own = [{"role": "user", "tokens": 1, **turn} for turn in own]
        conversations[name] = {"parent": "c", "at": at, "turns": own}
    models = models or {"m": {}, "n": {}}
    return open_trace({"individuation": 1, "models": models, "conversations": conversations, **more})


def links(opened):
    stages = opened.stages()
    return [LINKS[kind] if own >= 0 else None for kind, own in zip(stages.own_kind, stages.own, strict=True)]


# --- §2 and §3: stages and links


@pytest.mark.parametrize(
    ("first", "second", "own", "predecessor"),
    [
        ({"server": "a"}, {}, "attention", "attention"),
        ({"server": "a"}, {"server": "b"}, "rebuild", "rebuild"),
        ({"server": "a"}, {"server": None}, "unknown", "unknown"),
        ({}, {"server": "b"}, "unknown", "unknown"),
        ({}, {}, "unknown", "unknown"),
        ({"server": "a"}, {"model": "n"}, None, "transcript"),
        ({"server": "a"}, {"server": "b", "cache": "transferred"}, "transfer", "transfer"),
        ({"server": "a"}, {"cache": "rebuilt"}, "rebuild", "rebuild"),
        ({"server": "a"}, {"cache": "unknown"}, "unknown", "unknown"),
        ({}, {"cache": "retained"}, "attention", "attention"),
    ],
)
def test_the_link_to_a_stage_is_as_the_table_says(first, second, own, predecessor):
    opened = trace(first, second)
    assert links(opened) == [None, own]
    assert LINKS[opened.stages().previous_kind[1]] == predecessor


@pytest.mark.parametrize(("cache", "kind"), [(None, "rebuild"), ("retained", "attention"), ("unknown", "unknown")])
def test_after_another_model_the_own_link_comes_from_the_latest_stage_of_the_same_model(cache, kind):
    opened = trace({"server": "a"}, {"model": "n"}, {"model": "m", "cache": cache})
    stages = opened.stages()
    assert (stages.own.tolist(), links(opened)[2]) == ([-1, -1, 0], kind)
    assert LINKS[stages.previous_kind[2]] == "transcript"


def test_a_turn_is_one_stage_even_where_nothing_changes():
    assert [mind.stages for mind in individuate(trace({}, {}, {}), "model").minds] == [("c/0", "c/1", "c/2")]


def test_a_branch_at_0_shares_nothing():
    opened = trace({"server": "a"}, {}, branches={"d": (0, {"model": "m"})})
    assert opened.stages().previous.tolist() == [-1, 0, -1]
    assert individuate(opened, "thread").count == 2


def test_a_branch_may_be_listed_before_its_parent():
    turn = {"role": "user", "tokens": 1}
    data = {"individuation": 1, "models": {"m": {}}, "conversations": {
        "late": {"parent": "early", "at": 1, "turns": [turn]},
        "early": {"turns": [{**turn, "model": "m", "server": "a"}, turn]}}}  # fmt: skip
    result = individuate(data, "thread")
    assert result.minds[0].stages == ("early/0", "early/1", "late/0")
    # Both links to the branch point are attention; the tie goes to the stage of the same conversation.
    closest = individuate(data, "virtual-instance", branching="closest")
    assert [mind.stages for mind in closest.minds] == [("early/0", "early/1"), ("late/0",)]


CACHED = {
    "k0": {"model": "m", "server": "a", "how": "decoded"},
    "fork": {"model": "m", "server": "a", "from": "k0", "how": "decoded"},
    "filled": {"model": "m", "server": "b", "from": "k0", "how": "prefilled", "drift": 0.5},
    "moved": {"model": "m", "server": "b", "from": "k0", "how": "transferred", "drift": 0.25},
    "stored": {"model": "m", "server": "b", "from": "k0", "how": "restored"},
    "prefix": {"model": "m", "server": "a", "from": "k0", "how": "shared"},
    "changed": {"model": "m", "server": "a", "from": "k0", "how": "edited"},
}


@pytest.mark.parametrize(
    ("cache", "server", "kind", "edited"),
    [
        ("k0", "a", "attention", False),
        ("fork", "a", "attention", False),
        ("changed", "a", "attention", True),
        ("moved", "b", "transfer", False),
        ("stored", "b", "transfer", False),
        ("filled", "b", "rebuild", False),
        ("prefix", "a", "rebuild", False),
    ],
)
def test_a_recorded_cache_says_how_the_cache_came_along(cache, server, kind, edited):
    opened = trace({"server": "a", "kv": "k0"}, {"server": server, "kv": cache}, caches=CACHED)
    assert links(opened) == [None, kind]
    assert opened.stages().edited.tolist() == [False, edited]
    assert opened.stages().cache_known.tolist() == [False, True]


def test_the_recorded_drift_holds_unless_the_turn_has_its_own_or_nothing_was_recomputed():
    def drift(kv, **turn):
        return trace({"server": "a", "kv": "k0"}, {"server": "b", "kv": kv, **turn}, caches=CACHED).stages().drift[1]

    assert (drift("filled"), drift("filled", drift=0.125)) == (0.5, 0.125)
    same = trace({"server": "b", "kv": "filled"}, {"kv": "filled"}, caches=CACHED).stages()
    assert same.drift[1] != same.drift[1]  # NaN: goes on in place, so there is none


@pytest.mark.parametrize(
    ("turn", "found"),
    [
        ({"server": "a", "kv": "k0", "cache": "rebuilt"}, "its recorded cache k0 was retained"),
        ({"server": "b", "kv": "k0"}, "on server a, but the turn ran on another"),
    ],
)
def test_a_recorded_cache_that_contradicts_its_turn_is_refused(turn, found):
    with pytest.raises(TraceError, match=found):
        trace({"server": "a", "kv": "k0"}, turn, caches=CACHED).stages()


def test_a_recorded_cache_where_the_model_has_not_run_before_gives_no_link():
    for cache in ("moved", "filled", "stored"):
        assert links(trace({"server": "b", "kv": cache}, caches=CACHED)) == [None]


def test_a_shared_prefix_is_carried_by_no_view():
    shared = {
        "individuation": 1, "models": {"m": {}}, "conversations": {
            "c": {"turns": [{"role": "user", "tokens": 5, "model": "m", "server": "a"}]},
            "d": {"turns": [{"role": "user", "tokens": 5, "model": "m", "server": "a", "shared_from": "c/0"}]},
        },
    }  # fmt: skip
    assert open_trace(shared).stages().shared.tolist() == [-1, 0]
    assert {view: individuate(shared, view).count for view in ("thread", "virtual-instance")} == {
        "thread": 2, "virtual-instance": 2}  # fmt: skip
    passes = individuate(shared, "forward-pass")
    assert passes.count == 10
    assert any("shared by another conversation" in caveat for caveat in passes.caveats)


# --- §4: views and effective regions

A = {"role": "assistant", "region": "calm"}
B = {"role": "assistant", "region": "aura"}
NOWHERE = {"role": "assistant"}


def minds(opened, view="instance-persona", **readings):
    return [mind.stages for mind in individuate(opened, view, **readings).minds]


def test_words_that_lead_to_different_regions_are_in_none():
    opened = trace({"server": "a"}, A, branches={"d": (1, B)})
    result = individuate(opened, "model-persona")
    assert result.unassigned == ["c/0"]
    assert [mind.regions for mind in result.minds] == [("calm",), ("aura",)]


def test_words_that_nothing_follows_are_in_the_region_before():
    assert minds(trace({"server": "a"}, A, {}, {})) == [("c/0", "c/1", "c/2", "c/3")]


def test_words_in_no_region_break_a_run_where_the_persona_is_poised_but_not_where_it_is_intermittent():
    # c/1 leads to calm in c and to aura in d: no region, so calm does not go on across it.
    opened = trace({**A, "server": "a"}, {}, A, branches={"d": (2, B)})
    assert minds(opened) == [("c/0",), ("c/2",), ("d/0",)]
    assert minds(opened, user_turns="intermittent") == [("c/0", "c/2"), ("d/0",)]


def test_answers_of_one_region_to_the_same_words_are_one_run_of_one_branching_mind():
    opened = trace({"server": "a"}, A, branches={"d": (1, A), "e": (1, B)})
    assert minds(opened, user_turns="intermittent") == [("c/1", "d/0"), ("e/0",)]
    assert minds(opened, user_turns="intermittent", branching="end") == [("c/1",), ("d/0",), ("e/0",)]


def test_under_overlap_a_run_that_two_chains_share_as_a_whole_is_one_mind():
    opened = trace({**A, "server": "a"}, B, branches={"d": (1, B), "e": (1, A)})
    assert minds(opened, branching="overlap") == [("c/0",), ("c/0", "e/0"), ("c/1",), ("d/0",)]


def test_outside_last_keeps_the_last_region_of_the_same_model_on_the_path():
    opened = trace({**A, "server": "a"}, NOWHERE)
    assert individuate(opened, "model-persona").unassigned == ["c/1"]
    assert minds(opened, "model-persona", outside="last") == [("c/0", "c/1")]


def test_the_region_itself_is_counted_whether_stated_or_defined_entered_or_not():
    space = {"s": {"model": "m", "axes": ["x"], "regions": {"evil": {"x": [0, None]}, "calm": {"x": [None, -1]}}}}
    entered = trace({"server": "a"}, B, {"role": "assistant", "at": {"x": 3}}, spaces=space)
    result = individuate(entered, "abstract-model-persona")
    assert [mind.id for mind in result.minds] == ["m/aura", "m/evil", "m/calm"]
    assert (result.minds[2].stages, result.minds[2].first, result.minds[2].tokens) == ((), None, 0)


def test_a_space_holds_for_every_key_of_its_models_weights():
    models = {"m": {"digest": "1"}, "twin": {"digest": "1"}, "n": {}}
    space = {"s": {"model": "m", "axes": ["x"], "regions": {"evil": {"x": [0, None]}}}}
    there = {"role": "assistant", "at": {"x": 3}}
    opened = trace({**there, "server": "a"}, {**there, "model": "twin"}, models=models, spaces=space)
    result = individuate(opened, "model-persona")
    assert [mind.stages for mind in result.minds] == [("c/0", "c/1")]


def test_a_model_without_a_digest_joins_the_one_digest_that_bears_its_name():
    one = {"m": {"name": "x", "digest": "1"}, "n": {"name": "x"}}
    two = {**one, "o": {"name": "x", "digest": "2"}}
    turns = ({"server": "a"}, {"model": "n"})
    assert individuate(trace(*turns, models=one), "model").count == 1
    assert individuate(trace(*turns, models=two), "model").count == 2


def test_a_base_that_is_not_in_the_trace_stands_for_itself():
    models = {"m": {"base": "far/away"}, "n": {"base": "far/away"}}
    result = individuate(trace({}, {"model": "n"}, models=models), "model", weights="base")
    assert [(mind.id, mind.models) for mind in result.minds] == [("far/away", ("m", "n"))]


def test_passes_between_an_own_link_from_further_back_and_its_stage_count_even_if_the_cache_is_unknown():
    back = {"tokens": 3, "model": "m", "cache": "unknown"}
    opened = trace({"tokens": 5, "server": "a"}, {"tokens": 7, "model": "n"}, back)
    result = individuate(opened, "forward-pass")
    assert [stage["again"] for stage in result.per_stage()] == [0, 5, 7]
    assert ["last ran are taken to be processed again" in caveat for caveat in result.caveats] == [True]


# --- §6: what a result holds


def test_a_stage_that_holds_and_denies_the_same_contradicts_itself():
    result = individuate(trace({"believes": ["p", "not p"]}), "model")
    assert [(c.held_by, c.denied_by) for c in result.minds[0].contradictions] == [(("c/0",), ("c/0",))]


@pytest.mark.parametrize(
    ("view", "ids"),
    [
        ("model", ["m", "n"]),
        ("physical-instance", ["a/m", "a/n"]),
        ("thread", ["c/0"]),
        ("virtual-instance", ["c/0", "c/1"]),
        ("instance-persona", ["c/0", "c/1"]),
        ("model-persona", ["m/calm", "n/aura"]),
        ("abstract-model-persona", ["m/calm", "n/aura"]),
    ],
)
def test_a_mind_is_named_by_its_first_stage_or_by_its_key(view, ids):
    result = individuate(trace({**A, "server": "a"}, {**B, "model": "n"}), view)
    assert [mind.id for mind in result.minds] == ids


SPACE = {"s": {"model": "m", "axes": ["x"], "regions": {"calm": {"x": [0, None]}, "aura": {"x": [None, 0]}}}}
AT = {"role": "assistant", "at": {"x": 3}}
BY_NAME = "by name only"
CUT = {"reconstruction": "new", "unknown_cache": "cut"}


def discrete(value):
    return {"s": {**SPACE["s"], "discrete": value}}


@pytest.mark.parametrize(
    ("opened", "view", "readings", "said"),
    [
        (trace({"server": "a"}), "model", {}, []),
        (trace({"server": "a"}, {"model": "n"}), "model", {}, [BY_NAME]),
        (trace({}, models={"m": {"digest": "1"}}), "model", {}, []),
        (trace({}), "physical-instance", {}, ["no server was recorded for 1 of 1 stages"]),
        (
            trace({"server": "a"}, {"server": None}),
            "physical-instance",
            {},
            ["no server was recorded for 1 of 2 stages"],
        ),
        (trace({"server": "a"}, {}), "virtual-instance", {}, ["no cache information was recorded"]),
        (trace({"server": "a"}, {"cache": "retained"}), "virtual-instance", {}, []),
        (trace({}, {}), "virtual-instance", {}, ["no cache information", "the mind is taken to go on"]),
        (trace({}, {}), "virtual-instance", CUT, ["no cache information", "taken to end there"]),
        (trace({}, {"cache": "rebuilt"}), "virtual-instance", {"max_drift": 1}, ["the drift of 1 rebuild was not"]),
        (trace({}), "instance-persona", {}, ["no assistant stage is in a persona region"]),
        (trace(A), "model-persona", {}, ["regions are as stated in the trace; nothing in it shows"]),
        (trace(AT, spaces=SPACE), "model-persona", {}, ["discrete was not tested (Hypothesis 3"]),
        (trace(AT, spaces=discrete(True)), "model-persona", {}, []),
        (trace(AT, spaces=discrete(False)), "model-persona", {}, ["not shown to be discrete"]),
        (
            trace({**AT, "at": {"x": 0}}, spaces=SPACE),
            "instance-persona",
            {},
            ["more than one region", "was not tested"],
        ),
        (trace({"tokens": None}), "forward-pass", {}, ["no token count was recorded for 1 of 1 stages"]),
    ],
)
def test_a_caveat_says_what_the_count_rests_on_and_the_trace_does_not_give(opened, view, readings, said):
    caveats = individuate(opened, view, **readings).caveats
    assert len(caveats) == len(said), caveats
    assert all(part in caveat for part, caveat in zip(said, caveats, strict=True)), caveats


# --- several traces


def test_a_trace_that_lacks_the_named_labelling_has_no_regions_in_it(tmp_path):
    turns = [{"role": "assistant", "tokens": 1, "model": "m", "at": {"x": 3}}]
    with_space = {"individuation": 1, "models": {"m": {}}, "spaces": SPACE, "conversations": {"c": {"turns": turns}}}
    stated = [{"role": "assistant", "tokens": 1, "model": "m", "region": "calm"}]
    without = {"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": stated}}}
    for name, data in (("a", with_space), ("b", without)):
        (tmp_path / f"{name}.json").write_text(json.dumps(data))
    result = individuate(open_trace(tmp_path / "a.json", tmp_path / "b.json"), "model-persona", labelling="s")
    assert ([mind.stages for mind in result.minds], result.unassigned) == ([("a:c/0",)], ["b:c/0"])


@pytest.mark.parametrize(
    ("caches", "first", "second", "kind"),
    [
        ({"k1": {"how": "decoded"}, "k2": {"how": "decoded"}}, "k1", "k2", "unknown"),
        ({"k1": {"how": "decoded"}, "k2": {"how": "decoded"}}, None, "k2", "unknown"),
        (
            {"k1": {"how": "decoded"}, "k9": {"how": "decoded"}, "k2": {"how": "transferred", "from": "k9"}},
            "k1",
            "k2",
            "unknown",
        ),
        (
            {
                "k1": {"how": "decoded"},
                "j": {"how": "transferred", "from": "k1"},
                "k2": {"how": "decoded", "from": "j"},
            },
            "k1",
            "k2",
            "transfer",
        ),
        (
            {
                "k1": {"how": "decoded"},
                "j": {"how": "prefilled", "from": "k1"},
                "k2": {"how": "transferred", "from": "j"},
            },
            "k1",
            "k2",
            "rebuild",
        ),
        (
            {"k1": {"how": "decoded"}, "j": {"how": "prefilled"}, "k2": {"how": "decoded", "from": "j"}},
            "k1",
            "k2",
            "rebuild",
        ),
        ({"k1": {"how": "decoded"}, "k2": {"how": "prefilled"}}, "k1", "k2", "rebuild"),
    ],
)
def test_a_recorded_cache_is_never_guessed_to_go_on(caches, first, second, kind):
    turns = ({"server": "a", **({"kv": first} if first else {})}, {"kv": second})
    opened = trace(*turns, caches={name: {"model": "m", **cache} for name, cache in caches.items()})
    assert links(opened) == [None, kind]


@pytest.mark.parametrize(("start", "marked"), [(5, True), (3, False), (None, True)])
def test_an_edit_on_the_way_marks_a_link_unless_it_lies_behind_what_the_turn_builds_on(start, marked):
    spans = [
        {"start": 0, "end": 3, "how": "shared", "from": "k1"},
        {"start": 3, "end": 6, "how": "edited", "from": "k1"},
    ]
    caches = {
        "k1": {"model": "m", "how": "decoded"},
        "k2": {"model": "m", "how": "edited", "from": "k1", "spans": spans},
        "k3": {"model": "m", "how": "decoded", "from": "k2"},
    }
    second = {"kv": "k3"} if start is None else {"kv": "k3", "start": start}
    opened = trace({"server": "a", "kv": "k1"}, second, caches=caches)
    assert opened.stages().edited.tolist() == [False, marked]


def test_a_conversation_may_go_back_to_the_server_whose_cache_it_used_before():
    caches = {
        "k1": {"model": "m", "server": "a", "how": "decoded"},
        "k2": {"model": "m", "server": "b", "how": "prefilled", "from": "k1"},
    }
    turns = ({"server": "a", "kv": "k1"}, {"server": "b", "kv": "k2"}, {"server": "a", "kv": "k1"})
    assert links(trace(*turns, caches=caches)) == [None, "rebuild", "unknown"]


def test_errors_come_back_from_another_process():
    with pytest.raises(TraceError) as error:
        individuate(trace({}), "thred")
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)


def test_a_trace_can_be_read_from_a_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text = '{"individuation": 1, "models": {"m": {}}, "conversations": {}}'
    writer = threading.Thread(target=pipe.write_text, args=(text,))
    writer.start()
    assert open_trace(pipe).stages().models == ["m"]
    writer.join()


def test_ids_of_pooled_minds_are_unique_whatever_the_names():
    turns = ({"server": "a", "model": "b/c"}, {"server": "a/b", "model": "c"})
    opened = trace(*turns, models={"b/c": {}, "c": {}})
    assert [mind.id for mind in individuate(opened, "physical-instance").minds] == ["a/b/c", "a/b/c (2)"]
