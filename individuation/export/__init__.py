"""Stage graphs (`individuation.graph`) as files that other programs read: one file a format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import PurePath
from typing import IO, TYPE_CHECKING

from traces.errors import TraceError, one_of, quoted

if TYPE_CHECKING:
    import networkx


@dataclass(frozen=True)
class Format:
    """A format: its name, the endings of its files, what it is for, and the function that writes it.

    `writer` is `MODULE:FUNCTION`, loaded when first needed; it takes a graph and a text stream. `draws`: whether it
    draws the minds of one view as boxes, for which its writer takes the view's name as well.
    """

    name: str
    suffixes: tuple[str, ...]
    purpose: str
    writer: str
    draws: bool = False

    def write(self, graph: networkx.MultiDiGraph, out: IO[str], view: str | None = None) -> None:
        """Write a stage graph. Raises `TraceError` for what the format cannot hold."""
        module, _, function = self.writer.partition(":")
        write: Callable[..., None] = getattr(import_module(f"individuation.export.{module}"), function)
        write(graph, out, view) if self.draws else write(graph, out)


DOT = Format("dot", (".dot", ".gv"), "Graphviz", "dot:write", draws=True)
GRAPHML = Format("graphml", (".graphml",), "networkx, igraph, yEd, Cytoscape", "graphml:write")
GEXF = Format("gexf", (".gexf",), "Gephi, with time for its timeline", "gexf:write")
JSON = Format("json", (".json",), "node-link data of networkx and D3", "node_link:write")
MERMAID = Format("mermaid", (".mmd",), "Markdown that draws Mermaid", "mermaid:write", draws=True)
CSV = Format("csv", (".csv",), "a table of stages", "tables:write_stages")
PROV = Format("prov", (".provjson",), "W3C provenance, as PROV-JSON", "provenance:write")

FORMATS = {form.name: form for form in (DOT, GRAPHML, GEXF, JSON, MERMAID, CSV, PROV)}

LINKS_CSV = Format("csv", (), "a table of links", "tables:write_links")
PROV_N = Format("prov", (".provn",), "W3C provenance, as PROV-N", "provenance:write_provn")


def format_of(path: str, name: str | None = None, links: bool = False) -> Format:
    """The format for a file name (or `-`), by the format's name if one is given, else by the file's ending.

    `links`: the table of links in place of that of stages. Raises `TraceError` where neither tells the format.

    >>> format_of("aura.gv").name, format_of("aura.json").name, format_of("aura.json", "prov").name
    ('dot', 'json', 'prov')
    """
    suffix = PurePath(path).suffix.lower()
    by_suffix = {ending: form for form in (*FORMATS.values(), PROV_N) for ending in form.suffixes}
    form = by_suffix.get(suffix) if name is None else FORMATS[name]
    if form is None:
        if path == "-":
            raise TraceError(
                "--format", "it is missing, and standard output has no ending that tells it", one_of(FORMATS)
            )
        raise TraceError(
            path,
            f"its ending {quoted(suffix)} tells no format" if suffix else "it has no ending that tells the format",
            f"--format, or an ending: {one_of(by_suffix)}",
        )
    if form is PROV and suffix in PROV_N.suffixes:
        form = PROV_N
    if links and form is not CSV:
        raise TraceError(
            "--links", f"the format is {form.name}", "csv: every other format holds stages and links in one"
        )
    return LINKS_CSV if links else form
