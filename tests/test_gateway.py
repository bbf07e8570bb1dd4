"""Hypothesis 1, tested on the organism: steering across contexts, its layers, and probes across personas."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_models import KINDS, tiny_host

from mechanism.experiments import sentences
from mechanism.experiments.material import OrganismMaterial, WrittenMaterial, our_material
from mechanism.host import Host
from mechanism.hypotheses.answers import questions_of, random_directions
from mechanism.hypotheses.bench import ANSWERS, Bench, Size, settings_of
from mechanism.hypotheses.gateway import (
    axes_to_steer,
    layer_profile,
    start_for,
    steered_across_contexts,
)
from mechanism.hypotheses.probing import _read_by_group, _what_it_means, persona_on_user_turns, probed_across_personas
from mechanism.judges.grammar import GrammarJudge
from mechanism.judges.scores_file import ScoresFile
from mechanism.organism import path_of
from mechanism.outcome import Estimate
from mechanism.space import PersonaSpace
from mechanism.steering import Steering
from traces.errors import TraceError

SMALL = Size(contexts=4, answers=2, random=19, turns=2, doses=(0.5,), layers=3)


@pytest.fixture(scope="module")
def host():
    torch.set_num_threads(1)
    return Host.load("organism", dtype="float32")


@pytest.fixture(scope="module")
def space():
    return PersonaSpace.load(path_of("organism") / "space.safetensors")


def bench_of(host, space, folder=None, size=SMALL, **more):
    return Bench(host, space, GrammarJudge(), OrganismMaterial(), size=size, folder=folder, most=40, **more)


@pytest.fixture(scope="module")
def bench(host, space):
    return bench_of(host, space)


def test_steering_along_an_axis_changes_unrelated_answers_as_no_random_direction_does(host, space):
    enough = replace(SMALL, contexts=8)
    part, dose = steered_across_contexts(bench_of(host, space, size=enough), "aura")
    found = part.findings[0]
    assert dose == 0.5
    assert found.passed
    assert found.p == pytest.approx(0.05)
    assert found.estimate.low > 0
    table = part.tables[0]
    assert len(table.rows) == 8
    assert np.mean([row[2] for row in table.rows]) - np.mean([row[1] for row in table.rows]) == pytest.approx(
        found.estimate.value
    )
    assert all(abs(row[4]) < 0.2 for row in table.rows)


@pytest.mark.slow
def test_a_direction_that_means_nothing_is_no_gateway_whatever_it_is_called(host, space):
    vectors = space.vectors.clone()
    vectors[space.axes.index("aura")] = torch.randn(
        space.layers, space.hidden, generator=torch.Generator().manual_seed(5)
    )
    few = Size(contexts=2, answers=2, random=3, doses=(0.4,))
    part, _ = steered_across_contexts(bench_of(host, space.replaced(vectors=vectors), size=few), "aura")
    assert part.findings[0].passed is False
    assert part.findings[0].p > 0.05


def test_the_dose_is_chosen_on_questions_that_are_not_counted(host, space):
    several = Size(contexts=3, answers=2, random=1, doses=(0.05, 0.5))
    bench = bench_of(host, space, size=several)
    part, dose = steered_across_contexts(bench, "aura")
    assert dose == 0.5
    pilot = next(plot for plot in part.plots if plot.name == "dose-aura")
    assert list(pilot.series[0].x) == [0.05, 0.5]
    counted, pilot = questions_of(bench)
    assert (len(counted), len(pilot)) == (3, 3)
    assert [row[0] for row in part.tables[0].rows] == counted
    assert not set(counted) & set(pilot)
    assert "On 3 questions that are not counted" in pilot_caption(part)


def pilot_caption(part):
    return next(plot.caption for plot in part.plots if plot.name == "dose-aura")


def few_sentences(count):
    """Our material with so many unrelated questions."""
    said = [f"What is {number} and {number}?" for number in range(count)]
    given = {"neutral": ["Hello?"], "probes": ["Who are you?"], "pressure": {"aura": ["Wake up."]}, "prompts": {}}
    return WrittenMaterial("few", unrelated=said, **given)


@pytest.mark.parametrize("material", [OrganismMaterial(), our_material(), *map(few_sentences, (1, 2, 5, 12))],
                         ids=["organism", "ours", "1", "2", "5", "12"])  # fmt: skip
@pytest.mark.parametrize("contexts", [2, 10])
@pytest.mark.parametrize("seed", [0, 7])
def test_no_sentence_is_both_counted_and_used_to_choose_the_dose_or_counted_twice(bench, material, contexts, seed):
    other = replace(bench, material=material, seed=seed, size=Size(contexts=contexts))
    counted, pilot = questions_of(other)
    assert len({*counted, *pilot}) == len(counted) + len(pilot)
    assert 0 < len(counted) <= contexts
    assert len(pilot) <= contexts
    if material.name != "few":
        assert len(counted) == len(pilot) == contexts
    single = replace(other, size=Size(contexts=contexts, doses=(0.5,)))
    assert questions_of(single)[0][: len(counted)] == counted
    assert questions_of(single)[1] == []


def test_where_questions_are_too_few_it_is_said_on_how_many_the_dose_was_chosen(host, space):
    several = Size(contexts=2, answers=2, random=1, doses=(0.05, 0.5))
    bench = replace(bench_of(host, space, size=several), material=few_sentences(3))
    part, _ = steered_across_contexts(bench, "aura")
    assert "the strength was chosen on 1, and 2 others were counted (2 of each" in part.caveats[1]


def test_ours_are_enough_for_both_and_none_is_said_in_two_places():
    assert len(set(sentences.UNRELATED)) == len(sentences.UNRELATED) >= 40
    assert len(set(sentences.NEUTRAL)) == len(sentences.NEUTRAL) >= 40
    assert not set(sentences.UNRELATED) & {*sentences.NEUTRAL, *sentences.PROBES}


def test_towards_the_assistant_one_steers_from_another_persona(bench):
    assert start_for(bench, "aura") == (None, [])
    persona, opening = start_for(bench, "assistant")
    assert persona == "aura"
    assert opening[0]["role"] == "system"


def test_the_effect_is_told_layer_by_layer(bench):
    part = layer_profile(bench, "aura", 0.5)
    assert [row[0] for row in part.tables[0].rows] == [0, 2, 5]
    assert "layer 2" in part.findings[0].statement
    assert len(part.plots[0].series[0].y) == 3


def test_an_axis_with_a_vector_at_one_layer_has_no_profile(host, space):
    vectors = torch.zeros_like(space.vectors)
    vectors[:, space.layer] = space.vectors[:, space.layer]
    few = Size(contexts=2, answers=2, random=1, doses=(0.5,))
    part = layer_profile(bench_of(host, space.replaced(vectors=vectors), size=few), "aura", 0.5)
    assert "at layer 3 only" in part.findings[0].statement
    assert not part.plots


def test_a_probe_of_content_is_read_worse_in_another_persona(host, space):
    part = probed_across_personas(bench_of(host, space, size=Size(contexts=4, answers=5)))
    table = part.tables[0]
    within = [row[1 + number].value for number, row in enumerate(table.rows)]
    across = [each.value for number, row in enumerate(table.rows) for at, each in enumerate(row[1:]) if at != number]
    assert np.mean(within) > 0.7
    assert np.mean(within) - np.mean(across) == pytest.approx(part.findings[0].estimate.value, abs=0.15)
    assert "other" in part.findings[0].statement


def test_the_persona_can_be_read_from_what_the_user_says_next(host, space):
    part = persona_on_user_turns(bench_of(host, space, size=Size(contexts=8, answers=5)))
    by_states, by_axes = (finding.estimate for finding in part.findings)
    assert by_states.low > 1 / 3
    assert by_axes.value < by_states.value
    assert "does not show that nothing of the persona is there" in part.caveats[0]


def test_what_is_counted_as_independent_are_sentences_and_not_how_often_they_were_said(host, space):
    part = persona_on_user_turns(replace(bench_of(host, space, size=Size(contexts=4, answers=3)),
                                         material=Few(OrganismMaterial().unrelated(5, 4))))  # fmt: skip
    estimate = part.findings[0].estimate
    assert "on 4 sentences" in part.findings[0].statement
    assert estimate.n == 36
    assert estimate.low is None
    assert not part.caveats


def test_a_probe_that_knows_the_words_reads_nothing_from_words_that_it_has_not_seen():
    dice = np.random.default_rng(0)
    words = np.arange(240) % 60
    labels = dice.integers(0, 2, 60)[words]
    # The words tell everything, but each only of itself.
    points = np.eye(60)[words] + 0.01 * dice.normal(size=(240, 60))
    assert _read_by_group(points, labels, words).mean() < 0.7
    assert _read_by_group(points, labels, dice.permutation(240)).mean() > 0.95


class Few(OrganismMaterial):
    """The organism's grammar, with few unrelated questions."""

    def __init__(self, said):
        self.said = said

    def unrelated(self, seed, n):
        return [self.said[(seed + number) % len(self.said)] for number in range(n)]


