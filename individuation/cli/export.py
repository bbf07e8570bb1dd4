"""`individuate export`: the stage graph, with the minds of views, as a file that other programs read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import click

from individuation.export import FORMATS

if TYPE_CHECKING:
    import networkx

    from individuation.export import Format
    from rules.view import View

_PATIENCE = 2.0
"""Seconds of work before anything is said about it."""


@click.command(
    epilog="""
\b
Formats:
"""
    + "\n".join(f"  {form.name:<8} {', '.join(form.suffixes):<11} {form.purpose}" for form in FORMATS.values())
    + """

PROV needs an extra: pip install 'individuate[prov]'. With -o FILE.provn it is PROV-N.

\b
Examples:
  individuate export aura.db -o aura.gexf
  individuate export aura.db --view thread -o aura.dot && dot -Tsvg aura.dot -o aura.svg
  individuate export aura.db --view virtual-instance --reading reconstruction=new --format mermaid
  individuate export monday.db tuesday.db -o week.graphml
  individuate export aura.db -o stages.csv && individuate export aura.db --links -o links.csv
  individuate export aura.db --format prov -o aura.json
"""
)
@click.argument("traces", nargs=-1, required=True, metavar="TRACE...")
@click.option(
    "--format", "-f", "form", type=click.Choice(list(FORMATS)), help="By default what the ending of FILE tells."
)
@click.option(
    "--view",
    "-v",
    "views",
    multiple=True,
    metavar="VIEW",
    help="With the minds of this view (a name, or a view file of your own). Repeatable; dot draws those of the first, "
    "mermaid of the only one. By default all views that list minds, and none drawn.",
)
@click.option(
    "--reading", "-r", "readings", multiple=True, metavar="NAME=VALUE", help="Answer an open question. Repeatable."
)
@click.option("--labelling", metavar="NAME", help="Take persona regions from this labelling (see `individuate info`).")
@click.option("--links", is_flag=True, help="With csv: the table of links in place of that of stages.")
@click.option("--output", "-o", default="-", metavar="FILE", help="A new file; by default, or as -, standard output.")
@click.pass_context
def export(
    context: click.Context,
    traces: tuple[str, ...],
    form: str | None,
    views: tuple[str, ...],
    readings: tuple[str, ...],
    labelling: str | None,
    links: bool,
    output: str,
) -> None:
    """Write stages, links and minds in a format that other programs read.

    Every stage is a node and every link an edge, from the earlier stage to the later one, with all that was recorded
    of them and, for each view, the id and label of the mind that the stage belongs to.
    """
    from individuation.cli.terminal import count
    from individuation.criteria import find_view
    from individuation.export import format_of

    chosen = format_of(output, form, links)
    named = [find_view(name) for name in dict.fromkeys(views)]
    drawn = _drawn(chosen, named)
    if output == "-":
        # All of it or nothing, as with files: what a format cannot hold is often met late.
        text = StringIO()
        with _patience() as say:
            chosen.write(_graph(traces, named, readings, labelling, say), text, drawn)
        with click.open_file("-", "w", encoding="utf-8") as out:
            out.write(text.getvalue())
        return
    from traces.new_file import new_file

    context.meta["individuation.writes"] = True
    with new_file(Path(output)) as place, _patience() as say:
        graph = _graph(traces, named, readings, labelling, say)
        with place.open("w", encoding="utf-8", newline="\n") as out:
            chosen.write(graph, out, drawn)
    held = [drawn] if chosen.name == "mermaid" and drawn else [] if chosen.name == "mermaid" else graph.graph["views"]
    stages, linked = count(len(graph), "stage"), count(graph.number_of_edges(), "link")
    with_views = f", with {count(len(held), 'view')} ({', '.join(held)})" if held else ""
    click.echo(f"{output}: {linked}." if links else f"{output}: {stages}, {linked}{with_views}.")
    _warn_of_mermaid(chosen, graph)


def _drawn(form: Format, views: list[View]) -> str | None:
    """The view whose minds a format draws as boxes."""
    from traces.errors import TraceError

    if not form.draws or not views:
        return None
    if form.name == "mermaid" and len(views) > 1:
        raise TraceError("--view", f"{len(views)} are given", "one for mermaid, whose boxes are the minds of one view")
    return views[0].name


def _graph(
    traces: tuple[str, ...],
    views: list[View],
    readings: tuple[str, ...],
    labelling: str | None,
    say: Callable[[str], None],
) -> networkx.MultiDiGraph:
    from individuation.cli.arguments import chosen_readings
    from individuation.criteria import all_views
    from individuation.engine import open_trace, overview
    from individuation.graph import stage_graph, times

    chosen = chosen_readings(readings)
    say("Reading")
    trace = open_trace(*traces)
    say("Counting")
    results = overview(trace, views=views or all_views(), labelling=labelling, readings=chosen)
    if not views:
        results = [result for result in results if result.minds.table is not None]
    stages = trace.stages(labelling)
    graph = stage_graph(stages, results, times(trace.recordings, stages))
    say("Writing")
    return graph


def _warn_of_mermaid(form: Format, graph: networkx.MultiDiGraph) -> None:
    from individuation.export.mermaid import MOST_LINKS

    if form.name == "mermaid" and graph.number_of_edges() > MOST_LINKS:
        click.echo(
            f"Mermaid draws at most {MOST_LINKS} links unless its maxEdges is raised where the chart is shown; "
            "dot and gexf have no such bound.",
            err=True,
        )


@contextmanager
def _patience() -> Iterator[Callable[[str], None]]:
    """A way to say what is being done; a terminal shows it, with the seconds it takes, once it has taken a while."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from threading import Timer

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=Console(stderr=True), transient=True
    )
    task = bar.add_task("", total=None)
    timer = Timer(_PATIENCE, bar.start)
    timer.start()
    try:
        yield lambda doing: bar.update(task, description=doing)
    finally:
        timer.cancel()
        timer.join()
        bar.stop()
