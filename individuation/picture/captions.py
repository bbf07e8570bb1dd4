"""What stands around the strips of a picture of lanes: titles above, the axis of token-time below."""

from __future__ import annotations

import numpy as np

from individuation.picture.frame import MARGIN, NORMAL, SMALL, TITLE, Frame
from individuation.picture.lettering import shortened
from individuation.picture.scene import Group, Text, line
from individuation.picture.ticks import ticks, written
from traces.stages import StageTable

_TICKS_APART = 90


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun.

    >>> counted(1, "stage"), counted(1200, "axis", "axes")
    ('1 stage', '1,200 axes')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def titles(stages: StageTable, title: str, width: float, drawn: int | None = None) -> tuple[Group, float]:
    """The title, and below it how much the trace holds, and how many conversations are drawn of it; and where they
    end.
    """
    group = Group("titles")
    room = width - 2 * MARGIN
    shown = shortened(title, room, TITLE, bold=True)
    group.items.append(
        Text(MARGIN, MARGIN + 13, shown, TITLE, "ink", bold=True, title=title if shown != title else None)
    )
    servers = len(np.unique(stages.server[stages.server >= 0]))
    spoken = len(np.unique(stages.conversation))
    held = " · ".join(
        [
            counted(len(stages.conversations), "conversation"),
            counted(len(stages), "stage"),
            counted(len(np.unique(stages.model)), "model"),
            counted(servers, "server") if servers else "server not recorded",
            *([f"{drawn:,} of the conversations drawn"] if drawn is not None and drawn < spoken else []),
        ]
    )
    group.items.append(Text(MARGIN, MARGIN + 31, shortened(held, room, NORMAL), NORMAL, "muted"))
    return group, MARGIN + 52


def axis(frame: Frame, y: float) -> tuple[Group, float]:
    """Token-time from the left to the right of the plot, with what its unit is; and where it ends."""
    time = frame.time
    group = Group("axis")
    group.items.append(line([(frame.left, y), (frame.right, y)], stroke="faint", stroke_width=0.9))
    for tick in ticks(time.start, time.end, max(2, int((frame.right - frame.left) // _TICKS_APART))):
        # A stage's number stands below its middle, a number of tokens where so many have passed.
        x = frame.x(tick + 0.5 if time.unit == "stages" else tick)
        if tick != int(tick) or x > frame.right:
            continue
        group.items.append(line([(x, y), (x, y + 4)], stroke="faint", stroke_width=0.9))
        group.items.append(Text(x, y + 14, written(tick), SMALL, "muted", "middle"))
    note = shortened(time.note, frame.right - frame.left, NORMAL)
    middle = (frame.left + frame.right) / 2
    group.items.append(
        Text(middle, y + 28, note, NORMAL, "muted", "middle", title=time.note if note != time.note else None)
    )
    return group, y + 30
