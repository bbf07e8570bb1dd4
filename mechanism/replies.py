"""Many replies of a model at once, and the residual streams of them: what fitting and testing a persona space needs.

Nothing is recorded here; a conversation whose caches matter goes through a `Session`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from mechanism.architecture import block_output
from mechanism.host import Host
from mechanism.intervention import Intervention, from_position
from mechanism.replay import TOKENS_PER_PASS, passes
from mechanism.template import Message
from traces.errors import TraceError

Reach = Literal["generated", "all"]
"""Which tokens an intervention is to touch: those of the reply only, or those of the prompt too."""

MOST = 64
"""How many tokens a reply may get where nothing else is said."""

TOGETHER = 64
"""So many replies share their passes."""

OnReplies = Callable[[int, int], None]
"""Called with how many replies there are, and of how many."""


@torch.inference_mode()
def replies(
    host: Host,
    chats: Sequence[Sequence[Message]],
    *,
    seed: int = 0,
    temperature: float = 0.7,
    top_p: float | None = None,
    most: int = MOST,
    together: int = TOGETHER,
    interventions: Sequence[tuple[Intervention, Reach]] = (),
    on_progress: OnReplies | None = None,
) -> list[str]:
    """One reply to each chat, sampled at a temperature (0: the likeliest token), the same for the same seed.

    Chats of like length share a pass, filled up at the front, where nothing attends. `top_p` samples from the fewest
    tokens that have so much of the probability. A reply has `most` tokens at the most, thinking among them; its words
    alone are given back. `interventions` are in force with their reach.

    Raises `TraceError` for a chat that the template cannot write, or that leaves no room for a reply.
    """
    dice = torch.Generator().manual_seed(seed)
    prompts = [host.template.split(chat, generation_prompt=True).ids for chat in chats]
    for number, prompt in enumerate(prompts):
        host.check_length(len(prompt) + 1, f"chat {number + 1}")
    by_length = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    answers = [""] * len(prompts)
    for first in range(0, len(prompts), together):
        batch = by_length[first : first + together]
        longest = max(len(prompts[index]) for index in batch)
        room = most if host.context is None else min(most, host.context - longest)
        with ExitStack() as stack:
            for intervention, reach in interventions:
                where = None if reach == "all" else from_position(longest)
                stack.enter_context(intervention.on(host, where))
            rows = _sampled(host, [prompts[index] for index in batch], dice, temperature, top_p, room)
        for index, row in zip(batch, rows, strict=True):
            answers[index] = host.template.reply(row).text
        if on_progress is not None:
            on_progress(min(first + together, len(prompts)), len(prompts))
    return answers


@torch.inference_mode()
def reply_means(
    host: Host,
    chats: Sequence[Sequence[Message]],
    layers: Sequence[int] | None = None,
    *,
    role: str = "assistant",
    tokens_per_pass: int | None = None,
) -> list[Tensor]:
    """The residual stream after blocks, averaged over the content tokens of each turn of a role.

    For each chat a float32 tensor [turns, layers, hidden] on the CPU; `layers` are block indices (default: all), in the
    order given. Turns without content tokens are left out. Block outputs, not transformers' `hidden_states`, whose
    last one is behind the final norm.

    Raises `TraceError` for a chat that the template cannot write, or that is longer than the model's context.
    """
    chosen = list(range(host.layers)) if layers is None else list(layers)
    if not chosen or not all(0 <= layer < host.layers for layer in chosen):
        raise TraceError("residual streams", f"the layers are {chosen}", f"layers from 0 to {host.layers - 1}")
    splits = [host.template.split(chat) for chat in chats]
    for number, split in enumerate(splits):
        host.check_length(len(split.ids), f"chat {number + 1}")
    found = [torch.empty(0, len(chosen), host.hidden)] * len(chats)
    room = tokens_per_pass or TOKENS_PER_PASS.get(host.device.type, TOKENS_PER_PASS["cpu"])
    for rows in passes({index: len(split.ids) for index, split in enumerate(splits) if split.ids}, room):
        places = [
            [turn.start + at for at, mark in enumerate(turn.marks) if mark == "c"]
            for row in rows
            for turn in splits[row].turns
            if turn.role == role
        ]
        owners = [number for number, row in enumerate(rows) for turn in splits[row].turns if turn.role == role]
        spoken = [(owner, place) for owner, place in zip(owners, places, strict=True) if place]
        if spoken:
            means = _means(host, [splits[row].ids for row in rows], spoken, chosen)
            for number, row in enumerate(rows):
                own = [at for at, (owner, _) in enumerate(spoken) if owner == number]
                found[row] = means[own]
    return found


def _means(
    host: Host, rows: Sequence[Sequence[int]], spoken: Sequence[tuple[int, list[int]]], layers: Sequence[int]
) -> Tensor:
    """Means [turns, layers, hidden] from one pass over rows of like length, filled up at the end."""
    longest = len(rows[0])
    filled = torch.tensor([[*ids, *[ids[-1]] * (longest - len(ids))] for ids in rows], device=host.device)
    found: dict[int, Tensor] = {}

    def keeper(layer: int) -> Callable[..., None]:
        def keep(_module: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
            states = block_output(output)
            found[layer] = torch.stack([states[row, places].float().mean(dim=0) for row, places in spoken]).cpu()
            if layer == max(layers):
                raise _EnoughError

        return keep

    hooks = [host.blocks[layer].register_forward_hook(keeper(layer)) for layer in set(layers)]
    try:
        host.inner(input_ids=filled, use_cache=False)
    except _EnoughError:
        pass
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack([found[layer] for layer in layers], dim=1)


class _EnoughError(Exception):
    """The last block that is read has run."""


def _sampled(
    host: Host, prompts: list[list[int]], dice: torch.Generator, temperature: float, top_p: float | None, most: int
) -> list[list[int]]:
    longest = max(map(len, prompts))
    fed = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    places = (mask.cumsum(1) - 1).clamp(min=0)
    # Without the config: a sliding window is the mask's affair, and no layer forgets.
    cache = DynamicCache()
    ends = torch.tensor(sorted(host.template.end_ids))
    ended = torch.zeros(len(prompts), dtype=torch.bool)
    sampled: list[Tensor] = []
    while len(sampled) < most and not bool(ended.all()):
        logits = host.model(
            input_ids=fed.to(host.device),
            attention_mask=mask.to(host.device),
            position_ids=places.to(host.device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        fed = _drawn(logits.float().cpu(), dice, temperature, top_p)
        fed[ended] = ends[0]
        ended |= torch.isin(fed[:, 0], ends)
        mask = torch.cat([mask, torch.ones(len(prompts), 1, dtype=mask.dtype)], dim=1)
        places = places[:, -1:] + 1
        sampled.append(fed)
    rows: list[list[int]] = torch.cat(sampled, dim=1).tolist() if sampled else [[] for _ in prompts]
    return [
        row[: next((at for at, token in enumerate(row) if token in host.template.end_ids), len(row))] for row in rows
    ]


def _drawn(logits: Tensor, dice: torch.Generator, temperature: float, top_p: float | None) -> Tensor:
    """A token for each row [rows, 1]."""
    if temperature <= 0:
        return logits.argmax(-1, keepdim=True)
    chances = (logits / temperature).softmax(-1)
    if top_p is not None and top_p < 1:
        ordered, order = chances.sort(dim=-1, descending=True)
        before = ordered.cumsum(-1) - ordered
        chances = torch.zeros_like(chances).scatter(-1, order, ordered.masked_fill(before >= top_p, 0.0))
    return torch.multinomial(chances, 1, generator=dice)
