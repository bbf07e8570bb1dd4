"""What a stage of a conversation rests on: how its predictions change when an earlier stage is hidden from it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache
from transformers.masking_utils import create_masks_for_generate

from mechanism.attention import MEMORY, PrefixCache, as_ids, attending, read_into
from mechanism.next_token import OutputLayer
from mechanism.stage_spans import Span, checked_spans
from traces.errors import TraceError

if TYPE_CHECKING:
    from mechanism.host import Host

_QUERIES = 512


def hiding_kl(
    host: Host,
    ids: Sequence[int] | Tensor,
    stages: Sequence[Span],
    *,
    pairs: Collection[tuple[int, int]] | None = None,
    cache: DynamicCache | None = None,
    keep_first: bool = False,
    memory: int = MEMORY,
    on_progress: Callable[[int, int], object] | None = None,
) -> NDArray[np.float64]:
    """How much hiding an earlier stage from a later one changes what the later one predicts: float64 [stages, stages].

    `kl[s, e]`, in nats: KL(full || hidden) of the next-token distribution at the positions of stage s, the mean over
    them. "Hidden": from the queries of s only, at all layers, the cache entries of e are masked out, as if they were
    not there; the entries of the stages between the two stand as they were computed, with what they took up from e. So
    it is the direct dependence that is measured, through the attention streams that go from e to s (§2.1). NaN
    where nothing was measured; 0 where a sliding window never reaches e.

    A caveat: many models rest much attention on the very first position, whatever stands there. Hiding the stage that
    holds it takes this sink away, and the KL is then large for a reason that has little to do with what that stage
    says. `keep_first` leaves that one position to be seen.

    `ids`: the token ids of one conversation; `stages`: first position and the one after the last, in order. `pairs`:
    (later stage, earlier stage) by number; all by default. `cache`: a cache that holds the conversation already, as the
    one it was generated with; it is not changed (an empty one is filled). Each pair costs a pass over the later stage's
    own tokens: they are read once more for every earlier stage, several at a time as rows of a batch, each over the
    same prefix, within some `memory` bytes. The unhidden row goes with each batch, so that both distributions come from
    the same computation: in bf16 their difference is otherwise mostly rounding. `on_progress` hears how many pairs are
    done, and of how many. Raises `TraceError` for stages and pairs that cannot be, and for a model whose masks or
    logits are not made as transformers makes them.
    """
    row = as_ids(host, ids)
    spans = checked_spans(stages, row.shape[1])
    earlier = _earlier(pairs, len(spans))
    found = np.full((len(spans), len(spans)), np.nan)
    total, done = sum(len(hidden) for hidden in earlier.values()), 0
    if not total:
        return found
    filled = DynamicCache() if cache is None else cache
    with torch.inference_mode(), attending(host, "sdpa", "eager"):
        output = OutputLayer(host, row[:, :8])
        last = spans[max(earlier)][0]
        if filled.get_seq_length() == 0:
            read_into(host, row[:, :last], filled, _QUERIES)
        for stage, hidden in earlier.items():
            start, end = spans[stage]
            tokens = row[:, start:end]
            rows, queries = _at_once(host, len(hidden), end - start, end, memory)
            for number in range(0, len(hidden), rows):
                batch = hidden[number : number + rows]
                states = _states(
                    host, tokens, PrefixCache(filled, start), [spans[e] for e in batch], queries, keep_first
                )
                if start == last and number == 0:
                    _refuse_other_masks(host, tokens, PrefixCache(filled, start), states[0], queries)
                found[stage, batch] = (output.divergences(states, memory) / (end - start)).numpy()
                done += len(batch)
                if on_progress is not None:
                    on_progress(done, total)
    return found


def _earlier(pairs: Collection[tuple[int, int]] | None, stages: int) -> dict[int, list[int]]:
    """The earlier stages to hide, by the later one, in order."""
    if pairs is None:
        return {stage: list(range(stage)) for stage in range(1, stages)}
    for later, hidden in pairs:
        if not 0 <= hidden < later < stages:
            expected = f"an earlier stage to hide from a later one, with numbers from 0 to {stages - 1}"
            raise TraceError("pairs", f"stage {hidden} is to be hidden from stage {later}", expected)
    by_stage: dict[int, list[int]] = {}
    for later, hidden in sorted(set(pairs)):
        by_stage.setdefault(later, []).append(hidden)
    return by_stage


def _states(
    host: Host, tokens: Tensor, cache: PrefixCache, hidden: Sequence[Span], queries: int, keep_first: bool
) -> Tensor:
    """Last hidden states of a stage's tokens, [1 + hidden stages, tokens, hidden]: unhidden first."""
    inner: Any = host.inner
    rows = 1 + len(hidden)
    device = tokens.device
    # Nothing is hidden from the first row.
    starts = torch.tensor([0, *(max(start, int(keep_first)) for start, _ in hidden)], device=device)
    ends = torch.tensor([0, *(end for _, end in hidden)], device=device)

    def seen(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key < starts[row]) | (key >= ends[row])

    found = []
    for first in range(0, tokens.shape[1], queries):
        part = tokens[:, first : first + queries].expand(rows, -1)
        masks = create_masks_for_generate(
            config=inner.config,
            inputs_embeds=torch.empty(*part.shape, 1, dtype=_dtype(inner), device=device),
            attention_mask=None,
            past_key_values=cache,
            and_mask_function=seen,
        )
        done = inner(input_ids=part, attention_mask=masks, past_key_values=cache, use_cache=True)
        found.append(done.last_hidden_state)
    return torch.cat(found, 1)


def _refuse_other_masks(host: Host, tokens: Tensor, cache: PrefixCache, ours: Tensor, queries: int) -> None:
    """See to it that the model, left to make its masks itself, computes what it does with those made for it."""
    inner: Any = host.inner
    for first in range(0, tokens.shape[1], queries):
        done = inner(input_ids=tokens[:, first : first + queries], past_key_values=cache, use_cache=True)
    theirs = done.last_hidden_state[0].float()
    off = (ours[-len(theirs) :].float() - theirs).norm() / theirs.norm()
    if not float(off) <= (1e-3 if host.dtype == torch.float32 else 0.2):
        found = f"with nothing hidden its hidden states come out {float(off):.1%} off"
        raise TraceError(host.name, found, "a model that takes the attention masks that transformers makes for it")


def _dtype(inner: Any) -> torch.dtype:
    dtype: torch.dtype = inner.get_input_embeddings().weight.dtype
    return dtype


def _at_once(host: Host, hidden: int, tokens: int, keys: int, memory: int) -> tuple[int, int]:
    """How many stages to hide in one batch, and how many queries to compute at a time, within some bytes."""
    config: Any = host.inner.config
    size = _dtype(host.inner).itemsize
    heads = int(config.num_attention_heads)
    # Keys and values of one layer, laid out for every row and head; masks and scores per query.
    per_row = 4 * heads * host.head_dim * keys * size
    scored = heads if config._attn_implementation == "eager" else 1
    per_query = keys * (2 * size + 8 * scored) + 8 * int(config.hidden_size) * size
    queries = min(tokens, _QUERIES)
    while queries > 16 and 2 * (per_row + queries * per_query) > memory:
        queries //= 2
    rows = memory // (per_row + queries * per_query)
    return max(1, min(hidden, rows - 1)), queries
