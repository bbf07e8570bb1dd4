"""Tokens are drawn as often as they are likely, of those that transformers would keep, by a row's own dice."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.generation.logits_process import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from mechanism import dice
from mechanism.dice import Dice, drawn, row_seeds, weights_of

SEEDS = st.integers(0, 2**32)


def logits_of(seed, rows=3, vocabulary=60):
    return torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(seed)) * 2


@given(
    SEEDS, st.sampled_from([0.7, 1.0, 1.5]), st.none() | st.integers(1, 70), st.none() | st.floats(0.05, 0.99),
    st.sampled_from([4, 1024]),
)  # fmt: skip
def test_the_tokens_kept_are_those_that_transformers_keeps(seed, temperature, top_k, top_p, nucleus):
    logits = logits_of(seed)
    kept = TemperatureLogitsWarper(temperature)(None, logits)
    if top_k is not None:
        kept = TopKLogitsWarper(top_k)(None, kept)
    if top_p is not None:
        kept = TopPLogitsWarper(top_p)(None, kept)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dice, "_NUCLEUS", nucleus)
        weights = weights_of(logits, temperature, top_k, top_p)
    assert torch.equal(weights > 0, kept > -torch.inf)
    assert torch.allclose(weights / weights.sum(-1, keepdim=True), kept.softmax(-1), atol=1e-6)


def test_tokens_as_likely_as_the_last_that_is_kept_are_kept():
    logits = torch.tensor([[0.0, 2.0, 1.0, 1.0]])
    assert (weights_of(logits, 1.0, top_k=2) > 0).tolist() == [[False, True, True, True]]
    assert (weights_of(logits, 1.0, top_p=0.7) > 0).tolist() == [[False, True, True, True]]
    assert torch.equal(weights_of(logits, 1.0, top_k=0, top_p=1.0), weights_of(logits, 1.0))


@given(SEEDS, st.sampled_from([{"top_k": 1}, {"top_p": 1e-9}]))
def test_the_likeliest_alone_is_what_is_drawn_at_temperature_0(seed, kept):
    logits, throws = logits_of(seed), Dice([seed, seed + 1, seed + 2]).throw()
    assert torch.equal(drawn(weights_of(logits, 1.5, **kept), throws), logits.argmax(-1, keepdim=True))
    assert torch.equal(drawn(weights_of(logits, 1e-30), throws), logits.argmax(-1, keepdim=True))


@given(SEEDS, st.permutations(range(5)))
def test_a_row_is_drawn_by_its_own_dice_wherever_it_stands(seed, order):
    weights, seeds = weights_of(logits_of(seed, rows=5), 1.0), [seed + number for number in range(5)]
    together = Dice(seeds)
    throws = [together.throw() for _ in range(3)]
    moved = Dice([seeds[at] for at in order])
    for throw in throws:
        assert torch.equal(drawn(weights, throw)[list(order)], drawn(weights[list(order)], moved.throw()))


@pytest.mark.parametrize("throw", [0, 1, 2**30, 2**31 - 1])
def test_no_token_without_weight_is_drawn(throw):
    weights = torch.tensor([[0, 2**31, 0, 0], [0, 0, 1, 0], [0, 3, 0, 2**31 + 200_000]])
    found = drawn(weights, torch.full((3, 1), throw))
    assert (weights.gather(-1, found) > 0).all()


def test_tokens_come_as_often_as_they_are_likely():
    chances = torch.tensor([0.5, 0.0, 0.3, 0.15, 0.05])
    rows = 20_000
    weights = weights_of(chances.log().expand(rows, -1), 1.0)
    counts = drawn(weights, Dice(row_seeds(0, [[1]] * rows)).throw()).flatten().bincount(minlength=5)
    assert torch.allclose(counts / rows, chances, atol=0.015)
    assert counts[1] == 0


@given(st.integers(), st.lists(st.lists(st.integers(0, 3), max_size=3), max_size=8))
def test_seeds_hang_on_the_prompt_and_on_how_often_it_was_there(seed, prompts):
    seeds = row_seeds(seed, prompts)
    assert len(set(seeds)) == len(prompts)
    for at, prompt in enumerate(prompts):
        assert row_seeds(seed, [prompt] * len(prompts))[prompts[:at].count(prompt)] == seeds[at]
    assert not set(seeds) & set(row_seeds(seed + 1, prompts))
