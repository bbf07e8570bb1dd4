"""A server in this process: models, KV caches and what is probed and done to them, each under its key."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from transformers.generation.streamers import BaseStreamer

from mechanism.cache import ProvenanceCache
from mechanism.cache_edit import CacheEdit, EditReport
from mechanism.drift import Drift, compare, next_token_kl
from mechanism.generation import generation_config, parameters_of, refused, seeded
from mechanism.host import Host
from mechanism.intervention import Intervention
from mechanism.probe import Probes, Reader
from mechanism.server import (
    CacheState,
    Fed,
    Generated,
    LoadedModel,
    ModelRequest,
    OnToken,
    Readings,
    Sampling,
)
from mechanism.space import PersonaSpace
from mechanism.transfer import cache_from_bytes, cache_to_bytes
from traces.errors import TraceError, UnknownNameError, one_of, quoted
from traces.vocabulary import ROLES, Probe


@dataclass
class _Running:
    """A model that runs here."""

    host: Host
    probes: dict[str, Probes] = field(default_factory=dict)
    interventions: dict[str, Intervention] = field(default_factory=dict)


@dataclass
class _Held:
    """A cache that is held here, with the tokens whose keys and values it holds and the role of each."""

    cache: ProvenanceCache
    ids: list[int]
    roles: list[str]


class LocalServer:
    """Models and caches in this process.

    `name` is what the trace calls the server; `hardware` what it runs on, found out where it is not given.

    >>> server = LocalServer("desk")
    >>> server.hold(Host.load("organism", device="cpu")).key
    'organism'
    """

    def __init__(self, name: str = "local", hardware: str | None = None) -> None:
        self.name = name
        self._hardware = hardware
        self._models: dict[str, _Running] = {}
        self._caches: dict[str, _Held] = {}
        self._requests: dict[ModelRequest, str] = {}

    @property
    def hardware(self) -> str:
        """What the server runs on."""
        for running in self._models.values():
            self._hardware = self._hardware or running.host.hardware()
        return self._hardware or "CPU"

    # --- models

    def load(self, request: ModelRequest) -> LoadedModel:
        """Hold a model (`Server.load`)."""
        if request not in self._requests:
            host = Host.load(
                request.name,
                device=request.device,
                dtype=request.dtype,
                adapter=request.adapter,
                device_map=request.device_map,
                tp_plan=request.tp_plan,
            )
            self._requests[request] = self.hold(host).key
        return self._loaded(self._requests[request])

    def hold(self, host: Host) -> LoadedModel:
        """Hold a model that is loaded already. Other weights of the same name get a number behind it."""
        for key, running in self._models.items():
            if running.host.digest == host.digest and running.host.dtype == host.dtype:
                return self._loaded(key)
        key, number = host.name, 2
        while key in self._models:
            key, number = f"{host.name}-{number}", number + 1
        self._models[key] = _Running(host)
        return self._loaded(key)

    def host(self, model: str) -> Host:
        """A model held here. Raises `TraceError`."""
        return self._model(model).host

    def probe(self, model: str, name: str, space: PersonaSpace, layers: Sequence[int] | None) -> dict[str, Probe]:
        """Make known what is to be read (`Server.probe`)."""
        running = self._model(model)
        running.probes[name] = Probes.of(space, running.host, layers)
        return dict(running.probes[name].facts())

    def define(self, model: str, name: str, intervention: Intervention) -> None:
        """Make an intervention known (`Server.define`)."""
        running = self._model(model)
        if intervention.positions not in (meant := ("all", *ROLES)):
            found = f"its positions are {quoted(intervention.positions)}"
            raise TraceError(f"intervention {name}", found, one_of(meant, "whose tokens"))
        # Refused now, not in the middle of a reply.
        with intervention.on(running.host, None):
            running.interventions[name] = intervention

    # --- caches

    def open(self, model: str, cache: str, how: str = "decoded", source: str | None = None) -> None:
        """Begin an empty cache (`Server.open`)."""
        self._model(model)
        self._keep(ProvenanceCache(key=cache, model=model, server=self.name, how=how, source=source), [], [])

    def feed(
        self,
        cache: str,
        ids: Sequence[int],
        roles: Sequence[str],
        interventions: Sequence[str] = (),
        reading: str | None = None,
        logits: bool = False,
    ) -> Fed:
        """Process tokens in one pass (`Server.feed`)."""
        held = self._cache(cache)
        running = self._model(held.cache.model)
        running.host.check_length(len(held.ids) + len(ids))
        with (
            _whole(held, roles),
            torch.inference_mode(),
            self._acting(running, held, interventions),
            self._reading(running, reading) as take,
        ):
            tokens = torch.tensor([list(ids)], device=running.host.device)
            # The inner model leaves the head out: logits of a whole prefix would cost more than the prefix.
            model = running.host.model if logits else running.host.inner
            out = model(input_ids=tokens, past_key_values=held.cache, use_cache=True)
            readings = take(len(ids))
        held.ids += ids
        return Fed(readings, out.logits[0].float().cpu().numpy() if logits else None)

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
        held = self._cache(cache)
        running = self._model(held.cache.model)
        host = running.host
        if not ids and not held.ids:
            raise TraceError(f"server {self.name}", f"cache {cache} is empty", "tokens to go on from")
        config = generation_config(host, sampling)
        host.check_length(len(held.ids) + len(ids) + 1)
        prompt = torch.tensor([[*held.ids, *ids]], device=host.device)
        streamer = None if on_token is None else _Tokens(on_token)
        with (
            _whole(held, roles),
            torch.inference_mode(),
            seeded(sampling.seed, host.device),
            self._acting(running, held, interventions),
            self._reading(running, reading) as take,
            # With a cache that covers all tokens, transformers would silently process the whole prompt again on top.
            nullcontext() if ids else held.cache.reading_last_again(),
        ):
            try:
                out = host.model.generate(
                    input_ids=prompt,
                    attention_mask=torch.ones_like(prompt),
                    generation_config=config,
                    past_key_values=held.cache,
                    streamer=streamer,
                )
            except ValueError as error:
                raise refused(error) from None
            sampled = out[0, prompt.shape[1] :].tolist()
            again = 0 if ids else 1
            readings = take(again + len(ids) + len(sampled) - 1)[again:]
        held.ids += [*ids, *sampled[:-1]]
        held.roles += ["assistant"] * (len(sampled) - 1)
        return Generated(tuple(sampled), readings, sampled[-1] in sampling.end_ids, parameters_of(config))

    def fork(self, cache: str, at: int, new: str) -> None:
        """A cache that begins with entries of another (`Server.fork`)."""
        held = self._cache(cache)
        self._keep(held.cache.fork(at, new, server=self.name), held.ids[:at], held.roles[:at])

    def edit(self, cache: str, edit: CacheEdit, positions: Sequence[int], new: str) -> EditReport:
        """An edited copy of a cache (`Server.edit`)."""
        held = self._cache(cache)
        host = self._model(held.cache.model).host
        with torch.inference_mode():
            edited, report = edit.apply(host, held.cache, positions, held.ids, key=new)
        self._keep(edited, list(held.ids), list(held.roles))
        return report

    def export(self, cache: str) -> bytes:
        """A cache as bytes (`Server.export`)."""
        held = self._cache(cache)
        return cache_to_bytes(held.cache, ids=held.ids, roles=held.roles)

    def adopt(self, payload: bytes, new: str) -> CacheState:
        """Hold an exported cache (`Server.adopt`)."""
        arrived = cache_from_bytes(payload, key=new, server=self.name)
        host = self._model(arrived.cache.model).host
        arrived.cache.move(host)
        self._keep(arrived.cache, arrived.ids, arrived.roles)
        return self.state(new)

    def compare(self, cache: str, payload: bytes, reading: str | None = None) -> Drift:
        """How far a cache lies from an exported one (`Server.compare`)."""
        held = self._cache(cache)
        original = cache_from_bytes(payload, key="original", server=self.name)
        if original.ids != held.ids:
            raise TraceError(cache, "the other cache is of other tokens", "two caches of the same tokens")
        running = self._model(held.cache.model)
        original.cache.move(running.host)
        with torch.inference_mode(), self._reading(running, reading) as take:
            drift = compare(original.cache, held.cache)
            # One pass on each cache, for the last token.
            drift.kl = next_token_kl(running.host, original.cache, held.cache, held.ids[-1])
            before, after = take(2)
        if reading is not None:
            moved = np.abs(after - before).tolist()
            drift.coordinates = dict(zip(running.probes[reading].keys, moved, strict=True))
        return drift

    def state(self, cache: str) -> CacheState:
        """A cache as it stands (`Server.state`)."""
        held = self._cache(cache)
        c = held.cache
        return CacheState(c.key, c.model, self.name, c.how, c.source, c.taken_over, c.get_seq_length(), tuple(c.spans))

    def drop(self, cache: str) -> None:
        """Let a cache go (`Server.drop`)."""
        self._caches.pop(cache, None)

    def close(self) -> None:
        """Let everything go (`Server.close`)."""
        self._caches.clear()
        self._models.clear()
        self._requests.clear()

    # --- inside

    @contextmanager
    def _reading(self, running: _Running, name: str | None) -> Iterator[Callable[[int], Readings]]:
        """What takes the coordinates of the tokens processed within; rows without columns where nothing is read."""
        if name is None:
            yield lambda count: np.empty((count, 0), np.float32)
            return
        if name not in running.probes:
            raise UnknownNameError(f"server {self.name}", "reading", name, running.probes)
        with running.probes[name].read(running.host) as reader:
            yield lambda count: _all(reader, count)

    def _loaded(self, key: str) -> LoadedModel:
        host = self._models[key].host
        return LoadedModel(key, host.facts(), host.hidden, host.versions(), host.context)

    def _model(self, key: str) -> _Running:
        if key not in self._models:
            raise UnknownNameError(f"server {self.name}", "model", key, self._models)
        return self._models[key]

    def _cache(self, key: str) -> _Held:
        if key not in self._caches:
            raise UnknownNameError(f"server {self.name}", "cache", key, self._caches)
        return self._caches[key]

    def _keep(self, cache: ProvenanceCache, ids: list[int], roles: list[str]) -> None:
        if cache.key in self._caches:
            raise TraceError(f"server {self.name}", f'it already holds a cache "{cache.key}"', "a new name")
        self._caches[cache.key] = _Held(cache, ids, roles)

    @contextmanager
    def _acting(self, running: _Running, held: _Held, names: Sequence[str]) -> Iterator[None]:
        """Interventions in force, each on the tokens of the roles that it is for."""
        with ExitStack() as stack:
            for name in names:
                if name not in running.interventions:
                    raise UnknownNameError(f"server {self.name}", "intervention", name, running.interventions)
                intervention = running.interventions[name]
                stack.enter_context(intervention.on(running.host, _where(intervention.positions, held, running.host)))
            yield


@contextmanager
def _whole(held: _Held, roles: Sequence[str]) -> Iterator[None]:
    """A pass that is cut short (no memory, an interrupt) leaves the cache as it was before."""
    length = len(held.ids)
    held.roles += roles
    try:
        yield
    except BaseException:
        if held.cache.get_seq_length() > length:
            held.cache.crop(length)
        del held.roles[length:]
        raise


def _where(positions: str, held: _Held, host: Host) -> Callable[[int, int], torch.Tensor] | None:
    """Which of the tokens now processed an intervention is for; what is sampled is the assistant's."""
    if positions == "all":
        return None

    def mask(first: int, count: int) -> torch.Tensor:
        roles = [*held.roles[first : first + count]]
        roles += ["assistant"] * (count - len(roles))
        return torch.tensor([role == positions for role in roles], device=host.device)

    return mask


def _all(reader: Reader, count: int) -> Readings:
    readings: Readings = reader.take()
    if len(readings) != count:
        raise RuntimeError(f"{len(readings)} tokens were read where {count} were processed")
    return readings


class _Tokens(BaseStreamer):
    """Hands on each sampled token; transformers puts the prompt first."""

    def __init__(self, on_token: OnToken) -> None:
        self.on_token = on_token
        self.prompt = True

    def put(self, value: torch.Tensor) -> None:
        """Called by `generate` with the prompt, then with each token."""
        if self.prompt:
            self.prompt = False
            return
        for token in value.flatten().tolist():
            self.on_token(token)

    def end(self) -> None:
        """Called by `generate` at the end."""
