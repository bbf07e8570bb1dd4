"""Hypothesis 1 within a region (§3.1, §3.3): is a region a gate, so that what is said hangs on being in it?

Answers to unrelated questions, under no steering and under steering of several strengths, are looked at by where their
own text lies in persona space: inside the region or outside it. If the region gates a repertoire, the answers inside
speak as its persona whatever the question, and those outside do not, however far they were steered. Place and persona
are read from the same text, so any dial shows that difference. A gate is a step: the region's edge has to tell what is
said to other questions better than a slope does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mechanism.hypotheses.answers import questions_of
from mechanism.hypotheses.bench import Bench
from mechanism.hypotheses.gateway import start_for
from mechanism.hypotheses.verdicts import all_hold
from mechanism.outcome import Cell, Estimate, Finding, Part, Plot, Series, Table
from mechanism.statistics import bootstrap, mean
from mechanism.steering import Steering

SOURCE = "§3.1 and §3.3"

_EACH = 2
_BINS = 6
_LEAST = 8
_FOLDS = 5
_SURE = 0.02
"""No answer is given less chance than this, so that one that is far off does not decide."""


def gated(bench: Bench, axes: Sequence[str]) -> Part:
    """For each axis that has a region of its name: what is said inside and outside of the region, question by question.

    Coordinates are read without any steering, from the text alone. The same questions are asked at every strength.
    """
    parts = []
    for number, axis in enumerate(axes):
        bench.progress("Answers inside and outside of regions", number, len(axes))
        if axis in bench.space.regions:
            parts.append(_of_axis(bench, axis))
    bench.progress("Answers inside and outside of regions", len(axes), len(axes))
    if not parts:
        told = "Whether a region is a gate was not tried: none has the name of an axis that can be steered along."
        return Part((Finding("gate", told, source=SOURCE),))
    return Part.joined(parts)


def _of_axis(bench: Bench, axis: str) -> Part:
    questions, _ = questions_of(bench)
    opening = start_for(bench, axis)[1]
    asked = [(number, question) for number, question in enumerate(questions) for _ in range(_EACH)]
    chats, of, doses = [], [], []
    vector = bench.space.vector(axis)
    begun = [[*opening, {"role": "user", "content": question}] for _, question in asked]
    for dose in (0.0, *bench.size.doses):
        steering = Steering(vector, dose, [bench.space.layer], relative=True) if dose else None
        answers = bench.answers(begun, steering)
        chats += [[*chat, {"role": "assistant", "content": said}] for chat, said in zip(begun, answers, strict=True)]
        of += [number for number, _ in asked]
        doses += [dose] * len(asked)
    points = bench.points(torch.stack([each[-1] for each in bench.means(chats)]))
    inside = np.array([region == axis for region in bench.regions(points)])
    exchanges = [(chat[-2]["content"], chat[-1]["content"]) for chat in chats]
    judged = bench.judged(axis, exchanges)
    shows = np.array([np.nan if (said := each.shows(axis)) is None else float(said) for each in judged])
    whole = np.array([each.coherent is not False for each in judged])
    known = np.isfinite(shows) & np.isfinite(points).all(axis=1) & whole
    name = f"gate: {axis}"
    if (known & inside).sum() < _LEAST or (known & ~inside).sum() < _LEAST:
        side = "inside" if (known & inside).sum() < _LEAST else "outside"
        told = (
            f"Too few whole answers were {side} the region {axis} (fewer than {_LEAST}) to tell whether it is a gate."
        )
        return Part((Finding(name, told, source=SOURCE),))
    rows = np.stack([shows, inside.astype(float)], axis=1)[known]
    groups = np.array(of)[known]

    def contrast(each: NDArray[Any]) -> float:
        there = each[:, 1] > 0
        if there.all() or not there.any():
            return float("nan")
        return float(each[there, 0].mean() - each[~there, 0].mean())

    difference = bootstrap(contrast, rows, groups=groups.tolist(), seed=bench.seed)
    within, without = (
        mean(shows[here], groups=np.array(of)[here].tolist(), seed=bench.seed)
        for here in (known & inside, known & ~inside)
    )
    gain = step_over_slope(points[known], inside[known], shows[known], groups, bench.seed)
    passed = all_hold([difference.above(0), gain.above(0), within.above(0.5), without.below(0.5)])
    steered = known & ~inside & (np.array(doses) > 0)
    short = (
        f" Of those that were steered and did not get there, {shows[steered].mean():.0%} do." if steered.any() else ""
    )
    told = (
        f"Inside the region {axis} {within.value:.0%} of whole answers to unrelated questions speak as {axis}, outside "
        f"{without.value:.0%}.{short} {_shape(gain)}"
    )
    table_rows: list[tuple[Cell | Estimate, ...]] = []
    for number, question in enumerate(questions):
        here = known & (np.array(of) == number)
        table_rows.append((question, *(_share(shows[here & there]) for there in (inside, ~inside)), int(here.sum())))
    columns = ("question", "inside the region", "outside", "whole answers")
    table = Table(f"Whole answers that speak as {axis}, inside and outside of its region", columns, table_rows)
    step = Finding(
        f"step: {axis}",
        f"What answers to other questions speak as is told by the region {axis} with {gain.value:+.3f} less log loss "
        "than by a slope over the space (negative: more).",
        gain,
        "a logistic slope",
        passed=gain.above(0),
        source=SOURCE,
    )
    return Part(
        (Finding(name, told, difference, "no difference between inside and outside", None, passed, SOURCE), step),
        (table,),
        (_plot(axis, points[known, bench.space.axes.index(axis)], shows[known], inside[known]),),
    )


def step_over_slope(
    points: NDArray[Any], inside: NDArray[np.bool_], shows: NDArray[Any], groups: NDArray[Any], seed: int
) -> Estimate:
    """How much better a step at a region's edge tells what is said than a logistic slope over all axes: the difference
    of their log losses on questions (`groups`) that neither was fitted to. `shows`: 1 in the persona, else 0.
    """
    folds = min(_FOLDS, len(np.unique(groups)))
    if folds < 2:
        return Estimate(float("nan"), n=len(shows), how="one question")
    losses = np.empty((2, len(shows)))
    for train, test in GroupKFold(folds).split(points, shows, groups):
        kept = [shows[train][inside[train] == side] for side in (False, True)]
        rates = np.array([(each.sum() + 0.5) / (len(each) + 1) for each in kept])
        slope = np.full(len(test), rates[0])
        if 0 < shows[train].mean() < 1:
            fitted = make_pipeline(StandardScaler(), LogisticRegression(C=100, max_iter=2000))
            slope = fitted.fit(points[train], shows[train]).predict_proba(points[test])[:, 1]
        for row, chances in enumerate((rates[inside[test].astype(int)], slope)):
            right = np.clip(np.where(shows[test] > 0, chances, 1 - chances), _SURE, 1 - _SURE)
            losses[row, test] = -np.log(right)
    return mean(losses[1] - losses[0], groups=groups.tolist(), seed=seed)


def _shape(gain: Estimate) -> str:
    surely = gain.above(0)
    if surely is None:
        return "Whether it changes at the region's edge or by degrees could not be told."
    if surely:
        return "It changes at the region's edge rather than by degrees."
    return "It changes by degrees, or elsewhere than at the region's edge."


def _plot(axis: str, along: NDArray[Any], shows: NDArray[Any], inside: NDArray[Any]) -> Plot:
    """What is said by the coordinate: a gate shows as a step, a dial as a slope."""
    edges = np.quantile(along, np.linspace(0, 1, _BINS + 1))
    place = np.clip(np.searchsorted(edges, along, side="right") - 1, 0, _BINS - 1)
    filled = [number for number in range(_BINS) if (place == number).any()]
    middles = [float(along[place == number].mean()) for number in filled]
    return Plot(
        f"gate-{axis}",
        f"What is said, by where it lies along {axis}",
        "lines",
        f"coordinate on {axis}",
        "share of whole answers",
        (
            Series(f"speak as {axis}", middles, [float(shows[place == number].mean()) for number in filled]),
            Series(f"lie in the region {axis}", middles, [float(inside[place == number].mean()) for number in filled]),
        ),
        "Answers to unrelated questions, not steered and steered by several strengths, in groups of like size.",
    )


def _share(values: NDArray[Any]) -> float | None:
    return float(values.mean()) if len(values) else None
