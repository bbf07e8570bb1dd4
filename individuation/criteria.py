"""All views there are: built in, brought along by installed packages, or in a file of one's own."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from rules.registry import VIEWS
from rules.view import View
from traces.errors import TraceError, UnknownNameError

GROUP = "individuation.views"
"""The entry-point group by which an installed package offers a `View`, or a function that makes one."""


def find_view(name: str) -> View:
    """The view of that name, or in that file (`.toml`, or a path); readings may follow in brackets.

    Raises `UnknownNameError`, which lists the views there are, and `TraceError` for a file that declares none.

    >>> find_view("thread").source
    '§1.2 (Chalmers)'
    >>> find_view("virtual-instance[reconstruction=new]").name
    'virtual-instance[reconstruction=new]'
    """
    if name in VIEWS:
        return VIEWS[name]
    if name.endswith("]"):
        from individuation.view_on_readings import named_view

        return named_view(name)
    if name.endswith(".toml") or "/" in name or os.sep in name:
        from individuation.view_files import read_view

        return read_view(Path(name))
    offered = installed()
    if name not in offered:
        raise UnknownNameError("views", "view", str(name), [*VIEWS, *offered, "./a-file.toml"])
    return offered[name]


@cache
def installed() -> dict[str, View]:
    """The views that installed packages offer, by name; they cannot take a built-in view's name.

    Raises `TraceError` for an offer that is no view.
    """
    from importlib.metadata import entry_points

    found: dict[str, View] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        where = f"entry point {entry.name} of {entry.dist.name if entry.dist else 'a package'} ({GROUP})"
        try:
            offer = entry.load()
        except Exception as error:
            raise TraceError(where, f"it cannot be loaded: {error}", f"a View at {entry.value}") from error
        view = offer if isinstance(offer, View) or not callable(offer) else offer()
        if not isinstance(view, View):
            raise TraceError(where, f"it is a {type(view).__name__}", "a rules.view.View, or a function that makes one")
        if view.name in VIEWS or view.name in found:
            raise TraceError(where, f'a view "{view.name}" is there already', "another name")
        found[view.name] = view
    return found


def all_views() -> list[View]:
    """Built-in views in their order, then those of installed packages."""
    return [*VIEWS.values(), *installed().values()]
