"""`individuate TRACE...`: count the minds under all views, or list those of the views that are named."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

    from individuation.engine import Trace
    from individuation.result import Mind, Result

_MOST_MINDS = 40
_MOST_LABELS = 4


@click.command(
    epilog="""
\b
Examples:
  individuate examples/qwen3-32b-aura.yaml
  individuate aura.db --view instance-persona --view model-persona
  individuate aura.db --view virtual-instance --reading reconstruction=new
  individuate a.yaml b.db --view model-persona --format json | jq .count

`individuate views` lists every view and reading with its source.
"""
)
@click.argument("traces", nargs=-1, required=True, metavar="TRACE...")
@click.option(
    "--view", "-v", "views", multiple=True, metavar="VIEW", help="Count under this view and list its minds. Repeatable."
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

    Without --view: one line for each view. With --view: the minds of that view,
    then what the count rests on. Several traces are
    counted together.
    """
    from individuation.engine import overview

    chosen = _chosen(readings)
    trace = _opened(traces)
    results = (
        _by_name(trace, views, chosen, labelling) if views else overview(trace, labelling=labelling, readings=chosen)
    )
    if form == "json":
        _json(trace, results, bool(views))
    elif form == "csv":
        _csv(results, bool(views))
    elif views:
        for result in results:
            _minds_table(trace, result, labelling)
    else:
        _overview_table(trace, results, traces, labelling)


def _chosen(readings: tuple[str, ...]) -> dict[str, object]:
    from traces.errors import TraceError, quoted

    chosen: dict[str, object] = {}
    for reading in readings:
        name, equals, value = reading.partition("=")
        if not equals:
            raise TraceError("--reading", f"it is {quoted(reading)}", "NAME=VALUE, such as reconstruction=new")
        if name in chosen:
            raise TraceError("--reading", f"{name} is given twice", "each reading once")
        chosen[name] = value
    return chosen


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


def _by_name(trace: Trace, views: tuple[str, ...], chosen: dict[str, object], labelling: str | None) -> list[Result]:
    from individuation.engine import individuate
    from rules.registry import find_view
    from traces.errors import UnknownNameError

    found = [find_view(name) for name in views]
    known = {reading.name for view in found for reading in view.readings}
    for name in chosen:
        if name not in known:
            where = f"view {views[0]}" if len(views) == 1 else f"views {', '.join(views)}"
            raise UnknownNameError(where, "reading", name, sorted(known))
    return [
        individuate(
            trace, view, labelling=labelling, **{r.name: chosen[r.name] for r in view.readings if r.name in chosen}
        )
        for view in found
    ]


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

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if not whole:
        writer.writerow(["view", "count", "unassigned", "readings", "caveats"])
        for result in results:
            writer.writerow(
                [result.view, result.count, result.unassigned_count, _readings(result), " | ".join(result.caveats)]
            )
    else:
        fields = (
            "id", "label", "stages", "tokens", "assistant_tokens", "conversations", "models",
            "servers", "regions", "first", "last",
        )  # fmt: skip
        writer.writerow(["view", *fields, "contradictions"])
        for result in results:
            for mind in result.minds:
                data = mind.to_dict()
                cells = [" ".join(data[field]) if isinstance(data[field], list) else data[field] for field in fields]
                writer.writerow([result.view, *cells, " | ".join(c.proposition for c in mind.contradictions)])
            for stage in result.per_stage():
                writer.writerow(
                    [
                        result.view,
                        "",
                        "",
                        stage["stage"],
                        stage["own"],
                        "",
                        "",
                        "",
                        "",
                        "",
                        stage["stage"],
                        stage["stage"],
                        "",
                    ]
                )
    click.echo(text.getvalue(), nl=False)


def _readings(result: Result) -> str:
    return " ".join(f"{name}={'inf' if value is None else value}" for name, value in result.readings.items())


# --- for people


def _header(trace: Trace, result: Result) -> str:
    from individuation.cli.terminal import count as counted

    stages = result.stages
    models = len(set(stages.model.tolist()))
    known = {server for server in stages.server.tolist() if server >= 0}
    servers = counted(len(known), "server") if known else "server not recorded"
    return " · ".join(
        [
            trace.title,
            counted(len(stages.conversations), "conversation"),
            counted(len(stages), "stage"),
            counted(models, "model"),
            servers,
        ]
    )


def _overview_table(trace: Trace, results: list[Result], traces: tuple[str, ...], labelling: str | None) -> None:
    from rich.text import Text

    from individuation.cli.terminal import console, table

    out = console()
    out.print(Text(_header(trace, results[0]), style="bold"))
    _say_regions(out, results[0], labelling)
    rows = [(result.view, *_line(result)) for result in results]
    out.print(table([("view", "left"), ("minds", "right"), ("who", "fold")], rows))
    _say_caveats(out, {result.view: result.caveats for result in results})
    first = " ".join(traces)
    # Whole, however narrow the terminal: a command is there to be copied.
    out.print(Text(f"List the minds of a view: individuate {first} --view virtual-instance"), soft_wrap=True)
    out.print(Text("What the views and their readings mean: individuate views"), soft_wrap=True)


