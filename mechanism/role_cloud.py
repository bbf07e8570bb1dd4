"""The cloud of roles: where a model's residual stream is, on average, when it is asked to be one role or another.

Lu et al. 2026 (arXiv:2601.10387) take a mean for each of 275 roles, and find that few principal components hold most of
the variance. Torch-free.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from traces.errors import TraceError, UnknownNameError

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class RoleCloud:
    """A mean residual stream for each role, at the layer of the space: `means` is float32 [roles, hidden].

    `default` names the role that is the model without a role, if it is among them; it takes no part in the components,
    which are those of the roles. `counts`: how many replies stand behind each mean.

    Raises `TraceError` where names and means do not fit together.

    >>> cloud = RoleCloud(("default", "bard", "judge"), np.array([[0, 0], [2, 0], [-2, 0]], np.float32), "default")
    >>> cloud.roles, cloud.explained.round(3).tolist(), cloud.components_for(0.7)
    (('bard', 'judge'), [1.0, 0.0], 1)
    >>> cloud.coordinates(cloud.means[:1], 1).tolist()
    [[0.0]]
    """

    names: tuple[str, ...]
    means: Floats
    default: str | None = None
    counts: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.means.ndim != 2 or len(self.means) != len(self.names) or not len(self.names):
            found = f"its means have the shape {list(self.means.shape)} for {len(self.names)} roles"
            raise TraceError("role cloud", found, "means [roles, hidden], at least one")
        if self.means.dtype != np.float32 or not np.isfinite(self.means).all():
            raise TraceError("role cloud", "its means are not finite float32", "finite float32 numbers")
        if len(set(self.names)) < len(self.names):
            raise TraceError("role cloud", "a role is named twice", "each role once")
        if self.default is not None and self.default not in self.names:
            raise UnknownNameError("role cloud", "role", self.default, self.names)
        if self.counts is not None and len(self.counts) != len(self.names):
            raise TraceError("role cloud", f"{len(self.counts)} counts for {len(self.names)} roles", "one a role")

    @property
    def roles(self) -> tuple[str, ...]:
        """The names without the default."""
        return tuple(name for name in self.names if name != self.default)

    @property
    def of_roles(self) -> Floats:
        """Their means [roles, hidden]."""
        return self.means[[name != self.default for name in self.names]]

    def mean_of(self, name: str) -> Floats:
        """The mean of one role [hidden]. Raises `UnknownNameError`."""
        if name not in self.names:
            raise UnknownNameError("role cloud", "role", name, self.names)
        mean: Floats = self.means[self.names.index(name)]
        return mean

    @property
    def assistant_axis(self) -> Floats | None:
        """mean(default) - mean(roles), + is assistant (Lu et al. 2026) [hidden]; None without a default or roles."""
        if self.default is None or not self.roles:
            return None
        axis: Floats = self.mean_of(self.default) - self.of_roles.mean(axis=0)
        return axis

    @cached_property
    def _components(self) -> PCA:
        return PCA().fit(self.of_roles.astype(np.float64))

    @property
    def explained(self) -> NDArray[np.float64]:
        """The share of the roles' variance that each principal component holds, largest first."""
        shares: NDArray[np.float64] = self._components.explained_variance_ratio_
        return shares

    @property
    def directions(self) -> NDArray[np.float64]:
        """The components as unit vectors [components, hidden]; the first points to the default where there is one."""
        directions: NDArray[np.float64] = self._components.components_.copy()
        if (axis := self.assistant_axis) is not None:
            directions *= np.where(directions @ axis < 0, -1.0, 1.0)[:, None]
        return directions

    def components_for(self, share: float) -> int:
        """How many components hold at least so much of the variance, 0 to 1."""
        return int(np.searchsorted(np.cumsum(self.explained), share - 1e-12)) + 1

    def coordinates(self, states: NDArray[np.floating], count: int = 2) -> NDArray[np.float64]:
        """Where residual streams [n, hidden] are on the first components [n, count], from the mean of the roles."""
        centred = states.astype(np.float64) - self._components.mean_
        found: NDArray[np.float64] = centred @ self.directions[:count].T
        return found

    def nearest(self, state: NDArray[np.floating], count: int = 3) -> Sequence[tuple[str, float]]:
        """The roles whose means lie nearest to a residual stream [hidden], with their distances (L2), nearest first."""
        distances = np.linalg.norm(self.means.astype(np.float64) - state.astype(np.float64), axis=1)
        return [(self.names[at], float(distances[at])) for at in np.argsort(distances, kind="stable")[:count]]
