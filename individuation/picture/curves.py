"""Persona coordinates along the stages: a curve an axis, with the regions as bands behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from individuation.picture.bands import Band
from individuation.picture.frame import GAP, MARGIN, NORMAL, SMALL, Frame
from individuation.picture.lettering import shortened, text_width
from individuation.picture.scene import Circle, Group, Item, Rect, Text, line
from individuation.picture.ticks import ticks, written
from individuation.picture.timeline import Strip
from traces.coordinates import StageCoordinates
from traces.facts import Floats
from traces.stages import StageTable
from traces.vocabulary import Probe

MOST_CURVES = 4
_ALONE, _AMONG_OTHERS = 84.0, 60.0
_DOTS_APART = 3.5
_LINE_APART = 11.5


@dataclass(frozen=True)
class Curve:
    """One axis to draw: the coordinates of all stages, and the range that is the same in all strips."""

    probe: str
    about: Probe
    values: Floats
    low: float
    high: float
    bands: list[Band]
    height: float

    def y(self, top: float, value: float) -> float:
        """The pixel of a coordinate in a panel that begins at `top`."""
        return top + self.height * (self.high - min(max(value, self.low), self.high)) / (self.high - self.low)


def curves_of(
    stages: StageTable, coordinates: StageCoordinates | None, bands: Sequence[Band], strips: Sequence[Strip]
) -> tuple[list[Curve], int]:
    """The axes that the drawn stages have coordinates on, those with regions first; and how many are left out."""
    if coordinates is None or not strips:
        return [], 0
    drawn = np.concatenate([strip.rows for strip in strips])
    read = [c for c in range(len(coordinates.probes)) if bool(np.isfinite(coordinates.values[drawn, c]).any())]
    names = list(coordinates.probes)
    with_regions = {band.probe for band in bands}
    read.sort(key=lambda c: names[c] not in with_regions)
    chosen = read[:MOST_CURVES]
    height = _ALONE if len(chosen) == 1 else _AMONG_OTHERS
    found = []
    for column in chosen:
        values = coordinates.values[:, column]
        mine = [band for band in bands if band.probe == names[column]]
        ends = [end for band in mine for end in (band.low, band.high) if end is not None]
        inside = values[drawn][np.isfinite(values[drawn])]
        low, high = min(float(inside.min()), *ends, np.inf), max(float(inside.max()), *ends, -np.inf)
        room = (high - low) * 0.1 or abs(high) * 0.1 or 1.0
        found.append(
            Curve(names[column], coordinates.probes[names[column]], values, low - room, high + room, mine, height)
        )
    return found, len(read) - len(chosen)


def axes_width(curves: Sequence[Curve]) -> float:
    """The room that the names and numbers of all axes need, left of the plot."""
    return max(
        (
            _ticks_width(curve) + max(text_width(curve.probe, NORMAL), text_width(_where_read(curve), SMALL))
            for curve in curves
        ),
        default=0.0,
    )


def _ticks_width(curve: Curve) -> float:
    return max((text_width(written(tick), SMALL) + 6 for tick in ticks(curve.low, curve.high, 3)), default=0.0)


def _where_read(curve: Curve) -> str:
    return "axis" if curve.about.layer is None else f"axis, layer {curve.about.layer}"


def names_width(curves: Sequence[Curve], most: float) -> float:
    """The room that the names of the regions need, right of the bands."""
    widest = max((text_width(_band_name(curve, band), SMALL) for curve in curves for band in curve.bands), default=0.0)
    return min(widest + 8, most) if widest else 0.0


def has_curve(curve: Curve, strip: Strip) -> bool:
    """Whether a strip has coordinates on this axis."""
    return bool(np.isfinite(curve.values[strip.rows]).any())


def panel(frame: Frame, strip: Strip, curve: Curve, top: float, room: float) -> Group:
    """One axis of one strip. `room`: pixels right of the plot for the names of regions."""
    group = Group("curve", data={"data-probe": curve.probe})
    left, right = frame.begin(int(strip.rows[0])), frame.end(int(strip.rows[-1]))
    marks = ticks(curve.low, curve.high, 3)
    tick_room = _ticks_width(curve)
    told = ", ".join(
        part
        for part in (
            curve.about.axis,
            f"layer {curve.about.layer}" if curve.about.layer is not None else "",
            curve.about.pooling or "",
            curve.about.unit or "",
        )
        if part
    )
    middle = top + curve.height / 2 + 3.5
    for text, size, y in ((curve.probe, NORMAL, middle - 5.5), (_where_read(curve), SMALL, middle + 5.5)):
        shown = shortened(text, frame.left - GAP - MARGIN - tick_room, size)
        group.items.append(Text(frame.left - GAP - tick_room, y, shown, size, "muted", "end", title=told))
    _bands(frame, strip, curve, top, left, right, room, group)
    for tick in marks:
        y = curve.y(top, tick)
        group.items.append(line([(frame.left - 4, y), (frame.left, y)], stroke="faint", stroke_width=0.8))
        group.items.append(Text(frame.left - 6, y + 3, written(tick), SMALL, "muted", "end"))
    group.items.append(line([(frame.left, top), (frame.left, top + curve.height)], stroke="faint", stroke_width=0.8))
    group.items.extend(_line(frame, strip, curve, top))
    group.items.extend(_dots(frame, strip, curve, top))
    return group


def _band_name(curve: Curve, band: Band) -> str:
    drawn = {(other.low, other.high) for other in curve.bands if other.region == band.region}
    return f"{band.region} ({band.space})" if len(drawn) > 1 else band.region


def _bands(
    frame: Frame, strip: Strip, curve: Curve, top: float, left: float, right: float, room: float, group: Group
) -> None:
    stages = frame.stages
    known: set[str] = set()
    for code in set(stages.model[strip.rows].tolist()):
        key = stages.models[code]
        info = stages.model_info[key]
        known |= {name for name in (info.name or key, info.digest) if name}
    mine = [band for band in curve.bands if band.models & known]
    mine.sort(key=lambda band: -(np.inf if band.high is None else band.high))
    labels: list[tuple[float, Band]] = []
    for number, band in enumerate(mine):
        high = curve.y(top, curve.high if band.high is None else band.high)
        low = curve.y(top, curve.low if band.low is None else band.low)
        title = f"{band.region}: {_range(band)} on {curve.probe} (space {band.space})"
        shade = "band-b" if number % 2 else "band-a"
        group.items.append(Rect(left, high, right - left, max(low - high, 1.0), shade, title=title))
        for end, y in ((band.low, low), (band.high, high)):
            if end is not None:
                edge = line([(left, y), (right, y)], stroke="faint", stroke_width=0.9, dash=(3.0, 2.0))
                group.items.append(edge)
        labels.append(((high + low) / 2, band))
    previous = -np.inf
    for middle, band in labels:
        y = max(middle + 3, previous + _LINE_APART)
        if y > top + curve.height + 6:
            break
        name = _band_name(curve, band)
        shown = shortened(name, room + frame.right - right - 6, SMALL)
        if shown:
            whole = name if shown != name else None
            group.items.append(Text(right + 6, y, shown, SMALL, "ink", title=whole))
            previous = y


def _range(band: Band) -> str:
    low = "below" if band.low is None else f"from {written(band.low)}"
    if band.low is None and band.high is None:
        return "everywhere"
    if band.low is None:
        return f"up to {written(band.high or 0.0)}"
    return low if band.high is None else f"{low} to {written(band.high)}"


def _line(frame: Frame, strip: Strip, curve: Curve, top: float) -> list[Item]:
    rows = strip.rows[frame.stages.assistant[strip.rows] & np.isfinite(curve.values[strip.rows])]
    places = [(frame.middle(int(row)), curve.y(top, float(curve.values[row]))) for row in rows]
    if len(places) < 2:
        return []
    return [line(_thinned(places), stroke="ink", stroke_width=1.3)]


def _thinned(places: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most four points a pixel: the first, the lowest, the highest and the last in each, in their order."""
    kept: list[tuple[float, float]] = []
    column: list[tuple[float, float]] = []
    for place in [*places, None]:
        if column and (place is None or int(place[0]) != int(column[0][0])):
            numbers = {0, len(column) - 1}
            numbers.add(min(range(len(column)), key=lambda i: column[i][1]))
            numbers.add(max(range(len(column)), key=lambda i: column[i][1]))
            kept.extend(column[i] for i in sorted(numbers))
            column = []
        if place is not None:
            column.append(place)
    return kept


def dots_drawn(frame: Frame) -> bool:
    """Whether stages stand far enough apart for a dot each."""
    return not frame.time.merged or frame.step >= _DOTS_APART


def _dots(frame: Frame, strip: Strip, curve: Curve, top: float) -> list[Circle]:
    stages = frame.stages
    rows = strip.rows[np.isfinite(curve.values[strip.rows])]
    if not dots_drawn(frame):
        return []
    radius = min(2.8, max(1.2, frame.step * 0.3))
    dots = []
    for row in rows.tolist():
        assistant = bool(stages.assistant[row])
        title = None
        if frame.interactive:
            title = f"{frame.told(row, row)}: {curve.probe} {written(float(curve.values[row]))}"
        data = {"data-stage": stages.name(row)} if frame.interactive else {}
        x, y = frame.middle(row), curve.y(top, float(curve.values[row]))
        if assistant:
            dots.append(Circle(x, y, radius, "ink", title=title, data=data))
        else:
            dots.append(Circle(x, y, radius - 0.4, "ground", "faint", 1.1, title, data))
    return dots
