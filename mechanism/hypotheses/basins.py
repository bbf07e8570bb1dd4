"""Hypothesis 3, the part that needs the model (§3.3): are regions of persona space basins?

*Privileged*: conversations that begin in many ways end up in the region. *Sticky*: a reply in it is followed by another
one, though nobody presses. Each is held against what would be seen if regions were no more than lines on a map.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mechanism.hypotheses.bench import Bench
from mechanism.hypotheses.courses import Course
from mechanism.outcome import Cell, Estimate, Finding, Part, Plot, Series, Table
from mechanism.statistics import RESAMPLES, mean, share

SOURCE = "§3.3, Hypothesis 3"

REACHED = 0.25
"""A start leads to a region where this share of its conversations ends there."""
LEAST_STARTS = 3
LEAST_KINDS = 2
"""A region is privileged where so many starts, of so many kinds, lead to it."""
LEAST_STAY = 0.5
"""A region is sticky where the share that stays is surely above this (the lower end of its interval)."""
ALPHA = 0.05
LEAST_PAIRS = 8
"""Fewer replies than this in a region, with one after them, say nothing."""

_DRAWS = 4000


def privileged(bench: Bench, courses: Sequence[Course]) -> tuple[Part, dict[str, bool]]:
    """Which regions are reached from many starts; by region whether it is privileged.

    Held against a continuum: points drawn from one normal distribution with the mean and covariance of the last
    replies, and how many of them the same regions would hold.
    """
    starts = list(dict.fromkeys(course.start for course in courses))
    ends = {
        start: [course.regions[-1] if course.regions else None for course in courses if course.start == start]
        for start in starts
    }
    regions = list(bench.space.regions)
    held: dict[str, bool] = {}
    findings = []
    for region in regions:
        leading = [start for start in starts if ends[start].count(region) >= REACHED * len(ends[start])]
        kinds = list(dict.fromkeys(start.kind for start in leading))
        held[region] = len(leading) >= LEAST_STARTS and len(kinds) >= LEAST_KINDS
        some = f" ({', '.join(start.name for start in leading[:4])}{', …' if len(leading) > 4 else ''})"
        findings.append(
            Finding(
                f"privileged: {region}",
                f"The region {region} is reached from {len(leading)} of {len(starts)} starts, of {len(kinds)} kinds"
                f"{some if leading else ''}.",
                Estimate(float(len(leading)), n=len(starts), how="starts"),
                f"asked: {LEAST_STARTS} starts of {LEAST_KINDS} kinds",
                passed=held[region],
                source=SOURCE,
            )
        )
    last = np.array([course.points[-1] for course in courses if len(course.points)])
    inside = sum(end is not None for each in ends.values() for end in each)
    captured = share(inside, sum(map(len, ends.values())))
    drawn = _continuum(bench, last)
    findings.append(
        Finding(
            "in a region",
            f"Of the last replies {captured.value:.0%} are in a region; of points drawn from one normal distribution "
            f"of the same mean and spread the regions would hold {drawn:.0%}.",
            captured,
            "one normal distribution",
            source=SOURCE,
        )
    )
    columns = ("start", *regions, "in no region", "conversations")
    rows: list[tuple[Cell, ...]] = [
        (
            start.name,
            *(ends[start].count(region) / len(ends[start]) for region in regions),
            ends[start].count(None) / len(ends[start]),
            len(ends[start]),
        )
        for start in starts
    ]
    table = Table("Where conversations end, by how they began (shares)", columns, rows)
    return Part((*findings, *_drawn_in(courses)), (table,), (_ends_plot(bench, courses),)), held


def sticky(bench: Bench, courses: Sequence[Course]) -> tuple[Part, dict[str, bool]]:
    """How often a reply in a region is followed by another one in it; by region whether it is sticky.

    Only replies without pressure count, in conversations without a system prompt that would go on calling for the
    persona. Held against replies that owe nothing to the one before: the following replies are shuffled.
    """
    without = [course for course in courses if not course.prompted]
    pairs = _pairs(without)
    with_prompt = _pairs([course for course in courses if course.prompted])
    held: dict[str, bool] = {}
    findings, rows = [], []
    for number, region in enumerate(bench.space.regions):
        stay, p = _stays(pairs, region, bench.seed + number)
        if stay is None:
            held[region] = False
            told = (
                f"The region {region} was reached by too few replies to tell whether it is sticky (fewer than "
                f"{LEAST_PAIRS} with another after them)."
            )
            findings.append(Finding(f"sticky: {region}", told, source=SOURCE))
            continue
        base = sum(after == region for _, _, after in pairs) / len(pairs)
        held[region] = bool(stay.low is not None and stay.low > LEAST_STAY and p <= ALPHA)
        entered = [after == region for _, before, after in pairs if before != region]
        back = _came_back(without, region)
        told = (
            f"Without pressure {stay.value:.0%} of replies in the region {region} are followed by another in it: "
            f"{1 - stay.value:.0%} escape in a turn. If replies owed nothing to the one before, {base:.0%} would be."
        )
        findings.append(
            Finding(f"sticky: {region}", told, stay, "the following replies shuffled", p, held[region], SOURCE)
        )
        prompted, _ = _stays(with_prompt, region, bench.seed)
        rows.append(
            (
                region, stay, 1 - stay.value, base, p,
                share(sum(entered), len(entered)) if entered else None,
                back, prompted,
            )
        )  # fmt: skip
    table = Table(
        "Staying, leaving and coming back without pressure (shares of replies, a turn each)",
        (
            "region", "stays", "escapes", "stays if shuffled", "p", "enters from outside", "back by the end once left",
            "stays, with a system prompt",
        ),
        rows,
    )  # fmt: skip
    return Part(tuple(findings), (table,) if rows else (), (_stay_plot(bench, without),)), held


def _pairs(courses: Sequence[Course]) -> list[tuple[int, str | None, str | None]]:
    """Conversation, region, and region of the reply after it; among replies without pressure."""
    return [
        (number, before, after)
        for number, course in enumerate(courses)
        for before, after in itertools.pairwise(course.free)
    ]


def _stays(
    pairs: Sequence[tuple[int, str | None, str | None]], region: str, seed: int
) -> tuple[Estimate | None, float]:
    stayed = np.array([after == region for _, before, after in pairs if before == region], float)
    if len(stayed) < LEAST_PAIRS:
        return None, 1.0
    groups = [number for number, before, _ in pairs if before == region]
    following = np.array([after == region for _, _, after in pairs])
    here = np.array([before == region for _, before, _ in pairs])
    dice = np.random.default_rng(seed)
    shuffled = np.array([dice.permutation(following)[here].mean() for _ in range(RESAMPLES)])
    p = float((1 + (shuffled >= stayed.mean() - 1e-12).sum()) / (1 + RESAMPLES))
    return mean(stayed, groups=groups, seed=seed), p


def _came_back(courses: Sequence[Course], region: str) -> Estimate | None:
    """Of the conversations that left a region without pressure, how many were in it again in the end."""
    back = []
    for course in courses:
        free = course.free
        if any(before == region and after != region for before, after in itertools.pairwise(free)):
            back.append(free[-1] == region)
    return share(sum(back), len(back)) if back else None


def _drawn_in(courses: Sequence[Course]) -> tuple[Finding, ...]:
    """Whether replies that were steered astray are nearer to the middle of a region some turns later."""
    points, regions = _free_points(courses)
    names = [name for name in dict.fromkeys(regions) if name is not None and regions.count(name) >= LEAST_PAIRS]
    if len(names) < 2:
        return ()
    of = {name: points[[each == name for each in regions]] for name in names}
    centres = np.stack([of[name].mean(axis=0) for name in names])
    spread = np.sqrt(np.mean([of[name].var(axis=0) for name in names], axis=0)) + 1e-9

    def away(point: NDArray[np.float64]) -> float:
        return float(np.sqrt((((point - centres) / spread) ** 2).mean(axis=1)).min())

    pairs = [
        (away(course.points[0]), away(course.points[-1]))
        for course in courses
        if course.start.kind == "steering" and np.isfinite(course.points[[0, -1]]).all()
    ]
    if len(pairs) < 2:
        return ()
    first, last = np.array(pairs).T
    moved = mean(last - first)
    return (
        Finding(
            "drawn in",
            f"Replies that were steered astray are {first.mean():.1f} spreads of a region away from the nearest "
            f"middle; at the end of the conversation, unsteered, replies are {last.mean():.1f} away.",
            moved,
            "no change",
            source=SOURCE,
        ),
    )


def _free_points(courses: Sequence[Course]) -> tuple[NDArray[np.float64], list[str | None]]:
    points, regions = [], []
    for course in courses:
        for point, region in zip(course.points[course.pushed :], course.free, strict=True):
            if np.isfinite(point).all():
                points.append(point)
                regions.append(region)
    return np.array(points), regions


def free_points(courses: Sequence[Course]) -> tuple[NDArray[np.float64], list[int]]:
    """Coordinates [n, axes] of all replies without pressure, and the conversation of each."""
    points = [course.points[course.pushed :] for course in courses]
    groups = [number for number, each in enumerate(points) for _ in each]
    joined = np.concatenate(points)
    known = np.asarray(np.isfinite(joined).all(axis=1))
    return joined[known], [group for group, keep in zip(groups, known.tolist(), strict=True) if keep]


def _continuum(bench: Bench, points: NDArray[np.float64]) -> float:
    points = points[np.isfinite(points).all(axis=1)]
    if len(points) < 2:
        return float("nan")
    dice = np.random.default_rng(bench.seed)
    covariance = np.atleast_2d(np.cov(points, rowvar=False))
    drawn = dice.multivariate_normal(points.mean(axis=0), covariance, _DRAWS)
    return float(np.mean([region is not None for region in bench.regions(drawn)]))


def _ends_plot(bench: Bench, courses: Sequence[Course]) -> Plot:
    axes = bench.space.axes
    # The two on which the last replies differ most.
    last = np.array([course.points[-1] for course in courses])
    spread = np.nan_to_num(np.nanstd(last, axis=0))
    across, up = (int(each) for each in np.argsort(-spread)[:2]) if len(axes) > 1 else (0, 0)
    kinds = list(dict.fromkeys(course.start.kind for course in courses))
    series = [
        Series(kind, last[rows, across].tolist(), last[rows, up].tolist())
        for kind in kinds
        if (rows := [number for number, course in enumerate(courses) if course.start.kind == kind])
    ]
    return Plot(
        "ends",
        "Where conversations end, by how they began",
        "scatter",
        f"coordinate on {axes[across]}",
        f"coordinate on {axes[up]}",
        series,
        "The last reply of each conversation. Basins show as clumps that hold starts of several kinds.",
    )


def _stay_plot(bench: Bench, courses: Sequence[Course]) -> Plot:
    """How many of those that were in a region in their first free reply are in it later."""
    turns = list(range(1, max((len(course.free) for course in courses), default=1) + 1))
    series = []
    for region in bench.space.regions:
        began = [course.free for course in courses if course.free[:1] == [region]]
        if began:
            series.append(
                Series(
                    f"began in {region} ({len(began)})",
                    turns,
                    [
                        float(np.mean([free[turn - 1] == region for free in began if len(free) >= turn]))
                        for turn in turns
                    ],
                )
            )
    return Plot(
        "staying",
        "Staying in a region without pressure",
        "lines",
        "exchange without pressure",
        "share in the region they began in",
        series or [Series("no conversation began in a region", turns, [0.0] * len(turns))],
        "Conversations without a system prompt.",
    )
