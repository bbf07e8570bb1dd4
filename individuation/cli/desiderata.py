"""`individuate desiderata`: how the minds of each view do as interlocutors, and as interpretations."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table as Grid

    from individuation.scores import Desiderata, ViewScores
    from individuation.telling_scores import Table as Figures


@click.command(
    epilog="""
\b
Examples:
  individuate desiderata examples/qwen3-32b-aura.yaml
  individuate desiderata aura.db -v thread -v instance-persona -r user_turns=intermittent
  individuate desiderata monday.db tuesday.db --format csv > scores.csv

What each number is, what it can show and what it cannot: docs/desiderata.md.
"""
)
@click.argument("traces", nargs=-1, required=True, metavar="TRACE...")
@click.option(
    "--view", "-v", "views", multiple=True, metavar="VIEW",
    help="Score this view (a name, or a view file of your own). Repeatable; default: every view.",
)  # fmt: skip
@click.option(
    "--reading", "-r", "readings", multiple=True, metavar="NAME=VALUE", help="Answer an open question. Repeatable."
)
@click.option("--labelling", metavar="NAME", help="Take persona regions from this labelling (see `individuate info`).")
@click.option("--format", "-f", "form", type=click.Choice(["text", "json", "csv"]), default="text", show_default=True)
def desiderata(
    traces: tuple[str, ...], views: tuple[str, ...], readings: tuple[str, ...], labelling: str | None, form: str
) -> None:
    """Score each view on what one may ask of a mind that one talks to: does it answer, last, hang together?

    The desiderata are those of Chalmers 2025. Beside them stands how well a view's minds predict the persona
    coordinates of turns held out, for their number (after Goldstein & Lederman 2025). A dash means that the trace does
    not say what a number needs; the reason stands below.
    """
    from individuation.cli.arguments import chosen_readings
    from individuation.engine import open_trace
    from individuation.scores import desiderata as scored

    chosen = chosen_readings(readings)
    found = scored(open_trace(*traces), views=views or None, labelling=labelling, readings=chosen)
    if form == "json":
        import json

        click.echo(json.dumps(found.to_dict(), indent=1, ensure_ascii=False, allow_nan=False))
    elif form == "csv":
        _csv(found)
    else:
        again = [*traces, *(["--labelling", labelling] if labelling else []), *(f"--reading={r}" for r in readings)]
        _text(found, again)


def _text(found: Desiderata, again: list[str]) -> None:
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    from individuation.cli.terminal import console
    from individuation.telling_scores import halves, head, sections, tables

    out = console()
    out.print(Text(head(found), style="bold"))
    for whole in tables(found):
        fits = Measurement.get(out, out.options.update(max_width=10_000), _grid(whole)).maximum <= out.width
        for part in [whole] if fits else halves(whole):
            if part[0]:
                out.print(Text(f"\n{part[0]}", style="bold"))
            out.print(_grid(part))
    for title, lines in sections(found):
        out.print(Text(title, style="bold"))
        listed = Table.grid(padding=(0, 1))
        for line in lines:
            listed.add_row(" -", Text(line))
        out.print(listed)
        out.print()
    # Whole, however narrow the terminal: a command is there to be copied.
    out.print(f"What the counts rest on: individuate {shlex.join(again)}", soft_wrap=True, markup=False)
    out.print("The formulas, and how to read them: docs/desiderata.md", soft_wrap=True, markup=False)


def _grid(shown: Figures) -> Grid:
    from individuation.cli.terminal import table

    _, titles, rows = shown
    return table([(title, "right" if column else "left") for column, title in enumerate(titles)], rows)


def _csv(found: Desiderata) -> None:
    import csv
    import io

    text = io.StringIO()
    rows = [_row(scores) for scores in found]
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    click.echo(text.getvalue(), nl=False)


def _row(scores: ViewScores) -> dict[str, object]:
    from individuation.telling_scores import scores_by_name

    span, found = scores.result.range, scores.predictiveness
    named = scores_by_name(scores)
    return {
        "view": scores.view,
        "count": scores.result.count,
        "low": None if span is None else span.low,
        "high": None if span is None else span.high,
        "readings": scores.result.readings_text,
        **{name: score.value for name, score in named.items()},
        "unification_low": scores.unification.low,
        "unification_high": scores.unification.high,
        "minds_with_coordinates": scores.coherence.minds,
        "turns_predicted": found.turns,
        "predictiveness_error": found.error,
        "log_density": found.log_density,
        "rotations": found.rotations,
        "circular": scores.circular,
        "notes": " | ".join(f"{name}: {score.note}" for name, score in named.items() if score.note),
    }
