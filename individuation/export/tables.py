"""CSV: a table of stages with columns for each view, and a table of links. Lists are JSON text."""

from __future__ import annotations

import csv
from typing import IO, TYPE_CHECKING

from individuation.export.values import as_text

if TYPE_CHECKING:
    import networkx

_STAGE = (
    "conversation", "ordinal", "role", "tokens", "model", "server", "principal", "region", "cache", "cache_recorded",
    "token_start", "token_end", "time",
)  # fmt: skip
_LINK = ("kind", "own", "edited", "drift", "kl", "mass")


def write_stages(graph: networkx.MultiDiGraph, out: IO[str]) -> None:
    """Write a row a stage; what is not known is left empty.

    >>> import io
    >>> from individuation import open_trace
    >>> turns = [{"role": "user", "model": "m"}, {"role": "assistant", "tokens": 5}]
    >>> trace = open_trace({"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": turns}}})
    >>> text = io.StringIO()
    >>> write_stages(trace.graph(["thread"]), text)
    >>> text.getvalue().splitlines()[2]
    'c/1,c,1,assistant,5,m,,,,unknown,false,,,,c/0,c'
    """
    views = graph.graph["views"]
    columns = [*_STAGE, *(f"{what}:{view}" for view in views for what in _written(graph, view))]
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["stage", *columns])
    for stage, attributes in graph.nodes(data=True):
        writer.writerow([stage, *(as_text(attributes.get(column, "")) for column in columns)])


def _written(graph: networkx.MultiDiGraph, view: str) -> tuple[str, ...]:
    return ("mind", "label") if f"minds:{view}" in graph.graph else ("passes",)


def write_links(graph: networkx.MultiDiGraph, out: IO[str]) -> None:
    """Write a row a link, from the earlier stage to the later one.

    >>> import io
    >>> from individuation import open_trace
    >>> turns = [{"role": "user", "model": "m"}, {"role": "assistant", "tokens": 5}]
    >>> trace = open_trace({"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": turns}}})
    >>> text = io.StringIO()
    >>> write_links(trace.graph(), text)
    >>> text.getvalue().splitlines()
    ['source,target,kind,own,edited,drift,kl,mass', 'c/0,c/1,unknown,true,false,,,']
    """
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["source", "target", *_LINK])
    for source, target, attributes in graph.edges(data=True):
        writer.writerow([source, target, *(as_text(attributes.get(column, "")) for column in _LINK)])
