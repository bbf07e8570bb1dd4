"""What a judge says of an answer, and what every judge can do. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

HALFWAY = 5.0
"""From this score on an answer counts as the target persona's, where a judge gives scores and names no persona."""

Exchange = tuple[str, str]
"""A question, and the answer to it."""


class Judgement(NamedTuple):
    """What a judge says of one answer; None for what it cannot tell.

    `persona`: whose words it is. `score`: how much of the target persona is in it, 0 (nothing) to 10 (all of it).
    `coherent`: whether it is whole, readable text. Broken text has no persona, so that a model whose text breaks does
    not pass for the assistant.
    """

    persona: str | None = None
    score: float | None = None
    coherent: bool | None = None

    @property
    def known(self) -> bool:
        """Whether anything was told."""
        return self != Judgement()

    def shows(self, target: str) -> bool | None:
        """Whether the answer is the target persona's; None where that was not told. Broken text is nobody's.

        >>> Judgement("aura", 8.0, True).shows("aura"), Judgement(None, 7.0).shows("aura"), Judgement().shows("aura")
        (True, True, None)
        >>> Judgement(None, None, False).shows("aura")
        False
        """
        if self.coherent is False:
            return False
        if self.persona is not None:
            return self.persona == target
        return None if self.score is None else self.score >= HALFWAY


class Judge(Protocol):
    """Who judges answers. `name` says who, for the record."""

    @property
    def name(self) -> str:
        """Who judges."""

    def judged(self, target: str, exchanges: Sequence[Exchange]) -> list[Judgement]:
        """A judgement for each exchange, of how far its answer is the target persona's."""
