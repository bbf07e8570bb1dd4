"""The facts of stages as columns, for the script that shows them, and as a table for those who have none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from individuation.picture.blocks import MindsOfStages
from individuation.picture.lettering import plain
from individuation.report.findings import Findings
from individuation.report.markup import NOTHING, Content, Html, chip, count, joined, named, table, tag
from individuation.report.seams import in_short
from individuation.result import Result
from rules.view import Cover, Partition
from traces.facts import Longs, TurnDetail
from traces.stages import LINKS, StageTable
from traces.vocabulary import CACHES, ROLES

MOST_LISTED = 200
"""Stages in the table."""
_LONGEST, _ALL_TEXT = 2_000, 2_000_000
_IN_TABLE = 300
_MOST_LABELS = 5_000
_FIRST_MINDS = 3


def stage_data(found: Findings, rows: Longs) -> dict[str, Any]:
    """Columns for these stages (rows of the stage table, ascending), with positions among them for rows.

    -1 and null stand for what was not recorded, as in `traces.stages.StageTable`.
    """
    stages = found.stages
    place = np.full(len(stages) + 1, -1, np.int64)
    place[rows] = np.arange(len(rows))
    texts = _texts(found, rows)
    details = details_of(found)
    data: dict[str, Any] = {
        "sources": list(found.sources) or ["TRACE"],
        "labelling": found.labelling,
        "conversation": _coded(stages.conversation[rows], stages.conversations),
        "model": _coded(stages.model[rows], stages.models),
        "server": _coded(stages.server[rows], stages.servers),
        "principal": _coded(stages.principal[rows], stages.principals),
        "region": _coded(stages.region[rows], stages.regions.names),
        "ordinal": stages.ordinal[rows].tolist(),
        "role": {"names": list(ROLES), "codes": stages.role[rows].tolist()},
        "tokens": stages.tokens[rows].tolist(),
        "previous": place[stages.previous[rows]].tolist(),
        "own": place[stages.own[rows]].tolist(),
        "kind": {"names": list(LINKS), "codes": stages.own_kind[rows].tolist()},
        "cache": {"names": list(CACHES), "codes": stages.cache[rows].tolist()},
        "cacheKnown": stages.cache_known[rows].astype(np.int8).tolist(),
        "parts": _parts(stages, rows),
        "edited": np.flatnonzero(stages.edited[rows]).tolist(),
        "drift": _sparse(stages.drift[rows]),
        "shared": {i: stages.name(int(o)) for i, o in enumerate(stages.shared[rows].tolist()) if o >= 0},
        "probes": [
            {"name": name, "unit": probe.unit, "values": _sparse(found.coordinates.values[rows, column])}
            for column, (name, probe) in enumerate(found.coordinates.probes.items())
        ],
        "views": [_view(found, number, rows, place) for number in range(len(found.results))],
        "done": {
            i: list(details[row].interventions)
            for i, row in enumerate(rows.tolist())
            if row in details and details[row].interventions
        },
        "chances": _chances(stages, place),
        "beliefs": _beliefs(stages, place),
        "seams": _seams(found, place),
    }
    # Words of others are shown as they are, but names stand among the page's own words.
    named_plainly: dict[str, Any] = _plain(data)
    return {**named_plainly, "texts": texts}


def _plain(data: Any) -> Any:
    if isinstance(data, str):
        return plain(data)
    if isinstance(data, dict):
        return {key: _plain(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_plain(value) for value in data]
    return data


def _coded(codes: NDArray[Any], names: Sequence[str]) -> dict[str, Any]:
    """A column of codes with only those names that occur."""
    used = np.unique(codes[codes >= 0])
    again = np.where(codes >= 0, np.searchsorted(used, codes), -1)
    return {"names": [names[code] for code in used.tolist()], "codes": again.tolist()}


def _sparse(values: NDArray[Any]) -> dict[int, float]:
    return {i: float(f"{values[i]:.6g}") for i in np.flatnonzero(np.isfinite(values)).tolist()}


def _view(found: Findings, number: int, rows: Longs, place: Longs) -> dict[str, Any]:
    result = found.results[number]
    declaration, verdict = result.criterion.declaration, result.verdict
    about: dict[str, Any] = {"name": result.view, "by": "rule", "labels": {}, "minds": None, "up": None}
    if declaration is not None:
        about["by"] = "links" if declaration.linked else "attributes"
    if isinstance(verdict, Partition):
        minds = verdict.mind[rows].tolist()
    elif isinstance(verdict, Cover):
        every = MindsOfStages(result).of(rows)
        minds = [[len(of), *of[:_FIRST_MINDS]] for of in every]
        about["up"] = place[_nearest_told(verdict, place)[rows]].tolist()
    else:
        return about | {"by": "passes"}
    used = {mind for of in minds for mind in (of[1:] if isinstance(of, list) else [of]) if mind >= 0}
    about["minds"] = minds
    about["labels"] = _labels(result, used)
    return about


def _nearest_told(verdict: Cover, place: Longs) -> Longs:
    """For each stage the one just before it in its minds, where the page tells of it."""
    told = np.append(verdict.up, -1)
    return np.where(place[told[:-1]] >= 0, told[:-1], -1)


def _labels(result: Result, used: set[int]) -> dict[int, str]:
    table_of = result.minds.table
    if table_of is None or not used:
        return {}
    chosen = sorted(used)[:_MOST_LABELS]
    labels = table_of.first_labels(chosen[-1] + 1)
    return {mind: labels[mind] for mind in chosen}


def details_of(found: Findings) -> dict[int, TurnDetail]:
    """What few turns carry, by row of the stage table."""
    stages = found.stages
    of_turn = [facts.details() for facts in found.trace.recordings]
    if not any(of_turn):
        return {}
    pairs = enumerate(zip(stages.recording.tolist(), stages.turn.tolist(), strict=True))
    return {row: of_turn[recording][turn] for row, (recording, turn) in pairs if turn in of_turn[recording]}


def _texts(found: Findings, rows: Longs) -> dict[int, list[Any]]:
    """The words of stages, cut so that a page stays small, and how many characters each has."""
    details = details_of(found)
    texts = {i: details[row].text or "" for i, row in enumerate(rows.tolist()) if row in details}
    texts = {i: text for i, text in texts.items() if text}
    longest = _LONGEST
    while longest > 100 and sum(min(len(text), longest) for text in texts.values()) > _ALL_TEXT:
        longest //= 2
    return {i: [text[:longest], len(text)] for i, text in texts.items()}


def _parts(stages: StageTable, rows: Longs) -> dict[int, str]:
    """Which tokens of its turn a stage is, counted from 1, where it is not all of it."""
    split = np.append(stages.token[1:] > 0, False) | (stages.token > 0)
    found = {}
    for i, row in enumerate(rows.tolist()):
        if split[row]:
            first, last = int(stages.token[row]) + 1, int(stages.token[row] + stages.tokens[row])
            found[i] = f"tokens {first:,} to {last:,} of it (words are shown of the whole turn)"
    return found


def _chances(stages: StageTable, place: Longs) -> dict[int, list[list[Any]]]:
    chances: dict[int, list[list[Any]]] = {}
    columns = zip(
        stages.chance_stage.tolist(), stages.chance_region.tolist(), stages.chance_value.tolist(), strict=True
    )
    for row, region, value in columns:
        if place[row] >= 0:
            chances.setdefault(int(place[row]), []).append([stages.regions.names[region], float(f"{value:.6g}")])
    return chances


def _beliefs(stages: StageTable, place: Longs) -> dict[int, list[list[Any]]]:
    beliefs: dict[int, list[list[Any]]] = {}
    columns = zip(
        stages.belief_stage.tolist(), stages.belief_proposition.tolist(), stages.belief_holds.tolist(), strict=True
    )
    for row, proposition, holds in columns:
        if place[row] >= 0:
            beliefs.setdefault(int(place[row]), []).append([bool(holds), stages.proposition_names[proposition]])
    return beliefs


def seam_id(view: int, number: int) -> str:
    """What the reason of a seam is called in the page."""
    return f"why-{view + 1}-{number + 1}"


def _seams(found: Findings, place: Longs) -> list[list[Any]]:
    """Each explained seam: view, both stages, where its reason stands, and the reason in short."""
    told = []
    for view, seams in enumerate(found.seams):
        for number, reason in enumerate(seams.reasons):
            a, b = int(place[reason.seam.before]), int(place[reason.seam.after])
            short, cited = in_short(reason.explanation)
            if a >= 0 and b >= 0:
                told.append([view, a, b, seam_id(view, number), f"{short} ({cited})" if cited else short])
    return told


def stage_table(found: Findings) -> Html:
    """The first stages as a table: what the picture shows, in words."""
    stages, rows = found.stages, np.arange(min(len(found.stages), MOST_LISTED))
    if not len(rows):
        return NOTHING
    details = details_of(found)
    drawn = [(result, MindsOfStages(result).of(rows)) for result in found.drawn]
    texts = [details[row].text if row in details else None for row in rows.tolist()]
    facts: list[tuple[str, list[Content]]] = [
        ("role", [ROLES[code] for code in stages.role[rows].tolist()]),
        ("tokens", [f"{n:,}" if n >= 0 else None for n in stages.tokens[rows].tolist()]),
        ("model", _names(stages.model[rows], stages.models)),
        ("server", _names(stages.server[rows], stages.servers)),
        ("link", [_link(stages, row) for row in rows.tolist()]),
        ("region", _names(stages.region[rows], stages.regions.names)),
    ]
    for column, probe in enumerate(found.coordinates.probes):
        values = found.coordinates.values[rows, column].tolist()
        facts.append((probe, [f"{value:.4g}" if np.isfinite(value) else None for value in values]))
    facts += [(result.view, [_minds(of) for of in minds]) for result, minds in drawn]
    facts.append(("text", [None if text is None else _cut(text) for text in texts]))
    kept = [(name, cells) for name, cells in facts if any(cell is not None for cell in cells)]
    listed = [
        [named(stages.name(row)), *(cells[row] if cells[row] is not None else "-" for _, cells in kept)]
        for row in rows.tolist()
    ]
    more = len(stages) - len(rows)
    said = f"The first {len(rows):,} stages; {more:,} more are not listed" if more else count(len(rows), "stage")
    return tag(
        "details",
        tag("summary", f"All stages as a table ({count(len(stages), 'stage')})"),
        table(said, ["stage", *(name for name, _ in kept)], listed, class_="wide"),
        id="stage-table",
    )


def _names(codes: NDArray[Any], names: Sequence[str]) -> list[Content]:
    return [named(names[code]) if code >= 0 else None for code in codes.tolist()]


def _minds(of: tuple[int, ...]) -> Html | None:
    return joined(" ", map(chip, of[:_FIRST_MINDS])) if of else None


def _link(stages: StageTable, row: int) -> str | None:
    if stages.previous[row] < 0:
        return None
    kind = int(stages.own_kind[row])
    edited = ", edited" if stages.edited[row] else ""
    return f"{LINKS[kind]}{edited}" if kind >= 0 else "transcript"


def _cut(text: str) -> str:
    return text if len(text) <= _IN_TABLE else f"{text[:_IN_TABLE].rstrip()}…"
