"""Chalmers' desiderata and predictiveness: what each number says, on worlds small enough to count by hand and at random."""

from __future__ import annotations

import csv
import io
import json
import math
import random
import re
import statistics
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats
from worlds import random_world, worlds

from individuation import VIEWS, Desiderata, TraceError, desiderata, individuate, open_trace
from individuation.criteria import find_view
from individuation.measures import COLUMNS
from individuation.memberships import MOST_MEMBERSHIPS
from individuation.predictiveness import LEAST_TURNS, Turns
from individuation.telling_scores import scores_by_name
from traces.coordinates import stage_coordinates
from traces.stages import LINKS

ROOT = Path(__file__).resolve().parent.parent
AURA = ROOT / "examples" / "qwen3-32b-aura.yaml"
PAGE = ROOT / "docs" / "desiderata.md"
READINGS = (
    {},
    {"branching": "overlap"},
    {"user_turns": "intermittent"},
    {"user_turns": "intermittent", "branching": "overlap"},
    {"reconstruction": "new", "branching": "end"},
    {"recurrence": "same", "outside": "last"},
)


def world(*conversations, **more):
    """A world of one model; a conversation is a list of turns, or a mapping as in a trace file."""
    named = {f"c{i}": talk if isinstance(talk, dict) else {"turns": talk} for i, talk in enumerate(conversations, 1)}
    for talk in named.values():
        if "parent" not in talk:
            talk["turns"][0].setdefault("model", "m")
    return {"individuation": 1, "models": {"m": {}, "n": {}}, **more, "conversations": named}


def said(*propositions, **more):
    return {"role": "assistant", "believes": list(propositions), **more}


def asked(**more):
    return {"role": "user", **more}


def read_at(*values, **more):
    """A conversation of questions and answers; the answers have these coordinates on an axis x."""
    turns = [turn for x in values for turn in (asked(), {"role": "assistant", "at": {"x": x}})]
    turns[0] |= more
    return turns


def placed(*servers_and_values, **more):
    """A world of answers on servers: minds under physical-instance that are no product of the coordinates."""
    turns = [{"role": "assistant", "server": server, "at": {"x": x}} for server, x in servers_and_values]
    return world(turns, servers=sorted({server for server, _ in servers_and_values}), **more)


# --- by hand


def test_a_reply_answers_what_its_own_mind_took_in():
    turns = [asked(server="a"), said(), asked(), said(server="b"), said(), asked(), said(server="b")]
    found = desiderata(world(turns, servers=["a", "b"]), views=["thread", "physical-instance"])
    # Three replies, one of two stages: on b, the second begins after words that a took in.
    assert found["thread"].interactivity.value == 1
    assert found["physical-instance"].interactivity.value == 2 / 3
    assert found["physical-instance"].interactivity.of == 3


def test_a_tool_is_answered_as_a_user_is_and_a_system_prompt_is_not():
    turns = [{"role": "system"}, said(), {"role": "tool"}, said()]
    assert desiderata(world(turns), views=["thread"])["thread"].interactivity.value == 0.5


def test_where_personas_are_intermittent_no_mind_takes_words_in():
    turns = [asked(), said(region="calm"), asked(), said(region="calm")]
    poised, intermittent = (
        desiderata(world(turns), views=["instance-persona"], readings={"user_turns": value})[0]
        for value in ("poised", "intermittent")
    )
    assert (poised.interactivity.value, intermittent.interactivity.value) == (1, 0)
    assert "intermittent" in intermittent.interactivity.note
    assert poised.interactivity.note == ""


def test_persistence_is_the_largest_share_of_each_conversation_weighed_by_tokens():
    servers = [asked(server="a", tokens=10), said(tokens=30), asked(server="b", tokens=5), said(server="a", tokens=5)]
    other = [asked(server="b", tokens=100), said(tokens=50)]
    found = desiderata(world(servers, other, servers=["a", "b"]))
    assert found["physical-instance"].persistence.value == (45 + 150) / 200
    assert found["model"].persistence.value == 1
    assert found["forward-pass"].persistence.value == 2 / 200
    assert found["physical-instance"].persistence.note == ""


def test_without_all_tokens_persistence_counts_stages_and_says_so():
    turns = [asked(server="a", tokens=1000), said(tokens=None), asked(server="b"), said()]
    found = desiderata(world(turns, servers=["a", "b"]), views=["physical-instance", "forward-pass"])
    assert found[0].persistence.value == 0.5
    assert "stages" in found[0].persistence.note
    assert found["forward-pass"].persistence.value is None


def test_a_mind_that_comes_back_holds_both_its_parts():
    turns = [said(region=region, tokens=1) for region in ("calm", "evil", "evil", "calm", "calm")]
    found = [
        desiderata(world(turns), views=["instance-persona"], readings={"recurrence": value})[0].persistence.value
        for value in ("new", "same")
    ]
    assert found == [2 / 5, 3 / 5]


