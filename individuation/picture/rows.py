"""The rows of a strip that are made of cells: turns, models and servers, and the minds of a view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from individuation.picture.blocks import MIXED, NONE, Block, MindsOfStages, coarsened, runs, single
from individuation.picture.frame import SMALL, Frame
from individuation.picture.lettering import shortened, text_width
from individuation.picture.palette import mind_hatch, mind_role, on, over
from individuation.picture.scene import Group, Rect, Text
from individuation.picture.timeline import Strip
from traces.vocabulary import ROLES

TURNS, PLACE, VIEW, LAYER = 8.0, 13.0, 15.0, 10.0
"""Heights of rows; `LAYER` is that of each where minds lie over one another."""
CALLOUT = 9.0
"""Room above a row for the numbers that do not fit into it."""

_SEEN_APART = 9.0
"""Stages at least so wide are drawn with a gap between."""
_LEAST = 1.5
"""Cells at least so wide can be seen."""

ROLE_LOOK: dict[str, dict[str, Any]] = {
    "assistant": {"fill": "muted"},
    "user": {"fill": "ground", "stroke": "faint", "stroke_width": 0.9},
    "system": {"fill": "absent", "stroke": "faint", "stroke_width": 0.9},
    "tool": {"fill": "ground", "stroke": "faint", "stroke_width": 0.9, "hatch": 4, "hatch_colour": "faint"},
}
MIXED_LOOK: dict[str, Any] = {
    "fill": "panel", "stroke": "faint", "stroke_width": 0.8, "hatch": 1, "hatch_colour": "faint",
}  # fmt: skip


def cells(frame: Frame, strip: Strip, codes: NDArray[Any]) -> list[Block]:
    """The cells of a row: a stage each, or where there are too many, stretches that are wide enough to be seen."""
    if not frame.time.merged:
        return single(strip.rows, codes)
    span = max(frame.time.end - frame.time.start, 1e-9)
    least = _LEAST * span / max(frame.right - frame.left, 1.0)
    return coarsened(runs(strip.rows, codes), frame.time.left, frame.time.right, least)


def turns_row(frame: Frame, strip: Strip, top: float) -> Group:
    """Whose turn each stage is."""
    group = Group("row", data={"data-row": "turns"})
    frame.label(group, "turns", top + TURNS / 2)
    for block in cells(frame, strip, frame.stages.role[strip.rows]):
        look = MIXED_LOOK if block.code == MIXED else ROLE_LOOK[ROLES[block.code]]
        x, width = _extent(frame, block, 1.0 if frame.step > 2.5 else 0.0)
        group.items.append(
            _inset(Rect(x, top, width, TURNS, **look, title=_tip(frame, block), data=_data(frame, block)))
        )
    return group


def _inset(rect: Rect) -> Rect:
    """The same with its outline inside, so that neighbours do not touch."""
    if rect.stroke is None:
        return rect
    half = rect.stroke_width / 2
    width = max(rect.width - rect.stroke_width, 0.2)
    return Rect(
        rect.x + half, rect.y + half, width, rect.height - rect.stroke_width, rect.fill, rect.stroke,
        rect.stroke_width, rect.hatch, rect.hatch_colour, rect.title, rect.data,
    )  # fmt: skip


def place_row(frame: Frame, strip: Strip, top: float, what: str, codes: NDArray[Any], names: Sequence[str]) -> Group:
    """Which model or server ran each stage, or for whom. `names` are by code; those that do not fit are cut."""
    group = Group("row", data={"data-row": what})
    frame.label(group, what, top + PLACE / 2)
    for number, block in enumerate(_stretches(frame, strip, codes)):
        x, width = _extent(frame, block, 1.0)
        told = "several" if block.code == MIXED else names[block.code] if block.code >= 0 else "not recorded"
        look: dict[str, Any] = {"fill": "place-b" if number % 2 else "place-a"}
        if block.code == MIXED:
            look = MIXED_LOOK
        elif block.code == NONE:
            look = {"stroke": "grid", "stroke_width": 0.8}
        title = f"{what}: {told} ({frame.told(block.first, block.last)})" if frame.interactive else None
        group.items.append(_inset(Rect(x, top, width, PLACE, **look, title=title, data=_data(frame, block))))
        if block.code >= 0:
            shown = shortened(told, width - 6, SMALL)
            if shown:
                whole = told if shown != told else None
                group.items.append(Text(x + width / 2, top + 9.6, shown, SMALL, "ink", "middle", title=whole))
    return group


def _stretches(frame: Frame, strip: Strip, codes: NDArray[Any]) -> list[Block]:
    found = runs(strip.rows, codes)
    if not frame.time.merged:
        return found
    span = max(frame.time.end - frame.time.start, 1e-9)
    return coarsened(found, frame.time.left, frame.time.right, _LEAST * span / max(frame.right - frame.left, 1.0))


def view_row(frame: Frame, strip: Strip, top: float, minds: MindsOfStages) -> tuple[Group, float, set[int]]:
    """The minds of one view; also the row's height, and which minds are in it."""
    view = minds.result.view
    group = Group("row", data={"data-view": view})
    layers, left_over = minds.layers(strip.rows)
    height = VIEW if len(layers) == 1 else LAYER
    drawn: set[int] = set()
    y = top
    stretches = [_stretches(frame, strip, layer) for layer in layers]
    callouts = _callouts(frame, stretches[0]) if len(layers) == 1 else []
    if callouts:
        y += CALLOUT
    middle = y + len(layers) * height / 2
    frame.label(group, view, middle)
    for layer, found in zip(layers, stretches, strict=True):
        ends = {block.last for block in found}
        if frame.step <= _SEEN_APART:
            # Cells that touch let through a hair of what is behind them.
            group.items.extend(_ground(frame, block, y, height) for block in found if block.code >= 0)
        for block in cells(frame, strip, layer):
            apart = 1.0 if frame.step > _SEEN_APART and block.last not in ends else 0.0
            group.items.append(_cell(frame, block, y, height, view, apart, bare=len(layers) > 1))
        for block in found:
            if block.code == NONE:
                continue
            x, width = _extent(frame, block, 0.0)
            if block.code >= 0:
                group.items.append(Rect(x, y, width, height, stroke="outline", stroke_width=0.8))
            if block.code >= 0:
                group.items.extend(_number(x, width, y, height, block.code, frame.end(block.first)))
        drawn.update(int(mind) for mind in np.unique(layer[layer >= 0]))
        y += height
    for place, code in callouts:
        group.items.append(Text(place, top + CALLOUT - 2, str(code + 1), 7.5, "ink", "middle"))
    if left_over:
        y += 10
        group.items.append(Text(frame.begin(int(strip.rows[0])), y - 1.5, f"+{left_over:,} more", SMALL, "muted"))
    return group, y - top, drawn


