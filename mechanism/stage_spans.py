"""Where the stages of a conversation stand among its positions."""

from __future__ import annotations

from collections.abc import Sequence

from traces.errors import TraceError

Span = tuple[int, int]
"""The first position of a stage, and the one after its last."""


def checked_spans(stages: Sequence[Span], positions: int) -> tuple[Span, ...]:
    """The stages of a conversation of so many positions, if they can be that.

    They stand in order, none is empty and none reaches into another; positions between two stages belong to none.
    Raises `TraceError`.

    >>> checked_spans([(0, 3), (3, 7)], 7)
    ((0, 3), (3, 7))
    """
    if not stages:
        raise TraceError("stages", "there are none", "at least one, as its first position and the one after its last")
    last = 0
    for number, (start, end) in enumerate(stages):
        where = f"stage {number}"
        if start >= end:
            raise TraceError(
                where, f"it goes from {start} to {end}", "an end behind the start: every stage has a token"
            )
        if start < last:
            expected = f"a start at {last} or behind it: stages stand in order and share no position"
            raise TraceError(where, f"it starts at {start}", expected)
        if end > positions:
            raise TraceError(where, f"it ends at {end}", f"an end at {positions} at most, as many as there are tokens")
        last = end
    return tuple((int(start), int(end)) for start, end in stages)


def chosen_stages(of: Sequence[int] | None, stages: int) -> tuple[int, ...]:
    """The stages asked about, by number: all where none are named. Raises `TraceError`.

    >>> chosen_stages(None, 3), chosen_stages([2, 1, 2], 3)
    ((0, 1, 2), (1, 2))
    """
    if of is None:
        return tuple(range(stages))
    for number in of:
        if not 0 <= number < stages:
            raise TraceError("of", f"there is no stage {number}", f"numbers from 0 to {stages - 1}")
    return tuple(sorted(set(of)))
