"""How each kind of link is drawn: told apart by the line itself, not by its colour."""

from __future__ import annotations

from individuation.picture.scene import Command, Item, Path, Text, plate
from traces.stages import ATTENTION, LINKS, REBUILD, TRANSCRIPT, TRANSFER, UNKNOWN

QUESTION = 8.5
"""The size of the sign of an unknown link."""

DASHES: dict[int, tuple[float, ...]] = {REBUILD: (1.6, 2.6), UNKNOWN: (6.0, 2.4, 1.4, 2.4)}

SAYS = {
    ATTENTION: "attention: the cache goes on in place",
    TRANSFER: "transfer: the cache was copied",
    REBUILD: "rebuild: the cache was recomputed",
    UNKNOWN: "unknown: the record does not say",
    TRANSCRIPT: "transcript: only the text",
}
"""What each kind means, in a few words."""


def stroke(
    steps: tuple[Command, ...], kind: int, title: str | None = None, data: dict[str, str] | None = None
) -> list[Item]:
    """The lines of a link of that kind (a code of `traces.stages.LINKS`)."""
    told = {"data-link": LINKS[kind], **(data or {})}
    if kind == TRANSFER:
        # One broad line with a gap along its middle: a double line, whatever its course.
        return [
            Path(steps, "ink", 4.2, title=title, data=told),
            Path(steps, "ground", 1.8),
        ]
    if kind == TRANSCRIPT:
        return [Path(steps, "faint", 1.0, title=title, data=told)]
    return [Path(steps, "ink", 1.7, dash=DASHES.get(kind, ()), title=title, data=told)]


def question_mark(x: float, y: float) -> list[Item]:
    """The sign on a link of which the record does not say what it is."""
    said = Text(x, y + 3.1, "?", QUESTION, "ink", "middle")
    return [plate(said), said]


def diamond(x: float, y: float, radius: float, title: str | None = None) -> Path:
    """The mark of an edited link."""
    steps: tuple[Command, ...] = (
        ("M", (x, y - radius)), ("L", (x + radius, y)), ("L", (x, y + radius)), ("L", (x - radius, y)), ("Z", ()),
    )  # fmt: skip
    return Path(steps, "ink", 1.2, fill="ground", title=title)


def triangle(x: float, y: float, radius: float, title: str | None = None) -> Path:
    """The mark of a stage that reuses a prefix which another conversation computed."""
    steps: tuple[Command, ...] = (
        ("M", (x, y - radius)), ("L", (x + radius, y + radius)), ("L", (x - radius, y + radius)), ("Z", ()),
    )  # fmt: skip
    return Path(steps, "ink", 1.1, fill="ground", title=title)