def test_coherence_is_the_share_of_variance_between_minds():
    found = desiderata(placed(("a", 1), ("a", 3), ("b", 7), ("b", 9)), views=["thread", "physical-instance"])
    of = found["physical-instance"].coherence
    # About 5: 16 + 4 + 4 + 16; about 2 and 8: 1 + 1 + 1 + 1.
    assert of.share.value == pytest.approx(1 - 4 / 40)
    assert of.adjusted.value == pytest.approx(1 - (4 / 2) / (40 / 3))
    assert (of.minds, of.axes[0].turns) == (2, 4)
    assert of.axes[0].spread == pytest.approx(math.sqrt(40 / 3))
    assert of.axes[0].spread_within == pytest.approx(math.sqrt(2))
    assert (found["thread"].coherence.share.value, found["thread"].coherence.adjusted.value) == (0, 0)


def test_minds_of_one_turn_are_coherent_for_nothing_and_the_adjusted_number_says_so():
    found = desiderata(placed(("a", 1), ("b", 5), ("c", 2)), views=["physical-instance"])[0]
    assert (found.coherence.share.value, found.coherence.minds) == (1, 3)
    assert found.coherence.adjusted.value is None
    assert found.coherence.axes[0].spread_within is None
    assert "single turn" in found.coherence.adjusted.note


def test_users_coordinates_are_passed_over():
    without, far = (placed(("a", 1), ("a", 3), ("b", 7), ("b", 9)) for _ in range(2))
    far["conversations"]["c1"]["turns"] += [asked(at={"x": 1000.0}), asked(server="a", at={"x": -1000.0})]
    views = ["physical-instance"]
    assert desiderata(far, views=views)[0].coherence == desiderata(without, views=views)[0].coherence


def test_a_contradiction_needs_two_occasions():
    turns = [said("p", "q"), said("not p", "q"), said("r"), said("s", "not s")]
    found = desiderata(world(turns), views=["thread"])[0]
    # p and s are held and denied, q is held twice; on r there was one word only.
    assert (found.contradictions.value, found.contradictions.of) == (2 / 3, 3)
    # p and q come back once each.
    assert (found.faithfulness.value, found.faithfulness.of) == (1 / 2, 2)


def test_faithfulness_looks_at_the_last_word_and_along_one_path():
    turns = [said("p"), said("not p"), said("not p"), said("p")]
    assert desiderata(world(turns), views=["thread"])[0].faithfulness.value == 1 / 3
    elsewhere = world([said("p")], [said("not p")])
    found = desiderata(elsewhere, views=["model"])[0]
    assert found.contradictions.value == 1
    assert found.faithfulness.value is None
    assert "path" in found.faithfulness.note


def test_on_two_branches_each_is_held_to_what_was_said_before_they_parted():
    trunk = {"turns": [said("p"), asked()]}
    kept, broken = ({"parent": "c1", "at": 2, "turns": [said(word)]} for word in ("p", "not p"))
    found = desiderata(world(trunk, kept, broken), views=["thread"])[0]
    assert (found.faithfulness.value, found.faithfulness.of) == (1 / 2, 2)


def test_to_go_on_saying_both_is_not_to_be_faithful():
    found = desiderata(world([said("p", "not p"), said("p", "not p")]), views=["thread"])[0]
    assert (found.contradictions.value, found.faithfulness.value) == (1, 0)


def test_unification_is_the_largest_piece_that_caches_join():
    turns = [asked(server="a"), said(), asked(cache="rebuilt"), said(), said()]
    found = desiderata(world(turns, [asked(server="a"), said()], servers=["a"]), views=["thread", "model"])
    # Pieces of 2 and 3 stages, and one of 2: (2 + 1) joints of (4 + 1), and for the one model 2 of 6.
    assert found["thread"].unification.value == 3 / 5
    assert found["model"].unification.value == 2 / 6


def test_unknown_caches_leave_unification_open_between_bounds():
    turns = [asked(server="a"), said(), asked(server=None), said(server="a")]
    found = desiderata(world(turns, servers=["a"]), views=["thread"])[0].unification
    assert (found.value, found.low, found.high) == (None, 1 / 3, 1)
    assert "unknown for 2 of 3" in found.note


def test_a_transfer_joins_and_a_transcript_does_not():
    turns = [asked(server="a"), said(server="b", cache="transferred"), asked(model="n"), said()]
    found = desiderata(world(turns, servers=["a", "b"]), views=["thread"])[0]
    assert found.unification.value == 1 / 3


