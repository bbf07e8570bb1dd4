"""Lanes on a terminal: a strip a conversation, a line a view, a mark a mind; without colour and in ASCII too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from rich.console import Console
from rich.style import Style
from rich.table import Table
from rich.text import Text

from individuation.picture.bands import Band
from individuation.picture.blocks import MindsOfStages
from individuation.picture.curves import Curve, curves_of
from individuation.picture.legend import Listed, listed, more_minds
from individuation.picture.lettering import plain
from individuation.picture.palette import MINDS, colours, mind_role, on
from individuation.picture.streams import Streams, streams_of
from individuation.picture.strokes import SAYS
from individuation.picture.ticks import written
from individuation.picture.timeline import Strip, Timeline, timeline
from individuation.result import Result, brackets
from rules.view import Tally
from traces.coordinates import StageCoordinates
from traces.facts import Longs
from traces.stages import ATTENTION, LINKS, REBUILD, TRANSCRIPT, TRANSFER, UNKNOWN, StageTable
from traces.vocabulary import ROLES

MARKS = "123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
"""The marks of minds, as far as they go; `#` for all further ones."""

_SEVERAL = "+"
_KINDS = {ATTENTION: "-", TRANSFER: "=", REBUILD: ":", UNKNOWN: "?", TRANSCRIPT: "."}
_WIDEST_STAGE = 4
_MOST_MINDS = 12
_LEAST_ROOM = 16


def mark(mind: int) -> str:
    """The mark of the mind of that number (from 0).

    >>> mark(0), mark(9), mark(1000)
    ('1', 'A', '#')
    """
    return MARKS[mind] if mind < len(MARKS) else "#"


def show_lanes(
    out: Console,
    stages: StageTable,
    results: Sequence[Result],
    coordinates: StageCoordinates | None = None,
    bands: Sequence[Band] = (),
    *,
    conversations: Sequence[str] | None = None,
    connections: bool = True,
) -> None:
    """Print lanes as wide as the console. The arguments are those of `individuation.picture.lanes.lanes`.

    `connections`: also how far each stage rests on the one before it, where that was measured.
    """
    time = timeline(stages, float(out.width), conversations=conversations, time="stages")
    if not time.strips:
        out.print("There are no stages to draw.")
        return
    curves, _ = curves_of(stages, coordinates, bands, time.strips)
    drawn = np.concatenate([strip.rows for strip in time.strips])
    streams = streams_of(stages, drawn) if connections else None
    shown = [result for result in results if not isinstance(result.verdict, Tally)]
    _Lanes(out, stages, shown, time, curves, streams).show()


class _Lanes:
    def __init__(
        self,
        out: Console,
        stages: StageTable,
        results: Sequence[Result],
        time: Timeline,
        curves: Sequence[Curve],
        streams: Streams | None,
    ) -> None:
        self.out, self.stages, self.time, self.curves = out, stages, time, curves
        known = streams is not None and bool(np.isfinite(streams.neighbours).any())
        self.streams = streams if known else None
        self.minds = [MindsOfStages(result) for result in results]
        streams_label = ["connected"] if self.streams else []
        labels = [
            "turns",
            "links",
            *streams_label,
            *(result.view for result in results),
            *(curve.probe for curve in curves),
        ]
        self.gutter = min(max(map(len, labels)), max(out.width // 3, 5))
        room = max(out.width - self.gutter - 4, _LEAST_ROOM)
        self.span = int(time.end - time.start)
        self.each = min(_WIDEST_STAGE, room // self.span)
        """Columns of a stage; 0 where several stages share one."""
        self.columns = self.span * self.each if self.each else room
        self.ascii = not (out.encoding or "").lower().startswith("utf")
        self.bar, self.levels = ("=", "01234567") if self.ascii else ("━", "▁▂▃▄▅▆▇█")
        self.between = ", " if self.ascii else " · "
        self.found: dict[str, set[int]] = {result.view: set() for result in results}
        self.kinds: set[int] = set()
        self.several = False
        self.unassigned = False
        self.nobody = "." if self.ascii else "·"
        self.edited = False

    def show(self) -> None:
        for strip in self.time.strips:
            self._strip(strip)
            self.out.print()
        self._legend()

    def _strip(self, strip: Strip) -> None:
        stages = self.stages
        head = Text(plain(stages.conversations[strip.conversation]), style="bold")
        if strip.origin >= 0:
            head.append(f"  branches after {plain(stages.name(strip.origin))}", style="dim not bold")
        self.out.print(head)
        where = self._columns_of(strip)
        self._line("turns", self._letters(where, stages.role, "".join(role[0] for role in ROLES)))
        self._line("links", self._links(where))
        if self.streams is not None and np.isfinite(self.streams.neighbours[strip.rows]).any():
            self._line("connected", self._stream(where, self.streams))
        for minds in self.minds:
            layers, left_over = minds.layers(strip.rows)
            for number, layer in enumerate(layers):
                self.found[minds.result.view].update(np.unique(layer[layer >= 0]).tolist())
                self._line(
                    "" if number else minds.result.view, self._bar_of(where, strip, layer, alone=len(layers) == 1)
                )
            if left_over:
                self._line("", Text(f"and {left_over:,} more minds", style="dim"))
        for curve in self.curves:
            if np.isfinite(curve.values[strip.rows]).any():
                self._line(plain(curve.probe), self._spark(where, curve))

    def _line(self, label: str, content: Text) -> None:
        name = label if len(label) <= self.gutter else f"{label[: self.gutter - 1]}…"
        if self.ascii:
            name = name.replace("…", "~")
        self.out.print(Text.assemble("  ", (name.ljust(self.gutter), "dim"), "  ", content), no_wrap=True, crop=True)

    def _columns_of(self, strip: Strip) -> list[Longs]:
        """For each column the stages in it, up to the last of the strip."""
        places = (self.time.left[strip.rows] - self.time.start).astype(np.int64)
        if self.each:
            empty = np.empty(0, np.int64)
            found = [empty] * (int(places[0]) * self.each)
            for row in strip.rows:
                found.extend([np.array([row])] * self.each)
            return found
        column = places * self.columns // self.span
        return [strip.rows[column == number] for number in range(int(column[-1]) + 1)]

    def _letters(self, where: list[Longs], codes: np.ndarray, letters: str) -> Text:
        text = Text()
        for before, rows in pairwise([np.empty(0, np.int64), *where]):
            if not len(rows) or (self.each > 1 and len(before) and before[0] == rows[0]):
                text.append(" ")
            else:
                found = set(codes[rows].tolist())
                self.several |= len(found) > 1
                text.append(letters[found.pop()] if len(found) == 1 else _SEVERAL)
        return text

    def _links(self, where: list[Longs]) -> Text:
        stages = self.stages
        kind = np.where(stages.own >= 0, stages.own_kind, np.where(stages.previous >= 0, TRANSCRIPT, len(LINKS)))
        drawn = np.concatenate([rows for rows in where if len(rows)])
        self.kinds |= set(kind[drawn].tolist()) - {len(LINKS)}
        edited = stages.edited & (stages.own >= 0)
        self.edited |= bool(edited[drawn].any())
        return self._letters(where, np.where(edited, len(LINKS) + 1, kind), "".join(_KINDS.values()) + " *")

    def _bar_of(self, where: list[Longs], strip: Strip, layer: Longs, alone: bool) -> Text:
        first = int(strip.rows[0])
        text = Text()
        last: int | None = None
        for rows in where:
            found = set(layer[rows - first].tolist()) if len(rows) else {-1}
            if len(found) > 1:
                self.several = True
                text.append(_SEVERAL)
                last = None
                continue
            mind = found.pop()
            if mind < 0:
                text.append(self.nobody if alone and len(rows) else " ", style="dim")
                self.unassigned |= alone and bool(len(rows))
            elif mind == last:
                text.append(self.bar, style=Style(color=MINDS[mind % len(MINDS)]))
            else:
                text.append(mark(mind), style=_swatch(mind))
            last = mind
        return text

    def _spark(self, where: list[Longs], curve: Curve) -> Text:
        """The assistant's coordinates, from the lowest to the highest that the picture holds."""
        assistant = self.stages.assistant & np.isfinite(curve.values)
        drawn = np.concatenate([strip.rows for strip in self.time.strips])
        known = curve.values[drawn[assistant[drawn]]]
        if not len(known):
            return Text("only at turns of others", style="dim")
        low, high = float(known.min()), float(known.max())
        text = Text()
        shown = None
        for rows in where:
            spoken = rows[assistant[rows]]
            new = len(spoken) and int(spoken[0]) != shown
            if new or (len(spoken) and self.each > 1):
                level = (float(curve.values[spoken].mean()) - low) / (high - low) if high > low else 0.5
                text.append(self.levels[round(level * (len(self.levels) - 1))])
                shown = int(spoken[0])
            else:
                text.append(" ")
        return text

    def _stream(self, where: list[Longs], streams: Streams) -> Text:
        """How far each stage rests on the one before it, as a share of the farthest."""
        text = Text()
        for before, rows in pairwise([np.empty(0, np.int64), *where]):
            values = streams.neighbours[rows]
            known = values[np.isfinite(values)]
            again = self.each > 1 and len(before) and len(rows) and before[0] == rows[0]
            if again or not len(known):
                text.append(" ")
            else:
                text.append(self.levels[round(streams.share(float(known.mean())) * (len(self.levels) - 1))])
        return text

    def _legend(self) -> None:
        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True)
        for minds in self.minds:
            view = minds.result.view
            grid.add_row(Text(view, style="bold"), self._who(listed(minds.result, self.found[view])))
        grid.add_row(Text("turns"), Text(self._roles()))
        grid.add_row(Text("links"), Text(self.between.join(self._said_of_links())))
        if self.streams is not None:
            known = self.streams.neighbours[np.isfinite(self.streams.neighbours)]
            low, high = (self.streams.told(float(value)) for value in (known.min(), known.max()))
            what = "predicts otherwise with" if self.streams.unit == "nats" else "gives of its attention to"
            hidden = " hidden" if self.streams.unit == "nats" else ""
            said = f"how far a stage {what} the one before it{hidden}, from {low} to {high}"
            grid.add_row(Text("connected"), Text(said.replace("−", "-")))
        if self.curves:
            grid.add_row(Text("curves"), Text(self.between.join(self._ranges())))
        self.out.print(grid)
        notes = [self._scale()]
        chosen = [f"{m.result.view} with {m.result.chosen_text}" for m in self.minds if m.result.chosen_text]
        if chosen:
            notes.append(f"Readings chosen: {'; '.join(chosen)}.")
        if len(self.time.strips) < len({*self.stages.conversation.tolist()}):
            notes.append(f"{len(self.time.strips):,} of the conversations drawn; counts are of the whole trace.")
        bracketed = brackets(minds.result for minds in self.minds)
        if bracketed is not None:
            notes.append(f"{bracketed}.")
        if self.unassigned:
            notes.append(f"{self.nobody} in no mind.")
        if self.several:
            notes.append(f"{_SEVERAL} several in one column.")
        if self.time.left_out:
            notes.append(f"{self.time.left_out:,} more conversations: not drawn.")
        self.out.print()
        self.out.print(Text(" ".join(notes), style="dim"))

    def _who(self, view: Listed) -> Text:
        table = view.result.minds.table
        shown = view.minds[: _MOST_MINDS if len(view.minds) <= _MOST_MINDS else _MOST_MINDS - 1]
        labels = table.first_labels(max(shown, default=-1) + 1) if table is not None else []
        text = Text()
        if view.count:
            text.append(f"{view.count}: " if shown else view.count, style="dim")
        for number, mind in enumerate(shown):
            text.append("  " if number else "")
            text.append(mark(mind), style=_swatch(mind))
            text.append(f" = {plain(labels[mind])}")
        if further := more_minds(view, len(shown)):
            text.append(f"  {further}", style="dim")
        if not view.minds and not view.count:
            text.append("no mind here", style="dim")
        return text

    def _roles(self) -> str:
        drawn = np.concatenate([strip.rows for strip in self.time.strips])
        return self.between.join(
            f"{ROLES[role][0]} {ROLES[role]}" for role in np.unique(self.stages.role[drawn]).tolist()
        )

    def _said_of_links(self) -> Iterable[str]:
        for kind in sorted(self.kinds):
            yield f"{_KINDS[kind]} {SAYS[kind].partition(':')[0]}"
        if self.edited:
            yield "* edited"
        if not self.kinds and not self.edited:
            yield "none"

    def _ranges(self) -> Iterable[str]:
        drawn = np.concatenate([strip.rows for strip in self.time.strips])
        spoken = drawn[self.stages.assistant[drawn]]
        for curve in self.curves:
            known = curve.values[spoken][np.isfinite(curve.values[spoken])]
            if len(known):
                text = f"{plain(curve.probe)} from {written(float(known.min()))} to {written(float(known.max()))}"
                yield text.replace("−", "-")

    def _scale(self) -> str:
        if self.each:
            return "One column a stage." if self.each == 1 else f"{self.each} columns a stage."
        return f"{self.span / self.columns:.1f} stages a column."


def _swatch(mind: int) -> Style:
    role = mind_role(mind)
    return Style(color=colours("light")[on(role)], bgcolor=MINDS[mind % len(MINDS)], bold=True)
