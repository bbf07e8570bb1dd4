"""`individuate draw`: lanes on the terminal or in a file, or the graph of stages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from individuation.engine import Trace
    from individuation.picture.bands import Band
    from individuation.result import Result
    from traces.coordinates import StageCoordinates

_SUFFIXES = (".svg", ".png", ".pdf")


@click.command(
    epilog="""
\b
Examples:
  individuate draw examples/qwen3-32b-aura.yaml
  individuate draw aura.db -o aura.svg
  individuate draw aura.db -o aura.pdf --view thread --view instance-persona --width 700
  individuate draw week.db -o monday.png --conversation monday --dark
  individuate draw aura.db -o minds.svg --graph --view virtual-instance --reading reconstruction=new

In a picture a row is a view, and a stretch of one number and colour is one mind of that view.
"""
)
@click.argument("traces", nargs=-1, required=True, metavar="TRACE...")
@click.option(
    "--output", "-o", metavar="FILE", help="A new .svg, .png or .pdf file. Without it, lanes go to the terminal."
)
@click.option(
    "--view", "-v", "views", multiple=True, metavar="VIEW",
    help="Draw the minds of this view (a name, or a view file of your own). Repeatable. Default: thread, "
    "virtual-instance and the two persona views, and those of models and servers where there are several.",
)  # fmt: skip
@click.option(
    "--graph", is_flag=True, help="Draw stages and links by Graphviz, with the minds of one view around them."
)
@click.option("--dark/--light", default=False, help="Colours for a dark page, or (the default) a light one.")
@click.option("--labelling", metavar="NAME", help="Take persona regions from this labelling (see `individuate info`).")
@click.option(
    "--reading", "-r", "readings", multiple=True, metavar="NAME=VALUE", help="Answer an open question. Repeatable."
)
@click.option(
    "--conversation", "-c", "conversations", multiple=True, metavar="NAME", help="Only this conversation. Repeatable."
)
@click.option(
    "--width", type=int, metavar="PIXELS", help="Default: as wide as needed, up to 960. A PNG is twice as fine."
)
@click.option(
    "--time", type=click.Choice(["auto", "tokens", "stages"]), default="auto", show_default=True,
    help="What lies along the picture. auto: tokens, where all are known and can be seen.",
)  # fmt: skip
@click.option(
    "--connections", type=click.Choice(["before", "all", "none"]), default="before", show_default=True,
    help="How far stages rest on earlier ones, where that was measured: on the stage before, or on all.",
)  # fmt: skip
@click.pass_context
def draw(
    context: click.Context,
    traces: tuple[str, ...],
    output: str | None,
    views: tuple[str, ...],
    graph: bool,
    dark: bool,
    labelling: str | None,
    readings: tuple[str, ...],
    conversations: tuple[str, ...],
    width: int | None,
    time: str,
    connections: str,
) -> None:
    """Draw the minds of a trace as lanes: time to the right, a strip a conversation, a row a view.

    Links are drawn by their kind, and persona coordinates as a curve with the regions as bands behind it. With --graph:
    the stages as boxes and the links as arrows, laid out by Graphviz's `dot`; without -o, its DOT text.
    """
    from individuation.cli.arguments import chosen_readings
    from individuation.engine import open_trace, overview
    from individuation.picture.lanes import default_views
    from traces.errors import TraceError, UnknownNameError
    from traces.new_file import new_file

    path = _target(context, output)
    chosen = chosen_readings(readings)
    if graph and len(views) > 1:
        raise TraceError(
            "--graph", f"there are {len(views)} views", "one view, whose minds are drawn around the stages"
        )
    if output is None or graph:
        _refuse_idle(context, graph)
        if connections == "all":
            raise TraceError("--connections", "on the terminal only those to the stage before are shown", "-o FILE")
    trace = open_trace(*traces)
    unknown = [name for name in conversations if name not in trace.stages(labelling).conversations]
    if unknown:
        raise UnknownNameError(trace.title, "conversation", unknown[0], trace.stages(labelling).conversations)
    named = views or (("virtual-instance",) if graph else tuple(default_views(trace.stages(labelling))))
    results = overview(trace, views=named, labelling=labelling, readings=chosen)
    only = conversations or None
    if graph:
        content = _graph(trace, results[0], path, only, "dark" if dark else "light")
    elif path is None:
        _on_terminal(trace, results, labelling, only, connections)
        return
    else:
        from individuation.picture.files import painted
        from individuation.picture.lanes import lanes

        scene = lanes(
            results[0].stages, results, *_coordinates(trace, results[0], labelling), title=trace.title,
            conversations=only, width=width, time=time, connections=connections,  # type: ignore[arg-type]
        )  # fmt: skip
        content = painted(scene, path.suffix, "dark" if dark else "light")
    if path is None:
        click.echo(content.decode(), nl=False)
        return
    with new_file(path) as temporary:
        temporary.write_bytes(content)
    click.echo(f"{path}: {len(content):,} bytes.")


def _refuse_idle(context: click.Context, graph: bool) -> None:
    """Refuse options that would do nothing."""
    from traces.errors import TraceError

    idle = ("width", "time", "connections") if graph else ("width", "dark", "time")
    for name in idle:
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            where = "with --graph, which Graphviz lays out" if graph else "on the terminal"
            raise TraceError(
                f"--{name}", f"it does nothing {where}", "leave it out" if graph else "-o FILE, or leave it out"
            )


def _target(context: click.Context, output: str | None) -> Path | None:
    from traces.errors import TraceError

    if output is None:
        return None
    context.meta["individuation.writes"] = True
    path = Path(output)
    if path.suffix.lower() not in _SUFFIXES:
        raise TraceError(output, f'its ending is "{path.suffix}"', f"a file that ends in {', '.join(_SUFFIXES)}")
    return path


def _coordinates(trace: Trace, result: Result, labelling: str | None) -> tuple[StageCoordinates, list[Band]]:
    from individuation.picture.bands import bands_of
    from traces.coordinates import stage_coordinates

    coordinates = stage_coordinates(trace.recordings, result.stages)
    return coordinates, bands_of(trace.recordings, coordinates, labelling)


def _on_terminal(
    trace: Trace, results: list[Result], labelling: str | None, conversations: tuple[str, ...] | None, connections: str
) -> None:
    from individuation.cli.lanes import show_lanes
    from individuation.cli.terminal import console

    out = console()
    out.print(trace.title, style="bold", markup=False)
    out.print()
    coordinates, bands = _coordinates(trace, results[0], labelling)
    shown = connections != "none"
    show_lanes(out, results[0].stages, results, coordinates, bands, conversations=conversations, connections=shown)


def _graph(trace: Trace, result: Result, path: Path | None, conversations: tuple[str, ...] | None, theme: str) -> bytes:
    from individuation.picture.dot import rendered
    from individuation.picture.stage_graph import graph_of

    graph = graph_of(result.stages, result, title=trace.title, conversations=conversations, theme=theme)
    return graph.source.encode() if path is None else rendered(graph, path.suffix.lower().removeprefix("."))
