"""Attention streams between the stages of a recorded conversation: how many, how strong, and what they are good for.

In the paper attention streams sustain quasi-psychological connections across token-time (abstract, §2.1). Here this
connectedness is measured, twice: by the attention that a stage gives to an earlier one, and causally, by what hiding
the earlier one changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache

from mechanism.attention import MEMORY
from mechanism.attention_mass import attention_mass
from mechanism.hiding import hiding_kl
from mechanism.stage_spans import Span, checked_spans, chosen_stages
from traces.errors import TraceError

if TYPE_CHECKING:
    from mechanism.host import Host


def attention_streams(host: Host, positions: int) -> tuple[int, int]:
    """How many attention streams reach a token with so many prior positions, and how wide each is (§2.1).

    One stream per layer, KV head and prior position, as wide as a head: (64,000, 128) after 100 tokens in the paper's
    Llama 3 70B, with 80 layers of 8 KV heads.
    """
    found = host.facts().attention_streams(positions)
    if found is None:
        raise TraceError(host.name, "its shape is not known", "a model with layers, KV heads and a head width")
    return found


@dataclass(frozen=True)
class Connection:
    """How far the later of two stages rests on the earlier one.

    `mass`: the share of attention that the later one's positions give to the earlier one's, mean over heads and layers,
    0..1; `mass_by_layer` float32 [layers]. `kl`: nats by which the next-token distribution changes when the earlier one
    is hidden from the later one (`hiding_kl`); None where not measured. `over_sink`: whether the earlier one holds the
    conversation's first position, where attention rests whatever stands there.
    """

    later: int
    earlier: int
    mass: float
    kl: float | None
    mass_by_layer: NDArray[np.float32]
    over_sink: bool


@dataclass(frozen=True, eq=False)
class Connectedness:
    """How far the stages of a conversation rest on each other, as `connectedness` measures it.

    `mass`: float32 [layers, stages, stages] as `attention_mass` gives it; `kl`: float64 [stages, stages] as `hiding_kl`
    does. NaN where not measured.

    >>> mass = np.array([[[1.0, 0.0], [0.75, 0.25]]], np.float32)
    >>> found = Connectedness(((0, 4), (4, 9)), mass, np.array([[np.nan, np.nan], [0.5, np.nan]]))
    >>> [(pair.later, pair.earlier, pair.mass, pair.kl) for pair in found]
    [(1, 0, 0.75, 0.5)]
    """

    spans: tuple[Span, ...]
    mass: NDArray[np.float32]
    kl: NDArray[np.float64]

    def between(self, later: int, earlier: int) -> Connection | None:
        """The connection of two stages, None where it was not measured."""
        by_layer = self.mass[:, later, earlier]
        if not earlier < later or np.isnan(by_layer).all():
            return None
        kl = float(self.kl[later, earlier])
        return Connection(
            later=later,
            earlier=earlier,
            mass=float(by_layer.astype(np.float64).mean()),
            kl=None if np.isnan(kl) else kl,
            mass_by_layer=by_layer.copy(),
            over_sink=self.spans[earlier][0] == 0,
        )

    def __iter__(self) -> Iterator[Connection]:
        """All that was measured, by the later stage, then by the earlier one."""
        for later in range(len(self.spans)):
            found = (self.between(later, earlier) for earlier in range(later))
            yield from (each for each in found if each is not None)


def connectedness(
    host: Host,
    ids: Sequence[int] | Tensor,
    stages: Sequence[Span],
    *,
    of: Sequence[int] | None = None,
    at_most: int | None = None,
    cache: DynamicCache | None = None,
    keep_first: bool = False,
    memory: int = MEMORY,
    on_progress: Callable[[int, int], object] | None = None,
) -> Connectedness:
    """Measure how far each stage of a conversation rests on each stage before it.

    `of`: the later stages asked about (default: all). `at_most`: of how many earlier stages the KL is measured, for
    each: the one just before, then those that it attends to most (default: all). The mass is measured for all.
    `on_progress` hears of positions first, then of pairs, as one count of steps. The other arguments are those of
    `attention_mass` and `hiding_kl`; raises `TraceError` as they do.
    """
    spans = checked_spans(stages, len(ids))
    asked = chosen_stages(of, len(spans))
    if at_most is not None and at_most < 1:
        raise TraceError("at_most", f"it is {at_most}", "at least 1 earlier stage for each, or None for all")
    pairs_to_come = sum(later if at_most is None else min(later, at_most) for later in asked)
    filled = DynamicCache() if cache is None else cache
    steps = [0]

    def attended(done: int, total: int) -> None:
        steps[0] = total
        if on_progress is not None:
            on_progress(done, total + pairs_to_come)

    def hidden(done: int, total: int) -> None:
        if on_progress is not None:
            on_progress(steps[0] + done, steps[0] + total)

    mass = attention_mass(host, ids, spans, of=asked, cache=filled, memory=memory, on_progress=attended)
    pairs = [(later, earlier) for later in asked for earlier in _closest(mass[:, later].mean(0), later, at_most)]
    kl = hiding_kl(
        host, ids, spans, pairs=pairs, cache=filled, keep_first=keep_first, memory=memory, on_progress=hidden
    )
    return Connectedness(spans, mass, kl)


def _closest(mass: NDArray[np.float32], later: int, at_most: int | None) -> list[int]:
    """The earlier stages to hide from one: the one just before it, then by the attention that they get."""
    before = list(range(later))
    if at_most is None or later <= at_most:
        return before
    others = sorted(before[:-1], key=lambda earlier: (-float(mass[earlier]), -earlier))
    return sorted([later - 1, *others[: at_most - 1]])
