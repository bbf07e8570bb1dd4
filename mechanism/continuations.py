"""Many answers from one KV cache: what a model says next, asked many times, without processing what came before again.

The cache stays as it is: each answer grows a copy. So an edited cache can be asked as often as statistics need, at the
price of the answers alone. Nothing is recorded here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import GenerationConfig
from transformers.cache_utils import Cache

from mechanism.architecture import block_output
from mechanism.batches import rows_together
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

    Answers to one question share their passes: 64, or, where there is no memory for so many copies of the cache, 32,
    16 and so on. What is sampled hangs on the seed, the question and which of its answers share their passes, so on the
    memory too, but not on the other questions.

    Raises `TraceError` where the template cannot write a question, where no room is left for an answer, or for sampling
    that `generate` does not take.
    """
    host, found = standing.host, list[list[Answer]]([] for _ in questions)
    prompts = {question: _prompt(standing, question) for question in questions}
    config = generation_config(host, Sampling(asking.sampling, None, tuple(sorted(host.template.end_ids))))
    for prompt in prompts.values():
        host.check_length(len(standing.ids) + len(prompt.ids) + 1)
    for question, prompt in prompts.items():
        # Asked twice, a question is answered twice as often.
        waiting = [number for number, each in enumerate(questions) if each == question for _ in range(asking.each)]
        own = _with_room(config, host, len(standing.ids) + len(prompt.ids))
        first = 0
        while first < len(waiting):
            together = _together(standing, prompt, own)
            some = waiting[first : first + together]
            with seeded(_seed(asking.seed, question, first), host.device):
                said = _sampled(standing, prompt, len(some), asking, own)
            for number, answer in zip(some, said, strict=True):
                found[number].append(answer)
            first += len(some)
    return found


def _seed(seed: int, question: str, first: int) -> int:
    """The seed of the answers to a question from the `first` on."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{first}/{question}".encode()).digest()[:7], "big")


def _together(standing: Standing, prompt: _Prompt, config: GenerationConfig) -> int:
    """How many answers share their passes: a power of two, so that a little memory more or less changes nothing."""
    length, longest = len(prompt.ids), config.max_new_tokens
    tokens = len(standing.ids) + length + (longest if isinstance(longest, int) else 0)
    return 1 << rows_together(standing.host, tokens, length).bit_length() - 1


def _with_room(config: GenerationConfig, host: Host, before: int) -> GenerationConfig:
    """The configuration with answers that are no longer than the context window has room for."""
    if host.context is None or not isinstance(config.max_new_tokens, int):
        return config
    room = min(config.max_new_tokens, host.context - before)
    return GenerationConfig(**{**config.to_dict(), "max_new_tokens": room})


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


def _sampled(standing: Standing, prompt: _Prompt, rows: int, asking: Asking, config: GenerationConfig) -> list[Answer]:
    """So many answers to a prompt, from one pass a token."""
    host, start = standing.host, len(standing.ids)
    length = len(prompt.ids)
    fed = torch.tensor([[*standing.ids, *prompt.ids]] * rows, device=host.device)
    replying = start + length - prompt.opening
    with ExitStack() as stack:
        for intervention in asking.interventions:
            stack.enter_context(intervention.on(host, from_position(replying)))
        readings = stack.enter_context(_reading(host, asking.space))
        try:
            out = host.model.generate(
                input_ids=fed,
                attention_mask=torch.ones_like(fed),
                generation_config=config,
                past_key_values=copies_of(standing.cache, rows),
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
