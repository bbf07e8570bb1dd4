"""The test of a persona space: the three hypotheses together, and whether the space's regions count as discrete.

What can be tested depends on what there is. Without the model only points can be looked at: how many dimensions the
role cloud has (H2), and whether the points fall in separate basins (the static part of H3). With it, steering (H1) and
the course of conversations (the part of H3 that says what a basin does) come in.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mechanism.experiments.catalogue import PAPER
from mechanism.hypotheses.basins import free_points, privileged, sticky
from mechanism.hypotheses.bench import Bench, settings_of
from mechanism.hypotheses.courses import Course, courses_of
from mechanism.hypotheses.dimension import LEAST_ROLES, dimension
from mechanism.hypotheses.discreteness import (
    LEAST_GROUPS,
    LEAST_POINTS,
    LEAST_SHARE,
    LEAST_SIDE,
    MOST_POINTS,
    discreteness,
)
from mechanism.hypotheses.gate import gated
from mechanism.hypotheses.gateway import axes_to_steer, layer_profile, start_for, steered_across_contexts
from mechanism.hypotheses.placing import regions_at
from mechanism.hypotheses.probing import persona_on_user_turns, probed_across_personas
from mechanism.hypotheses.pushes import pushed
from mechanism.hypotheses.verdicts import all_hold
from mechanism.organism import ORGANISM_CAVEAT, is_organism
from mechanism.outcome import Finding, Outcome, Part
from mechanism.space import PersonaSpace
from traces.errors import TraceError, UnknownNameError

HYPOTHESES = ("H1", "H2", "H3")

RULE = (
    "discrete: the points fall in separate basins, no two regions of the space in the same one, and, where the model "
    "could be asked, every region is privileged (reached from many starts, and by more conversations than one "
    "continuum would bring there) and sticky (replies in it stay without pressure). Not discrete: no separate basins "
    "were found, or one of these clearly fails. Not told: one of these could not be told, and none fails"
)
"""When a space's regions count as discrete, when they do not, and when neither is said."""


class Points(NamedTuple):
    """Coordinates [n, axes] on a space's axes, what each shares with others, and where they come from, in words."""

    values: NDArray[np.float64]
    groups: Sequence[Hashable] | None
    source: str


class Tested(NamedTuple):
    """What came of it. `discrete`: what the space's field becomes (`RULE`); None: not tested, or it could not be told.
    `summary` (JSON) is kept in the space.
    """

    outcome: Outcome
    discrete: bool | None
    summary: dict[str, Any]


def hypotheses_tested(
    space: PersonaSpace,
    bench: Bench | None = None,
    *,
    points: Points | None = None,
    which: Sequence[str] = HYPOTHESES,
    axes: Sequence[str] = (),
    seed: int = 0,
) -> Tested:
    """Test a space; with a bench, by asking its model too. `axes`: those to steer along (default: what can be judged).

    Points are those given, else those that the space was fitted from, else replies that the model gives for the test.
    Raises `UnknownNameError` for another hypothesis, `TraceError` for an axis or points that cannot be tested.
    """
    for name in which:
        if name not in HYPOTHESES:
            raise UnknownNameError("the test of a space", "hypothesis", name, HYPOTHESES)
    parts: list[tuple[str, Part]] = []
    discrete = space.discrete
    steered = [] if bench is None else axes_to_steer(bench, axes)
    if "H1" in which:
        parts.append(("H1", _gateway(bench, steered)))
    if "H2" in which:
        parts.append(("H2", _dimension(space, seed)))
    if "H3" in which:
        part, discrete = _regions(space, bench, steered, points, seed)
        parts.append(("H3", part))
    verdicts = [part.findings[0] for _, part in parts]
    details = Part.joined(replace(part, findings=part.findings[1:]) for _, part in parts)
    # Counts hang on H3, so what speaks against it comes first.
    caveats = list(Part.joined(part for _, part in reversed(parts)).caveats)
    if bench is None:
        caveats.insert(0, "The model was not asked: only what the points show was tested. --model tests the rest.")
    else:
        caveats[:0] = [*([ORGANISM_CAVEAT] if is_organism(bench.host) else []), *bench.caveats()]
    outcome = Outcome(
        "space-test",
        f"Test of the persona space {space.name}",
        "Do its directions carry whole repertoires (H1), does it have few dimensions (H2), and are its regions places "
        "where the model stays, or lines drawn through a continuum (H3)?",
        f"{PAPER}, §3.1 to §3.3",
        [*verdicts, *details.findings],
        details.tables,
        details.plots,
        {
            "space": space.name, "space_digest": space.digest, "layer": space.layer, "which": list(which),
            "axes_steered": steered, "seed": seed, "rule": RULE,
            **({} if bench is None else settings_of(bench)),
        },
        caveats,
    )  # fmt: skip
    summary = {
        "rule": RULE,
        "discrete": discrete,
        "hypotheses": {
            finding.name: {"passed": finding.passed, "statement": finding.statement} for finding in verdicts
        },
        "findings": [finding.to_dict() for finding in details.findings if finding.passed is not None],
        "model": None if bench is None else {"name": bench.host.name, "digest": bench.host.digest},
        "seed": seed,
    }
    return Tested(outcome, discrete, summary)


