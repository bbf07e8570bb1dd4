"""What a view declares: which links carry, which attributes must agree, which pool, which must be known.

All views but forward-pass are declared so, the built-in ones and those of one's own (docs/own-views.md). A linked view
goes by links: two stages belong to one mind iff links that carry connect them, with equal attributes all the way. A
pooled view goes by attributes alone: two stages belong to one mind iff they have them in common, in any
conversation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from rules.readings import ALL, Reading, Value
from traces.errors import TraceError, one_of
from traces.stages import LINKS

Attribute = Literal["model", "server", "region", "principal", "conversation", "role"]
ATTRIBUTES: tuple[Attribute, ...] = ("model", "server", "region", "principal", "conversation", "role")
"""What a stage has: `region` is the effective one (semantics.md §4); `principal` is on whose behalf it acts."""

MAY_BE_UNKNOWN: tuple[Attribute, ...] = ("server", "region", "principal")
"""Attributes that a record may leave out, or that a stage may lack."""

SHARED = "shared"
CARRIERS = (*LINKS, SHARED)
"""Kinds of link that a view may let carry: those of a stage's path, and `shared` from another conversation."""

_ON_LINKS = ("reconstruction", "branching", "unknown_cache", "edits", "max_drift", "least_connectedness")
_ON_REGIONS = ("user_turns", "outside")


@dataclass(frozen=True)
class Declaration:
    """A criterion as data.

    `follow`: "own" (each stage's own link, from its own model), "previous" (the link from the stage just before, of
    whatever model), or None for a pooled view. `carry`: kinds of link that may carry; readings narrow them. `agree`:
    attributes that must be equal at both ends of a link. `pool`: attributes that make one mind wherever they are equal.
    `known`: attributes without which a stage belongs to no mind. `uninstantiated`: also count (model, region) pairs
    that no stage enters. `fixed`: readings that the view answers by itself.

    >>> Declaration(follow="own", carry=frozenset({"attention", "transfer"})).linked
    True
    >>> Declaration(pool=("server", "model"))
    Traceback (most recent call last):
    traces.errors.TraceError: pool: it has server, which a record may leave out.
    Expected: server in `known` as well: a stage without it belongs to no mind.
    """

    follow: Literal["own", "previous"] | None = None
    carry: frozenset[str] = frozenset()
    agree: tuple[Attribute, ...] = ()
    pool: tuple[Attribute, ...] = ()
    known: tuple[Attribute, ...] = ()
    uninstantiated: bool = False
    fixed: Mapping[str, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for place, found, expected in self._faults():
            raise TraceError(place, found, expected)

    def _faults(self) -> list[tuple[str, str, str]]:
        faults = []
        if (self.follow is None) == (not self.pool):
            found = "links and pool are both given" if self.pool else "neither links nor pool is given"
            faults.append(("view", found, "one of them: a view goes by links, or by attributes that pool"))
        if self.linked and not self.carry:
            faults.append(("carry", "it is empty", f"kinds of link: {one_of(CARRIERS)}"))
        if self.follow == "own" and "transcript" in self.carry:
            faults.append(
                ("carry", 'it has transcript, but follow is "own"', 'follow = "previous": an own link is of one model')
            )
        if self.linked and self.uninstantiated:
            faults.append(("uninstantiated", "it is true for a view that goes by links", "a view that pools"))
        if self.uninstantiated and set(self.pool) != {"model", "region"}:
            faults.append(("uninstantiated", f"pool is {', '.join(self.pool)}", "pool = [model, region]"))
        where = "agree" if self.linked else "pool"
        for name in self.agree if self.linked else self.pool:
            if name not in self.known and (name == "region" or (not self.linked and name in MAY_BE_UNKNOWN)):
                lacking = "which a stage may lack" if name == "region" else "which a record may leave out"
                expected = f"{name} in `known` as well: a stage without it belongs to no mind"
                faults.append((where, f"it has {name}, {lacking}", expected))
        if not self.linked and self.agree:
            faults.append(("agree", "it is given for a view that pools", "only for a view that goes by links"))
        if SHARED in self.carry and self.fixed.get("branching", "one") != "one":
            faults.append(("carry", "it has shared, and branching is not one", _SHARED_ONLY_ONE))
        if self.fixed.get("branching") == "overlap" and self.fixed.get("recurrence") == "same":
            expected = "one of the two: a recurrence has no meaning among minds that share stages"
            faults.append(("fixed", "it has recurrence=same and branching=overlap", expected))
        return faults

    @property
    def linked(self) -> bool:
        """Whether the view goes by links."""
        return self.follow is not None

    @property
    def attributes(self) -> tuple[Attribute, ...]:
        """All attributes that the view looks at."""
        return tuple(dict.fromkeys((*self.agree, *self.pool, *self.known)))

    def to_dict(self) -> dict[str, object]:
        """As JSON has it, and as a view file says it.

        >>> Declaration(pool=("model",)).to_dict()["pool"]
        ['model']
        """
        return {
            "follow": self.follow,
            "carry": [kind for kind in CARRIERS if kind in self.carry],
            "agree": list(self.agree),
            "pool": list(self.pool),
            "known": list(self.known),
            "uninstantiated": self.uninstantiated,
            "fixed": {name: None if value == math.inf else value for name, value in self.fixed.items()},
        }

    def check_open(self, readings: tuple[Reading, ...]) -> None:
        """Refuse open questions that make no difference to such a view, or that it answers itself. Raises
        `TraceError`.
        """
        apt = self.apt_readings
        for number, reading in enumerate(readings):
            if reading in readings[:number]:
                raise TraceError("open", f"it has {reading.name} twice", "each reading once")
            if reading.name not in apt:
                raise TraceError("open", f"{reading.name} makes no difference to this view", one_of(apt, "reading"))
            if reading.name in self.fixed:
                raise TraceError("open", f"{reading.name} is answered under `fixed`", "one of the two")
            if reading.name == "branching" and SHARED in self.carry:
                raise TraceError("open", "branching is open, and shared links carry", _SHARED_ONLY_ONE)

    @property
    def apt_readings(self) -> list[str]:
        """The readings that can make a difference to such a view."""
        apt: list[str] = []
        if self.linked:
            apt += _ON_LINKS
            if self.agree or self.known:
                apt.append("recurrence")
        if "region" in self.attributes:
            apt += _ON_REGIONS
        if "model" in self.attributes:
            apt.append("weights")
        return [reading.name for reading in ALL if reading.name in apt]


_SHARED_ONLY_ONE = (
    "branching fixed to one: a prefix that is shared joins chains, so that no chain has a single beginning"
)
