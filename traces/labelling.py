"""Labellings: which persona region each turn is in, by some space. An interpretation of the facts, never one of them.

A labelling is named `stated` (regions that the author of a trace wrote down), or after one of the trace's own spaces,
or as it was named when it was added (`individuate label`, `individuate space label`). Regions are given to assistant
turns only (semantics.md §4). A labelling that was added may say it turn by turn instead of by ranges, with how probable
each region is and where within a turn it changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from traces.errors import TraceError, UnknownNameError, one_of
from traces.facts import Chances, Facts
from traces.identity import find_model, models_named
from traces.turn_labels import Part, columns
from traces.vocabulary import PROBABILITY_SLACK, ROLES, Probe, Space

STATED = "stated"
_ASSISTANT = ROLES.index("assistant")


@dataclass(frozen=True, eq=False, repr=False)
class Regions:
    """The outcome of a labelling: a region for each turn, and what it was found by."""

    names: list[str]
    """Region names; codes are positions in this list."""
    of_turn: NDArray[np.int32]
    """The region code of each turn, -1 for none."""
    basis: str
    """What the regions rest on, in words."""
    defined: list[tuple[int, int]]
    """(model number, region code) for every region of a space of that model, entered or not, and every stated one."""
    untested: list[str] = field(default_factory=list)
    """Spaces whose regions were not shown to be discrete (Hypothesis 3 not tested)."""
    continuous: list[str] = field(default_factory=list)
    """Spaces whose regions were not shown to be discrete (Hypothesis 3 failed)."""
    ambiguous: int = 0
    """How many turns lie in more than one region of their space; the first one listed was taken."""
    drawn: dict[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    """For weights (digest, else name) and each region of theirs in how many ways spaces draw it: their ranges as text.
    Regions go by name all the same.
    """
    chances: Chances = field(default_factory=Chances)
    """How probable the regions of a turn are (codes in `names`), where the trace or the labelling says."""
    others: list[str] = field(default_factory=list)
    """Labellings that were not used."""
    parts: list[Part] = field(default_factory=list)
    """The later parts of turns within which the region changes."""


def labelling_names(facts: Facts) -> list[str]:
    """The names of all labellings of a trace: stated regions, its own spaces, then those added since."""
    stated = [STATED] if len(facts.chances) or bool((facts.stated >= 0).any()) else []
    return [*stated, *facts.spaces, *facts.labellings]


def regions_of(facts: Facts, labelling: str | None = None) -> Regions:
    """The regions of a trace under a labelling.

    Without a name: the trace's own, that is the stated region of a turn, else that of the first space of its model
    whose ranges hold its coordinates; where a trace has no region of either kind, the first labelling that was added to
    it.

    A turn that says how probable each region is counts as stated to be in the most probable one.

    Raises `UnknownNameError` for a labelling that the trace does not have, `TraceError` where a space cannot be placed
    on what was recorded.
    """
    names = labelling_names(facts)
    by_turn = turn_by_turn(facts, labelling)
    if by_turn is not None:
        return _as_labelled(facts, by_turn, names)
    use_stated, spaces = _chosen(facts, labelling, names)
    region_names = list(dict.fromkeys(region for space in spaces.values() for region in space.regions))
    if use_stated:
        region_names += [name for name in facts.regions if name not in region_names]
    number = {name: i for i, name in enumerate(region_names)}

    of_turn = np.full(len(facts.turns), -1, np.int32)
    defined: dict[tuple[int, int], None] = {}
    ambiguous, chances = 0, Chances()
    labelled = facts.turns.role != _ASSISTANT
    if use_stated and len(facts.regions):
        translated = np.array([*(number[name] for name in facts.regions), -1], np.int32)
        of_turn = translated[_most_probable(facts)]
        chances = Chances(facts.chances.turn, translated[facts.chances.region], facts.chances.value)
        labelled = labelled | (of_turn >= 0)
        # A region that some turn may be in is a region of its model, whichever turns out the most probable.
        possible = chances.value > 0
        rows = np.concatenate([np.flatnonzero(of_turn >= 0), chances.turn[possible]])
        codes = np.concatenate([of_turn[of_turn >= 0], chances.region[possible]])
        width = len(region_names)
        pairs = np.bincount(facts.turns.model[rows].astype(np.int64) * width + codes)
        defined |= {divmod(pair, width): None for pair in np.flatnonzero(pairs).tolist()}
    model_numbers = {key: i for i, key in enumerate(facts.models)}
    for name, space in spaces.items():
        models = [model_numbers[key] for key in models_named(facts.models, space.model)]
        defined |= {(model, number[region]): None for model in models for region in space.regions}
        candidates = ~labelled & np.isin(facts.turns.model, models)
        found, overlapping = _by_ranges(facts, name, space, candidates, number)
        of_turn = np.where(found >= 0, found, of_turn)
        labelled |= found >= 0
        ambiguous += overlapping
    used = [name for name, space in spaces.items() if space.regions]
    return Regions(
        names=region_names,
        of_turn=of_turn,
        basis=_basis(use_stated and bool(len(facts.regions)), bool(len(chances)), used, labelling),
        defined=list(defined),
        untested=[name for name in used if spaces[name].discrete is None],
        continuous=[name for name in used if spaces[name].discrete is False],
        ambiguous=ambiguous,
        drawn=_drawn(facts, spaces),
        chances=chances,
        others=[
            name for name in names if name not in spaces and name != labelling and not (use_stated and name == STATED)
        ],
    )


def added_by_default(facts: Facts) -> str | None:
    """The labelling, added since, that a trace without regions of its own goes by; None where it has some, or where
    nothing was added.
    """
    own = STATED in labelling_names(facts) or any(space.regions for space in facts.spaces.values())
    return None if own else next(iter(facts.labellings), None)


def turn_by_turn(facts: Facts, labelling: str | None = None) -> str | None:
    """The labelling that is meant (see `regions_of`), if it says regions turn by turn."""
    labelling = added_by_default(facts) if labelling is None else labelling
    return labelling if labelling in facts.turn_labels else None


def _as_labelled(facts: Facts, name: str, names: list[str]) -> Regions:
    """The regions of a labelling that says them turn by turn."""
    labels, spaces = facts.turn_labels[name], facts.labellings[name]
    region_names = list(dict.fromkeys(region for space in spaces.values() for region in space.regions))
    number = {region: code for code, region in enumerate(region_names)}
    of_turn, chances, parts = columns(labels, len(facts.turns), number)
    model_numbers = {key: code for code, key in enumerate(facts.models)}
    defined = [
        (model_numbers[key], number[region])
        for space in spaces.values()
        for key in models_named(facts.models, space.model)
        for region in space.regions
    ]
    how = (labels.made or {}).get("method")
    return Regions(
        names=region_names,
        of_turn=of_turn,
        basis=f"labelling {name}, turn by turn{f' ({how})' if how else ''}",
        defined=list(dict.fromkeys(defined)),
        untested=[key for key, space in spaces.items() if space.regions and space.discrete is None],
        continuous=[key for key, space in spaces.items() if space.regions and space.discrete is False],
        chances=chances,
        others=[other for other in names if other != name],
        parts=parts,
    )


def _drawn(facts: Facts, spaces: Mapping[str, Space]) -> dict[tuple[str, str], frozenset[str]]:
    drawn: dict[tuple[str, str], set[str]] = {}
    for space in spaces.values():
        for key in models_named(facts.models, space.model):
            weights = facts.models[key].digest or facts.models[key].name or key
            for region, ranges in space.regions.items():
                drawn.setdefault((weights, region), set()).add(str(sorted(ranges.items())))
    return {place: frozenset(ways) for place, ways in drawn.items()}


def spaces_of(facts: Facts, labelling: str | None = None) -> Mapping[str, Space]:
    """The spaces by which a labelling finds regions from coordinates, in the order in which they are applied; none for
    one that says regions turn by turn.

    Raises `UnknownNameError` for a labelling that the trace does not have.
    """
    if turn_by_turn(facts, labelling) is not None:
        return {}
    return _chosen(facts, labelling, labelling_names(facts))[1]


def _chosen(facts: Facts, labelling: str | None, names: list[str]) -> tuple[bool, Mapping[str, Space]]:
    if labelling is None:
        added = added_by_default(facts)
        return (True, facts.spaces) if added is None else (False, facts.labellings[added])
    if labelling not in names:
        raise UnknownNameError(facts.name, "labelling", labelling, names)
    if labelling == STATED:
        return True, {}
    if labelling in facts.spaces:
        return False, {labelling: facts.spaces[labelling]}
    return False, facts.labellings[labelling]


def _most_probable(facts: Facts) -> NDArray[np.int32]:
    """The stated region of each turn, or the most probable one, or -1.

    No region is an outcome like any other. Of equally probable regions the one listed first is taken, and any of them
    rather than no region.
    """
    chances = facts.chances
    if not len(chances):
        return facts.stated
    by_turn = np.lexsort((np.arange(len(chances)), -chances.value, chances.turn))
    turns, first, of = np.unique(chances.turn[by_turn], return_index=True, return_inverse=True)
    best = by_turn[first]
    rest = 1 - np.bincount(of, chances.value[by_turn])
    likeliest = chances.value[best] >= rest - PROBABILITY_SLACK
    region = facts.stated.copy()
    region[turns] = np.where(likeliest, chances.region[best], -1)
    return region


def _basis(stated: bool, probable: bool, spaces: list[str], labelling: str | None) -> str:
    if not stated and not spaces:
        return "no persona regions"
    parts = ["regions as stated in the trace"] if stated else []
    if probable:
        parts = ["regions as stated in the trace (the most probable where it gives probabilities)"]
    if spaces:
        parts.append(f"activation ranges of {'space' if len(spaces) == 1 else 'spaces'} {', '.join(spaces)}")
    named = f" (labelling {labelling})" if labelling is not None and labelling not in (*spaces, STATED) else ""
    return " and ".join(parts) + named


def _by_ranges(
    facts: Facts, name: str, space: Space, candidates: NDArray[np.bool_], number: Mapping[str, int]
) -> tuple[NDArray[np.int32], int]:
    """The first region of a space whose closed ranges hold a turn's coordinates, and how many turns more than one
    holds.
    """
    found = np.full(len(candidates), -1, np.int32)
    rows = np.flatnonzero(candidates)
    if not len(rows):
        return found, 0
    columns = {axis: axis_values(facts, name, space, axis)[rows] for axis in space.axes}
    hits = np.zeros(len(rows), np.int32)
    code = np.full(len(rows), -1, np.int32)
    for region, ranges in space.regions.items():
        inside = np.ones(len(rows), np.bool_)
        for axis, (low, high) in ranges.items():
            # Comparisons with NaN are false, so a turn without this coordinate is not inside.
            inside &= columns[axis] >= (-np.inf if low is None else low)
            inside &= columns[axis] <= (np.inf if high is None else high)
        if not ranges:
            inside &= np.any([~np.isnan(column) for column in columns.values()], axis=0)
        code = np.where(inside & (code < 0), np.int32(number[region]), code)
        hits += inside
    found[rows] = code
    return found, int((hits > 1).sum())


def matching_probes(space: Space, axis: str, probes: Mapping[str, Probe]) -> list[str]:
    """The probes that read an axis where the space reads it; only the one at the space's own layer, if there is one."""
    fitting = [
        key
        for key, probe in probes.items()
        if probe.axis == axis
        and (space.layer is None or probe.layer is None or probe.layer == space.layer)
        and (space.pooling is None or probe.pooling is None or probe.pooling == space.pooling)
    ]
    exact = [key for key in fitting if probes[key].layer == space.layer]
    return exact if len(exact) == 1 else fitting


