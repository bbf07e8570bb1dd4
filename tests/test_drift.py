"""How far a rebuilt cache lies from the original one."""

import math

import pytest
import torch
from tiny_models import tiny_host

from mechanism.cache import ProvenanceCache, states_of
from mechanism.drift import Drift, compare, next_token_kl
from traces.errors import TraceError

IDS = [7, 91, 14, 33, 120, 5, 61, 77, 18, 200, 41, 9]


def feed(host, cache, ids):
    with torch.inference_mode():
        return host.model(input_ids=torch.tensor([ids]), past_key_values=cache, use_cache=True).logits[0, -1]


def filled(host, *parts):
    cache = ProvenanceCache("k1", "m")
    for ids in parts:
        feed(host, cache, ids)
    return cache


def disturbed(cache, by=0.1, key="k2"):
    other = cache.fork(cache.length, key)
    for keys, values in states_of(other):
        keys += by * keys.norm() / math.sqrt(keys.numel())
        values *= 1 + by
    return other


def test_a_cache_does_not_drift_from_itself():
    cache = filled(tiny_host(), IDS)
    drift = compare(cache, cache)
    assert (drift.largest, drift.mean) == (0, 0)
    assert next_token_kl(tiny_host(), cache, cache, IDS[-1]) == 0


def test_a_prefill_in_one_pass_drifts_by_rounding_only():
    host = tiny_host()
    decoded = filled(host, *([token] for token in IDS))
    rebuilt = filled(host, IDS)
    assert 0 < compare(decoded, rebuilt).largest < 1e-5
    assert next_token_kl(host, decoded, rebuilt, IDS[-1]) < 1e-9


def test_the_distance_is_relative_and_by_layer():
    cache = filled(tiny_host(), IDS)
    drift = compare(cache, disturbed(cache, 0.1))
    assert drift.keys == pytest.approx([0.1] * 4, rel=1e-4)
    assert drift.values == pytest.approx([0.1] * 4, rel=1e-4)
    assert drift.largest == pytest.approx(0.1, rel=1e-4)
    assert drift.by_layer() == {"keys": drift.keys, "values": drift.values}


def test_it_can_be_measured_over_some_positions():
    cache = filled(tiny_host(), IDS)
    other = cache.fork(12, "k2")
    other.layers[1].values[:, :, 8:] *= 2
    assert compare(cache, other, slice(0, 8)).largest == 0
    assert compare(cache, other, slice(8, None)).values == pytest.approx([0, 1, 0, 0])


def test_the_divergence_is_that_of_the_two_next_token_distributions():
    host = tiny_host()
    original = filled(host, IDS)
    other = disturbed(original, 0.3)
    kl = next_token_kl(host, original, other, IDS[-1])
    logits = []
    for cache in (original, other):
        rest = cache.fork(11, "k3")
        logits.append(feed(host, rest, IDS[-1:]))
    expected = torch.nn.functional.kl_div(
        logits[1].double().log_softmax(-1), logits[0].double().softmax(-1), reduction="sum"
    )
    assert kl == pytest.approx(float(expected), rel=1e-9)
    assert kl > 1e-4


def test_the_token_may_be_one_that_neither_cache_covers():
    host = tiny_host()
    original = filled(host, IDS)
    other = disturbed(original, 0.3)
    one, two = (feed(host, cache.fork(12, "k3"), [55]).double().log_softmax(-1) for cache in (original, other))
    expected = float((one.exp() * (one - two)).sum())
    assert next_token_kl(host, original, other, 55, cached=False) == pytest.approx(expected, rel=1e-9)


def test_measuring_leaves_both_caches_as_they_were():
    host = tiny_host()
    caches = [filled(host, IDS), filled(host, IDS[:6], IDS[6:])]
    before = [[state.clone() for pair in states_of(cache) for state in pair] for cache in caches]
    spans = [cache.spans for cache in caches]
    compare(*caches)
    next_token_kl(host, *caches, IDS[-1])
    after = [[state for pair in states_of(cache) for state in pair] for cache in caches]
    assert all(torch.equal(a, b) for one, two in zip(before, after, strict=True) for a, b in zip(one, two, strict=True))
    assert [cache.spans for cache in caches] == spans


def test_zeros_drift_from_zeros_by_nothing_and_from_others_beyond_all_measure():
    nothing, something = ProvenanceCache("a", "m"), ProvenanceCache("b", "m")
    nothing.update(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), 0)
    something.update(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2), 0)
    assert compare(nothing, something) == Drift(keys=[0.0], values=[math.inf])
    empty = ProvenanceCache("c", "m")
    assert compare(empty, empty).largest == 0


def test_caches_of_other_shapes_are_refused():
    host = tiny_host()
    with pytest.raises(TraceError, match="the same positions"):
        compare(filled(host, IDS), filled(host, IDS[:11]))
    with pytest.raises(TraceError, match="12 and 11 positions"):
        next_token_kl(host, filled(host, IDS), filled(host, IDS[:11]), IDS[-1])
    with pytest.raises(TraceError, match="0 and 0 positions"):
        next_token_kl(host, ProvenanceCache("a", "m"), ProvenanceCache("b", "m"), 3)
