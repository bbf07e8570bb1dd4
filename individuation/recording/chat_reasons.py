"""What a chat comes to: how many minds under each view, and why two stages are one mind or two."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from individuation.cli.tables import show_overview
from individuation.criteria import all_views, find_view
from individuation.engine import Trace, open_trace, overview
from individuation.explanation import why
from individuation.reasons import Passes
from individuation.recording.chat_screen import Screen

_NO_PARTING = ("virtual-instance", "instance-persona")
"""The views whose reasons are shown where all find one mind: those that ask for the most."""


def show_count(screen: Screen, store: Path) -> None:
    """The overview, as `individuate TRACE` prints it."""
    trace = open_trace(store)
    if not len(trace.stages()):
        screen.note("Nothing was said yet, so there is nobody to count.")
        return
    show_overview(trace, overview(trace), [str(store)], None)


def show_reasons(screen: Screen, trace: Trace, store: Path, stages: Sequence[str], views: Sequence[str]) -> None:
    """Whether two stages are one mind, view by view, with the reasons of those that part them."""
    a, b = stages
    found = [why(trace, a, b, find_view(name)) for name in views] or [why(trace, a, b, view) for view in all_views()]
    if len(found) == 1:
        screen.say(_indented(str(found[0])))
        return
    told = {False: "two minds under", True: "one mind under", None: "not known under"}
    screen.say(f"  {a} and {b}")
    for same, words in told.items():
        if names := [each.view for each in found if each.same is same]:
            screen.say(f"    {words} {', '.join(names)}")
    parting = [each for each in found if each.same is False and not isinstance(each.evidence, Passes)]
    for each in parting or [each for each in found if each.view in _NO_PARTING]:
        screen.say()
        screen.say(_indented(str(each)))
    screen.say()
    screen.note(f"Every view's reasons: individuate why {shlex.join([str(store), a, b])}")


def _indented(text: str) -> str:
    return "\n".join(f"  {line}".rstrip() for line in text.splitlines())