def _gateway(bench: Bench | None, axes: Sequence[str]) -> Part:
    name, source = "H1", "§3.1"
    if bench is None:
        return _not_tested(name, "gateway", "the model has to be steered (--model)", source)
    parts: list[Part] = []
    results: dict[str, bool | None] = {}
    for axis in axes:
        try:
            start_for(bench, axis)
        except TraceError as error:
            parts.append(
                Part((Finding(f"steering: {axis}", f"Not steered along {axis}: {error.found}.", source=source),))
            )
            continue
        part, dose = steered_across_contexts(bench, axis)
        results[axis] = part.findings[0].passed
        parts += [part, layer_profile(bench, axis, dose)]
    parts += [probed_across_personas(bench), persona_on_user_turns(bench)]
    known = {axis: passed for axis, passed in results.items() if passed is not None}
    if not known:
        reason = "no axis has the name of a persona that can be judged (--axis)" if not axes else "no answer was judged"
        return Part.joined([_not_tested(name, "gateway", reason, source), *parts])
    borne = [axis for axis, passed in known.items() if passed]
    told = (
        f"H1, gateway: steering along {len(borne)} of {len(known)} axes ({', '.join(known)}) brings a persona's "
        "answers to unrelated questions, as random directions do not."
    )
    verdict = Finding(name, told, passed=len(borne) == len(known), source=source)
    return Part.joined([Part((verdict,)), *parts])


def _dimension(space: PersonaSpace, seed: int) -> Part:
    name, source = "H2", "§3.2"
    if space.cloud is None:
        reason = "the space has no role cloud (individuate space fit makes one)"
        return _not_tested(name, "few dimensions", reason, source)
    cloud = space.cloud
    if len(cloud.roles) < LEAST_ROLES:
        return _not_tested(
            name, "few dimensions", f"the cloud has {len(cloud.roles)} roles ({LEAST_ROLES} or more)", source
        )
    return dimension(cloud.of_roles, names=cloud.roles, seed=seed).part()


