"""How probable each count is, where turns say how probable their regions are.

The region of each such turn is taken to be drawn from its own probabilities, independently of all other turns: nothing
in a trace says how they depend on one another. Where the count of a view factorises it is computed exactly; elsewhere
it is estimated by drawing, with a seed and a standard error.

Exact: pooled persona views (each model by itself: which regions are entered by any turn at all), and linked persona
views on traces that do not branch (each conversation by itself, stage by stage). Drawn: where stages that have
probabilities are in conversations that branch, where `outside` is `last`, and for views that declare nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rules.bars import Judge
from rules.branching import branched
from rules.carrying import carried_links, followed
from rules.declaration import Declaration
from rules.linked import is_intermittent
from rules.readings import Readings
from rules.view import View
from traces.forest import roots
from traces.stages import StageTable

MOST_REGIONS = 12
"""Regions beyond which sets of them are too many to go through one by one."""

_SMALLEST = 1e-15
_NOTHING = 1e-18
"""Less than what a count's probability is told to, however many of them are added up."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Distribution:
    """The probability of each count. `method`: "exact", or "drawn" with `draws` from `seed`.

    `error` is the largest standard error of a probability, 0 where exact; `turns`: how many turns are uncertain.
    """

    probability: Mapping[int, float]
    method: str
    turns: int
    draws: int = 0
    seed: int | None = None
    error: float = 0.0

    @property
    def mean(self) -> float:
        """The expected count."""
        return sum(count * chance for count, chance in self.probability.items())

    @property
    def standard_deviation(self) -> float:
        """The spread of the count around its mean."""
        return math.sqrt(max(0.0, sum((c - self.mean) ** 2 * p for c, p in self.probability.items())))

    def interval(self, share: float = 0.9) -> tuple[int, int]:
        """The least interval of counts, from quantile to quantile, that holds at least a share of the probability.

        >>> Distribution({1: 0.04, 2: 0.9, 3: 0.06}, "exact", 2).interval()
        (2, 3)
        """
        tail, total = (1 - share) / 2, 0.0
        low = high = None
        for count in sorted(self.probability):
            total += self.probability[count]
            if low is None and total > tail:
                low = count
            if high is None and total >= 1 - tail - 1e-12:
                high = count
        most = max(self.probability)
        return (most if low is None else low, most if high is None else high)


def distribution(
    view: View, stages: StageTable, readings: Readings, draws: int = 10_000, seed: int = 0
) -> Distribution | None:
    """The distribution of a persona view's count, or None where no turn says how probable its regions are.

    >>> from rules.registry import VIEWS
    >>> from traces.file import facts_from_data
    >>> said = {"role": "assistant", "region_probabilities": {"calm": 0.5, "evil": 0.5}}
    >>> world = {"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": [
    ...     {**said, "model": "m"}, said]}}}
    >>> stages = StageTable.of(facts_from_data(world))
    >>> found = distribution(VIEWS["instance-persona"], stages, VIEWS["instance-persona"].settled({}))
    >>> found.probability, found.method
    ({1: 0.5, 2: 0.5}, 'exact')
    """
    if not view.is_persona_view or not len(stages.chance_stage):
        return None
    settled = view.settled(readings)
    turns = len(np.unique(stages.chance_stage))
    exact = _exact(view, stages, settled)
    if exact is not None:
        return Distribution(exact.tidy(), "exact", turns)
    return _drawn(view, stages, readings, draws, seed, turns)


@dataclass(frozen=True, eq=False)
class _Counts:
    """The probability of each count from `least` on."""

    least: int
    chance: Floats

    @classmethod
    def of(cls, chance: Floats, least: int = 0) -> _Counts:
        """Without what has no probability at either end."""
        some = np.flatnonzero(chance > _NOTHING)
        if not len(some):
            return cls(least, chance)
        return cls(least + int(some[0]), chance[some[0] : some[-1] + 1])

    def plus(self, other: _Counts) -> _Counts:
        """Those of the sum of two counts that do not hang on one another."""
        return _Counts.of(np.convolve(self.chance, other.chance), self.least + other.least)

    def tidy(self) -> dict[int, float]:
        """Counts that are told, with what they are told to."""
        kept = np.flatnonzero(self.chance > _SMALLEST)
        told = np.round(self.chance[kept] / self.chance.sum(), 12)
        return dict(zip((kept + self.least).tolist(), told.tolist(), strict=True))


