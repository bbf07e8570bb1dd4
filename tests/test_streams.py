import functools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import KINDS, tiny_host
from torch.nn.functional import silu
from transformers import DynamicCache
from transformers.masking_utils import create_masks_for_generate

from mechanism.attention_mass import attention_mass
from mechanism.hiding import hiding_kl
from mechanism.streams import attention_streams, connectedness
from traces.errors import TraceError
from traces.vocabulary import Model

STAGES = [(0, 7), (7, 12), (12, 24), (24, 25), (25, 33)]
LENGTH = 33

torch.set_num_threads(1)


@functools.cache
def conversation(length=LENGTH, seed=0):
    return torch.randint(0, 300, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


@functools.cache
def all_kl(kind):
    return hiding_kl(tiny_host(kind), conversation(), STAGES)


def chances(host, ids, mask=None):
    """log P(next token), float32 [tokens, vocabulary], in one plain pass over everything, without a cache."""
    with torch.inference_mode():
        logits = host.model(input_ids=torch.tensor([ids]), attention_mask=mask, use_cache=False).logits[0]
    return logits.float().log_softmax(-1)


def mean_kl(full, other, span):
    part = slice(*span)
    return float((full[part].exp() * (full[part] - other[part])).sum(-1).mean())


def masks_hiding(host, tokens, queries, keys):
    """What the model would make for a pass over everything, with some keys hidden from some queries."""

    def seen(row, head, query, key):
        hidden = (query >= queries[0]) & (query < queries[1]) & (key >= keys[0]) & (key < keys[1])
        return ~hidden

    return create_masks_for_generate(
        config=host.inner.config,
        inputs_embeds=torch.empty(1, tokens, 1),
        attention_mask=None,
        past_key_values=None,
        and_mask_function=seen,
    )


# --- how many streams


def test_the_papers_model_has_64000_streams_of_width_128_after_100_tokens():
    assert Model(name="Llama 3 70B", layers=80, kv_heads=8, head_dim=128).attention_streams(100) == (64_000, 128)


@pytest.mark.parametrize("kind", KINDS)
def test_there_is_a_stream_for_each_layer_kv_head_and_prior_position_as_many_as_the_cache_has_entries(kind):
    host, cache = tiny_host(kind), DynamicCache()
    with torch.inference_mode():
        host.inner(input_ids=torch.tensor([conversation()]), past_key_values=cache, use_cache=True)
    streams = sum(layer.keys.shape[1] * layer.keys.shape[2] for layer in cache.layers)
    assert attention_streams(host, LENGTH) == (streams, cache.layers[0].keys.shape[3])


# --- attention mass


@pytest.mark.parametrize("kind", KINDS)
def test_each_stage_divides_its_whole_attention_among_itself_and_earlier_stages(kind):
    host = tiny_host(kind)
    mass = attention_mass(host, conversation(), STAGES)
    assert mass.shape == (host.layers, len(STAGES), len(STAGES))
    assert mass.dtype == np.float32
    assert (np.triu(mass, 1) == 0).all()
    if kind == "gpt_oss":  # it has sinks, which take a share
        assert (mass.sum(-1) < 1).all()
    else:
        np.testing.assert_allclose(mass.sum(-1), 1.0, atol=1e-5)


def by_hand(host, ids, stages):
    """The mass from all weights of another, eager, plain pass, summed in the plainest way."""
    before = host.inner.config._attn_implementation
    host.inner.set_attn_implementation("eager")
    with torch.inference_mode():
        weights = host.model(input_ids=torch.tensor([ids]), output_attentions=True, use_cache=False).attentions
    host.inner.set_attn_implementation(before)
    mass = np.zeros((host.layers, len(stages), len(stages)))
    for layer, each in enumerate(weights):
        for s, (start, end) in enumerate(stages):
            for e, (first, last) in enumerate(stages):
                mass[layer, s, e] = each[0, :, start:end, first:last].sum(-1).mean()
    return mass


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("memory", [1, 2**30], ids=["one query at a time", "all at once"])
def test_the_mass_is_that_of_the_attentions_that_transformers_gives_out(kind, memory):
    host = tiny_host(kind)
    mass = attention_mass(host, conversation(), STAGES, memory=memory)
    np.testing.assert_allclose(mass, by_hand(host, conversation(), STAGES), atol=1e-6)


def test_over_a_cache_that_stands_only_the_stages_asked_about_are_computed():
    host, cache = tiny_host(), DynamicCache()
    with torch.inference_mode():
        host.inner(input_ids=torch.tensor([conversation()]), past_key_values=cache, use_cache=True)
    keys, heard = cache.layers[2].keys.clone(), []
    found = attention_mass(
        host, conversation(), STAGES, of=[2, 4], cache=cache, on_progress=lambda *step: heard.append(step)
    )
    whole = attention_mass(host, conversation(), STAGES)
    np.testing.assert_allclose(found[:, [2, 4]], whole[:, [2, 4]], atol=1e-6)
    assert np.isnan(found[:, [0, 1, 3]]).all()
    assert heard == [(12, 20), (20, 20)]
    assert torch.equal(cache.layers[2].keys, keys)


def test_positions_between_stages_take_their_share():
    host = tiny_host()
    whole = attention_mass(host, conversation(), STAGES)
    gap = attention_mass(host, conversation(), [STAGES[0], *STAGES[2:]])
    np.testing.assert_allclose(gap, np.delete(np.delete(whole, 1, 1), 1, 2), atol=1e-6)


@pytest.mark.parametrize("kind", ["qwen3", "gpt_oss"])
def test_the_host_attends_afterwards_as_it_did_before_even_after_an_error(kind):
    host = tiny_host(kind)
    before, plain = host.inner.config._attn_implementation, chances(host, conversation())
    hooks = [len(module._forward_hooks) for module in host.model.modules()]
    attention_mass(host, conversation(), STAGES)
    hiding_kl(host, conversation(), STAGES[:2])

    def stop(*_):
        raise KeyboardInterrupt

    for measure in (attention_mass, hiding_kl):
        with pytest.raises(KeyboardInterrupt):
            measure(host, conversation(), STAGES, on_progress=stop)
    assert host.inner.config._attn_implementation == before
    assert torch.equal(chances(host, conversation()), plain)
    assert [len(module._forward_hooks) for module in host.model.modules()] == hooks


# --- what hiding changes


@pytest.mark.parametrize("kind", KINDS)
def test_hiding_over_a_cache_is_a_plain_pass_over_everything_with_a_mask(kind):
    host, ids = tiny_host(kind), conversation()
    full = chances(host, ids)
    for later in range(len(STAGES)):
        for earlier in range(later):
            hidden = chances(host, ids, masks_hiding(host, LENGTH, STAGES[later], STAGES[earlier]))
            assert all_kl(kind)[later, earlier] == pytest.approx(mean_kl(full, hidden, STAGES[later]), abs=2e-6)
    assert np.isnan(all_kl(kind)[np.triu_indices(len(STAGES))]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_divergence_is_never_below_zero_and_a_stage_in_reach_is_missed(kind):
    measured = all_kl(kind)[np.tril_indices(len(STAGES), -1)]
    assert (measured >= 0).all()
    assert (np.diag(all_kl(kind), -1) > 1e-5).all()


def attention_by_hand(host, ids, queries, keys):
    """A Qwen 3 written down anew, in float64, whose stage `queries` does not have the entries `keys` at all.

    Gives log P(next token) at the positions of the stage.
    """
    weights = {name: value.detach().double() for name, value in host.model.state_dict().items()}
    config = host.inner.config
    heads, kv_heads, width = config.num_attention_heads, config.num_key_value_heads, config.head_dim
    theta = config.rope_parameters["rope_theta"]

    def norm(x, name):
        return x / (x.pow(2).mean(-1, keepdim=True) + config.rms_norm_eps).sqrt() * weights[name]

    def turned(x, positions):
        angle = positions[:, None] * theta ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
        a, b = x[..., : width // 2], x[..., width // 2 :]
        cos, sin = angle.cos()[:, None], angle.sin()[:, None]
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    end = queries[1]
    where = torch.arange(end, dtype=torch.float64)
    h = weights["model.embed_tokens.weight"][torch.tensor(ids[:end])]
    for layer in range(host.layers):
        at = f"model.layers.{layer}."
        x = norm(h, at + "input_layernorm.weight")
        q = (x @ weights[at + "self_attn.q_proj.weight"].T).view(end, heads, width)
        k = (x @ weights[at + "self_attn.k_proj.weight"].T).view(end, kv_heads, width)
        v = (x @ weights[at + "self_attn.v_proj.weight"].T).view(end, kv_heads, width)
        q = turned(norm(q, at + "self_attn.q_norm.weight"), where)
        k = turned(norm(k, at + "self_attn.k_norm.weight"), where)
        out = torch.zeros(end, heads, width, dtype=torch.float64)
        for t in range(end):
            left = [p for p in range(t + 1) if not (t >= queries[0] and keys[0] <= p < keys[1])]
            for head in range(heads):
                group = head * kv_heads // heads
                out[t, head] = (k[left, group] @ q[t, head] / math.sqrt(width)).softmax(0) @ v[left, group]
        h = h + out.reshape(end, -1) @ weights[at + "self_attn.o_proj.weight"].T
        x = norm(h, at + "post_attention_layernorm.weight")
        gate = silu(x @ weights[at + "mlp.gate_proj.weight"].T)
        up = x @ weights[at + "mlp.up_proj.weight"].T
        h = h + (gate * up) @ weights[at + "mlp.down_proj.weight"].T
    h = norm(h, "model.norm.weight")
    return (h @ host.model.get_output_embeddings().weight.detach().double().T).log_softmax(-1)[queries[0] :]


@pytest.mark.parametrize(("later", "earlier"), [(1, 0), (2, 1), (4, 2), (4, 3)])
def test_hiding_a_stage_is_deleting_its_keys_and_values(later, earlier):
    host, span = tiny_host(), STAGES[later]
    full = attention_by_hand(host, conversation(), span, (0, 0))
    without = attention_by_hand(host, conversation(), span, STAGES[earlier])
    expected = float((full.exp() * (full - without)).sum(-1).mean())
    assert all_kl("qwen3")[later, earlier] == pytest.approx(expected, abs=1e-5, rel=1e-4)


@pytest.mark.parametrize("kind", ["gemma2", "qwen3"])
def test_nothing_is_lost_where_nothing_is_hidden(kind):
    # Only the first position is hidden, and kept.
    spans = [(0, 1), (1, 9), (9, LENGTH)]
    kl = hiding_kl(tiny_host(kind), conversation(), spans, keep_first=True)
    assert kl[1, 0] == kl[2, 0] == 0
    assert kl[2, 1] > 0


def test_a_stage_that_no_window_reaches_is_not_missed():
    # The window of the tiny Mistral is 8 positions, in all of its layers.
    kl = hiding_kl(tiny_host("mistral"), conversation(), [(0, 4), (4, 12), (12, LENGTH)])
    assert kl[2, 0] == 0
    assert kl[2, 1] > 0


@pytest.mark.parametrize("kind", ["qwen3", "gemma3_text", "gpt_oss"])
def test_a_batch_of_hidden_stages_is_each_of_them_alone(kind):
    host = tiny_host(kind)
    for pair in [(4, 0), (4, 2), (3, 1)]:
        alone = hiding_kl(host, conversation(), STAGES, pairs=[pair])
        assert alone[pair] == pytest.approx(all_kl(kind)[pair], abs=1e-6)
        assert np.isfinite(alone).sum() == 1


@pytest.mark.parametrize("kind", ["llama", "gpt_oss", "gemma2"])
def test_little_memory_changes_nothing_but_the_time(kind):
    long = [(0, 10), (10, 50), (50, 130)]
    host, ids = tiny_host(kind), conversation(130)
    ample = connectedness(host, ids, long)
    scarce = connectedness(host, ids, long, memory=1)
    np.testing.assert_allclose(scarce.kl, ample.kl, atol=1e-6)
    np.testing.assert_allclose(scarce.mass, ample.mass, atol=1e-6)


@settings(max_examples=12)
@given(st.lists(st.integers(1, 9), min_size=2, max_size=5), st.integers(0, 5), st.sampled_from(KINDS))
def test_however_a_conversation_is_divided_the_laws_hold(sizes, seed, kind):
    ends = np.cumsum(sizes).tolist()
    stages = list(zip([0, *ends[:-1]], ends, strict=True))
    found = connectedness(tiny_host(kind), conversation(ends[-1], seed), stages)
    assert (found.mass >= 0).all()
    assert (found.mass.sum(-1) <= 1 + 1e-5).all()
    measured = found.kl[np.tril_indices(len(stages), -1)]
    assert np.isfinite(measured).all()
    assert (measured >= 0).all()


# --- all of it


def test_what_was_measured_is_told_pair_by_pair():
    host = tiny_host()
    found = connectedness(host, conversation(), STAGES)
    pairs = list(found)
    assert [(pair.later, pair.earlier) for pair in pairs] == [(s, e) for s in range(5) for e in range(s)]
    third = found.between(3, 1)
    assert third.kl == pytest.approx(all_kl("qwen3")[3, 1], abs=1e-5)
    assert third.mass == pytest.approx(third.mass_by_layer.mean())
    assert third.mass_by_layer.shape == (host.layers,)
    assert [pair.over_sink for pair in pairs] == [pair.earlier == 0 for pair in pairs]
    assert found.between(1, 3) is None


def test_of_long_conversations_only_the_closest_stages_are_hidden():
    found = connectedness(tiny_host(), conversation(), STAGES, at_most=2)
    mass = found.mass.mean(0)
    for later in range(1, len(STAGES)):
        hidden = np.flatnonzero(np.isfinite(found.kl[later]))
        assert len(hidden) == min(later, 2)
        assert later - 1 in hidden
        if later > 2:
            others = mass[later, : later - 1]
            assert set(hidden) - {later - 1} == {int(others.argmax())}
    assert found.between(4, 3).kl == pytest.approx(all_kl("qwen3")[4, 3], abs=1e-6)


def test_a_turn_just_spoken_is_measured_over_the_cache_that_it_was_spoken_with():
    host, cache, heard = tiny_host("gemma3_text"), DynamicCache(), []
    with torch.inference_mode():
        host.inner(input_ids=torch.tensor([conversation()[:-1]]), past_key_values=cache, use_cache=True)
    found = connectedness(
        host, conversation(), STAGES, of=[4], cache=cache, on_progress=lambda *step: heard.append(step)
    )
    assert cache.get_seq_length() == LENGTH - 1
    np.testing.assert_allclose(found.kl[4, :4], all_kl("gemma3_text")[4, :4], atol=1e-6)
    assert [pair.later for pair in found] == [4] * 4
    assert heard[0] == (8, 12)
    assert heard[-1] == (12, 12)
    assert heard == sorted(heard)


def test_a_conversation_of_one_stage_rests_on_nothing():
    assert list(connectedness(tiny_host(), conversation(), [(0, LENGTH)])) == []


# --- bad input


@pytest.mark.parametrize(
    ("stages", "found"),
    [
        ([], "there are none"),
        ([(0, 4), (4, 4)], "it goes from 4 to 4"),
        ([(0, 4), (3, 9)], "it starts at 3"),
        ([(-1, 4)], "it starts at -1"),
        ([(0, 34)], "it ends at 34"),
    ],
)
def test_stages_that_cannot_be_are_refused(stages, found):
    for measure in (attention_mass, hiding_kl, connectedness):
        with pytest.raises(TraceError, match=found):
            measure(tiny_host(), conversation(), stages)


@pytest.mark.parametrize("pair", [(1, 1), (0, 1), (5, 0), (1, -1)])
def test_only_earlier_stages_can_be_hidden(pair):
    with pytest.raises(TraceError, match="is to be hidden from stage"):
        hiding_kl(tiny_host(), conversation(), STAGES, pairs=[pair])


def test_ids_that_the_model_does_not_have_are_refused():
    with pytest.raises(TraceError, match="token id 99999"):
        attention_mass(tiny_host(), [1, 99999], [(0, 2)])
    with pytest.raises(TraceError, match="token id -1"):
        hiding_kl(tiny_host(), [1, -1], [(0, 1), (1, 2)])
    with pytest.raises(TraceError, match="there are none"):
        attention_mass(tiny_host(), [], [(0, 1)])


def test_a_cache_that_does_not_hold_what_comes_before_is_refused():
    host, cache = tiny_host("mistral"), DynamicCache(config=tiny_host("mistral").inner.config)
    with torch.inference_mode():
        host.inner(input_ids=torch.tensor([conversation()]), past_key_values=cache, use_cache=True)
    for measure in (attention_mass, hiding_kl):
        with pytest.raises(TraceError, match="layer 0 holds"):
            measure(host, conversation(), STAGES, cache=cache)


def test_other_bad_requests_are_refused():
    with pytest.raises(TraceError, match="at_most"):
        connectedness(tiny_host(), conversation(), STAGES, at_most=0)
    with pytest.raises(TraceError, match="there is no stage 5"):
        connectedness(tiny_host(), conversation(), STAGES, of=[5])


def test_a_model_that_tells_no_attention_weights_is_refused(monkeypatch):
    host = tiny_host()
    monkeypatch.setattr(host.blocks[1].self_attn, "forward", lambda hidden_states, **_: (hidden_states, None))
    with pytest.raises(TraceError, match="layer 1 gives no attention weights"):
        attention_mass(host, conversation(), STAGES)


def test_a_model_that_changes_its_logits_in_an_unknown_way_is_refused():
    host = tiny_host()
    handle = host.model.register_forward_hook(lambda _, __, output: setattr(output, "logits", output.logits * 2))
    try:
        with pytest.raises(TraceError, match="its logits are not"):
            hiding_kl(host, conversation(), STAGES)
    finally:
        handle.remove()
