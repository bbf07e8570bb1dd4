"""A Mermaid flowchart: stages as boxes within the minds of one view, links as arrows that say their kind."""

from __future__ import annotations

import json
import re
from typing import IO, TYPE_CHECKING, Any

from individuation.graph import members
from traces.errors import TraceError

if TYPE_CHECKING:
    import networkx

MOST_LINKS = 500
"""What Mermaid draws unless its `maxEdges` is raised where it is embedded."""

_ARROWS = {
    "attention": "-->",
    "transfer": "==>",
    "rebuild": "-.->",
    "unknown": "-.->",
    "transcript": "-.-o",
    "shared": "--o",
}

# Letters and digits of any script, and signs that mean nothing to Mermaid, nor to the Markdown that it reads in every
# label. A number with a dot, or a hyphen, would begin a list.
_NOT_PLAIN = re.compile(r"^\d+[.)]|^-|[^\w /,.()·-]|_")


def write(graph: networkx.MultiDiGraph, out: IO[str], view: str | None = None) -> None:
    """Write a stage graph, with the minds of `view` as boxes around their stages.

    Raises `TraceError` where minds share stages: a flowchart has no boxes that overlap.

    >>> import io
    >>> from individuation import open_trace
    >>> trace = open_trace({"individuation": 1, "title": "Two", "models": {"m": {}}, "conversations": {"c": {"turns": [
    ...     {"role": "user", "model": "m", "server": "s"}, {"role": "assistant"}]}}})
    >>> text = io.StringIO()
    >>> write(trace.graph(["thread"]), text, "thread")
    >>> print(text.getvalue(), end="")
    ---
    title: "Two (minds: thread)"
    ---
    flowchart LR
      subgraph m0["c"]
        n0["c/0 user"]
        n1["c/1 assistant"]
      end
      n0 -->|"attention"| n1
    """
    minds = {} if view is None else members(graph, view)
    in_a_mind = set().union(*minds.values())
    if sum(map(len, minds.values())) > len(in_a_mind):
        raise TraceError(
            f"view {view}",
            "minds share stages, and a flowchart has no boxes that overlap",
            "--reading branching=one, end or closest; or another format, which lists the minds of each stage",
        )
    numbers = {stage: f"n{number}" for number, stage in enumerate(graph)}
    boxes = {stage: f'{numbers[stage]}["{_label(f"{stage} {role}")}"]' for stage, role in graph.nodes(data="role")}
    title = graph.graph["title"] + (f" (minds: {view})" if minds else "")
    # YAML in double quotes is read as JSON is; characters that YAML refuses as they are, it takes escaped.
    out.write(f"---\ntitle: {json.dumps(title, ensure_ascii=not title.isprintable())}\n---\nflowchart LR\n")
    for number, (mind, stages) in enumerate(minds.items()):
        label = graph.graph[f"minds:{view}"][mind]
        if stages:
            out.write(f'  subgraph m{number}["{_label(label)}"]\n')
            out.writelines(f"    {boxes[stage]}\n" for stage in stages)
            out.write("  end\n")
        else:
            out.write(f'  m{number}(["{_label(f"{label}: in no stage")}"])\n')
    out.writelines(f"  {box}\n" for stage, box in boxes.items() if stage not in in_a_mind)
    for source, target, link in graph.edges(data=True):
        out.write(f'  {numbers[source]} {_ARROWS[link["kind"]]}|"{_said(link)}"| {numbers[target]}\n')


def _said(link: dict[str, Any]) -> str:
    drift = f" drift {link['drift']:g}" if "drift" in link else ""
    return _label(link["kind"] + (", edited" if link["edited"] else "") + ("," if drift else "") + drift)


def _label(text: str) -> str:
    """Text within the quotes of a label: what Mermaid might read as more than text is written as its code point.

    >>> _label('1. a "b" & <i>c</i> %%{init}%%')
    '1#46; a #34;b#34; #38; #60;i#62;c#60;/i#62; #37;#37;#123;init#125;#37;#37;'
    """
    return _NOT_PLAIN.sub(_coded, text)


def _coded(found: re.Match[str]) -> str:
    return "".join(sign if sign.isdecimal() else f"#{ord(sign)};" for sign in found.group())