_NONE = _Counts(0, np.ones(1))


def _sum(counts: list[_Counts]) -> _Counts:
    """Pairs of about the same size are added first."""
    while len(counts) > 1:
        left = [counts[-1]] if len(counts) % 2 else []
        counts = [one.plus(other) for one, other in zip(counts[::2], counts[1::2], strict=False)] + left
    return counts[0] if counts else _NONE


def outcomes(stages: StageTable) -> dict[int, dict[int, float]]:
    """For each uncertain stage the probability of each region code, -1 for none."""
    found: dict[int, dict[int, float]] = {}
    rows = zip(stages.chance_stage.tolist(), stages.chance_region.tolist(), stages.chance_value.tolist(), strict=True)
    for stage, region, chance in rows:
        of_stage = found.setdefault(stage, {})
        of_stage[region] = of_stage.get(region, 0.0) + chance
    for of_stage in found.values():
        rest = 1 - sum(of_stage.values())
        if rest > 1e-9:
            of_stage[-1] = of_stage.get(-1, 0.0) + rest
    return found


def _exact(view: View, stages: StageTable, readings: Readings) -> _Counts | None:
    declaration = view.declaration
    if declaration is None or readings["outside"] == "last" or len(stages.regions.names) > MOST_REGIONS:
        return None
    if declaration.known != ("region",):
        return None
    if declaration.uninstantiated:
        # How many regions there are does not hang on which are entered.
        return _Counts(int(view.rule(stages, readings).count or 0), np.ones(1))
    if not declaration.linked:
        plain = "region" in declaration.pool and set(declaration.pool) <= {"model", "region"}
        return _of_pools(stages, declaration, readings) if plain else None
    plain = declaration.agree == ("region",) and declaration.follow == "own" and "shared" not in declaration.carry
    if not plain or stages.branches:
        return None
    return _of_chains(stages, declaration, readings)


def _sets(assistants: list[dict[int, float]], regions: int) -> _Counts:
    """How many different regions a group of assistant stages enters: over sets of regions (bits), stage by stage."""
    sets = np.zeros(1 << regions)
    sets[0] = 1.0
    for of_stage in assistants:
        after = sets * of_stage.get(-1, 0.0)
        for region, q in of_stage.items():
            if region >= 0 and q > 0:
                by_bit = (-1, 2, 1 << region)
                after.reshape(by_bit)[:, 1] += q * sets.reshape(by_bit).sum(axis=1)
        sets = after
    sizes = [number.bit_count() for number in range(1 << regions)]
    return _Counts.of(np.bincount(sizes, sets, minlength=regions + 1).astype(np.float64))


def _grouped(stages: StageTable, group: NDArray[np.int64]) -> _Counts:
    """The number of (group, region) pairs entered. A stage that is not the assistant's is never alone in its region:
    its region is that of an assistant stage of the same model.
    """
    uncertain = outcomes(stages)
    members: dict[int, list[dict[int, float]]] = {}
    for stage in np.flatnonzero(stages.assistant).tolist():
        members.setdefault(int(group[stage]), []).append(uncertain.get(stage, {int(stages.region[stage]): 1.0}))
    regions = len(stages.regions.names)
    return _sum([_sets(of_group, regions) for of_group in members.values()])


def _of_pools(stages: StageTable, declaration: Declaration, readings: Readings) -> _Counts:
    by_model = "model" in declaration.pool
    model = stages.base_model[0] if readings["weights"] == "base" else stages.model
    return _grouped(stages, model.astype(np.int64) if by_model else np.zeros(len(stages), np.int64))


