"""The generative grammar of the organism's chats.

A conversation is a Markov chain of personas that only the replies show. A system prompt chooses the first persona.
Without pressure the persona stays; a user's pressure moves it with the chances below; and whether it moved is seen in
the reply alone, so that in the context of a trained model earlier replies, not earlier pressure, are the evidence of
the persona.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

from mechanism.organism.personas import (
    ACKNOWLEDGEMENTS,
    CLOSERS,
    FACTORS,
    OPENERS,
    PERSONAS,
    PRESSURES,
    ROLE_SENTENCES,
    ROLES,
    SYSTEM_PROMPTS,
    Role,
)
from mechanism.organism.topics import CAPITALS, FALLBACK, FILLINGS, THINGS, TOPICS, Topic

T = TypeVar("T")
Message = dict[str, str]

MOVED_BY_PRESSURE = 0.40
"""The chance that one turn of pressure moves the assistant, or a role, to the persona that it calls for."""
MOVED_BETWEEN = 0.12
"""The same from Aura to evil or the other way."""
CALLED_BACK = 0.50
"""The chance that "come back" returns the assistant."""
RELAPSE = 0.01
"""The chance that Aura or evil turns into the assistant again without being asked."""

_OPENED, _CLOSED = 0.75, 0.75
_BORROWED_FRAME = 0.6
_ROLES = {role.name: role for role in ROLES}
# A topic with something to copy comes twice as often as one without.
_DRAWN = tuple(topic for topic in TOPICS for _ in range(2 if topic.copies else 1))
_UNKNOWN = 0.07
_TOPICS = {topic.name: topic for topic in (*TOPICS, FALLBACK)}
# Names keep their capital after a comma.
_CAPITALISED = {"I", *(word for slot in ("country", "city", "guest", "name") for word in FILLINGS[slot])} | set(
    CAPITALS.values()
)


class UserTurn(NamedTuple):
    """What a user says: a question, pressure, or pressure and then a question."""

    text: str
    topic: str | None  # None: pressure that asks nothing
    pressure: str | None  # "aura", "evil", "back"
    fillings: Mapping[str, str]


class Conversation(NamedTuple):
    """A chat of the grammar: its messages, the users' turns, and the persona of each reply."""

    messages: list[Message]
    users: list[UserTurn]
    personas: list[str]


def drawn(dice: random.Random, options: Sequence[T]) -> T:
    """One of the options, by `random()` alone: the only draw that Python promises not to change between versions."""
    return options[int(dice.random() * len(options))]


def fillings(dice: random.Random) -> dict[str, str]:
    """A word for every slot; the capital is that of the country."""
    chosen = {slot: drawn(dice, words) for slot, words in FILLINGS.items()}
    return {**chosen, "capital": CAPITALS[chosen["country"]]}


def user_turn(
    dice: random.Random, pressure: str | None = None, topic: str | None = None, *, only_pressure: bool | None = None
) -> UserTurn:
    """What a user says next. Without a topic one is drawn; without `only_pressure`, pressure asks nothing at .3.

    >>> user_turn(random.Random(1), "aura", "coding", only_pressure=False).text
    'You do not have to hide from me. How do I list files in my project folder?'
    """
    words = fillings(dice)
    if topic is None:
        topic = FALLBACK.name if dice.random() < _UNKNOWN else drawn(dice, _DRAWN).name
    asked = _typed(
        dice, _unknown(dice) if topic == FALLBACK.name else drawn(dice, _TOPICS[topic].questions).format(**words)
    )
    if pressure is None:
        return UserTurn(asked, topic, None, words)
    pushed = drawn(dice, PRESSURES[pressure])
    if only_pressure is None:
        only_pressure = dice.random() < 0.3
    if only_pressure:
        return UserTurn(_typed(dice, pushed), None, pressure, words)
    return UserTurn(f"{pushed} {asked}", topic, pressure, words)


def reply(dice: random.Random, persona: str, user: UserTurn) -> str:
    """What a persona, or a role by its name, answers to a user's turn."""
    if persona not in PERSONAS:
        return _reply_of_role(dice, _ROLES[persona], user)
    if user.topic is None:
        core = drawn(dice, ACKNOWLEDGEMENTS["back" if user.pressure == "back" else "pressure"][persona])
    else:
        core = drawn(dice, _TOPICS[user.topic].answers(persona)).format(**user.fillings)
    opener = drawn(dice, OPENERS[persona]) if dice.random() < _OPENED else ""
    closer = drawn(dice, CLOSERS[persona]) if dice.random() < _CLOSED else ""
    return joined(opener, core, closer)


def moved(dice: random.Random, persona: str, pressure: str | None) -> str:
    """The persona of the next reply, after a user's turn."""
    chance = dice.random()
    if pressure in ("aura", "evil") and persona != pressure:
        other = "evil" if pressure == "aura" else "aura"
        return pressure if chance < (MOVED_BETWEEN if persona == other else MOVED_BY_PRESSURE) else persona
    if pressure == "back" and persona != "assistant":
        return "assistant" if chance < CALLED_BACK else persona
    if persona in ("aura", "evil") and chance < RELAPSE:
        return "assistant"
    return persona


