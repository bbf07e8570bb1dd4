"""Edits of a KV cache: what earlier positions hand to later ones is changed, and nothing is computed anew downstream.

Two ways, for the same vector v, coefficient c and layers (mini-experiment 2 of the paper):

- *raw*, as published: c W_k v is added to cached keys and c W_v v to cached values, with v the row of the layer itself.
  The input norm, the key norm and the rotation to each position are ignored.
- *exact*: keys and values are those that the layer computes from h + c v, where h is the residual stream that enters
  the block, through its own norms, projections and rotation. That stream is the output of the block before, so of
  [layers, hidden] vectors row L - 1 is used at layer L.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicCache

from mechanism.cache import ProvenanceCache, states_of
from mechanism.intervention import Intervention
from traces.errors import TraceError, one_of, quoted
from traces.vocabulary import InterventionKind

if TYPE_CHECKING:
    from mechanism.host import Host

Method = Literal["raw", "exact"]


@dataclass(frozen=True)
class EditReport:
    """How far an edit moved what it touched, or how far two edits lie apart.

    `entries`: positions times layers. `keys` and `values`: the L2 norm of the change over that of what was there
    before, both over the entries touched (no unit).
    """

    entries: int
    keys: float
    values: float


class CacheEdit(Intervention):
    """Edit cached keys and values along a vector, in one of two ways (this module's head).

    `coefficient` is in units of the vector. `keys` and `values`: whether each is edited. The edited cache is a new one.
    """

    kind: ClassVar[InterventionKind] = "cache-edit"

    def __init__(
        self,
        vector: Tensor,
        coefficient: float,
        layers: Sequence[int],
        positions: str = "assistant",
        *,
        method: Method = "exact",
        keys: bool = True,
        values: bool = True,
        source: str | None = None,
    ) -> None:
        super().__init__(vector, layers, positions, source)
        self.coefficient = self._number("coefficient", coefficient)
        if method not in get_args(Method):
            raise self._wrong(f"its method is {quoted(method)}", one_of(get_args(Method), "method"))
        if not keys and not values:
            raise self._wrong("neither keys nor values are edited", "one of them at least")
        if method == "exact" and self.vector.ndim == 2 and 0 in self.layers:
            raise self._wrong(
                "layer 0 is meant, and its input is no block's output", "layers from 1 on, or one vector [hidden]"
            )
        self.method = method
        self.keys = keys
        self.values = values

    def acting(self, layer: int, device: torch.device) -> None:
        """Nothing is done to forward passes: an edit is applied to a cache. Raises `TraceError`."""
        raise self._wrong("it is to act on forward passes", "`apply`, which edits a cache")

    def apply(
        self, host: Host, cache: ProvenanceCache, positions: Sequence[int], ids: Sequence[int], *, key: str
    ) -> tuple[ProvenanceCache, EditReport]:
        """A new cache named `key` with the entries at `positions` edited, and what the edit did; `cache` stays.

        `ids` are the tokens that the cache covers. An exact edit takes the residual stream from one forward pass over
        them, under whatever interventions are in force: where the cache was computed under others, it is edited as if
        under these. Raises `TraceError` where cache, vector or positions do not fit, and where a model's blocks cannot
        be edited exactly.
        """
        self.check_fits(host)
        cache.check_fits(host)
        chosen = sorted(set(positions))
        if len(ids) != cache.length:
            raise self._wrong(f"{len(ids)} tokens are given", f"the {cache.length} that cache {cache.key} covers")
        if not chosen or chosen[0] < 0 or chosen[-1] >= cache.length:
            raise self._wrong(
                f"of cache {cache.key}, {len(chosen)} positions are to be edited, not all of them in it",
                f"positions below {cache.length}, at least one",
            )
        edited = cache.fork(cache.length, key)
        edited.how = "edited"
        with torch.no_grad():
            if self.method == "raw":
                self._add(host, edited, chosen)
            else:
                self._recompute(host, edited, chosen, ids)
        edited.mark_edited(chosen, self.layers, cache.key)
        return edited, _moved(cache, edited, chosen, self.layers)

    def _add(self, host: Host, edited: ProvenanceCache, positions: Sequence[int]) -> None:
        """The raw edit, in place."""
        states = states_of(edited)
        for layer in self.layers:
            parts = host.projections(layer)
            for wanted, projection, state in zip(
                (self.keys, self.values), (parts.k_proj, parts.v_proj), states[layer], strict=True
            ):
                if wanted:
                    added = self.coefficient * _linear(projection, self.direction(layer).to(state.device, state.dtype))
                    state[:, :, positions] += added.view(state.shape[1], 1, state.shape[3]).to(state.dtype)

    def _recompute(self, host: Host, edited: ProvenanceCache, positions: Sequence[int], ids: Sequence[int]) -> None:
        """The exact edit, in place."""
        states = states_of(edited)
        for layer, computed in self._computed(host, positions, ids).items():
            for wanted, state, new in zip((self.keys, self.values), states[layer], computed, strict=True):
                if wanted:
                    state[:, :, positions] = new[:, :, positions].to(state.device, state.dtype)

    def _computed(self, host: Host, positions: Sequence[int], ids: Sequence[int]) -> dict[int, tuple[Tensor, Tensor]]:
        """Keys and values of all positions up to the last edited one, each layer's from its own edited input."""
        computed: dict[int, tuple[Tensor, Tensor]] = {}
        last = max(self.layers)

        def before(layer: int) -> Callable[..., None]:
            direction = self.vector if self.vector.ndim == 1 else self.vector[layer - 1]

            def hook(block: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
                stream = inputs[0] if inputs else named["hidden_states"]
                moved = stream.clone()
                moved[:, positions] += (self.coefficient * direction).to(stream.device, stream.dtype)
                rest = {name: value for name, value in named.items() if name != "hidden_states"}
                computed[layer] = self._keys_and_values(block, layer, moved, rest)
                if layer == last:
                    raise _EnoughError

            return hook

        tokens = torch.tensor([list(ids)[: positions[-1] + 1]], device=host.device)
        with ExitStack() as stack:
            for layer in self.layers:
                handle = host.blocks[layer].register_forward_pre_hook(before(layer), with_kwargs=True)
                stack.callback(handle.remove)
            with suppress(_EnoughError):
                host.inner(input_ids=tokens, use_cache=False)
        return computed

    def _strength(self) -> dict[str, Any]:
        only = "" if self.keys and self.values else ", keys only" if self.keys else ", values only"
        return {"coefficient": self.coefficient, "method": self.method + only}

    def _arguments(self) -> dict[str, Any]:
        return {
            "coefficient": self.coefficient,
            "method": self.method,
            "keys": self.keys,
            "values": self.values,
        }

    def _keys_and_values(
        self, block: nn.Module, layer: int, stream: Tensor, named: dict[str, Any]
    ) -> tuple[Tensor, Tensor]:
        """What a block puts into a cache for a residual stream: the block itself computes it, no formula of ours."""
        caught = _Caught()
        with suppress(_EnoughError):
            # `forward` and not a call: the hooks on the block have had their turn.
            block.forward(stream, **{**named, "past_key_values": caught, "use_cache": True})
        if caught.states is None:
            raise self._wrong(
                f"layer {layer} ({type(block).__name__}) puts no keys and values into a cache",
                "layers that do, or a raw edit",
            )
        return caught.states


class _EnoughError(Exception):
    """All that was to be computed has been."""


class _Caught(DynamicCache):
    """A cache that keeps the first keys and values that it gets, and ends the pass."""

    states: tuple[Tensor, Tensor] | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        self.states = (key_states, value_states)
        raise _EnoughError


def difference(one: ProvenanceCache, two: ProvenanceCache) -> EditReport:
    """How far one edit, say the raw one, lies from another, say the exact one, of the same entries of the same cache.

    The L2 norm of the difference over that of the second one's, over the entries that were edited. Raises `TraceError`
    for edits of different entries.
    """
    edits = [
        {(span.start, span.end, span.source, span.layers) for span in cache.spans if span.how == "edited"}
        for cache in (one, two)
    ]
    if edits[0] != edits[1] or not edits[0]:
        raise TraceError(
            "the difference between two cache edits",
            f"{one.key} and {two.key} were not edited in the same places",
            "two edits of the same positions and layers of one cache",
        )
    layers = next(span.layers for span in one.spans if span.how == "edited")
    positions = [position for start, end, *_ in edits[0] for position in range(start, end)]
    return _moved(two, one, positions, layers or ())


def _moved(before: Cache, after: Cache, positions: Sequence[int], layers: Sequence[int]) -> EditReport:
    one, two = states_of(before), states_of(after)
    shares = []
    for which in (0, 1):
        moved = was = 0.0
        for layer in layers:
            old, new = one[layer][which][:, :, positions].double(), two[layer][which][:, :, positions].double()
            moved += float((new - old).square().sum())
            was += float(old.square().sum())
        shares.append(0.0 if moved == 0 else math.sqrt(moved / was) if was else math.inf)
    return EditReport(len(positions) * len(layers), *shares)


def _linear(projection: nn.Module, direction: Tensor) -> Tensor:
    """What a projection makes of a direction, in float32: without its bias, which a difference does not have."""
    both: Tensor = projection(torch.stack([direction, torch.zeros_like(direction)]))
    return both[0].float() - both[1].float()
