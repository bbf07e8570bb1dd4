"""Verdicts of three values: True borne out, False not borne out, None could not be told."""

from __future__ import annotations

from collections.abc import Iterable


def all_hold(verdicts: Iterable[bool | None]) -> bool | None:
    """Whether all are borne out. One that failed is enough for False; else one that could not be told, for None.

    >>> all_hold([True, True]), all_hold([None, False]), all_hold([])
    (True, False, True)
    >>> print(all_hold([True, None]))
    None
    """
    found = list(verdicts)
    return False if False in found else None if None in found else True