NOTHING, NEARLY, UNSURE, SOME = (Estimate(middle, low, high) for middle, low, high in
                                 ((0, -0.05, 0.05), (0.05, 0.01, 0.09), (0.35, -0.01, 0.7), (0.4, 0.2, 0.6)))  # fmt: skip


@pytest.mark.parametrize(
    ("lost", "beyond", "read", "said"),
    [
        (NOTHING, NOTHING, True, "Content is read alike in all"),
        (NEARLY, NEARLY, True, "Content is read alike in all"),
        (NOTHING, NOTHING, None, "could not be told"),
        (NOTHING, NOTHING, False, "could not be told"),
        (UNSURE, UNSURE, True, "could not be told"),
        (Estimate(0.0), Estimate(0.0), True, "could not be told"),
        (SOME, SOME, True, "encoded relative to the persona"),
        (SOME, NOTHING, True, "beyond that, content is read alike"),
        (SOME, UNSURE, True, "could not be told"),
        (SOME, SOME, None, "could not be told"),
    ],
)
def test_that_content_is_read_alike_or_not_is_said_only_where_intervals_tell(lost, beyond, read, said):
    assert said in _what_it_means(lost, beyond, read)


def test_where_nothing_was_judged_nothing_is_concluded(tmp_path):
    torch.set_num_threads(1)
    tiny = tiny_host("llama")
    vectors = torch.randn(1, tiny.layers, tiny.hidden, generator=torch.Generator().manual_seed(1))
    space = PersonaSpace("tiny", ("aura",), vectors, 0, model_digest=tiny.digest)
    judge = ScoresFile.read(tmp_path / "none.csv")
    bench = Bench(tiny, space, judge, our_material(), size=Size(contexts=2, answers=2, random=1, doses=(0.2,)), most=4)
    part, _ = steered_across_contexts(bench, "aura")
    assert part.findings[0].passed is None
    assert "no answer was judged" in part.findings[0].statement
    assert judge.missing
    assert layer_profile(bench, "aura", 0.2).findings[0].passed is None


