"""Hypothesis 2: a space of personas has few dimensions (§3.2).

Every role has a vector, the mean over its replies. If personas differ along few directions, a few principal components
hold most of how these vectors differ; they are more than noise of the same spread would give, and the same ones are
found from other roles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mechanism.outcome import Cell, Estimate, Finding, Part, Plot, Series, Table
from traces.errors import TraceError

SOURCE = "§3.2, Hypothesis 2"

SHARE = 0.7
"""Of the variance, that a few components must hold."""

FEW = 5
"""Components that count as few, where not more than this share of all there could be."""

FEW_OF_ALL = 0.25
LEAST_ROLES = 6
ALPHA = 0.05
NULLS, RESAMPLES = 100, 200
STABLE = 0.8
"""Of the variance that their own components hold of some roles, what the components of other roles must hold."""

_SHOWN = 20

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Dimension:
    """What was found.

    `explained` [components]: the share of the variance of each. `null` [components]: what the strongest 5 % of permuted
    clouds reach. `needed`: components for 70 %. `ratio`: the participation ratio. `above`: components before the first
    that does not exceed its null; `p`: of the first. `cosines` [resamples, k]: of the principal angles between the
    first k components (as many as are needed or above noise) of two halves of the roles, closest first; `chance`: their
    mean for unrelated ones. `kept` [resamples]: the share of the variance of one half, of what its own components hold,
    that those of the other half hold. `coordinates` [roles, 2]: on the first two components.
    """

    explained: Floats
    null: Floats
    needed: Estimate
    ratio: Estimate
    above: int
    cosines: Floats
    kept: Floats
    chance: float
    p: float
    roles: int
    width: int
    names: tuple[str, ...]
    coordinates: Floats

    @property
    def passed(self) -> bool:
        """Few components, above noise, and the same ones again."""
        few = self.needed.value <= max(FEW, 1) and self.needed.value <= max(2, FEW_OF_ALL * len(self.explained))
        return bool(few and self.above >= 1 and self.p <= ALPHA and self.kept.mean() >= STABLE)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The verdict first."""
        n, all_of_them = self.roles, len(self.explained)
        needed = int(self.needed.value)
        mean, low, high = _interval(self.kept)
        enough = "few" if needed <= min(FEW, max(2, FEW_OF_ALL * all_of_them)) else "not few"
        verdict = (
            f"H2, few dimensions: {needed} of {all_of_them} possible components hold {SHARE:.0%} of how the {n} roles "
            f"differ ({enough}); {self.above} {'is' if self.above == 1 else 'are'} stronger than noise; from other "
            f"roles the subspace comes out {'much the same' if mean >= STABLE else 'different'}."
        )
        return (
            Finding("H2", verdict, passed=self.passed, source=SOURCE),
            Finding(
                "components for 70 %",
                f"{needed} principal component{' holds' if needed == 1 else 's hold'} {SHARE:.0%} "
                f"of the variance of {n} role vectors in {self.width:,} dimensions; {FEW} at most count as few.",
                self.needed, source=SOURCE,
            ),
            Finding(
                "participation ratio",
                f"The variance is spread as over {self.ratio.value:.1f} equal directions (participation ratio; at most "
                f"{all_of_them} here).",
                self.ratio, source=SOURCE,
            ),
            Finding(
                "parallel analysis",
                f"{self.above} component{'s' if self.above != 1 else ''} hold{'s' if self.above == 1 else ''} more of "
                "the variance than 95 % of permuted clouds have at their place.",
                Estimate(float(self.above), None, None, n, "components before the first that noise reaches"),
                f"each of {NULLS} clouds has the same values in every direction, dealt to the roles anew at random",
                self.p, self.above >= 1 and self.p <= ALPHA, SOURCE,
            ),
            Finding(
                "stability",
                f"The first {self.cosines.shape[1]} components of one half of the roles hold {mean:.0%} of what those "
                f"of the other half hold of its variance ({STABLE:.0%} is asked); the mean cosine of both subspaces is "
                f"{self.cosines.mean():.2f} (1: the same; unrelated ones of this width: {self.chance:.2f}).",
                Estimate(mean, low, high, len(self.kept), "95 % of random halves of the roles"),
                "unrelated directions in as many dimensions", passed=mean >= STABLE, source=SOURCE,
            ),
        )  # fmt: skip

    @property
    def tables(self) -> tuple[Table, ...]:
        """Components: their shares, what noise reaches, how well other roles find them again."""
        rows: list[tuple[Cell | Estimate, ...]] = []
        total = np.cumsum(self.explained)
        for k in range(min(_SHOWN, len(self.explained))):
            cosine: Cell | Estimate = None
            if k < self.cosines.shape[1]:
                value, low, high = _interval(self.cosines[:, k])
                cosine = Estimate(value, low, high, len(self.cosines), "95 % of random halves of the roles")
            rows.append((k + 1, float(self.explained[k]), float(total[k]), float(self.null[k]), k < self.above, cosine))
        columns = (
            "component", "share of the variance", "up to here", "95 % of permuted clouds", "above noise",
            "cosine between halves, by angle",
        )  # fmt: skip
        return (Table("Principal components of the role cloud", columns, rows),)

    @property
    def plots(self) -> tuple[Plot, ...]:
        """Variance by component beside noise; the roles on the first two."""
        shown = min(_SHOWN, len(self.explained))
        x = list(range(1, shown + 1))
        scree = Plot(
            "components", "Variance by component", "lines", "component", "share of the variance",
            [
                Series("role vectors", x, self.explained[:shown].tolist()),
                Series("permuted clouds, 95 %", x, self.null[:shown].tolist()),
                Series("role vectors, up to here", x, np.cumsum(self.explained)[:shown].tolist()),
            ],
            f"{int(self.needed.value)} reach {SHARE:.0%}. Where the line of the permuted clouds is higher, a component "
            "is no more than noise.",
            lines=[(f"{SHARE:.0%}", SHARE)],
        )  # fmt: skip
        if self.coordinates.shape[1] < 2:
            return (scree,)
        first, second = (f"PC{k + 1} ({self.explained[k]:.0%})" for k in range(2))
        cloud = Series(
            "roles", self.coordinates[:, 0].tolist(), self.coordinates[:, 1].tolist(), labels=self.names or None
        )  # fmt: skip
        caption = (
            "Each point is a role: the mean over its replies, on the two components that hold most of the variance."
        )
        return (scree, Plot("role-cloud", "Role vectors", "scatter", first, second, [cloud], caption))

    @property
    def caveats(self) -> tuple[str, ...]:
        """What must be known first."""
        told = [
            f"Components are of {self.roles} roles: other roles may differ in other directions, and no more than "
            f"{len(self.explained)} components could be found at all."
        ]
        if self.roles < 20:
            told.insert(0, f"With {self.roles} roles few components are found whatever the model is like.")
        return tuple(told)

    def part(self) -> Part:
        """All of it."""
        return Part(self.findings, self.tables, self.plots, self.caveats)


