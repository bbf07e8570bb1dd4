"""The picture of lanes: token-time to the right, a strip a conversation, a row a view, a colour and a number a mind.

Below the rows of a conversation stand its persona coordinates, where they were read, with the regions as bands
(Beckmann & Butlin 2026, §3.3). It is made from stages and results, so that whatever counts minds can be drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from individuation.picture import legend
from individuation.picture.bands import Band
from individuation.picture.blocks import MindsOfStages
from individuation.picture.captions import axis, counted, titles
from individuation.picture.curves import Curve, axes_width, curves_of, dots_drawn, has_curve, names_width, panel
from individuation.picture.frame import GAP, HEAD, MARGIN, NORMAL, Frame
from individuation.picture.lettering import shortened, text_width, wrapped
from individuation.picture.links import baseline, branch, links_height, links_row
from individuation.picture.rows import PLACE, TURNS, place_row, turns_row, view_row
from individuation.picture.scene import TAIL, Group, Scene, Text, plate
from individuation.picture.streams import Connections, streams_height, streams_key, streams_of, streams_row
from individuation.picture.timeline import Strip, Time, Timeline, timeline
from individuation.result import Result, brackets
from rules.view import Tally
from traces.coordinates import StageCoordinates
from traces.errors import TraceError
from traces.stages import StageTable
from traces.vocabulary import ROLES

NARROWEST, WIDEST = 480, 4000
"""The widths that a picture can have, in pixels."""
DEFAULT_WIDTH = 960
_LEAST_OWN_WIDTH = 640
_STAGE = 44.0
_ROW_GAP = 5.0
_STRIP_GAP = 20.0


def default_views(stages: StageTable) -> list[str]:
    """The views that are worth a row on this trace.

    Models and servers only where there are several, or any; personas only where any stage is in a region.
    """
    several_models = len(np.unique(stages.model)) > 1
    servers = bool((stages.server >= 0).any())
    regions = bool((stages.region >= 0).any())
    return [
        *(["model"] if several_models else []),
        *(["physical-instance"] if servers else []),
        "thread",
        "virtual-instance",
        *(["instance-persona", "model-persona"] if regions else []),
    ]


def lanes(
    stages: StageTable,
    results: Sequence[Result],
    coordinates: StageCoordinates | None = None,
    bands: Sequence[Band] = (),
    *,
    title: str | None = None,
    conversations: Sequence[str] | None = None,
    width: int | None = None,
    time: Time = "auto",
    connections: Connections = "before",
    interactive: bool = False,
) -> Scene:
    """Draw results on the same stages, a row each, in their order.

    The legend gives each count, that of a persona view with its range. `conversations`: only these; at most 24 are
    drawn, and what is left out is said. `width` in pixels, from 480 to 4,000; without it the picture is as wide as it
    has to be, up to 960. `time`: "tokens", "stages", or "auto" (tokens where all are known and can be seen).
    `connections`: how far stages rest on earlier ones, where that was measured: "before" (on the one before, and on the
    one that their own link comes from), "all", or "none". With `interactive`, cells carry `data-stage` (`c1/3`),
    `data-mind` (the number that is drawn, from 1) and a tooltip; rows carry `data-view`.

    Raises `UnknownNameError` for a conversation that there is not, and `TraceError` for a width out of range.

    >>> from individuation.engine import open_trace, overview
    >>> trace = open_trace({"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": [
    ...     {"role": "user", "tokens": 3, "model": "m"}, {"role": "assistant", "tokens": 5}]}}})
    >>> scene = lanes(trace.stages(), overview(trace, views=["thread"]))
    >>> scene.description
    'Lanes of 1 conversation with 2 stages. thread: 1 mind.'
    """
    if width is not None and not NARROWEST <= width <= WIDEST:
        raise TraceError("width", f"it is {width} pixels", f"{NARROWEST} to {WIDEST:,}")
    rows = [result for result in results if not isinstance(result.verdict, Tally)]
    trial = timeline(stages, (width or DEFAULT_WIDTH) * 0.75, conversations=conversations, time=time)
    curves, more_curves = curves_of(stages, coordinates, bands, trial.strips)
    return _Lanes(stages, rows, trial, curves, more_curves, width, connections, interactive).scene(
        title or stages.trace, results
    )


class _Lanes:
    def __init__(
        self,
        stages: StageTable,
        results: Sequence[Result],
        time: Timeline,
        curves: Sequence[Curve],
        more_curves: int,
        width: int | None,
        connections: Connections,
        interactive: bool,
    ) -> None:
        self.stages, self.time, self.curves, self.more_curves = stages, time, curves, more_curves
        self.minds = [MindsOfStages(result) for result in results]
        drawn = np.concatenate([strip.rows for strip in time.strips]) if time.strips else np.empty(0, np.int64)
        self.drawn = drawn
        self.streams = streams_of(stages, drawn, connections)
        places = (
            ("model", stages.model, stages.models),
            ("server", stages.server, stages.servers),
            ("principal", stages.principal, stages.principals),
        )
        self.places = [place for place in places if len(np.unique(place[1][drawn])) > 1]
        labels = [minds.result.view for minds in self.minds] + [
            "turns",
            "links",
            *(["connected"] if self.streams else []),
        ]
        gutter = max(text_width(label, NORMAL) for label in labels)
        names = axes_width(curves)
        gutter = min(max(gutter, names), 170.0)
        left = MARGIN + gutter + GAP
        self.names = names_width(curves, 150.0)
        longest = max((len(strip.rows) for strip in time.strips), default=1)
        span = max((time.right[strip.rows[-1]] for strip in time.strips), default=1.0) - time.start
        if time.unit == "stages":
            longest = max(longest, int(span))
        wanted = left + longest * _STAGE + self.names + MARGIN
        self.width = float(width) if width else min(max(wanted, _LEAST_OWN_WIDTH), DEFAULT_WIDTH)
        self.frame = Frame(stages, time, self.width, left, self.width - MARGIN - self.names, interactive)
        self.found: dict[str, set[int]] = {minds.result.view: set() for minds in self.minds}
        self.marks: set[str] = set()
        self.baselines: dict[int, float] = {}

    def _strips(self, y: float, body: Group) -> float:
        branches: list[tuple[Strip, float]] = []
        for strip in self.time.strips:
            group = Group("conversation", data={"data-conversation": self.stages.conversations[strip.conversation]})
            top = self._head(strip, y, group)
            y = self._strip(strip, top, group) + _STRIP_GAP
            body.items.append(group)
            if strip.origin >= 0:
                branches.append((strip, self.baselines[strip.conversation]))
        last = {strip.conversation: int(strip.rows[-1]) for strip in self.time.strips}
        lines = Group("branches")
        for strip, y_to in branches:
            parent = int(self.stages.conversation[strip.origin])
            y_from = self.baselines.get(parent)
            goes_on = last.get(parent) != strip.origin
            lines.items.extend(branch(self.frame, int(strip.rows[0]), strip.origin, y_from, y_to, goes_on))
        if lines.items:
            # Behind the strips: a line across a row would look like a boundary in it.
            body.items.insert(0, lines)
        return y - _STRIP_GAP

    def _head(self, strip: Strip, top: float, group: Group) -> float:
        name = self.stages.conversations[strip.conversation]
        shown = shortened(name, (self.width - 2 * MARGIN) * (0.5 if strip.origin >= 0 else 1.0), HEAD, bold=True)
        whole = name if shown != name else None
        head = Text(MARGIN, top + 11, shown, HEAD, "ink", bold=True, title=whole)
        if strip.origin >= 0:
            origin = self.stages.name(strip.origin)
            hidden = "" if int(self.stages.conversation[strip.origin]) in self.baselines else ", which is not drawn"
            said = f"branches after {origin}{hidden}"
            cut = shortened(said, self.width - 2 * MARGIN - head.tail_starts, TAIL)
            head = replace(head, tail=cut, title=f"{name} {said}" if cut != said or whole else None)
        group.items.extend([plate(head), head])
        return top + 19

    def _strip(self, strip: Strip, y: float, group: Group) -> float:
        frame = self.frame
        for what, codes, names in self.places:
            group.items.append(place_row(frame, strip, y, what, codes[strip.rows], names))
            y += PLACE + _ROW_GAP
        group.items.append(turns_row(frame, strip, y))
        y += TURNS + 3
        row, marks = links_row(frame, strip, y)
        self.marks |= marks
        self.baselines[strip.conversation] = baseline(y)
        group.items.append(row)
        y += links_height(frame, strip) + _ROW_GAP
        if self.streams is not None and (height := streams_height(self.frame, strip, self.streams)):
            group.items.append(streams_row(frame, strip, y, self.streams))
            y += height + _ROW_GAP
        for minds in self.minds:
            row, height, found = view_row(frame, strip, y, minds)
            self.found[minds.result.view] |= found
            group.items.append(row)
            y += height + _ROW_GAP
        for curve in self.curves:
            if has_curve(curve, strip):
                y += 3
                group.items.append(panel(frame, strip, curve, y, self.names))
                y += curve.height + _ROW_GAP
        return y - _ROW_GAP

    def scene(self, title: str, results: Sequence[Result]) -> Scene:
        scene = Scene(self.width, 0.0, title, self._description(results), interactive=self.frame.interactive)
        group, y = titles(self.stages, title, self.width, len(self.time.strips))
        scene.items.append(group)
        body = Group("strips")
        scene.items.append(body)
        if self.time.strips:
            y = self._strips(y, body)
            group, y = axis(self.frame, y + 8)
            scene.items.append(group)
        else:
            scene.items.append(Text(MARGIN, y + 10, "There are no stages to draw.", NORMAL, "muted"))
            y += 16
        y += 22
        views = [legend.listed(minds.result, self.found[minds.result.view]) for minds in self.minds]
        group, y = legend.minds_legend(views, y, self.width)
        scene.items.append(group)
        group, y = legend.keys_legend(self._keys(), y + 12, self.width)
        scene.items.append(group)
        scene.height = float(np.ceil(self._footer(results, y + 8, scene) + MARGIN - 4))
        return scene

    def _keys(self) -> list[legend.Key]:
        stages = self.stages
        roles = np.unique(stages.role[self.drawn]).tolist() if len(self.drawn) else []
        turns = [(ROLES[role], ROLES[role]) for role in sorted(roles, key=lambda role: ROLES[role] != "assistant")]
        if self.time.merged:
            turns.append(("mixed", "several, each too short to draw"))
        read = np.zeros(len(stages), np.bool_)
        for curve in self.curves if dots_drawn(self.frame) else ():
            read[self.drawn] |= np.isfinite(curve.values[self.drawn])
        dots = [("filled-dot", "assistant turn")] if (read & stages.assistant).any() else []
        dots += [("hollow-dot", "other turn")] if (read & ~stages.assistant).any() else []
        none = [("no-mind", "in no mind")] if self._unassigned() else []
        streams = ("connected", streams_key(self.streams))
        return [("turns", turns), legend.links_key(self.marks), streams, ("coordinates", dots), ("minds", none)]

    def _unassigned(self) -> bool:
        return any(
            bool((layers[0] < 0).any())
            for minds in self.minds
            for strip in self.time.strips
            if (layers := minds.layers(strip.rows)[0]) and len(layers) == 1
        )

    def _footer(self, results: Sequence[Result], y: float, scene: Scene) -> float:
        how = ["A row is a view; a stretch of one number and colour is one mind of that view."]
        chosen = [f"{result.view} with {result.chosen_text}" for result in results if result.chosen_text]
        if chosen:
            how.append(f"Readings chosen: {'; '.join(chosen)}.")
        if len(self.time.strips) < len(np.unique(self.stages.conversation)):
            how.append("Counts are of the whole trace.")
        bracketed = brackets(results)
        if bracketed is not None:
            how.append(f"{bracketed}.")
        if self.time.merged:
            how.append("Stages that do not differ are drawn as one.")
        left_out = []
        if self.time.left_out:
            left_out.append(f"{counted(self.time.left_out, 'conversation')} more: not drawn.")
        if self.streams is not None and self.streams.left_out:
            left_out.append(f"{counted(self.streams.left_out, 'weaker connection')} more: not drawn.")
        if self.more_curves:
            left_out.append(f"{counted(self.more_curves, 'axis', 'axes')} more: not drawn.")
        for result in results:
            if isinstance(result.verdict, Tally):
                many = "no count" if result.count is None else f"{result.count:,}"
                left_out.append(f"{result.view}: {many}, too many for a row.")
        caveats = len({caveat for result in results for caveat in result.caveats})
        if caveats:
            left_out.append(f"{counted(caveats, 'caveat')}: individuate TRACE lists them.")
        for said in (how, left_out):
            for text in wrapped(" ".join(said), self.width - 2 * MARGIN, NORMAL) if said else ():
                y += 14
                scene.items.append(Text(MARGIN, y, text, NORMAL, "muted"))
        return y

    def _description(self, results: Sequence[Result]) -> str:
        strips = self.time.strips
        said = [f"Lanes of {counted(len(strips), 'conversation')} with {counted(len(self.drawn), 'stage')}."]
        for result in results:
            count = legend.counted_minds(result)
            if count:
                said.append(f"{result.view}: {count}.")
        return " ".join(said)
