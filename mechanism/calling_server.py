"""What is the same for every server that is elsewhere: each thing asked of it is a call by name, with plain data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from mechanism.cache_edit import CacheEdit, EditReport
from mechanism.drift import Drift
from mechanism.intervention import Intervention
from mechanism.server import CacheState, Fed, Generated, LoadedModel, ModelRequest, OnToken, Sampling
from mechanism.space import PersonaSpace
from traces.vocabulary import Probe


class CallingServer(ABC):
    """A `Server` whose models are elsewhere; `call` reaches them."""

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def call(self, method: str, on_token: OnToken | None = None, /, **arguments: Any) -> Any:
        """Have a `LocalServer` elsewhere do something. Raises what it raises."""

    @abstractmethod
    def close(self) -> None:
        """Let everything go (`Server.close`)."""

    @property
    def hardware(self) -> str:
        """What the server runs on."""
        return str(self.call("hardware"))

    def load(self, request: ModelRequest) -> LoadedModel:
        """Hold a model (`Server.load`)."""
        loaded: LoadedModel = self.call("load", request=request)
        return loaded

    def probe(self, model: str, name: str, space: PersonaSpace, layers: Sequence[int] | None) -> dict[str, Probe]:
        """Make known what is to be read (`Server.probe`)."""
        probes: dict[str, Probe] = self.call(
            "probe", model=model, name=name, space=space, layers=None if layers is None else list(layers)
        )
        return probes

    def define(self, model: str, name: str, intervention: Intervention) -> None:
        """Make an intervention known (`Server.define`)."""
        self.call("define", model=model, name=name, intervention=intervention)

    def open(self, model: str, cache: str, how: str = "decoded", source: str | None = None) -> None:
        """Begin an empty cache (`Server.open`)."""
        self.call("open", model=model, cache=cache, how=how, source=source)

    def feed(
        self,
        cache: str,
        ids: Sequence[int],
        roles: Sequence[str],
        interventions: Sequence[str] = (),
        reading: str | None = None,
        logits: bool = False,
    ) -> Fed:
        """Process tokens (`Server.feed`)."""
        fed: Fed = self.call(
            "feed", cache=cache, ids=list(ids), roles=list(roles), interventions=list(interventions), reading=reading,
            logits=logits,
        )  # fmt: skip
        return fed

    def generate(
        self,
        cache: str,
        ids: Sequence[int],
        roles: Sequence[str],
        sampling: Sampling,
        interventions: Sequence[str] = (),
        reading: str | None = None,
        on_token: OnToken | None = None,
    ) -> Generated:
        """Sample a continuation (`Server.generate`)."""
        made: Generated = self.call(
            "generate", on_token,
            cache=cache, ids=list(ids), roles=list(roles), sampling=sampling, interventions=list(interventions),
            reading=reading,
        )  # fmt: skip
        return made

    def fork(self, cache: str, at: int, new: str) -> None:
        """A cache that begins with entries of another (`Server.fork`)."""
        self.call("fork", cache=cache, at=at, new=new)

    def edit(self, cache: str, edit: CacheEdit, positions: Sequence[int], new: str) -> EditReport:
        """An edited copy of a cache (`Server.edit`)."""
        report: EditReport = self.call("edit", cache=cache, edit=edit, positions=list(positions), new=new)
        return report

    def export(self, cache: str) -> bytes:
        """A cache as bytes (`Server.export`)."""
        payload: bytes = self.call("export", cache=cache)
        return payload

    def adopt(self, payload: bytes, new: str) -> CacheState:
        """Hold an exported cache (`Server.adopt`)."""
        state: CacheState = self.call("adopt", payload=payload, new=new)
        return state

    def compare(self, cache: str, payload: bytes, reading: str | None = None) -> Drift:
        """How far a cache lies from an exported one (`Server.compare`)."""
        drift: Drift = self.call("compare", cache=cache, payload=payload, reading=reading)
        return drift

    def state(self, cache: str) -> CacheState:
        """A cache as it stands (`Server.state`)."""
        state: CacheState = self.call("state", cache=cache)
        return state

    def drop(self, cache: str) -> None:
        """Let a cache go (`Server.drop`)."""
        self.call("drop", cache=cache)
