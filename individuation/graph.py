"""Stages and links as a networkx graph, with the minds of any views: what `Trace.graph` gives and every export writes.

A node is a stage, under its name. Attributes of a node, each left out where the record does not say:

    conversation, ordinal, role, model, server, principal, region, tokens, time    as recorded, or as labelled
    cache, cache_recorded      how the stage came by its KV cache, and whether the record says so or a default rule
    token_start, token_end     its positions on its path: from token_start to before token_end
    mind:VIEW, label:VIEW      id and label of its mind; lists of them under a reading by which minds share stages
    passes:VIEW                for a view that lists no minds: the forward passes that the stage brings

An edge is a link, from the earlier stage to the later one. Its key is its kind: one of `traces.stages.LINKS`, or
"shared" for a reused prefix (semantics.md §3). Attributes of an edge: kind, own (whether it is the own link of the
later stage), edited, and where measured drift, kl and mass (how far the later stage rests on the earlier one).

Attributes of the graph: title, views (their names), and for each view readings:VIEW, caveats:VIEW, count:VIEW (left out
where there is no count), range:VIEW (of a persona view) and minds:VIEW (labels by id, also of minds without stages).

All values are plain: text, whole and real numbers, truth values, lists and mappings of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import networkx
import numpy as np
from numpy.typing import NDArray

from individuation.minds import MindTable
from individuation.result import Result
from rules.view import Cover, Tally
from traces.errors import TraceError
from traces.facts import Facts
from traces.forest import sums_from_root
from traces.stages import LINKS, TRANSCRIPT, StageTable
from traces.vocabulary import CACHES, ROLES

SHARED = "shared"
"""The kind of a link from the stage whose cached prefix another conversation reuses."""

Column = Sequence[Any]


def stage_graph(
    stages: StageTable, results: Sequence[Result] = (), times: Mapping[int, str] | None = None
) -> networkx.MultiDiGraph:
    """The graph of all stages and links, with the minds of some results and, by row, the times at which stages began.

    Raises `TraceError` where two stages or two views have one name.

    >>> from individuation import individuate, open_trace
    >>> trace = open_trace({"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": [
    ...     {"role": "user", "tokens": 3, "model": "m", "server": "here"},
    ...     {"role": "assistant", "tokens": 5, "server": "there", "cache": "rebuilt", "drift": 0.002}]}}})
    >>> graph = stage_graph(trace.stages(), [individuate(trace, "virtual-instance", reconstruction="new")])
    >>> graph.nodes["c/1"]["mind:virtual-instance"], graph.nodes["c/1"]["token_start"]
    ('c/1', 3)
    >>> graph.edges["c/0", "c/1", "rebuild"]
    {'kind': 'rebuild', 'own': True, 'edited': False, 'drift': 0.002}
    >>> graph.graph["minds:virtual-instance"]
    {'c/0': 'm in c', 'c/1': 'm in c (2)'}
    """
    graph = networkx.MultiDiGraph(title=stages.trace, views=[result.view for result in results])
    columns = _recorded(stages)
    if times:
        columns["time"] = [times.get(stage) for stage in range(len(stages))]
    for result in results:
        if f"readings:{result.view}" in graph.graph:
            raise TraceError("views", f'two of them are called "{result.view}"', "views of different names")
        graph.graph |= _about(result)
        columns |= _minds(result)
    names = [stages.name(stage) for stage in range(len(stages))]
    _add_stages(graph, names, columns)
    if len(graph) < len(names):
        twice, _ = Counter(names).most_common(1)[0]
        raise TraceError(stages.trace, f'two stages are called "{twice}"', "file names that tell them apart")
    graph.add_edges_from(_links(stages, names))
    return graph


def times(recordings: Sequence[Facts], stages: StageTable) -> dict[int, str]:
    """When stages began, by row, as recorded (ISO 8601); those whose time was not recorded are left out."""
    by_turn = [
        {turn: detail.time for turn, detail in facts.details().items() if detail.time is not None}
        for facts in recordings
    ]
    if not any(by_turn):
        return {}
    found = {}
    for stage, (recording, turn) in enumerate(zip(stages.recording.tolist(), stages.turn.tolist(), strict=True)):
        if turn in by_turn[recording]:
            found[stage] = by_turn[recording][turn]
    return found


def members(graph: networkx.MultiDiGraph, view: str) -> dict[str, list[str]]:
    """The stages of each mind of a view, by its id, from a stage graph; a stage may be in several.

    >>> from individuation import open_trace
    >>> trace = open_trace({"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": [
    ...     {"role": "user", "model": "m"}, {"role": "assistant"}]}}})
    >>> members(trace.graph(["thread"]), "thread")
    {'c/0': ['c/0', 'c/1']}
    """
    found: dict[str, list[str]] = {mind: [] for mind in graph.graph.get(f"minds:{view}", ())}
    for stage, mind in graph.nodes(data=f"mind:{view}"):
        if mind is not None:
            for one in mind if isinstance(mind, list) else [mind]:
                found[one].append(stage)
    return found


def _add_stages(graph: networkx.MultiDiGraph, names: Sequence[str], columns: Mapping[str, Column]) -> None:
    keys = list(columns)
    graph.add_nodes_from(
        (name, {key: value for key, value in zip(keys, row, strict=True) if value is not None})
        for name, *row in zip(names, *columns.values(), strict=True)
    )


def _recorded(stages: StageTable) -> dict[str, Column]:
    start, end = _token_positions(stages)
    return {
        "conversation": _named(stages.conversation, stages.conversations),
        "ordinal": stages.ordinal.tolist(),
        "role": _named(stages.role, ROLES),
        "tokens": _known(stages.tokens),
        "model": _named(stages.model, stages.models),
        "server": _named(stages.server, stages.servers),
        "principal": _named(stages.principal, stages.principals),
        "region": _named(stages.region, stages.regions.names),
        "cache": _named(stages.cache, CACHES),
        "cache_recorded": stages.cache_known.tolist(),
        "token_start": _known(start),
        "token_end": _known(end),
    }


def _token_positions(stages: StageTable) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each stage begins and ends on its path, -1 where a token count before its beginning, or its end, lacks."""
    lacking = (stages.tokens < 0).astype(np.int64)
    known = np.where(lacking, 0, stages.tokens)
    end = sums_from_root(stages.previous, known)
    lacks = sums_from_root(stages.previous, lacking)
    return np.where(lacks > lacking, -1, end - known), np.where(lacks > 0, -1, end)


