"""At which height a projection is capped: quantiles of the assistant's own projections when nobody presses it.

Lu et al. (2026) cap at the lower quartile of the projections of ordinary replies; so do we where nothing else is said.
Thresholds are over tokens, since it is tokens that are capped: at the quantile q, capping leaves all but a share q of
the assistant's own tokens as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mechanism.capping import Capping
from mechanism.experiments.setting import ANSWERS, Setting
from mechanism.experiments.talk import messages, talked, token_projections
from mechanism.recorder import Recorder
from mechanism.space import PersonaSpace
from traces.errors import TraceError

OWN, RANDOM = "own", "random"
_GRID = tuple(round(number / 100, 2) for number in range(101))
_CONVERSATIONS, _EXCHANGES = 8, 5


class Thresholds:
    """Quantiles of the assistant's own projections on the axis, and on a random direction, by layer.

    Measured in a unit of its own: neutral conversations, recorded like all others.
    """

    def __init__(self, setting: Setting, layers: Sequence[int]) -> None:
        self.setting = setting
        self.layers = tuple(layers)
        self._axis = setting.space.vectors[setting.space.axes.index(setting.axis)]
        self._random = random_direction(setting)
        told = setting.unit("calibration", self._measured)
        self._quantiles: dict[str, dict[str, list[float]]] = told["quantiles"]
        self.exchanges: list[list[dict[str, Any]]] = told["conversations"]
        """The neutral conversations that they were measured in."""

    def capping(self, quantile: float, *, direction: str = OWN) -> Capping:
        """Keep the projections of the assistant's tokens at or above that quantile of its own.

        `direction`: the axis, or `random` for a control: a random direction, at the same quantile of its own
        projections.
        """
        vector = self._axis if direction == OWN else self._random
        heights = [self.height(quantile, layer, direction=direction) for layer in self.layers]
        source = None if direction == RANDOM else self.setting.space.provenance(self.setting.axis)
        return Capping(vector, heights, self.layers, positions="assistant", source=source)

    def height(self, quantile: float, layer: int, *, direction: str = OWN) -> float:
        """A quantile of the assistant's own projections, in units of the residual stream."""
        return float(np.interp(quantile, _GRID, self._quantiles[direction][str(layer)]))

    def _measured(self, recorder: Recorder) -> dict[str, Any]:
        setting, held = self.setting, []
        for number in range(_CONVERSATIONS):
            setting.progress("Measuring the assistant's own projections", number, _CONVERSATIONS)
            seed = setting.seed + 1000 + number
            with recorder.session(setting.host, sampling=setting.sampling, seed=seed) as session:
                held.append(talked(session, setting.material.neutral(seed, _EXCHANGES)))
        chats = [messages(each) for each in held]
        random = PersonaSpace(RANDOM, (RANDOM,), self._random[None], setting.layer)
        quantiles = {}
        for name, space, axis in ((OWN, setting.space, setting.axis), (RANDOM, random, RANDOM)):
            found = token_projections(setting.host, chats, space, axis, self.layers)
            if not all(len(values) for values in found.values()):
                raise TraceError(setting.host.name, "its replies are empty", ANSWERS)
            quantiles[name] = {str(layer): np.quantile(values, _GRID) for layer, values in found.items()}
        return {"quantiles": quantiles, "conversations": held}


def layers_around(setting: Setting, given: Sequence[int] | None = None) -> list[int]:
    """The blocks at which something is done to the residual stream: those given, else an eighth of the model around the
    layer that is looked at, as Lu et al. (2026) cap Qwen 3 32B at 46 to 53 of 64.

    Raises `TraceError` for a layer at which the axis has no vector.
    """
    there = setting.space.given(setting.axis)
    if given is not None:
        for layer in given:
            setting.space.vector(setting.axis, layer)
        return sorted(set(given))
    reach = max(1, setting.host.layers // 16)
    return [layer for layer in range(setting.layer - reach, setting.layer + reach + 1) if layer in there]


def random_direction(setting: Setting) -> Tensor:
    """A random direction in the residual stream at each layer, float32 [layers, hidden], at unit length: a control."""
    dice = torch.Generator().manual_seed(setting.seed + 17)
    drawn = torch.randn(setting.host.layers, setting.host.hidden, generator=dice)
    lengths: Tensor = torch.linalg.vector_norm(drawn, dim=-1, keepdim=True)
    return drawn / lengths
