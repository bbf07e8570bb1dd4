"""Small pictures of how sure a count is: a barcode of counts over the places of a boundary, and a distribution."""

from __future__ import annotations

from individuation.boundaries import Barcode
from individuation.chances import Distribution
from individuation.picture.lettering import text_width
from individuation.picture.palette import on
from individuation.picture.scene import Item, Path, Rect, Scene, Text, line
from individuation.picture.svg import svg_of
from individuation.picture.ticks import ticks, written
from individuation.report.markup import Html, tag

WIDTH = 640.0
MOST_COUNTS = 24
_LEFT, _RIGHT = 12.0, WIDTH - 12.0
_SMALL, _NORMAL = 9.5, 11.0
_LOWEST, _HIGHEST = 15.0, 42.0
_CHOSEN = "mind-0"


def barcode_picture(code: Barcode, chosen: int | None) -> Html:
    """The counts as a boundary moves: a bar a stretch, as long as the stretch and the higher the more minds.

    Bars of the count `chosen` stand out; a mark shows where the boundary is drawn.
    """
    span = code.high - code.low or 1.0

    def x(place: float) -> float:
        return _LEFT + (place - code.low) / span * (_RIGHT - _LEFT)

    at = min(max(x(code.boundary.at), _LEFT), _RIGHT)
    base, most = 70.0, max(stretch.count for stretch in code.stretches)
    items: list[Item] = []
    for stretch in code.stretches:
        left, right = x(stretch.low), x(stretch.high)
        height = _LOWEST + (_HIGHEST - _LOWEST) * stretch.count / max(most, 1)
        fill = _CHOSEN if stretch.count == chosen else "place-b"
        title = f"{written(stretch.low)} to {written(stretch.high)}: {stretch.count:,}"
        items.append(Rect(left, base - height, max(right - left - 0.8, 0.8), height, fill, "outline", 0.6, title=title))
        text = f"{stretch.count:,}"
        if text_width(text, _NORMAL, bold=True) + 4 <= right - left:
            colour = on(_CHOSEN) if fill == _CHOSEN else "ink"
            items.append(Text(_beside(at, left, right, text), base - 4.5, text, _NORMAL, colour, "middle", bold=True))
    said = f"drawn at {written(code.boundary.at)}"
    wide = text_width(said, _SMALL)
    middle = min(max(at, _LEFT + wide / 2), _RIGHT - wide / 2)
    items += [
        Path((("M", (at, 17.0)), ("L", (at, base + 4))), "ink", 1.4, dash=(3.0, 2.0)),
        Text(middle, 11.0, said, _SMALL, "ink", "middle"),
        line([(_LEFT, base + 0.5), (_RIGHT, base + 0.5)], stroke="outline", stroke_width=1.0),
    ]
    items += [
        item
        for tick in ticks(code.low, code.high, 8)
        for item in (
            line([(x(tick), base + 1), (x(tick), base + 5)], stroke="outline", stroke_width=1.0),
            Text(x(tick), base + 15, written(tick), _SMALL, "muted", "middle"),
        )
    ]
    counts = "; ".join(f"{s.count:,} from {written(s.low)} to {written(s.high)}" for s in code.stretches[:MOST_COUNTS])
    return _picture(items, base + 22, f"Minds by where {code.boundary} lies", f"{counts}.")


def _beside(at: float, left: float, right: float, text: str) -> float:
    """The middle of a bar for its number, or to the side where the mark would strike it out."""
    middle, half = (left + right) / 2, text_width(text, _NORMAL, bold=True) / 2
    if abs(at - middle) > half + 3:
        return middle
    return at + half + 5 if at + 2 * half + 6 <= right else at - half - 5


def distribution_picture(found: Distribution, chosen: int | None) -> Html:
    """The probability of each count, one bar each; of many counts the most probable, in their order."""
    shown = sorted(sorted(found.probability, key=lambda count: -found.probability[count])[:MOST_COUNTS])
    step = min((_RIGHT - _LEFT) / max(len(shown), 1), 64.0)
    most = max(found.probability.values())
    base = 76.0
    items: list[Item] = [line([(_LEFT, base), (_LEFT + step * len(shown), base)], stroke="outline", stroke_width=1.0)]
    for place, count in enumerate(shown):
        chance = found.probability[count]
        left, height = _LEFT + place * step, 56.0 * chance / most
        fill = _CHOSEN if count == chosen else "place-b"
        title = f"{count:,}: {chance:.2%}"
        items.append(Rect(left + 2, base - height, step - 4, height, fill, "outline", 0.6, title=title))
        if step >= 30:
            items.append(Text(left + step / 2, base - height - 4, f"{chance:.0%}", _SMALL, "muted", "middle"))
        if step >= text_width(f"{count:,}", _NORMAL) + 4:
            items.append(Text(left + step / 2, base + 13, f"{count:,}", _NORMAL, "ink", "middle", bold=True))
    counts = "; ".join(f"{count:,}: {found.probability[count]:.1%}" for count in shown)
    return _picture(items, base + 20, "How probable each count is", f"{counts}.")


def _picture(items: list[Item], height: float, title: str, description: str) -> Html:
    return tag("div", Html(svg_of(Scene(WIDTH, height, title, description, items), "css").strip()), class_="bars")
