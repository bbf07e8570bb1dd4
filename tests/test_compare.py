"""Comparisons: every number against one worked out slowly from the minds alone, every witness checked, every law kept."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import random
import shlex
import subprocess
from fractions import Fraction
from itertools import combinations, pairwise

import networkx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from worlds import random_world, worlds

from individuation import compare, individuate, open_trace
from individuation.disagreement import NOT_FOLLOWED, RULE
from individuation.view_on_readings import named_view, on_readings
from rules.readings import ALL, NOT_BUILT_IN
from rules.registry import VIEWS
from rules.view import Partition, View
from traces.stages import LINKS

SORTING = [name for name in VIEWS if name != "forward-pass"]
REVERSED = {
    "refines": "refined by",
    "refined by": "refines",
    "equal": "equal",
    "incomparable": "incomparable",
    None: None,
}
READINGS = {
    reading.name: (*reading.values, *((0.0, 0.01) if not reading.values else ()))
    for reading in ALL
    if reading not in NOT_BUILT_IN
}

some_readings = st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in READINGS.items()})


def compared(world, readings=None, views=SORTING):
    readings = readings or {}
    assume(not (readings.get("recurrence") == "same" and readings.get("branching") == "overlap"))
    return compare(open_trace(world), views, readings=readings)


# --- the same, worked out slowly from the stages of the minds


def minds_of(comparison, view, among=None):
    result = next(result for result in comparison.results if result.view == view)
    minds = [frozenset(mind.stages) for mind in result.minds]
    minds = [mind if among is None else mind & among for mind in minds]
    return {mind for mind in minds if mind}


def assigned(minds):
    return frozenset().union(*minds)


def both(comparison, pair):
    among = assigned(minds_of(comparison, pair.first)) & assigned(minds_of(comparison, pair.second))
    return minds_of(comparison, pair.first, among), minds_of(comparison, pair.second, among), among


def pairs_together(minds):
    return {frozenset(pair) for mind in minds for pair in combinations(sorted(mind), 2)}


def within(fine, coarse):
    return all(any(mind <= other for other in coarse) for mind in fine)


def relation_of(a, b):
    if not a and not b:
        return None
    return {
        (True, True): "equal",
        (True, False): "refines",
        (False, True): "refined by",
        (False, False): "incomparable",
    }[within(a, b), within(b, a)]


def greatest(minds):
    return {mind for mind in minds if not any(mind < other for other in minds)}


def meet_of(a, b):
    return greatest({mind & other for mind in a for other in b if mind & other})


def join_of(a, b):
    graph = networkx.Graph()
    for mind in (*a, *b):
        networkx.add_path(graph, sorted(mind))
    return set(map(frozenset, networkx.connected_components(graph)))


def rand_of(a, b, among):
    """Over all pairs of stages, as Hubert and Arabie have it: index less expectation, over maximum less expectation."""
    in_a, in_b, n = len(pairs_together(a)), len(pairs_together(b)), math.comb(len(among), 2)
    index, expected = Fraction(len(pairs_together(a) & pairs_together(b))), Fraction(in_a * in_b, n)
    most = Fraction(in_a + in_b, 2)
    return 1.0 if most == expected else float((index - expected) / (most - expected))


def information_of(a, b, among):
    def entropy(minds):
        return -sum(len(mind) / len(among) * math.log2(len(mind) / len(among)) for mind in minds)

    return 2 * entropy(meet_of(a, b)) - entropy(a) - entropy(b)


def shares(minds):
    return sum(map(len, minds)) > len(assigned(minds))


def spread(groups):
    """Stages of groups that are written as spans."""
    found = set()
    for group in groups:
        names = []
        for span in group:
            first, _, last = span.partition(" to ")
            conversation, _, low = first.rpartition("/")
            names += [f"{conversation}/{ordinal}" for ordinal in range(int(low), int(last or low) + 1)]
        found.add(frozenset(names))
    return found


@given(worlds(), some_readings)
def test_every_number_of_a_pair_is_what_the_minds_make_it(world, readings):
    comparison = compared(world, readings)
    for pair in comparison.pairs:
        a, b, among = both(comparison, pair)
        numbers, data = pair.numbers(), pair.to_dict()
        in_a, in_b = pairs_together(a), pairs_together(b)
        assert numbers["stages"] == len(among)
        assert numbers["relation"] == relation_of(a, b)
        assert numbers["together_in_both"] == len(in_a & in_b)
        assert numbers["first_only"] == len(in_a - in_b)
        assert numbers["second_only"] == len(in_b - in_a)
        assert numbers["apart_in_both"] == math.comb(len(among), 2) - len(in_a | in_b)
        assert numbers["meet"] == len(meet_of(a, b))
        assert numbers["join"] == len(join_of(a, b))
        if pair.relation == "incomparable":
            assert spread(data["meet_groups"]) == meet_of(a, b)
            assert spread(data["join_groups"]) == join_of(a, b)


@given(worlds(), some_readings)
def test_agreement_is_that_of_the_textbooks(world, readings):
    comparison = compared(world, readings)
    overlapping = (
        {"thread", "virtual-instance", "instance-persona"} if readings.get("branching") == "overlap" else set()
    )
    for pair in comparison.pairs:
        a, b, among = both(comparison, pair)
        if len(among) < 2 or overlapping & {pair.first, pair.second}:
            assert pair.agreement is None
            continue
        assert pair.agreement.stages == len(among)
        assert pair.agreement.rand == pytest.approx(rand_of(a, b, among), abs=1e-12)
        assert pair.agreement.information == pytest.approx(information_of(a, b, among), abs=1e-9)
        assert -0.5 <= pair.agreement.rand <= 1
        assert 0 <= pair.agreement.information <= math.log2(len(among)) + 1e-12
        # Exactly, so that what is printed as 0 is so.
        equal = pair.relation == "equal"
        assert (pair.agreement.rand == 1) == equal == (pair.agreement.information == 0)
        if not equal and 1 in (len(a), len(b)):
            assert pair.agreement.rand == 0


# --- where they disagree


@given(worlds(), some_readings)
def test_every_witness_verifies_and_the_two_views_do_disagree_on_it(world, readings):
    comparison = compared(world, readings)
    for pair in comparison.pairs:
        a, b, _ = both(comparison, pair)
        for divergence, joined, parted in ((pair.first_only, a, b), (pair.second_only, b, a)):
            witness = divergence.witness
            if not divergence.pairs:
                assert witness is None
                assert not len(divergence.link_numbers)
                assert not len(divergence.boundary_rows)
                continue
            assert frozenset((witness.a, witness.b)) in pairs_together(joined) - pairs_together(parted)
            assert witness.verify(comparison.trace)
            assert (witness.a, witness.b) == (divergence.boundaries[0].before, divergence.boundaries[0].stage)


@given(worlds(), some_readings)
def test_the_links_are_all_those_across_which_one_goes_on_and_the_other_does_not_with_what_does_it(world, readings):
    comparison = compared(world, readings)
    stages = comparison.results[0].stages
    links = links_of(stages)
    previous = {stages.name(row): stages.name(int(stages.previous[row])) for row in range(len(stages))}
    for pair in comparison.pairs:
        a, b, among = both(comparison, pair)
        for divergence, joined, parted in ((pair.first_only, a, b), (pair.second_only, b, a)):
            differing = pairs_together(joined) - pairs_together(parted)
            expected = [link for link in links if frozenset(link[:2]) in differing]
            assert sorted((link.origin, link.stage, link.kind) for link in divergence.links) == sorted(expected)
            for link in divergence.links:
                assert {link.origin, link.stage} <= among
                assert link.bars
                assert all(cause.cause != RULE for cause in link.bars)
                if link.bars[0].cause == NOT_FOLLOWED:
                    # An own link that skips a stage, where only the thread's way, stage by stage, is cut by a branch.
                    assert divergence.parting.name == "thread"
                    assert readings["branching"] in ("end", "closest", "overlap")
                    assert previous[link.stage] != link.origin


def links_of(stages):
    found = []
    for row in range(len(stages)):
        own, previous, shared = (int(column[row]) for column in (stages.own, stages.previous, stages.shared))
        if own >= 0:
            found.append((stages.name(own), stages.name(row), LINKS[int(stages.own_kind[row])]))
        if previous >= 0 and previous != own:
            found.append((stages.name(previous), stages.name(row), "transcript"))
        if shared >= 0:
            found.append((stages.name(shared), stages.name(row), "shared"))
    return found


@given(worlds(), some_readings)
def test_boundaries_are_as_many_as_there_are_more_minds_once_both_views_must_agree(world, readings):
    comparison = compared(world, readings)
    for pair in comparison.pairs:
        a, b, _ = both(comparison, pair)
        for divergence, joined, parted in ((pair.first_only, a, b), (pair.second_only, b, a)):
            differing = pairs_together(joined) - pairs_together(parted)
            assert all(frozenset((cut.before, cut.stage)) in differing for cut in divergence.boundaries)
            assert bool(divergence.boundaries) == bool(differing)
            if readings.get("branching") != "overlap":
                assert len(divergence.boundaries) == len(meet_of(a, b)) - len(joined)


@given(worlds())
def test_where_two_linked_views_assign_every_stage_some_link_is_at_the_bottom_of_every_disagreement(world):
    views = ["thread", "virtual-instance", "virtual-instance[reconstruction=new]", "virtual-instance[edits=cut]"]
    for pair in compared(world, views=views).pairs:
        for divergence in pair.divergences:
            assert len(divergence.links)


# --- the order of refinement


LAWS = [
    ("virtual-instance[reconstruction=new]", "virtual-instance"),
    ("virtual-instance", "thread"),
    ("virtual-instance", "model"),
    ("instance-persona", "instance-persona[recurrence=same]"),
    ("instance-persona[recurrence=same]", "virtual-instance"),
    ("instance-persona", "model-persona"),
    ("model-persona", "model"),
    ("physical-instance", "model"),
]


@given(worlds())
def test_the_laws_of_refinement_hold_in_every_comparison(world):
    """semantics.md §7, laws 1 to 3."""
    comparison = compared(world, views=list(dict.fromkeys(name for law in LAWS for name in law)))
    for finer, coarser in LAWS:
        relation = comparison.pair(finer, coarser).relation
        assert relation in ("refines", "equal", None), (finer, coarser)
    order, where = comparison.order, {}
    for number, node in enumerate(order.nodes):
        where |= dict.fromkeys(node, number)
    reached = (
        networkx.transitive_closure(networkx.DiGraph(order.covers), reflexive=None)
        if order.covers
        else networkx.DiGraph()
    )
    for finer, coarser in LAWS:
        if finer in where and coarser in where and where[finer] != where[coarser]:
            assert reached.has_edge(where[finer], where[coarser])


@given(worlds(), some_readings)
def test_the_order_is_a_partial_order_and_its_diagram_leaves_out_what_follows(world, readings):
    comparison = compared(world, readings)
    order = comparison.order
    there = [name for name in SORTING if minds_of(comparison, name)]
    assert set(order.left_out) == set(SORTING) - set(there)
    among = frozenset.intersection(*(assigned(minds_of(comparison, name)) for name in there))
    assert order.stages == (len(among) if len(there) > 1 else 0)
    if not order.stages:
        assert order.nodes == ()
        return
    assert sorted(name for node in order.nodes for name in node) == sorted(there)
    minds = {name: minds_of(comparison, name, among) for name in there}
    number = {name: number for number, node in enumerate(order.nodes) for name in node}
    diagram = networkx.DiGraph()
    diagram.add_nodes_from(range(len(order.nodes)))
    diagram.add_edges_from(order.covers)
    assert networkx.is_directed_acyclic_graph(diagram)
    for a in there:
        for b in there:
            # Reflexive, antisymmetric up to equality, and transitive, for it is what paths in a diagram are.
            reached = networkx.has_path(diagram, number[a], number[b])
            assert reached == within(minds[a], minds[b])
            assert (number[a] == number[b]) == (within(minds[a], minds[b]) and within(minds[b], minds[a]))
    for edge in order.covers:
        without = diagram.copy()
        without.remove_edge(*edge)
        assert not networkx.has_path(without, *edge)


@given(worlds(), some_readings)
def test_the_lines_of_the_diagram_say_each_cover_once_and_name_every_view(world, readings):
    comparison = compared(world, readings)
    graph, said = comparison.graph(), []
    for line in comparison.order.lines():
        names = line.split(" < ")
        said += list(pairwise(names))
        assert set(names) <= set(graph.nodes)
    assert sorted(said) == sorted(graph.edges)
    assert set(graph.nodes) == {name for line in comparison.order.lines() for name in line.split(" < ")}
    assert {view for node in graph.nodes for view in graph.nodes[node]["views"]} == {
        view for node in comparison.order.nodes for view in node
    }


@given(worlds(), some_readings)
def test_the_meet_refines_both_and_both_refine_the_join(world, readings):
    for pair in compared(world, readings).pairs:
        for sorting in pair.sortings:
            assert pair.meet.refines(sorting)
            assert sorting.refines(pair.join)
        if pair.relation == "refines":
            assert pair.meet.count == pair.sortings[0].count
        # Two that are equal, or one of which is finer, have themselves as meet and join.
        if pair.relation in ("equal", "refines") and all(sorting.mind is not None for sorting in pair.sortings):
            assert pair.meet.mind.tolist() == pair.sortings[0].mind.tolist()
            assert pair.join.mind.tolist() == pair.sortings[1].mind.tolist()


# --- whatever the order, whatever the format


@settings(max_examples=50)
@given(worlds(), some_readings)
def test_the_order_in_which_views_are_named_makes_no_difference(world, readings):
    there, back = compared(world, readings), compared(world, readings, SORTING[::-1])
    for pair in there.pairs:
        (other,) = (other for other in back.pairs if (other.first, other.second) == (pair.second, pair.first))
        assert back.pair(pair.first, pair.second).numbers() == pair.numbers()
        assert REVERSED[pair.relation] == other.relation
        assert pair.agreement == other.agreement
        assert (pair.meet.count, pair.join.count) == (other.meet.count, other.join.count)
        assert pair.first_only.to_dict() == other.second_only.to_dict()
        assert pair.second_only.to_dict() == other.first_only.to_dict()

    def diagram(comparison):
        graph = comparison.graph()
        return {(frozenset(a.split(" = ")), frozenset(b.split(" = "))) for a, b in graph.edges}

    assert diagram(there) == diagram(back)
    assert set(map(frozenset, there.alike)) == set(map(frozenset, back.alike))


@settings(max_examples=40)
@given(worlds(), some_readings)
def test_a_comparison_is_told_whatever_the_trace_and_all_of_it_is_json(world, readings):
    comparison = compared(world, readings)
    text = str(comparison)
    assert all(name in text for name in SORTING)
    assert text == str(compare(open_trace(world), SORTING, readings=readings))
    data = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    assert len(data["pairs"]) == math.comb(len(SORTING), 2)
    for entry in data["views"]:
        result = next(result for result in comparison.results if result.view == entry["view"])
        for conversation, count in entry["minds_per_conversation"].items():
            assert count == sum(conversation in mind.conversations for mind in result.minds)
        stages = {conversation for mind in result.minds for conversation in mind.conversations}
        assert stages <= set(entry["minds_per_conversation"])


def test_the_count_of_a_persona_view_never_stands_without_its_range(cases):
    for case in sorted(cases.glob("*.yaml")):
        comparison = compare(case)
        lines = str(comparison).splitlines()
        for number, result in enumerate(comparison.results, 1):
            if result.criterion.is_persona_view:
                row = next(line for line in lines if line.startswith(f"{number}   {result.view} "))
                assert f" {result.count_text} " in row
                assert str(result.range) in result.count_text


def test_two_processes_say_the_same_bytes(command, cases):
    said = [
        subprocess.run(
            command("compare", cases / "router-return.yaml", "--format", form), capture_output=True, check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for form in ("text", "json")
        for seed in ("1", "2")
    ]  # fmt: skip
    assert said[0] == said[1]
    assert said[2] == said[3]
    assert len(set(said)) == 2


def next_command(done):
    return shlex.split(done.stdout.rstrip().rpartition(": individuate ")[2])


@pytest.mark.parametrize(
    "words",
    [
        ("individuation/cases/three-cities.yaml", "-r", "reconstruction=new", "-r", "weights=base"),
        ("individuation/cases/three-cities.yaml", "-v", "virtual-instance[reconstruction=new]", "-v", "model"),
        (
            "individuation/cases/three-cities.yaml",
            "-v",
            "virtual-instance[reconstruction=new]",
            "-v",
            "virtual-instance",
        ),
        ("individuation/cases/regenerate.yaml", "-r", "branching=overlap"),
        ("examples/qwen3-32b-aura.yaml", "--labelling", "assistant-axis", "-v", "thread", "-v", "model-persona"),
        ("individuation/cases/gage.yaml", "-v", "examples/views/collective.toml", "-v", "instance-persona"),
        ("individuation/cases/gage.yaml", "individuation/cases/mood.yaml"),
    ],
)
def test_the_next_command_is_there_to_be_run_and_shows_what_the_comparison_rests_on(run, words, cases, monkeypatch):
    monkeypatch.chdir(cases.parent.parent)
    done = run("compare", *words)
    assert done.exit_code == 0
    command = next_command(done)
    then = run(*command)
    assert then.exit_code == 0
    if command[0] == "why":
        assert then.stdout.startswith("Different minds")


@pytest.mark.parametrize("form", ["text", "json", "csv"])
def test_every_case_is_compared(run, cases, form):
    files = sorted(cases.glob("*.yaml"))
    assert len(files) == 27
    for case in files:
        done = run("compare", case, "--format", form)
        assert done.exit_code == 0, case
        if form == "json":
            assert len(json.loads(done.stdout)["pairs"]) == 21
        elif form == "csv":
            rows = list(csv.DictReader(io.StringIO(done.stdout)))
            assert len(rows) == 21
            for row in rows:
                four = ("together_in_both", "first_only", "second_only", "apart_in_both")
                assert sum(int(row[column]) for column in four) == math.comb(int(row["stages"]), 2)
        else:
            assert done.stdout.startswith(open_trace(case).title)
            assert "forward-pass is left out" in done.stdout
            assert run(*next_command(done)).exit_code == 0


# --- what the cases say


def test_a_router_parts_the_model_from_the_thread_at_its_two_switches(cases):
    pair = compare(cases / "router-return.yaml").pair("model", "thread")
    assert pair.relation == "refines"
    assert pair.first_only.pairs == 0
    assert [(link.origin, link.stage, link.kind) for link in pair.second_only.links] == [
        ("c1/1", "c1/2", "transcript"), ("c1/3", "c1/4", "transcript"),
    ]  # fmt: skip
    assert pair.second_only.links[0].bars[0].values == ("standard", "reasoning")
    # The first model comes back: of its two switches only the first begins a mind that was not there before.
    assert [cut.stage for cut in pair.second_only.boundaries] == ["c1/2"]


def test_two_readings_of_one_view_stand_side_by_side(cases):
    names = ["virtual-instance[reconstruction=new]", "virtual-instance"]
    comparison = compare(cases / "three-cities.yaml", names)
    pair = comparison.pair(*names)
    assert [result.count for result in comparison.results] == [3, 1]
    assert pair.relation == "refines"
    assert {link.bars[0].cause for link in pair.second_only.links} == {"reconstruction"}
    assert comparison.order.lines() == [" < ".join(names)]


def test_two_auras_are_one_by_the_model_and_two_by_the_conversation_with_no_link_between_them(cases):
    pair = compare(cases / "two-auras.yaml").pair("instance-persona", "model-persona")
    assert pair.second_only.links == ()
    assert [(cut.before, cut.stage) for cut in pair.second_only.boundaries] == [("north/1", "south/0")]
    assert "no chain of links joins them" in str(compare(cases / "two-auras.yaml"))


def test_where_all_agree_it_says_so(cases):
    comparison = compare(cases / "regenerate.yaml", [name for name in SORTING if name != "physical-instance"])
    assert {pair.relation for pair in comparison.pairs} == {"equal"}
    assert len(comparison.alike) == 1
    assert "Where they disagree: nowhere" in str(comparison)


def test_minds_that_share_a_past_are_compared_by_the_chains_they_are(cases):
    views = ["thread", "thread[branching=overlap]", "thread[branching=end]"]
    comparison = compare(cases / "regenerate.yaml", views)
    pair = comparison.pair(views[0], views[1])
    assert pair.relation == "refined by"
    assert pair.agreement is None
    # The two answers are one mind where branches are one, and on different branches where they overlap.
    assert [(cut.before, cut.stage) for cut in pair.first_only.boundaries] == [("first-answer/1", "second-answer/0")]
    assert pair.first_only.witness.verify(comparison.trace)
    assert comparison.order.lines() == ["thread[branching=end] < thread[branching=overlap] < thread"]


def test_the_order_stands_on_the_stages_that_all_assign_and_says_how_many():
    turns = [
        {"role": "user", "model": "m", "server": "a"}, {"role": "assistant", "server": None, "cache": "unknown"},
        {"role": "user", "server": "b", "cache": "unknown"}, {"role": "assistant"},
    ]  # fmt: skip
    world = {"individuation": 1, "models": {"m": {}}, "servers": ["a", "b"], "conversations": {"c": {"turns": turns}}}
    comparison = compare(world)
    assert comparison.order.stages == 3
    assert set(comparison.order.left_out) == {"instance-persona", "model-persona", "abstract-model-persona"}
    assert "on the 3 of 4 stages" in str(comparison)
    # c/1 to c/2 is a link, but physical-instance has no say about c/1: the boundary is found all the same.
    divergence = comparison.pair("thread", "physical-instance").first_only
    assert divergence.links == ()
    assert [(cut.before, cut.stage) for cut in divergence.boundaries] == [("c/0", "c/2")]
    assert "at c/2, by no single link" in str(comparison)


# --- views of one's own


def test_views_of_ones_own_are_compared_with_the_rest(examples, cases):
    for name in ("collective", "lineage", "thin-identity"):
        comparison = compare(cases / "multi-tenancy.yaml", ["thread", f"{examples}/views/{name}.toml"])
        (pair,) = comparison.pairs
        assert all(found.witness.verify(comparison.trace) for found in pair.divergences)
        assert name in str(comparison)


def test_a_view_that_declares_nothing_is_compared_by_its_rule(cases):
    by_role = View(
        name="by-role",
        definition="the same role",
        source="a test",
        rule=lambda stages, readings: Partition.by_key(stages.role.astype("int64")),
        label="{conversation}",
    )
    comparison = compare(cases / "gage.yaml", ["thread", by_role])
    pair = comparison.pair("thread", "by-role")
    assert {cause.cause for link in pair.first_only.links for cause in link.bars} == {RULE}
    assert pair.first_only.witness.verify(comparison.trace)
    assert "by the view's rule alone" in str(comparison)


def test_a_view_that_goes_by_other_links_is_said_not_to_follow_this_one(tmp_path):
    (tmp_path / "unbroken.toml").write_text(
        'individuation = 1\nname = "unbroken"\ndefinition = "linked, stage by stage"\nsource = "a test"\n'
        'label = "{stage}"\n[links]\nfollow = "previous"\ncarry = ["attention", "rebuild"]\n'
    )
    turns = [{"role": "user", "model": model, "server": "s"} for model in ("m", "n", "m")]
    turns[2]["cache"] = "retained"
    world = {"individuation": 1, "models": {"m": {}, "n": {}}, "conversations": {"c": {"turns": turns}}}
    pair = compare(world, ["virtual-instance", str(tmp_path / "unbroken.toml")]).pairs[0]
    assert [(link.origin, link.stage) for link in pair.first_only.links] == [("c/0", "c/2")]
    assert [cause.cause for cause in pair.first_only.links[0].bars] == [NOT_FOLLOWED]


@given(worlds(), st.sampled_from(SORTING), some_readings)
def test_a_view_named_with_readings_is_the_view_on_these_readings(world, name, readings):
    assume(not (readings.get("recurrence") == "same" and readings.get("branching") == "overlap"))
    mine = {reading.name: readings[reading.name] for reading in VIEWS[name].readings if reading.name in readings}
    assume(mine)
    trace = open_trace(world)
    there, here = individuate(trace, on_readings(VIEWS[name], mine)), individuate(trace, name, **mine)
    assert [mind.to_dict() for mind in there.minds] == [mind.to_dict() for mind in here.minds]
    assert there.caveats == here.caveats
    assert named_view(there.view).name == there.view


# --- of any size


def test_twenty_thousand_stages_of_one_mind_are_no_trouble():
    """Two hundred million pairs: they are counted, not made."""
    turns = [{"role": "user", "model": "m", "server": f"s{number // 5000}"} for number in range(20_000)]
    world = {"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": turns}}}
    pair = compare(world, ["thread", "physical-instance"]).pairs[0]
    assert pair.first_only.pairs == 5000 * 5000 * 6
    assert pair.meet.pairs == 4 * math.comb(5000, 2)
    assert len(pair.first_only.links) == 3
    assert pair.agreement.information == pytest.approx(2.0)


def test_many_branches_that_overlap_are_no_trouble():
    """A chain of 2,000 stages with a branch at each: the chains together hold two million stages."""
    spine = [{"role": "user", "model": "m"} for _ in range(2000)]
    conversations = {"c": {"turns": spine}}
    for at in range(1, 2000):
        conversations[f"b{at}"] = {"parent": "c", "at": at, "turns": [{"role": "assistant"}]}
    world = {"individuation": 1, "models": {"m": {}}, "conversations": conversations}
    pair = compare(world, ["thread[branching=overlap]", "thread"]).pairs[0]
    assert pair.relation == "refines"
    assert pair.meet.count == 2000
    assert pair.meet.pairs == math.comb(2000, 2) + sum(range(1, 2000))


# --- for notebooks


def test_a_notebook_shows_no_markup_of_the_trace():
    world = {
        "individuation": 1,
        "models": {"<b>": {}, "n": {}},
        "conversations": {
            "<script>": {"turns": [{"role": "user", "model": "<b>"}, {"role": "assistant", "model": "n"}]}
        },
    }
    html = compare(world)._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;/0" in html
    assert html.count("<table>") == 2


# --- what is refused


def refused(run, *arguments):
    done = run("compare", *arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert "Expected: " in done.stderr
    return done.stderr


def test_one_view_alone_is_refused(run, cases):
    assert "at least two views" in refused(run, cases / "gage.yaml", "--view", "thread")


def test_a_view_that_sorts_no_stages_is_refused_with_the_reason_where_too_few_are_left(run, cases):
    said = refused(run, cases / "gage.yaml", "--view", "thread", "--view", "forward-pass")
    assert "forward-pass is left out" in said
    assert "positions" in said


def test_a_view_named_twice_is_refused(run, cases):
    assert '"thread"' in refused(run, cases / "gage.yaml", "-v", "thread", "-v", "thread")


def test_an_unknown_view_is_refused_with_the_nearest_name(run, cases):
    assert 'did you mean "thread"?' in refused(run, cases / "gage.yaml", "-v", "thred", "-v", "model")


@pytest.mark.parametrize("name", ["thread[branching]", "thread[]", "thread[branching=end, branching=one]"])
def test_readings_in_brackets_that_cannot_be_read_are_refused(run, cases, name):
    assert "VIEW[NAME=VALUE" in refused(run, cases / "gage.yaml", "-v", name, "-v", "model")


def test_a_reading_that_the_view_does_not_have_is_refused(run, cases):
    assert "weights" in refused(run, cases / "gage.yaml", "-v", "thread[weights=base]", "-v", "model")
    assert "no reading" in refused(run, cases / "gage.yaml", "-r", "nonsense=1")


def test_readings_that_exclude_each_other_are_refused_wherever_they_stand(run, cases):
    persona = "instance-persona[recurrence=same]"
    assert "branching=overlap" in refused(
        run, cases / "gage.yaml", "-v", persona, "-v", "thread", "-r", "branching=overlap"
    )
    both_of_them = "instance-persona[recurrence=same, branching=overlap]"
    assert "branching=overlap" in refused(run, cases / "gage.yaml", "-v", both_of_them, "-v", "thread")


def test_a_trace_or_labelling_that_is_not_there_is_refused(run, cases, tmp_path):
    assert "no.yaml" in refused(run, tmp_path / "no.yaml")
    assert "nowhere" in refused(run, cases / "gage.yaml", "--labelling", "nowhere")


def test_a_pair_that_was_not_compared_is_a_key_error(cases):
    with pytest.raises(KeyError):
        compare(cases / "gage.yaml", ["thread", "model"]).pair("thread", "forward-pass")


def test_comparing_loads_statistics_only_when_it_is_asked_to(command):
    code = "import sys, individuation.comparison; print(sorted({'sklearn', 'scipy', 'networkx'} & set(sys.modules)))"
    done = subprocess.run([command()[0], "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_hundreds_of_random_disagreements_are_all_borne_out():
    rng, seen = random.Random(11), 0
    while seen < 400:
        readings = {name: rng.choice(values) for name, values in READINGS.items() if rng.random() < 0.3}
        if readings.get("recurrence") == "same":
            readings.pop("branching", None)
        comparison = compare(random_world(rng), SORTING, readings=readings)
        for pair in comparison.pairs:
            for divergence in pair.divergences:
                assert divergence.witness.verify(comparison.trace)
                seen += 1
