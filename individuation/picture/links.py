"""The links of a strip: a line from stage to stage by its kind, arcs where a link skips stages, and branches."""

from __future__ import annotations

from itertools import pairwise

from individuation.picture.blocks import MIXED, Block, coarsened, runs
from individuation.picture.frame import SMALL, Frame
from individuation.picture.lettering import text_width
from individuation.picture.scene import Circle, Command, Group, Item, Path, Text, plate
from individuation.picture.strokes import QUESTION, diamond, question_mark, stroke, triangle
from individuation.picture.timeline import Strip
from traces.stages import LINKS, UNKNOWN

BASE = 13.0
"""Height of a row of links, without arcs."""
ARCS, SHARED = 11.0, 10.0
"""What arcs and names of shared prefixes take up below."""

_NODES_APART = 7.0
_MARKS_APART = 7.0
_SIGN_EVERY = 110.0


def has_arcs(frame: Frame, strip: Strip) -> bool:
    """Whether a link of this strip skips stages."""
    return bool(len(_skipping(frame, strip)))


def _skipping(frame: Frame, strip: Strip) -> list[int]:
    stages = frame.stages
    own = stages.own[strip.rows]
    found = strip.rows[(own >= 0) & (own != stages.previous[strip.rows])]
    return [int(row) for row in found if frame.middle(int(row)) - frame.middle(int(stages.own[row])) > _MARKS_APART]


def links_height(frame: Frame, strip: Strip) -> float:
    """How high the row of links is."""
    shared = bool((frame.stages.shared[strip.rows] >= 0).any())
    return BASE + (ARCS if has_arcs(frame, strip) else 0) + (SHARED if shared else 0)


def links_row(frame: Frame, strip: Strip, top: float) -> tuple[Group, set[str]]:
    """All links of a strip; also which kinds and marks were drawn."""
    group = Group("links", data={"data-row": "links"})
    y = top + BASE / 2
    drawn: set[str] = set()
    frame.label(group, "links", y)
    _arcs(frame, strip, y, group, drawn)
    for block in _stretches(frame, strip):
        x1, x2 = frame.middle(block.first - 1), frame.middle(block.last)
        _along(frame, block, x1, x2, y, group, drawn)
    if strip.origin >= 0:
        first = int(strip.rows[0])
        _into(frame, first, y, group, drawn)
    if frame.step >= _NODES_APART:
        group.items.extend(Circle(frame.middle(int(row)), y, 1.9) for row in strip.rows)
    elif len(strip.rows) == 1:
        group.items.append(Circle(frame.middle(int(strip.rows[0])), y, 1.9))
    _edits(frame, strip, y, group, drawn)
    _shared(frame, strip, y, top + links_height(frame, strip), group, drawn)
    return group, drawn


def _stretches(frame: Frame, strip: Strip) -> list[Block]:
    """Stretches of links of one kind, each from the stage before to the stage itself."""
    rows = strip.rows[1:]
    found = runs(rows, frame.stages.previous_kind[rows])
    if not frame.time.merged:
        return found
    span = max(frame.time.end - frame.time.start, 1e-9)
    return coarsened(found, frame.time.left, frame.time.right, 4.0 * span / max(frame.right - frame.left, 1.0))


def _along(frame: Frame, block: Block, x1: float, x2: float, y: float, group: Group, drawn: set[str]) -> None:
    steps: tuple[Command, ...] = (("M", (x1, y)), ("L", (x2, y)))
    if block.code == MIXED:
        group.items.append(Path(steps, "absent", 3.0, title="links of several kinds" if frame.interactive else None))
        drawn.add("mixed")
        return
    kind = LINKS[block.code]
    drawn.add(kind)
    title = None
    if frame.interactive:
        title = f"{frame.stages.name(block.first - 1)} to {frame.stages.name(block.last)}: {kind}"
    group.items.extend(stroke(steps, block.code, title))
    if block.code == UNKNOWN:
        group.items.extend(_question_marks(frame, block, y))


def _question_marks(frame: Frame, block: Block, y: float) -> list[Item]:
    """A "?" between two stages every so often, where there is room between their dots."""
    wide = text_width("?", QUESTION)
    items: list[Item] = []
    last = -1e9
    for row in range(block.first, block.last + 1):
        x1, x2 = frame.middle(row - 1), frame.middle(row)
        room = x2 - x1 if frame.step >= _NODES_APART else 99.0
        at = (x1 + x2) / 2
        if room >= wide + 6 and at - last >= _SIGN_EVERY:
            items.extend(question_mark(at, y))
            last = at
    return items


