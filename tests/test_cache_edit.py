"""A cache edit changes what it says, exactly or as published, and says how far the two differ."""

import pytest
import torch
from tiny_models import KINDS, tiny_folder, tiny_host

from mechanism.cache import ProvenanceCache, states_of
from mechanism.cache_edit import CacheEdit, difference
from mechanism.host import Host
from mechanism.steering import Steering
from traces.errors import TraceError

IDS = [7, 91, 14, 33, 120, 5, 61, 77, 18, 200, 41, 9, 150, 88]
POSITIONS = [2, 3, 4, 9, 11]
REST = [position for position in range(len(IDS)) if position not in POSITIONS]
LAYERS = 4


def direction(host, *shape):
    return torch.randn(*(shape or (host.hidden,)), generator=torch.Generator().manual_seed(1))


def filled(host, key="k1"):
    cache = ProvenanceCache(key, "m", server="texas")
    with torch.inference_mode():
        for ids in (IDS[:9], IDS[9:10], IDS[10:]):
            host.model(input_ids=torch.tensor([ids]), past_key_values=cache, use_cache=True)
    return cache


def edited(host, edit, cache=None, key="k2"):
    return edit.apply(host, filled(host) if cache is None else cache, POSITIONS, IDS, key=key)


def hooks(host):
    return [(len(module._forward_hooks), len(module._forward_pre_hooks)) for module in host.model.modules()]


def steered(host, layer, vector):
    """Keys and values of a layer in an independent pass whose attention reads a steered residual stream there."""

    def steer(block, inputs, named):
        stream = inputs[0].clone()
        stream[:, POSITIONS] += vector
        return (stream, *inputs[1:]), named

    cache = ProvenanceCache("other", "m")
    handle = host.blocks[layer].register_forward_pre_hook(steer, with_kwargs=True)
    try:
        with torch.inference_mode():
            host.model(input_ids=torch.tensor([IDS]), past_key_values=cache, use_cache=True)
    finally:
        handle.remove()
    return states_of(cache)[layer]


@pytest.mark.parametrize("kind", KINDS)
def test_an_exact_edit_is_what_the_layer_computes_from_a_steered_stream(kind):
    host = tiny_host(kind)
    vector = direction(host)
    cache = filled(host)
    after, report = edited(host, CacheEdit(vector, 1.5, [0, 2]), cache)
    for layer in (0, 2):
        for state, expected, before in zip(
            states_of(after)[layer], steered(host, layer, 1.5 * vector), states_of(cache)[layer], strict=True
        ):
            assert torch.allclose(state, expected, atol=2e-5)
            assert torch.equal(state[:, :, REST], before[:, :, REST])
            assert not torch.allclose(state[:, :, POSITIONS], before[:, :, POSITIONS], atol=1e-2)
    for layer in (1, 3):
        assert all(torch.equal(*pair) for pair in zip(states_of(after)[layer], states_of(cache)[layer], strict=True))
    assert report.entries == 10
    assert report.keys > 0.01
    assert report.values > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_an_exact_edit_with_coefficient_zero_changes_nothing(kind):
    host = tiny_host(kind)
    cache = filled(host)
    after, report = edited(host, CacheEdit(direction(host), 0.0, range(LAYERS)), cache)
    assert max(report.keys, report.values) < 1e-6
    for one, two in zip(states_of(cache), states_of(after), strict=True):
        assert all(torch.allclose(a, b, atol=1e-5, rtol=1e-5) for a, b in zip(one, two, strict=True))


