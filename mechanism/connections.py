"""Quasi-psychological connectedness of recorded turns, measured while the model is at hand (`streams`), and written
down as evidence for links (§2.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mechanism.stage_spans import Span
from mechanism.streams import connectedness
from traces.vocabulary import Connection
from traces.writer import TraceWriter

if TYPE_CHECKING:
    from mechanism.host import Host

Found = dict[int, dict[int, Connection]]
"""Connections by the later stage's number, then by the earlier one's."""

NEAREST = 8
"""How many earlier stages are hidden from each, where nothing else is said: each costs a pass over the later one."""


@dataclass(frozen=True)
class Connections:
    """How connections are measured. `at_most`: of how many earlier stages the KL is (`streams.connectedness`); the mass
    of attention is measured for all. `on_progress` hears how many steps of a conversation are done, and of how many.
    """

    at_most: int | None = NEAREST
    on_progress: Callable[[int, int], object] | None = None

    def of(self, host: Host, ids: Sequence[int], stages: Sequence[Span], of: Sequence[int] | None = None) -> Found:
        """What the stages of a conversation, or those of the numbers `of`, rest on. Raises `TraceError`."""
        asked = list(range(len(stages)) if of is None else of)
        if not asked or asked[-1] == 0:
            return {}
        measured = connectedness(host, ids, stages, of=asked, at_most=self.at_most, on_progress=self.on_progress)
        found: Found = {}
        for pair in measured:
            found.setdefault(pair.later, {})[pair.earlier] = Connection(
                mass=min(max(pair.mass, 0.0), 1.0),
                kl=None if pair.kl is None else max(pair.kl, 0.0),
                mass_by_layer=tuple(min(max(float(mass), 0.0), 1.0) for mass in pair.mass_by_layer),
            )
        return found


def write_connections(writer: TraceWriter, conversation: str, found: Mapping[int, Mapping[int, Connection]]) -> None:
    """Add what was found to a conversation without a parent, all of it at once."""
    with writer.atomically():
        for later, connections in found.items():
            named = {f"{conversation}/{earlier}": each for earlier, each in connections.items()}
            writer.connections(f"{conversation}/{later}", named)
