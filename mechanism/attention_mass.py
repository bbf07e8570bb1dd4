"""How much each stage of a conversation attends to each earlier one, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache

from mechanism.attention import MEMORY, PrefixCache, as_ids, attending, read_into
from mechanism.stage_spans import Span, checked_spans, chosen_stages
from traces.errors import TraceError

if TYPE_CHECKING:
    from mechanism.host import Host


def attention_mass(
    host: Host,
    ids: Sequence[int] | Tensor,
    stages: Sequence[Span],
    *,
    of: Sequence[int] | None = None,
    cache: DynamicCache | None = None,
    memory: int = MEMORY,
    on_progress: Callable[[int, int], object] | None = None,
) -> NDArray[np.float32]:
    """The share of attention that each stage gives to each stage: float32 [layers, stages, stages].

    `mass[layer, s, e]` is the attention that the positions of stage s give to those of stage e: the sum over e's
    positions, the mean over s's positions and over the heads of the layer. Nothing is given to later stages. A row sums
    to 1 where every position up to the end of s is in some stage, and to less where the model gives a part to no
    position at all, as gpt-oss does (each head has a learned sink beside its keys). In bf16 weights are rounded, and a
    row is exact to about 1e-3.

    `ids`: the token ids of one conversation; `stages`: first position and the one after the last, in order. `of`: the
    stages asked about (default: all); the rows of others are NaN. `cache`: a cache that holds the conversation already,
    as the one it was generated with; only the positions of the stages asked about are then computed. An empty one is
    filled on the way. It is not changed otherwise.

    Attention is computed eagerly meanwhile (weights are to be had in no other way), so many queries at a time that a
    layer's weights take at most `memory` bytes, and reduced as each layer is through. Interventions that are on at the
    time are part of what is measured. `on_progress` hears how many positions are done, and of how many. Raises
    `TraceError` for stages that cannot be, and for a model that does not tell its attention weights.
    """
    row = as_ids(host, ids)
    spans = checked_spans(stages, row.shape[1])
    asked = chosen_stages(of, len(spans))
    sums = _Sums(host, spans)
    whole = cache is None or cache.get_seq_length() == 0
    filled = DynamicCache() if cache is None else cache
    runs = [(0, spans[asked[-1]][1])] if whole else [spans[stage] for stage in asked]
    total, done = sum(end - start for start, end in runs), 0
    with torch.inference_mode(), attending(host, "eager"), sums.gathered():
        for start, end in runs:
            queries = _queries_at_once(host, end, memory)
            standing = filled if whole else PrefixCache(filled, start)
            for first in range(start, end, queries):
                last = min(first + queries, end)
                read_into(host, row[:, first:last], standing, queries)
                done += last - first
                if on_progress is not None:
                    on_progress(done, total)
    return sums.means(asked)


class _Sums:
    """Attention weights summed by the stage that gives and the stage that gets, per layer."""

    def __init__(self, host: Host, spans: Sequence[Span]) -> None:
        self.host, self.spans = host, spans
        self._of: dict[torch.device, Tensor] = {}
        self._sums: list[Tensor | None] = [None] * len(host.blocks)

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Reduce what every attention module of the host gives, as it gives it."""
        with ExitStack() as stack:
            for layer in range(len(self.host.blocks)):
                module: Any = self.host.projections(layer).attention
                stack.callback(module.register_forward_hook(self._hook(layer)).remove)
            yield

    def _hook(self, layer: int) -> Callable[[Any, Any, Any], None]:
        def reduce(_: Any, __: Any, output: Any) -> None:
            weights = output[1] if isinstance(output, tuple) and len(output) > 1 else None
            if not isinstance(weights, Tensor) or weights.ndim != 4:
                found = f"layer {layer} gives no attention weights"
                raise TraceError(self.host.name, found, "a model whose layers all attend, and say to what when eager")
            queries, keys = weights.shape[-2:]
            stage = self._indicator(weights.device)
            given = weights[0].mean(0, dtype=torch.float32) @ stage[:keys]
            gained = stage[keys - queries : keys].T @ given
            before = self._sums[layer]
            self._sums[layer] = gained if before is None else before + gained

        return reduce

    def _indicator(self, device: torch.device) -> Tensor:
        """float32 [positions, stages]: 1 where a position is of a stage."""
        if device not in self._of:
            found = torch.zeros(self.spans[-1][1], len(self.spans), device=device)
            for stage, (start, end) in enumerate(self.spans):
                found[start:end, stage] = 1.0
            self._of[device] = found
        return self._of[device]

    def means(self, asked: Sequence[int]) -> NDArray[np.float32]:
        sizes = np.array([end - start for start, end in self.spans], np.float64)
        found = np.full((len(self._sums), len(self.spans), len(self.spans)), np.nan, np.float32)
        for layer, sums in enumerate(self._sums):
            if sums is not None:
                found[layer, asked] = (sums.cpu().numpy().astype(np.float64) / sizes[:, None])[list(asked)]
        return found


def _queries_at_once(host: Host, keys: int, memory: int) -> int:
    # Scores, their softmax in fp32, and one more of either as the one becomes the other.
    heads = int(host.inner.config.num_attention_heads)  # type: ignore[union-attr,arg-type]
    return max(1, min(keys, memory // (12 * heads * keys)))
