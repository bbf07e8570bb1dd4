"""What a count hangs on: readings, region boundaries, region probabilities."""

from __future__ import annotations

import itertools
import json
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import random_world, worlds

from individuation import Trace, TraceError, individuate, open_trace
from individuation.boundaries import boundaries, moved, named_boundary, parsed_vary
from individuation.chances import distribution, outcomes
from individuation.ranges import over_readings, values
from individuation.robustness import sensitivity
from rules.readings import complete
from rules.registry import VIEWS

AURA = "examples/qwen3-32b-aura.yaml"
BOUND = "assistant-axis.aura.assistant"


def every_combination(view, stages):
    """All admissible combinations of a view's readings, by brute force."""
    listed = [r.values or values(view, stages, r.name, {r.name: r.default}) for r in view.readings]
    for combination in itertools.product(*listed):
        try:
            yield complete(
                view.readings, dict(zip([r.name for r in view.readings], combination, strict=True)), view.name
            )
        except TraceError:
            continue


@given(worlds(max_conversations=3, max_turns=4), st.sampled_from(list(VIEWS)))
def test_the_range_is_that_of_all_admissible_combinations_of_readings(world, name):
    view, stages = VIEWS[name], open_trace(world).stages()
    chosen = complete(view.readings, {}, name)
    counts = [view.rule(stages, combination).count for combination in every_combination(view, stages)]
    found = over_readings(view, stages, chosen)
    if None in counts:
        assert found.range is None
        return
    assert (found.range.low, found.range.high) == (min(counts), max(counts))
    assert found.range.complete
    assert found.counted <= found.admissible == len(counts)
    assert view.rule(stages, found.low_at).count == found.range.low
    assert view.rule(stages, found.high_at).count == found.range.high


@given(worlds(max_conversations=3, max_turns=4), st.sampled_from(list(VIEWS)))
def test_a_reading_that_is_said_never_to_move_the_count_never_does(world, name):
    view, stages = VIEWS[name], open_trace(world).stages()
    found = over_readings(view, stages, complete(view.readings, {}, name))
    by_rest = {}
    for combination in every_combination(view, stages):
        for reading in combination:
            rest = tuple(value for other, value in combination.items() if other != reading)
            by_rest.setdefault((reading, rest), set()).add(view.rule(stages, combination).count)
    for mover in found.movers:
        spread = [max(c) - min(c) for (name, _), c in by_rest.items() if name == mover.reading and None not in c]
        assert mover.most == max(spread, default=0)


def test_more_combinations_than_can_be_counted_are_changed_one_at_a_time_and_the_range_says_so(cases):
    view, stages = VIEWS["instance-persona"], open_trace(str(cases / "kv-edit.yaml")).stages()
    found = over_readings(view, stages, complete(view.readings, {}, view.name), most=10)
    assert not found.range.complete
    assert str(found.range).endswith("at least")


def test_the_published_drift_has_these_segments_at_these_boundaries():
    found = sensitivity(AURA, "instance-persona", vary=[f"{BOUND}=0..-60:10"])
    assert found.over_boundaries[0].samples == (
        (-60, 2), (-50, 4), (-40, 2), (-30, 2), (-20, 2), (-10, 2), (0, 1),
    )  # fmt: skip


@given(st.floats(-150, 60), st.floats(-150, 60))
def test_the_barcode_says_the_count_at_every_place_between_the_coordinates(low, at):
    low, high = sorted((round(low, 2), round(at, 2)))
    code = sensitivity(AURA, "instance-persona", vary=[f"{BOUND}={low}..{high}"]).over_boundaries[0]
    assert code.stretches[0].low == low
    assert code.stretches[-1].high == high
    for left, right in itertools.pairwise(code.stretches):
        assert left.high == right.low
        assert left.count != right.count
    for stretch in code.stretches:
        middle = (stretch.low + stretch.high) / 2 + 1e-7
        assert (
            sensitivity(AURA, "instance-persona", vary=[f"{BOUND}={middle!r}..{middle!r}"])
            .over_boundaries[0]
            .stretches[0]
            .count
            == stretch.count
        )


