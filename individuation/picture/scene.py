"""What a picture shows, before any format: shapes in pixels (y downwards), coloured by role, grouped, with tooltips."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from individuation.picture.lettering import text_width

Anchor = Literal["start", "middle", "end"]
Command = tuple[str, tuple[float, ...]]
"""One step of a path: "M" (x, y), "L" (x, y), "C" (x1, y1, x2, y2, x, y) or "Z" ()."""

TAIL = 10.0
"""The size of what follows a heading on its line."""

Data = Mapping[str, str]
_NONE: Data = {}


@dataclass(frozen=True, slots=True)
class Rect:
    """A rectangle. `fill` and `stroke` are roles of `palette`, or None. `hatch` > 0 lays a pattern of lines over it."""

    x: float
    y: float
    width: float
    height: float
    fill: str | None = None
    stroke: str | None = None
    stroke_width: float = 1.0
    hatch: int = 0
    hatch_colour: str = "ground"
    title: str | None = None
    data: Data = field(default_factory=lambda: _NONE)


@dataclass(frozen=True, slots=True)
class Path:
    """A line, curve or polygon. `dash`: lengths of marks and gaps in pixels."""

    steps: tuple[Command, ...]
    stroke: str | None = "ink"
    stroke_width: float = 1.0
    fill: str | None = None
    dash: tuple[float, ...] = ()
    title: str | None = None
    data: Data = field(default_factory=lambda: _NONE)


@dataclass(frozen=True, slots=True)
class Circle:
    """A dot."""

    x: float
    y: float
    radius: float
    fill: str | None = "ink"
    stroke: str | None = None
    stroke_width: float = 1.0
    title: str | None = None
    data: Data = field(default_factory=lambda: _NONE)


@dataclass(frozen=True, slots=True)
class Text:
    """A line of text; `y` is its baseline. `title` is shown when it is pointed at: the whole of a shortened text."""

    x: float
    y: float
    text: str
    size: float = 10.0
    colour: str = "ink"
    anchor: Anchor = "start"
    bold: bool = False
    tail: str = ""
    """What follows on the same line, muted and never bold."""
    title: str | None = None
    data: Data = field(default_factory=lambda: _NONE)

    @property
    def tail_starts(self) -> float:
        """How far right of its beginning the tail begins."""
        return text_width(self.text, self.size, self.bold) + 0.6 * self.size

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of what it takes up."""
        width = text_width(self.text, self.size, self.bold)
        if self.tail:
            width = self.tail_starts + text_width(self.tail, TAIL)
        left = self.x - {"start": 0.0, "middle": width / 2, "end": width}[self.anchor]
        return left, self.y - 0.76 * self.size, left + width, self.y + 0.24 * self.size


@dataclass(slots=True)
class Group:
    """Shapes that belong together; `kind` says what they are (it becomes the class of an SVG group)."""

    kind: str
    items: list[Item] = field(default_factory=list)
    data: Data = field(default_factory=lambda: _NONE)


Item = Rect | Path | Circle | Text | Group


@dataclass(slots=True)
class Scene:
    """A whole picture. `title` and `description` say in words what it shows; `interactive`: for a page that reacts."""

    width: float
    height: float
    title: str
    description: str
    items: list[Item] = field(default_factory=list)
    interactive: bool = False

    def walk(self) -> Iterator[Item]:
        """Everything in it, groups before what they hold, in the order in which it is painted."""
        waiting: list[Item] = list(reversed(self.items))
        while waiting:
            item = waiting.pop()
            yield item
            if isinstance(item, Group):
                waiting.extend(reversed(item.items))

    def texts(self) -> list[Text]:
        """All texts."""
        return [item for item in self.walk() if isinstance(item, Text)]


def plate(text: Text) -> Rect:
    """The ground behind a text, so that a line that passes there does not strike it out."""
    left, top, right, bottom = text.box
    return Rect(left - 1.5, top, right - left + 3, bottom - top, "ground")


def line(points: Sequence[tuple[float, float]], **look: object) -> Path:
    """A path of straight lines.

    >>> line([(0, 0), (5, 0)], stroke="muted").steps
    (('M', (0, 0)), ('L', (5, 0)))
    """
    steps = tuple(("L" if i else "M", point) for i, point in enumerate(points))
    return Path(steps, **look)  # type: ignore[arg-type]


def hatching(x: float, y: float, width: float, height: float, kind: int) -> Path:
    """The lines of a hatch over a rectangle, cut at its edges: kinds 1 to 5, and on from there in turn.

    >>> hatching(0, 0, 10, 4, 3).steps
    (('M', (0, 2.0)), ('L', (10, 2.0)))
    """
    steps: list[Command] = []

    def segment(x1: float, y1: float, x2: float, y2: float) -> None:
        steps.extend([("M", (x1, y1)), ("L", (x2, y2))])

    style = (kind - 1) % 5
    gap = 6.0
    if style in (0, 1, 4):
        # Diagonals x - y = c (rising to the left) or x + y = c, where they cross the rectangle.
        for falling in (True, False) if style == 4 else (style == 1,):
            offset = gap / 2
            while offset < width + height:
                start, end = max(0.0, offset - height), min(width, offset)
                if falling:
                    segment(x + start, y + height - (offset - start), x + end, y + height - (offset - end))
                else:
                    segment(x + start, y + (offset - start), x + end, y + (offset - end))
                offset += gap
    elif style == 2:
        segment(x, y + height / 2, x + width, y + height / 2)
    else:
        offset = gap / 2
        while offset < width:
            segment(x + offset, y, x + offset, y + height)
            offset += gap
    return Path(tuple(steps), stroke_width=1.4)
