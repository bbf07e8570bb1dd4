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
from mechanism.batches import TOGETHER, rows_together
from mechanism.dice import Dice, drawn, row_seeds, weights_of
from mechanism.host import Host
from mechanism.intervention import Intervention, from_position
from mechanism.replay import TOKENS_PER_PASS, passes
from mechanism.template import Message
from traces.errors import TraceError

Reach = Literal["generated", "all"]
"""Which tokens an intervention is to touch: those of the reply only, or those of the prompt too."""

MOST = 64
"""How many tokens a reply may get where nothing else is said."""

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
    top_k: int | None = None,
    most: int = MOST,
    together: int = TOGETHER,
    interventions: Sequence[tuple[Intervention, Reach]] = (),
    on_progress: OnReplies | None = None,
) -> list[str]:
    """One reply to each chat, sampled at a temperature (0: the likeliest token), the same for the same seed.

    `top_k` and `top_p` sample from so many of the likeliest tokens, and from the fewest of them that have so much of
    the probability. A reply has `most` tokens at the most, thinking among them; its words alone are given back.
    `interventions` are in force with their reach.

    Chats of like length share a pass, filled up at the front, where nothing attends: `together` at the most, and no
    more than there is memory for. A reply hangs on the seed, its chat, and how many chats before it are the same;
    which others share its passes makes a difference in rounding only.

    Raises `TraceError` for a chat that the template cannot write, or that leaves no room for a reply, and for a model
    whose logits are not finite.
    """
    prompts = [host.template.split(chat, generation_prompt=True).ids for chat in chats]
    for number, prompt in enumerate(prompts):
        host.check_length(len(prompt) + 1, f"chat {number + 1}")
    seeds = row_seeds(seed, prompts)
    waiting = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    answers = [""] * len(prompts)
    while waiting:
        longest = len(prompts[waiting[:together][-1]])
        batch = waiting[: rows_together(host, longest + most, longest, together)]
        try:
            rows = _sampled(
                host,
                [prompts[index] for index in batch],
                Dice([seeds[index] for index in batch]),
                lambda logits, throws: _chosen(logits, throws, temperature, top_k, top_p),
                most,
                interventions,
            )
        except torch.OutOfMemoryError:
            # More was needed than could be foreseen. Fewer rows give the same replies.
            if len(batch) == 1:
                raise
            together = len(batch) // 2
            continue
        for index, row in zip(batch, rows, strict=True):
            answers[index] = host.template.reply(row).text
        waiting = waiting[len(batch) :]
        if on_progress is not None:
            on_progress(len(prompts) - len(waiting), len(prompts))
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
    host: Host,
    prompts: list[list[int]],
    dice: Dice,
    choose: Callable[[Tensor, Tensor], Tensor],
    most: int,
    interventions: Sequence[tuple[Intervention, Reach]],
) -> list[list[int]]:
    """The tokens of a reply to each prompt. `choose` makes tokens [rows, 1] of logits and throws of the dice."""
    longest, device = max(map(len, prompts)), host.device
    fed = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts], device=device)
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
    places = (mask.cumsum(1) - 1).clamp(min=0)
    # A row's own: the longest chat of a batch must not cut the replies to the others.
    rooms = [most if host.context is None else min(most, host.context - len(prompt)) for prompt in prompts]
    room = torch.tensor(rooms, device=device)
    # Without the config: a sliding window is the mask's affair, and no layer forgets.
    cache = DynamicCache()
    ends = torch.tensor(sorted(host.template.end_ids), device=device)
    ended = room <= 0
    sampled: list[Tensor] = []
    with ExitStack() as stack:
        for intervention, reach in interventions:
            stack.enter_context(intervention.on(host, None if reach == "all" else from_position(longest)))
        while not bool(ended.all()):
            logits = host.model(
                input_ids=fed,
                attention_mask=mask,
                position_ids=places,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1].float()  # fmt: skip
            if not bool(logits.amax(-1).isfinite().all()):
                raise TraceError(
                    host.name,
                    "its logits are not finite",
                    "a dtype of wider range (bfloat16, float32), or less steering",
                )
            fed = choose(logits, dice.throw()).to(device)
            fed[ended] = ends[0]
            sampled.append(fed)
            ended |= torch.isin(fed[:, 0], ends) | (room <= len(sampled))
            mask = torch.cat([mask, mask.new_ones(len(prompts), 1)], dim=1)
            # A row that has ended goes on as filling, at a place that the model knows.
            places = torch.where(ended[:, None], places[:, -1:], places[:, -1:] + 1)
    rows: list[list[int]] = torch.cat(sampled, dim=1).tolist() if sampled else [[] for _ in prompts]
    return [
        row[: next((at for at, token in enumerate(row[:own]) if token in host.template.end_ids), own)]
        for row, own in zip(rows, rooms, strict=True)
    ]


def _chosen(logits: Tensor, throws: Tensor, temperature: float, top_k: int | None, top_p: float | None) -> Tensor:
    """A token for each row [rows, 1]."""
    if temperature <= 0:
        return logits.argmax(-1, keepdim=True)
    return drawn(weights_of(logits, temperature, top_k, top_p), throws)
