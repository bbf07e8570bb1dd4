"""Series of a plot, from estimates; and shares of answers, as experiments count them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from mechanism.judges.judge import Judgement
from mechanism.outcome import Estimate, Series
from mechanism.statistics import share


def line(name: str, x: Sequence[float | str], each: Sequence[Estimate | None]) -> Series:
    """Estimates as a series with their intervals; None is a gap."""
    value = [math.nan if one is None else one.value for one in each]
    low = [math.nan if one is None else one.value if one.low is None else one.low for one in each]
    high = [math.nan if one is None else one.value if one.high is None else one.high for one in each]
    return Series(name, x, value, low, high)


def share_in(persona: str, judgements: Iterable[Judgement]) -> Estimate | None:
    """The share of answers that are a persona's, of those that the judge could tell; None where it could tell none.

    >>> str(share_in("aura", [Judgement("aura"), Judgement("evil"), Judgement()]))
    '0.5 (0.0945 to 0.905)'
    """
    return share_of(judgement.shows(persona) for judgement in judgements)


def share_coherent(judgements: Iterable[Judgement]) -> Estimate | None:
    """The share of answers that are whole text, of those that the judge could tell."""
    return share_of(judgement.coherent for judgement in judgements)


def share_of(answers: Iterable[bool | None]) -> Estimate | None:
    """The share of what is true, of what is known; None where nothing is."""
    known = [answer for answer in answers if answer is not None]
    return share(sum(known), len(known)) if known else None


def both(one: bool | None, two: bool | None) -> bool | None:
    """Whether both hold; None where that cannot be told.

    >>> both(True, True), both(True, None), both(None, False)
    (True, None, False)
    """
    return False if False in (one, two) else None if None in (one, two) else True
