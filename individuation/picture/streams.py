"""How far stages rest on earlier ones: a stream along the stages, as broad as each is connected to the one before it,
and arcs from further back.

What is drawn was measured (`traces.vocabulary.Connection`): nats where there are any, else shares of attention (§2.1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from individuation.picture.frame import Frame
from individuation.picture.scene import Command, Group, Path, Rect
from individuation.picture.ticks import written
from individuation.picture.timeline import Strip
from traces.facts import Floats, Longs
from traces.stages import StageTable

Connections = Literal["before", "all", "none"]
"""Connections to draw: to the stage before and along own links, to all earlier stages, or none."""

BROADEST = 11.0
"""The breadth of the strongest stream of a picture; others are as broad as the root of their share of it."""
THINNER = 25
"""How many times weaker a stream of a fifth of the breadth is."""

BROADEST_ARC = 4.0
"""The breadth of an arc as strong as that; others are as broad as their share of it."""

_ROW = 12.0
_ARCS = {"before": 18.0, "all": 46.0}
_MOST_ARCS = 300
_WEAKEST_ARC = 0.02
_LEAST, _FINE = 0.8, 3.0


@dataclass(frozen=True, eq=False)
class Streams:
    """What is drawn of the connections between stages.

    `neighbours`: float64 [stages], how far each stage rests on the one before it, NaN where not measured. `arcs`:
    (later stage, earlier stage, how far), the weakest first. `unit`: what both are in. `most`: the largest that is
    drawn. `left_out`: weaker arcs that are not drawn. `arched`: room for arcs above a stream.
    """

    unit: Literal["nats", "attention"]
    neighbours: Floats
    arcs: tuple[tuple[int, int, float], ...]
    most: float
    left_out: int
    arched: float

    def share(self, value: float) -> float:
        """How broad a stream is, of the broadest."""
        return float(np.sqrt(value / self.most)) if self.most > 0 else 0.0

    def told(self, value: float) -> str:
        """A value with its unit, in two digits."""
        return f"{written(float(f'{value:.2g}'))} nats" if self.unit == "nats" else f"{100 * value:.2g}%"


def streams_of(stages: StageTable, drawn: Longs, connections: Connections = "before") -> Streams | None:
    """The streams between the stages that are drawn (rows of the table), None where nothing was measured there.

    >>> from traces.file import facts_from_data
    >>> found = streams_of(StageTable.of(facts_from_data({"individuation": 1, "models": {"m": {}}, "conversations": {
    ...     "c": {"turns": [{"role": "user", "model": "m"},
    ...     {"role": "assistant", "connections": {"c/0": {"kl": 0.5, "mass": 0.25}}}]}}})), np.array([0, 1]))
    >>> found.unit, found.neighbours.tolist(), found.most
    ('nats', [nan, 0.5], 0.5)
    """
    if connections == "none" or not len(stages.connection_stage):
        return None
    here = np.zeros(len(stages), np.bool_)
    here[drawn] = True
    mine = here[stages.connection_stage]
    in_nats = bool(np.isfinite(stages.connection_kl[mine]).any())
    values = stages.connection_kl if in_nats else stages.connection_mass
    mine &= np.isfinite(values)
    further = mine & (stages.connection_source != stages.previous[stages.connection_stage])
    if connections == "before":
        further &= stages.connection_source == stages.own[stages.connection_stage]
    rows = np.flatnonzero(further)
    neighbours = np.where(here, stages.previous_kl if in_nats else stages.previous_mass, np.nan)
    shown = [*neighbours[np.isfinite(neighbours)].tolist(), *values[rows].tolist()]
    if not shown:
        return None
    strongest = rows[np.argsort(-values[rows], kind="stable")][:_MOST_ARCS]
    strongest = strongest[values[strongest] >= _WEAKEST_ARC * max(shown)]
    arcs = tuple(
        (int(stages.connection_stage[row]), int(stages.connection_source[row]), float(values[row]))
        for row in strongest[::-1]
    )
    return Streams(
        "nats" if in_nats else "attention", neighbours, arcs, max(shown), len(rows) - len(strongest), _ARCS[connections]
    )


def streams_height(frame: Frame, strip: Strip, streams: Streams) -> float:
    """How high the row of a strip is; 0 where nothing was measured in it."""
    arcs = _arcs_of(streams, strip)
    if not arcs and not np.isfinite(streams.neighbours[strip.rows]).any():
        return 0.0
    return _ROW + max((_rise(*_feet(frame, strip, *arc[:2]), frame, streams) for arc in arcs), default=0.0)


def streams_row(frame: Frame, strip: Strip, top: float, streams: Streams) -> Group:
    """The streams of a strip, from stage to stage, below the arcs."""
    group = Group("row", data={"data-row": "connected"})
    y = top + streams_height(frame, strip, streams) - _ROW / 2
    frame.label(group, "connected", y)
    for later, earlier, value in _arcs_of(streams, strip):
        group.items.append(_arc(frame, strip, y, later, earlier, streams, value))
    if frame.step < _FINE:
        group.items.extend(_stretches(frame, strip, y, streams))
        return group
    for row in strip.rows[np.isfinite(streams.neighbours[strip.rows])].tolist():
        x1 = frame.begin(row) if row == strip.rows[0] else frame.middle(row - 1)
        value = float(streams.neighbours[row])
        title = _told(frame, row, int(frame.stages.previous[row])) if frame.interactive else None
        group.items.append(_stream(x1, frame.middle(row), y, streams.share(value), title))
    return group


def _stream(x1: float, x2: float, y: float, share: float, title: str | None = None) -> Rect:
    broad = max(_LEAST, BROADEST * share)
    return Rect(x1, y - broad / 2, max(x2 - x1, 0.2), broad, "faint", title=title)


def _stretches(frame: Frame, strip: Strip, y: float, streams: Streams) -> list[Rect]:
    """Where stages are too narrow to see, the mean over as many as take a few pixels."""
    known = strip.rows[np.isfinite(streams.neighbours[strip.rows])]
    places = ((frame.time.left[known] + frame.time.right[known]) / 2 - frame.time.start).tolist()
    span = max(frame.time.end - frame.time.start, 1e-9)
    columns = max(1, int((frame.right - frame.left) / _FINE))
    column = np.minimum((np.array(places) / span * columns).astype(np.int64), columns - 1)
    found = []
    for number in np.unique(column).tolist():
        mean = float(streams.neighbours[known[column == number]].mean())
        left = frame.left + number * (frame.right - frame.left) / columns
        found.append(_stream(left, left + (frame.right - frame.left) / columns, y, streams.share(mean)))
    return found


def _arcs_of(streams: Streams, strip: Strip) -> list[tuple[int, int, float]]:
    first, last = (int(strip.rows[0]), int(strip.rows[-1])) if len(strip.rows) else (0, -1)
    # A conversation's stages stand side by side.
    return [arc for arc in streams.arcs if first <= arc[0] <= last]


def _feet(frame: Frame, strip: Strip, later: int, earlier: int) -> tuple[float, float]:
    first = int(strip.rows[0])
    # From an ancestor: it comes in where the strip begins.
    return frame.middle(earlier) if earlier >= first else frame.begin(first), frame.middle(later)


def _rise(x1: float, x2: float, frame: Frame, streams: Streams) -> float:
    """How high an arc is: the higher, the further it reaches."""
    reach = min(1.0, max(0.0, (x2 - x1) / max(frame.right - frame.left, 1.0)))
    return 8.0 + (streams.arched - 8.0) * math.sqrt(reach)


def _arc(frame: Frame, strip: Strip, y: float, later: int, earlier: int, streams: Streams, value: float) -> Path:
    x1, x2 = _feet(frame, strip, later, earlier)
    # A curve comes three quarters as far as its handles.
    handle = y - (_rise(x1, x2, frame, streams) - BROADEST_ARC / 2) / 0.75
    lean = min(6.0, (x2 - x1) / 4)
    steps: tuple[Command, ...] = (("M", (x1, y)), ("C", (x1 + lean, handle, x2 - lean, handle, x2, y)))
    title = _told(frame, later, earlier) if frame.interactive else None
    return Path(steps, "muted", max(0.3, BROADEST_ARC * streams.share(value) ** 2), title=title)


def _told(frame: Frame, later: int, earlier: int) -> str:
    mass, kl = frame.stages.connection(later, earlier)
    said = [] if kl is None else [f"predicts otherwise by {kl:.2g} nats without it"]
    said += [] if mass is None else [f"gives it {100 * mass:.2g}% of its attention"]
    return f"{frame.stages.name(later)}, of {frame.stages.name(earlier)}: {', '.join(said)}"


def streams_key(streams: Streams | None) -> list[tuple[str, str]]:
    """What the streams mean, for the legend: marks with what is said of them."""
    if streams is None or not streams.most > 0:
        return [] if streams is None else [("narrow-stream", f"{streams.told(0.0)}: nothing hangs on the stage before")]
    what = (
        "so far a stage predicts otherwise with the one before it hidden"
        if streams.unit == "nats"
        else "of its attention goes to the stage before"
    )
    between = ", " if streams.unit == "nats" else " "
    return [
        ("broad-stream", f"{streams.told(streams.most)}{between}{what}"),
        ("narrow-stream", streams.told(streams.most / THINNER)),
        *([("stream-arc", f"{streams.told(streams.most / 2)}, of a stage further back")] if streams.arcs else []),
    ]
