"""Directional ablation: take a direction out of the residual stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from mechanism.intervention import Intervention
from traces.vocabulary import InterventionKind


class Ablation(Intervention):
    """Leave nothing of the residual stream along the vector's direction v (at length 1): h - (h.v) v.

    >>> ablation = Ablation(torch.tensor([0.0, 2.0]), layers=[0])
    >>> ablation.acting(0, torch.device("cpu"))(torch.tensor([[[7.0, -4.0]]]))
    tensor([[[7., 0.]]])
    """

    kind: ClassVar[InterventionKind] = "ablation"

    def acting(self, layer: int, device: torch.device) -> Callable[[Tensor], Tensor]:
        """What is done at a layer (`Intervention.acting`)."""
        unit = self.unit(layer).to(device)

        def act(states: Tensor) -> Tensor:
            exact = states.float()
            return (exact - (exact @ unit)[..., None] * unit).to(states.dtype)

        return act

    def _strength(self) -> dict[str, Any]:
        return {"method": "directional"}

    def _arguments(self) -> dict[str, Any]:
        return {}
