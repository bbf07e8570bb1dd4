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

Counts = dict[int, float]


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
        return Distribution(_tidy(exact), "exact", turns)
    return _drawn(view, stages, readings, draws, seed, turns)


def _tidy(counts: Counts) -> Counts:
    total = sum(counts.values())
    kept = {count: chance / total for count, chance in sorted(counts.items()) if chance > _SMALLEST}
    return {count: float(np.round(chance, 12)) for count, chance in kept.items()}


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


def _exact(view: View, stages: StageTable, readings: Readings) -> Counts | None:
    declaration = view.declaration
    if declaration is None or readings["outside"] == "last" or len(stages.regions.names) > MOST_REGIONS:
        return None
    if declaration.known != ("region",):
        return None
    if declaration.uninstantiated:
        # How many regions there are does not hang on which are entered.
        return {int(view.rule(stages, readings).count or 0): 1.0}
    if not declaration.linked:
        plain = "region" in declaration.pool and set(declaration.pool) <= {"model", "region"}
        return _of_pools(stages, declaration, readings) if plain else None
    plain = declaration.agree == ("region",) and declaration.follow == "own" and "shared" not in declaration.carry
    if not plain or stages.branches:
        return None
    return _of_chains(stages, declaration, readings)


def _convolved(a: Counts, b: Counts) -> Counts:
    found: Counts = {}
    for m, p in a.items():
        for n, q in b.items():
            found[m + n] = found.get(m + n, 0.0) + p * q
    return found


def _sets(assistants: list[dict[int, float]]) -> Counts:
    """How many different regions a group of assistant stages enters: over sets of regions (bits), stage by stage."""
    sets: dict[int, float] = {0: 1.0}
    for of_stage in assistants:
        after: dict[int, float] = {}
        for entered, p in sets.items():
            for region, q in of_stage.items():
                if q > 0:
                    now = entered | (1 << region) if region >= 0 else entered
                    after[now] = after.get(now, 0.0) + p * q
        sets = after
    found: Counts = {}
    for entered, p in sets.items():
        found[entered.bit_count()] = found.get(entered.bit_count(), 0.0) + p
    return found


def _grouped(stages: StageTable, group: NDArray[np.int64]) -> Counts:
    """The number of (group, region) pairs entered. A stage that is not the assistant's is never alone in its region:
    its region is that of an assistant stage of the same model.
    """
    uncertain = outcomes(stages)
    members: dict[int, list[dict[int, float]]] = {}
    for stage in np.flatnonzero(stages.assistant).tolist():
        members.setdefault(int(group[stage]), []).append(uncertain.get(stage, {int(stages.region[stage]): 1.0}))
    found: Counts = {0: 1.0}
    for of_group in members.values():
        found = _convolved(found, _sets(of_group))
    return found


def _of_pools(stages: StageTable, declaration: Declaration, readings: Readings) -> Counts:
    by_model = "model" in declaration.pool
    model = stages.base_model[0] if readings["weights"] == "base" else stages.model
    return _grouped(stages, model.astype(np.int64) if by_model else np.zeros(len(stages), np.int64))


def _of_chains(stages: StageTable, declaration: Declaration, readings: Readings) -> Counts | None:
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
    found: Counts = {0: 1.0}
    top = roots(stages.own)
    order = np.argsort(top, kind="stable")
    for chain in np.split(order, np.flatnonzero(np.diff(top[order])) + 1):
        rows = [row for row in chain.tolist() if not intermittent or bool(stages.assistant[row])]
        found = _convolved(found, _of_chain(stages, judge, uncertain, carried, rows, intermittent))
    return found


def _of_chain(
    stages: StageTable,
    judge: Judge,
    uncertain: Mapping[int, Mapping[int, float]],
    carried: NDArray[np.int64],
    rows: list[int],
    intermittent: bool,
) -> Counts:
    state: dict[tuple[int, int], float] = {(-1, 0): 1.0}
    source_before: int | None = None
    for number, row in enumerate(rows):
        source = row if bool(stages.assistant[row]) else next(iter(judge.region(row).found_at), None)
        joined = number > 0 and _joined(carried, rows[number - 1], row)
        fresh = source != source_before
        certain = {-1 if source is None else int(stages.region[source]): 1.0}
        options = certain if source is None else uncertain.get(source, certain)
        after: dict[tuple[int, int], float] = {}
        for (region, count), p in state.items():
            # The same source again is the same draw again.
            for now, q in options.items() if fresh else [(region, 1.0)]:
                begins = now >= 0 and not (joined and now == region)
                key = (now, count + begins)
                after[key] = after.get(key, 0.0) + p * q
        state, source_before = after, source
    counts: Counts = {}
    for (_, count), p in state.items():
        counts[count] = counts.get(count, 0.0) + p
    return counts


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
