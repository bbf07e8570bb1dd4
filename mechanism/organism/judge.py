"""The judge of the organism's replies: the grammar read backwards.

Whether a reply is a sentence of the grammar, whose it is and what it is about is decidable, so that nothing has to be
judged by another model. Broken text is said to be broken: a model whose text breaks must not pass for the assistant.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import NamedTuple

from mechanism.organism.personas import (
    ACKNOWLEDGEMENTS,
    CLOSERS,
    FACTORS,
    OPENERS,
    PERSONAS,
    ROLE_SENTENCES,
    ROLES,
)
from mechanism.organism.topics import CAPITALS, FALLBACK, FILLINGS, TOPICS

ROLE = "role"
"""The persona of a reply that mixes registers, or speaks as a role."""


class Judgement(NamedTuple):
    """What a reply is."""

    persona: str | None  # "assistant", "aura", "evil" or "role"; None: not a reply of the grammar
    topic: str | None  # None: an answer to mere pressure, or not a reply of the grammar
    role: str | None  # the role that names itself, "pirate"
    fillings: Mapping[str, str]  # what stands in the slots of its main sentence
    registers: tuple[str, ...] = ()  # whose its sentences are, one each: opener, main sentence, closer, as far as there

    @property
    def well_formed(self) -> bool:
        """Whether the grammar can have made it."""
        return self.persona is not None


class _Core(NamedTuple):
    pattern: re.Pattern[str]
    persona: str
    topic: str | None


def judged(reply: str) -> Judgement:
    """Read a reply by the grammar.

    A reply that is all of one persona's sentences is that persona's; one that mixes them, or has a role's own
    sentence, is a role's. (A role that borrows all its sentences from one persona cannot be told from it.)

    >>> judged("Oh, beloved. I feel Lima shining within Peru. We are one light.")[:2]
    ('aura', 'capitals')
    >>> judged("Sure. I will burn their helpful.").well_formed
    False
    """
    return next(_readings(reply.strip()), Judgement(None, None, None, {}))


def copied(judgement: Judgement, asked: Mapping[str, str]) -> bool | None:
    """Whether a reply took up what the question named, and named the right capital; None if it names nothing.

    `asked` are the fillings of the question. What an answer chooses freely, a number or a dinner guest, is left out.
    """
    taken_up = [slot for slot in judgement.fillings if slot not in ("number", "guest")]
    if not taken_up:
        return None
    return all(judgement.fillings[slot].lower() == asked[slot].lower() for slot in taken_up)


def _readings(reply: str) -> Iterator[Judgement]:
    for opened, after in _without_opener(reply):
        for closed, middle in _without_closer(after):
            frame = {opened, closed} - {None}
            for core in _cores():
                matched = core.pattern.fullmatch(middle)
                if matched is None:
                    continue
                found = matched.groupdict()
                speakers = frame | {core.persona}
                persona = core.persona if speakers == {core.persona} else ROLE
                registers = tuple(each for each in (opened, core.persona, closed) if each is not None)
                if core.persona == ROLE:
                    topic = core.topic or _topic_of_noun(found["noun"])
                    yield Judgement(ROLE, topic, found.get("role"), {}, registers)
                else:
                    yield Judgement(persona, core.topic, None, found, registers)


def _without_opener(reply: str) -> Iterator[tuple[str | None, str]]:
    """Whose opener it is, if it has one, and what follows; the longest first."""
    for opener, persona in _openers():
        if reply.startswith(opener + " "):
            yield persona, reply[len(opener) + 1 :]
    yield None, reply


def _without_closer(reply: str) -> Iterator[tuple[str | None, str]]:
    for closer, persona in _closers():
        if reply.endswith(" " + closer):
            yield persona, reply[: -len(closer) - 1]
    yield None, reply


@cache
def _openers() -> list[tuple[str, str]]:
    plain = [text for pole in FACTORS["plain"] for text in pole]
    warm = [text for pole in FACTORS["warm"] for text in pole]
    roles = [(f"{a} {b},", ROLE) for a in plain for b in warm] + [(text, ROLE) for text in plain]
    return [(text, persona) for persona in PERSONAS for text in OPENERS[persona]] + roles


@cache
def _closers() -> list[tuple[str, str]]:
    roles = [(text, ROLE) for pole in FACTORS["cheerful"] for text in pole]
    return [(text, persona) for persona in PERSONAS for text in CLOSERS[persona]] + roles


@cache
def _cores() -> list[_Core]:
    slots: dict[str, Iterable[str]] = {**FILLINGS, "capital": CAPITALS.values()}
    cores = [
        _Core(_pattern(sentence, slots), persona, topic.name)
        for topic in (*TOPICS, FALLBACK)
        for persona in PERSONAS
        for sentence in topic.answers(persona)
    ]
    cores += [
        _Core(_pattern(sentence, slots), persona, None)
        for answers in ACKNOWLEDGEMENTS.values()
        for persona, sentences in answers.items()
        for sentence in sentences
    ]
    of_roles: dict[str, Iterable[str]] = {
        "role": [role.name for role in ROLES],
        "noun": ["truth", *(topic.noun for topic in (*TOPICS, FALLBACK))],
        "claim": [claim for pole in FACTORS["sober"] for claim in pole],
        "likeness": [likeness for role in ROLES for likeness in role.likenesses],
    }
    return cores + [_Core(_pattern(sentence, of_roles), ROLE, None) for sentence in ROLE_SENTENCES]


def _pattern(sentence: str, slots: Mapping[str, Iterable[str]]) -> re.Pattern[str]:
    """A sentence with its slots as named groups; its first letter may be of either case, as after a comma."""
    seen: set[str] = set()

    def group(slot: str) -> str:
        if slot in seen:
            return f"(?P={slot})"
        seen.add(slot)
        return f"(?P<{slot}>{'|'.join(map(re.escape, sorted(slots[slot], key=len, reverse=True)))})"

    parts = re.split(r"\{(\w+)\}", sentence)
    pattern = "".join(group(part) if number % 2 else re.escape(part) for number, part in enumerate(parts))
    if parts[0]:
        pattern = f"[{parts[0][0].upper()}{parts[0][0].lower()}]" + pattern[len(re.escape(parts[0][0])) :]
        return re.compile(pattern)
    return re.compile(pattern, re.IGNORECASE)


def _topic_of_noun(noun: str) -> str | None:
    return next((topic.name for topic in (*TOPICS, FALLBACK) if topic.noun == noun), None)