def _arcs(frame: Frame, strip: Strip, y: float, group: Group, drawn: set[str]) -> None:
    """Links from further back on the path than the stage just before: a model that comes back to its own cache."""
    stages, first = frame.stages, int(strip.rows[0])
    for row in _skipping(frame, strip):
        origin, kind = int(stages.own[row]), int(stages.own_kind[row])
        x1, x2 = frame.middle(origin), frame.middle(row)
        if origin < first:
            # From an ancestor: it comes in where the strip begins.
            x1 = frame.begin(first)
        depth = ARCS / 0.75
        steps: tuple[Command, ...] = (("M", (x1, y)), ("C", (x1 + 4, y + depth, x2 - 4, y + depth, x2, y)))
        title = f"{stages.name(origin)} to {stages.name(row)}: {LINKS[kind]}" if frame.interactive else None
        group.items.extend(stroke(steps, kind, title))
        drawn.add(LINKS[kind])


def _into(frame: Frame, first: int, y: float, group: Group, drawn: set[str]) -> None:
    """The link by which a branch begins."""
    kind = int(frame.stages.previous_kind[first])
    steps: tuple[Command, ...] = (("M", (frame.begin(first), y)), ("L", (frame.middle(first), y)))
    title = None
    if frame.interactive:
        origin = frame.stages.name(int(frame.stages.previous[first]))
        title = f"{origin} to {frame.stages.name(first)}: {LINKS[kind]}"
    group.items.extend(stroke(steps, kind, title))
    drawn.add(LINKS[kind])


def _edits(frame: Frame, strip: Strip, y: float, group: Group, drawn: set[str]) -> None:
    stages = frame.stages
    last = -1e9
    for row in strip.rows[stages.edited[strip.rows] & (stages.own[strip.rows] >= 0)].tolist():
        x = frame.begin(row)
        if x - last >= _MARKS_APART:
            title = f"the cache was edited before {stages.name(row)}" if frame.interactive else None
            group.items.append(diamond(x, y, 4.2, title))
            drawn.add("edited")
            last = x


def _shared(frame: Frame, strip: Strip, y: float, bottom: float, group: Group, drawn: set[str]) -> None:
    """Marks of prefixes computed for another conversation, with the stage that computed them where there is room."""
    stages = frame.stages
    rows = strip.rows[stages.shared[strip.rows] >= 0].tolist()
    last = -1e9
    for row, after in [*pairwise(rows), *((row, None) for row in rows[-1:])]:
        x = frame.middle(row)
        if x - last < _MARKS_APART:
            continue
        origin = stages.name(int(stages.shared[row]))
        title = f"{stages.name(row)} reuses a prefix computed for {origin}" if frame.interactive else None
        group.items.append(triangle(x, bottom - 5, 3.2, title))
        drawn.add("shared")
        last = x
        room = (frame.middle(after) if after is not None else frame.right) - x - 12
        if text_width(origin, SMALL) <= room:
            said = Text(x + 7, bottom - 2, origin, SMALL, "muted")
            group.items.extend([plate(said), said])


def branch(frame: Frame, first: int, origin: int, y_from: float | None, y_to: float, goes_on: bool) -> list[Item]:
    """The line from a strip's links down to those of a strip that branches from it; a stub if that is not drawn.

    `goes_on`: whether the strip itself goes on after the branching point, so that its own line is there already.
    """
    x = frame.begin(first)
    if y_from is None:
        return [Path((("M", (x - 14, y_to)), ("L", (x, y_to))), "faint", 1.2, dash=(2.0, 2.0))]
    bend = min(5.0, max(x - frame.middle(origin), 0.1))
    steps: tuple[Command, ...] = (
        ("M", (x - bend, y_from)),
        ("C", (x - bend * 0.4, y_from, x, y_from + bend * 0.4, x, y_from + bend)),
        ("L", (x, y_to)),
    )
    stub: tuple[Command, ...] = (("M", (frame.middle(origin), y_from)), ("L", (x - bend, y_from)))
    path: list[Item] = [Path(steps, "outline", 1.1)]
    return path if goes_on else [*path, Path(stub, "outline", 1.1)]


def baseline(top: float) -> float:
    """The height of the line along the stages in a row of links that begins at `top`."""
    return top + BASE / 2
