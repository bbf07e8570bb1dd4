"""An outcome as a folder: report.md to be read, outcome.json for programs, a CSV for each table, pictures of plots."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from individuation.outcomes.plots import drawable, picture
from individuation.outcomes.words import cell, how_sure, verdict
from mechanism.outcome import Cell, Estimate, Outcome, Table

REPORT, DATA = "report.md", "outcome.json"


def write(outcome: Outcome, folder: Path) -> list[Path]:
    """Write an outcome into a folder, which is made if it is not there, and give back what was written.

    Files of an earlier outcome of the same run are replaced: the folder belongs to the run. A plot without a point is
    not drawn, and the report says so. Raises `OSError` where nothing can be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, bytes] = {
        DATA: json.dumps(outcome.to_dict(), ensure_ascii=False, indent=1, allow_nan=False).encode() + b"\n"
    }
    for table in outcome.tables:
        files[f"{file_name(table.title)}.csv"] = _csv(table)
    for plot in filter(drawable, outcome.plots):
        for format_ in ("svg", "png"):
            files[f"{file_name(plot.name)}.{format_}"] = picture(plot, format_)
    # The report comes last: where it is, what it names is there.
    files[REPORT] = report(outcome).encode()
    for name, content in files.items():
        partial = folder / f".{name}.partial"
        partial.write_bytes(content)
        partial.replace(folder / name)
    return [folder / name for name in (REPORT, *(each for each in files if each != REPORT))]


def report(outcome: Outcome) -> str:
    """The outcome as Markdown: the answer, how sure it is, numbers and pictures, and all that is needed to redo it."""
    parts = [f"# {outcome.title}", outcome.question, f"*{outcome.source}*"]
    if outcome.caveats:
        parts.append(f"> **Before you believe it.** {outcome.caveats[0]}")
    parts.append("## What was found")
    for finding in outcome.findings:
        mark = "" if finding.passed is None else f"**{verdict(finding).capitalize()}.** "
        told = " · ".join(each for each in (how_sure(finding), finding.source or "") if each)
        parts.append(f"- {mark}{finding.statement}" + (f"  \n  {told}" if told else ""))
    for plot in outcome.plots:
        if not drawable(plot):
            parts.append(f"*{plot.title}*: there is nothing to be drawn.")
            continue
        parts.append(f"![{plot.title}]({file_name(plot.name)}.svg)")
        if plot.caption:
            parts.append(plot.caption)
    for table in outcome.tables:
        parts += [f"## {table.title}", _markdown(table), f"[As CSV]({file_name(table.title)}.csv)"]
    if outcome.caveats[1:]:
        parts += ["## What it also rests on", "\n".join(f"- {caveat}" for caveat in outcome.caveats[1:])]
    if outcome.settings:
        settings = json.dumps(dict(outcome.settings), ensure_ascii=False, indent=1, default=str)
        parts += ["## To do it again", f"```json\n{settings}\n```"]
    if outcome.next:
        parts += ["## Go on", "\n".join(f"    {command}" for command in outcome.next)]
    # The findings are one list.
    return (
        "\n\n".join(parts).replace("\n\n- ", "\n- ").replace("## What was found\n- ", "## What was found\n\n- ") + "\n"
    )


def file_name(title: str) -> str:
    """The name of a file, from a title.

    >>> file_name("Projections by role (layer 3)")
    'projections-by-role-layer-3'
    """
    kept = "".join(each if each.isalnum() else "-" for each in title.lower())
    return "-".join(part for part in kept.split("-") if part)[:80] or "table"


def columns_of(table: Table) -> list[tuple[str, int, str]]:
    """The columns of a CSV: a column with estimates has its ends and its n beside it. (Name, place, part.)"""
    columns = []
    for at, name in enumerate(table.columns):
        columns.append((name, at, "value"))
        if any(isinstance(row[at], Estimate) for row in table.rows):
            columns += [(f"{name}, {part}", at, part) for part in ("low", "high", "n")]
    return columns


def _csv(table: Table) -> bytes:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    columns = columns_of(table)
    writer.writerow([name for name, _, _ in columns])
    for row in table.rows:
        writer.writerow([_part(row[at], part) for _, at, part in columns])
    return file.getvalue().encode()


def _part(value: Cell | Estimate, part: str) -> Cell:
    if isinstance(value, Estimate):
        found: Cell = getattr(value, part)
        return found
    return value if part == "value" else None


def _markdown(table: Table) -> str:
    rows: Sequence[Sequence[str]] = [[cell(each) for each in row] for row in table.rows]
    lines = [table.columns, ["---"] * len(table.columns), *rows]
    return "\n".join(
        "| " + " | ".join(each.replace("|", "\\|").replace("\n", " ") for each in line) + " |" for line in lines
    )
