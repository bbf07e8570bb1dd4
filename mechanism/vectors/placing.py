"""Which row of a file is which block's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mechanism.vectors.known_shapes import LAYERS_OF_WIDTH, layers_that_fit
from traces.errors import TraceError
from traces.vocabulary import Model

NAME_THE_MODEL = "the model that they belong to (its layers)"


@dataclass(frozen=True, eq=False)
class Placed:
    """Vectors with their rows where they belong: float32 [axes, layers, hidden], row L for the output of block L."""

    axes: tuple[str, ...]
    vectors: Tensor
    signs: Mapping[str, str]
    normalised: bool
    made: Mapping[str, Any]


def blocks_of_rows(where: str, rows: Tensor, model: Model | None, embedding: bool | None) -> tuple[int, bool]:
    """How many layers rows [n, width] are of, and whether the first row is the embedding's.

    `embedding` is what the file's format says, None for a bare tensor. The model's layers decide; without a model the
    width may tell. Raises `TraceError` where neither does, or where they say that it is otherwise.
    """
    count, width = rows.shape
    if model is not None and model.layers is not None:
        possible = [(model.layers, count == model.layers + 1)] if count in (model.layers, model.layers + 1) else []
        of = f"{model.name or 'the model'} has {model.layers} layers"
    else:
        possible = layers_that_fit(count, width)
        of = f"models of width {width} have {' or '.join(map(str, LAYERS_OF_WIDTH.get(width, ())))} layers"
        if width not in LAYERS_OF_WIDTH:
            possible = [] if embedding is None else [(count - embedding, embedding)]
            of = "no known model has this width"
    fitting = [option for option in possible if embedding in (None, option[1])]
    if len(fitting) != 1:
        rows_of = {True: ", the first the embedding's", False: ", one a block", None: ""}[embedding]
        expected = f"as many as the model has layers; {NAME_THE_MODEL}"
        raise TraceError(where, f"it has {count} rows of width {width}{rows_of}, but {of}", expected)
    return fitting[0]


def layers_of(where: str, least: int, width: int, model: Model | None) -> int:
    """How many layers the model of vectors for some layers has. Raises `TraceError` where that cannot be told."""
    if model is not None and model.layers is not None:
        if model.layers < least:
            found = f"it has a vector for layer {least - 1}, but {model.name or 'the model'} has {model.layers} layers"
            raise TraceError(where, found, NAME_THE_MODEL)
        return model.layers
    possible = [layers for layers in LAYERS_OF_WIDTH.get(width, ()) if layers >= least]
    if len(possible) != 1:
        found = f"it does not say how many layers its model has (width {width}, vectors up to layer {least - 1})"
        raise TraceError(where, found, NAME_THE_MODEL)
    return possible[0]
