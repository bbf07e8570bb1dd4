"""Explanations: they agree with the views, they can be checked, and a false one does not pass."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import alternatives, random_world, worlds

from individuation import TraceError, individuate, open_trace, why
from individuation.criteria import find_view
from individuation.reasons import Chain, Cut, Fork, Missing, Passes, Reach, SharedKey, Span
from individuation.sharing import sharing, sharing_holds
from individuation.telling import told_sharing
from rules.readings import complete
from rules.registry import VIEWS


def some_readings(rng, view):
    """Admissible readings of a view, any of them."""
    while True:
        chosen = {r.name: rng.choice([r.default, *alternatives(r, r.default)]) for r in view.readings}
        try:
            return complete(view.readings, chosen, view.name)
        except TraceError:
            continue


def explanations(seed, how_many, views=None):
    """Explanations of random pairs of stages on random traces, under random views and readings."""
    rng = random.Random(seed)
    while how_many > 0:
        trace = open_trace(random_world(rng, recorded=True))
        stages = trace.stages()
        for view in views or VIEWS.values():
            readings = some_readings(rng, view)
            a, b = (stages.name(rng.randrange(len(stages))) for _ in range(2))
            yield trace, view, readings, why(trace, a, b, view, **readings)
            how_many -= 1


def test_every_explanation_of_1000_random_pairs_verifies_and_says_what_the_view_says():
    views = [*VIEWS.values(), *(find_view(f"examples/views/{name}.toml") for name in ("collective", "lineage"))]
    seen = set()
    for trace, view, readings, found in explanations(3, 1000, views):
        assert found.verify(trace), found
        seen.add(type(found.evidence))
        if view.name == "forward-pass":
            continue
        minds = individuate(trace, view, **readings).minds
        assert found.same == any(found.a in mind.stages and found.b in mind.stages for mind in minds)
    assert seen >= {Chain, Cut, SharedKey, Missing, Passes, Fork}


def mutations(value):
    """Every way to change one thing in a piece of evidence so that it says something else."""
    if isinstance(value, bool):
        yield not value
    elif value is None:
        yield "elsewhere"
    elif isinstance(value, str):
        yield value + "x"
    elif isinstance(value, int | float):
        yield value + 1
    elif isinstance(value, tuple):
        for number, item in enumerate(value):
            yield (*value[:number], *value[number + 1 :])
            for other in mutations(item):
                yield (*value[:number], other, *value[number + 1 :])
        if value:
            yield (*value, value[-1])
    elif isinstance(value, dict):
        for key, item in value.items():
            yield {k: v for k, v in value.items() if k != key}
            for other in mutations(item):
                yield {**value, key: other}
    elif dataclasses.is_dataclass(value):
        for item in dataclasses.fields(value):
            for other in mutations(getattr(value, item.name)):
                yield dataclasses.replace(value, **{item.name: other})


def mutated(found):
    for field in ("a", "b", "view", "definition", "source", "evidence", "otherwise"):
        for other in mutations(getattr(found, field)):
            yield field, dataclasses.replace(found, **{field: other})
    yield "same", dataclasses.replace(found, same=not found.same)


def test_no_explanation_with_one_thing_changed_verifies():
    tried = 0
    for trace, _, _, found in explanations(5, 60):
        for field, other in mutated(found):
            if field == "otherwise" and len(other.otherwise) < len(found.otherwise):
                # To say less of what would turn the answer round is not false.
                continue
            tried += 1
            assert not other.verify(trace), (field, found, other.evidence, other.otherwise)
    assert tried > 2000


def test_an_explanation_does_not_hold_of_a_trace_that_differs_in_what_it_names(cases):
    found = why(str(cases / "gage.yaml"), "c1/1", "c1/3", "instance-persona")
    assert found.verify(str(cases / "gage.yaml"))
    assert not found.verify(str(cases / "three-cities.yaml"))
    assert not found.verify(str(cases / "mood.yaml"))


@given(worlds(), st.data())
def test_being_the_same_mind_is_symmetric_and_every_stage_is_the_same_as_itself_where_it_belongs_to_one(world, data):
    trace = open_trace(world)
    stages = trace.stages()
    view = data.draw(st.sampled_from([view for view in VIEWS.values() if view.name != "forward-pass"]))
    a, b = (stages.name(data.draw(st.integers(0, len(stages) - 1))) for _ in range(2))
    there, back = why(trace, a, b, view), why(trace, b, a, view)
    assert there.same == back.same
    if isinstance(there.evidence, Cut):
        assert len(there.evidence.separators) == len(back.evidence.separators)
    itself = why(trace, a, a, view)
    assert itself.same == (not isinstance(itself.evidence, Missing))


@given(worlds())
def test_a_cut_is_the_least_there_is(world):
    """By brute force: the links named separate the two stages, and no set of barred links with one fewer does."""
    import networkx as nx

    trace = open_trace(world)
    stages = trace.stages()
    view = VIEWS["virtual-instance"]
    for a in range(0, len(stages), 3):
        found = why(trace, stages.name(0), stages.name(a), view, reconstruction="new")
        if not isinstance(found.evidence, Cut):
            continue
        graph = nx.MultiGraph()
        graph.add_nodes_from(range(len(stages)))
        from rules.bars import Judge

        judge = Judge(stages, view.declaration, view.settled({"reconstruction": "new"}))
        for row in range(len(stages)):
            for link in judge.links_to(row):
                graph.add_edge(link.origin, link.stage, barred=bool(judge.bars(link)))
        named = [(stages.find(fact.origin), stages.find(fact.stage)) for fact in found.evidence.separators]
        barred = [(u, v, key) for u, v, key, data in graph.edges(keys=True, data=True) if data["barred"]]
        between = {frozenset(ends) for ends in named}
        cut = [edge for edge in barred if frozenset(edge[:2]) in between]
        assert len(cut) == len(named)
        assert _separate(graph, cut, 0, a)
        fewer = itertools.combinations(barred, max(len(named) - 1, 0)) if named else ()
        assert not any(_separate(graph, chosen, 0, a) for chosen in fewer)


def _separate(graph, links, a, b):
    import networkx as nx

    rest = graph.copy()
    rest.remove_edges_from(links)
    return not nx.has_path(rest, a, b)


def test_three_cities_told_as_the_paper_tells_them(cases):
    file = str(cases / "three-cities.yaml")
    same = str(why(file, "c1/1", "c1/3", "virtual-instance"))
    assert same.startswith("Same mind")
    assert "the cache was recomputed from the transcript" in same
    assert "reconstruction=new (§2.3" in same
    new = why(file, "c1/1", "c1/3", "virtual-instance", reconstruction="new")
    assert [link.bars[0].cause for link in new.evidence.way] == ["reconstruction", "reconstruction"]
    assert len(new.evidence.separators) == 1


def test_a_returning_model_is_cut_off_at_both_ends_of_the_other_models_turns(cases):
    found = why(str(cases / "router-return.yaml"), "c1/1", "c1/3", "virtual-instance")
    assert sorted((link.origin, link.stage, link.kind) for link in found.evidence.separators) == [
        ("c1/1", "c1/2", "transcript"), ("c1/3", "c1/4", "transcript"),
    ]  # fmt: skip


def test_across_gages_shift_the_two_minds_share_attention_links(cases):
    result = individuate(str(cases / "gage.yaml"), "instance-persona")
    found = sharing(result, 0, 1)
    assert [(link.origin, link.stage, link.kind) for link in found.links] == [("c1/1", "c1/2", "attention")]
    assert (found.first_reaches, found.second_reaches) == (Reach(attending=4, attended=2), Reach(0, 0))
    assert "already connected" in " ".join(told_sharing(found))


@given(worlds(), st.sampled_from(["virtual-instance", "instance-persona", "thread"]))
def test_what_two_minds_share_can_be_checked_and_a_false_account_fails(world, view):
    result = individuate(open_trace(world), view, **({"branching": "overlap"} if view == "thread" else {}))
    if len(result.minds) < 2:
        return
    found = sharing(result, 0, 1)
    assert sharing_holds(found, result.stages)
    assert not sharing_holds(dataclasses.replace(found, first_reaches=Reach(99, 1)), result.stages)
    assert not sharing_holds(dataclasses.replace(found, links=(*found.links, *found.links[:1], None)), result.stages)


def test_evidence_is_plain_data(cases):
    found = why(str(cases / "kv-edit.yaml"), "c1/1", "c1/3", "instance-persona", edits="cut")
    data = json.loads(json.dumps(found.to_dict()))
    assert data["evidence"]["is"] == "Cut"
    assert {cause["cause"] for link in data["evidence"]["separators"] for cause in link["bars"]} == {"region", "edits"}


def test_a_stage_that_is_not_there_is_named(cases):
    with pytest.raises(TraceError, match="c1/99"):
        why(str(cases / "gage.yaml"), "c1/1", "c1/99", "thread")


def test_a_view_that_declares_nothing_is_explained_by_its_rule(cases):
    from rules.view import Partition, View

    view = View(
        name="by-role",
        definition="the same role",
        source="a test",
        rule=lambda stages, readings: Partition.by_key(stages.role.astype("int64")),
        label="{conversation}",
    )
    trace = open_trace(str(cases / "gage.yaml"))
    found = why(trace, "c1/0", "c1/2", view)
    assert found.same
    assert found.verify(trace)
    assert not dataclasses.replace(found, same=False).verify(trace)


def test_names_with_line_breaks_or_markup_do_not_reach_a_notebook_raw():
    world = {
        "individuation": 1,
        "models": {"m": {}},
        "conversations": {"<script>": {"turns": [{"role": "user", "model": "m"}, {"role": "assistant"}]}},
    }
    html = why(world, "<script>/0", "<script>/1", "thread")._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def branching():
    """A stage with two stages after it, each computed anew."""
    turn = {"role": "assistant", "tokens": 1, "server": "b", "cache": "rebuilt"}
    return {
        "individuation": 1,
        "models": {"m": {}},
        "conversations": {
            "c": {"turns": [{"role": "user", "model": "m", "server": "a", "tokens": 1}, turn]},
            "d": {"parent": "c", "at": 1, "turns": [turn]},
        },
    }


def test_a_way_that_turns_back_on_itself_proves_no_fork():
    trace = open_trace(branching())
    same = why(trace, "c/0", "c/1", "virtual-instance", branching="overlap")
    assert same.same
    link, (a, b) = same.evidence.links[0], same.evidence.stages
    false = Fork(links=(link, link, link), at="c/0", stages=(b, a, b, a))
    assert not dataclasses.replace(same, a="c/1", b="c/0", same=False, evidence=false).verify(trace)


def test_a_cut_that_is_not_the_least_does_not_verify():
    trace = open_trace(branching())
    found = why(trace, "c/0", "c/1", "virtual-instance", reconstruction="new")
    other = why(trace, "c/0", "d/0", "virtual-instance", reconstruction="new")
    both = (*found.evidence.separators, *other.evidence.separators)
    wide = dataclasses.replace(found.evidence, separators=both, side=(Span("c", 0, 0),))
    assert found.verify(trace)
    assert not dataclasses.replace(found, evidence=wide).verify(trace)


def test_a_view_in_the_dress_of_another_does_not_verify(cases):
    trace = open_trace(str(cases / "router.yaml"))
    real, thread = VIEWS["virtual-instance"], VIEWS["thread"]
    dressed = dataclasses.replace(thread, name=real.name, definition=real.definition, source=real.source)
    found = why(trace, "c1/0", "c1/3", dressed)
    assert found.same
    assert not found.verify(trace)
    assert found.to_dict()["declaration"]["follow"] == "previous"


def test_what_would_turn_the_answer_round_is_said_once(cases):
    trace = open_trace(branching() | {"conversations": {"c": {"turns": [
        {"role": "user", "model": "m", "server": "a"},
        {"role": "assistant", "server": "b", "cache": "rebuilt", "drift": 0.25},
    ]}}})  # fmt: skip
    found = why(trace, "c/0", "c/1", "virtual-instance")
    assert [(other.reading, other.value) for other in found.otherwise] == [
        ("reconstruction", "new"),
        ("max_drift", 0.0),
    ]
    twice = dataclasses.replace(found.otherwise[1], value="0.00")
    for false in ((*found.otherwise, twice), (dataclasses.replace(found.otherwise[1], value="0"),)):
        assert not dataclasses.replace(found, otherwise=false).verify(trace)


def test_only_the_link_that_separates_is_said_to():
    turns = [
        {"role": "user", "model": "m", "server": "s"}, {"role": "assistant", "server": "s2"},
        {"role": "user", "model": "n"}, {"role": "assistant", "model": "m"},
    ]  # fmt: skip
    world = {"individuation": 1, "models": {"m": {}, "n": {}}, "conversations": {"c": {"turns": turns}}}
    found = why(world, "c/0", "c/3", "virtual-instance", reconstruction="new")
    assert sum(not link.carries for link in found.evidence.way) == 2
    assert "The link c/0 -> c/1 is enough to separate them" in str(found)


def test_minds_that_draw_on_each_other_are_said_to_in_both_directions(cases):
    result = individuate(str(cases / "aura-and-back.yaml"), "instance-persona", recurrence="same")
    found = sharing(result, 0, 1)
    assert (found.first_reaches, found.second_reaches) == (Reach(2, 2), Reach(2, 2))
    assert sum("attend to keys and values" in line for line in told_sharing(found)) == 2


def test_a_shared_prefix_is_something_that_two_minds_share():
    turns = [{"role": "user", "model": "m", "server": "s"}, {"role": "assistant"}]
    shared = [{"role": "user", "model": "m", "server": "s", "shared_from": "a/1"}, {"role": "assistant"}]
    world = {"individuation": 1, "models": {"m": {}}, "conversations": {"a": {"turns": turns}, "b": {"turns": shared}}}
    assert sharing(individuate(world, "virtual-instance"), 0, 1).first_reaches == Reach(attending=2, attended=2)


def test_a_long_way_with_many_bars_is_not_told_step_by_step():
    turns = [{"role": "user", "model": "m", "server": f"s{n % 2}"} for n in range(3000)]
    world = {"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": turns}}}
    found = why(world, "c/0", "c/2999", "virtual-instance", reconstruction="new")
    assert len(found.evidence.way) == 2999
    assert len(str(found).splitlines()) < 60
    assert "more steps" in str(found)


def test_a_branching_as_wide_as_a_street_is_explained_all_the_same():
    branch = {"parent": "c", "at": 1, "turns": [{"role": "assistant"}]}
    conversations = {"c": {"turns": [{"role": "user", "model": "m", "server": "s"}]}}
    world = {
        "individuation": 1,
        "models": {"m": {}},
        "conversations": conversations | {f"b{n}": branch for n in range(1500)},
    }
    trace = open_trace(world)
    for how, same in (("one", True), ("overlap", False), ("end", False), ("closest", False)):
        found = why(trace, "b1/0", "b2/0", "virtual-instance", branching=how)
        assert found.same is same
        assert found.verify(trace)


def test_stages_of_several_recordings_can_be_asked_about(run, cases):
    files = [str(cases / f"{name}.yaml") for name in ("gage", "mood")]
    text = run("why", *files, "gage:c1/1", "mood:c1/1", "-v", "model-persona").stdout
    assert "gage:c1/1" in text
    assert "mood:c1/1" in text


# --- the command


def test_without_a_view_the_command_answers_under_every_view(run, cases):
    text = run("why", str(cases / "gage.yaml"), "c1/1", "c1/3").stdout
    for view in VIEWS.values():
        assert f"\n{view.name}: same mind iff {view.definition} ({view.source})\n" in text
    assert (
        "4 stages of evil of wren in c1 attend to keys and values computed in 2 stages of assistant of wren in c1"
        in text
    )


def test_minds_can_be_named_instead_of_stages(run, cases):
    words = ["why", str(cases / "gage.yaml"), "-v", "instance-persona"]
    by_label = run(*words, "assistant of wren in c1", "evil of wren in c1").stdout
    by_stage = run(*words, "c1/0", "c1/2").stdout
    assert by_label == by_stage
    assert "already connected to the other's mental life (§4.2)" in by_label


def test_json_has_everything_and_can_be_read(run, cases):
    file = str(cases / "gage.yaml")
    data = json.loads(run("why", file, "c1/1", "c1/3", "-v", "instance-persona", "-f", "json").stdout)
    found = why(file, "c1/1", "c1/3", "instance-persona")
    assert data["evidence"] == json.loads(json.dumps(found.to_dict()))["evidence"]
    assert data["sharing"]["first_reaches"] == {"is": "Reach", "attending": 4, "attended": 2}
    assert len(json.loads(run("why", file, "c1/1", "c1/3", "-f", "json").stdout)) == len(VIEWS)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["c1/1", "c1/99"], '"c1/99"'),
        (["c1/1", "nobody"], '"nobody"'),
        (["c1/1", "c1/3", "-v", "thred"], 'did you mean "thread"'),
        (["c1/1", "c1/3", "-v", "thread", "-r", "edits=cut"], 'no reading "edits"'),
        (["c1/1", "c1/3", "-r", "edits"], "NAME=VALUE"),
        (["c1/1", "c1/3", "-r", "edits=maybe"], '"maybe"'),
        (["c1/1", "c1/3", "--labelling", "none"], 'no labelling "none"'),
    ],
)
def test_what_cannot_be_asked_is_refused(words, said, run, cases):
    result = run("why", str(cases / "gage.yaml"), *words)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stdout == ""


def test_a_long_chain_is_drawn_together_and_still_says_what_it_consists_of(run):
    text = run("why", "examples/qwen3-32b-aura.yaml", "drift/8", "drift/45", "-v", "virtual-instance").stdout
    assert "35 unknown, all of them carry" in text
    assert len(text.splitlines()) < 10
