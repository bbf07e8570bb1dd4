"""A scene as PNG and PDF, by matplotlib's painters and its own DejaVu Sans; the same scene, the same bytes."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any, Literal

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from matplotlib.text import Text as Lettering
from matplotlib.transforms import Affine2D

from individuation.picture.lettering import plain
from individuation.picture.palette import colours
from individuation.picture.scene import TAIL, Anchor, Circle, Command, Group, Item, Path, Rect, Scene, Text, hatching

PIXELS_PER_INCH = 96
FINENESS = 2
"""Pixels of a PNG for one pixel of the scene, in each direction."""

_FURTHER = ("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans", "Noto Emoji", "Symbola", "Arial Unicode MS")
_CODES = {"M": Outline.MOVETO, "L": Outline.LINETO, "C": Outline.CURVE4, "Z": Outline.CLOSEPOLY}
_SIDES: dict[Anchor, Literal["left", "center", "right"]] = {"start": "left", "middle": "center", "end": "right"}
_SETTINGS: dict[Any, Any] = {
    "pdf.fonttype": 42,
    "pdf.compression": 6,
    "text.usetex": False,
    "path.simplify": False,
    "path.snap": False,
}


def png_of(scene: Scene, theme: str = "light") -> bytes:
    """A PNG of a scene, two pixels for each of the scene's."""
    return _painted(scene, theme, "png")


def pdf_of(scene: Scene, theme: str = "light") -> bytes:
    """A PDF page of a scene, 96 of whose pixels are an inch; text is text, in embedded fonts."""
    return _painted(scene, theme, "pdf")


def _painted(scene: Scene, theme: str, form: str) -> bytes:
    values = colours(theme)
    out = io.BytesIO()
    with rc_context(_SETTINGS):
        figure = Figure(
            figsize=(scene.width / PIXELS_PER_INCH, scene.height / PIXELS_PER_INCH),
            dpi=PIXELS_PER_INCH * FINENESS,
            facecolor=values["ground"],
        )
        painter = _Painter(figure, scene, values)
        for item in scene.items:
            painter.add(item)
        if form == "png":
            agg: Any = FigureCanvasAgg(figure)
            agg.print_png(out, metadata={"Title": plain(scene.title), "Software": "individuate"})
        else:
            # Without a date, so that the same scene gives the same bytes.
            told = {"Title": plain(scene.title), "Creator": "individuate", "CreationDate": None}
            pdf: Any = FigureCanvasPdf(figure)
            pdf.print_pdf(out, metadata=told)
    return out.getvalue()


@lru_cache(1)
def _fonts() -> tuple[list[str], list[FT2Font]]:
    """Font families to try in turn, and what each can draw."""
    known = set(fontManager.get_font_names())
    families = ["DejaVu Sans", *(family for family in _FURTHER if family in known)]
    return families, [FT2Font(fontManager.findfont(family)) for family in families]


@lru_cache(4096)
def _drawable(character: str) -> bool:
    return any(font.get_char_index(ord(character)) for font in _fonts()[1])


def _shown(text: str) -> str:
    """A text with a replacement for each character that no font here can draw."""
    return "".join(c if c.isspace() or _drawable(c) else "" if c in "\u200d\ufe0f" else "\ufffd" for c in plain(text))


class _Painter:
    def __init__(self, figure: Figure, scene: Scene, values: dict[str, str]) -> None:
        self.figure, self.colours = figure, values
        inches = Affine2D().scale(1 / PIXELS_PER_INCH, -1 / PIXELS_PER_INCH)
        self.transform = inches.translate(0, scene.height / PIXELS_PER_INCH) + figure.dpi_scale_trans
        self.order = 0

    def add(self, item: Item) -> None:
        match item:
            case Group():
                for inner in item.items:
                    self.add(inner)
            case Rect():
                x, y, right, bottom = item.x, item.y, item.x + item.width, item.y + item.height
                corners = ((x, y), (right, y), (right, bottom), (x, bottom))
                steps: tuple[Command, ...] = tuple(("L" if i else "M", corner) for i, corner in enumerate(corners))
                self._outline((*steps, ("Z", ())), item.fill, item.stroke, item.stroke_width)
                if item.hatch:
                    lines = hatching(item.x, item.y, item.width, item.height, item.hatch)
                    self._outline(lines.steps, None, item.hatch_colour, lines.stroke_width)
            case Path():
                self._outline(item.steps, item.fill, item.stroke, item.stroke_width, item.dash)
            case Circle():
                ring = Outline.circle((item.x, item.y), item.radius)
                self._patch(ring, item.fill, item.stroke, item.stroke_width)
            case Text():
                self._text(item)

    def _outline(
        self,
        steps: tuple[Command, ...],
        fill: str | None,
        stroke: str | None,
        width: float,
        dash: tuple[float, ...] = (),
    ) -> None:
        places: list[tuple[float, float]] = []
        codes: list[Any] = []
        for letter, at in steps:
            points = list(zip(at[::2], at[1::2], strict=True)) or [places[0]]
            places.extend(points)
            codes.extend([_CODES[letter]] * len(points))
        if places:
            self._patch(Outline(places, codes), fill, stroke, width, dash)

    def _patch(
        self, outline: Outline, fill: str | None, stroke: str | None, width: float, dash: tuple[float, ...] = ()
    ) -> None:
        self.order += 1
        # Widths are in points here, and dashes in widths.
        patch = PathPatch(
            outline,
            facecolor=self.colours[fill] if fill is not None else "none",
            edgecolor=self.colours[stroke] if stroke is not None else "none",
            linewidth=width * 72 / PIXELS_PER_INCH if stroke is not None else 0.0,
            linestyle=(0, tuple(part / width for part in dash)) if dash else "solid",
            capstyle="butt",
            transform=self.transform,
            zorder=self.order,
        )
        self.figure.add_artist(patch)

    def _text(self, item: Text) -> None:
        self._letters(item.x, item.y, item.text, item.size, item.colour, item.anchor, item.bold)
        if item.tail:
            self._letters(item.x + item.tail_starts, item.y, item.tail, TAIL, "muted", "start", False)

    def _letters(self, x: float, y: float, text: str, size: float, colour: str, anchor: Anchor, bold: bool) -> None:
        self.order += 1
        font = FontProperties(family=_fonts()[0], size=size * 72 / PIXELS_PER_INCH, weight="bold" if bold else "normal")
        lettering = Lettering(
            x, y, _shown(text), color=self.colours[colour], fontproperties=font,
            horizontalalignment=_SIDES[anchor],
            verticalalignment="baseline", parse_math=False, transform=self.transform, zorder=self.order,
        )  # fmt: skip
        self.figure.add_artist(lettering)
