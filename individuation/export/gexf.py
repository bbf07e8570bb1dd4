"""GEXF 1.3 (gexf.net) with time, so that Gephi's timeline works: every stage and link lasts from a start to an end.

Time is, whichever is known of every stage: when it began as recorded (`timeformat="dateTime"`; it lasts until the first
stage after it begins, and to the end of time where none does), else its token positions on its path, else its position
among the stages of its path. A link lasts as long as its later stage. Lists and mappings are JSON text.

A link's kind is also its `kind` in the sense of GEXF, by which Gephi keeps parallel links apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any

from individuation import __version__
from individuation.export.values import XML_TYPES, flat, xml_attribute, xml_content

if TYPE_CHECKING:
    import networkx

_HEAD = """<?xml version="1.0" encoding="utf-8"?>
<gexf xmlns="http://gexf.net/1.3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" \
xsi:schemaLocation="http://gexf.net/1.3 http://gexf.net/1.3/gexf.xsd" version="1.3">
"""

Lifetime = tuple[str, str | None]
"""Start and end as GEXF writes them; without an end it lasts to the end of time."""


def write(graph: networkx.MultiDiGraph, out: IO[str]) -> None:
    """Write a stage graph. Nodes go by stage name, edges by number.

    >>> import io, networkx
    >>> from individuation import open_trace
    >>> turns = [{"role": "user", "model": "m", "tokens": 3}, {"role": "assistant", "tokens": 5}]
    >>> trace = open_trace({"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": turns}}})
    >>> text = io.StringIO()
    >>> write(trace.graph(), text)
    >>> stage = networkx.read_gexf(io.StringIO(text.getvalue())).nodes["c/1"]
    >>> stage["start"], stage["end"]
    (3.0, 8.0)
    """
    time, lifetimes = _lifetimes(graph)
    columns = {
        "node": _columns(attributes for _, attributes in graph.nodes(data=True)),
        "edge": _columns(attributes for *_, attributes in graph.edges(data=True)),
    }
    out.write(_HEAD)
    out.write(
        f"  <meta><creator>individuate {__version__}</creator>"
        f"<description>{xml_content(_description(graph, time))}</description></meta>\n"
    )
    time_format = "dateTime" if time == "time as recorded" else "double"
    out.write(f'  <graph defaultedgetype="directed" mode="dynamic" timeformat="{time_format}">\n')
    for of, declared in columns.items():
        out.write(f'    <attributes class="{of}" mode="static">\n')
        for name, (number, kind) in declared.items():
            out.write(f'      <attribute id="{number}" title={xml_attribute(name)} type="{kind}"/>\n')
        out.write("    </attributes>\n")
    out.write("    <nodes>\n")
    for stage, attributes in graph.nodes(data=True):
        name, values = xml_attribute(stage), _values(columns["node"], attributes)
        out.write(f"      <node id={name} label={name}{_lasting(lifetimes[stage])}>{values}</node>\n")
    out.write("    </nodes>\n    <edges>\n")
    for number, (source, target, attributes) in enumerate(graph.edges(data=True)):
        kind, values = xml_attribute(attributes["kind"]), _values(columns["edge"], attributes)
        out.write(
            f'      <edge id="{number}" source={xml_attribute(source)} target={xml_attribute(target)} kind={kind}'
            f"{_lasting(lifetimes[target])}>{values}</edge>\n"
        )
    out.write("    </edges>\n  </graph>\n</gexf>\n")


def _description(graph: networkx.MultiDiGraph, time: str) -> str:
    """What networkx's and Gephi's models of a graph have no place for."""
    lines = [f"{graph.graph['title']}. Time: {time}."]
    for view in graph.graph["views"]:
        readings = " ".join(f"{name}={value}" for name, value in graph.graph[f"readings:{view}"].items())
        lines.append(f"{view}: {graph.graph.get(f'count:{view}', 'no count of')} minds. {readings}".rstrip())
        lines += [f"  caveat: {caveat}" for caveat in graph.graph[f"caveats:{view}"]]
    return "\n".join(lines)


def _columns(all_attributes: Iterable[Mapping[str, Any]]) -> dict[str, tuple[int, str]]:
    """A number and a type for each attribute, by name, as first met."""
    columns: dict[str, tuple[int, str]] = {}
    for attributes in all_attributes:
        for name, value in attributes.items():
            if name not in columns:
                columns[name] = len(columns), XML_TYPES[type(flat(value))]
    return columns


def _values(columns: Mapping[str, tuple[int, str]], attributes: Mapping[str, Any]) -> str:
    values = "".join(
        f'<attvalue for="{columns[name][0]}" value={xml_attribute(value)}/>' for name, value in attributes.items()
    )
    return f"<attvalues>{values}</attvalues>"


def _lasting(lifetime: Lifetime) -> str:
    start, end = lifetime
    return f' start="{start}"' + (f' end="{end}"' if end is not None else "")


def _lifetimes(graph: networkx.MultiDiGraph) -> tuple[str, dict[str, Lifetime]]:
    stages = dict(graph.nodes(data=True))
    if stages and all("time" in stage for stage in stages.values()):
        return "time as recorded", _recorded(graph)
    if all("token_end" in stage for stage in stages.values()):
        return "token positions", {
            name: (f"{stage['token_start']}.0", f"{stage['token_end']}.0") for name, stage in stages.items()
        }
    depth: dict[str, int] = {}
    for stage in graph:
        # Stages come after all stages before them on their path.
        depth[stage] = max((depth[before] + 1 for before in _before(graph, stage)), default=0)
    return "positions on the path", {name: (f"{at}.0", f"{at + 1}.0") for name, at in depth.items()}


def _before(graph: networkx.MultiDiGraph, stage: str) -> list[str]:
    """The stages that a stage's links on its own path come from."""
    return [source for source, _, kind in graph.in_edges(stage, keys=True) if kind != "shared"]


def _recorded(graph: networkx.MultiDiGraph) -> dict[str, Lifetime]:
    began = {stage: datetime.fromisoformat(time) for stage, time in graph.nodes(data="time")}
    ended: dict[str, datetime] = {}
    for stage in graph:
        for before in _before(graph, stage):
            # Clocks of several machines: what follows may seem to begin earlier.
            later = _instant(began[before]) <= _instant(began[stage])
            if later and (before not in ended or _instant(began[stage]) < _instant(ended[before])):
                ended[before] = began[stage]
    return {
        stage: (time.isoformat(), ended[stage].isoformat() if stage in ended else None) for stage, time in began.items()
    }


def _instant(time: datetime) -> datetime:
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
