"""`individuate label`: add a labelling to a stored trace."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(
    epilog="""
\b
Examples:
  individuate label aura.db --space strict.yaml
  individuate label aura.db --space strict.yaml --name strict-40
  individuate aura.db --labelling strict-40

A space file holds `individuation: 1` and a `spaces:` block (docs/trace-format.md).
"""
)
@click.argument("trace", metavar="TRACE")
@click.option(
    "--space", "space_file", required=True, metavar="FILE", help="The space file: regions as ranges along persona axes."
)
@click.option(
    "--name",
    metavar="NAME",
    help="What to call the labelling. Default: the space's name, or the file's if it has several.",
)
@click.pass_context
def label(context: click.Context, trace: str, space_file: str, name: str | None) -> None:
    """Say which persona region each turn of a stored trace is in, by the spaces of a file.

    The recorded coordinates stay as they are; several labellings stand side by side, and --labelling picks one when
    counting.
    """
    import numpy as np

    from individuation.cli.terminal import console, count, table
    from traces.errors import TraceError
    from traces.file import read_spaces
    from traces.labelling import regions_of
    from traces.sqlite_file import is_database
    from traces.store import add_labelling
    from traces.vocabulary import ROLES

    context.meta["individuation.writes"] = True
    path = Path(trace)
    spaces = read_spaces(Path(space_file))
    if path.is_file() and not is_database(path):
        raise TraceError(
            trace, "it is a file, not a stored trace", f"a trace.db: individuate import {trace} -o {path.stem}.db"
        )
    chosen = name if name is not None else (next(iter(spaces)) if len(spaces) == 1 else Path(space_file).stem)
    facts = add_labelling(path, chosen, spaces)
    regions = regions_of(facts, chosen)
    spoken = facts.turns.role == ROLES.index("assistant")
    counts = np.bincount(regions.of_turn[spoken] + 1, minlength=len(regions.names) + 1).tolist()
    out = console()
    out.print(f'Labelling "{chosen}" added to {path.name}: {count(int(spoken.sum()), "assistant turn")}.', markup=False)
    rows = [(region, f"{n:,}") for region, n in zip(["(none)", *regions.names], counts, strict=True)]
    out.print(table([("region", "left"), ("turns", "right")], [*rows[1:], rows[0]]))
    out.print(f"Next: individuate {trace} --labelling {chosen}", markup=False)
