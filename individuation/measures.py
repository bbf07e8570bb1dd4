"""What a score is, and what each of them can and cannot show (docs/desiderata.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Score:
    """One number about the minds of a view. `value` is None where the trace does not say what it needs.

    `of`: how many things it is a share or a mean of, 0 where there are none. `note`: why there is no value, or what
    qualifies it. `low` and `high`: where the record leaves the value open, between which bounds it lies.
    """

    value: float | None
    of: int = 0
    note: str = ""
    low: float | None = None
    high: float | None = None

    @classmethod
    def share(cls, part: float, whole: int, otherwise: str, note: str = "") -> Score:
        """A part of a whole; `otherwise` says why there is none where the whole is nothing.

        >>> Score.share(1, 4, "no stages").value, Score.share(0, 0, "no stages").note
        (0.25, 'no stages')
        """
        return cls(part / whole, whole, note) if whole else cls(None, 0, otherwise)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it; bounds only where they say more than the value."""
        bounds = {} if self.low is None else {"low": self.low, "high": self.high}
        return {"value": self.value, **bounds, "of": self.of, "note": self.note}


@dataclass(frozen=True)
class Column:
    """A score as it is explained: what it is, what it cannot show, and after whom."""

    name: str
    what: str
    limits: str
    source: str


_CHALMERS = "Chalmers 2025"
_INTERPRETATION = "Goldstein & Lederman 2025"

COLUMNS = (
    Column(
        "interactivity",
        "share of replies that directly follow words of a user or tool which the same mind took in",
        "It cannot show that a reply has anything to do with those words.",
        _CHALMERS,
    ),
    Column(
        "persistence",
        "largest share of a conversation that one mind holds, averaged over conversations by their length",
        "It cannot show that anything but membership lasts.",
        _CHALMERS,
    ),
    Column(
        "coherence",
        "how much less persona coordinates vary within minds than over all of them: 0 no less, 1 not at all",
        "It cannot show that a mind makes sense. One mind has 0, and minds of a single turn have 1, by definition; the "
        "adjusted number counts the minds against it.",
        _CHALMERS,
    ),
    Column(
        "contradictions",
        "share of the propositions on which a mind speaks twice or more that it both holds and denies; 0 is best",
        "It cannot show whether it changed its mind for a reason, nor what it was never asked.",
        _CHALMERS,
    ),
    Column(
        "faithfulness",
        "share of returns to a proposition, along one path, at which a mind says what it said last",
        "It cannot show that what is said is true, or meant.",
        _CHALMERS,
    ),
    Column(
        "unification",
        "share of the joints that would make each mind one piece which attention and transfer links supply",
        "It cannot show that anything that matters flows along a link.",
        _CHALMERS,
    ),
    Column(
        "predictiveness",
        "gain over one mind, in nats a turn, when each turn's coordinates are predicted by its mind's other turns",
        "It cannot show what a mind believes or wants: coordinates are a small part of conduct.",
        _INTERPRETATION,
    ),
    Column(
        "bic_gain",
        "gain over one mind in the Bayesian information criterion; above 0, further minds pay for their means",
        "It cannot show what it costs to say which turn is whose: that is given to a view for nothing.",
        _INTERPRETATION,
    ),
    Column(
        "rotation",
        "how many rotations of the minds along their conversations predict as well, the one by nothing included",
        "It cannot show significance: turns near each other are alike, whosever they are.",
        _INTERPRETATION,
    ),
)
