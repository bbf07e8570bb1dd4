"""The graph of stages by Graphviz: a box a stage, an arrow a link by its kind, around them the minds of one view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import graphviz
import numpy as np

from individuation.picture.blocks import MindsOfStages
from individuation.picture.legend import counted_minds
from individuation.picture.lettering import plain, shortened
from individuation.picture.palette import colours, mind_role, mixed
from individuation.picture.strokes import SAYS
from individuation.result import Result
from rules.view import Cover, Tally
from traces.errors import TraceError, UnknownNameError
from traces.facts import Longs
from traces.stages import ATTENTION, LINKS, REBUILD, TRANSCRIPT, TRANSFER, UNKNOWN, StageTable
from traces.vocabulary import ROLES

MOST_STAGES = 40
"""With more stages than this, neighbours of one mind are one box: a chain of boxes is soon too long to read."""
MOST_BOXES = 1500
"""More boxes than this, Graphviz would take minutes for, and nobody could read."""

_FONT = "Helvetica,Arial,sans-serif"
_LONGEST_ROW = 8
_SAMPLES = {
    ATTENTION: "───▶", TRANSFER: "═══▶", REBUILD: "·····▶", UNKNOWN: "╌ ? ╌▶", TRANSCRIPT: "─ ─▷",
}  # fmt: skip


@dataclass(frozen=True)
class _Box:
    """One stage, or neighbours of the same minds, model and server, linked in one way (`kind`; -1: one stage)."""

    first: int
    last: int
    minds: tuple[int, ...]
    kind: int = -1


def graph_of(
    stages: StageTable,
    result: Result,
    *,
    title: str | None = None,
    conversations: Sequence[str] | None = None,
    theme: str = "light",
) -> graphviz.Digraph:
    """The stages and links of a trace as a Graphviz graph (its DOT text is `.source`), with the minds of a result.

    Minds are clusters, by the numbers that they have in `lanes`; where they share stages, which clusters cannot, each
    box names its minds. Raises `UnknownNameError` for a
    conversation that there is not, `TraceError` for a view that lists no minds and for more than can be drawn.

    >>> from individuation.engine import individuate, open_trace
    >>> trace = open_trace({"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": [
    ...     {"role": "user", "tokens": 3, "model": "m"}, {"role": "assistant", "tokens": 5}]}}})
    >>> "subgraph cluster_0" in graph_of(trace.stages(), individuate(trace, "thread")).source
    True
    """
    if isinstance(result.verdict, Tally):
        raise TraceError(result.view, "it lists no minds, which are too many to draw", "another view")
    rows = _chosen(stages, conversations)
    boxes = _boxes(stages, result, rows)
    if len(boxes) > MOST_BOXES:
        raise TraceError(
            stages.trace,
            f"{len(boxes):,} boxes are too many to draw",
            f"at most {MOST_BOXES:,}: fewer conversations (--conversation), or a view with longer minds",
        )
    return _Drawing(stages, result, boxes, theme).graph(title or stages.trace)


def _chosen(stages: StageTable, conversations: Sequence[str] | None) -> Longs:
    if conversations is None:
        return np.arange(len(stages))
    for name in conversations:
        if name not in stages.conversations:
            raise UnknownNameError(stages.trace, "conversation", name, stages.conversations)
    wanted = [stages.conversations.index(name) for name in conversations]
    return np.flatnonzero(np.isin(stages.conversation, wanted))


def _boxes(stages: StageTable, result: Result, rows: Longs) -> list[_Box]:
    minds = MindsOfStages(result)
    merge = len(rows) > MOST_STAGES
    boxes: list[_Box] = []
    for row, mine in zip(rows.tolist(), minds.of(rows), strict=True):
        if merge and boxes and boxes[-1].minds == mine and _only_follows(stages, boxes[-1], row):
            boxes[-1] = _Box(boxes[-1].first, row, mine, int(stages.own_kind[row]))
        else:
            boxes.append(_Box(row, row, mine))
    return boxes


def _only_follows(stages: StageTable, box: _Box, row: int) -> bool:
    """Whether a stage goes on from a box with nothing changed: conversation, model, server, or how it is linked."""
    return (
        box.last == stages.previous[row] == stages.own[row]
        and stages.conversation[box.last] == stages.conversation[row]
        and stages.server[box.last] == stages.server[row]
        and box.kind in (-1, stages.own_kind[row])
        and not stages.edited[row]
    )


def _text(text: str) -> str:
    """A text as a label shows it: Graphviz reads escapes, entities and, between angle brackets, HTML."""
    shown: str = graphviz.nohtml(graphviz.escape(plain(text).replace("&", "&amp;")))
    return shown


class _Drawing:
    def __init__(self, stages: StageTable, result: Result, boxes: list[_Box], theme: str) -> None:
        self.stages, self.result, self.boxes = stages, result, boxes
        self.colours = colours(theme)
        self.box_of = {row: number for number, box in enumerate(boxes) for row in range(box.first, box.last + 1)}
        self.table = result.minds.table
        rows = np.fromiter(self.box_of, np.int64, len(self.box_of))
        self.several_models = len(np.unique(stages.model[rows])) > 1
        self.several_servers = len(np.unique(stages.server[rows])) > 1
        self.kinds: set[int] = set()
        self.across = True

    def graph(self, title: str) -> graphviz.Digraph:
        value = self.colours
        graph = graphviz.Digraph("stages")
        _, sizes = np.unique(self.stages.conversation[[box.first for box in self.boxes]], return_counts=True)
        self.across = bool(sizes.max(initial=0) <= _LONGEST_ROW)
        graph.attr(
            rankdir="LR" if self.across else "TB", ranksep="0.45" if self.across else "0.3", nodesep="0.18",
            bgcolor=value["ground"], fontname=_FONT, fontcolor=value["ink"], fontsize="11", pad="0.25", labelloc="t",
            labeljust="l",
        )  # fmt: skip
        graph.attr(
            "node", shape="box", style="rounded,filled", fontname=_FONT, fontsize="10", fontcolor=value["ink"],
            color=value["muted"], fillcolor=value["ground"], height="0.3", margin="0.1,0.05",
        )  # fmt: skip
        graph.attr(
            "edge", color=value["ink"], fontname=_FONT, fontsize="9", fontcolor=value["ink"], arrowsize="0.6",
        )  # fmt: skip
        overlapping = isinstance(self.result.verdict, Cover)
        if overlapping:
            for number in range(len(self.boxes)):
                self._node(graph, number, told=True)
        else:
            self._clusters(graph)
        self._links(graph)
        graph.attr(label=f"<{self._heading(title, overlapping)}>")
        return graph

    def _clusters(self, graph: graphviz.Digraph) -> None:
        of_mind: dict[int, list[int]] = {}
        for number, box in enumerate(self.boxes):
            of_mind.setdefault(box.minds[0] if box.minds else -1, []).append(number)
        empty = np.flatnonzero(self.table.count == 0).tolist() if self.table is not None else []
        shown = sorted({*of_mind, *empty[:20]} - {-1})
        labels = self.table.first_labels(max(shown, default=-1) + 1) if self.table is not None else []
        for mind in shown:
            with graph.subgraph(name=f"cluster_{mind}") as cluster:
                colour = self.colours[mind_role(mind)]
                cluster.attr(
                    label=_text(f"{mind + 1}   {shortened(labels[mind], 260, 11)}"), tooltip=_text(labels[mind]),
                    style="rounded,filled", color=colour, penwidth="2",
                    fillcolor=mixed(self.colours["ground"], colour, 0.14), fontsize="11", margin="9",
                )  # fmt: skip
                for number in of_mind.get(mind, ()):
                    self._node(cluster, number)
                if mind not in of_mind:
                    cluster.node(f"none_{mind}", label="no stage", shape="plaintext", style="")
        for number in of_mind.get(-1, ()):
            self._node(graph, number)

    def _node(self, graph: graphviz.Digraph, number: int, told: bool = False) -> None:
        box, stages = self.boxes[number], self.stages
        lines = []
        conversation = shortened(stages.conversations[int(stages.conversation[box.first])], 140, 10)
        if box.first == box.last:
            lines.append(f"{conversation}/{int(stages.ordinal[box.first])}  {ROLES[int(stages.role[box.first])]}")
        else:
            lines.append(f"{conversation}/{int(stages.ordinal[box.first])}-{int(stages.ordinal[box.last])}")
            lines.append(f"{box.last - box.first + 1:,} stages, {LINKS[box.kind]} links")
            self.kinds.add(box.kind)
        model, server = stages.models[int(stages.model[box.first])], int(stages.server[box.first])
        where = [shortened(model, 140, 10)] if self.several_models else []
        if self.several_servers and server >= 0:
            where.append(f"on {shortened(stages.servers[server], 140, 10)}")
        if where:
            lines.append(" ".join(where))
        if told:
            shown = ", ".join(str(mind + 1) for mind in box.minds[:8])
            more = f" and {len(box.minds) - 8:,} more" if len(box.minds) > 8 else ""
            lines.append(f"{'mind' if len(box.minds) == 1 else 'minds'} {shown}{more}" if box.minds else "no mind")
        assistant = bool(stages.assistant[box.first : box.last + 1].any())
        graph.node(
            f"s{number}",
            label="\\n".join(_text(line) for line in lines),
            tooltip=_text(stages.name(box.first)),
            style="rounded,filled" if box.minds else "rounded,filled,dashed",
            penwidth="1.5" if assistant else "0.8",
        )

    def _links(self, graph: graphviz.Digraph) -> None:
        stages = self.stages
        drawn: set[tuple[int, int, int, bool]] = set()
        for row in self.box_of:
            edited = bool(stages.edited[row])
            own, previous = int(stages.own[row]), int(stages.previous[row])
            wanted = [(own, int(stages.own_kind[row]), edited)] if own >= 0 else []
            if previous >= 0 and previous != own:
                wanted.append((previous, TRANSCRIPT, False))
            for origin, kind, marked in wanted:
                if origin not in self.box_of:
                    continue
                link = (self.box_of[origin], self.box_of[row], kind, marked)
                if link[0] != link[1] and link not in drawn:
                    drawn.add(link)
                    self._link(graph, *link)
            shared = int(stages.shared[row])
            if shared in self.box_of:
                graph.edge(
                    f"s{self.box_of[shared]}", f"s{self.box_of[row]}", color=self.colours["faint"], style="dashed",
                    label=" shared", arrowhead="empty", constraint="false",
                )  # fmt: skip

    def _link(self, graph: graphviz.Digraph, origin: int, target: int, kind: int, edited: bool) -> None:
        self.kinds.add(kind)
        ink = self.colours["ink"]
        # Down a page, a label between two boxes would push them apart.
        beside = "label" if self.across else "xlabel"
        look: dict[str, str] = {
            ATTENTION: {"penwidth": "1.4"},
            TRANSFER: {"color": f"{ink}:{self.colours['ground']}:{ink}", "penwidth": "1.2"},
            REBUILD: {"style": "dotted", "penwidth": "1.8"},
            UNKNOWN: {"style": "dashed", "penwidth": "1.2", beside: " ?"},
            TRANSCRIPT: {"color": self.colours["faint"], "penwidth": "0.8", "arrowhead": "empty"},
        }[kind]
        if edited:
            look = look | {beside: f"{look.get(beside, '')} edited", "arrowtail": "odiamond", "dir": "both"}
        graph.edge(f"s{origin}", f"s{target}", **look)

    def _heading(self, title: str, overlapping: bool) -> str:
        """Title, view and the kinds of link, as Graphviz's HTML."""

        def row(inner: str) -> str:
            return f'<tr><td align="left">{inner}</td></tr>'

        muted = self.colours["muted"]
        said = f"{plain(self.result.view)}: {counted_minds(self.result)}"
        said += f", with {self.result.chosen_text}" if self.result.chosen_text else ""
        rows = [
            row(f'<font point-size="15"><b>{escape(shortened(title, 560, 15, bold=True))}</b></font>'),
            row(f'<font point-size="11" color="{muted}">{escape(said)}</font>'),
        ]
        if overlapping and self.table is not None:
            shown = sorted({mind for box in self.boxes for mind in box.minds})[:12]
            labels = self.table.first_labels(max(shown, default=-1) + 1)
            rows += [row(f"{mind + 1}   {escape(shortened(labels[mind], 400, 11))}") for mind in shown]
            if len(self.table) > len(shown):
                rows.append(row(f"and {len(self.table) - len(shown):,} more"))
        links = " &#160; ".join(f"{_SAMPLES[kind]} {escape(SAYS[kind].split(':')[0])}" for kind in sorted(self.kinds))
        if links:
            rows.append(row(f'<font point-size="10">{links}</font>'))
        return f'<table border="0" cellborder="0" cellspacing="1" cellpadding="1">{"".join(rows)}</table>'
