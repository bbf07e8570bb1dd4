"""Plots of an outcome, as SVG or PNG, in the colours of the other pictures. Colour never stands alone: each line has
its own marker and dashes, each set of bars its own hatch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from individuation.picture.figures import saved
from individuation.picture.palette import MINDS, colours
from mechanism.outcome import Plot, Series
from traces.errors import TraceError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (3, 1, 1, 1, 1, 1)))
_HATCHES = ("", "//", "..", "xx", "\\\\", "++", "oo", "--")
_SIZE = (7.6, 4.4)
_DPI = 200
_MOST_NAMED = 24
# A fixed salt and no date, so that the same outcome gives the same bytes.
_RC: Any = {
    "font.family": ["DejaVu Sans"], "font.size": 9.5, "svg.fonttype": "path", "svg.hashsalt": "individuate",
    "axes.spines.top": False, "axes.spines.right": False, "hatch.linewidth": 0.7,
}  # fmt: skip


def picture(plot: Plot, format_: str = "svg") -> bytes:
    """A plot as a file. Raises `TraceError` where it has no finite point.

    >>> picture(Plot("p", "P", "lines", "x", "y", [Series("a", [0, 1], [0.0, 1.0])]))[:5]
    b'<?xml'
    """
    if not drawable(plot):
        raise TraceError(f"plot {plot.name}", "it has no finite point", "numbers to be drawn")
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    ink = colours("light")
    with mpl.rc_context(_RC):
        figure = Figure(figsize=_SIZE, layout="constrained", facecolor=ink["ground"])
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        _frame(axes, plot, ink)
        names = _names(plot)
        if plot.kind == "bars":
            _bars(axes, plot, names)
        else:
            for number, series in enumerate(plot.series):
                _drawn(axes, plot, number, series, names, ink)
        if names is not None:
            axes.set_xticks(range(len(names)), names)
            if max(map(len, names)) * len(names) > 70:
                for label in axes.get_xticklabels():
                    label.set(rotation=28, ha="right", rotation_mode="anchor")
        _lines(axes, plot, ink)
        if len(plot.series) > 1:
            _legend(figure, axes, len(plot.series))
        return saved(figure, format_, plot.title, _DPI)


def drawable(plot: Plot) -> bool:
    """Whether there is anything to be drawn: a finite point."""
    return any(bool(np.isfinite(np.asarray(series.y, float)).any()) for series in plot.series)


def _frame(axes: Axes, plot: Plot, ink: dict[str, str]) -> None:
    axes.set_facecolor(ink["ground"])
    axes.set_title(plot.title, loc="left", color=ink["ink"], fontsize=11, fontweight="bold", wrap=True)
    axes.set_xlabel(plot.x, color=ink["ink"])
    axes.set_ylabel(plot.y, color=ink["ink"])
    axes.grid(axis="both" if plot.kind == "scatter" else "y", color=ink["grid"], linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=ink["muted"], labelcolor=ink["ink"])
    for side in ("left", "bottom"):
        axes.spines[side].set_color(ink["faint"])


def _names(plot: Plot) -> list[str] | None:
    """Where x holds names, all of them in order; None where it holds numbers."""
    if plot.kind != "bars" and not any(isinstance(x, str) for series in plot.series for x in series.x):
        return None
    return list(dict.fromkeys(_name(x) for series in plot.series for x in series.x))


def _name(x: float | str) -> str:
    return x if isinstance(x, str) else f"{x:g}"


def _drawn(axes: Axes, plot: Plot, number: int, series: Series, names: list[str] | None, ink: dict[str, str]) -> None:
    x = np.array([names.index(_name(each)) if names is not None else each for each in series.x], float)
    y = np.asarray(series.y, float)
    colour, marker = MINDS[number % len(MINDS)], _MARKERS[number % len(_MARKERS)]
    edge: Any = {"markeredgecolor": ink["outline"], "markeredgewidth": 0.5}
    if plot.kind == "lines":
        dashes = _DASHES[number % len(_DASHES)]
        small = 5.0 if len(x) <= 40 else 0.0
        axes.plot(x, y, color=colour, linestyle=dashes, marker=marker, markersize=small, label=series.name, **edge)
        if series.low is not None and series.high is not None:
            low, high = np.asarray(series.low, float), np.asarray(series.high, float)
            axes.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0)
        if names is None and len(x) <= 16 and bool((x == x.round()).all()):
            axes.set_xticks(sorted({*axes.get_xticks()[:0], *x}))
    else:
        size = 5.5 if max(len(each.x) for each in plot.series) <= 200 else 3.8
        axes.plot(
            x, y, color=colour, linestyle="", marker=marker, markersize=size, alpha=0.85, label=series.name, **edge
        )
        if series.low is not None and series.high is not None:
            _whiskers(axes, x, y, series, colour)
    if series.labels is not None and len(series.labels) <= _MOST_NAMED:
        for at, label in enumerate(series.labels):
            if label and np.isfinite(y[at]):
                axes.annotate(
                    label, (x[at], y[at]), xytext=(4, 3), textcoords="offset points", fontsize=7.5, color=ink["ink"]
                )


def _bars(axes: Axes, plot: Plot, names: list[str] | None) -> None:
    assert names is not None
    width = 0.8 / max(1, len(plot.series))
    for number, series in enumerate(plot.series):
        at = np.array([names.index(_name(x)) for x in series.x], float)
        x, y = at + (number - (len(plot.series) - 1) / 2) * width, np.asarray(series.y, float)
        axes.bar(
            x, y, width * 0.92, color=MINDS[number % len(MINDS)], hatch=_HATCHES[number % len(_HATCHES)],
            edgecolor=colours("light")["outline"], linewidth=0.6, label=series.name,
        )  # fmt: skip
        if series.low is not None and series.high is not None:
            _whiskers(axes, x, y, series, colours("light")["ink"])


def _whiskers(axes: Axes, x: Any, y: Any, series: Series, colour: str) -> None:
    low, high = np.asarray(series.low, float), np.asarray(series.high, float)
    reach = np.clip(np.stack([y - low, high - y]), 0, None)
    axes.errorbar(x, y, yerr=np.nan_to_num(reach), fmt="none", ecolor=colour, elinewidth=1.0, capsize=2.5)


def _lines(axes: Axes, plot: Plot, ink: dict[str, str]) -> None:
    """Bands and lines across the plot, each named at its right end."""
    bottom, top = axes.get_ylim()
    for number, (name, low, high) in enumerate(plot.bands):
        from_, to = bottom if low is None else low, top if high is None else high
        axes.axhspan(from_, to, color=ink["band-b" if number % 2 else "band-a"], zorder=0)
        if name:
            inside = min(max((from_ + to) / 2, bottom), top)
            axes.text(
                1.005, inside, name, transform=axes.get_yaxis_transform(), fontsize=8, color=ink["muted"], va="center"
            )
    for name, y in plot.lines:
        axes.axhline(y, color=ink["muted"], linewidth=0.9, linestyle=(0, (2, 2)))
        axes.text(1.005, y, name, transform=axes.get_yaxis_transform(), fontsize=8, color=ink["muted"], va="center")
        bottom, top = min(bottom, y), max(top, y)
    axes.set_ylim(bottom, top)


def _legend(figure: Any, axes: Axes, number: int) -> None:
    handles, labels = axes.get_legend_handles_labels()
    columns = _columns(labels)
    figure.legend(
        handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=8.5, handlelength=2.6
    )


def _columns(labels: Sequence[str]) -> int:
    longest = max(map(len, labels), default=1)
    return max(1, min(len(labels), 100 // (longest + 8)))
