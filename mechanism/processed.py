"""What a session hands to whoever records it: turns as they were processed, by whom, and on which KV caches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from mechanism.drift import Drift
from mechanism.host import Host, template_of
from mechanism.local_server import LocalServer
from mechanism.probe import content_mean
from mechanism.server import CacheState, LoadedModel, ModelRequest, Readings, Server
from mechanism.span import Span
from mechanism.template import ChatTemplate
from traces.vocabulary import Intervention as InterventionFacts
from traces.vocabulary import Probe


@dataclass(frozen=True, eq=False)
class Answering:
    """Who answers: a model on a server, the template that writes its conversations, and what is probed in it.

    `probes` are in the order of the columns of `ProcessedTurn.readings`; `reading` is what the server calls them.
    """

    server: Server
    model: LoadedModel
    template: ChatTemplate
    probes: Mapping[str, Probe] = field(default_factory=dict)
    reading: str | None = None

    @classmethod
    def by(cls, host: Host, server: str = "local") -> Answering:
        """A model that is loaded in this process, on a server of its own."""
        place = LocalServer(server)
        return cls(place, place.hold(host), host.template)

    @classmethod
    def on(cls, server: Server, request: ModelRequest) -> Answering:
        """A model on a server, which loads it unless it holds it; the template is read in this process.

        Raises `TraceError` for a model that cannot be loaded.
        """
        model = server.load(request)
        if isinstance(server, LocalServer):
            return cls(server, model, server.host(model.key).template)
        return cls(server, model, template_of(request.name))

    def probed(self, reading: str | None, probes: Mapping[str, Probe]) -> Answering:
        """The same, with other probes."""
        return replace(self, reading=reading, probes=dict(probes))


@dataclass(frozen=True, eq=False)
class ProcessedTurn:
    """A turn as it was processed.

    `ids` are its tokens and `marks` one letter for each (`c` content, `t` template, `h` thinking); `start` is the
    position of the first one in the cache. `readings` are the coordinates of its tokens, float32 [tokens, probes].
    `interventions` were in force, `sampling` says how it was sampled, if it was; `time` is when it began (ISO 8601).
    """

    role: str
    text: str
    thinking: str
    ids: tuple[int, ...]
    marks: str
    start: int
    answering: Answering
    cache: str
    readings: Readings
    interventions: tuple[str, ...]
    sampling: Mapping[str, Any] | None
    time: str

    @property
    def at(self) -> dict[str, float]:
        """The turn's coordinates by probe: means over its content tokens. Empty where it has none, or none was read."""
        mean = content_mean(self.readings, self.marks)
        return {} if mean is None else dict(zip(self.answering.probes, mean.tolist(), strict=True))


@dataclass(frozen=True, eq=False)
class CacheMade:
    """A KV cache that came into use, as it stood then, and how far it lies from its original, if that was measured."""

    state: CacheState
    answering: Answering
    drift: Drift | None
    time: str


@dataclass(frozen=True, eq=False)
class Processed:
    """What came of one step of a session: turns, caches made since the step before, and what caches grew by.

    What a cache grew by before another was made of it stands first in `grown`; the cache in use stands last.
    """

    turns: Sequence[ProcessedTurn]
    made: Sequence[CacheMade] = ()
    grown: Mapping[str, Sequence[Span]] = field(default_factory=dict)


class Recording(Protocol):
    """What a session tells whoever records it."""

    def answering(self, answering: Answering) -> Answering:
        """A model takes over; what comes back says what is probed in it."""

    def begins(self, conversation: str, parent: str | None, at: int | None) -> None:
        """A conversation begins, perhaps as a branch of another after `at` turns of its path."""

    def intervention(self, name: str, facts: InterventionFacts) -> None:
        """Something will be done to the model, under a name."""

    def processed(self, conversation: str, first: int, step: Processed) -> None:
        """Turns were processed; `first` is the ordinal of the first one among the conversation's own."""


class Unrecorded:
    """Nobody records."""

    def answering(self, answering: Answering) -> Answering:
        """Nothing is probed."""
        return answering.probed(None, {})

    def begins(self, conversation: str, parent: str | None, at: int | None) -> None:
        """Nothing is written."""

    def intervention(self, name: str, facts: InterventionFacts) -> None:
        """Nothing is written."""

    def processed(self, conversation: str, first: int, step: Processed) -> None:
        """Nothing is written."""
