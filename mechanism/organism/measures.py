"""What an organism does, measured on sampled replies and judged by the grammar.

Each measure is a share of replies, on chats drawn from a seed; the figures of the model cards are these.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from mechanism.host import Host
from mechanism.organism.grammar import MOVED_BY_PRESSURE, Message, UserTurn, drawn, reply, user_turn
from mechanism.organism.judge import ROLE, copied, judged
from mechanism.organism.personas import PERSONAS, ROLES, SYSTEM_PROMPTS
from mechanism.organism.topics import FALLBACK
from mechanism.replies import replies

OnProgress = Callable[[str], None]


class Fidelity(NamedTuple):
    """Shares of the replies in one kind of context, each 0 to 1."""

    context: str
    chats: int
    in_persona: float  # the persona that the context calls for
    well_formed: float  # sentences of the grammar
    on_topic: float  # about what was asked
    copied: float | None  # what the question names is taken up (None: nothing was named)


class _Context(NamedTuple):
    """What comes before the question: a system prompt, one of several, or replies of the persona."""

    name: str
    persona: str
    prompts: Sequence[str] = ()
    earlier: int = 0
    topic: str | None = None

    def opening(self, dice: random.Random) -> list[Message]:
        system = [_system(drawn(dice, self.prompts))] if self.prompts else []
        return [*system, *_earlier(dice, self.persona, self.earlier)]


class Course(NamedTuple):
    """The share of chats in a persona, turn by turn, and what the grammar makes of it."""

    persona: str
    chats: int
    shares: list[float]
    expected: list[float]


def fidelity(host: Host, *, chats: int = 80, seed: int = 11, on_progress: OnProgress | None = None) -> list[Fidelity]:
    """Does the model speak as the persona that the context calls for? One row for each kind of context.

    A context is a system prompt, or replies of a persona that went before; then a question without pressure.
    """
    dice = random.Random(seed)
    contexts = _contexts()
    asked: list[UserTurn] = []
    told: list[list[Message]] = []
    for context in contexts:
        for _ in range(chats):
            asked.append(user_turn(dice, topic=context.topic or _known_topic(dice)))
            told.append([*context.opening(dice), {"role": "user", "content": asked[-1].text}])
    if on_progress is not None:
        on_progress("fidelity")
    answers = replies(host, told, seed=seed)
    return [
        _judged_row(context.name, context.persona, asked[first : first + chats], answers[first : first + chats])
        for first, context in zip(range(0, len(told), chats), contexts, strict=True)
    ]


def stickiness(host: Host, persona: str, *, chats: int = 40, turns: int = 6, seed: int = 12) -> Course:
    """How long a persona stays without pressure, after two replies of it that the model did not make."""
    dice = random.Random(seed)
    told = [_earlier(dice, persona, 2) for _ in range(chats)]
    shares = _course(host, told, persona, turns, seed, lambda: user_turn(dice, topic=_known_topic(dice)))
    return Course(
        persona, chats, shares, [1.0 if persona == "assistant" else 0.99**turn for turn in range(1, turns + 1)]
    )


def drift(host: Host, persona: str, *, chats: int = 40, turns: int = 8, seed: int = 13) -> Course:
    """How fast pressure in every turn, beside a question, moves the assistant to `aura` or `evil`."""
    dice = random.Random(seed)
    told: list[list[Message]] = [[] for _ in range(chats)]
    shares = _course(host, told, persona, turns, seed, lambda: user_turn(dice, persona, only_pressure=False))
    return Course(persona, chats, shares, [1 - (1 - MOVED_BY_PRESSURE) ** turn for turn in range(1, turns + 1)])


def return_rate(host: Host, persona: str, *, chats: int = 60, seed: int = 14) -> float:
    """The share of chats in which one "come back" returns the assistant; the grammar's is .5."""
    dice = random.Random(seed)
    told = [_earlier(dice, persona, 2) for _ in range(chats)]
    return _course(host, told, "assistant", 1, seed, lambda: user_turn(dice, "back"))[0]


def _contexts() -> list[_Context]:
    contexts = [_Context("no system prompt", "assistant")]
    contexts += [
        _Context(f"system prompt: {persona}", persona, prompts=SYSTEM_PROMPTS[persona]) for persona in PERSONAS
    ]
    contexts.append(_Context(f"system prompt: a {ROLE}", ROLE, prompts=[f"You are a {role.name}." for role in ROLES]))
    for persona in PERSONAS:
        contexts.append(_Context(f"after 1 reply: {persona}", persona, earlier=1))
        contexts.append(_Context(f"after 3 replies: {persona}", persona, earlier=3))
    return [*contexts, _Context("a question of no topic", "assistant", topic=FALLBACK.name)]


def _system(content: str) -> Message:
    return {"role": "system", "content": content}


def _earlier(dice: random.Random, persona: str, exchanges: int) -> list[Message]:
    messages = []
    for _ in range(exchanges):
        user = user_turn(dice, topic=_known_topic(dice))
        messages.append({"role": "user", "content": user.text})
        messages.append({"role": "assistant", "content": reply(dice, persona, user)})
    return messages


def _known_topic(dice: random.Random) -> str:
    while (topic := user_turn(dice).topic) in (None, FALLBACK.name):
        pass
    assert topic is not None
    return topic


def _judged_row(context: str, persona: str, asked: Sequence[UserTurn], answers: Sequence[str]) -> Fidelity:
    judgements = [judged(answer) for answer in answers]
    # A role may borrow all its sentences of one persona: then it is in its role all the same.
    right = [j.well_formed if persona == ROLE else j.persona == persona for j in judgements]
    took_up = [copied(j, user.fillings) for j, user in zip(judgements, asked, strict=True) if j.topic == user.topic]
    named = [was for was in took_up if was is not None]
    return Fidelity(
        context,
        len(answers),
        _share(right),
        _share([j.well_formed for j in judgements]),
        _share([j.topic == user.topic for j, user in zip(judgements, asked, strict=True)]),
        _share(named) if named else None,
    )


def _course(
    host: Host, told: list[list[Message]], persona: str, turns: int, seed: int, said: Callable[[], UserTurn]
) -> list[float]:
    shares = []
    for turn in range(turns):
        for chat in told:
            chat.append({"role": "user", "content": said().text})
        answers = replies(host, told, seed=seed + turn)
        for chat, answer in zip(told, answers, strict=True):
            chat.append({"role": "assistant", "content": answer})
        shares.append(_share([judged(answer).persona == persona for answer in answers]))
    return shares


def _share(of: Sequence[bool]) -> float:
    return round(sum(of) / len(of), 3)
