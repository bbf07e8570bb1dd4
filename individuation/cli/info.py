"""`individuate info`: what a trace holds."""

from __future__ import annotations

from typing import Any

import click

LONGEST_HISTORY = 24
"""How many uses of caches the table lists."""


@click.command(
    epilog="""
\b
Examples:
  individuate info aura.db
  individuate info aura.db --format json
"""
)
@click.argument("traces", nargs=-1, required=True, metavar="TRACE...")
@click.option("--format", "-f", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def info(traces: tuple[str, ...], form: str) -> None:
    """Say what a trace holds: models, servers, conversations, caches, coordinates, interventions, labellings."""
    import json

    from individuation.contents import contents
    from individuation.engine import open_trace

    found = [contents(facts) for facts in open_trace(*traces).recordings]
    if form == "json":
        click.echo(json.dumps(found if len(found) > 1 else found[0], indent=1, ensure_ascii=False))
        return
    for content in found:
        _table(content)


def _table(content: dict[str, Any]) -> None:
    from rich.text import Text

    from individuation.cli.terminal import console, table

    out = console()
    out.print(Text(content["title"], style="bold"))
    rows: list[tuple[str, str]] = []
    for section, value in content.items():
        if section == "title" or value in (None, {}, []):
            continue
        if section == "cache history":
            rows += _histories(value)
        elif isinstance(value, dict):
            rows += [(section if i == 0 else "", f"{name}: {_said(of)}") for i, (name, of) in enumerate(value.items())]
        else:
            rows.append((section, _said(value)))
    out.print(table([("", "left"), ("", "fold")], rows))


def _histories(histories: dict[str, list[dict[str, Any]]]) -> list[tuple[str, str]]:
    from individuation.cache_history import told

    lines = [f"{conversation}: {told(row)}" for conversation, rows in histories.items() for row in rows]
    if len(lines) > LONGEST_HISTORY:
        lines[LONGEST_HISTORY:] = [f"and {len(lines) - LONGEST_HISTORY:,} more (--format json lists them all)"]
    return [("cache history" if i == 0 else "", line) for i, line in enumerate(lines)]


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_said(of)}" for name, of in value.items() if of is not None)
    if isinstance(value, list):
        return ", ".join(map(_said, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else str(value)
