"""Steering, capping and ablation do what they say, where they say, and are always taken back."""

from contextlib import contextmanager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import KINDS, tiny_host

from mechanism.ablation import Ablation
from mechanism.architecture import block_output
from mechanism.cache import ProvenanceCache
from mechanism.cache_edit import CacheEdit
from mechanism.capping import Capping
from mechanism.intervention import Intervention
from mechanism.steering import Steering
from traces.errors import TraceError

IDS = [7, 91, 14, 33, 120, 5, 61, 77, 18, 200]
HIDDEN, LAYERS = 32, 4


def direction(seed=1, *shape):
    return torch.randn(*(shape or (HIDDEN,)), generator=torch.Generator().manual_seed(seed))


def logits(host, ids=IDS, cache=None):
    with torch.inference_mode():
        return host.model(input_ids=torch.tensor([ids]), past_key_values=cache, use_cache=cache is not None).logits[0]


@contextmanager
def streams(host, layer):
    """What comes out of a block, pass by pass."""
    seen = []
    handle = host.blocks[layer].register_forward_hook(lambda block, given, output: seen.append(block_output(output)[0]))
    try:
        yield seen
    finally:
        handle.remove()


def stream(host, layer, *interventions, where=None, ids=IDS):
    with streams(host, layer) as seen:
        if not interventions:
            logits(host, ids)
        else:
            with interventions[0].on(host, where):
                return torch.cat([*seen, stream(host, layer, *interventions[1:], ids=ids)])
    return torch.cat(seen)


def hooks(host):
    return [
        (len(module._forward_hooks), len(module._forward_pre_hooks)) for module in (*host.model.modules(), host.inner)
    ]


EACH = [
    Steering(direction(), 3.0, [1, 2]),
    Steering(direction(2, LAYERS, HIDDEN), 0.2, [0, 3], relative=True),
    Capping(direction(), 1.0, [1]),
    Capping(direction(), [0.5, -0.5], [0, 2], side="at most"),
    Ablation(direction(), [0, 1, 2, 3]),
]


@pytest.mark.parametrize("kind", KINDS)
def test_steering_adds_the_vector_to_what_comes_out_of_the_block(kind):
    host = tiny_host(kind)
    plain = stream(host, 1)
    assert torch.allclose(stream(host, 1, Steering(direction(), 2.0, [1])), plain + 2.0 * direction(), atol=1e-5)


def test_a_row_for_each_layer_is_used_at_its_layer():
    host, rows = tiny_host(), direction(3, LAYERS, HIDDEN)
    plain = stream(host, 2)
    assert torch.allclose(stream(host, 2, Steering(rows, 1.5, [2])), plain + 1.5 * rows[2], atol=1e-5)


def test_relative_steering_adds_a_share_of_the_streams_own_length():
    host = tiny_host()
    plain = stream(host, 1)
    steered = stream(host, 1, Steering(100 * direction(), 0.1, [1], relative=True))
    assert torch.allclose((steered - plain).norm(dim=-1), 0.1 * plain.norm(dim=-1), rtol=1e-4)


@pytest.mark.parametrize("relative", [False, True])
def test_steering_with_coefficient_zero_is_nothing_to_the_bit(relative):
    host = tiny_host()
    plain = logits(host)
    with Steering(direction(), 0.0, [0, 1, 2, 3], relative=relative).on(host):
        assert torch.equal(logits(host), plain)


@settings(max_examples=15)
@given(st.floats(-20, 20), st.sampled_from(["at least", "at most"]), st.integers(0, LAYERS - 1), st.integers(0, 99))
def test_capping_keeps_the_projection_within_the_bound_and_touches_nothing_else(threshold, side, layer, seed):
    host, vector = tiny_host(), direction(seed)
    unit = vector / vector.norm()
    plain = stream(host, layer)
    capped = stream(host, layer, Capping(vector, threshold, [layer], side=side))
    bound = plain @ unit
    expected = bound.clamp(min=threshold) if side == "at least" else bound.clamp(max=threshold)
    assert torch.allclose(capped @ unit, expected, atol=1e-4)
    within = bound == expected
    assert torch.equal(capped[within], plain[within])
    assert torch.allclose(capped - (capped @ unit)[:, None] * unit, plain - bound[:, None] * unit, atol=1e-4)