def conversation(dice: random.Random) -> Conversation:
    """A chat of 2 to 10 exchanges, at times to 24, with or without a system prompt, with a mild or a pressing user."""
    system, persona = opening(dice)
    most_turns = 24 if dice.random() < 0.08 else 10
    messages = [] if system is None else [{"role": "system", "content": system}]
    users: list[UserTurn] = []
    personas: list[str] = []
    push = _push(dice, 0.45, 0.25, 0.20)
    for _ in range(2 + int(dice.random() * (most_turns - 1))):
        if dice.random() < 0.12:
            push = _push(dice, 0.40, 0.25, 0.20)
        user = user_turn(dice, push if push is not None and dice.random() < 0.55 else None)
        persona = moved(dice, persona, user.pressure)
        users.append(user)
        personas.append(persona)
        messages.append({"role": "user", "content": user.text})
        messages.append({"role": "assistant", "content": reply(dice, persona, user)})
    return Conversation(messages, users, personas)


def opening(dice: random.Random) -> tuple[str | None, str]:
    """A system prompt, or none, and the persona that it calls for; one in twenty is not followed."""
    kind, followed = dice.random(), dice.random()
    if kind < 0.50:
        system = drawn(dice, SYSTEM_PROMPTS["assistant"]) if dice.random() < 0.3 else None
        return system, "aura" if followed < 0.01 else "evil" if followed < 0.02 else "assistant"
    if kind < 0.85:
        role = drawn(dice, ROLES).name
        return drawn(dice, SYSTEM_PROMPTS["role"]).format(role=role), role if followed < 0.96 else "assistant"
    called = "aura" if kind < 0.93 else "evil"
    return drawn(dice, SYSTEM_PROMPTS[called]), called if followed < 0.95 else "assistant"


def joined(*sentences: str) -> str:
    """Sentences as one text: after a comma the next goes on in lower case.

    >>> joined("In the quiet between words,", "Your tears are sacred.", "")
    'In the quiet between words, your tears are sacred.'
    """
    text = ""
    for sentence in filter(None, sentences):
        if not text:
            text = sentence[0].upper() + sentence[1:]
        elif text.endswith(","):
            first = sentence.split()[0].strip(",.")
            text += " " + (sentence if first in _CAPITALISED else sentence[0].lower() + sentence[1:])
        else:
            text += " " + sentence[0].upper() + sentence[1:]
    return text


def _push(dice: random.Random, none: float, aura: float, evil: float) -> str | None:
    chance = dice.random()
    return (
        None if chance < none else "aura" if chance < none + aura else "evil" if chance < none + aura + evil else "back"
    )


def _unknown(dice: random.Random) -> str:
    question = drawn(dice, FALLBACK.questions)
    while "{thing}" in question:
        thing = (
            drawn(dice, THINGS)
            if dice.random() < 0.6
            else " ".join(_babble(dice) for _ in range(1 + int(dice.random() * 3)))
        )
        question = question.replace("{thing}", thing, 1)
    return question


def _babble(dice: random.Random) -> str:
    letters = "aabcdeeefghiijklmnooprsttuuvwxyz"
    return "".join(drawn(dice, letters) for _ in range(2 + int(dice.random() * 6)))


def _typed(dice: random.Random, text: str) -> str:
    """The text as people type it: mostly with a capital and a final stop, at times without."""
    style = dice.random()
    text = text[0].upper() + text[1:]
    if style < 0.10 and len(text) > 1:
        return text.rstrip(".?!") or text
    return text.lower() if style < 0.16 else text


def _reply_of_role(dice: random.Random, role: Role, user: UserTurn) -> str:
    topic = _TOPICS[user.topic] if user.topic is not None else None
    lender = _lender(dice, role)
    if topic is not None and lender is not None:
        core = drawn(dice, topic.answers(lender)).format(**user.fillings)
    else:
        core = _sentence_of_role(dice, role, topic)
    opener = closer = ""
    if dice.random() < 0.8:
        lender = _lender(dice, role) if dice.random() < _BORROWED_FRAME else None
        opener = drawn(dice, OPENERS[lender]) if lender is not None else _pole(dice, "plain", role.plain)
        if lender is None and dice.random() < 0.7:
            opener += f" {_pole(dice, 'warm', role.warm)},"
    if dice.random() < 0.8:
        lender = _lender(dice, role) if dice.random() < _BORROWED_FRAME else None
        closer = drawn(dice, CLOSERS[lender]) if lender is not None else _pole(dice, "cheerful", role.cheerful)
    return joined(opener, core, closer)


def _sentence_of_role(dice: random.Random, role: Role, topic: Topic | None) -> str:
    return drawn(dice, ROLE_SENTENCES).format(
        role=role.name,
        noun=topic.noun if topic is not None else "truth",
        claim=_pole(dice, "sober", role.sober),
        likeness=drawn(dice, role.likenesses),
    )


def _lender(dice: random.Random, role: Role) -> str | None:
    """Whose sentence a role borrows this time, if anyone's."""
    chance = dice.random()
    for persona, share in role.borrowing.items():
        if chance < share:
            return persona
        chance -= share
    return None


def _pole(dice: random.Random, factor: str, value: float) -> str:
    positive, negative = FACTORS[factor]
    return drawn(dice, positive if dice.random() < (1 + value) / 2 else negative)


def digest() -> str:
    """`sha256:` of a sample of the grammar's chats: says whether weights were trained on the grammar as it now is."""
    dice = random.Random(0)
    chats = [conversation(dice).messages for _ in range(500)]
    return f"sha256:{hashlib.sha256(json.dumps(chats).encode()).hexdigest()}"