def _line(result: Result) -> tuple[str, str]:
    """The count and who they are, or what the trace would have to say for there to be a count."""
    from individuation.cli.terminal import some
    from rules.registry import VIEWS
    from rules.view import Tally

    view = VIEWS[result.view]
    if isinstance(result.verdict, Tally):
        if result.count is None:
            return "-", "needs the token count of every stage"
        again = int(result.verdict.again.sum())
        return f"{result.count:,}", "one for each token processed" + (f"; {again:,} of them again" if again else "")
    if not result.count:
        if "servers" in view.rests_on:
            return "-", "needs to know the server"
        if view.is_persona_view:
            return "0", "no stage is in a persona region"
    labels = result.minds.table.first_labels(_MOST_LABELS) if result.minds.table is not None else []
    return f"{result.count:,}", some(labels, _MOST_LABELS, result.count)


def _say_regions(out: Console, result: Result, labelling: str | None) -> None:
    from rich.text import Text

    regions = result.stages.regions
    others = f" (also here: --labelling {', '.join(regions.others)})" if regions.others and labelling is None else ""
    out.print(Text(f"Persona regions: {regions.basis}{others}"))


def _say_caveats(out: Console, caveats: dict[str, list[str]]) -> None:
    """Each caveat once, with the views that it concerns."""
    from rich.padding import Padding
    from rich.text import Text

    views_of: dict[str, list[str]] = {}
    for view, said in caveats.items():
        for caveat in said:
            views_of.setdefault(caveat, []).append(view)
    if not views_of:
        return
    out.print(Text("Caveats", style="bold"))
    for caveat, views in views_of.items():
        concerns = f" [{', '.join(views)}]" if len(caveats) > 1 else ""
        out.print(Padding(Text(f"- {caveat}{concerns}"), (0, 0, 0, 1)))


def _minds_table(trace: Trace, result: Result, labelling: str | None) -> None:
    from rich.text import Text

    from individuation.cli.terminal import console, number, some, table
    from individuation.cli.terminal import count as counted
    from rules.registry import VIEWS
    from rules.view import Tally

    out = console()
    view = VIEWS[result.view]
    out.print(Text(_header(trace, result), style="bold"))
    if view.is_persona_view:
        _say_regions(out, result, labelling)
    minds = "no count of minds" if result.count is None else counted(result.count, "mind")
    out.print(Text(f"{result.view}: {minds}. Same mind iff: {view.definition} ({view.source})."))
    if result.readings:
        out.print(Text(f"Readings: {_readings(result)}"))
    if isinstance(result.verdict, Tally):
        rows = [
            [s["stage"], number(s["own"]), number(s["again"]), number(s["passes"])]
            for s in result.per_stage()[:_MOST_MINDS]
        ]
        out.print(table([("stage", "left"), ("own tokens", "right"), ("again", "right"), ("passes", "right")], rows))
        _say_more(out, len(result.stages) - len(rows), "stage")
    elif len(result.minds):
        listed = result.minds[:_MOST_MINDS]
        out.print(table(_columns(listed), [_row(mind, listed) for mind in listed]))
        _say_more(out, len(result.minds) - len(listed), "mind")
    if result.unassigned_count:
        out.print(Text(f"In no mind: {counted(result.unassigned_count, 'stage')}: {some(result.unassigned, 8)}"))
    _say_caveats(out, {result.view: result.caveats})
    for mind in result.minds[:_MOST_MINDS]:
        for c in mind.contradictions:
            out.print(
                Text(
                    f'{mind.label} contradicts itself: "{c.proposition}" held at '
                    f"{some(c.held_by, 4)}, denied at {some(c.denied_by, 4)}"
                )
            )


def _say_more(out: Console, left: int, noun: str) -> None:
    from rich.text import Text

    if left > 0:
        from individuation.cli.terminal import count as counted

        out.print(Text(f"... and {counted(left, noun)} more; --format csv or json lists all."))


def _columns(minds: list[Mind]) -> list[tuple[str, str]]:
    columns = [
        ("mind", "fold"),
        ("stages", "right"),
        ("tokens", "right"),
        ("where", "fold"),
        ("persona", "fold"),
        ("first", "left"),
        ("last", "left"),
    ]
    if any(mind.contradictions for mind in minds):
        columns.append(("contradicts itself", "fold"))
    return columns


def _row(mind: Mind, minds: list[Mind]) -> list[str]:
    from individuation.cli.terminal import number, some

    where = some(mind.conversations, 3) + (f" on {some(mind.servers, 3)}" if mind.servers else "")
    row = [
        mind.label, f"{len(mind.stages):,}", number(mind.tokens), where or "nowhere", some(mind.regions, 4) or "-",
        mind.first or "-", mind.last or "-",
    ]  # fmt: skip
    if any(other.contradictions for other in minds):
        row.append(some([c.proposition for c in mind.contradictions], 3) or "-")
    return row
