"""Activation capping: keep the projection of the residual stream on a direction within a bound."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor

from mechanism.intervention import Intervention
from traces.errors import one_of, quoted
from traces.vocabulary import InterventionKind

Side = Literal["at least", "at most"]


class Capping(Intervention):
    """Keep the projection on the vector's direction v (at length 1) at least, or at most, at a threshold t.

    At least: h + max(0, t - h.v) v; at most: h - max(0, h.v - t) v. What lies within the bound is left as it is.
    `threshold` is in units of the residual stream, one number or one for each of `layers`.

    >>> capping = Capping(torch.tensor([0.0, 2.0]), 1.5, layers=[0])
    >>> capping.acting(0, torch.device("cpu"))(torch.tensor([[[7.0, -4.0], [7.0, 9.0]]]))
    tensor([[[7.0000, 1.5000],
             [7.0000, 9.0000]]])
    """

    kind: ClassVar[InterventionKind] = "capping"

    def __init__(
        self,
        vector: Tensor,
        threshold: float | Sequence[float],
        layers: Sequence[int],
        positions: str = "all",
        *,
        side: Side = "at least",
        source: str | None = None,
    ) -> None:
        super().__init__(vector, layers, positions, source)
        given = [threshold] * len(self.layers) if isinstance(threshold, int | float) else list(threshold)
        if len(given) != len(self.layers):
            raise self._wrong(f"it has {len(given)} thresholds", f"one, or one for each of {len(self.layers)} layers")
        if side not in get_args(Side):
            raise self._wrong(f"its side is {quoted(side)}", one_of(get_args(Side), "side"))
        self.thresholds = tuple(self._number("threshold", each) for each in given)
        self.side = side

    def acting(self, layer: int, device: torch.device) -> Callable[[Tensor], Tensor]:
        """What is done at a layer (`Intervention.acting`)."""
        unit = self.unit(layer).to(device)
        threshold = self.thresholds[self.layers.index(layer)]
        at_least = self.side == "at least"

        def act(states: Tensor) -> Tensor:
            exact = states.float()
            lacking = threshold - exact @ unit
            lacking = lacking.clamp(min=0) if at_least else lacking.clamp(max=0)
            # What lies within the bound stays the same to the bit.
            return torch.where(lacking[..., None] == 0, states, (exact + lacking[..., None] * unit).to(states.dtype))

        return act

    def _strength(self) -> dict[str, Any]:
        if len(set(self.thresholds)) == 1:
            return {"threshold": self.thresholds[0], "method": self.side}
        each = ", ".join(f"{layer}: {value:.6g}" for layer, value in zip(self.layers, self.thresholds, strict=True))
        return {"method": f"{self.side}, by layer: {each}"}

    def _arguments(self) -> dict[str, Any]:
        return {"threshold": list(self.thresholds), "side": self.side}
