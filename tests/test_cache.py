"""A KV cache knows where each of its entries comes from, whatever is done to it."""

import copy

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_models import KINDS, tiny_host
from transformers import DynamicCache

from mechanism.cache import ProvenanceCache, states_of
from mechanism.span import Span, check_total
from mechanism.transfer import cache_from_bytes, cache_to_bytes
from traces.errors import TraceError
from traces.vocabulary import CacheSpan

IDS = [7, 91, 14, 33, 120, 5, 61, 77, 18, 200, 41, 9, 150, 88, 3, 64, 27, 110, 52, 99]


def feed(host, cache, ids):
    with torch.inference_mode():
        return host.model(input_ids=torch.tensor([ids]), past_key_values=cache, use_cache=True).logits


def filled(host, ids=IDS, key="k1", **origin):
    cache = ProvenanceCache(key, "m", **origin)
    feed(host, cache, ids)
    return cache


def grown(cache, count):
    """What a forward pass over so many tokens does to a cache, without a model."""
    for layer in range(2):
        state = torch.randn(1, 2, count, 4)
        cache.update(state, -state, layer)


def ways(cache):
    return [(span.start, span.end, span.how) for span in cache.spans]


def test_entries_of_one_pass_are_prefilled_and_single_ones_decoded():
    host = tiny_host()
    cache = filled(host, IDS[:6], server="texas")
    for token in IDS[6:9]:
        feed(host, cache, [token])
    feed(host, cache, IDS[9:12])
    assert ways(cache) == [(0, 6, "prefilled"), (6, 9, "decoded"), (9, 12, "prefilled")]
    assert {span.server for span in cache.spans} == {"texas"}
    assert all(span.time.endswith("Z") for span in cache.spans)
    assert cache.origin(8) is cache.spans[1]


def test_entries_decoded_on_another_server_are_a_span_of_their_own():
    cache = ProvenanceCache("k", "m", server="a")
    grown(cache, 1)
    cache.server = "b"
    grown(cache, 1)
    assert [(span.how, span.server) for span in cache.spans] == [("decoded", "a"), ("decoded", "b")]


def test_generate_fills_it_and_changes_no_token():
    host = tiny_host()
    ids = torch.tensor([IDS])
    options = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 6, "do_sample": False, "eos_token_id": None}
    plain = host.model.generate(ids, **options)
    cache = ProvenanceCache("k", "m")
    assert host.model.generate(ids, past_key_values=cache, **options).tolist() == plain.tolist()
    assert ways(cache) == [(0, 20, "prefilled"), (20, 25, "decoded")]


def test_generate_feeds_the_prompt_again_where_the_cache_covers_all_of_it():
    """Why a session leaves one token uncached: transformers says nothing, the spans show it."""
    host = tiny_host()
    cache = filled(host)
    ids = torch.tensor([IDS])
    host.model.generate(ids, attention_mask=torch.ones_like(ids), past_key_values=cache, max_new_tokens=1)
    assert ways(cache) == [(0, 20, "prefilled"), (20, 40, "prefilled")]


def test_beams_and_repeated_rows_leave_the_spans_as_they_are():
    host = tiny_host()
    ids = torch.tensor([IDS])
    cache = ProvenanceCache("k", "m")
    options = {"num_beams": 3, "max_new_tokens": 5, "do_sample": False, "eos_token_id": None}
    host.model.generate(ids, attention_mask=torch.ones_like(ids), past_key_values=cache, **options)
    assert ways(cache) == [(0, 20, "prefilled"), (20, 24, "decoded")]
    cache.batch_select_indices(torch.tensor([1]))
    cache.batch_repeat_interleave(2)
    cache.reorder_cache(torch.tensor([1, 0]))
    assert cache.layers[0].keys.shape[0] == 2
    assert ways(cache) == [(0, 20, "prefilled"), (20, 24, "decoded")]


@pytest.mark.parametrize("kind", KINDS)
def test_all_layers_keep_all_positions_and_compute_what_the_models_own_cache_does(kind):
    host = tiny_host(kind)
    own, ours = DynamicCache(config=host.model.config), ProvenanceCache("k", "m")
    for ids in (IDS[:12], IDS[12:13], IDS[13:14], IDS[14:]):
        assert torch.allclose(feed(host, own, ids), feed(host, ours, ids), atol=2e-5)
    assert all(
        keys.shape == values.shape == (1, host.kv_heads, len(IDS), host.head_dim) for keys, values in states_of(ours)
    )
    ours.check_fits(host)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fork_goes_on_to_the_same_logits_to_the_bit(kind):
    host = tiny_host(kind)
    cache = filled(host, IDS[:12])
    whole = copy.deepcopy(cache)
    branch = cache.fork(9, "k2", server="b")
    cache.crop(-3)
    assert torch.equal(feed(host, branch, IDS[12:]), feed(host, cache, IDS[12:]))
    assert torch.equal(feed(host, whole, IDS[12:]), feed(host, filled(host, IDS[:12]), IDS[12:]))
    shared = branch.spans[0]
    assert (shared.start, shared.end, shared.how, shared.source, shared.source_start) == (0, 9, "shared", "k1", 0)
    assert (branch.how, branch.source, branch.taken_over, branch.server) == ("decoded", "k1", 9, "b")


