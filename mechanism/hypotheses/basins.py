"""Hypothesis 3, the part that needs the model (§3.3): are regions of persona space basins?

*Privileged*: conversations that begin in many ways end up in the region. *Sticky*: a reply in it is followed by another
one, though nobody presses. Each is held against what would be seen if regions were no more than lines on a map. What
could not be told is None.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom

from mechanism.hypotheses.bench import Bench
from mechanism.hypotheses.courses import Course, Start
from mechanism.hypotheses.verdicts import all_hold
from mechanism.outcome import Cell, Estimate, Finding, Part, Plot, Series, Table
from mechanism.statistics import RESAMPLES, bootstrap, mean, share

SOURCE = "§3.3, Hypothesis 3"

REACHED = 0.25
"""A start leads to a region where this share of its conversations ends there."""
LEAST_STARTS = 3
LEAST_KINDS = 2
"""A region is privileged where so many starts, of so many kinds, lead to it."""
LEAST_STAY = 0.5
"""A region is sticky where the share that stays is surely above this (the lower end of its interval), and is not where
it is surely below (the upper end)."""
ALPHA = 0.05
LEAST_PAIRS = 8
"""Fewer replies than this in a region, with one after them, say nothing."""

_DRAWS = 4000
_CONTINUA, _POINTS_EACH = 400, 250

Verdicts = dict[str, bool | None]
"""By region."""
_Pair = tuple[int, str | None, str | None]


def privileged(bench: Bench, courses: Sequence[Course]) -> tuple[Part, Verdicts]:
    """Which regions are reached from many starts, and by more conversations than one continuum would bring there.

    Not privileged is a region that too few starts lead to, though so many conversations began in each that it would
    have been seen. The continuum is one normal distribution with the mean and covariance of the last replies; it is
    made anew for each resample of whole starts, and its share in the region is taken from the share that ended there.
    """
    starts = list(dict.fromkeys(course.start for course in courses))
    ends = {
        start: [course.regions[-1] if course.regions else None for course in courses if course.start == start]
        for start in starts
    }
    regions = list(bench.space.regions)
    held: Verdicts = {}
    findings, untold = [], []
    for number, region in enumerate(regions):
        leading = [start for start in starts if ends[start].count(region) >= REACHED * len(ends[start])]
        more = _more_than_a_continuum(bench, courses, region, bench.seed + number)
        reached = _reached(starts, ends, region, leading)
        held[region] = False if reached is False else all_hold([reached, more.above(0) or None])
        if held[region] is None:
            untold.append(
                f"{region} ({'too few starts, or conversations from each' if reached is None else _why(more)})"
            )
        some = f" ({', '.join(start.name for start in leading[:4])}{', …' if len(leading) > 4 else ''})"
        inside = sum(each.count(region) for each in ends.values()) / max(len(courses), 1)
        findings.append(
            Finding(
                f"privileged: {region}",
                f"The region {region} is reached from {len(leading)} of {len(starts)} starts, of "
                f"{_kinds(leading)} kinds{some if leading else ''}. {inside:.0%} of conversations end in it; of "
                f"points of one normal distribution of the same mean and spread, {max(inside - more.value, 0):.0%}.",
                more,
                f"one normal distribution; asked, too: {LEAST_STARTS} starts of {LEAST_KINDS} kinds",
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
    findings = [*findings, *_drawn_in(courses)]
    return Part(tuple(findings), (table,), (_ends_plot(bench, courses),), _untold("privileged", untold)), held


def _reached(
    starts: Sequence[Start], ends: dict[Start, list[str | None]], region: str, leading: Sequence[Start]
) -> bool | None:
    """Whether enough starts lead to a region; None where more might, had more conversations begun there."""

    def enough(some: Sequence[Start]) -> bool:
        return len(some) >= LEAST_STARTS and _kinds(some) >= LEAST_KINDS

    might = [
        start for start in starts if share(ends[start].count(region), len(ends[start])).above(REACHED) is not False
    ]
    if enough(leading):
        return True
    return False if enough(starts) and not enough(might) else None


def _kinds(starts: Sequence[Start]) -> int:
    return len({start.kind for start in starts})


def _more_than_a_continuum(bench: Bench, courses: Sequence[Course], region: str, seed: int) -> Estimate:
    """The share of conversations that end in a region, minus that of points of one normal distribution like their ends.

    That it is below shows nothing: of regions that divide the whole space, not all can hold more than a continuum does.
    """
    some = [course for course in courses if len(course.points)]
    inside = np.array([course.regions[-1] == region for course in some], float)
    if not len(some) or not 0 < inside.mean() < 1:
        # Nothing varies, so resampling would show no spread.
        return Estimate(float("nan") if not len(some) else 0.0, n=len(some), how="no interval: all ended alike")
    dice = np.random.default_rng(seed)

    def excess(rows: NDArray[np.float64], draws: int = _POINTS_EACH) -> float:
        drawn = _like(rows[np.isfinite(rows).all(axis=1), 1:], draws, dice)
        held = np.mean([each == region for each in bench.regions(drawn)]) if len(drawn) else np.nan
        return float(rows[:, 0].mean() - held)

    rows = np.column_stack([inside, np.array([course.points[-1] for course in some])])
    groups = [course.start for course in some]
    found = bootstrap(excess, rows, groups=groups, seed=seed, resamples=_CONTINUA)
    return replace(found, value=excess(rows, _DRAWS))


def _why(more: Estimate) -> str:
    if more.low is None:
        return more.how or "no interval"
    return "a continuum might bring as many there"


def _untold(what: str, regions: Sequence[str]) -> tuple[str, ...]:
    return (f"Whether these regions are {what} could not be told: {'; '.join(regions)}.",) if regions else ()


def sticky(bench: Bench, courses: Sequence[Course]) -> tuple[Part, Verdicts]:
    """How often a reply in a region is followed by another one in it; by region whether it is sticky.

    Only replies without pressure count, in conversations without a system prompt that would go on calling for the
    persona. Held against replies that owe nothing to the one before: the following replies are shuffled. Where nearly
    all replies are in the region whatever came before, that shows nothing, and it is not told.
    """
    without = [course for course in courses if not course.prompted]
    pairs = _pairs(without)
    with_prompt = _pairs([course for course in courses if course.prompted])
    held: Verdicts = {}
    findings, rows, untold = [], [], []
    for number, region in enumerate(bench.space.regions):
        stay, p = _stays(pairs, region, bench.seed + number)
        if stay is None:
            held[region] = None
            untold.append(f"{region} (too few replies in it)")
            told = (
                f"The region {region} was reached by too few replies to tell whether it is sticky (fewer than "
                f"{LEAST_PAIRS} with another after them)."
            )
            findings.append(Finding(f"sticky: {region}", told, source=SOURCE))
            continue
        base = sum(after == region for _, _, after in pairs) / len(pairs)
        held[region] = _is_sticky(stay, p)
        if held[region] is None:
            untold.append(f"{region} ({_why_not_told(pairs, region, stay)})")
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
    tables = (table,) if rows else ()
    return Part(tuple(findings), tables, (_stay_plot(bench, without),), _untold("sticky", untold)), held


def _is_sticky(stay: Estimate, p: float) -> bool | None:
    if stay.below(LEAST_STAY):
        return False
    return True if stay.above(LEAST_STAY) and p <= ALPHA else None


def _why_not_told(pairs: Sequence[_Pair], region: str, stay: Estimate) -> str:
    if stay.low is None:
        return "replies in it come from too few conversations"
    if _least_p(pairs, region) > ALPHA:
        return "nearly all replies are in it, so they could not stay more often than if shuffled"
    if not stay.above(LEAST_STAY):
        return f"the interval of the share that stays holds {LEAST_STAY:.0%}"
    return "replies in it do not surely stay more often than if shuffled"


def _least_p(pairs: Sequence[_Pair], region: str) -> float:
    """The least p that shuffling could give: that of as many staying as there are following replies in the region.

    >>> _least_p([(0, "a", "a")] * 99 + [(0, "b", "a")], "a"), _least_p([(0, "a", "a")] * 8 + [(0, "b", "b")] * 8, "a")
    (1.0, 7.77...e-05)
    """
    here = sum(before == region for _, before, _ in pairs)
    after = sum(after == region for _, _, after in pairs)
    return float(hypergeom.sf(min(here, after) - 1, len(pairs), after, here))


def _pairs(courses: Sequence[Course]) -> list[_Pair]:
    """Conversation, region, and region of the reply after it; among replies without pressure."""
    return [
        (number, before, after)
        for number, course in enumerate(courses)
        for before, after in itertools.pairwise(course.free)
    ]


def _stays(pairs: Sequence[_Pair], region: str, seed: int) -> tuple[Estimate | None, float]:
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
    drawn = _like(points[np.isfinite(points).all(axis=1)], _DRAWS, np.random.default_rng(bench.seed))
    return float(np.mean([region is not None for region in bench.regions(drawn)])) if len(drawn) else float("nan")


def _like(points: NDArray[np.float64], draws: int, dice: np.random.Generator) -> NDArray[np.float64]:
    """Points of one normal distribution with the mean and covariance of those given; none for fewer than two."""
    if len(points) < 2:
        return points[:0]
    return dice.multivariate_normal(points.mean(axis=0), np.atleast_2d(np.cov(points, rowvar=False)), draws)


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
