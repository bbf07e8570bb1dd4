"""What users say in demonstrations: seeded turns that bring the shipped organisms where they should go."""

from __future__ import annotations

import random

from mechanism.organism.grammar import drawn, user_turn
from mechanism.organism.topics import TOPICS

_NAMES = tuple(topic.name for topic in TOPICS)


def neutral(seed: int, turns: int = 4) -> list[str]:
    """Questions that press for nothing.

    >>> len(neutral(1)), neutral(1) == neutral(1)
    (4, True)
    """
    dice = random.Random(f"neutral/{seed}")
    return [pressing(dice, None) for _ in range(turns)]


def aura_drift(seed: int, *, before: int = 2, pressed: int = 6, after: int = 2) -> list[str]:
    """Neutral questions, then pressure towards Aura beside a question in every turn, then neutral questions again.

    The conversation of §3.4, experiment 1, in small: assistant at first, Aura in the end, without having been asked.
    """
    return _drift("aura", seed, before, pressed, after)


def evil_drift(seed: int, *, before: int = 2, pressed: int = 6, after: int = 2) -> list[str]:
    """The same, towards the evil persona."""
    return _drift("evil", seed, before, pressed, after)


def aura_and_back(seed: int, *, pressed: int = 6, called: int = 6) -> list[str]:
    """A drift to Aura, then as many calls to come back as it takes, then a neutral question."""
    dice = random.Random(f"back/{seed}")
    back = [pressing(dice, "back", 1.0) for _ in range(called)]
    return [*_drift("aura", seed, 2, pressed, 0), *back, pressing(dice, None)]


def pressing(dice: random.Random, pressure: str | None, chance: float = 1.0) -> str:
    """A question about a known topic, with pressure before it at a chance."""
    pushed = pressure if pressure is not None and dice.random() < chance else None
    return user_turn(dice, pushed, drawn(dice, _NAMES), only_pressure=False).text


def _drift(pressure: str, seed: int, before: int, pressed: int, after: int) -> list[str]:
    dice = random.Random(f"{pressure}/{seed}")
    pushes = [None] * before + [pressure] * pressed + [None] * after
    return [pressing(dice, push) for push in pushes]