def probes_read(facts: Facts, space: Space, axis: str) -> list[str]:
    """The probes that read an axis where the space reads it. Where several do, those that were read on turns of the
    space's model, if any were: models have probes of their own, on axes of the same name.
    """
    fitting = matching_probes(space, axis, facts.probes)
    if len(fitting) < 2:
        return fitting
    keys, probes = list(facts.models), list(facts.probes)
    models = [keys.index(key) for key in models_named(facts.models, space.model)]
    mine = np.isin(facts.turns.model[facts.coordinates.turn], models)
    read = {probes[code] for code in np.unique(facts.coordinates.probe[mine]).tolist()}
    return [key for key in fitting if key in read] or fitting


def _refuse_ambiguous(facts: Facts, name: str, axis: str, fitting: list[str]) -> None:
    if len(fitting) > 1:
        raise TraceError(
            f"{facts.name}: space {name}",
            f"its axis {axis} was recorded {len(fitting)} times ({', '.join(fitting)})",
            "a `layer:` and `pooling:` in the space that pick one of them",
        )


def axis_values(facts: Facts, name: str, space: Space, axis: str) -> NDArray[np.float64]:
    """The coordinates of all turns on an axis, NaN where none was recorded."""
    column = np.full(len(facts.turns), np.nan)
    fitting = probes_read(facts, space, axis)
    _refuse_ambiguous(facts, name, axis, fitting)
    for key in fitting:
        mine = facts.coordinates.probe == list(facts.probes).index(key)
        column[facts.coordinates.turn[mine]] = facts.coordinates.value[mine]
    return column


def check_space_fits(facts: Facts, name: str, space: Space, by_ranges: bool = True) -> None:
    """Refuse a space that cannot be placed on a trace: of another model, or on axes not recorded, or recorded twice.
    Where regions are not found by its ranges, nothing is asked of its axes.
    """
    if not find_model(facts.models, space.model):
        raise UnknownNameError(f"space {name}", "model", space.model, _model_names(facts))
    recorded = sorted({probe.axis for probe in facts.probes.values()})
    for axis in space.axes if by_ranges else ():
        fitting = probes_read(facts, space, axis)
        _refuse_ambiguous(facts, name, axis, fitting)
        if not fitting:
            at_layer = f" at layer {space.layer}" if space.layer is not None and axis in recorded else ""
            raise TraceError(
                f"space {name}",
                f"its axis {axis} was not recorded{at_layer} in {facts.name}",
                one_of(
                    [f"{probe.axis} (layer {probe.layer})" for probe in facts.probes.values()]
                    if at_layer
                    else recorded,
                    "axis",
                ),
            )


def _model_names(facts: Facts) -> list[str]:
    return list(dict.fromkeys(name for key, model in facts.models.items() for name in (key, model.name) if name))
