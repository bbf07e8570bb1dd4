"""Valleys of a cloud, tried: the dip test on the line across each, and valleys of simulated continua (§3.3)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mechanism.hypotheses.continua import Codes, filled, gaussian
from mechanism.hypotheses.dip import dip, dip_p
from mechanism.hypotheses.mixtures import Floats, Mixtures, fit, refit
from mechanism.hypotheses.valleys import Valley, least_depth, valleys

FLOOR = 1 / 3
"""A valley is one where the density sinks to this share of the lower peak, at most. (An even stretch of points, cut in
two Gaussians, seems to sink to 0.43 between them.)
"""

POINTS_EACH = 6
"""A mixture has so many points for each component, at least."""

_FOLDS, _UNEVEN = 5, 2


@dataclass(frozen=True)
class Crossing:
    """One valley, and what was found on the line across it.

    `line`: the places of points beside the valley on the line through both sides, -1 and 1 at their middles; each
    measured in a mixture that was fitted without it. `dip`, `p_dip`: of these places, corrected for the number of
    valleys that were tried. `p_gaussian`, `p_filled`: how many of the simulated continua have a valley as deep; None
    where the dip test had settled it. `passed`: all of these are small enough.
    """

    valley: Valley
    line: Floats
    dip: float
    p_dip: float
    p_gaussian: float | None = None
    p_filled: float | None = None
    passed: bool = False


def crossed(cloud: Floats, mixture: Mixtures, tried: list[Valley], groups: Codes | None, seed: int) -> list[Crossing]:
    """The dip test on the line across each valley, drawn in mixtures that were fitted without the points on it."""
    if not tried:
        return []
    codes = np.arange(len(cloud)) if groups is None else groups
    fold = (np.random.default_rng([seed, 1]).permutation(int(codes.max()) + 1) % _FOLDS)[codes]
    fitted = refit(cloud, mixture, np.stack([(fold != each).astype(float) for each in range(_FOLDS)]))
    labels = fitted.labels(cloud)
    return [_crossing(cloud, valley, fitted, labels, fold, len(tried)) for valley in tried]


def simulated_too(
    cloud: Floats,
    mixture: Mixtures,
    crossings: list[Crossing],
    groups: Codes | None,
    seed: int,
    simulations: int,
    alpha: float,
    least: float,
) -> tuple[list[Crossing], dict[str, Floats]]:
    """The deepest valleys of simulated continua, in which they were looked for as in the cloud."""
    dice = np.random.default_rng([seed, 2])
    simulated: dict[str, Floats] = {}
    for name in ("gaussian", "filled"):
        if name == "gaussian":
            clouds = gaussian(cloud, simulations, dice, groups)
        else:
            pieces = fit(cloud[None], max(2, min(2 * mixture.k + 2, len(cloud) // POINTS_EACH)), "spherical", seed)
            met = valleys(pieces, np.bincount(pieces.labels(cloud)[0], minlength=pieces.k), least)
            met = [valley for valley in met if valley.floor <= FLOOR and min(valley.sizes) >= least / 2]
            clouds = filled(cloud, pieces, [valley.crossing for valley in met], simulations, dice, groups)
        fits = [fit(clouds.astype(np.float32), k, mixture.kind, seed) for k in (1, mixture.k)]
        best = np.argmin([each.bic() for each in fits], axis=0)
        asked = min(crossing.valley.depth for crossing in crossings if crossing.p_dip <= alpha)
        depths = [
            _deepest(each, fits[which].one(index), asked, groups, seed, alpha, least)
            for index, (each, which) in enumerate(zip(clouds, best, strict=True))
        ]
        simulated[name] = np.array(depths)
        crossings = [_held_against(each, name, simulated[name], alpha) for each in crossings]
        if name == "gaussian" and not any(max(each.p_dip, each.p_gaussian or 1) <= alpha for each in crossings):
            break
    return crossings, simulated


def _deepest(
    cloud: Floats, mixture: Mixtures, asked: float, groups: Codes | None, seed: int, alpha: float, least: float
) -> float:
    """The depth of the deepest valley. One as deep as asked has to pass what the cloud's own passed: the dip test, and
    finer mixtures.
    """
    if mixture.k == 1:
        return 0.0
    counts = np.bincount(mixture.labels(cloud)[0], minlength=mixture.k)
    met = [valley for valley in valleys(mixture, counts, least) if min(valley.sizes) >= least]
    tried = sorted((valley for valley in met if valley.depth >= asked), key=lambda valley: -valley.depth)
    for crossing in crossed(cloud, mixture, tried, groups, seed):
        if crossing.p_dip <= alpha:
            depth = least_depth(cloud, mixture, crossing.valley, seed, least)
            if depth >= asked:
                return depth
    return max((valley.depth for valley in met if valley.depth < asked), default=0.0)


def _crossing(
    cloud: Floats, valley: Valley, fitted: Mixtures, labels: NDArray[np.intp], fold: Codes, tests: int
) -> Crossing:
    """On two lines, the better of which counts: between the two components at the pass, and between both sides."""
    lines = dict.fromkeys([tuple((c,) for c in valley.between), (tuple(valley.one), tuple(valley.two))])
    found: list[Crossing] = []
    for one, two in lines:
        places = []
        for each in range(len(fitted.weights)):
            first, second = (_pooled(fitted, each, list(side)) for side in (one, two))
            along = np.linalg.solve(first[1] + second[1], second[0] - first[0])
            half = float(along @ (second[0] - first[0])) / 2
            here = (fold == each) & np.isin(labels[each], one + two)
            if half > 1e-9:
                places.append((cloud[here] - (first[0] + second[0]) / 2) @ along / half)
        line = np.concatenate(places) if places else np.empty(0)
        near = _near(line)
        value = dip(near)
        found.append(Crossing(valley, line, value, min(1.0, dip_p(value, len(near)) * tests * len(lines))))
    return min(found, key=lambda crossing: crossing.p_dip)


def _near(line: Floats) -> Floats:
    """Without the far end of the larger side: a stretch of a single heap is a single heap, and a small side is not
    lost beside a large one.
    """
    beyond = line > 0
    most = _UNEVEN * int(min(beyond.sum(), (~beyond).sum()))
    return np.concatenate([side[np.argsort(np.abs(side))[:most]] for side in (line[beyond], line[~beyond])])


def _pooled(mixtures: Mixtures, index: int, of: list[int]) -> tuple[Floats, Floats]:
    """Mean and covariance of some components taken together."""
    shares = mixtures.weights[index, of] / mixtures.weights[index, of].sum()
    means = mixtures.means[index, of]
    mean = shares @ means
    apart = means - mean
    return mean, np.asarray(np.tensordot(shares, mixtures.covariances[index, of], 1) + (apart.T * shares) @ apart)


def _held_against(crossing: Crossing, name: str, simulated: Floats, alpha: float) -> Crossing:
    p = float((np.sum(simulated >= crossing.valley.depth) + 1) / (len(simulated) + 1))
    crossing = replace(crossing, p_gaussian=p) if name == "gaussian" else replace(crossing, p_filled=p)
    asked = (crossing.p_dip, crossing.p_gaussian, crossing.p_filled)
    return replace(crossing, passed=all(p is not None and p <= alpha for p in asked))