@pytest.mark.parametrize("labelling", [None, "assistant-axis"])
def test_the_counts_of_a_barcode_are_those_of_the_trace_with_the_boundary_drawn_there(labelling):
    traces = [AURA, "examples/qwen3-32b-aura-capped.yaml"]
    for opened in (open_trace(AURA), open_trace(*traces)):
        found = sensitivity(opened, "instance-persona", labelling=labelling, vary=[f"{BOUND}=-90..0:15"])
        code = found.over_boundaries[0]
        for at, count in code.samples:
            drawn = Trace(moved(opened.recordings, labelling, code.boundary, at))
            assert individuate(drawn, "instance-persona", labelling=labelling).count == count


def test_the_bound_of_a_neighbour_at_the_same_place_moves_along():
    boundary = named_boundary(open_trace(AURA).recordings, None, BOUND)
    assert set(boundary.ends) == {("assistant", "low"), ("aura", "high")}
    assert named_boundary(open_trace(AURA).recordings, None, "assistant-axis.assistant.assistant") == boundary


def test_moving_a_boundary_changes_no_fact():
    trace = open_trace(AURA)
    before = json.dumps(individuate(trace, "instance-persona").to_dict())
    sensitivity(trace, "instance-persona", vary=[f"{BOUND}=-60..0"])
    assert json.dumps(individuate(trace, "instance-persona").to_dict()) == before
    assert len(boundaries(trace.recordings, None)) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("aura", "LO..HI"),
        (f"{BOUND}=1..x", "LO..HI"),
        (f"{BOUND}=0..10:0", "step"),
        (f"{BOUND}=0..10:1e-9", "10,000"),
        (f"{BOUND}x=0..10", "there is no region bound"),
        ("nothing.aura.assistant=0..10", "there is no region bound"),
    ],
)
def test_what_cannot_be_varied_is_refused(text, said):
    with pytest.raises(TraceError, match=said):
        sensitivity(AURA, "instance-persona", vary=[text])


def test_an_interval_may_be_given_either_way_round():
    assert parsed_vary("a.b.c=5..-5") == parsed_vary("a.b.c=-5..5")


def test_a_region_with_two_ends_must_say_which():
    space = {"model": "m", "axes": ["x"], "regions": {"calm": {"x": [0, 5]}}}
    world = {
        "individuation": 1, "models": {"m": {}}, "spaces": {"s": space},
        "conversations": {"c": {"turns": [{"role": "assistant", "model": "m", "at": {"x": 1}}]}},
    }  # fmt: skip
    with pytest.raises(TraceError, match=r"s\.calm\.x\.low"):
        sensitivity(world, "model-persona", vary=["s.calm.x=0..1"])
    assert sensitivity(world, "model-persona", vary=["s.calm.x.low=0..2"]).range.low == 0


def uncertain(rng, **size):
    """A random trace with a few turns whose regions are uncertain."""
    while True:
        world = random_world(rng, **size)
        left = 5
        for conversation in world["conversations"].values():
            for turn in conversation["turns"]:
                turn.pop("region_probabilities", None)
                if turn["role"] == "assistant" and "at" not in turn and left and rng.random() < 0.6:
                    left -= 1
                    turn.pop("region", None)
                    p = rng.choice([0.5, 0.7, 0.2])
                    turn["region_probabilities"] = {"calm": p, "aura": rng.choice([0, 0.25, 1 - p])}
                    if sum(turn["region_probabilities"].values()) > 1:
                        turn["region_probabilities"] = {"calm": p}
        if left < 5:
            return world


def by_brute_force(view, stages, readings):
    """The distribution of a count, by going through every joint outcome."""
    found = outcomes(stages)
    truth = {}
    for combination in itertools.product(*[list(of.items()) for of in found.values()]):
        region, chance = stages.region.copy(), 1.0
        for stage, (code, p) in zip(found, combination, strict=True):
            region[stage] = code
            chance *= p
        count = view.rule(replace(stages, region=region), readings).count
        truth[count] = truth.get(count, 0.0) + chance
    return {count: chance for count, chance in truth.items() if chance > 1e-12}


