"""What the test of discreteness found, told: findings, tables and pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mechanism.hypotheses.crossings import FLOOR, Crossing
from mechanism.hypotheses.mixtures import Floats
from mechanism.outcome import Cell, Estimate, Finding, Part, Plot, Series, Table
from mechanism.statistics import bootstrap

if TYPE_CHECKING:
    from mechanism.hypotheses.discreteness import Discreteness

SOURCE = "§3.3, Hypothesis 3"

CONTINUA = {
    "gaussian": "one Gaussian with the mean and covariance of the points",
    "filled": "the same cloud with its valleys filled, so with its bends, lengths and tails",
}
"""The simulated continua that a valley is held against, in words."""

_NOT_SHOWN = (
    "That no basins were found does not say that there are none: with few points, or basins that touch, they cannot be "
    "told from a continuum."
)
_WHICH = (
    "The test speaks of the points that it was given: other prompts, or another choice of axes, may look different."
)


def told(found: Discreteness) -> Part:
    """Findings, the verdict first; a table of the valleys and one of the mixtures; the line across and the BIC."""
    caveats = [*found.caveats, _WHICH]
    if found.verdict == "continuum":
        caveats.insert(0, _NOT_SHOWN)
    if found.codes is not None:
        caveats.append(
            f"{len(found.points):,} points come in {int(found.codes.max()) + 1:,} groups, which are what is counted as "
            "independent: folds and resamples are of whole groups, and simulated continua are drawn in such groups."
        )
    findings = [_verdict(found), _valley(found), _dip(found), *_simulations(found), _bic(found), *_silhouette(found)]
    tables = [*_crossings(found), _mixtures(found), *_held(found)]
    return Part(tuple(findings), tuple(tables), (*_across(found), _curve(found)), tuple(caveats))


def _verdict(found: Discreteness) -> Finding:
    n = len(found.points)
    if found.basins > 1:
        sizes = ", ".join(f"{size:,}" for size in np.bincount(found.labels).tolist())
        said = (
            f"The {n:,} points fall in {found.basins} separate basins ({sizes} points): between them there are valleys "
            "that a continuum would not have."
        )
    else:
        said = f"The {n:,} points are one continuum as far as can be told: no valley between them passed every test."
    estimate = Estimate(float(found.basins), None, None, n, "basins divided by valleys that passed every test")
    return Finding("discreteness", said, estimate, passed=found.basins > 1, source=SOURCE)


def _valley(found: Discreteness) -> Finding:
    crossing = found.deepest
    if crossing is None:
        rest = f"sinks to {found.shallow:.0%} of the lower peak at most" if found.shallow < 0.995 else "does not sink"
        said = f"No valley: between any two parts of the cloud, the density {rest} ({FLOOR:.0%} or less is a valley)."
        estimate = Estimate(found.shallow, None, None, len(found.points), "lowest density, of the lower peak")
        return Finding("valley", said, estimate, passed=False, source=SOURCE)
    estimate = _floor(found)
    said = f"In the clearest valley the density sinks to {estimate.value:.1%} of the lower of the peaks beside it."
    return Finding("valley", said, estimate, passed=crossing.valley.floor <= FLOOR, source=SOURCE)


def _floor(found: Discreteness) -> Estimate:
    value = found.deepest.valley.floor if found.deepest else 1.0
    # The value is the least deep of several mixtures, so it may lie beside what resampling one of them gives.
    low, high = np.quantile(found.floors, (0.025, 0.975))
    how = f"bootstrap of {len(found.floors)}, 95 %{', whole groups' if found.codes is not None else ''}"
    return Estimate(value, min(value, float(low)), max(value, float(high)), len(found.points), how)


def _dip(found: Discreteness) -> Finding:
    null = "a single heap; the p is for evenly spread values, of single heaps the likeliest to look like two"
    crossing = found.deepest
    if crossing is None:
        return Finding("dip test", "The dip test was not needed: no valley was deep enough.", null=null, source=SOURCE)
    borne = crossing.p_dip <= found.alpha
    apart = separation(crossing.line, found.seed)
    said = (
        f"Along the line across this valley the points stand in {'two heaps' if borne else 'one heap'} (dip test, p "
        f"{_p(crossing.p_dip)}); the middles of its sides are {apart.value:.1f} of their own standard deviations apart."
    )
    return Finding("dip test", said, apart, null, crossing.p_dip, borne, SOURCE)


def separation(line: Floats, seed: int) -> Estimate:
    """How far the two sides of zero are apart on a line, in their standard deviations (pooled).

    >>> 5 < separation(np.concatenate([np.linspace(-1.5, -0.5, 50), np.linspace(0.5, 1.5, 50)]), 0).value < 8
    True
    """

    def apart(rows: Floats) -> float:
        sides = rows[rows > 0], rows[rows <= 0]
        if min(map(len, sides)) < 2:
            return float("nan")
        spread = np.sqrt(sum(float(side.var(ddof=1)) * len(side) for side in sides) / len(rows))
        return float((sides[0].mean() - sides[1].mean()) / spread) if spread > 0 else float("nan")

    if len(line) < 4:
        return Estimate(float("nan"), None, None, len(line), "too few points beside the valley")
    return bootstrap(apart, line, seed=seed, resamples=500)


def _simulations(found: Discreteness) -> list[Finding]:
    crossing = found.deepest
    if crossing is None or not found.simulated:
        said = "No continua were simulated: "
        said += "no valley was deep enough." if crossing is None else "the dip test had found a single heap already."
        return [Finding("simulated continua", said, source=SOURCE)]
    findings = []
    for name, depths in found.simulated.items():
        p = crossing.p_gaussian if name == "gaussian" else crossing.p_filled
        hits = int(np.sum(depths >= crossing.valley.depth))
        said = f"Of {len(depths)} simulated continua, {hits or 'none'} had a valley as deep that passed the dip test."
        estimate = Estimate(hits / len(depths), None, None, len(depths), "share of simulated continua")
        passed = p is not None and p <= found.alpha
        findings.append(Finding(f"simulated continua: {name}", said, estimate, CONTINUA[name], p, passed, SOURCE))
    return findings


def _bic(found: Discreteness) -> Finding:
    single = min(value for (k, _), value in found.bic.items() if k == 1)
    best = float(found.mixture.bic()[0])
    k = found.mixture.k
    said = (
        "One Gaussian describes the points best (lowest BIC)."
        if k == 1
        else f"A mixture of {k} Gaussians describes the points better than one (BIC lower by {single - best:.0f}). "
        "Bent or heavy-tailed continua take several as well, so this alone shows no basins."
    )
    estimate = Estimate(single - best, None, None, len(found.points), "BIC of one Gaussian less that of the best")
    return Finding("mixture", said, estimate, "a single Gaussian", source=SOURCE)


def _silhouette(found: Discreteness) -> list[Finding]:
    if found.silhouettes is None:
        return []
    value, simulated = found.silhouettes
    p = float((np.sum(simulated >= value) + 1) / (len(simulated) + 1))
    said = (
        f"The silhouette of the basins is {value:.2f} (1: far apart; 0: they touch); Gaussian clouds divided into as "
        f"many parts reach {float(np.quantile(simulated, 0.95)):.2f} (95 % of them less)."
    )
    estimate = Estimate(value, None, None, len(found.points), "mean silhouette")
    return [Finding("silhouette", said, estimate, CONTINUA["gaussian"], p, source=SOURCE)]


def _crossings(found: Discreteness) -> list[Table]:
    if not found.crossings:
        return []
    columns = (
        "points on its sides", "lowest density (of the lower peak)", "sides apart (their sd)", "dip", "p, dip",
        "p, gaussian", "p, filled", "passed",
    )  # fmt: skip
    rows = [_row(crossing, found.seed) for crossing in found.crossings]
    return [Table("Valleys that were tried", columns, rows)]


def _row(crossing: Crossing, seed: int) -> tuple[Cell | Estimate, ...]:
    sides = " and ".join(f"{size:,}" for size in crossing.valley.sizes)
    apart = separation(crossing.line, seed)
    return (
        sides, crossing.valley.floor, apart, crossing.dip, crossing.p_dip, crossing.p_gaussian, crossing.p_filled,
        crossing.passed,
    )  # fmt: skip


def _mixtures(found: Discreteness) -> Table:
    kinds = list(dict.fromkeys(kind for _, kind in found.bic))
    most = max(k for k, _ in found.bic)
    rows: list[tuple[Cell | Estimate, ...]] = [
        (k, *(found.bic.get((k, kind)) for kind in kinds)) for k in range(1, most + 1)
    ]
    return Table("Mixtures by number of components: BIC (the lowest is best)", ("components", *kinds), rows)


def _held(found: Discreteness) -> list[Table]:
    if not found.simulated or found.deepest is None:
        return []
    columns = ("continuum", "simulated", "its deepest valley: median density", "lowest 5 %", "the points' own")
    rows: list[tuple[Cell | Estimate, ...]] = [
        (
            CONTINUA[name],
            len(depths),
            *map(float, np.exp(-np.quantile(depths, (0.5, 0.95)))),
            found.deepest.valley.floor,
        )
        for name, depths in found.simulated.items()
    ]
    return [Table("Valleys of simulated continua (density, of the lower peak)", columns, rows)]


def _across(found: Discreteness) -> list[Plot]:
    if found.deepest is None or len(found.deepest.line) < 4:
        return []
    line = found.deepest.line
    low, high = np.quantile(line, (0.01, 0.99))
    counts, ends = np.histogram(line[(line >= low) & (line <= high)], bins=int(np.clip(len(line) ** 0.5 * 1.5, 8, 40)))
    bars = Series("points", [round(float(x), 3) for x in (ends[1:] + ends[:-1]) / 2], counts.tolist())
    caption = (
        "Points on the line across the clearest valley; -1 and 1 are the middles of its sides. Each point was placed "
        "by a mixture that was fitted without it. Two heaps with a gap speak for basins, one heap for a continuum."
    )
    return [Plot("line-across", "Across the clearest valley", "bars", "place on the line", "points", [bars], caption)]


def _curve(found: Discreteness) -> Plot:
    series = []
    for kind in dict.fromkeys(kind for _, kind in found.bic):
        sizes = sorted(k for k, of in found.bic if of == kind)
        series.append(Series(kind, sizes, [found.bic[k, kind] for k in sizes]))
    caption = "How well mixtures of Gaussians describe the points, by number of components; the lowest is best."
    return Plot("bic", "Mixtures", "lines", "components", "BIC", series, caption)


def _p(value: float) -> str:
    return "below 0.001" if value < 0.001 else f"{value:.2g}"
