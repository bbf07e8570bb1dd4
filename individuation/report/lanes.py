"""The picture of lanes in the page: the same scene as `individuate draw` paints, with its cells named by row number."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np

from individuation.picture.lanes import DEFAULT_WIDTH, WIDEST, lanes
from individuation.picture.palette import colours
from individuation.picture.scene import Circle, Group, Item, Path, Rect, Scene, Text
from individuation.picture.svg import FONTS, svg_of
from individuation.picture.timeline import MOST_STAGES, timeline
from individuation.report.findings import Findings
from individuation.report.markup import Html, count, opening, tag
from traces.facts import Longs
from traces.stages import StageTable

MOST_TOLD = 20_000
"""Stages whose facts are kept in the page."""

_MOST_CELLS, _MOST_TITLES = 24_000, 4_000
_LEAST_STAGE, _GUTTER = 3, 200
_ABOVE, _BELOW = 12.0, 16.0
_CAVEATS = re.compile(r"\s*[\d,]+ caveats?: individuate TRACE lists them\.")
_COLOUR = re.compile(r"var\(--picture-([\w-]+), #[0-9A-Fa-f]{6}\)")
_HEAD = re.compile(r'<svg [^>]*aria-labelledby="\S+ (\S+)"[^>]*>\n<title[^>]*>(.*?)</title>', re.DOTALL)


@dataclass(frozen=True)
class Figure:
    """The picture, what is to be said below it, and the stages that it tells of: rows of the stage table, ascending.

    Each cell has `data-at`: the position in `rows` of its stage, or of its first and last one; `data-mind`: the number
    that is drawn. Each row of cells has `data-view`: the position of the view among the results.
    """

    svg: Html
    said: str
    rows: Longs


def figure(found: Findings) -> Figure:
    """Draw the lanes of all views that have rows in the picture."""
    width = _width(found.stages)
    names, left_out = _drawn(found, width)
    scene = lanes(
        found.stages, found.drawn, found.coordinates, found.bands, title=found.title, interactive=True,
        conversations=names, width=width,
    )  # fmt: skip
    painter = _Renamed(found, scene)
    # A title of its own, counts and caveats: the page says them better, and where they can be read at any width.
    titles = next(item for item in scene.items if isinstance(item, Group) and item.kind == "titles")
    footer = [item for item in scene.items if isinstance(item, Text)]
    body = [painter.item(item) for item in scene.items if item is not titles and not isinstance(item, Text)]
    top = _top(body) - _ABOVE
    bottom = min((text.y for text in footer), default=scene.height) - _BELOW
    shown = replace(scene, items=[Group("all", body)])
    said = _CAVEATS.sub("", " ".join(text.text for text in footer))
    if left_out:
        said += f" {count(left_out, 'conversation')} more: not drawn."
    return Figure(_cropped(svg_of(shown, "css"), scene.width, top, bottom), said.strip(), painter.rows)


def _width(stages: StageTable) -> int | None:
    """Room for every stage of a long conversation, in a frame that scrolls; None for as much as any picture has."""
    longest = int(np.bincount(stages.conversation).max())
    return None if longest <= MOST_STAGES else min(max(longest * _LEAST_STAGE + _GUTTER, DEFAULT_WIDTH), WIDEST)


def _drawn(found: Findings, width: int | None) -> tuple[list[str] | None, int]:
    """The conversations to draw so that the page does not grow too large, None for as many as any picture has; and
    how many are left out.
    """
    time = timeline(found.stages, width or DEFAULT_WIDTH)
    room = _MOST_CELLS // (len(found.drawn) + 3)
    names: list[str] = []
    for strip in time.strips:
        room -= min(len(strip.rows), width or DEFAULT_WIDTH)
        if names and room < 0:
            break
        names.append(found.stages.conversations[strip.conversation])
    if len(names) == len(time.strips):
        return None, 0
    return names, time.left_out + len(time.strips) - len(names)


def colour_names() -> dict[str, str]:
    """The short name of the variable that holds the colour of each role: there are tens of thousands of them."""
    return {role: f"--k{number}" for number, role in enumerate(colours("light"))}


def _top(items: list[Item]) -> float:
    found = []
    for item in items:
        match item:
            case Group():
                found.append(_top(item.items))
            case Rect():
                found.append(item.y)
            case Text():
                found.append(item.box[1])
            case _:
                pass
    return min(found, default=np.inf)


def _cropped(svg: str, width: float, top: float, bottom: float) -> Html:
    head = _HEAD.match(svg)
    if head is None:
        raise ValueError("the picture does not begin as pictures do")
    # A title would be shown wherever the picture is pointed at.
    described, title = head.groups()
    size = f"max-width: {width:g}px" if width <= DEFAULT_WIDTH else f"width: {width:g}px"
    new = Html(
        f'<svg xmlns="http://www.w3.org/2000/svg" id="picture" viewBox="0 {top:g} {width:g} {bottom - top:g}" '
        f'data-width="{width:g}" style="{size}" role="graphics-document" '
        f'aria-label="{title}" aria-describedby="{described}" '
        f'font-family="{FONTS}">'
    )
    short = colour_names()
    body = _COLOUR.sub(lambda colour: f"var({short[colour[1]]})", svg[head.end() :])
    # The page says so of all that is no cell.
    return Html(new + body.replace(' pointer-events="none"', "").strip())


class _Renamed:
    """The items of a scene, in which stages are named by position and views by number."""

    def __init__(self, found: Findings, scene: Scene) -> None:
        self.stages = found.stages
        self.numbers = {result.view: str(number) for number, result in enumerate(found.results)}
        self.codes = {name: code for code, name in enumerate(found.stages.conversations)}
        every = list(scene.walk())
        drawn = [
            self.codes[item.data["data-conversation"]]
            for item in every
            if isinstance(item, Group) and item.kind == "conversation"
        ]
        self.begins = np.searchsorted(found.stages.conversation, np.arange(len(found.stages.conversations) + 1))
        rows = [np.arange(self.begins[code], self.begins[code + 1]) for code in sorted(drawn)]
        self.rows: Longs = np.concatenate([np.empty(0, np.int64), *rows])[:MOST_TOLD]
        self.titled = sum(isinstance(item, Rect | Circle) and "data-stage" in item.data for item in every)
        self.conversation = ""

    def item(self, item: Item) -> Item:
        """The same, renamed."""
        if isinstance(item, Group):
            return self._group(item)
        if isinstance(item, Rect | Circle) and "data-stage" in item.data:
            data = dict(item.data)
            at = self._at(data.pop("data-stage"))
            if at:
                data = {"data-at": at, **data}
            else:
                data.pop("data-mind", None)
            return replace(item, data=data, title=item.title if self.titled <= _MOST_TITLES else None)
        if isinstance(item, Path) and self.titled > _MOST_TITLES:
            return replace(item, title=None)
        return item

    def _group(self, group: Group) -> Group:
        data = dict(group.data)
        if "data-conversation" in data:
            self.conversation = data.pop("data-conversation")
            data["data-strip"] = str(self.codes[self.conversation])
        if "data-view" in data:
            data["data-view"] = self.numbers[data["data-view"]]
        return Group(group.kind, [self.item(item) for item in group.items], data)

    def _at(self, named: str) -> str:
        """The positions of the stage or stages that a cell stands for; "" where they are not told of."""
        first, _, last = named[len(self.conversation) + 1 :].partition("-")
        begin = int(self.begins[self.codes[self.conversation]])
        ends = [int(np.searchsorted(self.rows, begin + int(ordinal))) for ordinal in (first, last or first)]
        if ends[1] >= len(self.rows) or self.rows[ends[1]] != begin + int(last or first):
            return ""
        return str(ends[0]) if not last else f"{ends[0]}-{ends[1]}"


KEYS = (
    ("← →", "the stage before, the stage after"),
    ("↑ ↓", "the row above, the row below"),
    ("Shift ← →", "where the mind of this row changes"),
    ("Home End", "the first and the last stage of the conversation"),
    ("Page ↑ ↓", "the conversation above, the conversation below"),
    ("Enter", "take this stage; with a second one, are the two one mind?"),
    ("Esc", "let both go"),
    ("+ − 0", "nearer, farther, as at first"),
)


def toolbar() -> Html:
    """Buttons for those who point, and the keys."""

    def button(name: str, text: str, label: str) -> Html:
        return tag("button", text, type="button", id=name, aria_label=label, title=label)

    keys = tag(
        "details",
        tag("summary", "Keys"),
        tag("dl", *(Html(tag("div", tag("dt", keys), tag("dd", does))) for keys, does in KEYS)),
        class_="keys",
    )
    zoom = tag(
        "div",
        button("farther", "−", "Farther (key −)"),
        Html(f'{opening("output", id="zoom", aria_label="Zoom")}100 %</output>'),
        button("nearer", "+", "Nearer (key +)"),
        button("whole", "Reset", "As at first (key 0)"),
        role="group", aria_label="Zoom",
    )  # fmt: skip
    return tag("div", zoom, keys, class_="toolbar needs-script")
