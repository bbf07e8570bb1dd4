"""A KV cache that keeps the provenance of every entry: how it came to be, when, on which server, from which cache.

A cache entry is the keys and values of one position, over all layers. `ProvenanceCache` goes wherever transformers
takes a `DynamicCache`. It keeps all positions in every layer, also in models with sliding-window layers (the attention
masks see to the window), so that any prefix can be forked, compared and edited.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from mechanism.span import Span as Span
from mechanism.span import check_total, now, runs
from traces.errors import TraceError
from traces.vocabulary import DERIVATIONS

if TYPE_CHECKING:
    from mechanism.host import Host


class ProvenanceCache(DynamicCache):
    """A KV cache with its provenance. `layers[i].keys` and `.values` are [batch, KV heads, positions, head dimension].

    `key` names it in the trace, `model` is the key of the model whose keys and values it holds, `server` of where it is
    (it may change; entries computed later say so). `how` says how the cache as a whole came to be, and `taken_over`
    how many positions came from the cache `source`.

    >>> cache = ProvenanceCache("k1", "qwen", server="texas")
    >>> state = torch.zeros(1, 2, 5, 4)
    >>> _ = cache.update(state, state, 0)
    >>> _ = cache.update(state[:, :, :1], state[:, :, :1], 0)
    >>> [(span.start, span.end, span.how) for span in cache.spans]
    [(0, 5, 'prefilled'), (5, 6, 'decoded')]
    >>> [(span.how, span.source) for span in cache.fork(4, "k2").spans]
    [('shared', 'k1')]
    """

    def __init__(
        self,
        key: str,
        model: str,
        *,
        server: str | None = None,
        how: str = "decoded",
        source: str | None = None,
        taken_over: int = 0,
    ) -> None:
        # Without a config: with one, sliding-window layers would drop what has left the window.
        super().__init__()
        if how not in DERIVATIONS:
            raise TraceError(f"cache {key}", f'how is "{how}"', f"one of {', '.join(DERIVATIONS)}")
        self.key = key
        self.model = model
        self.server = server
        self.how = how
        self.source = source
        self.taken_over = taken_over
        self._spans: list[Span] = []
        self._read_again: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    @classmethod
    def holding(
        cls,
        states: Iterable[tuple[torch.Tensor, torch.Tensor]],
        spans: Sequence[Span],
        key: str,
        model: str,
        **origin: Any,
    ) -> ProvenanceCache:
        """A cache made of keys and values, a pair a layer (taken as they are), with their spans.

        Raises `TraceError` where the spans do not cover the positions, each once.
        """
        cache = cls(key, model, **origin)
        # Layers are added by `update` only while it may make them.
        cache.layers = [_layer(keys, values) for keys, values in states]
        cache._spans = list(spans)
        check_total(cache._spans, cache.length, f"cache {key}")
        return cache

    @property
    def length(self) -> int:
        """How many positions it holds."""
        return int(self.get_seq_length())

    @property
    def spans(self) -> tuple[Span, ...]:
        """The origins of all entries: spans in order, from position 0 to before `length`, each position in one."""
        return tuple(self._spans)

    def origin(self, position: int) -> Span:
        """The span that a position lies in. Raises `TraceError` where the cache has no such position."""
        if not 0 <= position < self.length:
            raise TraceError(
                f"cache {self.key}", f"position {position} is not in it", f"a position below {self.length}"
            )
        return self._spans[bisect_right(self._spans, position, key=lambda span: span.start) - 1]

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append the entries that a forward pass computed at one layer; transformers calls this, layer by layer.

        Entries computed one position at a time are `decoded`, several in one pass `prefilled`.
        """
        key_states, value_states = self._read_again.pop(layer_idx, (key_states, value_states))
        keys, values = super().update(key_states, value_states, layer_idx, *args, **kwargs)
        # The first layer of a pass makes the positions; the others fill them.
        end = keys.shape[-2]
        start = self._spans[-1].end if self._spans else 0
        if end > start:
            self._grow(start, end)
        return keys, values

    def _grow(self, start: int, end: int) -> None:
        last = self._spans[-1] if self._spans else None
        how = "decoded" if end - start == 1 else "prefilled"
        if how == "decoded" and last is not None and last.how == how and last.server == self.server:
            self._spans[-1] = replace(last, end=end)
        else:
            self._spans.append(Span(start, end, how, server=self.server, time=now()))

    def crop(self, tokens_to_remove: int) -> None:
        """Drop entries at the end, in place: so many if negative, else all after the first `tokens_to_remove`.

        Both meanings are those of transformers, before and since version 5.
        """
        length = self.length
        kept = min(length, tokens_to_remove) if tokens_to_remove > 0 else max(0, length + tokens_to_remove)
        if kept == 0 and length:
            self.reset()
        elif kept < length:
            super().crop(kept - length)
            self._spans = [span.within(0, kept) for span in self._spans if span.start < kept]

    @contextmanager
    def reading_last_again(self) -> Iterator[None]:
        """The first pass within processes the token of the last entry once more, for what comes after it: the entry
        stays as it is, with its origin, and the pass attends to it as it is (it may have been edited).
        """
        last = self.length - 1
        for number, (keys, values) in enumerate(states_of(self)):
            self._read_again[number] = keys[..., last:, :], values[..., last:, :]
            self.layers[number] = _layer(keys[..., :last, :], values[..., :last, :])
        try:
            yield
        finally:
            # Where no pass came, or one that broke off.
            for number, states in self._read_again.items():
                super().update(*states, number)
            self._read_again.clear()

    def reset(self) -> None:
        """Drop all entries, in place."""
        self.layers = []
        self._spans = []

    def fork(self, at: int, key: str, server: str | None = None) -> ProvenanceCache:
        """A new cache whose first `at` positions are `shared` with this one (bytes copied); this one stays as it is.

        Raises `TraceError` where this cache has fewer positions.
        """
        if not 0 <= at <= self.length:
            raise TraceError(
                f"cache {self.key}", f"it cannot be forked after {at} positions", f"a number from 0 to {self.length}"
            )
        server = self.server if server is None else server
        origin = {"server": server, "how": "decoded", "source": self.key, "taken_over": at}
        if at == 0:
            return ProvenanceCache(key, self.model, **origin)  # type: ignore[arg-type]
        states = [(_copied(keys, at), _copied(values, at)) for keys, values in states_of(self)]
        span = Span(0, at, "shared", source=self.key, source_start=0, server=server, time=now())
        return ProvenanceCache.holding(states, [span], key, self.model, **origin)

    def mark_edited(self, positions: Iterable[int], layers: Sequence[int], source: str) -> None:
        """Say of positions that their entries are those of the same positions of `source`, edited at some layers.

        Whoever edits keys or values says so here; nothing else is changed.
        """
        chosen = sorted(set(positions))
        if chosen and not 0 <= chosen[0] <= chosen[-1] < self.length:
            raise TraceError(f"cache {self.key}", "positions outside it are edited", f"positions below {self.length}")
        edited = [
            Span(start, end, "edited", source, start, self.server, now(), tuple(layers)) for start, end in runs(chosen)
        ]
        kept: list[Span] = []
        at = 0
        for span in [*edited, None]:
            until = self.length if span is None else span.start
            kept += [old.within(at, until) for old in self._spans if old.start < until and old.end > at]
            if span is not None:
                kept.append(span)
                at = span.end
        self._spans = kept

    def move(self, host: Host) -> None:
        """Bring the keys and values of each layer to where the model has that layer, in place.

        Raises `TraceError` where they do not fit the model.
        """
        self.check_fits(host)
        for number, (keys, values) in enumerate(states_of(self)):
            device = next(host.blocks[number].parameters()).device
            self.layers[number] = _layer(keys.to(device), values.to(device))

    def check_fits(self, host: Host) -> None:
        """Raise `TraceError` unless keys and values have the shape that a model's have."""
        states = states_of(self)
        shapes = sorted({(state.shape[1], state.shape[3]) for pair in states for state in pair})
        if states and (len(states), shapes) != (host.layers, [(host.kv_heads, host.head_dim)]):
            raise TraceError(
                f"cache {self.key}",
                f"it has {len(states)} layers with (KV heads, head dimension) {', '.join(map(str, shapes))}",
                f"a cache of {host.name}: {host.layers} layers with ({host.kv_heads}, {host.head_dim})",
            )


