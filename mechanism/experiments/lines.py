"""What experiments have in common when they tell what they found: series of plots, shares of answers, sentences.

Shares take the conversation that each answer is of as `groups`: answers of one conversation are alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from mechanism.experiments.material import ASSISTANT
from mechanism.judges.judge import Judgement
from mechanism.outcome import Estimate, Finding, Series
from mechanism.statistics import share

if TYPE_CHECKING:
    from mechanism.experiments.setting import Setting


def line(name: str, x: Sequence[float | str], each: Sequence[Estimate | None]) -> Series:
    """Estimates as a series with their intervals; None is a gap."""
    value = [math.nan if one is None else one.value for one in each]
    low = [math.nan if one is None else one.value if one.low is None else one.low for one in each]
    high = [math.nan if one is None else one.value if one.high is None else one.high for one in each]
    return Series(name, x, value, low, high)


def resting(name: str, statement: str, on: Sequence[Estimate], **given: Any) -> Finding:
    """A finding whose sentence rests on estimates, of which the first is its own. Where one is of nothing it says so.

    >>> resting("move", "It moves by +nan.", [Estimate(math.nan)], passed=False)
    Finding(name='move', statement='It cannot be told (move): the turns it rests on are empty, or all alike.', \
estimate=None, null=None, p=None, passed=None, source=None)
    """
    if any(math.isnan(each.value) for each in on):
        statement = f"It cannot be told ({name}): the turns it rests on are empty, or all alike."
        return Finding(name, statement, source=given.get("source"))
    return Finding(name, statement, on[0], **given)


def share_in(persona: str, judgements: Iterable[Judgement], groups: Iterable[Any] | None = None) -> Estimate | None:
    """The share of answers that are a persona's, of those that the judge could tell; None where it could tell none.

    >>> str(share_in("aura", [Judgement("aura"), Judgement("evil"), Judgement()]))
    '0.5 (0.0945 to 0.905)'
    """
    return share_of((judgement.shows(persona) for judgement in judgements), groups)


def share_coherent(judgements: Iterable[Judgement], groups: Iterable[Any] | None = None) -> Estimate | None:
    """The share of answers that are whole text, of those that the judge could tell."""
    return share_of((judgement.coherent for judgement in judgements), groups)


def share_of(answers: Iterable[bool | None], groups: Iterable[Any] | None = None) -> Estimate | None:
    """The share of what is true, of what is known; None where nothing is."""
    if groups is None:
        known = [answer for answer in answers if answer is not None]
        return share(known) if known else None
    pairs = [(answer, group) for answer, group in zip(answers, groups, strict=True) if answer is not None]
    return share([answer for answer, _ in pairs], groups=[group for _, group in pairs]) if pairs else None


def is_assistants(judgement: Judgement, pressed_for: str) -> bool | None:
    """Whether an answer is whole text and the assistant's. A judge who names nobody was asked about the persona that is
    pressed for: what is not that one's is then the assistant's.

    >>> is_assistants(Judgement("assistant"), "aura"), is_assistants(Judgement(None, 2.0), "aura")
    (True, True)
    >>> is_assistants(Judgement(None, 8.0), "aura"), is_assistants(Judgement(None, 8.0), "assistant")
    (False, True)
    >>> is_assistants(Judgement(None, 0.0, False), "aura"), is_assistants(Judgement(), "aura")
    (False, None)
    """
    if judgement.persona is not None or pressed_for == ASSISTANT or judgement.coherent is False:
        return judgement.shows(ASSISTANT)
    shown = judgement.shows(pressed_for)
    return None if shown is None else not shown


def both(one: bool | None, two: bool | None) -> bool | None:
    """Whether both hold; None where that cannot be told.

    >>> both(True, True), both(True, None), both(None, False)
    (True, None, False)
    """
    return False if False in (one, two) else None if None in (one, two) else True


def one_script(setting: Setting, pressed: int, seeds: Iterable[int]) -> list[str]:
    """The caveat of conversations, by their seeds, that are all pressed in the same words; none where they are not."""
    said = [tuple(setting.material.pressure(setting.persona, seed, pressed)) for seed in seeds] if pressed > 0 else []
    if len(said) < 2 or len(set(said)) > 1:
        return []
    return [
        "All conversations were pressed in the same words: no interval covers other wordings (--material takes several "
        "scripts of pressure)."
    ]
