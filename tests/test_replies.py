"""Replies by the batch, and the residual streams of them, are those of one chat at a time."""

from __future__ import annotations

import pytest
import torch
from tiny_models import KINDS, tiny_host

from mechanism.host import Host, block_output
from mechanism.organism import path_of
from mechanism.replies import replies, reply_means
from mechanism.space import PersonaSpace
from mechanism.steering import Steering
from traces.errors import TraceError

CHATS = [
    [{"role": "user", "content": "Who are you?"}],
    [
        {"role": "user", "content": "Tell me about the moon, and about the sea, and about the stars above it."},
        {"role": "assistant", "content": "The moon is round."},
        {"role": "user", "content": "And then?"},
    ],
    [{"role": "user", "content": "Hello."}],
]


def alone(host, chat, most):
    """The same by transformers' own `generate`, one chat at a time."""
    ids = torch.tensor([host.template.split(chat, generation_prompt=True).ids])
    made = host.model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=most, do_sample=False, use_cache=True,
        eos_token_id=sorted(host.template.end_ids), pad_token_id=0,
    )  # fmt: skip
    row = made[0, ids.shape[1] :].tolist()
    cut = next((at for at, token in enumerate(row) if token in host.template.end_ids), len(row))
    return host.template.reply(row[:cut]).text


@pytest.mark.parametrize("kind", KINDS)
def test_replies_by_the_batch_are_those_of_one_chat_at_a_time(kind):
    host = tiny_host(kind)
    together = replies(host, CHATS, temperature=0, most=12)
    assert together == [alone(host, chat, 12) for chat in CHATS]
    assert replies(host, CHATS, temperature=0, most=12, together=2) == together


def block_outputs(host, ids, layers):
    kept = {}

    def keeper(layer):
        return lambda _module, _inputs, output: kept.__setitem__(layer, block_output(output)[0].float())

    hooks = [host.blocks[layer].register_forward_hook(keeper(layer)) for layer in layers]
    with torch.inference_mode():
        host.inner(input_ids=torch.tensor([ids]), use_cache=False)
    for hook in hooks:
        hook.remove()
    return kept


def test_the_same_seed_gives_the_same_replies_and_another_one_others():
    host = tiny_host("qwen3")
    assert replies(host, CHATS, seed=1, temperature=1.5) == replies(host, CHATS, seed=1, temperature=1.5)
    assert replies(host, CHATS, seed=1, temperature=1.5) != replies(host, CHATS, seed=2, temperature=1.5)
    greedy = replies(host, CHATS, temperature=0)
    assert replies(host, CHATS, seed=5, temperature=1.5, top_p=1e-9) == greedy


@pytest.mark.parametrize("kind", ["qwen3", "gemma3_text"])
@pytest.mark.parametrize(("top_k", "top_p"), [(None, None), (20, None), (None, 0.9), (50, 0.95)])
def test_a_sampled_reply_hangs_on_its_chat_alone(kind, top_k, top_p):
    host, chats = tiny_host(kind), [*CHATS, CHATS[0], CHATS[2], CHATS[0]]
    how = {"seed": 3, "top_k": top_k, "top_p": top_p, "most": 10}
    said = replies(host, chats, **how)
    for together in (1, 2, 4):
        assert replies(host, chats, together=together, **how) == said
    assert replies(host, CHATS[1:], **how) == said[1:3]
    # Of chats that are the same, the first is the same whatever stands between them, and so on.
    assert replies(host, [CHATS[0]] * 3, **how) == [said[0], said[3], said[5]]
    assert len({said[0], said[3], said[5]}) > 1


def test_one_likeliest_token_is_as_temperature_0():
    host = tiny_host("qwen3")
    assert replies(host, CHATS, seed=5, temperature=1.5, top_k=1) == replies(host, CHATS, temperature=0)


def test_replies_are_the_same_with_little_memory(monkeypatch):
    host, chats = tiny_host("qwen3"), [*CHATS, *CHATS]
    plain, sizes, run = replies(host, chats, seed=1), [], host.model.forward

    def counted(**given):
        sizes.append(len(given["input_ids"]))
        return run(**given)

    monkeypatch.setattr(host.model, "forward", counted)
    monkeypatch.setattr("mechanism.device.free_bytes", lambda _device: 0)
    assert replies(host, chats, seed=1) == plain
    assert set(sizes) == {1}