def states_of(cache: Cache) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The keys and values of a cache, a pair a layer, as they are in it; nothing for an empty one.

    Raises `TraceError` for a cache whose layers hold no keys and values (linear attention).
    """
    states: list[tuple[torch.Tensor, torch.Tensor]] = []
    for number, layer in enumerate(cache.layers if cache.layers and cache.get_seq_length() else ()):
        keys, values = getattr(layer, "keys", None), getattr(layer, "values", None)
        if keys is None or values is None:
            raise TraceError("a KV cache", f"layer {number} holds no keys and values", "attention layers, all filled")
        states.append((keys, values))
    return states


def copies_of(cache: Cache, rows: int) -> DynamicCache:
    """So many copies of a cache of one row, as one that grows. Without a config: windows are the mask's affair."""
    copies = DynamicCache()
    for layer, (keys, values) in enumerate(states_of(cache)):
        copies.update(keys.expand(rows, -1, -1, -1).clone(), values.expand(rows, -1, -1, -1).clone(), layer)
    return copies


def _layer(keys: torch.Tensor, values: torch.Tensor) -> DynamicLayer:
    layer = DynamicLayer()
    layer.lazy_initialization(keys, values)
    layer.keys, layer.values = keys, values
    return layer


def _copied(states: torch.Tensor, at: int) -> torch.Tensor:
    return states[..., :at, :].detach().clone()
