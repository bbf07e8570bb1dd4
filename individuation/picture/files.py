"""Which format a picture's file is in, and pictures as pages and notebooks take them."""

from __future__ import annotations

from collections.abc import Sequence

from individuation.picture.bands import Band
from individuation.picture.lanes import lanes
from individuation.picture.scene import Scene
from individuation.picture.svg import svg_of
from individuation.result import Result
from traces.coordinates import StageCoordinates
from traces.errors import TraceError
from traces.stages import StageTable

SUFFIXES = (".svg", ".png", ".pdf")


def painted(scene: Scene, suffix: str, theme: str = "light") -> bytes:
    """A scene as the bytes of a file with that suffix: .svg, .png or .pdf. Raises `TraceError` for another.

    >>> painted(Scene(9, 9, "t", "d"), ".svg")[:37]
    b'<svg xmlns="http://www.w3.org/2000/sv'
    """
    match suffix.lower():
        case ".svg":
            return svg_of(scene, theme).encode()
        case ".png":
            # matplotlib takes half a second to load, which an SVG need not wait for.
            from individuation.picture.bitmap import png_of

            return png_of(scene, theme)
        case ".pdf":
            from individuation.picture.bitmap import pdf_of

            return pdf_of(scene, theme)
        case _:
            raise TraceError("pictures", f'the ending is "{suffix}"', "one of .svg, .png, .pdf")


def trace_svg(
    stages: StageTable,
    results: Sequence[Result],
    coordinates: StageCoordinates | None = None,
    bands: Sequence[Band] = (),
    *,
    title: str | None = None,
    theme: str = "light",
) -> str:
    """The lanes of a trace as SVG, for a notebook: cells tell what they are when they are pointed at."""
    scene = lanes(stages, results, coordinates, bands, title=title, interactive=True)
    return svg_of(scene, theme)
