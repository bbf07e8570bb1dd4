"""Drawing tokens from logits, each row with randomness of its own: rows come out the same however they are batched."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

_BITS = 31
_NUCLEUS = 1024


def row_seeds(seed: int, prompts: Sequence[Sequence[int]]) -> list[int]:
    """A seed for each prompt, which hangs on its tokens, and on how many of the prompts before it are the same.

    >>> first, second, again = row_seeds(0, [[1, 2], [3], [1, 2]])
    >>> len({first, second, again}), row_seeds(0, [[3]]) == [second]
    (3, True)
    """
    before: Counter[tuple[int, ...]] = Counter()
    found = []
    for prompt in map(tuple, prompts):
        told = f"{seed}/{before[prompt]}/{','.join(map(str, prompt))}"
        found.append(int.from_bytes(hashlib.sha256(told.encode()).digest()[:8], "big"))
        before[prompt] += 1
    return found


class Dice:
    """The randomness of rows, each from its seed."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self._rows = [random.Random(seed) for seed in seeds]

    def throw(self) -> Tensor:
        """A whole number of 31 bits for each row [rows, 1]."""
        return torch.tensor([[row.getrandbits(_BITS)] for row in self._rows])


def drawn(weights: Tensor, throws: Tensor) -> Tensor:
    """A token for each row [rows, 1], as often as it has weight [rows, vocabulary], by throws [rows, 1]."""
    sums = weights.cumsum(-1)
    # Throws and weights have 31 bits each: the product is no more than an int64 holds.
    place = (throws.to(weights.device) * sums[:, -1:]) >> _BITS
    return (sums <= place).sum(-1, keepdim=True)


def weights_of(logits: Tensor, temperature: float, top_k: int | None = None, top_p: float | None = None) -> Tensor:
    """How likely each token is to be drawn [rows, vocabulary], in whole numbers, which are about 2**31 in all.

    As transformers has it: at a temperature, of the `top_k` likeliest tokens (None or 0: all), the fewest that have
    `top_p` of the probability. Tokens as likely as the last of them are with them.
    """
    if top_k is not None and 0 < top_k < logits.shape[-1]:
        logits = logits.masked_fill(logits < logits.topk(top_k).values[:, -1:], -torch.inf)
    # From the likeliest down, so that a temperature near 0 makes no infinity.
    chances = ((logits - logits.amax(-1, keepdim=True)) / temperature).softmax(-1)
    weights = _whole(chances)
    if top_p is not None and top_p < 1:
        limit = (weights.sum(-1, keepdim=True) * top_p).clamp(min=1)
        weights = weights.masked_fill_(chances < _least(chances, limit), 0)
    return weights


def _least(chances: Tensor, limit: Tensor) -> Tensor:
    """The chance of the last of the fewest tokens that have so much weight together [rows, 1]."""
    size = chances.shape[-1]
    # To sort a whole vocabulary takes longer than all else, and is hardly ever needed.
    for width in (min(_NUCLEUS, size), size):
        ordered = chances.topk(width).values
        whole = _whole(ordered)
        sums = whole.cumsum(-1)
        if width == size or bool((sums[:, -1:] >= limit).all()):
            break
    last = (sums - whole < limit).sum(-1, keepdim=True) - 1
    return ordered.gather(-1, last)


def _whole(chances: Tensor) -> Tensor:
    """As whole numbers: their running sums are exact, where a GPU's of floats hang on the order they are made in."""
    return (chances * (1 << _BITS)).round_().long()
