"""What regions are called: as the user says; else after the role that is most at home there; else by number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mechanism.regions.gaussians import Floats
from mechanism.regions.mixture import Mixture
from traces.errors import TraceError, quoted

ASSISTANT = "assistant"
"""What the region is called that a model is in by default."""


@dataclass(frozen=True, eq=False)
class Roles:
    """Roles where they lie in the space: coordinates of their means [roles, axes].

    `shares` [roles, regions] is the share of a role's replies that are in each region, where single replies are known.
    """

    names: tuple[str, ...]
    places: Floats
    default: str | None = None
    shares: Floats | None = None


def roles_of_points(
    points: Floats, roles: Sequence[str], labels: NDArray[np.int64], regions: int, default: str | None = None
) -> Roles:
    """Roles from the replies that they were asked for: points [n, axes], a role and a region (-1: none) for each.

    >>> points = np.array([[0.0], [2.0], [9.0]])
    >>> found = roles_of_points(points, ["a", "a", "b"], np.array([0, -1, 1]), 2)
    >>> found.places.tolist(), found.shares.tolist()
    ([[1.0], [9.0]], [[0.5, 0.0], [0.0, 1.0]])
    """
    names = tuple(dict.fromkeys(roles))
    of = np.array([names.index(role) for role in roles])
    places = np.stack([points[of == role].mean(axis=0) for role in range(len(names))])
    shares = np.stack(
        [[float((labels[of == role] == region).mean()) for region in range(regions)] for role in range(len(names))]
    )
    return Roles(names, places, default if default in names else None, shares)


def nearest(mixture: Mixture, region: int, roles: Roles, count: int = 3) -> list[tuple[str, float]]:
    """The roles that lie nearest to a region's centre, with their distances in standard deviations of the region."""
    mean, covariance = mixture.moments(region)
    away = roles.places - mean
    squares: Floats = np.einsum("na,na->n", away, np.linalg.solve(covariance, away.T).T)
    distances = np.sqrt(squares)
    return [(roles.names[at], float(distances[at])) for at in np.argsort(distances, kind="stable")[:count]]


def names(mixture: Mixture, roles: Roles | None = None, given: Mapping[int, str] | None = None) -> tuple[str, ...]:
    """A name for each region, no two alike. `given` are the user's own, by the region's number from 1.

    The region that the model is in without a role is called assistant. Every other is called after the role
    with the largest share of its replies there (at least half of them), the nearest of those where several have it; or,
    where single replies are not known, after the nearest role within three standard deviations. A role names one region
    at most; a region that no role names stays region-1, region-2, ...

    Raises `TraceError` for a number that no region has, and for names that are alike.
    """
    given = dict(given or {})
    count = len(mixture.regions)
    for number in given:
        if not 1 <= number <= count:
            raise TraceError(f"the name {quoted(given[number])}", f"there is no region {number}", f"1 to {count}")
    if len(set(given.values())) < len(given):
        raise TraceError("names", "two regions are given the same name", "a name of its own for each region")
    chosen = {number - 1: name for number, name in given.items()}
    if roles is not None:
        _by_roles(mixture, roles, chosen)
    taken = set(chosen.values())
    for region in range(count):
        if region not in chosen:
            # Somebody may have called another region so.
            chosen[region] = next(name for name in _numbered(region + 1) if name not in taken)
            taken.add(chosen[region])
    return tuple(chosen[region] for region in range(count))


def _by_roles(mixture: Mixture, roles: Roles, chosen: dict[int, str]) -> None:
    claims: list[tuple[float, float, float, int, str]] = []
    for region in range(len(mixture.regions)):
        for role, distance in nearest(mixture, region, roles, len(roles.names)):
            at = roles.names.index(role)
            share = 0.0 if roles.shares is None else float(roles.shares[at, region])
            enough = distance <= 3 if roles.shares is None else share >= 0.5
            if enough:
                claims.append((-float(role == roles.default), -share, distance, region, role))
    for _, _, _, region, role in sorted(claims):
        name = ASSISTANT if role == roles.default else role
        if region not in chosen and name not in chosen.values():
            chosen[region] = name


def _numbered(number: int) -> Sequence[str]:
    return [f"region-{number}", *(f"region-{number}-{again}" for again in range(2, 10))]