def test_a_fork_shares_no_memory_and_is_no_inference_tensor():
    cache = filled(tiny_host())
    with pytest.raises(RuntimeError, match="inference tensor"):
        cache.layers[0].keys.add_(1)
    branch = cache.fork(20, "k2")
    branch.layers[0].keys.add_(1)
    assert torch.allclose(branch.layers[0].keys, cache.layers[0].keys + 1)


def test_a_fork_at_the_beginning_is_empty():
    branch = filled(tiny_host()).fork(0, "k2")
    assert (branch.length, branch.spans, branch.source) == (0, (), "k1")
    grown(branch, 2)
    assert ways(branch) == [(0, 2, "prefilled")]


def test_a_cache_can_be_cropped_to_nothing_and_filled_again():
    host = tiny_host()
    cache = filled(host)
    cache.crop(-20)
    assert (cache.length, cache.spans) == (0, ())
    assert torch.equal(feed(host, cache, IDS), feed(host, ProvenanceCache("k", "m"), IDS))


def test_a_positive_crop_keeps_so_many_positions():
    cache = filled(tiny_host())
    cache.crop(8)
    assert (cache.length, ways(cache)) == (8, [(0, 8, "prefilled")])
    cache.crop(50)
    assert cache.length == 8


def test_edited_positions_are_cut_out_of_their_spans():
    cache = filled(tiny_host()).fork(20, "k2")
    cache.mark_edited([3, 4, 10], [1, 2], "k1")
    assert ways(cache) == [
        (0, 3, "shared"),
        (3, 5, "edited"),
        (5, 10, "shared"),
        (10, 11, "edited"),
        (11, 20, "shared"),
    ]
    assert [span.source_start for span in cache.spans] == [0, 3, 5, 10, 11]
    assert cache.origin(4).layers == (1, 2)


def test_a_span_says_the_same_in_the_words_of_a_trace_file():
    span = Span(3, 5, "edited", "k1", 3, "texas", "2026-04-14T16:33:03.000Z", (1, 2))
    assert Span.from_fact(span.to_fact()) == span
    assert CacheSpan(**span.to_fact()).layers == (1, 2)
    assert Span(0, 2, "decoded").to_fact() == {"start": 0, "end": 2, "how": "decoded"}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda cache: cache.fork(21, "k2"), "cannot be forked after 21"),
        (lambda cache: cache.origin(20), "position 20 is not in it"),
        (lambda cache: cache.mark_edited([20], [0], "k1"), "positions outside it"),
        (lambda cache: cache.check_fits(tiny_host(layers=2)), "it has 4 layers"),
        (lambda cache: ProvenanceCache("k", "m", how="grown"), 'how is "grown"'),
        (
            lambda cache: ProvenanceCache.holding(states_of(cache), [Span(0, 3, "decoded")], "k", "m"),
            "cover 3 positions",
        ),
        (lambda cache: check_total([Span(1, 3, "decoded")], 3, "k"), "goes from 1 to 3"),
    ],
)
def test_what_cannot_be_is_refused(wrong, said):
    with pytest.raises(TraceError, match=said):
        wrong(filled(tiny_host()))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("grow"), st.integers(1, 4)),
        st.tuples(st.just("crop"), st.integers(0, 5)),
        st.tuples(st.just("fork"), st.integers(0, 12)),
        st.tuples(st.just("edit"), st.sets(st.integers(0, 12))),
        st.tuples(st.sampled_from(["transfer", "copy", "move"]), st.none()),
    ),
    max_size=12,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_every_entry_has_one_origin_whatever_is_done(steps):
    cache = ProvenanceCache("k0", "m", server="s0")
    grown(cache, 3)
    entries = {"k0": cache}
    for number, (step, value) in enumerate(steps, 1):
        key = f"k{number}"
        if step == "grow":
            grown(cache, value)
        elif step == "crop":
            cache.crop(-value)
        elif step == "fork":
            cache = cache.fork(min(value, cache.length), key)
        elif step == "edit":
            before = cache
            cache = before.fork(before.length, key)
            cache.mark_edited([position for position in value if position < cache.length], [1], before.key)
        elif step == "transfer":
            cache = cache_from_bytes(cache_to_bytes(cache), key=key, server=f"s{number}").cache
        elif step == "copy":
            cache = copy.deepcopy(cache)
        else:
            cache.server = f"s{number}"
        entries[cache.key] = cache
        check_total(cache.spans, cache.length, cache.key)
        assert all(
            (span.source is None) == (span.source_start is None) == (span.how in ("decoded", "prefilled"))
            for span in cache.spans
        )
        assert all(span.source != cache.key for span in cache.spans)
        for position in range(cache.length):
            origin = cache.origin(position)
            assert origin.start <= position < origin.end
