"""Readings: where the paper leaves a question open, a named option with a default, never a hidden choice (semantics.md
§4).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from traces.errors import TraceError, UnknownNameError, one_of, quoted

Value = str | float
Readings = Mapping[str, Value]


@dataclass(frozen=True)
class Reading:
    """A question that a view must answer one way or another. The first value is the default."""

    name: str
    values: tuple[str, ...]
    question: str
    source: str

    @property
    def default(self) -> Value:
        """The value where none is chosen."""
        return self.values[0]

    @property
    def domain(self) -> str:
        """What may be chosen, in words."""
        return one_of(self.values)

    def parsed(self, value: object) -> Value:
        """A chosen value, from text or Python. Raises `TraceError` for one that the reading does not have.

        >>> BRANCHING.parsed("closest")
        'closest'
        """
        if not isinstance(value, str) or value not in self.values:
            raise UnknownNameError(
                f"reading {self.name}", "value", value if isinstance(value, str) else str(value), self.values
            )
        return value


@dataclass(frozen=True)
class NumberReading(Reading):
    """A reading whose value is a number >= 0, a bound on what was measured; by default one that bounds nothing.

    `no_bound`: infinity (null) for the most that there may be, 0 for the least that there must be.
    """

    no_bound: float = math.inf

    @property
    def default(self) -> Value:
        """No bound."""
        return self.no_bound

    @property
    def domain(self) -> str:
        """What may be chosen, in words."""
        return f"a number >= 0{', or inf' if self.no_bound else '; 0'} for no bound"

    def parsed(self, value: object) -> Value:
        """A bound, from text or Python; None is none. Raises `TraceError` for what is no such number.

        >>> MAX_DRIFT.parsed("0.01"), MAX_DRIFT.parsed(None), LEAST_CONNECTEDNESS.parsed(None)
        (0.01, inf, 0.0)
        """
        if value is None or value in ("null", "none"):
            return self.no_bound
        try:
            number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
        except (ValueError, OverflowError):
            number = math.nan
        if not number >= 0 or (math.isinf(number) and self.no_bound != math.inf):
            raise TraceError(f"reading {self.name}", f"its value is {quoted(value)}", self.domain)
        return number


RECONSTRUCTION = Reading(
    "reconstruction", ("same", "new"),
    "When a KV cache is recomputed by pre-filling the transcript, does the earlier virtual instance "
    "go on, or does a new one begin?",
    "§2.3, two readings of pre-filling",
)  # fmt: skip
USER_TURNS = Reading(
    "user_turns", ("poised", "intermittent"),
    "While the model reads the user's words, is the persona poised to answer (and so present), or absent?",
    "§4.2, giving up (i) or (ii)",
)  # fmt: skip
RECURRENCE = Reading(
    "recurrence", ("new", "same"),
    "Does a region that is left and entered again in one virtual instance continue the earlier mind?",
    "open",
)  # fmt: skip
BRANCHING = Reading(
    "branching", ("one", "overlap", "end", "closest"),
    "Where a conversation branches: one branching mind, overlapping minds that share a past (Lewis), "
    "an end (no branching), or the "
    "closest continuer (Nozick)?",
    "open",
)  # fmt: skip
UNKNOWN_CACHE = Reading(
    "unknown_cache", ("carry", "cut"),
    "Where reconstruction is new and the record does not say how the cache came about, is the mind taken to go on?",
    "none: a gap in the record",
)  # fmt: skip
WEIGHTS = Reading(
    "weights", ("exact", "base"),
    "Is a fine-tuned model (one that names a base) the given model?",
    "open (§3.1, fn 8)",
)  # fmt: skip
EDITS = Reading("edits", ("carry", "cut"), "Does a mind go on across an edit of its KV cache?", "open (§3.4)")
OUTSIDE = Reading(
    "outside", ("none", "last"),
    "Is an assistant stage in no region without a persona, or still in the last region before it?",
    "open (§3.3)",
)  # fmt: skip
MAX_DRIFT = NumberReading(
    "max_drift", (),
    "How far may a recomputed KV cache drift from the original (relative L2) and still carry the mind on?",
    "fn 4",
)  # fmt: skip

LEAST_CONNECTEDNESS = NumberReading(
    "least_connectedness", (),
    "How far, in nats, must a stage rest on the one that its own link comes from, for the mind to go on? So much its "
    "predictions must change when that stage is hidden from it.",
    "open (§2.1)",
    no_bound=0.0,
)  # fmt: skip

ALL = (
    RECONSTRUCTION, USER_TURNS, RECURRENCE, BRANCHING, UNKNOWN_CACHE, WEIGHTS, EDITS, OUTSIDE, MAX_DRIFT,
    LEAST_CONNECTEDNESS,
)  # fmt: skip

NOT_BUILT_IN = (LEAST_CONNECTEDNESS,)
"""Readings that no built-in view has, and that a view of one's own may have, or a name in brackets."""


def complete(
    readings: tuple[Reading, ...], chosen: Mapping[str, object], view: str, fixed: Mapping[str, Value] | None = None
) -> dict[str, Value]:
    """All readings of a view with their values: those chosen, and defaults for the rest.

    `fixed`: readings that the view answers by itself. Raises `UnknownNameError` for a reading that the view does not
    have, `TraceError` for choices that exclude each other.

    >>> complete((RECONSTRUCTION, EDITS), {"edits": "cut"}, "some-view")
    {'reconstruction': 'same', 'edits': 'cut'}
    """
    known = {reading.name: reading for reading in readings}
    for name in chosen:
        if name not in known:
            raise UnknownNameError(f"view {view}", "reading", name, known)
    values = {
        name: reading.parsed(chosen[name]) if name in chosen else reading.default for name, reading in known.items()
    }
    settled = {**(fixed or {}), **values}
    if settled.get("recurrence") == "same" and settled.get("branching") == "overlap":
        raise TraceError(
            f"view {view}",
            "recurrence=same is combined with branching=overlap",
            "one of the two: a recurrence has no meaning among minds that share stages",
        )
    return values
