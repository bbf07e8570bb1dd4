"""Graphviz's DOT with everything a stage graph holds; the minds of one view are drawn as clusters.

Every text is in double quotes, with backslashes doubled and quotes escaped, so that a name may hold anything. Lists and
mappings are JSON text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any

from individuation.export.values import as_text
from individuation.graph import members

if TYPE_CHECKING:
    import networkx

_STYLES = {
    "attention": "solid",
    "transfer": "bold",
    "rebuild": "dashed",
    "unknown": "dotted",
    "transcript": "dotted",
    "shared": "dashed",
}


def write(graph: networkx.MultiDiGraph, out: IO[str], view: str | None = None) -> None:
    """Write a stage graph, with the minds of `view` as clusters unless they share stages.

    >>> import io
    >>> from individuation import open_trace
    >>> trace = open_trace({"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": [
    ...     {"role": "user", "model": "m", "server": "s"}, {"role": "assistant"}]}}})
    >>> text = io.StringIO()
    >>> write(trace.graph(["thread"]), text, "thread")
    >>> for line in text.getvalue().splitlines()[-8:]:
    ...     print(line)
      subgraph "cluster_0" {
        "label"="c";
        "mind"="c/0";
        "c/0";
        "c/1";
      }
      "c/0" -> "c/1" ["style"="solid", "kind"="attention", "own"="true", "edited"="false"];
    }
    """
    out.write(f"digraph {quote(graph.graph['title'])} {{\n")
    out.writelines(f"  {quote(name)}={quote(value)};\n" for name, value in graph.graph.items())
    out.write('  "rankdir"="LR";\n  node ["shape"="box"];\n')
    for stage, attributes in graph.nodes(data=True):
        label = f"{_shown(stage)}\\n{attributes['role']}"
        out.write(f'  {quote(stage)} ["label"="{label}", {_list(attributes)}];\n')
    if view is not None:
        _write_clusters(graph, out, view)
    for source, target, attributes in graph.edges(data=True):
        kind = attributes["kind"]
        label = "" if kind == "attention" else f'"label"={quote(kind)}, '
        out.write(f'  {quote(source)} -> {quote(target)} ["style"="{_STYLES[kind]}", {label}{_list(attributes)}];\n')
    out.write("}\n")


def _write_clusters(graph: networkx.MultiDiGraph, out: IO[str], view: str) -> None:
    minds = members(graph, view)
    if sum(map(len, minds.values())) > len(set().union(*minds.values())):
        out.write("  // Minds share stages here: Graphviz has no clusters that overlap, so none are drawn.\n")
        return
    labels = graph.graph.get(f"minds:{view}", {})
    for number, (mind, stages) in enumerate(minds.items()):
        out.write(f'  subgraph "cluster_{number}" {{\n    "label"="{_shown(labels[mind])}";\n')
        out.write(f'    "mind"={quote(mind)};\n')
        out.writelines(f"    {quote(stage)};\n" for stage in stages)
        out.write("  }\n")


def _list(attributes: Mapping[str, Any]) -> str:
    return ", ".join(f"{quote(name)}={quote(value)}" for name, value in attributes.items())


def quote(value: Any) -> str:
    """A value as a quoted DOT string.

    >>> print(quote('a "b" \\\\'))
    "a \\"b\\" \\\\"
    """
    return f'"{_escaped(as_text(value))}"'


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _shown(text: str) -> str:
    # In what it draws, Graphviz reads HTML entities.
    return _escaped(text.replace("&", "&amp;"))
