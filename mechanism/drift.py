"""Drift: how far a rebuilt, transferred or edited KV cache lies from the original one (the paper's footnote 4).

Three measures: the relative L2 distance of keys and of values per layer, the Kullback-Leibler divergence of the
next-token distribution, and the largest change of the persona coordinates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers.cache_utils import Cache, DynamicCache

from mechanism.cache import states_of
from traces.errors import TraceError

if TYPE_CHECKING:
    from mechanism.host import Host


@dataclass
class Drift:
    """How far one cache lies from another.

    `keys` and `values`: per layer, the L2 norm of the difference over that of the original (no unit). `kl`: nats, from
    the original's next-token distribution to the other's. `coordinates`: per probe, the absolute change at the
    last token.
    """

    keys: list[float]
    values: list[float]
    kl: float | None = None
    coordinates: dict[str, float] | None = None

    @property
    def largest(self) -> float:
        """The largest relative distance over layers, keys and values."""
        return max((*self.keys, *self.values), default=0.0)

    @property
    def mean(self) -> float:
        """The mean relative distance over layers, keys and values."""
        each = (*self.keys, *self.values)
        return math.fsum(each) / len(each) if each else 0.0

    def by_layer(self) -> dict[str, Any]:
        """The details, as a trace holds them: `keys` and `values` per layer, `coordinates` where known."""
        details: dict[str, Any] = {"keys": list(self.keys), "values": list(self.values)}
        if self.coordinates is not None:
            details["coordinates"] = dict(self.coordinates)
        return details


def compare(original: Cache, other: Cache, positions: slice | None = None) -> Drift:
    """The relative L2 distance of keys and values, per layer, over all positions or some.

    Computed in float32 on the original's device. Where an original is all zeros the distance is 0 if the other is too,
    else infinite. Raises `TraceError` for caches of different shapes.

    >>> from mechanism.cache import ProvenanceCache
    >>> a, b = ProvenanceCache("a", "m"), ProvenanceCache("b", "m")
    >>> _ = a.update(torch.ones(1, 1, 3, 2), torch.ones(1, 1, 3, 2), 0)
    >>> _ = b.update(torch.ones(1, 1, 3, 2) * 1.5, torch.ones(1, 1, 3, 2), 0)
    >>> compare(a, b)
    Drift(keys=[0.5], values=[0.0], kl=None, coordinates=None)
    """
    one, two = (
        [(_cut(keys, positions), _cut(values, positions)) for keys, values in states_of(cache)]
        for cache in (original, other)
    )
    shapes = [[[tuple(state.shape) for state in pair] for pair in states] for states in (one, two)]
    if shapes[0] != shapes[1]:
        raise TraceError(
            "the drift between two KV caches",
            f"one holds {_said(shapes[0])}, the other {_said(shapes[1])}",
            "caches of one model over the same positions",
        )
    distances = [[_distance(*states) for states in zip(*pair, strict=True)] for pair in zip(one, two, strict=True)]
    if not distances:
        return Drift([], [])
    # One transfer from the device for all layers.
    together = torch.stack([distance.to(distances[0][0].device) for pair in distances for distance in pair]).tolist()
    return Drift(together[::2], together[1::2])


def next_token_kl(host: Host, original: Cache, other: Cache, last_id: int, *, cached: bool = True) -> float:
    """KL(original || other) of the next-token distribution, in nats; both caches stay as they are.

    `last_id` is the token of the last position of both caches; its own entry is computed anew on each. With `cached`
    false it is the token that comes after them. Raises `TraceError` for caches of different lengths, or empty ones.
    """
    lengths = [int(cache.get_seq_length()) for cache in (original, other)]
    at = lengths[0] - 1 if cached else lengths[0]
    if lengths[0] != lengths[1] or at < 0:
        raise TraceError(
            "the next token after two KV caches",
            f"they hold {lengths[0]} and {lengths[1]} positions",
            "caches over the same positions, at least one",
        )
    ids = torch.tensor([[last_id]], device=host.device)
    with torch.inference_mode():
        logs = [
            host.model(input_ids=ids, past_key_values=_view(cache, at), use_cache=True)
            .logits[0, -1]
            .double()
            .log_softmax(-1)
            for cache in (original, other)
        ]
        expected, found = logs[0], logs[1].to(logs[0].device)
        # A token of probability 0 contributes nothing, but 0 * -inf is NaN.
        terms = torch.where(expected.isneginf(), 0.0, expected.exp() * (expected - found))
    # Rounding may bring a divergence of nothing below it.
    return max(0.0, float(terms.sum()))


def _view(cache: Cache, at: int) -> DynamicCache:
    """The first positions of a cache as one that can grow: growing copies, so the original stays."""
    view = DynamicCache()
    for number, (keys, values) in enumerate(states_of(cache) if at else ()):
        view.update(keys[..., :at, :], values[..., :at, :], number)
    return view


def _cut(state: torch.Tensor, positions: slice | None) -> torch.Tensor:
    return state if positions is None else state[..., positions, :]


def _said(shapes: list[list[tuple[int, ...]]]) -> str:
    return f"{len(shapes)} layers of {list(shapes[0][0])}" if shapes else "nothing"


def _distance(original: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    one, two = original.float(), other.to(original.device).float()
    difference, size = (one - two).norm(), one.norm()
    # 0 / 0 is no distance.
    return torch.where(difference == 0, 0.0, difference / size)
