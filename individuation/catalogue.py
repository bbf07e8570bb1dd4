"""Views and readings described as data, for `individuate views` and docs/views.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rules.readings import ALL, Reading
from rules.view import View


def described(views: Sequence[View]) -> dict[str, list[dict[str, Any]]]:
    """Views with their definition and source, and the readings that any of them has.

    >>> from rules.registry import find_view
    >>> described([find_view("thread")])["views"][0]["readings"]
    ['branching']
    """
    used = [reading for reading in ALL if any(reading in view.readings for view in views)]
    return {
        "views": [
            {
                "view": view.name,
                "definition": view.definition,
                "source": view.source,
                "explanation": view.about,
                "readings": [reading.name for reading in view.readings],
            }
            for view in views
        ],
        "readings": [described_reading(reading, views) for reading in used],
    }


def described_reading(reading: Reading, views: Sequence[View]) -> dict[str, Any]:
    """A reading, and which of the views have it."""
    return {
        "reading": reading.name,
        "values": values(reading),
        "question": reading.question,
        "source": reading.source,
        "views": [view.name for view in views if reading in view.readings],
    }


def values(reading: Reading) -> str:
    """The values of a reading, default first."""
    return ", ".join(reading.values) if reading.values else f"{reading.default}, or a number >= 0"
