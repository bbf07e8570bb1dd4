import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import KINDS, tiny_host

from mechanism.probe import Probes, content_mean
from mechanism.space import PersonaSpace
from mechanism.steering import Steering
from traces.errors import TraceError

torch.set_num_threads(1)


def space_of(host, layer=1, axes=("assistant", "evil"), seed=1, **fields):
    vectors = torch.randn(len(axes), host.layers, host.hidden, generator=torch.Generator().manual_seed(seed))
    return PersonaSpace("invented", tuple(axes), vectors, layer, host.name, host.digest, **fields)


def hooks_on(host):
    # transformers puts hooks of its own on blocks when hidden states are first asked for, and lets them stay.
    return [dict(block._forward_hooks) for block in host.blocks]


def ids_of(host, tokens=30, seed=2):
    return torch.randint(0, host.model.config.vocab_size, (1, tokens), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", KINDS)
def test_readings_are_the_projections_of_hidden_states_on_the_unit_axes(kind):
    host = tiny_host(kind)
    probes = Probes.of(space_of(host), host, layers=range(host.layers))
    with torch.no_grad(), probes.read(host) as reader:
        states = host.inner(input_ids=ids_of(host), output_hidden_states=True).hidden_states
    readings = reader.take()
    assert readings.dtype == np.float32
    assert readings.shape == (30, 2 * host.layers)
    space = space_of(host)
    # The last of hidden_states is after the final norm, so the last block has no entry there.
    for column, (axis, layer) in enumerate(zip(probes.axes, probes.layers, strict=True)):
        if layer < host.layers - 1:
            vector = space.vectors[space.axes.index(axis), layer].double()
            expected = states[layer + 1][0].double() @ vector / vector.norm()
            np.testing.assert_allclose(readings[:, column], expected.numpy(), atol=1e-5)


def test_the_last_block_is_read_before_the_final_norm():
    host = tiny_host()
    probes = Probes.of(space_of(host, layer=3), host)
    seen = []
    handle = host.inner.norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad(), probes.read(host) as reader:
        host.inner(input_ids=ids_of(host))
    handle.remove()
    expected = seen[0][0] @ space_of(host, layer=3).direction("assistant")
    np.testing.assert_allclose(reader.take()[:, 0], expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_reading_changes_no_logit_and_leaves_no_hook(kind):
    host, ids = tiny_host(kind), ids_of(tiny_host(kind))
    before = hooks_on(host)
    with torch.no_grad():
        plain = host.model(input_ids=ids).logits
        with Probes.of(space_of(host), host, layers=range(host.layers)).read(host):
            read = host.model(input_ids=ids).logits
    assert torch.equal(plain, read)
    assert hooks_on(host) == before


def test_hooks_are_removed_when_a_pass_fails():
    host = tiny_host()
    before = hooks_on(host)
    with pytest.raises(IndexError), torch.no_grad(), Probes.of(space_of(host), host).read(host):
        host.model(input_ids=torch.tensor([[10**6]]))
    assert hooks_on(host) == before


def test_what_is_generated_is_read_as_one_pass_over_it_would_be():
    host, ids = tiny_host(), ids_of(tiny_host(), tokens=7)
    probes = Probes.of(space_of(host), host, layers=[0, 2])
    with probes.read(host) as live:
        plain = host.model.generate(ids, do_sample=False, max_new_tokens=12, min_new_tokens=12)
    with torch.no_grad(), probes.read(host) as once:
        host.inner(input_ids=plain)
    generated, replayed = live.take(), once.take()
    # The token sampled last was not fed back, so it was not read.
    assert len(generated) == len(replayed) - 1
    np.testing.assert_allclose(generated, replayed[:-1], atol=1e-5)


def test_sampling_with_a_seed_gives_the_same_tokens_with_and_without_probes():
    host, ids = tiny_host(), ids_of(tiny_host(), tokens=7)
    given = {"do_sample": True, "max_new_tokens": 12, "min_new_tokens": 12}
    torch.manual_seed(5)
    plain = host.model.generate(ids, **given)
    torch.manual_seed(5)
    with Probes.of(space_of(host), host).read(host):
        assert torch.equal(host.model.generate(ids, **given), plain)


def test_passes_come_one_after_the_other_and_are_taken_once():
    host = tiny_host()
    with torch.no_grad(), Probes.of(space_of(host), host, layers=[2]).read(host) as reader:
        host.inner(input_ids=ids_of(host, 5))
        host.inner(input_ids=ids_of(host, 3))
        both = reader.take()
        host.inner(input_ids=ids_of(host, 3))
        again = reader.take()
        assert reader.take().shape == (0, 4)
    assert both.shape == (8, 4)
    assert np.array_equal(both[5:], again)


def test_passes_while_paused_are_not_read():
    host = tiny_host()
    with torch.no_grad(), Probes.of(space_of(host), host).read(host) as reader:
        with reader.paused():
            host.inner(input_ids=ids_of(host, 5))
        host.inner(input_ids=ids_of(host, 3))
        assert len(reader.take()) == 3


def test_an_intervention_shows_in_the_readings_whichever_was_entered_first():
    host = tiny_host()
    space = space_of(host, layer=2)
    probes = Probes.of(space, host)
    steering = Steering(space.direction("assistant"), 3.0, layers=[2])
    with torch.no_grad(), probes.read(host) as reader:
        host.inner(input_ids=ids_of(host))
        plain = reader.take()
        with steering.on(host):
            host.inner(input_ids=ids_of(host))
        after = reader.take()
    np.testing.assert_allclose(after[:, 0] - plain[:, 0], 3.0, atol=1e-4)


def test_several_sequences_at_once_are_refused():
    host = tiny_host()
    with (
        torch.no_grad(),
        Probes.of(space_of(host), host).read(host),
        pytest.raises(TraceError, match="2 sequences at once"),
    ):
        host.inner(input_ids=ids_of(host).expand(2, -1))


def test_a_pass_that_breaks_off_is_not_taken_for_a_reading():
    host = tiny_host()

    def fail(module, inputs, output):
        raise KeyboardInterrupt

    with torch.no_grad(), Probes.of(space_of(host), host, layers=[0, 3]).read(host) as reader:
        handle = host.blocks[2].register_forward_hook(fail)
        with pytest.raises(KeyboardInterrupt):
            host.inner(input_ids=ids_of(host))
        handle.remove()
        with pytest.raises(TraceError, match="broke off"):
            reader.take()
        host.inner(input_ids=ids_of(host, 4))
        assert len(reader.take()) == 4


def test_keys_name_the_axis_at_the_spaces_layer_and_axis_and_layer_elsewhere():
    host = tiny_host()
    probes = Probes.of(space_of(host, layer=2, signs={"assistant": "+ is assistant"}), host, layers=[0])
    assert probes.keys == ("assistant@0", "evil@0", "assistant", "evil")
    assert probes.last_layer == 2
    facts = probes.facts()
    assert list(facts) == list(probes.keys)
    assert facts["assistant@0"].axis == "assistant"
    assert (facts["assistant@0"].layer, facts["assistant"].layer) == (0, 2)
    assert facts["assistant"].pooling == "content-mean"
    assert "sha256:" in facts["assistant"].source
    assert "+ is assistant" in facts["assistant"].source


def test_an_axis_without_a_vector_at_a_layer_is_refused():
    host = tiny_host()
    vectors = space_of(host).vectors.clone()
    vectors[1, 3] = 0
    space = space_of(host).replaced(vectors=vectors)
    with pytest.raises(TraceError, match=r'"evil" has no vector at layer 3.\nExpected: one of the layers 0, 1, 2\.'):
        Probes.of(space, host, layers=[3])
    with pytest.raises(TraceError, match="the layer is 4"):
        Probes.of(space, host, layers=[4])


def test_vectors_taken_after_the_final_norm_are_not_read_with():
    host = tiny_host()
    space = space_of(host, made={"after_final_norm": 3})
    assert Probes.of(space, host).layers == (1, 1)
    with pytest.raises(TraceError, match="after the final norm"):
        Probes.of(space, host, layers=[3])


@given(st.lists(st.tuples(st.sampled_from("cth"), st.floats(-1e3, 1e3, width=32)), min_size=1, max_size=40))
def test_a_turns_coordinate_is_the_mean_over_its_content_tokens(tokens):
    readings = np.array([[value, -value] for _, value in tokens], np.float32)
    content = [value for mark, value in tokens if mark == "c"]
    mean = content_mean(readings, "".join(mark for mark, _ in tokens))
    if not content:
        assert mean is None
    else:
        np.testing.assert_allclose(mean, [np.mean(content), -np.mean(content)], atol=1e-9)


def test_tokens_that_were_not_read_are_left_out_of_the_mean():
    assert content_mean(np.array([[1.0], [3.0], [np.nan]], np.float32), "ccc").tolist() == [2.0]
    assert content_mean(np.full((2, 1), np.nan, np.float32), "cc") is None
    with pytest.raises(TraceError, match="2 tokens with 3 marks"):
        content_mean(np.zeros((2, 1), np.float32), "ccc")
