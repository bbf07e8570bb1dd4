"""`individuate sensitivity`: what a count hangs on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.progress import TaskID

_LONG = 5_000


@click.command(
    epilog="""
\b
Examples:
  individuate sensitivity examples/qwen3-32b-aura.yaml --view instance-persona
  individuate sensitivity aura.db -v instance-persona --vary assistant-axis.aura.assistant=-60..0
  individuate sensitivity aura.db -v instance-persona --vary assistant-axis.aura.assistant=-60..0:10

--vary takes SPACE.REGION.AXIS=LO..HI: the region's bound on that axis is moved from LO to HI, and the bound of a
neighbour at the same place moves along. With :STEP the counts at single places are shown as well.
"""
)
@click.argument("traces", nargs=-1, required=True, metavar="TRACE...")
@click.option(
    "--view", "-v", "views", multiple=True, metavar="VIEW",
    help="Ask of this view (a name, or a view file of your own). Repeatable; default: every view with readings.",
)  # fmt: skip
@click.option(
    "--vary", multiple=True, metavar="BOUND=LO..HI[:STEP]",
    help="Move this region bound. Repeatable; default: every bound over its plausible interval.",
)  # fmt: skip
@click.option(
    "--reading", "-r", "readings", multiple=True, metavar="NAME=VALUE", help="Answer an open question. Repeatable."
)
@click.option("--labelling", metavar="NAME", help="Take persona regions from this labelling (see `individuate info`).")
@click.option("--draws", type=click.IntRange(100, 10_000_000), default=10_000, show_default=True,
              help="How many draws, where a probability cannot be computed exactly.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="The seed of the draws.")
@click.option("--format", "-f", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def sensitivity(
    traces: tuple[str, ...],
    views: tuple[str, ...],
    vary: tuple[str, ...],
    readings: tuple[str, ...],
    labelling: str | None,
    draws: int,
    seed: int,
    form: str,
) -> None:
    """Say how sure a count is: its range over readings and region boundaries, and what moves it.

    Over boundaries the counts are shown as a barcode: the stretches on which the count is constant. A long stretch is a
    robust count. Where turns say how probable their regions are, the distribution of the count is shown too.
    """
    import json

    from individuation.cli.arguments import chosen_readings
    from individuation.cli.terminal import progress_bar
    from individuation.criteria import all_views, find_view
    from individuation.engine import open_trace, readings_of
    from individuation.robustness import sensitivity as measured

    opened = open_trace(*traces)
    found = [find_view(name) for name in views] or [view for view in all_views() if view.readings]
    chosen = readings_of(found, chosen_readings(readings))
    results = []
    with progress_bar(worth_it=len(opened.stages(labelling)) > _LONG) as bar:
        for view in found:
            task = bar.add_task(view.name)

            def progress(what: str, done: int, of: int, name: str = view.name, task: TaskID = task) -> None:
                bar.update(task, description=f"{name}: {what}", completed=done, total=of)

            mine = chosen[view.name]
            results.append(
                measured(
                    opened, view, labelling=labelling, vary=vary, draws=draws, seed=seed, progress=progress, **mine,
                )
            )  # fmt: skip
    if form == "json":
        data = [result.to_dict() for result in results]
        click.echo(json.dumps(data[0] if len(views) == 1 else data, indent=1, ensure_ascii=False, allow_nan=False))
        return
    click.echo("\n\n".join(map(str, results)))
