"""Where things go: the measures of a picture of lanes, and pixels for token-time."""

from __future__ import annotations

from dataclasses import dataclass

from individuation.picture.lettering import shortened
from individuation.picture.scene import Group, Text
from individuation.picture.timeline import Timeline
from traces.stages import StageTable
from traces.vocabulary import ROLES

MARGIN = 20.0
GAP = 10.0
"""Between the labels of rows and the rows."""
SMALL, NORMAL, HEAD, TITLE = 8.5, 10.0, 11.5, 15.0
"""Sizes of letters."""


@dataclass(frozen=True)
class Frame:
    """The plot's place in the picture: `left` and `right` are its first and last pixel."""

    stages: StageTable
    time: Timeline
    width: float
    left: float
    right: float
    interactive: bool

    def x(self, place: float) -> float:
        """The pixel of a place in token-time."""
        span = max(self.time.end - self.time.start, 1e-9)
        return self.left + (place - self.time.start) / span * (self.right - self.left)

    def begin(self, stage: int) -> float:
        """Where a stage begins."""
        return self.x(float(self.time.left[stage]))

    def end(self, stage: int) -> float:
        """Where a stage ends."""
        return self.x(float(self.time.right[stage]))

    def middle(self, stage: int) -> float:
        """The middle of a stage."""
        return (self.begin(stage) + self.end(stage)) / 2

    @property
    def step(self) -> float:
        """Pixels of an average stage of the longest strip."""
        most = max((len(strip.rows) for strip in self.time.strips), default=1)
        return (self.right - self.left) / max(most, 1)

    def label(
        self, group: Group, text: str, middle: float, width: float | None = None, title: str | None = None
    ) -> None:
        """Name a row, in the margin left of the plot."""
        room = self.left - GAP - MARGIN if width is None else width
        shown = shortened(text, room, NORMAL)
        whole = title or (text if shown != text else None)
        group.items.append(Text(self.left - GAP, middle + 3.5, shown, NORMAL, "muted", "end", title=whole))

    def told(self, first: int, last: int) -> str:
        """A stage, or a stretch of stages of one conversation, in words."""
        stages = self.stages
        if first != last:
            return f"{stages.name(first)} to {int(stages.ordinal[last])}, {last - first + 1:,} stages"
        parts = [stages.name(first), ROLES[int(stages.role[first])]]
        if stages.tokens[first] >= 0:
            parts.append(f"{int(stages.tokens[first]):,} tokens")
        model = stages.models[int(stages.model[first])]
        server = int(stages.server[first])
        parts.append(f"{model} on {stages.servers[server]}" if server >= 0 else model)
        return ", ".join(parts)

    def named(self, first: int, last: int) -> str:
        """What `data-stage` says: `c1/3`, or `c1/8-45`."""
        name = self.stages.name(first)
        return name if first == last else f"{name}-{int(self.stages.ordinal[last])}"
