"""Arguments that several commands take."""

from __future__ import annotations

from collections.abc import Sequence


def chosen_readings(readings: Sequence[str]) -> dict[str, object]:
    """The values of `--reading NAME=VALUE`, by name. Raises `TraceError`.

    >>> chosen_readings(["edits=cut"])
    {'edits': 'cut'}
    """
    from traces.errors import TraceError, quoted

    chosen: dict[str, object] = {}
    for reading in readings:
        name, equals, value = reading.partition("=")
        if not equals:
            raise TraceError("--reading", f"it is {quoted(reading)}", "NAME=VALUE, such as reconstruction=new")
        if name in chosen:
            raise TraceError("--reading", f"{name} is given twice", "each reading once")
        chosen[name] = value
    return chosen