def test_a_held_out_turn_is_predicted_by_students_t():
    drawn = placed(*(("a", x) for x in (0, 2, 0, 2)), *(("b", x) for x in (10, 12, 10, 12)))
    found = desiderata(drawn, views=["physical-instance"])[0].predictiveness
    # Each turn is 4/3 from the mean of its mind's three others. Without it the squares about means are 8 - 4/3, with
    # 7 - 2 degrees of freedom: a variance of 4/3, times 1 + 1/3 for the mean, so the turn is 1 scale away, of 4/3.
    assert found.log_density == pytest.approx(stats.t.logpdf(1, 5) - math.log(4 / 3))
    others = [2, 0, 2, 10, 12, 10, 12]
    scale = statistics.stdev(others) * math.sqrt(1 + 1 / 7)
    at_0 = stats.t.logpdf(0, 6, statistics.mean(others), scale)
    others = [0, 0, 2, 10, 12, 10, 12]
    scale = statistics.stdev(others) * math.sqrt(1 + 1 / 7)
    at_2 = stats.t.logpdf(2, 6, statistics.mean(others), scale)
    # 10 and 12 lie as far from the middle on the other side.
    assert found.one_mind == pytest.approx((at_0 + at_2) / 2)
    assert found.gain.value == pytest.approx(found.log_density - found.one_mind)
    assert (found.turns, found.minds, found.floored) == (8, 2, 0)


def test_the_information_criterion_is_that_of_a_mean_for_each_mind():
    drawn = placed(*(("a", x) for x in (0, 2, 0, 2)), *(("b", x) for x in (10, 12, 10, 12)))
    found = desiderata(drawn, views=["physical-instance"])[0].predictiveness
    values = [0, 2, 0, 2, 10, 12, 10, 12]
    two = sum(stats.norm.logpdf(x, 1 if x < 5 else 11, 1) for x in values)
    one = sum(stats.norm.logpdf(x, 6, math.sqrt(26)) for x in values)
    assert found.bic == pytest.approx(3 * math.log(8) - 2 * two)
    assert found.bic_gain.value == pytest.approx(2 * math.log(8) - 2 * one - found.bic)


def test_rotation_moves_minds_along_and_counts_those_that_predict_as_well():
    drawn = placed(*(("a", x) for x in (0, 1, 0, 1)), *(("b", x) for x in (10, 11, 10, 11)))
    found = desiderata(drawn, views=["physical-instance"])[0].predictiveness
    # Of 7 rotations one lets the two minds change places.
    assert (found.rotation.value, found.rotations) == (2 / 8, 7)


def test_a_mind_of_one_turn_is_predicted_as_if_there_were_one_mind():
    drawn = placed(*((f"s{i}", x) for i, x in enumerate((1, 5, 2, 7, 3, 3, 9, 4))))
    found = desiderata(drawn, views=["physical-instance"])[0]
    assert found.predictiveness.gain.value == 0
    assert found.predictiveness.minds == 8
    assert found.predictiveness.bic_gain.value is None
    assert "fewer than two turns" in found.predictiveness.bic_gain.note


def test_where_minds_do_not_vary_the_variance_is_that_of_rounding():
    drawn = placed(*(("a", 0.5) for _ in range(4)), *(("b", 2.5) for _ in range(4)))
    found = desiderata(drawn, views=["physical-instance"])[0].predictiveness
    # Known in steps of 2: a variance of 4 / 12.
    assert found.log_density == pytest.approx(stats.t.logpdf(0, 5, 0, math.sqrt(4 / 12 * (1 + 1 / 3))))
    assert found.floored == 8
    assert any("resolution" in caveat for caveat in desiderata(drawn).caveats)


# --- laws


def test_a_thread_spans_the_whole_of_its_conversation():
    rng = random.Random(5)
    for _ in range(60):
        trace = open_trace(random_world(rng))
        for branching in ("one", "overlap"):
            assert desiderata(trace, views=["thread"], readings={"branching": branching})[0].persistence.value == 1


@given(worlds())
def test_a_finer_view_spans_no_more_and_is_no_less_coherent(drawn):
    found = desiderata(drawn)
    # In the order of semantics.md §7; where a finer view assigns fewer stages, only what it spans can be compared.
    for finer, coarser in (
        ("instance-persona", "virtual-instance"),
        ("virtual-instance", "thread"),
        ("virtual-instance", "model"),
    ):
        low, high = found[finer].persistence.value, found[coarser].persistence.value
        assert low is None or low <= high
    for finer, coarser in (("virtual-instance", "thread"), ("virtual-instance", "model")):
        low, high = found[coarser].coherence.share.value, found[finer].coherence.share.value
        assert (low is None) == (high is None)
        assert low is None or low <= high + 1e-9


@given(worlds(max_turns=9), st.sampled_from(READINGS))
def test_shares_lie_between_nothing_and_all(drawn, readings):
    for found in desiderata(drawn, readings=readings):
        for name, score in scores_by_name(found).items():
            assert score.value is None or math.isfinite(score.value)
            assert score.value is not None or score.note, (found.view, name)
            if name not in ("coherence_adjusted", "predictiveness", "bic_gain"):
                assert score.value is None or 0 <= score.value <= 1
        of = found.coherence
        assert of.adjusted.value is None or of.adjusted.value <= of.share.value <= 1
        assert found.unification.low is None or 0 <= found.unification.low < found.unification.high <= 1