def dimension(means: ArrayLike, *, names: Sequence[str] = (), seed: int = 0) -> Dimension:
    """How many dimensions the vectors of roles [roles, hidden] differ in.

    Parallel analysis (Horn 1965) by permutation: the values of each entry of the vectors are dealt to the roles anew,
    so the entries keep their spread and lose what they share. Stability: the subspaces of two halves of the roles
    (principal angles, Bjorck and Golub 1973). Participation ratio: the squared sum of the variances over the sum of
    their squares.

    Raises `TraceError` for fewer than 6 roles, NaN, or roles that do not differ.

    >>> dice = np.random.default_rng(0)
    >>> cloud = dice.normal(size=(40, 2)) @ dice.normal(size=(2, 64)) + 0.1 * dice.normal(size=(40, 64))
    >>> found = dimension(cloud)
    >>> int(found.needed.value), found.above, found.passed
    (2, 2, True)
    """
    where = "the test of few dimensions"
    cloud = np.asarray(means, float)
    if cloud.ndim != 2 or 0 in cloud.shape:
        raise TraceError(where, f"role vectors of shape {list(cloud.shape)}", "[roles, hidden]")
    if not np.isfinite(cloud).all():
        raise TraceError(where, "role vectors that hold NaN or infinity", "numbers")
    n, width = cloud.shape
    if n < LEAST_ROLES:
        raise TraceError(where, f"{n} roles", f"{LEAST_ROLES} or more")
    if names and len(names) != n:
        raise TraceError(where, f"{len(names)} names for {n} roles", "a name for each role")
    centred = cloud - cloud.mean(axis=0)
    left, spread, _ = np.linalg.svd(centred, full_matrices=False)
    if spread[0] <= 1e-9 * max(float(np.abs(cloud).max()), 1e-300):
        raise TraceError(where, "roles whose vectors are all the same", "roles that differ")
    possible = min(n - 1, width)
    explained = _explained(spread)[:possible]
    needed = _needed(explained)
    dice = np.random.default_rng(seed)
    permuted = np.stack([_permuted(centred, dice)[:possible] for _ in range(NULLS)])
    null = np.quantile(permuted, 1 - ALPHA, axis=0)
    beyond = explained > null
    above = int(possible if beyond.all() else beyond.argmin())
    p = float((np.sum(permuted[:, 0] >= explained[0]) + 1) / (NULLS + 1))
    held = max(needed, above)
    halves = [_halved(left * spread, held, dice) for _ in range(RESAMPLES)]
    unrelated = [
        float(np.mean(_cosines(*(np.linalg.qr(dice.normal(size=(width, held)))[0].T for _ in range(2)))))
        for _ in range(8)
    ]
    shares, ratios = _of_half(left * spread, needed, dice)
    return Dimension(
        explained=explained,
        null=null,
        needed=shares,
        ratio=ratios,
        above=above,
        cosines=np.stack([cosines for cosines, _ in halves]),
        kept=np.array([kept for _, kept in halves]),
        chance=float(np.mean(unrelated)),
        p=p,
        roles=n,
        width=width,
        names=tuple(names),
        coordinates=(left * spread)[:, : min(2, possible)],
    )


