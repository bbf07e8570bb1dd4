"""GraphML, as networkx reads it (`networkx.read_graphml`). Lists and mappings are JSON text.

Written as it goes: for 100,000 stages networkx's own writer builds a tree of 1.7 GB first, and takes ten times as long.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import IO, TYPE_CHECKING, Any

from individuation.export.values import XML_TYPES, flat, xml_attribute, xml_content

if TYPE_CHECKING:
    import networkx

_HEAD = """<?xml version="1.0" encoding="utf-8"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" \
xsi:schemaLocation="http://graphml.graphdrawing.org/xmlns http://graphml.graphdrawing.org/xmlns/1.0/graphml.xsd">
"""


class _Keys:
    """The ids under which a file declares attributes, by where they belong and what they are called."""

    def __init__(self) -> None:
        self.ids: dict[tuple[str, str], str] = {}

    def declared(self, scope: str, all_attributes: Iterable[Mapping[str, Any]]) -> Iterable[str]:
        """A declaration for each attribute when it is first met."""
        for attributes in all_attributes:
            for name, value in attributes.items():
                if (scope, name) not in self.ids:
                    self.ids[scope, name] = f"d{len(self.ids)}"
                    kind = XML_TYPES[type(flat(value))]
                    yield (
                        f'  <key id="{self.ids[scope, name]}" for="{scope}" attr.name={xml_attribute(name)} '
                        f'attr.type="{kind}"/>\n'
                    )

    def data(self, scope: str, attributes: Mapping[str, Any]) -> str:
        """The values of one element."""
        return "".join(
            f'<data key="{self.ids[scope, name]}">{xml_content(value)}</data>' for name, value in attributes.items()
        )


def write(graph: networkx.MultiDiGraph, out: IO[str]) -> None:
    """Write a stage graph. Nodes go by stage name, edges by `e0`, `e1`, ...

    >>> import io, networkx
    >>> from individuation import open_trace
    >>> turns = [{"role": "user", "model": "m"}, {"role": "assistant", "tokens": 5}]
    >>> trace = open_trace({"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": turns}}})
    >>> text = io.StringIO()
    >>> write(trace.graph(), text)
    >>> networkx.parse_graphml(text.getvalue()).edges["c/0", "c/1"]["kind"]
    'unknown'
    """
    keys = _Keys()
    out.write(_HEAD)
    out.writelines(keys.declared("graph", [graph.graph]))
    out.writelines(keys.declared("node", (attributes for _, attributes in graph.nodes(data=True))))
    out.writelines(keys.declared("edge", (attributes for *_, attributes in graph.edges(data=True))))
    out.write(f'  <graph edgedefault="directed">\n    {keys.data("graph", graph.graph)}\n')
    for stage, attributes in graph.nodes(data=True):
        out.write(f"    <node id={xml_attribute(stage)}>{keys.data('node', attributes)}</node>\n")
    for number, (source, target, attributes) in enumerate(graph.edges(data=True)):
        ends = f"source={xml_attribute(source)} target={xml_attribute(target)}"
        out.write(f'    <edge id="e{number}" {ends}>{keys.data("edge", attributes)}</edge>\n')
    out.write("  </graph>\n</graphml>\n")
