"""`individuate TRACE...`: count the minds under all views, or list those of the views that are named."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from individuation.engine import Trace
    from individuation.result import Result


@click.command(
    epilog="""
\b
Examples:
  individuate examples/qwen3-32b-aura.yaml
  individuate aura.db --view instance-persona --view model-persona
  individuate aura.db --view virtual-instance --reading reconstruction=new
  individuate aura.db --view ./my-view.toml
  individuate a.yaml b.db --view model-persona --format json | jq .count

`individuate views` lists every view and reading with its source.
"""
)
@click.argument("traces", nargs=-1, required=True, metavar="TRACE...")
@click.option(
    "--view",
    "-v",
    "views",
    multiple=True,
    metavar="VIEW",
    help="Count under this view (a name, or a view file of your own) and list its minds. Repeatable.",
)
@click.option(
    "--reading", "-r", "readings", multiple=True, metavar="NAME=VALUE", help="Answer an open question. Repeatable."
)
@click.option("--labelling", metavar="NAME", help="Take persona regions from this labelling (see `individuate info`).")
@click.option("--format", "-f", "form", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)
def count(
    traces: tuple[str, ...], views: tuple[str, ...], readings: tuple[str, ...], labelling: str | None, form: str
) -> None:
    """Count the minds in one or several traces. (This is what `individuate TRACE` does.)

    Without --view: one line for each view. With --view: the minds of that view, then what the count rests on.
    Several traces are counted together.
    """
    from individuation.cli.arguments import chosen_readings
    from individuation.engine import overview
    from rules.registry import VIEWS

    chosen = chosen_readings(readings)
    trace = _opened(traces)
    results = overview(trace, views=views or tuple(VIEWS), labelling=labelling, readings=chosen)
    if form == "json":
        _json(trace, results, bool(views))
    elif form == "csv":
        _csv(results, bool(views))
    else:
        _tables(trace, results, traces, labelling, views)


def _tables(
    trace: Trace, results: list[Result], traces: tuple[str, ...], labelling: str | None, views: tuple[str, ...]
) -> None:
    from individuation.cli.tables import show_minds, show_overview

    if views:
        for result, named in zip(results, views, strict=True):
            show_minds(trace, result, traces, labelling, named)
    else:
        show_overview(trace, results, traces, labelling)


def _opened(traces: tuple[str, ...]) -> Trace:
    from individuation.cli.main import cli
    from individuation.engine import open_trace
    from traces.errors import TraceError, suggestion

    first = Path(traces[0])
    if not first.exists() and not first.suffix and len(first.parts) == 1:
        commands = cli.list_commands(click.Context(cli))
        raise TraceError(
            traces[0], f"there is no such file or command{suggestion(traces[0], commands)}", "a trace, or a command"
        )
    return open_trace(*traces)


# --- for programs


def _json(trace: Trace, results: list[Result], whole: bool) -> None:
    import json

    if not whole:
        data: object = {
            "trace": trace.title,
            "stages": len(results[0].stages),
            "views": [result.summary() for result in results],
        }
    else:
        data = results[0].to_dict() if len(results) == 1 else [result.to_dict() for result in results]
    click.echo(json.dumps(data, indent=1, ensure_ascii=False))


def _csv(results: list[Result], whole: bool) -> None:
    import csv
    import io
    import json

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if not whole:
        writer.writerow(["view", "count", "low", "high", "unassigned", "readings", "caveats"])
        for result in results:
            writer.writerow(
                [
                    result.view,
                    result.count,
                    *((result.range.low, result.range.high) if result.range else ("", "")),
                    result.unassigned_count,
                    result.readings_text,
                    " | ".join(result.caveats),
                ]
            )
    else:
        fields = (
            "id", "label", "stages", "tokens", "assistant_tokens", "conversations", "models", "servers", "regions",
            "first", "last", "contradictions",
        )  # fmt: skip
        passes = ("stage", "own", "again", "passes")
        columns = csv.DictWriter(text, ["view", *fields, *passes], lineterminator="\n")
        columns.writeheader()
        for result in results:
            for mind in result.minds:
                # Names may hold any separator, so lists are JSON.
                cells = {
                    field: json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value
                    for field, value in mind.to_dict().items()
                }
                columns.writerow({"view": result.view, **cells})
            for stage in result.per_stage():
                columns.writerow({"view": result.view, **stage})
    click.echo(text.getvalue(), nl=False)