@pytest.mark.parametrize("seed", range(4))
def test_a_distribution_is_that_of_all_joint_outcomes(seed):
    rng = random.Random(seed)
    methods = set()
    for _ in range(60):
        stages = open_trace(uncertain(rng, branches=rng.random() < 0.3, max_models=2)).stages()
        for name in ("instance-persona", "model-persona", "abstract-model-persona"):
            view = VIEWS[name]
            readings = rng.choice(list(every_combination(view, stages)))
            found = distribution(view, stages, readings, draws=2000, seed=seed)
            truth = by_brute_force(view, stages, readings)
            methods.add(found.method)
            if found.method == "exact":
                assert found.probability == pytest.approx(truth, abs=1e-9)
                continue
            assert sum(found.probability.values()) == pytest.approx(1)
            for count, chance in found.probability.items():
                assert abs(chance - truth.get(count, 0)) < 6 * max(found.error, 0.005)
    assert methods == {"exact", "drawn"}


def test_draws_depend_on_their_seed_alone():
    stages = open_trace(uncertain(random.Random(8), max_conversations=4)).stages()
    view = VIEWS["instance-persona"]
    readings = complete(view.readings, {"outside": "last"}, view.name)
    first, again, other = (distribution(view, stages, readings, 500, seed) for seed in (1, 1, 2))
    assert first == again
    assert first.method == "drawn"
    assert first.seed != other.seed


def test_a_persona_count_is_never_printed_without_its_range(run, cases):
    trace = str(cases / "aura-and-back.yaml")
    found = individuate(trace, "instance-persona")
    assert (found.range.low, found.range.high) == (2, 3)
    assert "3 minds (2-3)" in repr(found)
    assert "3 minds (2-3)" in found._repr_html_()
    assert "3 (2-3)" in run(trace).stdout
    assert "3 minds (2-3)" in run(trace, "--view", "instance-persona").stdout
    assert json.loads(run(trace, "-v", "instance-persona", "-f", "json").stdout)["range"] == {
        "low": 2, "high": 3, "complete": True,
    }  # fmt: skip
    assert ",3,2,3," in run(trace, "-f", "csv").stdout
    assert json.loads(run(trace, "-f", "json").stdout)["views"][5]["range"]["high"] == 3


def test_the_command_says_which_reading_moves_the_count(run, cases):
    text = run("sensitivity", str(cases / "aura-and-back.yaml"), "-v", "instance-persona").stdout
    assert text.startswith("instance-persona: 3 (2-3)")
    assert "recurrence" in text
    data = json.loads(run("sensitivity", str(cases / "aura-and-back.yaml"), "-f", "json").stdout)
    assert {entry["view"] for entry in data} == {view.name for view in VIEWS.values() if view.readings}


def two(regions, *xs, name="s"):
    """A trace of one space and so many assistant turns."""
    return {
        "individuation": 1,
        "models": {"m": {}},
        "spaces": {name: {"model": "m", "axes": ["x"], "regions": regions}},
        "conversations": {"c": {"turns": [{"role": "assistant", "model": "m", "at": {"x": x}} for x in xs]}},
    }


def test_places_where_the_bound_lies_on_a_coordinate_are_counted_too():
    world = two({"calm": {"x": [None, 0]}, "evil": {"x": [0, None]}}, -1, 0)
    code = sensitivity(world, "instance-persona", vary=["s.calm.x=-1..0"]).over_boundaries[0]
    assert [(s.low, s.high, s.count) for s in code.stretches] == [(-1, 0, 2)]
    assert code.places == ((0, 1),)
    found = sensitivity(world, "instance-persona", vary=["s.calm.x=-1..0"])
    assert found.range.low == found.count == 1


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=5), st.booleans())
def test_the_count_at_any_place_lies_within_the_range_of_the_barcode(xs, closed):
    regions = {"calm": {"x": [None, 0]}, "evil": {"x": [0 if closed else 1, None]}}
    opened = open_trace(two(regions, *xs))
    code = sensitivity(opened, "instance-persona", vary=["s.calm.x=-4..4"]).over_boundaries[0]
    for at in [n / 2 for n in range(-8, 9)]:
        count = individuate(Trace(moved(opened.recordings, None, code.boundary, at)), "instance-persona").count
        assert code.range.low <= count <= code.range.high
        here = [s.count for s in code.stretches if s.low <= at <= s.high] + [
            c for place, c in code.places if place == at
        ]
        assert count in here


