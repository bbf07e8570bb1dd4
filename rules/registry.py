"""All built-in views, in the order in which they are shown."""

from __future__ import annotations

from rules import (
    abstract_model_persona,
    forward_pass,
    instance_persona,
    model,
    model_persona,
    physical_instance,
    thread,
    virtual_instance,
)
from rules.view import View
from traces.errors import UnknownNameError

VIEWS: dict[str, View] = {
    module.VIEW.name: module.VIEW
    for module in (
        model,
        physical_instance,
        forward_pass,
        thread,
        virtual_instance,
        instance_persona,
        model_persona,
        abstract_model_persona,
    )
}


def find_view(name: str) -> View:
    """The view of that name. Raises `UnknownNameError`, which lists the views there are.

    >>> find_view("thread").source
    '§1.2 (Chalmers)'
    """
    if name not in VIEWS:
        raise UnknownNameError("views", "view", str(name), VIEWS)
    return VIEWS[name]