def _explained(spread: NDArray[np.floating]) -> Floats:
    variances = np.asarray(spread, float) ** 2
    return np.asarray(variances / variances.sum())


def _needed(explained: Floats) -> int:
    return int(np.searchsorted(np.cumsum(explained), SHARE - 1e-12) + 1)


def _participation(explained: Floats) -> float:
    return float(1 / (explained**2).sum())


def _permuted(centred: Floats, dice: np.random.Generator) -> Floats:
    dealt = dice.permuted(centred, axis=0)
    # The eigenvalues of the small matrix: many fewer roles than entries.
    return _explained(np.sqrt(np.maximum(np.linalg.eigvalsh(dealt @ dealt.T)[::-1], 0)))


def _halved(scores: Floats, needed: int, dice: np.random.Generator) -> tuple[Floats, float]:
    order = dice.permutation(len(scores))
    one, two = (scores[half] - scores[half].mean(axis=0) for half in np.array_split(order, 2))
    first, second = (np.linalg.svd(half, full_matrices=False)[2][:needed] for half in (one, two))
    kept = float(((two @ first.T) ** 2).sum() / max(((two @ second.T) ** 2).sum(), 1e-300))
    return _cosines(first, second), kept


def _cosines(one: Floats, two: Floats) -> Floats:
    """Of the principal angles between the subspaces that orthonormal rows span, the closest first."""
    return np.asarray(np.clip(np.linalg.svd(one @ two.T, compute_uv=False), 0, 1))


def _of_half(scores: Floats, needed: int, dice: np.random.Generator) -> tuple[Estimate, Estimate]:
    """Components needed and participation ratio, with what samples of half the roles give (drawn without repetition:
    a role drawn twice would make the cloud look flatter).
    """
    n = len(scores)
    found = []
    for _ in range(RESAMPLES):
        rows = scores[dice.choice(n, max(LEAST_ROLES // 2, n // 2), replace=False)]
        explained = _explained(np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False))
        found.append((_needed(explained), _participation(explained)))
    ends = np.quantile(np.array(found, float), (0.025, 0.975), axis=0)
    how = "95 % of samples of half the roles"
    ratio = _participation(_explained(np.linalg.svd(scores, compute_uv=False)))
    return (
        Estimate(float(needed), float(min(ends[0, 0], needed)), float(max(ends[1, 0], needed)), n, how),
        Estimate(ratio, float(min(ends[0, 1], ratio)), float(max(ends[1, 1], ratio)), n, how),
    )


def _interval(values: Floats) -> tuple[float, float, float]:
    low, high = np.quantile(values, (0.025, 0.975))
    return float(values.mean()), float(low), float(high)
