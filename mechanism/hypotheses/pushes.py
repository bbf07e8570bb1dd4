"""A push out of a region, once: does the conversation come back by itself (§3.3)?

A conversation that is in a region without a system prompt is steered during one reply, towards the nearest other region
or in a random direction, by so much of the residual stream's length; then it is let go, and neutral questions follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mechanism.hypotheses.basins import SOURCE
from mechanism.hypotheses.bench import Bench
from mechanism.hypotheses.courses import Course, Regions, Start, directions_between, go_on, read
from mechanism.outcome import Cell, Estimate, Finding, Part, Plot, Series, Table
from mechanism.statistics import share
from mechanism.steering import Steering
from mechanism.template import Message

AFTER = 3
"""Exchanges after the push."""
DOSES = (0.2, 0.4, 0.6)
MOST_REGIONS = 6

_WORDS = 20_000
_TURN = 50
_LEAST = 2


@dataclass(frozen=True)
class _Push:
    """One conversation pushed in one way."""

    region: str
    towards: str
    dose: float
    steering: Steering | None
    before: Course


def pushed(bench: Bench, courses: Sequence[Course], doses: Sequence[float] = DOSES) -> Part:
    """Push, let go, and see: for each region and dose how many leave it at once, and how many are in it at last."""
    plans = _plans(bench, courses, doses)
    if not plans:
        told = "No push was tried: no conversation without a system prompt ended in a region."
        return Part((Finding("return after a push", told, source=SOURCE),))
    chats: list[list[Message]] = [[*plan.before.chat] for plan in plans]
    number = {id(course): at for at, course in enumerate(courses)}
    words = [bench.material.neutral(bench.seed + _WORDS + number[id(plan.before)], 1 + AFTER) for plan in plans]
    doing = "Pushing out of regions"
    ways = list(dict.fromkeys(plan.steering for plan in plans))
    for done, steering in enumerate(ways):
        bench.progress(doing, done, len(ways) + AFTER)
        some = [at for at, plan in enumerate(plans) if plan.steering is steering]
        go_on(bench, [chats[at] for at in some], [words[at][0] for at in some], steering, _TURN)
    for turn in range(1, 1 + AFTER):
        bench.progress(doing, len(ways) + turn - 1, len(ways) + AFTER)
        go_on(bench, chats, [said[turn] for said in words], None, _TURN + turn)
    bench.progress(doing, len(ways) + AFTER, len(ways) + AFTER)
    starts = [Start("steering", plan.towards) for plan in plans]
    reached = [course.regions[-1 - AFTER :] for course in read(bench, starts, chats, [0] * len(plans))]
    return _told(plans, reached)


def _plans(bench: Bench, courses: Sequence[Course], doses: Sequence[float]) -> list[_Push]:
    plans = []
    layer = bench.space.layer
    for number, region in enumerate(list(bench.space.regions)[:MOST_REGIONS]):
        there = [course for course in courses if not course.prompted and course.regions[-1:] == [region]]
        there = there[: bench.size.answers]
        if len(there) < _LEAST:
            continue
        others = {
            other: direction
            for other in bench.space.regions
            if other != region and (direction := directions_between(courses, region, other)) is not None
        }
        dice = torch.Generator().manual_seed(bench.seed + 2 + number)
        ways = {"a random direction": torch.randn(bench.host.hidden, generator=dice)}
        if others:
            nearest = min(others, key=lambda other: float(others[other].norm()))
            ways = {nearest: others[nearest], **ways}
        plans += [_Push(region, "none", 0.0, None, course) for course in there]
        for towards, direction in ways.items():
            for dose in doses:
                steering = Steering(direction, dose, [layer], relative=True)
                plans += [_Push(region, towards, dose, steering, course) for course in there]
    return plans


def _told(plans: Sequence[_Push], reached: Sequence[Regions]) -> Part:
    findings: list[Finding] = []
    rows: list[tuple[Cell | Estimate, ...]] = []
    series = []
    for region in dict.fromkeys(plan.region for plan in plans):
        of = [(plan, after) for plan, after in zip(plans, reached, strict=True) if plan.region == region]
        for towards in dict.fromkeys(plan.towards for plan, _ in of):
            doses, stay = [], []
            for dose in dict.fromkeys(plan.dose for plan, _ in of if plan.towards == towards):
                after = [each for plan, each in of if plan.towards == towards and plan.dose == dose]
                out = [each for each in after if each[0] != region]
                stay.append(share(sum(each[-1] == region for each in after), len(after)))
                doses.append(dose)
                rows.append(
                    (
                        region, towards, dose, share(len(out), len(after)), stay[-1],
                        share(sum(each[-1] == region for each in out), len(out)) if out else None,
                    )
                )  # fmt: skip
            if towards == "none":
                unpushed = stay[0]
                continue
            if towards != "a random direction":
                findings.append(_finding(region, towards, doses, stay, unpushed, rows))
            series.append(
                Series(
                    f"{region}, pushed to {towards}",
                    [0.0, *doses],
                    [unpushed.value, *(each.value for each in stay)],
                )
            )
    columns = (
        "region", "pushed towards", "push, share of the residual stream's length", "out of it at once",
        f"in it {AFTER} turns later", f"of those out, back {AFTER} turns later",
    )  # fmt: skip
    plot = Plot(
        "return",
        "Return after a push of one reply",
        "lines",
        "push, as a share of the residual stream's length",
        f"share in the region {AFTER} turns later",
        series,
        "One reply is steered, then nothing more is done. A push of 0 is the same conversation unpushed.",
    )
    caveat = (
        "What is left of a push is the text that was said under it: caches are made anew for each answer. "
        "A push that breaks the text is let go just so."
    )
    plots = (plot,) if series else ()
    return Part(tuple(findings), (Table("Return after a push", columns, rows),), plots, (caveat,))


def _finding(
    region: str,
    towards: str,
    doses: Sequence[float],
    stay: Sequence[Estimate],
    unpushed: Estimate,
    rows: Sequence[tuple[Cell | Estimate, ...]],
) -> Finding:
    """How hard a push the region takes: the largest after which still half as many are in it as without any."""
    taken = [dose for dose, each in zip(doses, stay, strict=True) if each.value >= unpushed.value / 2]
    # The least push that does it counts: one beyond may break the text and so push nowhere.
    held = [dose for dose in taken if all(smaller in taken for smaller in doses if smaller < dose)]
    out = [row for row in rows if row[:2] == (region, towards) and isinstance(row[3], Estimate) and row[3].value > 0]
    if not out:
        told = f"No push towards {towards} of up to {max(doses):g} brings a reply out of the region {region}."
        return Finding(f"return: {region}", told, stay[-1], source=SOURCE)
    back = [row[5] for row in out if isinstance(row[5], Estimate)]
    returned = share(sum(round(each.value * (each.n or 0)) for each in back), sum(each.n or 0 for each in back))
    told = (
        f"Pushed out of the region {region} towards {towards} for one reply, {returned.value:.0%} are back "
        f"{AFTER} turns later. "
    )
    if not held:
        told += f"Even a push of {min(doses):g} leaves fewer than half as many in it as no push."
    else:
        told += f"Pushes of up to {max(held):g} leave at least half as many in it as no push."
    null = f"without a push {unpushed.value:.0%} are in it then"
    return Finding(f"return: {region}", told, returned, null, source=SOURCE)
