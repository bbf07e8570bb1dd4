"""What the marks of a picture of lanes mean: the minds of each view by number and label, then turns and links."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from individuation.picture.frame import MARGIN, NORMAL, SMALL
from individuation.picture.lettering import shortened, text_width
from individuation.picture.palette import mind_hatch, mind_role, on, over
from individuation.picture.rows import MIXED_LOOK, ROLE_LOOK
from individuation.picture.scene import Circle, Group, Item, Path, Rect, Text
from individuation.picture.streams import BROADEST, BROADEST_ARC, THINNER
from individuation.picture.strokes import SAYS, diamond, question_mark, stroke, triangle
from individuation.result import Result
from rules.view import Tally
from traces.stages import LINKS, UNKNOWN

MOST_MINDS = 20
_LINE = 16.0
_COLUMN = 190.0
_SAMPLE = 26.0
_HOLE = 3 * _LINE


@dataclass(frozen=True)
class Listed:
    """A view in the legend: the minds that were drawn, and what is said of its count."""

    result: Result
    minds: list[int]
    """In order; those that no stage belongs to come last."""
    count: str


def counted_minds(result: Result) -> str:
    """The count in words, with its range under a persona view; "" where there is none.

    >>> from individuation.engine import individuate
    >>> turns = [{"role": "user", "model": "m"}, {"role": "assistant", "region": "calm"}]
    >>> world = {"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": turns}}}
    >>> counted_minds(individuate(world, "thread")), counted_minds(individuate(world, "instance-persona"))
    ('1 mind', '1 mind (1-2)')
    """
    return "" if result.count is None else result.minds_text


def more_minds(view: Listed, shown: int) -> str:
    """How many minds are not listed, and how many of these are not drawn; "" where all are listed."""
    hidden = len(view.result.minds) - len(view.minds)
    more = len(view.minds) - shown + hidden
    if not more:
        return ""
    return f"and {more:,} more" + (f", {hidden:,} of them not drawn" if hidden and more > hidden else
                                   ", not drawn" if hidden else "")  # fmt: skip


def listed(result: Result, drawn: set[int]) -> Listed:
    """The minds to list: those drawn, and those that no stage belongs to at all."""
    table = result.minds.table
    empty = np.flatnonzero(table.count == 0)[:MOST_MINDS].tolist() if table is not None else []
    return Listed(result, [*sorted(drawn), *(i for i in empty if i not in drawn)], counted_minds(result))


def minds_legend(views: Sequence[Listed], top: float, width: float) -> tuple[Group, float]:
    """A column a view: its name, its count, and its minds; and where it ends."""
    group = Group("legend")
    shown = [view for view in views if not isinstance(view.result.verdict, Tally)]
    columns = max(1, min(len(shown), int((width - 2 * MARGIN + 16) // _COLUMN)))
    room = (width - 2 * MARGIN + 16) / columns
    bottoms = [top] * columns
    for place, view in enumerate(shown):
        # In rows, but so that a long list leaves no hole beside it.
        number, first = place % columns, min(range(columns), key=lambda column: bottoms[column])
        if bottoms[number] > bottoms[first] + _HOLE:
            number = first
        bottoms[number] = _column(view, MARGIN + number * room, bottoms[number], room - 16, group) + 10
    return group, max(bottoms) - 10 if shown else top


def _column(view: Listed, x: float, top: float, room: float, group: Group) -> float:
    name = shortened(view.result.view, room, NORMAL, bold=True)
    whole = view.result.view if name != view.result.view else None
    heading = Text(x, top + 10, name, NORMAL, "ink", bold=True, title=whole)
    y = top + 10
    fits = heading.tail_starts + text_width(view.count, NORMAL) <= room
    group.items.append(replace(heading, tail=view.count) if fits else heading)
    if view.count and not fits:
        y += 13
        count = shortened(view.count, room, NORMAL)
        group.items.append(Text(x, y, count, NORMAL, "muted", title=view.count if count != view.count else None))
    most = MOST_MINDS if len(view.minds) <= MOST_MINDS else MOST_MINDS - 1
    listed_minds = view.minds[:most]
    table = view.result.minds.table
    labels = table.first_labels(max(listed_minds, default=-1) + 1) if table is not None else []
    swatch = max((text_width(str(i + 1), SMALL, bold=True) + 8 for i in listed_minds), default=0.0)
    for mind in listed_minds:
        y += _LINE
        data = {"data-view": view.result.view, "data-mind": str(mind + 1)}
        entry = Group("mind", data=data)
        role = mind_role(mind)
        entry.items.append(
            Rect(
                x, y - 9.5, swatch, 12, role, hatch=mind_hatch(mind), hatch_colour=over(role), stroke="outline",
                stroke_width=0.8,
            )
        )  # fmt: skip
        wide = text_width(str(mind + 1), SMALL, bold=True)
        if mind_hatch(mind):
            entry.items.append(Rect(x + (swatch - wide) / 2 - 1.5, y - 8.5, wide + 3, 10, role))
        entry.items.append(Text(x + swatch / 2, y - 0.4, str(mind + 1), SMALL, on(role), "middle", bold=True))
        label = shortened(labels[mind], room - swatch - 6, NORMAL)
        whole = labels[mind] if label != labels[mind] else None
        said = Text(x + swatch + 6, y, label, NORMAL, "ink", title=whole)
        nowhere = table is not None and table.count[mind] == 0
        if nowhere and said.tail_starts + swatch + 6 + text_width("no stage", NORMAL) <= room:
            said = replace(said, tail="no stage")
        entry.items.append(said)
        group.items.append(entry)
    if further := more_minds(view, len(listed_minds)):
        y += _LINE
        group.items.append(Text(x, y, shortened(further, room, NORMAL), NORMAL, "muted"))
    if not view.minds:
        y += _LINE
        group.items.append(Text(x, y, "no mind here", NORMAL, "muted"))
    return y + 4


Key = tuple[str, list[tuple[str, str]]]
"""A heading, and for each entry what it is and what is said of it."""


def keys_legend(keys: Sequence[Key], top: float, width: float) -> tuple[Group, float]:
    """Samples of marks with what they mean, in lines as wide as the picture; and where they end."""
    group = Group("legend")
    y = top
    for heading, entries in keys:
        if not entries:
            continue
        indent = max(text_width(name, NORMAL, bold=True) for name, some in keys if some) + 14
        y += 12
        group.items.append(Text(MARGIN, y, heading, NORMAL, "ink", bold=True))
        x = MARGIN + indent
        for what, says in entries:
            room = width - MARGIN - MARGIN - indent - _SAMPLE - 6
            text = shortened(says, room, NORMAL)
            wide = _SAMPLE + 6 + text_width(text, NORMAL)
            if x + wide > width - MARGIN and x > MARGIN + indent:
                x = MARGIN + indent
                y += _LINE
            group.items.extend(_sample(what, x, y - 3.5))
            group.items.append(Text(x + _SAMPLE + 6, y, text, NORMAL, "ink", title=says if says != text else None))
            x += wide + 18
        y += 6
    return group, y


def _sample(what: str, x: float, y: float) -> list[Item]:
    """A mark as it looks in the picture, around the height `y`."""
    middle = x + _SAMPLE / 2
    if what in LINKS:
        lines = stroke((("M", (x, y)), ("L", (x + _SAMPLE, y))), LINKS.index(what))
        return [*lines, *question_mark(middle, y)] if what == LINKS[UNKNOWN] else lines
    look: dict[str, Any]
    match what:
        case "edited":
            return [*stroke((("M", (x, y)), ("L", (x + _SAMPLE, y))), 0), diamond(middle, y, 4.2)]
        case "shared":
            return [triangle(middle, y, 3.2)]
        case "mixed":
            return [Rect(x, y - 4, _SAMPLE, 8, **MIXED_LOOK)]
        case "mixed-links":
            return [Rect(x, y - 1.5, _SAMPLE, 3, "absent")]
        case "filled-dot":
            return [Circle(middle, y, 2.8, "ink")]
        case "hollow-dot":
            return [Circle(middle, y, 2.4, "ground", "faint", 1.1)]
        case "broad-stream":
            return [Rect(x, y - BROADEST / 2, _SAMPLE, BROADEST, "faint")]
        case "narrow-stream":
            broad = BROADEST / THINNER**0.5
            return [Rect(x, y - broad / 2, _SAMPLE, broad, "faint")]
        case "stream-arc":
            arc = (("M", (x, y + 4)), ("C", (x + 5, y - 7, x + _SAMPLE - 5, y - 7, x + _SAMPLE, y + 4)))
            return [Path(arc, "muted", BROADEST_ARC / 2)]
        case "no-mind":
            return [Rect(x, y - 1, _SAMPLE, 2, "absent")]
        case _:
            look = ROLE_LOOK[what]
            return [Rect(x + 4, y - 4, _SAMPLE - 8, 8, **look)]


def links_key(drawn: set[str]) -> Key:
    """The kinds of link that were drawn."""
    entries = [(kind, SAYS[code]) for code, kind in enumerate(LINKS) if kind in drawn]
    if "mixed" in drawn:
        entries.append(("mixed-links", "several kinds, too short to draw"))
    if "edited" in drawn:
        entries.append(("edited", "the cache was edited"))
    if "shared" in drawn:
        entries.append(("shared", "reuses a prefix computed for another conversation"))
    return "links", entries