@pytest.mark.parametrize("values", [(0.1, -7.3), (1e9 + 0.1, 1e9 + 0.3), (0.0, 1e-300), (3, 3.0000000000000004)])
def test_coherence_is_one_where_all_turns_of_a_mind_are_alike(values):
    drawn = placed(*((name, x) for name, x in zip("ab", values, strict=True) for _ in range(7)))
    assert desiderata(drawn, views=["physical-instance"])[0].coherence.share.value == 1


def test_the_largest_and_the_smallest_numbers_are_no_trouble():
    for scale in (1e-323, 1e-300, 1e300, 1.7e308):
        values = [("ab"[x > 0], (x + i / 16) * scale) for i in range(8) for x in (-0.5, 0.5)]
        found = desiderata(placed(*values), views=["physical-instance"])
        json.dumps(found.to_dict(), allow_nan=False)
        assert found[0].coherence.share.value > 0.5
        assert found[0].predictiveness.gain.value > 0.5


@pytest.mark.parametrize("values", [(0.1, 0.2, 0.4, 0.7, 1.1, 1.6, 2.2, 2.9), (1e9, 1e9 + 1, 1e9 + 3, *range(9))])
def test_one_mind_is_the_measure_of_predictiveness(values):
    for found in desiderata(world(read_at(*values)), views=["model", "thread", "virtual-instance"]):
        assert found.predictiveness.gain.value == 0
        assert found.predictiveness.bic_gain.value == 0
        assert found.coherence.share.value == 0


def drifting(rng, conversations=3, turns=12):
    """A world whose coordinates wander between two regions and at times are missing."""
    talks = []
    for _ in range(conversations):
        middle, talk = 0, []
        for _ in range(turns):
            middle = rng.choice((0, 4)) if rng.random() < 0.2 else middle
            at = {"x": rng.gauss(middle, 1), "y": rng.gauss(0, 1)}
            if rng.random() < 0.2:
                del at[rng.choice("xy")]
            word = rng.choice(("p", "not p", "q"))
            talk.append(asked(server=rng.choice("ab"), tokens=3))
            talk.append(said(word, server=rng.choice("ab"), tokens=rng.randint(1, 9), at=at))
        talks.append(talk)
    space = {"model": "m", "axes": ["x", "y"], "regions": {"calm": {"x": [None, 2]}, "evil": {"x": [2, None]}}}
    return world(*talks, servers=["a", "b"], spaces={"space": space})


def figures(found):
    """All numbers of all views, without names."""
    return [
        [*((s.value, s.of, s.low, s.high) for s in scores_by_name(scores).values()), scores.result.count]
        for scores in found
    ]


