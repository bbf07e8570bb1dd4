"""JSON in the node-link form that networkx reads (`networkx.node_link_graph(data, edges="edges")`), a line an item."""

from __future__ import annotations

import json
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import networkx


def write(graph: networkx.MultiDiGraph, out: IO[str]) -> None:
    """Write a stage graph.

    >>> import io, json, networkx
    >>> from individuation import open_trace
    >>> turns = [{"role": "user", "model": "m"}, {"role": "assistant", "tokens": 5}]
    >>> trace = open_trace({"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": turns}}})
    >>> text = io.StringIO()
    >>> write(trace.graph(["thread"]), text)
    >>> networkx.node_link_graph(json.loads(text.getvalue()), edges="edges").nodes["c/1"]["label:thread"]
    'c'
    """
    import networkx

    data = networkx.node_link_data(graph, edges="edges")
    out.write("{")
    for key, value in data.items():
        out.write(",\n" if key != "directed" else "\n")
        if isinstance(value, list):
            out.write(f" {json.dumps(key)}: [\n  ")
            out.write(",\n  ".join(map(_line, value)))
            out.write("\n ]")
        else:
            out.write(f" {json.dumps(key)}: {_line(value)}")
    out.write("\n}\n")


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
