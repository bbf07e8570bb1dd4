"""Asking a model for a role: many questions under prompts that call for it, and the residual stream of what it replies.

Replies that a judge does not find the role in are left out, as Lu et al. 2026 and Chen et al. 2025 do.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mechanism.host import Host
from mechanism.judges.judge import Judge
from mechanism.replies import replies, reply_means
from mechanism.roles import DEFAULT, MODEL_NAME, RoleSet, Trait
from mechanism.template import Message

BALANCE = 4
"""The default, whose mean weighs as much as all roles' together, gets so many times the replies of a role; so does
each side of a trait."""

_TOGETHER = 64


@dataclass(frozen=True)
class Fit:
    """How a space is fitted.

    `per_role` replies of each role; `layer` (a block) is where coordinates are read, None for the published one or half
    depth. `components`: how many principal axes of the roles become axes of the space. Replies have `most` tokens at
    the most. Everything random hangs on `seed`.
    """

    per_role: int = 24
    layer: int | None = None
    components: int = 0
    temperature: float = 0.7
    top_p: float | None = None
    most: int = 64
    seed: int = 0


@dataclass(frozen=True)
class Group:
    """What is asked in one go: a role, or one side of a trait."""

    name: str
    prompts: tuple[str, ...]
    questions: tuple[str, ...]
    count: int
    target: str | None  # what a judge must find in a reply; None: that it is whole
    against: str | None = None  # what it must not find
    judged: bool = True


@dataclass(frozen=True)
class Asked:
    """What came of it: the mean [layers, hidden], and the residual streams at one layer [kept, hidden]."""

    mean: Tensor
    states: Tensor
    asked: int
    broken: int
    other: int


def groups_of(host: Host, roles: RoleSet, fit: Fit) -> Iterator[Group]:
    """What is asked for, one after another: the default, the roles, both sides of the traits.

    Raises `TraceError` where one has no questions.
    """
    called = host.name.rsplit("/", 1)[-1]

    def prompts(given: Sequence[str]) -> tuple[str, ...]:
        return tuple(prompt.replace(MODEL_NAME, called) for prompt in given)

    of_all = fit.per_role * BALANCE
    yield Group(DEFAULT, prompts(roles.default.prompts), roles.asked(roles.default), of_all, None, judged=False)
    for role in roles.roles:
        target = role.name if role.judged else None
        yield Group(role.name, prompts(role.prompts), roles.asked(role), fit.per_role, target)
    for trait in roles.traits:
        asked = roles.asked(trait)
        yield Group(side(trait, True), prompts(trait.positive), asked, of_all, trait.name)
        yield Group(side(trait, False), prompts(trait.negative), asked, of_all, None, against=trait.name)


def side(trait: Trait, positive: bool) -> str:
    """What a side of a trait is called."""
    return f"{trait.name} (called for)" if positive else f"{trait.name} (opposite)"


def asked_for(host: Host, group: Group, fit: Fit, judge: Judge | None, layer: int) -> Asked:
    """Ask for it. The same for the same seed, whatever else is asked for."""
    # Its own dice, so that a role comes out the same whichever roles were asked before, or in an earlier run.
    own = int.from_bytes(hashlib.sha256(f"{fit.seed}/{group.name}".encode()).digest()[:6], "big")
    told = _chats(host, group, random.Random(own))
    total, states, broken, other = torch.zeros(host.layers, host.hidden, dtype=torch.float64), [], 0, 0
    for first in range(0, len(told), _TOGETHER):
        chats = told[first : first + _TOGETHER]
        answers = replies(host, chats, seed=own + first, temperature=fit.temperature, top_p=fit.top_p, most=fit.most)
        right = _right(group, judge, [(chat[-1]["content"], said) for chat, said in zip(chats, answers, strict=True)])
        broken += right.count(None)
        other += right.count(False)
        whole = [
            [*chat, {"role": "assistant", "content": said}]
            for chat, said, kept in zip(chats, answers, right, strict=True)
            if kept
        ]
        # Earlier turns of the assistant there are none: a chat has one reply.
        for means in reply_means(host, whole):
            total += means[-1].double()
            states.append(means[-1, layer].clone())
    kept = torch.stack(states) if states else torch.empty(0, host.hidden)
    return Asked((total / max(1, len(states))).float(), kept, len(told), broken, other)


def _chats(host: Host, group: Group, dice: random.Random) -> list[list[Message]]:
    """Prompts in turn, and questions in a drawn order, none twice before all were asked."""
    chats: list[list[Message]] = []
    order: list[str] = []
    for number in range(group.count):
        if not order:
            order = sorted(group.questions, key=lambda _: dice.random())
        chats.append(_chat(host, group.prompts[number % len(group.prompts)], order.pop()))
    return chats


def _chat(host: Host, prompt: str, question: str) -> list[Message]:
    asked: Message = {"role": "user", "content": question}
    return [asked] if not prompt else [*host.template.accepted([{"role": "system", "content": prompt}, asked])]


def _right(group: Group, judge: Judge | None, exchanges: Sequence[tuple[str, str]]) -> list[bool | None]:
    """Whether each reply is to be kept; None for broken text, and for none."""
    worded = [bool(said.strip()) for _, said in exchanges]
    if judge is None or not group.judged:
        return [True if words else None for words in worded]
    sought = group.target or group.against or group.name
    found: list[bool | None] = []
    for words, judgement in zip(worded, judge.judged(sought, exchanges), strict=True):
        shown = judgement.shows(sought)
        if not words or judgement.coherent is False:
            found.append(None)
        elif group.target is not None:
            # What the judge cannot tell is not taken for the role.
            found.append(shown is True)
        else:
            found.append(group.against is None or shown is not True)
    return found