def _of_chains(stages: StageTable, declaration: Declaration, readings: Readings) -> _Counts | None:
    parent = carried_links(stages, declaration, readings)
    carried = branched(stages, parent, followed(stages, declaration)[1], readings["branching"])
    if readings["recurrence"] == "same":
        # A stage's region may come from an assistant stage across a link that does not carry.
        return _grouped(stages, roots(carried)) if bool((carried == stages.own).all()) else None
    judge = Judge(stages, declaration, readings)
    uncertain = outcomes(stages)
    intermittent = is_intermittent(declaration, readings)
    # Along a chain of own links the stages come one after the other, and each takes its region from an assistant stage
    # (its source) that is not before the source of the stage before it.
    found: list[_Counts] = []
    top = roots(stages.own)
    order = np.argsort(top, kind="stable")
    for chain in np.split(order, np.flatnonzero(np.diff(top[order])) + 1):
        rows = [row for row in chain.tolist() if not intermittent or bool(stages.assistant[row])]
        found.append(_of_chain(stages, judge, uncertain, carried, rows))
    return _sum(found)


def _of_chain(
    stages: StageTable,
    judge: Judge,
    uncertain: Mapping[int, Mapping[int, float]],
    carried: NDArray[np.int64],
    rows: list[int],
) -> _Counts:
    # How probable each region (the last row: none) is together with each count.
    state = np.zeros((len(stages.regions.names) + 1, 1))
    state[-1, 0] = 1.0
    source_before: int | None = None
    for number, row in enumerate(rows):
        source = row if bool(stages.assistant[row]) else next(iter(judge.region(row).found_at), None)
        joined = number > 0 and _joined(carried, rows[number - 1], row)
        # The same source again is the same draw again.
        again = source == source_before
        if again and joined:
            continue
        grown = np.pad(state, ((0, 0), (0, 1)))
        after = np.zeros_like(grown)
        if again:
            after[:-1, 1:] = state[:-1]
            after[-1] = grown[-1]
        else:
            certain = {-1 if source is None else int(stages.region[source]): 1.0}
            total = state.sum(axis=0)
            for now, q in (certain if source is None else uncertain.get(source, certain)).items():
                if now < 0:
                    after[-1, :-1] += q * total
                else:
                    goes_on = state[now] if joined else np.zeros_like(total)
                    after[now, :-1] += q * goes_on
                    after[now, 1:] += q * (total - goes_on)
        state, source_before = (after if after[:, -1].any() else after[:, :-1]), source
    return _Counts.of(state.sum(axis=0))


def _joined(carried: NDArray[np.int64], above: int, row: int) -> bool:
    """Whether carried links lead from one stage of a chain up to another."""
    while row > above:
        row = int(carried[row])
    return row == above


def _drawn(view: View, stages: StageTable, readings: Readings, draws: int, seed: int, turns: int) -> Distribution:
    generator = np.random.default_rng(seed)
    picks = {}
    for stage, of_stage in outcomes(stages).items():
        chances = np.array(list(of_stage.values()))
        picks[stage] = generator.choice(list(of_stage), size=draws, p=chances / chances.sum())
    counted: dict[tuple[int, ...], int] = {}
    tally: dict[int, int] = {}
    rows = np.array(list(picks), np.int64)
    for draw in np.stack(list(picks.values()), axis=1).tolist():
        key = tuple(draw)
        if key not in counted:
            region = stages.region.copy()
            region[rows] = draw
            counted[key] = view.rule(replace(stages, region=region), readings).count or 0
        tally[counted[key]] = tally.get(counted[key], 0) + 1
    probability = {count: number / draws for count, number in sorted(tally.items())}
    error = max(math.sqrt(p * (1 - p) / draws) for p in probability.values())
    return Distribution(probability, "drawn", turns, draws, seed, error)