def close(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        if isinstance(a, list | tuple):
            close(a, b)
        else:
            assert a == (b if b is None else pytest.approx(b, rel=1e-9, abs=1e-9))


def test_names_do_not_matter():
    for seed in range(5):
        drawn = drifting(random.Random(seed))
        text = json.dumps(drawn)
        for old, new in {
            "c1": "zebra",
            "c2": "ant",
            '"a"': '"tokyo"',
            '"b"': '"lima"',
            "calm": "zen",
            '"x"': '"axis"',
            'p"': 'snow"',
        }.items():
            text = text.replace(old, new)
        assert figures(desiderata(json.loads(text))) == figures(desiderata(drawn))


def test_the_order_of_recordings_does_not_matter(tmp_path):
    paths = []
    for seed in range(3):
        paths.append(tmp_path / f"r{seed}.json")
        paths[-1].write_text(json.dumps(drifting(random.Random(seed), 2)), encoding="utf-8")
    one, other = (desiderata(open_trace(*order)) for order in (paths, paths[::-1]))
    assert one["model"].predictiveness.turns > 60
    close(figures(one), figures(other))


def test_the_unit_and_the_zero_of_an_axis_do_not_matter():
    for seed in range(5):
        drawn = drifting(random.Random(seed))
        before = figures(desiderata(drawn))
        for bounds in drawn["spaces"]["space"]["regions"].values():
            bounds["x"] = [None if bound is None else bound * 1024 + 77 for bound in bounds["x"]]
        for talk in drawn["conversations"].values():
            for turn in talk["turns"]:
                for axis in turn.get("at", ()):
                    turn["at"][axis] = turn["at"][axis] * 1024 + 77
        close(before, figures(desiderata(drawn)))


@given(worlds(branches=False, spaces=False, null_tokens=False), st.randoms(use_true_random=False))
def test_to_split_a_stage_in_two_changes_neither_replies_nor_spans(drawn, rng):
    views = ["model", "physical-instance", "thread", "virtual-instance"]
    before = desiderata(drawn, views=views)
    turns = rng.choice(list(drawn["conversations"].values()))["turns"]
    at = rng.randrange(len(turns))
    assume(turns[at]["tokens"] > 1)
    # Stages are named by their place, which moves.
    assume(not any("shared_from" in turn for talk in drawn["conversations"].values() for turn in talk["turns"]))
    turns[at]["tokens"] -= 1
    turns.insert(at + 1, {"role": turns[at]["role"], "tokens": 1, "cache": "retained"})
    after = desiderata(drawn, views=views)
    for view in views:
        assert after[view].interactivity == before[view].interactivity
        assert after[view].persistence == before[view].persistence


@pytest.mark.parametrize("seed", range(3))
def test_the_same_trace_gives_the_same_bytes(seed, tmp_path, run):
    path = tmp_path / "t.json"
    path.write_text(json.dumps(drifting(random.Random(seed))), encoding="utf-8")
    for form in ("text", "json", "csv"):
        first, second = (run("desiderata", path, "--format", form) for _ in range(2))
        assert first.exit_code == 0
        assert first.stdout == second.stdout
    assert str(desiderata(path)) == str(desiderata(path))


# --- against a plain reckoning


class Plainly:
    """The same numbers once more, by loops over minds as sets of stages."""

    def __init__(self, trace, result):
        self.stages = stages = result.stages
        found = [set(map(stages.find, mind.stages)) for mind in result.minds]
        self.minds = [mind for mind in found if mind]
        self.role = [["system", "user", "assistant", "tool"][code] for code in stages.role.tolist()]
        self.previous, self.own = stages.previous.tolist(), stages.own.tolist()
        self.kind = [LINKS[code] if code >= 0 else None for code in stages.own_kind.tolist()]
        self.says = {}
        for stage, number, holds in zip(
            stages.belief_stage.tolist(), stages.belief_proposition.tolist(), stages.belief_holds.tolist(), strict=True
        ):
            self.says.setdefault(stage, {}).setdefault(number, set()).add(holds)
        self.values = stage_coordinates(trace.recordings, stages).values.tolist()

    def path(self, stage):
        while stage >= 0:
            yield stage
            stage = self.previous[stage]

    def interactivity(self):
        replies = answers = 0
        for mind in self.minds:
            for stage in mind:
                before = self.previous[stage]
                if self.role[stage] == "assistant" and not (before in mind and self.role[before] == "assistant"):
                    replies += 1
                    answers += before in mind and self.role[before] in ("user", "tool")
        return answers / replies if replies else None

    def persistence(self):
        tokens = self.stages.tokens.tolist()
        weight = tokens if min(tokens) >= 0 else [1] * len(tokens)
        ends = {c: stage for stage, c in enumerate(self.stages.conversation.tolist())}
        most = whole = 0
        for end in ends.values():
            path = list(self.path(end))
            most += max((sum(weight[s] for s in path if s in mind) for mind in self.minds), default=0)
            whole += sum(weight[s] for s in path)
        return most / whole if self.minds else None

    def contradictions(self):
        repeated = contradicted = 0
        for mind in self.minds:
            heard = {}
            for stage in mind:
                for number, sides in self.says.get(stage, {}).items():
                    heard.setdefault(number, []).extend(sides)
            repeated += sum(len(sides) > 1 for sides in heard.values())
            contradicted += sum(len(set(sides)) == 2 for sides in heard.values())
        return contradicted / repeated if repeated else None

    def faithfulness(self):
        again = agreed = 0
        for mind in self.minds:
            for stage in mind:
                for number, sides in self.says.get(stage, {}).items():
                    earlier = (
                        s for s in self.path(self.previous[stage]) if s in mind and number in self.says.get(s, {})
                    )
                    last = next(earlier, None)
                    if last is not None:
                        again += 1
                        agreed += len(sides) == 1 and self.says[last][number] == sides
        return agreed / again if again else None

    def unification(self, kinds):
        joints = needed = 0
        for mind in self.minds:
            piece = {stage: {stage} for stage in mind}
            for stage in mind:
                if self.own[stage] in mind and self.kind[stage] in kinds:
                    joined = piece[stage] | piece[self.own[stage]]
                    piece |= dict.fromkeys(joined, joined)
            joints += max(map(len, piece.values())) - 1
            needed += len(mind) - 1
        return joints / needed if needed else None

    def coherence(self):
        shares, adjusted = [], []
        for axis in range(len(self.values[0])):
            by_mind = [
                [
                    self.values[s][axis]
                    for s in mind
                    if self.role[s] == "assistant" and not math.isnan(self.values[s][axis])
                ]
                for mind in self.minds
            ]
            by_mind = [values for values in by_mind if values]
            every = [value for values in by_mind for value in values]
            if len(set(every)) < 2:
                continue
            within = sum(squares(values) for values in by_mind)
            n, k, total = len(every), len(by_mind), squares(every)
            shares.append(1 - within / total)
            adjusted.append(1 - (within / (n - k)) / (total / (n - 1)) if n > k else None)
        if not shares:
            return None, None
        return statistics.fmean(shares), None if None in adjusted else statistics.fmean(adjusted)


def squares(values):
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values)


def agree(found, expected):
    assert found == (None if expected is None else pytest.approx(expected, rel=1e-9, abs=1e-9))