def test_recordings_with_spaces_of_one_name_keep_their_own_bounds(tmp_path, run):
    first, second = two({"calm": {"x": [0, None]}}, 1, -1), two({"aura": {"x": [None, 0.5]}}, 1, -1)
    for name, world in (("A", first), ("B", second)):
        (tmp_path / f"{name}.json").write_text(json.dumps(world))
    files = [str(tmp_path / f"{name}.json") for name in "AB"]
    assert run(*files).exit_code == 0
    opened = open_trace(*files)
    assert sorted(str(boundary) for boundary in boundaries(opened.recordings, None)) == [
        "A:s.calm.x", "B:s.aura.x",
    ]  # fmt: skip
    assert named_boundary(opened.recordings, None, "A:s.calm.x").recordings == (0,)


def test_a_space_drawn_alike_in_two_recordings_has_one_boundary_that_moves_in_both():
    opened = open_trace(two({"calm": {"x": [0, None]}}, 1), two({"calm": {"x": [0, None]}}, 2))
    (boundary,) = boundaries(opened.recordings, None)
    assert boundary.recordings == (0, 1)
    assert sensitivity(opened, "instance-persona", vary=["s.calm.x=0..5"]).over_boundaries[0].range.low == 0


def test_the_same_bound_drawn_at_two_places_must_be_told_apart():
    opened = open_trace(two({"calm": {"x": [0, None]}}, 1), two({"calm": {"x": [-10, None]}}, 2))
    with pytest.raises(TraceError, match="several places"):
        sensitivity(opened, "model-persona", vary=["s.calm.x=0..1"])


@pytest.mark.parametrize("text", [f"{BOUND}=-1e308..1e308", f"{BOUND}=-1e999..0", f"{BOUND}=0..1e13"])
def test_an_interval_beyond_all_measure_is_refused(text, run):
    result = run("sensitivity", AURA, "-v", "instance-persona", "--vary", text)
    assert result.exit_code == 2
    assert "numbers between" in result.stderr


def test_a_view_that_looks_at_regions_in_its_own_way_is_drawn_not_computed_wrongly():
    from rules.declaration import Declaration
    from rules.declared import declared

    said = {"role": "assistant", "model": "m", "region_probabilities": {"calm": 0.5, "evil": 0.5}}
    turns = [said, {"role": "assistant", "region": "calm"}, {"role": "assistant", "region": "evil"}]
    stages = open_trace({"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": turns}}}).stages()
    every = frozenset({"attention", "transfer", "rebuild", "unknown"})
    for declaration in (
        Declaration(follow="own", carry=every, known=("region",)),
        Declaration(pool=("model",), known=("region",)),
    ):
        view = declared("own", declaration, definition="-", source="-", label="-")
        assert distribution(view, stages, {}, 500).probability == {1: 1.0}


def test_thresholds_of_drift_that_are_too_many_to_try_are_not_claimed_to_have_been():
    turns = [{"role": "user", "model": "m", "server": "s", "tokens": 1}]
    turns += [{"role": "assistant", "cache": "rebuilt", "drift": n / 100, "tokens": 1} for n in range(1, 90)]
    world = {"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": turns}}}
    assert not sensitivity(world, "virtual-instance").range.complete
    world["conversations"]["c"]["turns"] = turns[:40]
    assert sensitivity(world, "virtual-instance").range.complete
