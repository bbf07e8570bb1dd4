"""Colours by role, in a light and a dark theme, and the eight colours of minds.

The colours of minds are those of Okabe and Ito, *Color Universal Design* (2008), which people with any of the common
forms of colour blindness can tell apart; black, which is text here, is left out. Colour never stands alone: each mind
also has its number, and from the eighth mind on a hatch.
"""

from __future__ import annotations

from traces.errors import UnknownNameError

MINDS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442")
"""Okabe and Ito's blue, orange, bluish green, vermillion, sky blue, reddish purple and yellow."""

_ROLES: dict[str, dict[str, str]] = {
    "light": {
        "ground": "#ffffff",
        "ink": "#1b1f24",
        "muted": "#57606a",
        "faint": "#8c959f",
        "grid": "#d0d7de",
        "outline": "#3d444d",
        "absent": "#c6cdd5",
        "panel": "#f3f5f8",
        "band-a": "#eceff4",
        "band-b": "#dde3eb",
        "place-a": "#e4e8ee",
        "place-b": "#cfd6df",
    },
    "dark": {
        "ground": "#14181d",
        "ink": "#eef1f4",
        "muted": "#a9b3bd",
        "faint": "#7b8691",
        "grid": "#38414b",
        "outline": "#c3cad2",
        "absent": "#4a545f",
        "panel": "#191e24",
        "band-a": "#1f252c",
        "band-b": "#2b333c",
        "place-a": "#262d35",
        "place-b": "#37414c",
    },
}

THEMES = tuple(_ROLES)


def luminance(colour: str) -> float:
    """Relative luminance of `#rrggbb`, from 0 to 1 (WCAG 2.2).

    >>> luminance("#ffffff"), luminance("#000000")
    (1.0, 0.0)
    """
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours, from 1 to 21 (WCAG 2.2).

    >>> round(contrast("#000000", "#ffffff"), 3)
    21.0
    """
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def mind_role(number: int) -> str:
    """The role of the colour of the mind of that number (from 0).

    >>> mind_role(0), mind_role(8)
    ('mind-0', 'mind-1')
    """
    return f"mind-{number % len(MINDS)}"


def mind_hatch(number: int) -> int:
    """Which hatch sets the mind of that number (from 0) apart from others of its colour; 0 for none."""
    return number // len(MINDS)


def on(role: str) -> str:
    """The role of what is written on a mind's colour."""
    return f"on-{role}"


def over(role: str) -> str:
    """The role of the hatch that is laid over a mind's colour."""
    return f"over-{role}"


def colours(theme: str) -> dict[str, str]:
    """The colour of every role, as `#rrggbb`. Raises `UnknownNameError` for a theme other than light and dark.

    >>> colours("dark")["ground"]
    '#14181d'
    """
    if theme not in _ROLES:
        raise UnknownNameError("pictures", "theme", str(theme), THEMES)
    minds = {f"mind-{i}": colour for i, colour in enumerate(MINDS)}
    written = {
        on(role): "#000000" if contrast(colour, "#000000") >= contrast(colour, "#ffffff") else "#ffffff"
        for role, colour in minds.items()
    }
    hatches = {over(role): mixed(colour, written[on(role)], 0.5) for role, colour in minds.items()}
    return _ROLES[theme] | minds | written | hatches


def mixed(one: str, other: str, share: float) -> str:
    """A colour between two, with that share of the second.

    >>> mixed("#000000", "#ffffff", 0.5)
    '#808080'
    """
    parts = (round(int(one[i : i + 2], 16) * (1 - share) + int(other[i : i + 2], 16) * share) for i in (1, 3, 5))
    return "#" + "".join(f"{part:02x}" for part in parts)
