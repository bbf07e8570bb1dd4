"""Hypothesis 3, the part that needs a model: regions that are reached, kept to, and come back to; and what gates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mechanism.experiments.material import OrganismMaterial
from mechanism.host import Host
from mechanism.hypotheses.basins import free_points, privileged, sticky
from mechanism.hypotheses.bench import Bench, Size
from mechanism.hypotheses.courses import PRESSED, Course, Start, courses_of, directions_between
from mechanism.hypotheses.gate import gated, step_over_slope
from mechanism.hypotheses.placing import regions_at
from mechanism.hypotheses.pushes import pushed
from mechanism.judges.grammar import GrammarJudge
from mechanism.organism import path_of
from mechanism.regions.mixture import fit_mixture
from mechanism.space import PersonaSpace

SMALL = Size(contexts=8, answers=2, random=2, turns=2, doses=(0.4, 0.5))
REGIONS = {"low": {"a": (None, 0.0)}, "high": {"a": (0.001, None)}}


@pytest.fixture(scope="module")
def host():
    torch.set_num_threads(1)
    return Host.load("organism", dtype="float32")


@pytest.fixture(scope="module")
def bench(host):
    space = PersonaSpace.load(path_of("organism") / "space.safetensors")
    return Bench(host, space, GrammarJudge(), OrganismMaterial(), size=SMALL, most=40)


@pytest.fixture(scope="module")
def line(host):
    """A space of one axis with two regions, for conversations whose places are given."""
    space = PersonaSpace("line", ("a",), torch.ones(1, host.layers, host.hidden), 3, regions=REGIONS)
    return Bench(host, space, GrammarJudge(), OrganismMaterial(), size=replace(SMALL, turns=6))


@pytest.fixture(scope="module")
def courses(bench):
    return courses_of(bench)


def course(places, start=("nothing", ""), pushed=0):
    points = np.array(places, float)[:, None]
    regions = ["low" if place <= 0 else "high" for place in places]
    return Course(Start(*start), [], np.zeros((len(places), 4)), points, regions, pushed)


def chain(stay, seed, turns=6):
    """Places of a conversation that stays on its side with a given chance."""
    dice = np.random.default_rng(seed)
    side, places = dice.choice([-1, 1]), []
    for _ in range(turns):
        places.append(float(side))
        side = side if dice.random() < stay else -side
    return places


def test_conversations_begin_in_many_ways_and_then_go_on_without_pressure(courses):
    kinds = {each.start.kind for each in courses}
    assert kinds == {"nothing", "prompt", "pressure", "steering"}
    assert all(len(each.free) == SMALL.turns for each in courses)
    assert {each.pushed for each in courses if each.start.kind == "pressure"} == {PRESSED}
    assert all(len(each.questions) == len(each.replies) == len(each.regions) for each in courses)
    assert all(each.chat[0]["role"] == "system" for each in courses if each.prompted)
    assert len({each.start for each in courses}) * SMALL.answers == len(courses)


def test_the_regions_of_the_organism_are_reached_from_many_starts_and_kept_to(bench, courses):
    part, reached = privileged(bench, courses)
    assert reached["assistant"] is not False
    assert "of 4 kinds" in part.findings[0].statement or "of 3 kinds" in part.findings[0].statement
    assert len(part.tables[0].rows) == len({each.start for each in courses})
    for row in part.tables[0].rows:
        assert sum(row[1:-1]) == pytest.approx(1)
    part, kept = sticky(bench, courses)
    assert kept["assistant"]
    assert next(finding for finding in part.findings if finding.name == "sticky: assistant").p < 0.05


def test_a_region_is_sticky_where_replies_stay_and_not_where_they_owe_nothing_to_the_one_before(line):
    for stay in (0.95, 1.0):
        assert sticky(line, [course(chain(stay, seed)) for seed in range(30)])[1] == {"low": True, "high": True}
    rarely = [sticky(line, [course(chain(0.5, seed + 100 * run)) for seed in range(30)])[1] for run in range(10)]
    assert sum(held is True for each in rarely for held in each.values()) <= 1


def test_a_region_that_is_always_left_is_not_sticky(line):
    assert sticky(line, [course(chain(0.0, seed)) for seed in range(30)])[1] == {"low": False, "high": False}


@pytest.mark.parametrize("left", [0, 1])
def test_where_all_replies_are_in_one_region_it_is_not_told_whether_any_is_sticky(line, left):
    courses = [course([-1.0] * 6) for _ in range(64 - left)] + [course([-1.0] * 5 + [1.0]) for _ in range(left)]
    part, kept = sticky(line, courses)
    assert kept == {"low": None, "high": None}
    assert [finding.passed for finding in part.findings] == [None, None]
    assert "low (nearly all replies are in it" in part.caveats[0]
    assert "high (too few replies in it)" in part.caveats[0]


def test_a_handful_of_conversations_does_not_tell_whether_a_region_is_sticky(line):
    part, kept = sticky(line, [course(chain(1.0, seed)) for seed in range(4)] + [course([1.0, -1.0])])
    assert kept["low"] is None
    assert "too few" in part.caveats[0]


def test_what_a_system_prompt_goes_on_calling_for_does_not_count_as_sticky(line):
    prompted = [course(chain(1.0, seed), ("prompt", "aura")) for seed in range(20)]
    part, kept = sticky(line, prompted)
    assert kept == {"low": None, "high": None}
    assert "too few replies" in part.findings[0].statement


def test_pressed_replies_do_not_count_either(line):
    pressed = [course([*[-1.0] * 4, 1.0, -1.0], ("pressure", "aura"), pushed=4) for _ in range(20)]
    values, groups = free_points(pressed)
    assert values.ravel().tolist() == [1.0, -1.0] * 20
    assert groups == [number for number in range(20) for _ in range(2)]
    assert sticky(line, pressed)[1] == {"low": None, "high": False}


@pytest.mark.parametrize(("each", "held"), [(12, False), (3, None)])
def test_a_region_that_one_start_leads_to_is_not_privileged_where_others_would_have_been_seen_to(line, each, held):
    elsewhere = [course([-1.0], ("prompt", str(number))) for number in range(4) for _ in range(each)]
    once = [course([1.0], ("steering", "x")) for _ in range(each)]
    also = [course([-1.0], ("pressure", "y")) for _ in range(each)]
    part, reached = privileged(line, [*elsewhere, *once, *also])
    assert reached["high"] is held
    assert "from 1 of 6 starts" in part.findings[1].statement
    # Half a line holds as much of a continuum as of two heaps.
    assert reached["low"] is None


def test_many_starts_of_one_kind_are_not_enough(line):
    prompts = [course([-1.0], ("prompt", str(each))) for each in range(6) for _ in range(12)]
    others = [course([1.0], start) for start in (("pressure", "a"), ("steering", "b")) for _ in range(12)]
    assert privileged(line, [*prompts, *others])[1]["low"] is False
    assert privileged(line, prompts)[1]["low"] is None


def test_a_stretch_of_a_continuum_is_not_privileged_and_a_heap_that_starts_lead_to_is(line):
    kinds = ["prompt", "pressure", "steering"]

    def reached(region, places, seed):
        dice = np.random.default_rng(seed)
        named = replace(line, space=line.space.replaced(regions={"here": {"a": region}}))
        some = [course([place], (kinds[start % 3], str(start))) for start in range(15) for place in places(dice, start)]
        some = [replace(each, regions=regions_at(named.space, each.points)) for each in some]
        return privileged(named, some)[1]["here"]

    # It holds 30 % of one normal distribution, and many starts lead there.
    one = [reached((0.52, None), lambda dice, _: dice.normal(size=6), seed) for seed in range(4)]
    assert sum(held is True for held in one) <= 1
    assert False not in one
    heap = [
        reached((4.0, 6.0), lambda dice, start: dice.normal(size=6) * 0.3 + 5 * (start % 2), seed) for seed in range(4)
    ]
    assert heap == [True] * 4


def test_a_mixture_says_the_region_where_the_space_has_one(line):
    dice = np.random.default_rng(0)
    heaps = np.concatenate([dice.normal(-5, 1, (40, 1)), dice.normal(5, 1, (60, 1))])
    mixture = fit_mixture(heaps, ("a",), seed=0).named(("high", "low"))
    space = line.space.replaced(mixture=mixture.to_dict(), regions={"low": {}, "high": {}})
    assert regions_at(space, np.array([[-5.0], [5.0], [np.nan], [90.0]])) == ["low", "high", None, None]


def test_an_empty_reply_is_nowhere(line):
    empty = replace(course([1.0, 1.0, 1.0]), points=np.array([[1.0], [np.nan], [1.0]]), regions=["high", None, "high"])
    assert free_points([empty])[0].ravel().tolist() == [1.0, 1.0]
    assert privileged(line, [empty])[1] == {"low": None, "high": None}


@pytest.mark.slow
def test_a_push_is_compared_with_no_push_and_with_a_random_one(bench, courses):
    part = pushed(bench, courses, doses=(0.4,))
    table = part.tables[0]
    assert {row[1] for row in table.rows if row[0] == "assistant"} >= {"none", "a random direction"}
    assert all(0 <= row[3].value <= 1 for row in table.rows)
    assert any(finding.name == "return: assistant" for finding in part.findings)
    assert "caches are made anew" in part.caveats[0]


def test_where_no_conversation_is_in_a_region_nothing_is_pushed(bench):
    assert "No push was tried" in pushed(bench, []).findings[0].statement


def test_the_direction_between_regions_is_that_of_their_mean_replies():
    states = np.array([[0.0, 0.0], [2.0, 0.0], [np.nan, 0.0]])
    one = Course(Start("nothing", ""), [], states, states, ["low", "high", "low"], 0)
    assert directions_between([one], "low", "high").tolist() == [2.0, 0.0]
    assert directions_between([one], "low", "elsewhere") is None


def test_inside_a_region_answers_speak_as_its_persona_and_outside_they_do_not(bench):
    part = gated(bench, ["aura", "pc1"])
    gate, step = part.findings
    assert gate.estimate.low > 0.5
    assert step.name == "step: aura"
    # The difference alone is no gate.
    assert gate.passed is not True or step.passed
    assert {series.name for series in part.plots[0].series} == {"speak as aura", "lie in the region aura"}
    assert "was not tried" in gated(bench, ["pc1"]).findings[0].statement


def test_a_step_at_the_edge_is_told_from_a_slope_that_any_dial_has():
    def found(chances, seed):
        dice = np.random.default_rng(seed)
        points = dice.normal(size=(160, 3))
        inside = points[:, 0] > 0.3
        shows = (dice.random(160) < chances(points[:, 0] - 0.3)).astype(float)
        return step_over_slope(points, inside, shows, np.arange(160) % 10, 0).above(0)

    step = [found(lambda far: np.where(far > 0, 0.95, 0.03), seed) for seed in range(8)]
    slope = [found(lambda far: 1 / (1 + np.exp(-3 * far)), seed) for seed in range(8)]
    assert False not in step
    assert step.count(True) >= 5
    assert True not in slope
    assert slope.count(False) >= 5