def _regions(
    space: PersonaSpace, bench: Bench | None, axes: Sequence[str], points: Points | None, seed: int
) -> tuple[Part, bool | None]:
    name, source = "H3", "§3.3"
    courses = courses_of(bench) if bench is not None and space.regions else []
    points = points or _points_of(space, courses)
    if points is None or len(points.values) < LEAST_POINTS:
        count = "no points" if points is None else f"{len(points.values)} points only"
        return _not_tested(name, "regions", f"there are {count} (at least {LEAST_POINTS}; --trace)", source), None
    points, sampled = _not_too_many(points, seed)
    static = discreteness(points.values, groups=points.groups, seed=seed)
    parts = [static.part()]
    basins = static.verdict == "discrete"
    told = (
        f"{len(points.values):,} points ({points.source}) fall in {static.basins} separate basins"
        if basins
        else f"{len(points.values):,} points ({points.source}) show no separate basins: one continuum explains them"
    )
    caveats = [*sampled, _about_points(points)]
    shared, few = _in_one_basin(space, points, static.labels) if basins else ([], [])
    discrete = all_hold([basins, not shared, None if few else True])
    if shared:
        told += "".join(f", with no valley between {' and '.join(regions)}" for regions in shared)
        caveats[:0] = [
            f"No valley was found between the regions {' and '.join(regions)}: their points are mostly in one basin, "
            "so counts that tell them apart are not borne out."
            for regions in shared
        ]
    if few:
        told += f"; too few of them are in {', '.join(few)} to tell whether it is a basin of its own"
        caveats.insert(
            0,
            f"Whether these regions are basins of their own could not be told: {', '.join(few)}. Too few of the points "
            "are in them.",
        )
    if courses and bench is not None:
        reached, kept = privileged(bench, courses), sticky(bench, courses)
        parts += [reached[0], kept[0], pushed(bench, courses), gated(bench, _that_start(bench, axes))]
        asked = {"privileged": reached[1], "sticky": kept[1]}
        discrete = all_hold([discrete, *(held for each in asked.values() for held in each.values())])
        told += "; " + ("; ".join(_lacking(asked)) or "every region is privileged and sticky")
        caveats.append(
            "Which starts lead to a region depends on the starts that were tried; those that aim at it count."
        )
    elif bench is not None:
        caveats.insert(0, "The space has no regions, so whether any is reached and kept to was not tested.")
    else:
        told += ". Whether the model stays in them was not tested"
    verdict = Finding(name, f"H3, regions: {told}.", passed=discrete, source=source)
    return Part.joined([Part((verdict,), caveats=tuple(caveats)), *parts]), discrete


def _lacking(asked: Mapping[str, Mapping[str, bool | None]]) -> list[str]:
    """What regions are not, and what could not be told of them, in words.

    >>> _lacking({"sticky": {"A": True, "B": None, "C": False}})
    ['not sticky: C', 'not told whether sticky: B']
    """
    ways = ((False, "not"), (None, "not told whether"))
    return [
        f"{words} {what}: {', '.join(regions)}"
        for what, held in asked.items()
        for verdict, words in ways
        if (regions := [region for region, each in held.items() if each is verdict])
    ]


def _in_one_basin(
    space: PersonaSpace, points: Points, labels: NDArray[np.intp]
) -> tuple[list[list[str]], list[str]]:  # fmt: skip
    """Regions whose points are mostly in the same basin as those of another; and regions with fewer points, or points
    of fewer groups, than a basin needs.
    """
    least = max(LEAST_SHARE * len(points.values), LEAST_SIDE)
    held: dict[int, list[str]] = {}
    few = []
    names = regions_at(space, points.values)
    for region in space.regions:
        there = [at for at, name in enumerate(names) if name == region]
        groups = there if points.groups is None else {points.groups[at] for at in there}
        if len(there) < least or len(groups) < LEAST_GROUPS:
            few.append(region)
        else:
            held.setdefault(int(np.bincount(labels[there]).argmax()), []).append(region)
    return [regions for regions in held.values() if len(regions) > 1], few


def _not_too_many(points: Points, seed: int) -> tuple[Points, list[str]]:
    """A sample, where there are more points than are tested, so that the basin of each point is known."""
    n = len(points.values)
    if n <= MOST_POINTS:
        return points, []
    kept = np.sort(np.random.default_rng(seed).choice(n, MOST_POINTS, replace=False))
    groups = None if points.groups is None else [points.groups[at] for at in kept.tolist()]
    return Points(points.values[kept], groups, points.source), [
        f"Of {n:,} points a sample of {MOST_POINTS:,} was tested."
    ]


def _points_of(space: PersonaSpace, courses: Sequence[Course]) -> Points | None:
    if space.points is not None:
        values = np.asarray(space.points, float)
        return Points(values, space.point_roles or None, "the replies that the space was fitted from")
    if courses:
        values, groups = free_points(courses)
        return Points(values, groups, "replies without pressure, from many starts")
    return None


def _about_points(points: Points) -> str:
    return (
        f"Whether points fall in basins depends on which replies are looked at ({points.source}): where personas were "
        "asked for by prompts, the basins may be those of the prompts."
    )


def _that_start(bench: Bench, axes: Sequence[str]) -> list[str]:
    found = []
    for axis in axes:
        try:
            start_for(bench, axis)
        except TraceError:
            continue
        found.append(axis)
    return found


def _not_tested(name: str, what: str, reason: str, source: str) -> Part:
    return Part((Finding(name, f"{name}, {what}: not tested, for {reason}.", source=source),))
