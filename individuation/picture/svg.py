"""A scene as SVG: shapes and text, no scripts, no fonts or resources from elsewhere; the same scene, the same bytes."""

from __future__ import annotations

import hashlib
from xml.sax.saxutils import escape

from individuation.picture.lettering import plain
from individuation.picture.palette import colours
from individuation.picture.scene import TAIL, Circle, Command, Data, Group, Item, Path, Rect, Scene, Text, hatching

FONTS = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"


def svg_of(scene: Scene, theme: str = "light") -> str:
    """The SVG document of a scene, without an XML declaration, so that it can also stand inside a page.

    `theme`: "light", "dark", or "css": then each colour is `var(--picture-ROLE, LIGHT)`, for a page that sets those
    variables (`css_variables`). Raises `UnknownNameError` for another theme.

    >>> from individuation.picture.scene import Rect, Scene
    >>> print(svg_of(Scene(9, 9, "t", "d", [Rect(0, 0, 5, 5, "ink")])).splitlines()[3])
    <rect x="0" y="0" width="9" height="9" fill="#ffffff"/>
    """
    return _Writer(theme).document(scene)


def css_variables(theme: str) -> str:
    """The declarations that give a picture of theme "css" its colours, to be put into a rule of a style sheet.

    >>> css_variables("dark").splitlines()[0]
    '--picture-ground: #14181d;'
    """
    return "\n".join(f"--picture-{role}: {colour};" for role, colour in colours(theme).items())


def _number(value: float) -> str:
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def _quoted(text: str) -> str:
    return escape(plain(text), {'"': "&quot;", "'": "&#39;"})


class _Writer:
    def __init__(self, theme: str) -> None:
        values = colours("light" if theme == "css" else theme)
        self.colours = (
            {role: f"var(--picture-{role}, {colour})" for role, colour in values.items()} if theme == "css" else values
        )
        self.lines: list[str] = []

    def document(self, scene: Scene) -> str:
        for item in scene.items:
            self._item(item)
        body = "\n".join(self.lines)
        mark = hashlib.sha256(f"{scene.title}\n{body}".encode("utf-8", "replace")).hexdigest()[:10]
        width, height = _number(scene.width), _number(scene.height)
        role = "graphics-document" if scene.interactive else "img"
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
                f'viewBox="0 0 {width} {height}" role="{role}" aria-labelledby="t{mark} d{mark}" '
                f'font-family="{FONTS}">',
                f'<title id="t{mark}">{_quoted(scene.title)}</title>',
                f'<desc id="d{mark}">{_quoted(scene.description)}</desc>',
                f'<rect x="0" y="0" width="{width}" height="{height}"{self._look(fill="ground")}/>',
                body,
                "</svg>\n",
            ]
        )

    def _item(self, item: Item) -> None:
        match item:
            case Group():
                self.lines.append(f'<g class="{_quoted(item.kind)}"{self._data(item.data)}>')
                for inner in item.items:
                    self._item(inner)
                self.lines.append("</g>")
            case Rect():
                self._rect(item)
            case Circle():
                self._element(
                    "circle", item.title, cx=_number(item.x), cy=_number(item.y), r=_number(item.radius),
                    rest=self._look(item.fill, item.stroke, item.stroke_width) + self._data(item.data),
                )  # fmt: skip
            case Path():
                dash = f' stroke-dasharray="{" ".join(map(_number, item.dash))}"' if item.dash else ""
                look = self._look(item.fill, item.stroke, item.stroke_width)
                if item.fill is None:
                    look = f' fill="none"{look}'
                self._element("path", item.title, d=_steps(item.steps), rest=f"{look}{dash}{self._data(item.data)}")
            case Text():
                self._text(item)

    def _rect(self, item: Rect) -> None:
        look = self._look(item.fill, item.stroke, item.stroke_width)
        if item.fill is None:
            look = f' fill="none"{look}'
        self._element(
            "rect", item.title, x=_number(item.x), y=_number(item.y), width=_number(item.width),
            height=_number(item.height), rest=look + self._data(item.data),
        )  # fmt: skip
        if item.hatch:
            lines = hatching(item.x, item.y, item.width, item.height, item.hatch)
            if lines.steps:
                look = f' fill="none"{self._look(None, item.hatch_colour, lines.stroke_width)}'
                self._element("path", None, d=_steps(lines.steps), rest=f'{look} pointer-events="none"')

    def _text(self, item: Text) -> None:
        if not item.text:
            return
        anchor = f' text-anchor="{item.anchor}"' if item.anchor != "start" else ""
        weight = ' font-weight="bold"' if item.bold else ""
        title = f"<title>{_quoted(item.title)}</title>" if item.title is not None else ""
        tail = ""
        if item.tail:
            look = self._look("muted")
            look = f' dx="{_number(0.6 * item.size)}" font-size="{_number(TAIL)}" font-weight="normal"{look}'
            tail = f"<tspan{look}>{_quoted(item.tail)}</tspan>"
        self.lines.append(
            f'<text x="{_number(item.x)}" y="{_number(item.y)}" font-size="{_number(item.size)}"'
            f"{self._look(item.colour)}{anchor}{weight}{self._data(item.data)}>{_quoted(item.text)}{tail}{title}</text>"
        )

    def _element(self, name: str, title: str | None, rest: str = "", **attributes: str) -> None:
        given = "".join(f' {key}="{value}"' for key, value in attributes.items())
        end = "/>" if title is None else f"><title>{_quoted(title)}</title></{name}>"
        self.lines.append(f"<{name}{given}{rest}{end}")

    def _look(self, fill: str | None = None, stroke: str | None = None, width: float = 1.0) -> str:
        said = f' fill="{self.colours[fill]}"' if fill is not None else ""
        if stroke is not None:
            said += f' stroke="{self.colours[stroke]}" stroke-width="{_number(width)}"'
        return said

    def _data(self, data: Data) -> str:
        return "".join(f' {key}="{_quoted(value)}"' for key, value in data.items())


def _steps(steps: tuple[Command, ...]) -> str:
    return " ".join(letter + " ".join(map(_number, at)) for letter, at in steps)
