"""`individuate compare`: views side by side on one trace, how far they agree, and where they part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from individuation.comparison import Comparison


@click.command(
    epilog="""
\b
Examples:
  individuate compare examples/qwen3-32b-aura.yaml
  individuate compare aura.db --view thread --view model-persona
  individuate compare aura.db -v "virtual-instance[reconstruction=new]" -v virtual-instance
  individuate compare aura.db --format csv > pairs.csv

A view may be named with readings of its own in brackets: VIEW[NAME=VALUE, NAME=VALUE]. --reading is for all views that
have it. --format json gives everything; csv a row for each pair of views.
"""
)
@click.argument("traces", nargs=-1, required=True, metavar="TRACE...")
@click.option(
    "--view", "-v", "views", multiple=True, metavar="VIEW",
    help="Compare this view (a name, or a view file of your own). Repeatable; default: all built-in views.",
)  # fmt: skip
@click.option(
    "--reading", "-r", "readings", multiple=True, metavar="NAME=VALUE", help="Answer an open question. Repeatable."
)
@click.option("--labelling", metavar="NAME", help="Take persona regions from this labelling (see `individuate info`).")
@click.option("--format", "-f", "form", type=click.Choice(["text", "json", "csv"]), default="text", show_default=True)
def compare(
    traces: tuple[str, ...], views: tuple[str, ...], readings: tuple[str, ...], labelling: str | None, form: str
) -> None:
    """Compare views: what each counts, how far they agree, which divides more finely, and where they part.

    Where two views disagree, the first two stages that one puts into one mind and the other into two are shown, with
    the reason of each and its section of the paper. docs/comparing.md says what every number is.
    """
    import json

    from individuation.cli.arguments import chosen_readings
    from individuation.comparison import compare as compared
    from individuation.criteria import find_view
    from individuation.engine import open_trace
    from rules.registry import VIEWS

    named = {name: find_view(name) for name in views}
    found = compared(
        open_trace(*traces),
        [named[name] for name in views] or tuple(VIEWS),
        labelling=labelling,
        readings=chosen_readings(readings),
    )
    if form == "json":
        click.echo(json.dumps(found.to_dict(), indent=1, ensure_ascii=False, allow_nan=False))
    elif form == "csv":
        click.echo(_csv(found), nl=False)
    else:
        click.echo(str(found))
        click.echo(f"\n{_next(found, traces, {view.name: name for name, view in named.items()}, readings, labelling)}")


def _csv(found: Comparison) -> str:
    import csv
    import io
    import json

    columns = [
        "first", "second", "stages", "relation", "together_in_both", "first_only", "second_only", "apart_in_both",
        "meet", "join", "adjusted_rand_index", "variation_of_information_bits", "first_only_links",
        "first_only_boundaries", "first_only_example", "second_only_links", "second_only_boundaries",
        "second_only_example",
    ]  # fmt: skip
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for pair in found.pairs:
        row = {"first": pair.first, "second": pair.second, **pair.numbers()}
        for way, divergence in (("first_only", pair.first_only), ("second_only", pair.second_only)):
            row[f"{way}_links"] = len(divergence.link_numbers)
            row[f"{way}_boundaries"] = len(divergence.boundary_rows)
            first = divergence.first
            row[f"{way}_example"] = "" if first is None else json.dumps([first.before, first.stage], ensure_ascii=False)
        writer.writerow(row)
    return text.getvalue()


def _next(
    found: Comparison, traces: Sequence[str], as_named: dict[str, str], readings: Sequence[str], labelling: str | None
) -> str:
    """What to ask next: why the first two stages are sorted differently, or what the counts hang on."""
    import shlex

    from individuation.view_on_readings import split_name

    words = [*traces, *(["--labelling", labelling] if labelling else [])]
    divergence = next((divergence for pair in found.pairs for divergence in pair.divergences), None)
    if divergence is None or divergence.first is None or len(traces) > 1:
        chosen = (f"--reading={reading}" for reading in readings)
        return f"What each count hangs on: individuate sensitivity {shlex.join([*words, *chosen])}"
    # `why` has no brackets: of a view that is named with some, its readings stand beside it.
    side = divergence.parting
    view, fixed = split_name(as_named.get(side.name, side.name))
    mine = [reading for reading in readings if reading.partition("=")[0] in side.result.readings]
    chosen = (f"--reading={reading}" for reading in (*mine, *fixed))
    words[1:1] = [divergence.first.before, divergence.first.stage]
    return f"The whole reason: individuate why {shlex.join([*words, f'--view={view}', *chosen])}"