def test_every_score_is_what_a_plain_reckoning_finds():
    rng = random.Random(11)
    seen = dict.fromkeys(
        ("interactivity", "persistence", "contradictions", "faithfulness", "unification", "coherence"), 0
    )
    for round_ in range(120):
        drawn = random_world(rng, max_turns=10)
        for talk in drawn["conversations"].values():
            for turn in talk["turns"]:
                # Random worlds say little; here there is something to be faithful to.
                if turn["role"] == "assistant" and rng.random() < 0.6:
                    turn["believes"] = rng.sample(["p", "not p", "q", "not q"], rng.choice((1, 1, 2)))
        trace = open_trace(drawn)
        for scores in desiderata(trace, readings=READINGS[round_ % len(READINGS)]):
            if scores.view == "forward-pass":
                continue
            plain = Plainly(trace, scores.result)
            for name in ("interactivity", "persistence", "contradictions", "faithfulness"):
                expected = getattr(plain, name)()
                agree(getattr(scores, name).value, expected)
                seen[name] += expected is not None and 0 < expected < 1
            low = plain.unification(("attention", "transfer"))
            high = plain.unification(("attention", "transfer", "unknown"))
            agree(scores.unification.value, low if low == high else None)
            if low != high:
                agree((scores.unification.low, scores.unification.high), (low, high))
            seen["unification"] += low is not None and 0 < low < 1
            share, adjusted = plain.coherence()
            agree(scores.coherence.share.value, share)
            agree(scores.coherence.adjusted.value, adjusted)
            seen["coherence"] += share is not None and 0 < share < 1
    assert min(seen.values()) > 30, seen


def plain_densities(turns, mind, floor):
    """Turn by turn: `turns` are (conversation, values by axis)."""
    densities = []
    for i, (_, values) in enumerate(turns):
        total = 0.0
        for axis, value in values.items():
            others = [j for j in range(len(turns)) if j != i and axis in turns[j][1]]

            def at(j, axis=axis):
                return turns[j][1][axis]

            groups = {m: [at(j) for j in others if mind[j] == m] for m in {mind[j] for j in others} - {-1}}
            free = sum(map(len, groups.values())) - len(groups)
            mine = groups.get(mind[i], [])
            if not mine or free < 1:
                mine = [at(j) for j in others]
                groups, free = {0: mine}, len(mine) - 1
            within = sum(squares(group) for group in groups.values())
            scale = math.sqrt(max(within / free, floor[axis]) * (1 + 1 / len(mine)))
            total += stats.t.logpdf(value, free, statistics.fmean(mine), scale)
        densities.append(total)
    return densities


def plain_bic(turns, mind, floor):
    total = 0.0
    for axis in floor:
        pairs = [(mind[i], values[axis]) for i, (_, values) in enumerate(turns) if axis in values]
        groups = {m: [x for other, x in pairs if other == m] for m, _ in pairs}
        if len(pairs) < 2 * len(groups):
            return None
        within = sum(squares(group) for group in groups.values())
        spread = math.sqrt(max(within / len(pairs), floor[axis]))
        total -= 2 * sum(stats.norm.logpdf(x, statistics.fmean(groups[m]), spread) for m, x in pairs)
        total += (len(groups) + 1) * math.log(len(pairs))
    return total


@pytest.mark.parametrize("seed", range(4))
def test_predictiveness_is_what_a_plain_reckoning_finds(seed):
    rng = random.Random(seed)
    trace = open_trace(drifting(rng, conversations=rng.randint(1, 3), turns=rng.randint(12, 15)))
    stages = trace.stages()
    read = stage_coordinates(trace.recordings, stages)
    at = [
        (
            stage,
            {axis: x for axis, x in zip(read.probes, read.values[stage].tolist(), strict=True) if not math.isnan(x)},
        )
        for stage in np.flatnonzero(stages.assistant).tolist()
    ]
    rows = [stage for stage, values in at if values]
    turns = [(int(stages.conversation[stage]), values) for stage, values in at if values]
    floor = {
        axis: min(b - a for a, b in pairwise(sorted(values[axis] for _, values in turns if axis in values))) ** 2 / 12
        for axis in read.probes
    }
    alone = plain_densities(turns, [0] * len(turns), floor)
    for view in ("model", "thread", "physical-instance", "instance-persona", "model-persona"):
        result = individuate(trace, view)
        mind = result.verdict.mind[rows].tolist()
        found = desiderata(trace, views=[view])[0].predictiveness
        densities = plain_densities(turns, mind, floor)
        gains = [one - other for one, other in zip(densities, alone, strict=True)]
        agree(found.log_density, statistics.fmean(densities))
        agree(found.gain.value, statistics.fmean(gains))
        agree(found.error, statistics.stdev(gains) / math.sqrt(len(gains)))
        many, one = plain_bic(turns, mind, floor), plain_bic(turns, [0] * len(turns), floor)
        agree(found.bic_gain.value, None if many is None else one - many)
        longest = max(sum(c == talk for c, _ in turns) for talk in {c for c, _ in turns})
        as_good = 1
        for by in range(1, longest):
            moved = []
            for talk in sorted({c for c, _ in turns}):
                mine = [m for m, (c, _) in zip(mind, turns, strict=True) if c == talk]
                by_here = by % len(mine)
                moved += mine[by_here:] + mine[:by_here]
            as_good += statistics.fmean(plain_densities(turns, moved, floor)) > found.log_density - 1e-9
        if found.rotation.value is None:
            assert as_good == longest
        else:
            assert (found.rotation.value, found.rotations) == (as_good / longest, longest - 1)