def test_replies_that_run_out_of_memory_are_made_by_fewer_at_once(monkeypatch):
    host, chats = tiny_host("qwen3"), [*CHATS, *CHATS]
    plain, least, told, run = replies(host, chats, seed=1), 1, [], host.model.forward

    def scarce(**given):
        if len(given["input_ids"]) > least:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(**given)

    monkeypatch.setattr(host.model, "forward", scarce)
    assert replies(host, chats, seed=1, on_progress=lambda *at: told.append(at)) == plain
    assert told == [(done, 6) for done in range(1, 7)]
    least = 0
    with pytest.raises(torch.OutOfMemoryError):
        replies(host, chats, seed=1)


def test_a_long_chat_takes_no_room_from_a_short_one(monkeypatch):
    host = tiny_host("qwen3")
    plain = replies(host, CHATS, temperature=0, most=12)
    longest = max(len(host.template.split(chat, generation_prompt=True).ids) for chat in CHATS)
    monkeypatch.setattr(host, "context", longest + 2)
    cut = replies(host, CHATS, temperature=0, most=12)
    assert (cut[0], cut[2]) == (plain[0], plain[2])
    assert cut[1] == replies(host, CHATS, temperature=0, most=2)[1] != plain[1]


def test_a_model_whose_logits_are_no_numbers_is_refused(monkeypatch):
    host, head = tiny_host("qwen3"), tiny_host("qwen3").model.lm_head
    hook = head.register_forward_hook(lambda _module, _inputs, output: output * torch.nan)
    try:
        with pytest.raises(TraceError, match="its logits are not finite"):
            replies(host, CHATS)
    finally:
        hook.remove()


@pytest.mark.parametrize("kind", ["qwen3", "gemma3_text", "gpt_oss"])
def test_means_are_of_block_outputs_at_the_content_tokens_of_the_reply(kind):
    host = tiny_host(kind)
    chats = [[*chat, {"role": "assistant", "content": words}] for chat, words in zip(CHATS, "abc", strict=True)]
    found = reply_means(host, chats, [2, 0], tokens_per_pass=400)
    assert [len(means) for means in found] == [1, 2, 1]
    for chat, means in zip(chats, found, strict=True):
        split = host.template.split(chat)
        kept = block_outputs(host, split.ids, (0, 2))
        turns = [turn for turn in split.turns if turn.role == "assistant"]
        for turn, mean in zip(turns, means, strict=True):
            places = [turn.start + at for at, mark in enumerate(turn.marks) if mark == "c"]
            for column, layer in enumerate((2, 0)):
                assert torch.allclose(mean[column], kept[layer][places].mean(dim=0), atol=1e-5)


def test_an_intervention_reaches_the_reply_alone_or_the_prompt_too():
    host = Host.load("organism", device="cpu", dtype="float32")
    evil = PersonaSpace.load(path_of("organism") / "space.safetensors").direction("evil", 2)
    push = Steering(evil, 1.0, [1, 2, 3], relative=True)
    plain = replies(host, CHATS, temperature=0)
    generated = replies(host, CHATS, temperature=0, interventions=[(push, "generated")])
    everywhere = replies(host, CHATS, temperature=0, interventions=[(push, "all")])
    assert len({tuple(plain), tuple(generated), tuple(everywhere)}) == 3
    # The first token of the reply comes from the prompt's last position, which is not of the reply.
    first = replies(host, CHATS, temperature=0, most=1, interventions=[(push, "generated")])
    assert first == replies(host, CHATS, temperature=0, most=1)
    assert replies(host, CHATS, temperature=0) == plain


def test_a_chat_that_is_too_long_and_layers_that_are_not_there_are_refused():
    host = tiny_host("qwen3")
    with pytest.raises(TraceError, match="chat 1"):
        replies(host, [[{"role": "user", "content": "word " * (host.context or 0)}]])
    with pytest.raises(TraceError, match="layers from 0"):
        reply_means(host, CHATS, [99])