def test_each_layer_may_have_a_threshold_of_its_own():
    host, vector = tiny_host(), direction()
    unit = vector / vector.norm()
    capping = Capping(vector, [2.0, 5.0], [1, 3])
    assert (stream(host, 1, capping) @ unit).min() == pytest.approx(2.0, abs=1e-4)
    assert (stream(host, 3, capping) @ unit).min() == pytest.approx(5.0, abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_ablation_leaves_no_projection(kind):
    host, vector = tiny_host(kind), direction()
    for layer in (0, 3):
        ablated = stream(host, layer, Ablation(vector, range(LAYERS)))
        assert (ablated @ (vector / vector.norm())).abs().max() < 1e-4


@settings(max_examples=20)
@given(st.lists(st.booleans(), min_size=14, max_size=14), st.integers(1, 9), st.sampled_from(EACH))
def test_only_the_positions_meant_are_touched_in_prefill_and_in_decoding(meant, split, intervention):
    """The first touched layer of each pass, position by position, against passes with none and with all touched."""
    host, layer = tiny_host(), min(intervention.layers)
    ids = [*IDS, 41, 9, 150, 88]
    asked = []

    def where(first, count):
        asked.append((first, count))
        return torch.tensor(meant[first : first + count])

    plain, everywhere = stream(host, layer, ids=ids), stream(host, layer, intervention, ids=ids)
    cache = ProvenanceCache("k", "m")
    with streams(host, layer) as seen, intervention.on(host, where):
        for part in (ids[:split], ids[split:10], *([token] for token in ids[10:])):
            logits(host, part, cache)
    assert asked == [(0, split), (split, 10 - split), (10, 1), (11, 1), (12, 1), (13, 1)]
    touched = torch.cat(seen)
    mask = torch.tensor(meant)
    if layer == 0:
        # What comes into the first layer depends on no other position's intervention.
        expected = torch.where(mask[:, None], everywhere, plain)
        assert torch.allclose(touched, expected, atol=1e-4)
    if not mask.any():
        assert torch.allclose(touched, plain, atol=1e-5)


def test_positions_before_the_first_one_meant_are_as_without_to_the_bit():
    host = tiny_host()
    plain = logits(host)
    with Steering(direction(), 5.0, [0, 1, 2, 3]).on(host, lambda first, count: torch.arange(count) + first >= 6):
        steered = logits(host)
    assert torch.equal(steered[:6], plain[:6])
    assert not torch.allclose(steered[6], plain[6], atol=1e-2)


def test_generation_is_steered_at_the_positions_that_it_decodes():
    host = tiny_host()
    ids = torch.tensor([IDS])
    asked = []

    def where(first, count):
        asked.append((first, count))

    options = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 4, "do_sample": False, "eos_token_id": None}
    with Steering(direction(), 1.0, [1]).on(host, where):
        host.model.generate(ids, past_key_values=ProvenanceCache("k", "m"), **options)
        host.model.generate(ids, **options)
    assert asked == [(0, 10), (10, 1), (11, 1), (12, 1)] * 2


def test_several_act_in_the_order_in_which_they_were_entered_and_before_any_probe():
    host, vector = tiny_host(), direction()
    unit = vector / vector.norm()
    steering, ablation = Steering(vector, 2.0, [1]), Ablation(vector, [1])
    with streams(host, 1) as seen:
        with steering.on(host), ablation.on(host):
            logits(host)
        with ablation.on(host), steering.on(host):
            logits(host)
    assert (seen[0] @ unit).abs().max() < 1e-4
    assert torch.allclose(seen[1] @ unit, 2.0 * vector.norm().expand(10), atol=1e-4)


@pytest.mark.parametrize("intervention", EACH)
@pytest.mark.parametrize("where", [None, lambda first, count: torch.ones(count, dtype=torch.bool)])
def test_hooks_are_taken_back_also_after_an_error(intervention, where):
    host = tiny_host()
    before, plain = hooks(host), logits(host)
    acting = []

    def breaking_off():
        with intervention.on(host, where):
            acting.append(logits(host))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        breaking_off()
    assert not torch.equal(acting[0], plain)
    assert hooks(host) == before
    assert torch.equal(logits(host), plain)


def test_hooks_are_taken_back_where_the_mask_is_wrong():
    host = tiny_host()
    before = hooks(host)
    with (
        pytest.raises(TraceError, match=r"bool \[10\]"),
        Steering(direction(), 1.0, [0]).on(host, lambda first, count: torch.ones(3)),
    ):
        logits(host)
    assert hooks(host) == before