# --- where there is nothing to say


def test_a_trace_that_says_nothing_has_dashes_and_reasons():
    found = desiderata(world([asked()]))
    for scores in found:
        for name, score in scores_by_name(scores).items():
            if name != "persistence":
                assert score.value is None
                assert score.note, (scores.view, name)
    assert found["thread"].persistence.value == 1
    assert found["physical-instance"].persistence.note == "no stage belongs to a mind"
    assert found.turns == 0
    assert "no coordinates recorded" in str(found)


def test_fewer_turns_than_the_least_predict_nothing():
    values = [float(i * i) for i in range(LEAST_TURNS)]
    few, enough = (desiderata(world(read_at(*values[:n])), views=["thread"])[0] for n in (LEAST_TURNS - 1, LEAST_TURNS))
    assert few.predictiveness.gain.value is None
    assert str(LEAST_TURNS) in few.predictiveness.gain.note
    assert few.coherence.share.value == 0
    assert enough.predictiveness.gain.value == 0


def test_coordinates_that_never_change_tell_nothing():
    found = desiderata(world(read_at(*[2.5] * 10)), views=["thread"])[0]
    assert found.coherence.share.value is None
    assert "do not vary" in found.coherence.share.note
    assert found.predictiveness.gain.value is None


def test_minds_that_share_stages_have_no_one_to_predict_a_turn():
    branch = {"parent": "c1", "at": 3, "turns": [said(at={"x": 3.0})]}
    drawn = world({"turns": read_at(*map(float, range(9)))}, branch)
    found = desiderata(drawn, views=["thread"], readings={"branching": "overlap"})[0]
    assert found.predictiveness.gain.value is None
    assert "share stages" in found.predictiveness.gain.note
    assert found.coherence.share.value is not None
    assert found.persistence.value == 1


def test_more_memberships_than_can_be_listed_are_not_listed():
    trunk = {"turns": [asked(tokens=1), *(said(tokens=1) for _ in range(4999))]}
    branches = [{"parent": "c1", "at": 5000, "turns": [said(tokens=1)]} for _ in range(1000)]
    found = desiderata(world(trunk, *branches), views=["thread"], readings={"branching": "overlap"})[0]
    assert MOST_MEMBERSHIPS < 5001 * 1000
    assert found.persistence.value == 1
    assert found.interactivity.value is None
    assert "too many" in found.unification.note


def test_forward_passes_are_scored_where_that_has_a_sense():
    found = desiderata(world([asked(tokens=3), said("p", tokens=5, at={"x": 1.0})]), views=["forward-pass"])[0]
    assert (found.interactivity.value, found.persistence.value) == (0, 1 / 8)
    for score in (found.coherence.share, found.contradictions, found.unification, found.predictiveness.gain):
        assert score.value is None
        assert "single pass" in score.note


# --- what is said


def test_views_that_go_by_the_same_coordinates_are_said_to_be_circular():
    found = desiderata(AURA)
    assert [scores.view for scores in found if scores.circular] == [
        "instance-persona", "model-persona", "abstract-model-persona",
    ]  # fmt: skip
    assert "partly circular" in found.caveats[0]
    elsewhere = desiderata(world([said(region="calm"), said(at={"x": 1}), said(at={"x": 2})]))
    assert elsewhere["model-persona"].result.count == 1
    assert not any(scores.circular for scores in elsewhere)
    assert not any("circular" in caveat for caveat in elsewhere.caveats)


def test_a_count_of_personas_never_stands_without_its_range(run):
    text = run("desiderata", AURA).stdout
    for view in ("instance-persona", "model-persona", "abstract-model-persona"):
        lines = [line for line in text.splitlines() if line.startswith(f" {view} ")]
        assert len(lines) == 2
        for line in lines:
            assert individuate(AURA, view).count_text in line
    assert re.search(r"\(\d", individuate(AURA, "instance-persona").count_text)


def test_every_number_is_explained_where_it_is_shown(run):
    text = " ".join(run("desiderata", AURA).stdout.split())
    for column in COLUMNS:
        assert column.what in text
        assert column.limits in text


def test_a_reason_is_given_for_every_dash(run):
    text = run("desiderata", AURA, "--view", "physical-instance").stdout
    assert re.search(r"^ physical-instance( +-){8}", text, re.M)
    assert "every score: no stage belongs to a mind" in text


def test_what_is_small_is_not_shown_as_nothing():
    turns = [asked(tokens=1), said(tokens=999)]
    text = str(desiderata(world(turns), views=["forward-pass"]))
    assert "<0.01" in text


