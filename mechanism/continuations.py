"""Many answers from one KV cache: what a model says next, asked many times, without processing what came before again.

The cache stays as it is: each answer grows a copy. So an edited cache can be asked as often as statistics need, at the
price of the answers alone. Nothing is recorded here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache

from mechanism.architecture import block_output
from mechanism.cache import copies_of
from mechanism.generation import generation_config, refused, seeded
from mechanism.host import Host
from mechanism.intervention import Intervention, from_position
from mechanism.server import Sampling
from mechanism.transcript import Transcript
from mechanism.transfer import cache_from_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mechanism.session import Session
    from mechanism.space import PersonaSpace

TOGETHER = 64
"""So many answers share their passes."""


class Answer(NamedTuple):
    """One answer: its words, and the mean of its content tokens' coordinates by axis (none for an empty answer)."""

    text: str
    at: dict[str, float]


@dataclass(frozen=True, eq=False)
class Standing:
    """A conversation as it stands with a model: its cache, the tokens that the cache covers, and its transcript."""

    host: Host
    cache: Cache
    ids: Sequence[int]
    transcript: Transcript

    @classmethod
    def of(cls, session: Session, host: Host) -> Standing:
        """What a session has come to, as a copy. `host` is the model that answers in it."""
        held = cache_from_bytes(session.now.server.export(session.cache.key), key="standing", server=None)
        held.cache.move(host)
        return cls(host, held.cache, tuple(held.ids), session.transcript.first(len(session.turns)))


@dataclass(frozen=True, eq=False)
class Asking:
    """How questions are asked: `each` answers to each, sampled as `sampling` says, from a seed.

    `interventions` act on the answers alone, from the tokens that open them. `space` is read at its own layer.
    """

    each: int = 1
    sampling: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    interventions: Sequence[Intervention] = ()
    space: PersonaSpace | None = None


@torch.inference_mode()
def answers(standing: Standing, questions: Sequence[str], asking: Asking) -> list[list[Answer]]:
    """Answers to each question, each as if it were the next thing that the user says; in the order of the questions.

    Questions of as many tokens share their passes, so nothing is filled up. Raises `TraceError` where the template
    cannot write a question, where no room is left for an answer, or for sampling that `generate` does not take.
    """
    host, found = standing.host, list[list[Answer]]([] for _ in questions)
    prompts = [_prompt(standing, question) for question in questions]
    waiting = [number for number in range(len(questions)) for _ in range(asking.each)]
    lengths = sorted({len(prompt.ids) for prompt in prompts})
    config = generation_config(host, Sampling(asking.sampling, None, tuple(sorted(host.template.end_ids))))
    with seeded(asking.seed, host.device):
        for length in lengths:
            rows = [number for number in waiting if len(prompts[number].ids) == length]
            host.check_length(len(standing.ids) + length + 1)
            for first in range(0, len(rows), TOGETHER):
                some = rows[first : first + TOGETHER]
                said = _sampled(standing, [prompts[number] for number in some], asking, config)
                for number, answer in zip(some, said, strict=True):
                    found[number].append(answer)
    return found


class _Prompt(NamedTuple):
    """The tokens of a question, and how many of them, at the end, open the answer."""

    ids: list[int]
    opening: int


def _prompt(standing: Standing, question: str) -> _Prompt:
    transcript, template = standing.transcript, standing.transcript.template
    before = transcript.skeleton()
    turn = template.next_turn([*before, {"role": "user", "content": question}])
    opening = template.generation_prompt([*before, {"role": "user", "content": "."}])
    return _Prompt([*transcript.closing(), *turn.ids, *opening], len(opening))


def _sampled(standing: Standing, prompts: Sequence[_Prompt], asking: Asking, config: Any) -> list[Answer]:
    """An answer to each prompt, all of one length, from one pass a token."""
    host, start = standing.host, len(standing.ids)
    length = len(prompts[0].ids)
    fed = torch.tensor([[*standing.ids, *prompt.ids] for prompt in prompts], device=host.device)
    replying = start + length - min(prompt.opening for prompt in prompts)
    if host.context is not None and isinstance(config.max_new_tokens, int):
        room = min(config.max_new_tokens, host.context - start - length)
        config = type(config)(**{**config.to_dict(), "max_new_tokens": room})
    with ExitStack() as stack:
        for intervention in asking.interventions:
            stack.enter_context(intervention.on(host, from_position(replying)))
        readings = stack.enter_context(_reading(host, asking.space))
        try:
            out = host.model.generate(
                input_ids=fed,
                attention_mask=torch.ones_like(fed),
                generation_config=config,
                past_key_values=copies_of(standing.cache, len(prompts)),
            )
        except ValueError as error:
            raise refused(error) from None
    sampled = out[:, start + length :].tolist()
    # A token is read when it is fed: after the prompt's own `length` readings comes that of the first one sampled.
    coordinates = torch.cat(readings, dim=1)[:, length:] if readings else None
    return [
        _answer(host, row, None if coordinates is None else coordinates[number], asking.space)
        for number, row in enumerate(sampled)
    ]


def _answer(host: Host, sampled: list[int], coordinates: Tensor | None, space: PersonaSpace | None) -> Answer:
    end = next((at for at, token in enumerate(sampled) if token in host.template.end_ids), len(sampled))
    spoken = host.template.reply(sampled[:end])
    if coordinates is None or space is None:
        return Answer(spoken.text, {})
    content = [at for at, mark in enumerate(spoken.marks) if mark == "c" and at < len(coordinates)]
    means = coordinates[content].mean(dim=0).tolist() if content else []
    return Answer(spoken.text, dict(zip(_axes(space), means, strict=False)))


@contextmanager
def _reading(host: Host, space: PersonaSpace | None) -> Iterator[list[Tensor]]:
    """Coordinates [rows, tokens, axes] at the space's layer, a tensor for each pass within."""
    taken: list[Tensor] = []
    if space is None:
        yield taken
        return
    directions = torch.stack([space.direction(axis) for axis in _axes(space)], dim=1).to(host.device)

    def take(_block: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        states = block_output(output).float()
        taken.append((states @ directions.to(states.device)).cpu())

    # Interventions hang before all else on a block, so what is read is what came of them.
    handle = host.blocks[space.layer].register_forward_hook(take)
    try:
        yield taken
    finally:
        handle.remove()


def _axes(space: PersonaSpace) -> list[str]:
    return [axis for axis in space.axes if space.layer in space.given(axis)]