def test_the_inner_one_of_two_ends_alone():
    host, vector = tiny_host(), direction()
    outer, inner = Steering(vector, 2.0, [1]), Ablation(vector, [1])
    with outer.on(host):
        alone = logits(host)
        with inner.on(host):
            assert not torch.equal(logits(host), alone)
        assert torch.equal(logits(host), alone)


@pytest.mark.parametrize("intervention", [*EACH, CacheEdit(direction(), 0.5, [1], method="raw", values=False)])
def test_it_goes_to_another_process_and_does_the_same_there(intervention):
    facts, tensors = intervention.to_wire()
    there = Intervention.from_wire(facts, tensors)
    assert type(there) is type(intervention)
    assert there.spec("v") == intervention.spec("v")
    if not isinstance(intervention, CacheEdit):
        host = tiny_host()
        with intervention.on(host):
            expected = logits(host)
        with there.on(host):
            assert torch.equal(logits(host), expected)


def test_a_trace_says_what_was_done():
    spec = Steering(direction(), 3.0, [1, 2], "assistant", source="ours").spec("aura")
    assert (spec.kind, spec.vector, spec.layers, spec.coefficient) == ("steering", "aura", (1, 2), 3.0)
    assert (spec.positions, spec.method, spec.source) == ("assistant", "absolute", "ours")
    assert spec.digest == Ablation(direction(), [0]).spec("b").digest
    assert spec.digest != Ablation(direction(2), [0]).spec("b").digest
    assert Steering(direction(), 1.0, [0], relative=True).spec("v").method.startswith("relative")
    capping = Capping(direction(), -2.5, [0, 1], side="at most").spec("v")
    assert (capping.threshold, capping.method) == (-2.5, "at most")
    several = Capping(direction(), [1, 2], [5, 6]).spec("v")
    assert (several.threshold, several.method) == (None, "at least, by layer: 5: 1, 6: 2")
    assert Ablation(direction(), [0]).spec("v").method == "directional"
    edit = CacheEdit(direction(), 0.5, [1], method="raw", values=False).spec("v")
    assert (edit.kind, edit.coefficient, edit.method, edit.positions) == (
        "cache-edit",
        0.5,
        "raw, keys only",
        "assistant",
    )


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: Steering(torch.zeros(2, 3, 4), 1.0, [0]), r"the shape \[2, 3, 4\]"),
        (lambda: Steering(torch.tensor([1.0, float("nan")]), 1.0, [0]), "NaN"),
        (lambda: Steering(direction(), float("inf"), [0]), "coefficient is inf"),
        (lambda: Steering(direction(), 1.0, []), r"layers are \[\]"),
        (lambda: Steering(direction(), 1.0, [1, 1]), r"layers are \[1, 1\]"),
        (lambda: Steering(direction(), 1.0, [-1]), r"layers are \[-1\]"),
        (lambda: Steering(direction(1, 2, HIDDEN), 1.0, [2]), "layer 2"),
        (lambda: Capping(direction(), [1.0], [0, 1]), "1 thresholds"),
        (lambda: Capping(direction(), float("nan"), [0]), "threshold is nan"),
        (lambda: Capping(direction(), 1.0, [0], side="above"), 'side is "above"'),
        (lambda: Intervention.from_wire({"kind": "prayer"}, {}), 'kind is "prayer"'),
    ],
)
def test_what_cannot_be_meant_is_refused(wrong, said):
    with pytest.raises(TraceError, match=said):
        wrong()


@pytest.mark.parametrize(
    ("intervention", "said"),
    [
        (Steering(direction(1, 31), 1.0, [0]), "31 numbers"),
        (Steering(direction(1, 5, HIDDEN), 1.0, [0]), "5 rows"),
        (Ablation(direction(), [4]), "layer 4"),
        (Ablation(torch.zeros(HIDDEN), [0]), "zero at layer 0"),
        (Capping(torch.zeros(HIDDEN), 1.0, [1]), "zero at layer 1"),
        (CacheEdit(direction(), 1.0, [0]), "act on forward passes"),
    ],
)
def test_what_does_not_fit_the_model_is_refused_and_leaves_no_hook(intervention, said):
    host = tiny_host()
    before = hooks(host)
    with pytest.raises(TraceError, match=said), intervention.on(host):
        pass
    assert hooks(host) == before
