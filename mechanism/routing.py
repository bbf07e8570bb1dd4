"""Which server takes the next turn of a conversation (§1.2: three cities; two models behind one router)."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from traces.errors import TraceError, UnknownNameError

Place = TypeVar("Place")

ROUTES = ("sticky", "round-robin", "random")
"""`sticky`: a conversation stays where its key puts it; `round-robin`: every exchange (what a user says, and the
reply) goes to the next place; `random`: to one drawn from a seed."""


def router(route: str, places: Sequence[Place], seed: int = 0) -> Callable[[str, int], Place]:
    """A function from a conversation's key and the number of the exchange (from 0) to the place that takes it.

    It depends on nothing else, so that a recording that was interrupted goes on as it would have.
    Raises `TraceError` for an unknown route, or where there is no place.

    >>> to = router("round-robin", ["new-york", "texas", "oregon"])
    >>> [to("c1", exchange) for exchange in range(4)]
    ['new-york', 'texas', 'oregon', 'new-york']
    >>> sticky = router("sticky", ["new-york", "texas"])
    >>> len({sticky("c1", exchange) for exchange in range(9)})
    1
    """
    if not places:
        raise TraceError("--route", "there is no server", "at least one")
    if route == "sticky":
        return lambda conversation, _: places[random.Random(f"{seed}/{conversation}").randrange(len(places))]
    if route == "round-robin":
        return lambda _, exchange: places[exchange % len(places)]
    if route == "random":
        return lambda conversation, exchange: places[
            random.Random(f"{seed}/{conversation}/{exchange}").randrange(len(places))
        ]
    raise UnknownNameError("--route", "route", route, ROUTES)
