"""A server: the physical instance that runs models and holds KV caches (§1.2; semantics.md §2).

`Server` says what every server can do, wherever it runs: in this process (`local_server`), in a process of its own
(`worker_server`), or as a Ray actor on another machine (`cluster`). A session speaks to all of them in these words, so
the same code records a conversation on one laptop and one that moves between machines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mechanism.cache_edit import CacheEdit, EditReport
from mechanism.drift import Drift
from mechanism.intervention import Intervention
from mechanism.space import PersonaSpace
from mechanism.span import Span
from traces.vocabulary import Model, Probe

Readings = NDArray[np.float32]
"""Coordinates, [tokens, probes]; no columns where nothing is probed. NaN: not read."""


@dataclass(frozen=True)
class ModelRequest:
    """Which model a server is to load, as `Host.load` takes it."""

    name: str
    device: str | None = None
    dtype: str | None = None
    adapter: str | None = None
    device_map: str | None = None
    tp_plan: str | None = None


@dataclass(frozen=True)
class LoadedModel:
    """A model that a server holds: its key there, what the trace says of it, and how it runs.

    `hidden` is the width of its residual stream; `context` the longest conversation that it reads, in tokens, if known.
    """

    key: str
    facts: Model
    hidden: int
    versions: Mapping[str, str]
    context: int | None


@dataclass(frozen=True)
class CacheState:
    """A KV cache that a server holds. `spans` tell the origin of every entry; `taken_over` entries came from `source`
    or were recomputed for it.
    """

    key: str
    model: str
    server: str
    how: str
    source: str | None
    taken_over: int
    length: int
    spans: tuple[Span, ...]


@dataclass(frozen=True, eq=False)
class Fed:
    """What came of feeding tokens: their coordinates and, if asked for, the logits after each (float32 [tokens,
    vocabulary])."""

    readings: Readings
    logits: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class Generated:
    """A sampled continuation. `ids` includes the token that ended it, if one did (`ended`).

    `readings` has a row for each token given, then for each sampled one but the last, which was not processed yet.
    `parameters` are those that it was sampled with, the model's own defaults among them.
    """

    ids: tuple[int, ...]
    readings: Readings
    ended: bool
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sampling:
    """How a continuation is sampled: the parameters of transformers' `generate`, a seed, and what ends it.

    `parameters` is what `GenerationConfig` takes (`max_new_tokens`, `do_sample`, `temperature`, `top_p`, ...).
    """

    parameters: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    end_ids: tuple[int, ...] = ()


OnToken = Callable[[int], None]
"""Called with each sampled token as it comes."""


class Server(Protocol):
    """What a session asks of a server. Caches, models and interventions are named by keys; tensors stay with the server
    until a cache is exported.

    Every method raises `TraceError` for a key that is not there and for what the model cannot do.
    """

    @property
    def name(self) -> str:
        """What the trace calls it."""

    @property
    def hardware(self) -> str:
        """What it runs on."""

    def load(self, request: ModelRequest) -> LoadedModel:
        """Hold a model; one that is held already is not loaded again."""

    def probe(self, model: str, name: str, space: PersonaSpace, layers: Sequence[int] | None) -> dict[str, Probe]:
        """Make known by a name what is to be read: coordinates on a space's axes, at its own layer and these others."""

    def define(self, model: str, name: str, intervention: Intervention) -> None:
        """Make an intervention known by a name."""

    def open(self, model: str, cache: str, how: str = "decoded", source: str | None = None) -> None:
        """Begin an empty KV cache."""

    def feed(
        self,
        cache: str,
        ids: Sequence[int],
        roles: Sequence[str],
        interventions: Sequence[str] = (),
        reading: str | None = None,
        logits: bool = False,
    ) -> Fed:
        """Process tokens on top of a cache, in one pass. `roles` says whose each token is, `reading` what is read at
        each (a name of `probe`; None: nothing)."""

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
        """Process tokens on top of a cache, then sample a continuation, which is the assistant's.

        Where no token is given, the last one is processed once more, for what comes next is sampled from its logits.
        """

    def fork(self, cache: str, at: int, new: str) -> None:
        """A new cache whose first `at` entries are those of another; the other stays."""

    def edit(self, cache: str, edit: CacheEdit, positions: Sequence[int], new: str) -> EditReport:
        """A new cache: the other with the entries at `positions` edited; the other stays."""

    def export(self, cache: str) -> bytes:
        """A cache with its tokens and provenance, as safetensors bytes."""

    def adopt(self, payload: bytes, new: str) -> CacheState:
        """Hold a cache that another server exported."""

    def compare(self, cache: str, payload: bytes, reading: str | None = None) -> Drift:
        """How far a cache lies from an exported one of the same tokens (fn 4 of the paper): its entries, the next token
        and, with `reading`, the coordinates of the last token, computed anew on each."""

    def state(self, cache: str) -> CacheState:
        """A cache as it stands."""

    def drop(self, cache: str) -> None:
        """Let a cache go; one that is not there is let go already."""

    def close(self) -> None:
        """Let everything go."""