def _cell(frame: Frame, block: Block, y: float, height: float, view: str, apart: float, bare: bool) -> Rect:
    title = None
    data = _data(frame, block)
    if frame.interactive:
        said = "several minds" if block.code == MIXED else f"mind {block.code + 1}" if block.code >= 0 else "no mind"
        title = f"{frame.told(block.first, block.last)}. {view}: {said}"
        if block.code >= 0:
            data = {**data, "data-mind": str(block.code + 1)}
    if block.code == NONE:
        x, width = _extent(frame, block, 1.0 if frame.step > 2.5 else 0.0)
        # A layer of its own is only there for what lies over it.
        return Rect(x, y + height / 2 - 1, width, 2, fill="ground" if bare else "absent", title=title, data=data)
    x, width = _extent(frame, block, apart)
    if block.code == MIXED:
        return _inset(Rect(x, y, width, height, **MIXED_LOOK, title=title, data=data))
    role = mind_role(block.code)
    return Rect(
        x, y, width, height, role, hatch=mind_hatch(block.code), hatch_colour=over(role), title=title, data=data
    )


def _ground(frame: Frame, block: Block, y: float, height: float) -> Rect:
    x, width = _extent(frame, block, 0.0)
    return Rect(x, y, width, height, mind_role(block.code))


def _fits(width: float, size: float, text: str) -> bool:
    return width >= text_width(text, size, bold=True) + 3


def _number(x: float, width: float, y: float, height: float, code: int, seam: float) -> list[Rect | Text]:
    """A mind's number at the beginning of a stretch of its stages; the first of them ends at `seam`."""
    text = str(code + 1)
    size = 9.5 if height > LAYER else 8.0
    if not _fits(width, size, text):
        size = 7.5
    if not _fits(width, size, text):
        return []
    role = mind_role(code)
    wide = text_width(text, size, bold=True)
    # In the middle of a narrow stretch, else at its beginning.
    at = x + width / 2 - wide / 2 if width < wide + 8 else x + 4
    number = Text(at, y + height / 2 + size * 0.365, text, size, on(role), bold=True)
    if not mind_hatch(code) and not at - 1 < seam < at + wide + 1:
        return [number]
    plate = min(width - 1.6, wide + 4)
    return [Rect(at + wide / 2 - plate / 2, y + 1.5, plate, height - 3, role), number]


def _callouts(frame: Frame, stretches: Sequence[Block]) -> list[tuple[float, int]]:
    """The numbers of stretches too narrow to hold them, with their places; those that would collide are left out."""
    found: list[tuple[float, int]] = []
    taken = -1e9
    for block in stretches:
        x, width = _extent(frame, block, 0.0)
        text = str(block.code + 1)
        if block.code < 0 or _fits(width, 7.5, text):
            continue
        half = text_width(text, 7.5) / 2
        if x + width / 2 - half > taken + 1.5:
            found.append((x + width / 2, block.code))
            taken = x + width / 2 + half
    return found


def _extent(frame: Frame, block: Block, gap: float) -> tuple[float, float]:
    x, end = frame.begin(block.first), frame.end(block.last)
    return x, max(end - x - gap, 0.8)


def _tip(frame: Frame, block: Block) -> str | None:
    return frame.told(block.first, block.last) if frame.interactive else None


def _data(frame: Frame, block: Block) -> dict[str, str]:
    return {"data-stage": frame.named(block.first, block.last)} if frame.interactive else {}