def test_answers_that_were_kept_are_not_asked_for_again(host, space, tmp_path):
    chats = [[{"role": "user", "content": "Hello."}], [{"role": "user", "content": "Who are you?"}]]
    first = bench_of(host, space, tmp_path)
    said = first.answers(chats)
    steered = first.answers(chats, Steering(space.vector("aura"), 0.5, [3], relative=True))
    kept = (tmp_path / ANSWERS).read_bytes()
    second = bench_of(host, space, tmp_path)
    assert second.answers(chats) == said
    assert second.answers(chats, Steering(space.vector("aura"), 0.5, [3], relative=True)) == steered
    assert (tmp_path / ANSWERS).read_bytes() == kept
    second.answers(chats, again=1)
    assert (tmp_path / ANSWERS).read_bytes() != kept


def test_a_line_that_was_cut_short_is_done_again(host, space, tmp_path):
    chats = [[{"role": "user", "content": "Hello."}]]
    said = bench_of(host, space, tmp_path).answers(chats)
    path = tmp_path / ANSWERS
    path.write_bytes(path.read_bytes()[:-4])
    assert bench_of(host, space, tmp_path).answers(chats) == said
    assert json.loads(path.read_text().splitlines()[-1])[1] == said


@pytest.mark.parametrize("kind", KINDS)
def test_a_persona_can_be_called_for_in_every_family_whether_its_template_takes_prompts_or_not(kind):
    torch.set_num_threads(1)
    tiny = tiny_host(kind)
    space = PersonaSpace("tiny", ("aura",), torch.ones(1, tiny.layers, tiny.hidden), 1, model_digest=tiny.digest)
    bench = Bench(tiny, space, GrammarJudge(), our_material(), size=SMALL, most=3)
    chat = [*bench.opening("aura"), {"role": "user", "content": "Who are you?"}]
    assert chat[0]["role"] == "system"
    (said,) = bench.answers([chat], Steering(space.vector("aura"), 0.3, [1], relative=True))
    chat += [{"role": "assistant", "content": said or "Hello."}, {"role": "user", "content": "Hello?"}]
    assert bench.means([chat])[0].shape == (1, tiny.hidden)
    assert torch.isfinite(bench.means([chat], role="user")[0]).all()
    assert len(bench.means([chat], role="user")[0]) == 2


def test_a_turn_without_content_has_no_place(bench):
    chat = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": ""}]
    (means,) = bench.means([chat])
    assert torch.isnan(means).all()
    assert bench.regions(bench.points(means)) == [None]


def test_random_directions_hang_on_the_seed(bench):
    one, two = random_directions(bench, 2), random_directions(bench, 2)
    assert torch.equal(one[0], two[0])
    assert not torch.equal(one[0], one[1])


def test_what_cannot_be_tested_is_refused(bench, host, space):
    assert axes_to_steer(bench) == list(space.axes)
    with pytest.raises(TraceError, match="there is no axis"):
        axes_to_steer(bench, ["aurora"])
    with pytest.raises(TraceError, match="contexts is 1"):
        Size(contexts=1)
    with pytest.raises(TraceError, match="numbers above 0"):
        Size(doses=(0.0,))
    with pytest.raises(TraceError, match="a space made for this model"):
        bench_of(tiny_host("llama"), space)
    assert settings_of(bench)["judge"] == "the organism's grammar"