def test_json_holds_everything_and_no_number_that_json_lacks(run):
    data = json.loads(run("desiderata", AURA, "--format", "json").stdout, parse_constant=pytest.fail)
    assert data == desiderata(AURA).to_dict()
    assert list(data) == ["trace", "stages", "turns_with_coordinates", "axes", "scores", "views", "caveats"]
    found = next(view for view in data["views"] if view["view"] == "instance-persona")
    assert found["range"]["low"] <= found["count"] <= found["range"]["high"]
    assert found["predictiveness"]["turns"] == 23


def test_csv_is_one_row_for_each_view(run):
    rows = list(csv.DictReader(io.StringIO(run("desiderata", AURA, "-f", "csv").stdout)))
    assert [row["view"] for row in rows] == list(VIEWS)
    by_view = {row["view"]: row for row in rows}
    found = desiderata(AURA)["instance-persona"]
    assert float(by_view["instance-persona"]["predictiveness"]) == found.predictiveness.gain.value
    assert by_view["thread"]["unification"] == ""
    assert (by_view["thread"]["unification_low"], by_view["thread"]["unification_high"]) == ("0.0", "1.0")
    assert by_view["instance-persona"]["low"] == str(found.result.range.low)


def test_in_a_notebook_names_are_escaped():
    drawn = world(read_at(*map(float, range(9))), title="<script>alert(1)</script>")
    found = desiderata(drawn)
    shown = found._repr_html_()
    assert shown.count("<table>") == 2
    assert "<script>" not in shown + desiderata(drawn | {"title": "a < b"})._repr_html_()
    assert "nats a turn" in shown


def test_scores_are_found_by_view_and_position():
    found = desiderata(AURA, views=["thread", find_view("examples/views/lineage.toml")])
    assert isinstance(found, Desiderata)
    assert found["thread"] is found[0]
    assert [scores.view for scores in found[1:]] == ["lineage"]
    with pytest.raises(TraceError, match='did you mean "thread"'):
        _ = found["thred"]
    with pytest.raises(IndexError):
        _ = found[2]


def test_readings_and_labellings_reach_the_views(run):
    text = run(
        "desiderata", AURA, "-v", "instance-persona", "-r", "user_turns=intermittent", "--labelling", "assistant-axis"
    )
    assert text.exit_code == 0
    assert "user_turns=intermittent" in text.stdout
    assert "--labelling assistant-axis --reading=user_turns=intermittent" in text.stdout


def test_all_of_the_papers_cases_can_be_scored(cases, run):
    paths = sorted(cases.glob("*.yaml"))
    assert len(paths) == 27
    for path in paths:
        found = desiderata(path)
        assert len(found) == len(VIEWS)
        text = str(found)
        assert "nan" not in text.lower().replace("finan", "")
        json.dumps(found.to_dict(), allow_nan=False)
    auras = desiderata(cases / "two-auras.yaml")
    assert (auras["model-persona"].contradictions.value, auras["instance-persona"].contradictions.value) == (1, None)
    assert run("desiderata", *paths[:5]).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--view", "thred"], 'did you mean "thread"?'),
        (["--reading", "branches=one"], 'did you mean "branching"?'),
        (["--reading", "branching"], "NAME=VALUE"),
        (["--reading", "branching=two"], "branching"),
        (["--labelling", "axis"], "assistant-axis"),
        (["--format", "xml"], "'text', 'json', 'csv'"),
        (["no-such-file.yaml"], "no-such-file.yaml"),
        (["--view", "instance-persona", "-r", "recurrence=same", "-r", "branching=overlap"], "recurrence=same"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_scored(run, arguments, says):
    result = run("desiderata", AURA, *arguments)
    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stdout == ""


def test_a_trace_that_cannot_be_read_is_refused(run, tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text("individuation: 1\nmodels: {m: {}}\nconversations: {c: {turns: [{role: user, model: n}]}}\n")
    result = run("desiderata", bad)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "n" in result.stderr


def test_the_page_defines_every_score():
    page = PAGE.read_text(encoding="utf-8")
    for column in COLUMNS:
        heading = {"bic_gain": "BIC gain", "rotation": "Rotations as good"}.get(column.name, column.name.capitalize())
        assert re.search(rf"^(## {heading}|\*\*{heading}\.\*\*)", page, re.M), heading
    assert f"**{LEAST_TURNS}** turns" in page
    assert f"{MOST_MEMBERSHIPS:,}" in page


def test_long_conversations_are_rotated_in_evenly_spaced_steps():
    n = 150_000
    values = np.stack([np.sin(np.arange(n)), np.cos(np.arange(n))], axis=1)
    talk = np.zeros(n, np.int64)
    by = Turns(["x", "y"], np.arange(n), talk, values, np.zeros(2, np.int64), np.ones(2)).rotations().tolist()
    assert len(by) == 20
    assert (by[0], by[-1]) == (1, n - 1)
    assert max(np.diff(by)) - min(np.diff(by)) <= 1
