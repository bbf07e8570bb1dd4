"""How a trace shows itself in a notebook: its lanes, with the counts in the legend."""

from __future__ import annotations

from individuation.engine import Trace, overview
from individuation.picture.bands import bands_of
from individuation.picture.files import trace_svg
from individuation.picture.lanes import default_views
from traces.coordinates import stage_coordinates


def trace_html(trace: Trace) -> str:
    """The lanes of a trace as SVG, for an HTML page. Nothing is loaded from anywhere.

    >>> from individuation.engine import open_trace
    >>> trace = open_trace({"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": [
    ...     {"role": "user", "tokens": 3, "model": "m"}, {"role": "assistant", "tokens": 5}]}}})
    >>> trace_html(trace)[:4], "virtual-instance" in trace_html(trace)
    ('<svg', True)
    """
    stages = trace.stages()
    coordinates = stage_coordinates(trace.recordings, stages)
    results = overview(trace, views=default_views(stages))
    return trace_svg(stages, results, coordinates, bands_of(trace.recordings, coordinates, None), title=trace.title)
