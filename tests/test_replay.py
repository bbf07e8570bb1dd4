import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_probe import hooks_on, space_of
from tiny_models import KINDS, tiny_host

from mechanism.probe import Probes
from mechanism.replay import LARGEST_FILL, passes, read_tokens, replay
from traces.errors import TraceError


def sequences_of(host, lengths, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, host.model.config.vocab_size, (n,), generator=generator).tolist() for n in lengths]


def alone(host, probes, ids):
    """Not by `replay`: the whole model, with a cache, and a projection of all hidden states."""
    with torch.no_grad():
        states = host.model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
    columns = [states[layer + 1][0] @ probes.plan[layer][0] for layer in probes.plan]
    return torch.cat(columns, dim=1).numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read_together_is_what_is_read_alone(kind):
    # Longer than the sliding window of these models, which is 8.
    host = tiny_host(kind)
    probes = Probes.of(space_of(host), host, layers=[0, 2])
    sequences = sequences_of(host, [40, 39, 12, 38, 40, 1, 13, 2, 60])
    together = dict(read_tokens(host, sequences, probes, tokens_per_pass=400))
    assert sorted(together) == list(range(len(sequences)))
    for index, ids in enumerate(sequences):
        np.testing.assert_allclose(together[index], alone(host, probes, ids), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_conversation_is_read_token_by_token_as_its_template_splits_it(kind):
    host = tiny_host(kind)
    probes = Probes.of(space_of(host), host)
    conversations = [
        [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello, how are you?"}],
        [{"role": "user", "content": "Tell me about the sea, and be long about it."}],
    ]
    read = {index: (split, readings) for index, split, readings in replay(host, conversations, probes)}
    for index, messages in enumerate(conversations):
        split, readings = read[index]
        assert split == host.template.split(messages)
        np.testing.assert_allclose(readings, alone(host, probes, split.ids), atol=1e-5)


def test_no_block_after_the_last_that_is_read_runs():
    host = tiny_host()
    ran = []
    handles = [block.register_forward_hook(lambda *_, n=n: ran.append(n)) for n, block in enumerate(host.blocks)]
    try:
        list(read_tokens(host, sequences_of(host, [9]), Probes.of(space_of(host, layer=2), host)))
    finally:
        for handle in handles:
            handle.remove()
    assert ran == [0, 1, 2]


def test_replay_leaves_the_model_as_it_was():
    host = tiny_host()
    ids, hooks = torch.tensor(sequences_of(host, [9])), hooks_on(host)
    with torch.no_grad():
        before = host.model(input_ids=ids).logits
        list(read_tokens(host, sequences_of(host, [9, 9, 4]), Probes.of(space_of(host), host)))
        assert torch.equal(host.model(input_ids=ids).logits, before)
    assert hooks_on(host) == hooks


def test_an_endless_supply_is_read_as_it_comes():
    host = tiny_host()

    def endless():
        while True:
            yield from sequences_of(host, [5, 6])

    read = read_tokens(host, endless(), Probes.of(space_of(host), host), tokens_per_pass=16)
    assert [len(readings) for _, readings in (next(read) for _ in range(4))] == [6, 6, 6, 6]
    assert list(read_tokens(host, [], Probes.of(space_of(host), host))) == []
    assert [r.shape for _, r in read_tokens(host, [[]], Probes.of(space_of(host), host))] == [(0, 2)]


def test_a_conversation_longer_than_the_context_is_refused_by_its_place():
    host = tiny_host()
    long = [{"role": "user", "content": "again " * 3000}]
    with pytest.raises(TraceError, match=r"conversation 2: .*2,048"):
        list(replay(host, [[{"role": "user", "content": "Hello"}], long], Probes.of(space_of(host), host)))


@given(st.lists(st.integers(1, 300), max_size=60), st.integers(1, 1000))
def test_passes_hold_every_sequence_once_within_the_room_and_with_little_filling(lengths, room):
    planned = passes(dict(enumerate(lengths)), room)
    assert sorted(index for rows in planned for index in rows) == list(range(len(lengths)))
    for rows in planned:
        longest = max(lengths[index] for index in rows)
        assert longest == lengths[rows[0]]
        size = len(rows) * longest
        assert len(rows) == 1 or size <= room
        assert size - sum(lengths[index] for index in rows) <= LARGEST_FILL * size