def test_vectors_of_all_layers_give_the_row_of_the_block_before():
    host = tiny_host()
    rows = direction(host, LAYERS, host.hidden)
    by_rows, _ = edited(host, CacheEdit(rows, 1.0, [2]))
    by_one, _ = edited(host, CacheEdit(rows[1], 1.0, [2]), key="k3")
    assert difference(by_rows, by_one).keys == 0
    with pytest.raises(TraceError, match="layer 0"):
        CacheEdit(rows, 1.0, [0, 1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_raw_edit_adds_what_the_projections_make_of_the_vector(kind):
    host = tiny_host(kind)
    rows = direction(host, LAYERS, host.hidden)
    cache = filled(host)
    after, _ = edited(host, CacheEdit(rows, 0.7, [0, 3], method="raw"), cache)
    for layer in (0, 3):
        parts = host.projections(layer)
        for state, before, projection in zip(
            states_of(after)[layer], states_of(cache)[layer], (parts.k_proj, parts.v_proj), strict=True
        ):
            added = 0.7 * (projection.weight @ rows[layer]).view(1, host.kv_heads, 1, host.head_dim)
            assert torch.allclose(state[:, :, POSITIONS], before[:, :, POSITIONS] + added, atol=1e-5)
            assert torch.equal(state[:, :, REST], before[:, :, REST])


def test_a_raw_edit_with_coefficient_zero_changes_nothing_to_the_bit():
    host = tiny_host("gpt_oss")
    cache = filled(host)
    after, report = edited(host, CacheEdit(direction(host), 0.0, [1], method="raw"), cache)
    assert (report.keys, report.values) == (0, 0)
    assert all(torch.equal(*pair) for pair in zip(states_of(after)[1], states_of(cache)[1], strict=True))


@pytest.mark.parametrize("method", ["raw", "exact"])
@pytest.mark.parametrize(("keys", "values"), [(True, False), (False, True)])
def test_keys_or_values_alone_can_be_edited(method, keys, values):
    host = tiny_host()
    cache = filled(host)
    after, report = edited(host, CacheEdit(direction(host), 1.0, [1], method=method, keys=keys, values=values), cache)
    assert (report.keys > 0, report.values > 0) == (keys, values)
    same = [torch.equal(*pair) for pair in zip(states_of(after)[1], states_of(cache)[1], strict=True)]
    assert same == [not keys, not values]


def test_the_edited_cache_is_a_new_one_that_says_what_was_done():
    host = tiny_host()
    cache = filled(host)
    before = [state.clone() for pair in states_of(cache) for state in pair]
    after, _ = edited(host, CacheEdit(direction(host), 1.0, [1, 2]), cache)
    assert all(torch.equal(*pair) for pair in zip(before, [s for pair in states_of(cache) for s in pair], strict=True))
    assert (after.key, after.how, after.source, after.taken_over, after.server) == ("k2", "edited", "k1", 14, "texas")
    spans = [(span.start, span.end, span.how, span.layers) for span in after.spans if span.how == "edited"]
    assert spans == [(2, 5, "edited", (1, 2)), (9, 10, "edited", (1, 2)), (11, 12, "edited", (1, 2))]
    assert all(span.source == "k1" and span.source_start == span.start for span in after.spans)
    with torch.inference_mode():
        host.model(input_ids=torch.tensor([[5, 6]]), past_key_values=after, use_cache=True)
    assert after.spans[-1].how == "prefilled"


def test_it_says_how_far_raw_and_exact_differ():
    host = tiny_host()
    cache = filled(host)
    raw, _ = edited(host, CacheEdit(direction(host), 1.0, [1, 2], method="raw"), cache, "raw")
    exact, _ = edited(host, CacheEdit(direction(host), 1.0, [1, 2]), cache, "exact")
    apart = difference(raw, exact)
    assert apart.entries == 10
    assert apart.keys > 0.01
    assert apart.values > 0.01
    assert (difference(exact, exact).keys, difference(exact, exact).values) == (0, 0)
    other, _ = CacheEdit(direction(host), 1.0, [1, 2]).apply(host, cache, [0], IDS, key="k")
    with pytest.raises(TraceError, match="same places"):
        difference(raw, other)


def test_an_exact_edit_goes_by_the_interventions_that_are_in_force():
    host = tiny_host()
    steering = Steering(direction(host), 2.0, [0])
    with steering.on(host):
        cache = filled(host)
        after, report = edited(host, CacheEdit(direction(host), 0.0, [1, 2, 3]), cache)
    assert max(report.keys, report.values) < 1e-6
    assert after.length == len(IDS)


@pytest.mark.parametrize("method", ["raw", "exact"])
def test_no_hook_is_left_and_the_model_computes_as_before(method):
    host = tiny_host("gemma3_text")
    with torch.inference_mode():
        # The first time, transformers hangs hooks of its own on the model, and leaves them there.
        plain = host.model(input_ids=torch.tensor([IDS]), output_hidden_states=True)
        before = hooks(host)
        edited(host, CacheEdit(direction(host), 1.0, [1, 2], method=method))
        again = host.model(input_ids=torch.tensor([IDS]), output_hidden_states=True)
    assert hooks(host) == before
    assert torch.equal(plain.logits, again.logits)
    assert len(again.hidden_states) == LAYERS + 1


def test_a_model_in_half_precision_is_edited_to_its_rounding():
    host = Host.load(str(tiny_folder()), device="cpu", dtype="bfloat16")
    cache = filled(host)
    for method in ("raw", "exact"):
        after, report = edited(host, CacheEdit(direction(host), 0.0, [1, 2], method=method), cache)
        assert after.layers[1].keys.dtype == torch.bfloat16
        assert max(report.keys, report.values) < 0.02
    exact, _ = edited(host, CacheEdit(direction(host), 1.0, [1]), cache)
    expected = steered(host, 1, direction(host).bfloat16())
    for state, other in zip(states_of(exact)[1], expected, strict=True):
        assert (state - other).float().norm() < 0.02 * other.float().norm()


def test_an_edit_within_inference_mode_is_the_same():
    host = tiny_host()
    cache = filled(host)
    one, _ = edited(host, CacheEdit(direction(host), 1.0, [1]), cache)
    with torch.inference_mode():
        two, _ = edited(host, CacheEdit(direction(host), 1.0, [1]), cache)
    assert difference(one, two).keys == 0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda host, cache: CacheEdit(direction(host), 1.0, [9]).apply(host, cache, [1], IDS, key="k"), "layer 9"),
        (lambda host, cache: CacheEdit(direction(host), 1.0, [1]).apply(host, cache, [], IDS, key="k"), "0 positions"),
        (
            lambda host, cache: CacheEdit(direction(host), 1.0, [1]).apply(host, cache, [14], IDS, key="k"),
            "1 positions",
        ),
        (
            lambda host, cache: CacheEdit(direction(host), 1.0, [1]).apply(host, cache, [-1], IDS, key="k"),
            "1 positions",
        ),
        (
            lambda host, cache: CacheEdit(direction(host), 1.0, [1]).apply(host, cache, [1], IDS[1:], key="k"),
            "13 tokens",
        ),
        (lambda host, cache: CacheEdit(direction(host), 1.0, [1], method="soft"), 'method is "soft"'),
        (lambda host, cache: CacheEdit(direction(host), 1.0, [1], keys=False, values=False), "neither"),
        (
            lambda host, cache: CacheEdit(direction(host), 1.0, [1]).apply(
                tiny_host("qwen3", 0, 2), cache, [1], IDS, key="k"
            ),
            "it has 4 layers",
        ),
    ],
)
def test_what_cannot_be_edited_is_refused(wrong, said):
    host = tiny_host()
    with pytest.raises(TraceError, match=said):
        wrong(host, filled(host))
