"""Steering: add a multiple of a vector to the residual stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from mechanism.intervention import Intervention
from traces.vocabulary import InterventionKind


class Steering(Intervention):
    """Add `coefficient` times the vector, as it is given, to the output of blocks: h + c v.

    With `relative`, the coefficient is in units of the residual stream's own length at each position, which differs
    between models and layers: h + c |h| v / |v|, so 0.1 adds a vector a tenth as long as h.

    >>> steering = Steering(torch.tensor([3.0, 4.0]), 2.0, layers=[5])
    >>> steering.acting(5, torch.device("cpu"))(torch.zeros(1, 1, 2))
    tensor([[[6., 8.]]])
    """

    kind: ClassVar[InterventionKind] = "steering"

    def __init__(
        self,
        vector: Tensor,
        coefficient: float,
        layers: Sequence[int],
        positions: str = "all",
        *,
        relative: bool = False,
        source: str | None = None,
    ) -> None:
        super().__init__(vector, layers, positions, source)
        self.coefficient = self._number("coefficient", coefficient)
        self.relative = relative

    def acting(self, layer: int, device: torch.device) -> Callable[[Tensor], Tensor] | None:
        """What is done at a layer (`Intervention.acting`); nothing where the coefficient is zero."""
        if self.coefficient == 0:
            return None
        direction = self.unit(layer) if self.relative else self.direction(layer)
        added = (self.coefficient * direction).to(device)
        if not self.relative:
            return lambda states: states + added.to(states.dtype)

        def act(states: Tensor) -> Tensor:
            exact = states.float()
            length: Tensor = torch.linalg.vector_norm(exact, dim=-1, keepdim=True)
            return (exact + length * added).to(states.dtype)

        return act

    def _strength(self) -> dict[str, Any]:
        return {
            "coefficient": self.coefficient,
            "method": "relative to the length of the residual stream" if self.relative else "absolute",
        }

    def _arguments(self) -> dict[str, Any]:
        return {"coefficient": self.coefficient, "relative": self.relative}
