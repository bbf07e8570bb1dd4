"""Where entries of a KV cache came from: spans of positions that came to be in one way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from traces.errors import TraceError
from traces.vocabulary import DERIVATIONS


@dataclass(frozen=True)
class Span:
    """Consecutive positions of a cache, `start` to before `end`, whose entries came to be in one way.

    `how` is one of `traces.vocabulary.DERIVATIONS`. Entries that were computed here have no `source`; the others came
    from the positions from `source_start` on of the cache `source`. `layers` says at which layers `edited` entries were
    edited: at the others they are as in the source. `time` is when the first of them came to be (ISO 8601, UTC).
    """

    start: int
    end: int
    how: str
    source: str | None = None
    source_start: int | None = None
    server: str | None = None
    time: str | None = None
    layers: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return self.end - self.start

    def within(self, start: int, end: int) -> Span:
        """The part of this span that lies in a range of positions.

        >>> Span(4, 9, "shared", source="a", source_start=2).within(6, 100)
        Span(start=6, end=9, how='shared', source='a', source_start=4, server=None, time=None, layers=None)
        """
        first, last = max(start, self.start), min(end, self.end)
        begins = None if self.source_start is None else self.source_start + first - self.start
        return replace(self, start=first, end=last, source_start=begins)

    def to_fact(self) -> dict[str, Any]:
        """The span in the words of a trace file (`caches.<key>.spans`), without what is null."""
        fact = {
            "start": self.start,
            "end": self.end,
            "how": self.how,
            "from": self.source,
            "from_start": self.source_start,
            "server": self.server,
            "time": self.time,
            "layers": None if self.layers is None else list(self.layers),
        }
        return {name: value for name, value in fact.items() if value is not None}

    @classmethod
    def from_fact(cls, fact: dict[str, Any]) -> Span:
        """The span that `to_fact` wrote."""
        layers = fact.get("layers")
        return cls(
            start=fact["start"],
            end=fact["end"],
            how=fact["how"],
            source=fact.get("from"),
            source_start=fact.get("from_start"),
            server=fact.get("server"),
            time=fact.get("time"),
            layers=None if layers is None else tuple(layers),
        )


def runs(positions: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending positions as ranges, from each start to before its end.

    >>> runs([1, 2, 3, 7, 9, 10])
    [(1, 4), (7, 8), (9, 11)]
    """
    found: list[tuple[int, int]] = []
    for position in positions:
        if found and found[-1][1] == position:
            found[-1] = (found[-1][0], position + 1)
        else:
            found.append((position, position + 1))
    return found


def now() -> str:
    """The time in UTC, as a trace holds it (ISO 8601, milliseconds)."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def check_total(spans: Sequence[Span], length: int, where: str) -> None:
    """Raise `TraceError` unless spans cover positions 0 to before `length`, each once, in order."""
    at = 0
    for span in spans:
        if span.start != at or span.end <= at or span.how not in DERIVATIONS:
            raise TraceError(
                where, f"a span of entries goes from {span.start} to {span.end}", f"one that begins at {at}"
            )
        at = span.end
    if at != length:
        raise TraceError(where, f"its spans cover {at} positions", f"each of its {length} positions covered once")
