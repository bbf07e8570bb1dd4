"""How a host attends while something about its attention is measured: by which implementation, and over which cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from traces.errors import TraceError

if TYPE_CHECKING:
    from mechanism.host import Host

MEMORY = 2**30
"""Bytes that a measurement may use at once, besides the weights and the conversation's own cache."""


@contextmanager
def attending(host: Host, *implementations: str) -> Iterator[None]:
    """Let a host compute attention in the first of these ways that its model has; afterwards as before.

    Names are those of transformers ("eager", "sdpa"). Raises `TraceError` where the model has none of them.
    """
    inner: Any = host.inner
    before = inner.config._attn_implementation
    if before in implementations:
        yield
        return
    try:
        for name in implementations:
            try:
                inner.set_attn_implementation(name)
            except (ValueError, ImportError):
                continue
            if inner.config._attn_implementation == name:
                break
        else:
            found = f"its attention is computed by {before}, and cannot be set otherwise"
            raise TraceError(host.name, found, f"a model that transformers can also run with {implementations[-1]}")
        yield
    finally:
        inner.set_attn_implementation(before)


class _PrefixLayer(DynamicLayer):
    """The first positions of another cache's layer, for several rows to read, and what each row adds to them.

    What the rows share is laid out for all of them only while a layer computes.
    """

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.dtype, self.device = keys.dtype, keys.device
        self.keys, self.values = keys, values
        self.shared = (keys, values)
        self.own: tuple[Tensor, Tensor] | None = None
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        new = (key_states, value_states)
        if self.own is not None:
            new = (torch.cat([self.own[0], key_states], -2), torch.cat([self.own[1], value_states], -2))
        self.own = new
        rows = key_states.shape[0]
        shared = (part.expand(rows, -1, -1, -1) for part in self.shared)
        keys, values = (torch.cat([before, mine], -2) for before, mine in zip(shared, new, strict=True))
        return keys, values

    def get_seq_length(self) -> int:
        return int(self.shared[0].shape[-2]) + (0 if self.own is None else int(self.own[0].shape[-2]))


class PrefixCache(DynamicCache):
    """The first `positions` entries of a cache of one conversation, continued by one or several rows.

    The cache itself is neither copied nor changed. Raises `TraceError` where it does not hold all these positions, as
    one that is cut to a sliding window.
    """

    def __init__(self, cache: DynamicCache, positions: int) -> None:
        super().__init__()
        self.layer_class_to_replicate = None
        for number, layer in enumerate(cache.layers):
            keys, values = getattr(layer, "keys", None), getattr(layer, "values", None)
            if keys is None or values is None or keys.ndim != 4 or keys.shape[-2] < positions:
                held = 0 if keys is None else keys.shape[-2]
                found = f"layer {number} holds {held} positions"
                raise TraceError("cache", found, f"all {positions} before the stage, in every layer")
            if keys.shape[0] != 1:
                raise TraceError("cache", f"it has {keys.shape[0]} rows", "the cache of one conversation")
            self.layers.append(_PrefixLayer(keys[:, :, :positions], values[:, :, :positions]))


def read_into(host: Host, ids: Tensor, cache: DynamicCache, queries: int) -> None:
    """Compute the entries of these token ids (int64 [1, tokens]) into a cache, so many at a time."""
    inner: Any = host.inner
    for first in range(0, ids.shape[1], queries):
        inner(input_ids=ids[:, first : first + queries], past_key_values=cache, use_cache=True)


def as_ids(host: Host, ids: Sequence[int] | Tensor) -> Tensor:
    """Token ids as a host takes them (int64 [1, tokens]).

    Raises `TraceError` for none, for more than the context window takes, and for ids that the model does not have.
    """
    row = torch.as_tensor(ids, dtype=torch.long).reshape(1, -1).cpu()
    if not row.numel():
        raise TraceError("ids", "there are none", "the token ids of a conversation")
    host.check_length(row.shape[1])
    embedding: Any = host.inner.get_input_embeddings()  # type: ignore[operator]
    known = int(embedding.num_embeddings)
    if int(row.min()) < 0 or int(row.max()) >= known:
        found = f"token id {int(row.max()) if int(row.max()) >= known else int(row.min())}"
        raise TraceError(host.name, found, f"ids from 0 to {known - 1}, which the model has")
    return row.to(embedding.weight.device)