def _named(codes: NDArray[Any], names: Sequence[str]) -> Column:
    return [names[code] if code >= 0 else None for code in codes.tolist()]


def _known(numbers: NDArray[np.int64]) -> Column:
    return [number if number >= 0 else None for number in numbers.tolist()]


def _about(result: Result) -> dict[str, Any]:
    table = result.minds.table
    about: dict[str, Any] = {
        f"readings:{result.view}": {name: "inf" if value is None else value for name, value in result.readings.items()},
        f"caveats:{result.view}": list(result.caveats),
    }
    if result.count is not None:
        about[f"count:{result.view}"] = result.count
        if result.range is not None:
            about[f"range:{result.view}"] = str(result.range)
    if table is not None:
        about[f"minds:{result.view}"] = dict(zip(table.ids, table.labels, strict=True))
    return about


def _minds(result: Result) -> dict[str, Column]:
    verdict, table = result.verdict, result.minds.table
    if isinstance(verdict, Tally):
        known = verdict.count is not None
        return {f"passes:{result.view}": _known(verdict.own + verdict.again)} if known else {}
    if table is None:
        return {}
    minds = _overlapping(table) if isinstance(verdict, Cover) else verdict.mind.tolist()
    return {f"mind:{result.view}": _of_minds(minds, table.ids), f"label:{result.view}": _of_minds(minds, table.labels)}


def _overlapping(table: MindTable) -> list[list[int]]:
    """The minds that each stage belongs to."""
    minds: list[list[int]] = [[] for _ in range(len(table.stages))]
    for mind in range(len(table)):
        for stage in table.members(mind).tolist():
            minds[stage].append(mind)
    return minds


def _of_minds(minds: Sequence[int] | Sequence[list[int]], texts: Sequence[str]) -> Column:
    return [
        ([texts[one] for one in mind] or None) if isinstance(mind, list) else texts[mind] if mind >= 0 else None
        for mind in minds
    ]


def _links(stages: StageTable, names: Sequence[str]) -> list[tuple[str, str, str, dict[str, Any]]]:
    """Every link once: by later stage, and for each its own link, that from its predecessor, and a reused prefix."""
    links: list[tuple[str, str, str, dict[str, Any]]] = []
    columns = zip(
        names, stages.own.tolist(), stages.own_kind.tolist(), stages.previous.tolist(), stages.shared.tolist(),
        stages.edited.tolist(), stages.drift.tolist(), strict=True,
    )  # fmt: skip
    measured = _measured(stages)
    for stage, (name, own, own_kind, previous, shared, edited, drift) in enumerate(columns):
        if own >= 0:
            kind = LINKS[own_kind]
            link = {"kind": kind, "own": True, "edited": edited} | measured.get((stage, own), {})
            links.append((names[own], name, kind, link if drift != drift else link | {"drift": drift}))
        if previous not in (-1, own):
            link = _plain_link(LINKS[TRANSCRIPT]) | measured.get((stage, previous), {})
            links.append((names[previous], name, LINKS[TRANSCRIPT], link))
        if shared >= 0:
            links.append((names[shared], name, SHARED, _plain_link(SHARED)))
    return links


def _measured(stages: StageTable) -> dict[tuple[int, int], dict[str, float]]:
    """How far stages rest on earlier ones, by later and earlier stage."""
    ends = zip(stages.connection_stage.tolist(), stages.connection_source.tolist(), strict=True)
    values = zip(stages.connection_kl.tolist(), stages.connection_mass.tolist(), strict=True)
    return {
        pair: {name: value for name, value in (("kl", kl), ("mass", mass)) if value == value}
        for pair, (kl, mass) in zip(ends, values, strict=True)
    }


def _plain_link(kind: str) -> dict[str, Any]:
    return {"kind": kind, "own": False, "edited": False}
