"""An outcome on the terminal: the answer first, then how sure it is, the numbers behind it, and what it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from individuation.outcomes.words import cell, how_sure, verdict
from mechanism.outcome import Estimate, Outcome, Table

if TYPE_CHECKING:
    from rich.console import Console

_MOST_ROWS = 24


def show(outcome: Outcome, files: Sequence[str] = (), out: Console | None = None) -> None:
    """Print an outcome. `files` are those that it was written to."""
    from rich.padding import Padding
    from rich.text import Text

    from individuation.cli.terminal import console, some

    out = out or console()
    out.print(Text(outcome.title, style="bold"))
    out.print(Text(outcome.question))
    if outcome.caveats:
        out.print()
        out.print(Text(f"Before you believe it: {outcome.caveats[0]}"))
    out.print()
    for finding in outcome.findings:
        mark = {None: " ", True: "+", False: "x"}[finding.passed]
        out.print(
            Text.assemble((f"{mark} ", "bold"), (finding.statement, "bold" if finding.passed is not None else ""))
        )
        told = how_sure(finding)
        basis = " · ".join(each for each in (told, finding.source or "") if each)
        if finding.passed is not None:
            basis = f"{verdict(finding)}{': ' if basis else ''}{basis}"
        if basis:
            out.print(Padding(Text(basis, style="dim"), (0, 0, 0, 4)))
    for table in outcome.tables:
        out.print()
        _table(out, table)
    if outcome.caveats[1:]:
        out.print()
        out.print(Text("It also rests on:"))
        for caveat in outcome.caveats[1:]:
            out.print(Padding(Text(f"- {caveat}"), (0, 0, 0, 2)))
    if files:
        out.print()
        out.print(Text(f"Written: {some([*files], 4)}"))
    for command in outcome.next:
        out.print(Text(f"Next: {command}"))


def _table(out: Console, table: Table) -> None:
    from rich.text import Text

    from individuation.cli.terminal import table as grid

    out.print(Text(table.title, style="bold"))
    numbers = [
        any(isinstance(row[at], Estimate | int | float) for row in table.rows) for at in range(len(table.columns))
    ]
    columns = [(name, "right" if right else "fold") for name, right in zip(table.columns, numbers, strict=True)]
    shown = [[cell(each) for each in row] for row in table.rows[:_MOST_ROWS]]
    out.print(grid(columns, shown))
    if len(table.rows) > _MOST_ROWS:
        out.print(Text(f"and {len(table.rows) - _MOST_ROWS:,} more rows, in the CSV file"))
