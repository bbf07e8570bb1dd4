"""Open traces, and apply views to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from os import PathLike
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from individuation.count_range import range_of
from individuation.criteria import find_view
from individuation.result import Result
from rules.caveats import caveats
from rules.registry import VIEWS
from rules.view import View
from traces.errors import UnknownNameError
from traces.facts import Facts
from traces.file import facts_from_data
from traces.labelling import labelling_names
from traces.recognition import read
from traces.stages import StageTable
from traces.together import together

if TYPE_CHECKING:
    import networkx

Openable = str | PathLike[str] | Mapping[str, Any]


class Trace:
    """One or several recordings, opened for counting. Facts do not change; stages depend on the labelling that is
    chosen.
    """

    def __init__(self, recordings: Sequence[Facts]) -> None:
        self.recordings = list(recordings)
        self._stages: dict[str | None, StageTable] = {}

    @property
    def title(self) -> str:
        """What the recordings call themselves."""
        return " + ".join(facts.title or PurePath(facts.name).name for facts in self.recordings)

    @cached_property
    def labellings(self) -> list[str]:
        """The names of the labellings of any recording."""
        return list(dict.fromkeys(name for facts in self.recordings for name in labelling_names(facts)))

    def stages(self, labelling: str | None = None) -> StageTable:
        """All stages and links. Names are prefixed `TRACE:` where there are several recordings.

        Raises `UnknownNameError` for a labelling that no recording has.
        """
        if labelling not in self._stages:
            if labelling is not None and labelling not in self.labellings:
                raise UnknownNameError(
                    ", ".join(f.name for f in self.recordings), "labelling", labelling, self.labellings
                )
            self._stages[labelling] = together(self.recordings, labelling)
        return self._stages[labelling]

    def graph(self, views: Sequence[str] = (), labelling: str | None = None) -> networkx.MultiDiGraph:
        """Stages and links as a networkx graph, with the minds of the named views (see `individuation.graph`).

        >>> trace = open_trace({"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": [
        ...     {"role": "user", "model": "m", "server": "here"}, {"role": "assistant"}]}}})
        >>> graph = trace.graph(["thread"])
        >>> graph.nodes["c/1"]["mind:thread"], graph.edges["c/0", "c/1", "attention"]["own"]
        ('c/0', True)
        """
        from individuation.graph import stage_graph, times

        stages = self.stages(labelling)
        return stage_graph(stages, overview(self, views=views, labelling=labelling), times(self.recordings, stages))

    def _repr_html_(self) -> str:
        from individuation.notebook import trace_html

        return trace_html(self)

    def __repr__(self) -> str:
        stages = sum(len(facts.turns) for facts in self.recordings)
        return (
            f"<Trace {self.title!r}: {_counted(sum(len(f.conversations) for f in self.recordings), 'conversation')}, "
            f"{_counted(stages, 'stage')}>"
        )


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def open_trace(*traces: Openable) -> Trace:
    """Open a trace: a trace.db, a trace file (YAML or JSON), a recording of a known format, or a mapping like a trace
    file.

    Several are counted together. Raises `TraceError` that says where, what was found and what was expected.

    >>> open_trace({"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": [
    ...     {"role": "user", "tokens": 3, "model": "m"}, {"role": "assistant", "tokens": 5}]}}})
    <Trace 'trace': 1 conversation, 2 stages>
    """
    if not traces:
        raise TypeError("open_trace() needs at least one trace")
    recordings = [facts_from_data(trace) if isinstance(trace, Mapping) else read(Path(trace)) for trace in traces]
    return Trace(recordings)


def individuate(
    trace: Trace | Openable, view: str | View, *, labelling: str | None = None, **readings: object
) -> Result:
    """Count and label the minds of a trace under one view.

    `readings` are the view's own, by name; those left out take their defaults. Raises `TraceError` for an unknown view,
    reading or value, with the names there are.

    >>> trace = open_trace({"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": [
    ...     {"role": "user", "tokens": 3, "model": "m", "server": "here"},
    ...     {"role": "assistant", "tokens": 5, "server": "there"}]}}})
    >>> individuate(trace, "virtual-instance").count
    1
    >>> [mind.label for mind in individuate(trace, "virtual-instance", reconstruction="new").minds]
    ['m in c', 'm in c (2)']
    """
    opened = trace if isinstance(trace, Trace) else open_trace(trace)
    chosen = view if isinstance(view, View) else find_view(view)
    values = chosen.complete(readings)
    stages = opened.stages(labelling)
    verdict = chosen.rule(stages, values)
    said = caveats(chosen, stages, chosen.settled(values), verdict)
    ranging = partial(range_of, chosen, opened.recordings, stages, labelling, values, verdict.count)
    return Result.of(chosen, stages, values, verdict, said, ranging if chosen.is_persona_view else None)


def readings_of(views: Sequence[View], chosen: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """For each view, by name, those of the chosen readings that it has.

    Raises `UnknownNameError` for a reading that none of the views has.

    >>> readings_of([find_view("model"), find_view("thread")], {"weights": "base"})
    {'model': {'weights': 'base'}, 'thread': {}}
    """
    known = {reading.name for view in views for reading in view.readings}
    for name in chosen:
        if name not in known:
            where = f"view {views[0].name}" if len(views) == 1 else "views"
            raise UnknownNameError(where, "reading", name, sorted(known))
    return {
        view.name: {reading.name: chosen[reading.name] for reading in view.readings if reading.name in chosen}
        for view in views
    }


def overview(
    trace: Trace | Openable,
    *,
    views: Sequence[str | View] = tuple(VIEWS),
    labelling: str | None = None,
    readings: Mapping[str, object] | None = None,
) -> list[Result]:
    """One result for each view, by default all built-in ones. Each reading goes to the views that have it.

    Raises `UnknownNameError` for an unknown view, and for a reading that none of the views has.

    >>> turns = [{"role": "user", "model": "m"}]
    >>> world = {"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": turns}}}
    >>> [(result.view, result.count) for result in overview(world, views=["thread", "virtual-instance"])]
    [('thread', 1), ('virtual-instance', 1)]
    """
    opened = trace if isinstance(trace, Trace) else open_trace(trace)
    found = [view if isinstance(view, View) else find_view(view) for view in views]
    mine = readings_of(found, readings or {})
    return [individuate(opened, view, labelling=labelling, **mine[view.name]) for view in found]
