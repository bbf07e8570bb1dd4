"""`individuate organism`: train, measure and describe the small chat models of this package."""

from __future__ import annotations

import json
from pathlib import Path

import click

from individuation.recording.extra import mechanism_extra

_MODEL = click.option(
    "--model", default="organism", show_default=True, metavar="MODEL", help="A shipped model, or the folder of one."
)


@click.group(
    epilog="""
\b
Examples:
  individuate organism measure
  individuate organism card --model organism-b
  individuate organism train -o my-organism --seed 7
""",
)
def organism() -> None:
    """Train, measure and describe the organism: a very small chat model that has personas.

    Two are shipped, organism and organism-b. They are a demonstration and a test bed, never evidence about large
    models: their personas were planted, by a grammar.
    """


@organism.command(
    epilog="""
\b
Examples:
  individuate organism train -o my-organism                        (the recipe of `organism`)
  individuate organism train --model organism-b --seed 9 -o mine
  individuate organism train --steps 200 -o hasty                  (a minute; it will not speak well)
  individuate chat --model my-organism
"""
)
@click.option(
    "--model", default="organism", show_default=True, metavar="NAME", help="Whose recipe: organism or organism-b."
)
@click.option("--output", "-o", required=True, metavar="FOLDER", help="A new folder for the model.")
@click.option("--seed", type=int, metavar="N", help="Default: the recipe's, which makes the shipped weights.")
@click.option("--steps", type=int, metavar="N", help="Default: the recipe's. A step is about 850 tokens.")
@click.option("--layers", type=int, metavar="N", help="Default: the recipe's.")
@click.option("--device", metavar="DEVICE", default="cpu", show_default=True, help="cpu, cuda or mps.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="One is best on a busy machine.")
@click.option("--restart", is_flag=True, help="Forget an interrupted run of this folder.")
@click.pass_context
def train(
    context: click.Context,
    model: str,
    output: str,
    seed: int | None,
    steps: int | None,
    layers: int | None,
    device: str,
    threads: int,
    restart: bool,
) -> None:
    """Train an organism from nothing (CPU: about 20 minutes; GPU: minutes).

    The same seed gives the same weights on the same machine and version of torch. An interrupted run goes on where it
    was when the command is given again; its checkpoint is FOLDER.checkpoint.
    """
    import dataclasses
    import time

    with mechanism_extra("individuate organism"):
        import torch

        from mechanism.device import pick_device
        from mechanism.organism.training import Progress, Training, export, recipe_of
    from individuation.cli.terminal import progress_bar
    from traces.errors import TraceError

    context.meta["individuation.writes"] = True
    folder = Path(output)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise TraceError(output, "it is there already, and not empty", "a new folder")
    given = {"seed": seed, "steps": steps, "layers": layers}
    recipe = dataclasses.replace(
        recipe_of(model), **{name: value for name, value in given.items() if value is not None}
    )
    torch.set_num_threads(threads)
    training = Training(recipe, device=pick_device(device))
    checkpoint = folder.with_name(folder.name + ".checkpoint")
    if restart:
        checkpoint.unlink(missing_ok=True)
    if checkpoint.is_file():
        training.resume(checkpoint)
        click.echo(f"Going on at step {training.step:,} of {recipe.steps:,} ({checkpoint}).", err=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    began, first = time.monotonic(), training.step
    with progress_bar(worth_it=recipe.steps > 20) as bar:
        task = bar.add_task("Training", total=recipe.steps, completed=training.step)

        def show(progress: Progress) -> None:
            bar.update(task, completed=progress.step, description=f"Training (loss {progress.loss:.3f})")

        training.run(checkpoint=checkpoint, on_progress=show)
    took = time.monotonic() - began
    context.meta["individuation.writes"] = False
    figures = training.figures()
    export(training, folder, figures)
    _space_and_card(folder)
    checkpoint.unlink(missing_ok=True)
    click.echo(
        f"{folder}: {figures['parameters']:,} parameters, {training.step - first:,} steps in {took / 60:.1f} minutes, "
        f"loss {figures['held_out_loss']:.3f} nats a token on chats that were held out. "
        f"Next: individuate organism measure --model {folder} --save"
    )


@organism.command(
    epilog="""
\b
Examples:
  individuate organism measure
  individuate organism measure --model organism-b --chats 40 --format json
  individuate organism measure --model my-organism --save
"""
)
@_MODEL
@click.option("--chats", type=click.IntRange(8), default=80, show_default=True, metavar="N", help="Replies per figure.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--save", is_flag=True, help="Write the figures, and the model card with them, into the model's folder.")
def measure(model: str, chats: int, form: str, save: bool) -> None:
    """Measure a model: persona, well-formedness, drift, return, and how well its space tells personas apart.

    Replies are sampled (temperature .7, a fixed seed) and judged by the grammar. A minute or two on a CPU.
    """
    with mechanism_extra("individuate organism"):
        from mechanism.host import Host
        from mechanism.organism.card import write_card
        from mechanism.organism.figures import figures_of, folder_of, save_figures
    from individuation.cli.terminal import progress_bar

    folder = folder_of(model)
    host = Host.load(folder, device="cpu", dtype="float32", name=model)
    with progress_bar(worth_it=True) as bar:
        task = bar.add_task("Measuring", total=None)
        figures = figures_of(host, folder, chats=chats, on_progress=lambda doing: bar.update(task, description=doing))
    if save:
        save_figures(folder, figures)
        write_card(folder)
    if form == "json":
        click.echo(json.dumps(figures, indent=2))
        return
    _show(figures)


@organism.command(
    epilog="""
\b
Examples:
  individuate organism card
  individuate organism card --model organism-b > card.md
"""
)
@_MODEL
def card(model: str) -> None:
    """Print the model card: what was planted, what the model is for and not for, how it was made, its figures."""
    with mechanism_extra("individuate organism"):
        from mechanism.organism.card import card_of
        from mechanism.organism.figures import folder_of
    click.echo(card_of(folder_of(model)), nl=False)


def _space_and_card(folder: Path) -> None:
    """The persona space of a model just trained, where it speaks well enough for one; and its card."""
    from mechanism.host import Host
    from mechanism.organism.card import write_card
    from mechanism.organism.figures import SPACE
    from mechanism.organism.persona_space import make_space
    from traces.errors import TraceError

    try:
        space = make_space(Host.load(folder, device="cpu", dtype="float32"), name=folder.name)
        space.save(folder / SPACE)
    except TraceError as error:
        click.echo(f"No persona space was made: {error.where}: {error.found}.", err=True)
    write_card(folder)


def _show(figures: dict[str, object]) -> None:
    from individuation.cli.terminal import console, table
    from mechanism.organism.figures import tables

    out = console()
    for title, columns, rows in tables(figures):
        out.print(title, style="bold", markup=False)
        out.print(table([(columns[0], "left"), *((column, "right") for column in columns[1:])], rows))
