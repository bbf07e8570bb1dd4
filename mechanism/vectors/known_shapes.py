"""How many layers models have, by the width of their residual stream: what tells whether a row is the embedding's."""

from __future__ import annotations

from collections.abc import Iterable

LAYERS_OF_WIDTH: dict[int, tuple[int, ...]] = {
    896: (24,),
    1024: (28,),
    1152: (26,),
    1536: (28,),
    2048: (16, 28, 36),
    2304: (26,),
    2560: (34, 36),
    2880: (24, 36),
    3072: (28,),
    3584: (28, 42),
    3840: (48,),
    4096: (32, 36),
    4608: (46,),
    5120: (40, 48, 64),
    5376: (62,),
    8192: (80,),
}
"""Qwen 2.5 and 3, Llama 3, Gemma 2 and 3, Mistral, OLMo 2, gpt-oss, by their configs."""

DEFAULT_LAYERS: tuple[tuple[int, int, str, int], ...] = (
    (46, 4608, "gemma-2-27b", 22),
    (64, 5120, "qwen3-32b", 32),
    (80, 8192, "llama-3.3-70b", 40),
)
"""(layers, width, name, layer) of the models whose layer the assistant-axis repository states."""


def layers_that_fit(rows: int, width: int) -> list[tuple[int, bool]]:
    """Of how many layers so many rows may be, and whether the first is then the embedding's.

    >>> layers_that_fit(64, 5120), layers_that_fit(29, 3584), layers_that_fit(7, 128)
    ([(64, False)], [(28, True)], [])
    """
    known: Iterable[int] = LAYERS_OF_WIDTH.get(width, ())
    return [(layers, rows == layers + 1) for layers in known if rows in (layers, layers + 1)]
