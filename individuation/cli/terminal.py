"""How results look on a terminal: plain text in pipes, colour never alone, tables as wide as there is room."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

_PIPE_WIDTH = 120


def console() -> Console:
    """A console for standard output."""
    from rich.console import Console

    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _PIPE_WIDTH
    # NO_COLOR asks for plain text; rich by itself would still print bold.
    plain = bool(os.environ.get("NO_COLOR"))
    return Console(width=width, color_system=None if plain else "auto", highlight=False, emoji=False, soft_wrap=False)


def progress_bar(worth_it: bool) -> Progress:
    """A progress bar on standard error, gone when done; none where the work is short or nobody looks."""
    from rich.console import Console
    from rich.progress import Progress

    return Progress(console=Console(stderr=True), transient=True, disable=not (worth_it and sys.stderr.isatty()))


def table(columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[object]]) -> Table:
    """A table. A column is a title and an alignment: "left", "right", or "fold" for text that may take more lines."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for title, align in columns:
        shown.add_column(
            title, justify="right" if align == "right" else "left", overflow="fold", no_wrap=align == "left"
        )
    for row in rows:
        shown.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))
    return shown


def count(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun.

    >>> count(1, "stage"), count(1200, "stage")
    ('1 stage', '1,200 stages')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def some(names: Sequence[str], most: int, total: int | None = None) -> str:
    """The first few names, and how many more.

    >>> some(["a", "b", "c"], 2)
    'a · b · and 1 more'
    """
    total = len(names) if total is None else total
    shown = list(names[:most])
    return " · ".join([*shown, f"and {total - len(shown):,} more"] if total > len(shown) else shown)


def number(value: int | None) -> str:
    """A number, or a dash where there is none."""
    return "-" if value is None else f"{value:,}"
