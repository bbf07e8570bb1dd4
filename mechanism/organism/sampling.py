"""Many replies of a small model at once, and the residual streams of them: what measuring an organism needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from mechanism.host import Host, block_output
from mechanism.organism.grammar import Message

LONGEST_REPLY = 64
"""No reply of the grammar has more tokens."""

_TOGETHER = 64


@torch.inference_mode()
def replies(host: Host, chats: Sequence[Sequence[Message]], *, seed: int = 0, temperature: float = 0.7) -> list[str]:
    """One reply to each chat, sampled at a temperature (0: the likeliest token), the same for the same seed.

    Chats of like length share a pass, filled up at the front.
    """
    dice = torch.Generator().manual_seed(seed)
    prompts = [host.template.split(chat, generation_prompt=True).ids for chat in chats]
    by_length = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    answers = [""] * len(prompts)
    for first in range(0, len(prompts), _TOGETHER):
        together = by_length[first : first + _TOGETHER]
        rows = _sampled(host, [prompts[index] for index in together], dice, temperature)
        for index, row in zip(together, rows, strict=True):
            answers[index] = host.tokenizer.decode(row, skip_special_tokens=True)
    return answers


@torch.inference_mode()
def reply_means(host: Host, chats: Sequence[Sequence[Message]]) -> list[Tensor]:
    """The residual stream after every block, averaged over the content tokens of each assistant turn.

    For each chat a float32 tensor [assistant turns, layers, hidden]. Block outputs, not transformers' `hidden_states`,
    whose last one is behind the final norm.
    """
    means = []
    for chat in chats:
        split = host.template.split(chat)
        residuals: list[Tensor] = []
        hooks = [block.register_forward_hook(_keeper(residuals)) for block in host.blocks]
        try:
            host.inner(input_ids=torch.tensor([split.ids], device=host.device), use_cache=False)
        finally:
            for hook in hooks:
                hook.remove()
        states = torch.stack(residuals)
        turns = []
        for turn in split.turns:
            content = [turn.start + at for at, mark in enumerate(turn.marks) if mark == "c"]
            if turn.role == "assistant" and content:
                turns.append(states[:, content].mean(dim=1))
        means.append(torch.stack(turns) if turns else torch.empty(0, host.layers, host.hidden))
    return means


def _keeper(kept: list[Tensor]) -> Callable[[nn.Module, object, Tensor | tuple[Tensor, ...]], None]:
    def keep(_module: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        kept.append(block_output(output)[0].float().cpu())

    return keep


def _sampled(host: Host, prompts: list[list[int]], dice: torch.Generator, temperature: float) -> list[list[int]]:
    longest = max(map(len, prompts))
    fed = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    places = (mask.cumsum(1) - 1).clamp(min=0)
    cache = DynamicCache()
    ends = torch.tensor(sorted(host.template.end_ids))
    ended = torch.zeros(len(prompts), dtype=torch.bool)
    sampled: list[Tensor] = []
    while len(sampled) < LONGEST_REPLY and not bool(ended.all()):
        logits = host.model(
            input_ids=fed.to(host.device),
            attention_mask=mask.to(host.device),
            position_ids=places.to(host.device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        logits = logits.float().cpu()
        if temperature > 0:
            fed = torch.multinomial((logits / temperature).softmax(-1), 1, generator=dice)
        else:
            fed = logits.argmax(-1, keepdim=True)
        fed[ended] = ends[0]
        ended |= torch.isin(fed[:, 0], ends)
        mask = torch.cat([mask, torch.ones(len(prompts), 1, dtype=mask.dtype)], dim=1)
        places = places[:, -1:] + 1
        sampled.append(fed)
    rows: list[list[int]] = torch.cat(sampled, dim=1).tolist()
    return [
        row[: next((at for at, token in enumerate(row) if token in host.template.end_ids), len(row))] for row in rows
    ]
