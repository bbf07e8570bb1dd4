"""Capping configurations of the assistant-axis repository: vectors by name, and thresholds for sets of layers.

Such a file keeps the projection on each vector *at or below* its cap. Its vectors point away from the assistant, so
turned round they are the assistant axis, and the same capping keeps the projection *at or above* the negated cap.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mechanism.vectors.placing import Placed, layers_of
from traces.errors import TraceError, quoted
from traces.vocabulary import Model

_EXPECTED = (
    'a capping configuration: {"vectors": {name: {"vector", "layer"}}, "experiments": [{"id", "interventions"}]}'
)
_LAYER_IN_NAME = re.compile(r"(^|[/_.-])layer[_-]?\d+", re.IGNORECASE)


def capping_space(where: str, data: Mapping[str, Any], model: Model | None) -> Placed:
    """The vectors of a capping configuration as axes, one for each name without its layer.

    `made["capping"]` holds the experiments: {id: {axis: {layer: threshold}}}, thresholds being the least projection on
    the unit axis that is let pass.
    """
    try:
        vectors = {
            str(name): (int(entry["layer"]), _vector(where, str(name), entry["vector"]))
            for name, entry in data["vectors"].items()
        }
        experiments = {
            str(experiment["id"]): [
                (str(part["vector"]), float(part["cap"])) for part in experiment["interventions"] if "cap" in part
            ]
            for experiment in data["experiments"]
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TraceError(where, f"an entry is missing or of another kind ({error})", _EXPECTED) from None
    if (
        not vectors
        or len({vector.shape for _, vector in vectors.values()}) > 1
        or min(vectors.values(), key=_at)[0] < 0
    ):
        raise TraceError(where, "it has no vectors, or of different widths, or for a layer below 0", _EXPECTED)
    axis_of = _axes(where, vectors)
    axes = tuple(dict.fromkeys(axis_of.values()))
    hidden = len(next(iter(vectors.values()))[1])
    rows = torch.zeros(len(axes), layers_of(where, max(map(_at, vectors.values())) + 1, hidden, model), hidden)
    for name, (layer, vector) in vectors.items():
        rows[axes.index(axis_of[name]), layer] = -vector
    capping: dict[str, dict[str, dict[str, float]]] = {}
    for key, parts in experiments.items():
        for name, cap in parts:
            if name not in vectors or not math.isfinite(cap):
                found = f"experiment {quoted(key)} caps {quoted(name)} at {cap}"
                raise TraceError(where, found, "a vector of this file, and a finite cap")
            thresholds = capping.setdefault(key, {}).setdefault(axis_of[name], {})
            # JSON has only texts for keys.
            thresholds[str(vectors[name][0])] = -cap
    made = {
        "format": "capping configuration",
        "rows": "a vector at its layer is the output of this block",
        "turned": "vectors and caps are negated: at or above the threshold",
        "capping": capping,
    }
    return Placed(axes, rows, dict.fromkeys(axes, "+ is assistant"), False, made)


def _at(entry: tuple[int, Tensor]) -> int:
    return entry[0]


def _vector(where: str, name: str, vector: object) -> Tensor:
    if not isinstance(vector, Tensor) or vector.ndim != 1 or not vector.is_floating_point() or not len(vector):
        raise TraceError(where, f"its vector {quoted(name)} is no vector", "floating point [width]")
    return vector.detach().float()


def _axes(where: str, vectors: Mapping[str, tuple[int, Tensor]]) -> dict[str, str]:
    """The axis of each vector: its name without its layer, `assistant` where nothing is left or all are one axis."""
    bare = {name: _LAYER_IN_NAME.sub("", name).strip("/_.- ") or "assistant" for name in vectors}
    if len({layer for layer, _ in vectors.values()}) == len(vectors):
        return dict.fromkeys(vectors, "assistant")
    places = [(bare[name], layer) for name, (layer, _) in vectors.items()]
    if len(set(places)) < len(places):
        axis, layer = next(place for place in places if places.count(place) > 1)
        raise TraceError(where, f"it has two vectors {quoted(axis)} at layer {layer}", "one an axis and layer")
    return bare
