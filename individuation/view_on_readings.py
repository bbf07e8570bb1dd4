"""A view with some of its readings answered, as a view beside others: `virtual-instance[reconstruction=new]`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from individuation.criteria import find_view
from rules.readings import NOT_BUILT_IN, Reading, Readings, Value
from rules.view import Verdict, View
from traces.errors import TraceError, quoted
from traces.stages import StageTable

_BRACKETS = re.compile(r"(?P<view>[^\[\]]+)\[(?P<readings>[^\[\]]*)\]")


def split_name(name: str) -> tuple[str, list[str]]:
    """The name of a view without brackets, and the readings in them.

    >>> split_name("virtual-instance[reconstruction=new, edits=cut]")
    ('virtual-instance', ['reconstruction=new', 'edits=cut'])
    """
    found = _BRACKETS.fullmatch(name)
    return (name, []) if found is None else (found["view"], [part.strip() for part in found["readings"].split(",")])


def named_view(name: str) -> View:
    """The view of that name, or file, on the readings that follow in brackets. `find_view` takes any name.

    Raises `TraceError` for readings that the view does not have.

    >>> view = named_view("virtual-instance[reconstruction=new, edits=cut]")
    >>> view.name, [reading.name for reading in view.readings]
    ('virtual-instance[reconstruction=new, edits=cut]', ['branching', 'unknown_cache', 'max_drift'])
    """
    view, readings = split_name(name)
    chosen: dict[str, object] = {}
    for part in readings:
        reading, equals, value = part.partition("=")
        if not equals or reading in chosen:
            raise TraceError(f"view {quoted(name)}", "its readings cannot be read", "VIEW[NAME=VALUE, NAME=VALUE]")
        chosen[reading] = value
    if not readings:
        raise TraceError(f"view {quoted(name)}", "its readings cannot be read", "VIEW[NAME=VALUE, NAME=VALUE]")
    return on_readings(find_view(view), chosen)


def on_readings(view: View, chosen: Mapping[str, object]) -> View:
    """A view that answers some of its readings by itself; the others stay open.

    A view that goes by links also takes `least_connectedness`, which no built-in view has. Raises `TraceError` for
    readings and values that the view does not have, and for answers that exclude each other.

    >>> on_readings(find_view("model"), {"weights": "base"}).name
    'model[weights=base]'
    """
    view = replace(view, readings=(*view.readings, *_further(view, chosen)))
    every = view.complete(chosen)
    fixed = {name: every[name] for name in chosen}
    name = f"{view.name}[{', '.join(f'{key}={value}' for key, value in fixed.items())}]"
    left = tuple(reading for reading in view.readings if reading.name not in fixed)
    declaration = view.declaration
    if declaration is not None:
        declaration = replace(declaration, fixed={**declaration.fixed, **fixed})
    return replace(view, name=name, readings=left, declaration=declaration, rule=_Fixed(view, fixed))


def _further(view: View, chosen: Mapping[str, object]) -> list[Reading]:
    """Readings that a view does not have, and can be asked all the same."""
    if view.declaration is None:
        return []
    taken = {*view.declaration.fixed, *(reading.name for reading in view.readings)}
    apt = set(view.declaration.apt_readings) - taken
    return [reading for reading in NOT_BUILT_IN if reading.name in chosen and reading.name in apt]


class _Fixed:
    """The rule of a view on some readings, which refuses others that they exclude."""

    def __init__(self, view: View, fixed: Mapping[str, Value]) -> None:
        self.view = view
        self.fixed = fixed

    def __call__(self, stages: StageTable, readings: Readings) -> Verdict:
        """The verdict, on the readings that are left open."""
        return self.view.rule(stages, self.view.complete({**readings, **self.fixed}))
