"""How many rows share a pass: as many as the memory that is free allows."""

from __future__ import annotations

from collections import Counter

from mechanism import device as devices
from mechanism.architecture import text_config
from mechanism.host import Host

TOGETHER = 64
"""At most so many rows share their passes."""

# A logit as the model has it, in float32, as a chance and a whole number, each with copies on the way.
_PER_LOGIT = 32
# What a block computes for a token, in streams and inner states.
_STREAMS = 4


def rows_together(host: Host, tokens: int, fed: int, most: int = TOGETHER) -> int:
    """How many rows, each of so many tokens in the end and `fed` of them in one pass, fit on the model's devices."""
    config, size = text_config(host.model), host.dtype.itemsize
    inner = getattr(config, "intermediate_size", None)
    width = host.hidden + (inner if isinstance(inner, int) else 4 * host.hidden)
    passing = fed * width * _STREAMS * size + int(config.vocab_size) * _PER_LOGIT
    layers = Counter(next(block.parameters()).device for block in host.blocks)
    return min(
        fitting(devices.free_bytes(device), passing + kv_bytes(count, host.kv_heads, host.head_dim, size, tokens), most)
        for device, count in layers.items()
    )


def kv_bytes(layers: int, kv_heads: int, head_dim: int, size: int, tokens: int) -> int:
    """Bytes of the keys and values of so many tokens, each number `size` bytes.

    >>> kv_bytes(36, 8, 128, 2, tokens=1)  # Qwen3-8B
    147456
    """
    return layers * kv_heads * head_dim * 2 * size * tokens


def fitting(free: int | None, row: int, most: int = TOGETHER) -> int:
    """How many rows of so many bytes go into half of the bytes that are free (None: not known), at least one.

    The other half is for what cannot be foreseen: copies while caches grow, masks, memory in pieces.

    >>> fitting(2**30, row=2**24), fitting(2**40, row=2**24), fitting(0, row=2**24), fitting(None, row=2**24)
    (32, 64, 1, 64)
    """
    return most if free is None else max(1, min(most, free // 2 // max(1, row)))
