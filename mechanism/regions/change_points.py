"""Where within a turn the persona region changes, from the coordinates of its tokens.

The coordinate of a single token says little of the persona; the mean of several says more. A turn is cut into runs of
tokens, each in one region: the likeliest cutting with a penalty for each cut (optimal partitioning: Jackson et al.
2005; the penalty is that of BIC). A run's mean is expected where its region has the means of whole turns, as far from
there as so few tokens make it. Each cut is then held against chance: where the same tokens in another order are cut as
well as often as one time in a hundred, it is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mechanism.regions.gaussians import Floats
from mechanism.regions.mixture import Mixture

Ints = NDArray[np.int64]

LEAST = 6
"""A run has at least so many tokens, unless something else is said."""

ALPHA = 0.05
"""How often a cut between tokens in any order may be found."""

_ORDERS = 199
_MOST_PIECES = 400
_TRIMMED = 0.2
_MOST_LAG = 50


@dataclass(frozen=True, eq=False)
class TokenNoise:
    """How tokens scatter around the mean of their turn: `covariance` [axes, axes], and how many tokens in a row say as
    much as one that hangs on none before it (`together`, at least 1).
    """

    covariance: Floats
    together: float


class Run(NamedTuple):
    """A run of tokens from `start` on, in a region; `chances` by region, and last for none."""

    start: int
    region: int
    chances: Floats


def token_noise(turns: Sequence[Floats]) -> TokenNoise | None:
    """From the tokens [tokens, axes] of many turns; None where there are not enough of them.

    The fifth of the turns that scatter most is left out, since turns that change region are among these.
    """
    long = [turn for turn in turns if len(turn) >= 2 * LEAST]
    if not long:
        return None
    axes = long[0].shape[1]
    scatters = np.stack([np.atleast_2d(np.cov(turn.T)) for turn in long])
    spread = np.trace(scatters / scatters.mean(axis=0).diagonal().max(), axis1=1, axis2=2)
    kept = np.argsort(spread, kind="stable")[: max(1, len(long) - int(_TRIMMED * len(long)))]
    weights = np.array([len(long[at]) - 1 for at in kept], float)
    if weights.sum() <= 2 * axes:
        return None
    covariance = np.einsum("t,tij->ij", weights / weights.sum(), scatters[kept])
    covariance = covariance + np.eye(axes) * 1e-9 * np.trace(covariance)
    if np.trace(covariance) <= 0:
        return None
    return TokenNoise(covariance, _together([long[at] for at in kept]))


def _together(turns: Sequence[Floats]) -> float:
    """The integrated autocorrelation time of the axis on which tokens hang together most, up to the first lag that says
    nothing.
    """
    worst = 1.0
    for axis in range(turns[0].shape[1]):
        columns = [turn[:, axis] - turn[:, axis].mean() for turn in turns]
        power = sum(float((column**2).sum()) for column in columns)
        time = 1.0
        for lag in range(1, _MOST_LAG):
            pairs = sum(float((column[:-lag] * column[lag:]).sum()) for column in columns if len(column) > lag)
            total = sum(len(column) - lag for column in columns if len(column) > lag)
            share = pairs / power if power > 0 else 0.0
            if total < 2 or share < 2 / np.sqrt(total):
                break
            time += 2 * share
        worst = max(worst, time)
    return worst


def runs(tokens: Floats, mixture: Mixture, noise: TokenNoise, *, least: int = LEAST, seed: int = 0) -> list[Run]:
    """The runs of a turn's tokens [tokens, axes] (no NaN), by the regions of a mixture fitted to the means of turns.

    One run, starting at 0, where the region does not change. Neighbouring runs are in different regions.

    >>> from mechanism.regions.mixture import fit_mixture
    >>> dice = np.random.default_rng(0)
    >>> means = np.concatenate([dice.normal(0, 1, (60, 1)), dice.normal(9, 1, (40, 1))])
    >>> tokens = np.concatenate([dice.normal(0, 4, (30, 1)), dice.normal(9, 4, (30, 1))])
    >>> found = runs(tokens, fit_mixture(means, ["a"], most=3), TokenNoise(np.array([[16.0]]), 1.0))
    >>> [run.region for run in found], abs(found[-1].start - 30) < 4
    ([0, 1], True)
    """
    costs = _Costs(mixture, noise, len(tokens))
    # Tokens that hang together are moved together, and a very long turn is looked at in pieces.
    piece = max(round(noise.together), -(-len(tokens) // _MOST_PIECES))
    shortest = max(1, -(-least // piece))
    edges = np.append(np.arange(0, len(tokens) - piece + 1, piece), len(tokens))
    cuts = [0, len(edges) - 1]
    if len(mixture.regions) > 1 and len(edges) - 1 >= 2 * shortest:
        cuts = _joined(tokens, edges, _partition(tokens, edges, costs, shortest), costs)
    dice = np.random.default_rng(seed)
    while len(cuts) > 2:
        # The doubtful ones one by one: without one of them the others may be clear.
        chance = [_by_chance(tokens, edges, cuts, at, costs, shortest, dice) for at in range(1, len(cuts) - 1)]
        if max(chance) <= ALPHA:
            break
        del cuts[1 + int(np.argmax(chance))]
        cuts = _joined(tokens, edges, cuts, costs)
    starts = [int(edges[cut]) for cut in cuts]
    return [
        Run(start, costs.region(tokens[start:end]), costs.chances(tokens[start:end])) for start, end in pairwise(starts)
    ]


def _joined(tokens: Floats, edges: Ints, cuts: list[int], costs: _Costs) -> list[int]:
    """Without the cuts on whose two sides the region is the same."""
    for at in range(len(cuts) - 2, 0, -1):
        left, right = (tokens[edges[cuts[at + side]] : edges[cuts[at + side + 1]]] for side in (-1, 0))
        if costs.region(left) == costs.region(right):
            del cuts[at]
    return cuts


class _Costs:
    """-2 log likelihoods of runs of up to `longest` tokens, by their number and mean, under each region."""

    def __init__(self, mixture: Mixture, noise: TokenNoise, longest: int) -> None:
        gaussians, axes = mixture.gaussians, len(mixture.axes)
        self.mixture, self.noise = mixture, noise
        self.weights = np.bincount(mixture.of_component, weights=gaussians.weights)
        self.inverse = np.linalg.inv(noise.covariance)
        # By the number of tokens, how much they are worth, and how far their mean may be from a component's.
        self.worth = np.maximum(np.arange(longest + 1), 1) / noise.together
        self.within = axes * np.log(self.worth) - float(np.linalg.slogdet(noise.covariance)[1])
        spread = gaussians.covariances[:, None] + noise.covariance / self.worth[:, None, None]
        self.apart = np.linalg.inv(spread)
        self.log_spread = np.linalg.slogdet(spread)[1]
        self.log_outside = float(np.log(gaussians.noise) + gaussians.log_uniform + axes * np.log(2 * np.pi) / 2)

    def of(self, counts: Ints, sums: Floats) -> Floats:
        """For runs of so many tokens [...] with these sums [..., axes]: [..., regions + 1], the last for a mean that is
        in none of them.

        What is the same for every cutting of a turn is left out.
        """
        means = sums / counts[..., None]
        within = self.within[counts] - self.worth[counts] * ((means @ self.inverse) * means).sum(axis=-1)
        logs = np.full((*counts.shape, len(self.weights) + 1), -np.inf)
        logs[..., -1] = self.log_outside
        for component, region in enumerate(self.mixture.of_component):
            away = means - self.mixture.gaussians.means[component]
            squares = ((self.apart[component][counts] @ away[..., None])[..., 0] * away).sum(axis=-1)
            log = np.log(self.mixture.gaussians.weights[component] / self.weights[region])
            log = log - 0.5 * (squares + self.log_spread[component][counts])
            logs[..., region] = np.logaddexp(logs[..., region], log)
        found: Floats = within[..., None] - 2 * logs
        return found

    def region(self, tokens: Floats) -> int:
        """The likeliest region of a run."""
        return int(self.of(np.array([len(tokens)]), tokens.sum(axis=0)[None])[0, :-1].argmin())

    def chances(self, tokens: Floats) -> Floats:
        """How probable each region of a run is, and last none, before any run: as its share of the turns."""
        costs = self.of(np.array([len(tokens)]), tokens.sum(axis=0)[None])[0]
        logs = np.append(np.log(self.weights), 0.0) - 0.5 * costs
        shares: Floats = np.exp(logs - np.logaddexp.reduce(logs))
        return shares


def _partition(tokens: Floats, edges: Ints, costs: _Costs, shortest: int) -> list[int]:
    """The places in `edges` at which the likeliest cutting starts a run, and the end.

    A run that is in no region, such as one of unlike first tokens, goes with the one before it, or is first and goes
    with the one behind it.
    """
    sums = np.vstack([np.zeros(tokens.shape[1]), np.cumsum(tokens, axis=0)])[edges]
    pieces, regions = len(edges) - 1, len(costs.mixture.regions) + 1
    # What a cut has to be worth: its place and the other region are free (BIC).
    worth = len(tokens) / costs.noise.together
    penalty = 2 * np.log(max(worth, 2.0)) + 2 * np.log(regions)
    best = np.full((pieces + 1, regions), np.inf)
    back = np.zeros((pieces + 1, regions, 2), np.int64)
    for end in range(shortest, pieces + 1):
        starts = np.append(0, np.arange(shortest, end - shortest + 1)) if end >= 2 * shortest else np.array([0])
        runs_of = costs.of(edges[end] - edges[starts], sums[end] - sums[starts])
        for region in range(regions):
            others = best[starts].copy()
            others[:, region] = np.inf
            before = others.argmin(axis=1)
            paid = others[np.arange(len(starts)), before] + penalty
            paid[starts == 0] = 0.0
            total = paid + runs_of[:, region]
            chosen = int(total.argmin())
            best[end, region], back[end, region] = total[chosen], (starts[chosen], before[chosen])
    found: list[tuple[int, int]] = []
    place, region = pieces, int(best[pieces].argmin())
    while place > 0:
        start, before = (int(each) for each in back[place, region])
        found.append((start, region))
        place, region = start, before
    within = [(start, region) for start, region in found[::-1] if region < regions - 1]
    return [0, *(start for start, _ in within[1:]), pieces]


def _by_chance(
    tokens: Floats, edges: Ints, cuts: list[int], at: int, costs: _Costs, shortest: int, dice: np.random.Generator
) -> float:
    """How often the pieces on both sides of a cut, in any order, can be cut as well as they are here."""
    start, end = cuts[at - 1], cuts[at + 1]
    sizes = np.diff(edges[start : end + 1])
    sums = np.add.reduceat(tokens[edges[start] : edges[end]], edges[start:end] - edges[start], axis=0)
    here = _gains(sizes[None], sums[None], costs, shortest)[0]
    order = dice.permuted(np.tile(np.arange(len(sizes)), (_ORDERS, 1)), axis=1)
    gains = _gains(sizes[order], sums[order], costs, shortest)
    return float(((gains >= here - 1e-9).sum() + 1) / (_ORDERS + 1))


def _gains(sizes: Ints, sums: Floats, costs: _Costs, shortest: int) -> Floats:
    """For each order of pieces, by how much the best cut between two regions is better than none."""
    counts, totals = np.cumsum(sizes, axis=1), np.cumsum(sums, axis=1)
    left = costs.of(counts[:, shortest - 1 : -shortest], totals[:, shortest - 1 : -shortest])
    rest = counts[:, -1:] - counts[:, shortest - 1 : -shortest]
    right = costs.of(rest, totals[:, -1:] - totals[:, shortest - 1 : -shortest])
    # Into a region from another: what is in none has not changed its persona.
    pairs = left[..., :-1, None] + right[..., None, :-1]
    pairs[..., np.arange(pairs.shape[-1]), np.arange(pairs.shape[-1])] = np.inf
    whole = costs.of(counts[:, -1], totals[:, -1])[..., :-1].min(axis=-1)
    found: Floats = whole - pairs.min(axis=(1, 2, 3))
    return found
