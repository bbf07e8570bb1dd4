"""Muon, the optimiser of the organism's matrices: momentum whose directions are made equally long.

Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks". `torch.optim.Muon` orthogonalises in
bfloat16, which takes most of the training time on a CPU without bfloat16 units; here it is float32, and matrices of one
shape go together.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

_STEPS = 5
_QUINTIC = (3.4445, -4.7750, 2.0315)


class Muon:
    """Muon with Nesterov momentum and decoupled weight decay, for matrices [rows, columns]."""

    def __init__(
        self, matrices: Iterable[torch.Tensor], *, rate: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        self.matrices = list(matrices)
        self.rate, self.momentum, self.weight_decay = rate, momentum, weight_decay
        self.velocities = [torch.zeros_like(matrix) for matrix in self.matrices]
        self._alike: dict[tuple[int, int], list[int]] = {}
        for index, matrix in enumerate(self.matrices):
            rows, columns = matrix.shape
            self._alike.setdefault((min(rows, columns), max(rows, columns)), []).append(index)

    @torch.no_grad()
    def step(self, factor: float = 1.0) -> None:
        """One update from the matrices' gradients, at `factor` times the rate."""
        for indices in self._alike.values():
            wide = []
            for index in indices:
                gradient = self.matrices[index].grad
                assert gradient is not None
                velocity = self.velocities[index].lerp_(gradient, 1 - self.momentum)
                ahead = gradient.lerp(velocity, self.momentum)
                wide.append(ahead if ahead.shape[0] <= ahead.shape[1] else ahead.T)
            for index, direction in zip(indices, orthogonalised(torch.stack(wide)), strict=True):
                matrix = self.matrices[index]
                rows, columns = matrix.shape
                rate = self.rate * factor
                matrix.mul_(1 - rate * self.weight_decay)
                matrix.add_(
                    direction if rows <= columns else direction.T, alpha=-rate * max(1.0, rows / columns) ** 0.5
                )


def orthogonalised(wide: torch.Tensor) -> torch.Tensor:
    """Matrices [n, rows, columns], rows <= columns, with all singular values brought near 1 (Newton-Schulz)."""
    a, b, c = _QUINTIC
    x: torch.Tensor = wide / (wide.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(_STEPS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x
