"""What can be wrong with a trace, said so that its author can mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LONGEST_QUOTE = 60
_LONGEST_PART = 200


class TraceError(Exception):
    """Bad input: where it is, what was found, and what was expected there.

    >>> str(TraceError("a.yaml: conversation c1, turn 0", "tokens is -3", "a whole number >= 1, or null"))
    'a.yaml: conversation c1, turn 0: tokens is -3.\\nExpected: a whole number >= 1, or null.'
    """

    def __init__(self, where: str, found: str, expected: str) -> None:
        # Names and values come from files: a message stays short, and no terminal obeys what it quotes.
        self.where, self.found, self.expected = (_brief(part) for part in (where, found, expected))
        super().__init__(self.where, self.found, self.expected)

    def __str__(self) -> str:
        return f"{self.where}: {self.found}{'' if self.found.endswith('?') else '.'}\nExpected: {self.expected}."


class UnknownNameError(TraceError):
    """A view, reading, labelling or other name that does not exist; the message lists those that do."""

    def __init__(self, where: str, kind: str, name: str, known: Iterable[str]) -> None:
        known = list(known)
        super().__init__(where, f"there is no {kind} {quoted(name)}{suggestion(name, known)}", one_of(known, kind))

    def __reduce__(self) -> tuple[type[TraceError], tuple[str, str, str]]:
        # Pickled by what it says, so that it can come back from another process.
        return TraceError, (self.where, self.found, self.expected)


def quoted(value: object) -> str:
    """A value as it is shown in a message: short, on one line.

    >>> quoted("a" * 200)
    '"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…" (200 characters)'
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return f"a mapping with {len(value)} entries"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if not isinstance(value, str):
        return str(value)[:_LONGEST_QUOTE]
    shown = value[:_LONGEST_QUOTE].translate(_ONE_LINE)
    return f'"{shown}"' if len(value) <= _LONGEST_QUOTE else f'"{shown}…" ({len(value):,} characters)'


def suggestion(name: str, known: Iterable[str]) -> str:
    """`; did you mean "x"?` for the nearest known name, or nothing.

    >>> suggestion("thred", ["thread", "model"])
    '; did you mean "thread"?'
    """
    # Short names are all near each other: "c9" is no slip of "c3".
    nearest = difflib.get_close_matches(
        name[:_LONGEST_QUOTE], [other for other in known if len(other) > 3], n=1, cutoff=0.5
    )
    return f'; did you mean "{nearest[0]}"?' if nearest else ""


def one_of(known: Iterable[str], kind: str = "name") -> str:
    """`one of a, b, c`, cut where there are very many."""
    names = list(known)
    if not names:
        return f"{'an' if kind[:1] in 'aeiou' else 'a'} {kind} that is declared (there is none here)"
    shown = ", ".join(names[:30])
    return f"one of {shown}" + (f", and {len(names) - 30} more" if len(names) > 30 else "")


def _brief(text: str) -> str:
    half = _LONGEST_PART // 2
    return (text if len(text) <= _LONGEST_PART else f"{text[:half]} … {text[-half:]}").translate(_ONE_LINE)


_ONE_LINE = dict.fromkeys(
    (*range(32), *range(127, 160), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)), " "
)
