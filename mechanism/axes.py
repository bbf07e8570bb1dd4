"""Axes of a persona space, from residual streams averaged over replies: at every layer, and made three ways.

A persona vector is a contrast of means (Chen et al. 2025, §3). The assistant axis is the mean of the default minus the
mean of the roles' means (Lu et al. 2026, §3). Principal axes are the components of the roles' means (the same, §2).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from traces.errors import TraceError


def contrast(positive: Tensor, negative: Tensor) -> Tensor:
    """mean(positive) - mean(negative), + is positive: [layers, hidden] from the means of the replies of each side.

    >>> contrast(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 1.0]])).tolist()
    [[3.0, -1.0]]
    """
    _check("contrast", positive, 2)
    _check("contrast", negative, 2)
    return positive - negative


def assistant_axis(default: Tensor, roles: Tensor) -> Tensor:
    """mean(default) - mean(roles), + is assistant: [layers, hidden].

    `default` is the mean of the default's replies [layers, hidden], `roles` the mean of each role's
    [roles, layers, hidden]; each role weighs the same, however many replies stand behind it.

    >>> assistant_axis(torch.tensor([[1.0, 1.0]]), torch.tensor([[[0.0, 0.0]], [[-2.0, 0.0]]])).tolist()
    [[2.0, 1.0]]
    """
    _check("assistant axis", default, 2)
    _check("assistant axis", roles, 3)
    return default - roles.mean(dim=0)


def principal_axes(roles: Tensor, count: int, *, layer: int, default: Tensor | None = None) -> Tensor:
    """The first components of the roles' means, at each layer for itself: unit vectors [count, layers, hidden].

    `roles` is [roles, layers, hidden]. The sign of a component is free. At `layer` it is chosen so that the default
    [layers, hidden] lies on the positive side of the roles' mean; at other layers so that the roles lie on the
    component in the order in which they lie on it there (a correlation above 0).

    Raises `TraceError` where there are not more roles than components.
    """
    _check("principal axes", roles, 3)
    if not 1 <= count < len(roles):
        found = f"{count} components of {len(roles)} roles"
        raise TraceError("principal axes", found, "at least 1, and fewer than there are roles")
    fits = [PCA(count).fit(roles[:, at].double().numpy()) for at in range(roles.shape[1])]
    axes = np.stack([fit.components_ for fit in fits], axis=1)
    if default is not None:
        towards = (default[layer] - roles[:, layer].mean(dim=0)).double().numpy()
        axes[:, layer] *= np.where(axes[:, layer] @ towards < 0, -1.0, 1.0)[:, None]
    centred = (roles - roles.mean(dim=0)).double().numpy()
    scores = np.einsum("rlh,clh->clr", centred, axes)
    agreeing = np.einsum("clr,cr->cl", scores, scores[:, layer])
    axes *= np.where(agreeing < 0, -1.0, 1.0)[:, :, None]
    return torch.from_numpy(axes).float()


def cosines(vectors: Sequence[Tensor]) -> list[list[float]]:
    """The cosine of each vector with each [n, n].

    >>> cosines([torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])])
    [[1.0, 0.0], [0.0, 1.0]]
    """
    units = torch.stack([vector.double() / torch.linalg.vector_norm(vector.double()) for vector in vectors])
    found: list[list[float]] = (units @ units.T).tolist()
    return found


def _check(where: str, states: Tensor, dimensions: int) -> None:
    if states.ndim != dimensions or 0 in states.shape or not bool(states.isfinite().all()):
        found = f"residual streams {list(states.shape)}"
        raise TraceError(where, found, f"finite numbers in {dimensions} dimensions, at least one of each")
