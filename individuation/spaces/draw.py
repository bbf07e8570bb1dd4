"""`individuate space draw`: a picture of a persona space."""

from __future__ import annotations

from pathlib import Path

import click

from individuation.recording.extra import mechanism_extra, needs_torch
from traces.errors import TraceError, quoted

_SUFFIXES = (".svg", ".png", ".pdf")


@click.command(
    epilog="""
\b
Examples:
  individuate space draw space.safetensors -o space.svg
  individuate space draw regions.safetensors --axes aura,evil --panel regions -o regions.png
  individuate space draw role_vectors/ --model google/gemma-2-27b-it -o roles.pdf
"""
)
@click.argument("file", metavar="FILE")
@click.option("--output", "-o", required=True, metavar="FILE", help="A new file: .svg, .png or .pdf.")
@click.option("--axes", metavar="A,B", help="The two axes that regions are drawn on.  [default: those that tell most]")
@click.option(
    "--panel",
    "panels",
    multiple=True,
    type=click.Choice(["cloud", "variance", "regions", "layers"]),
    help="Draw this alone (may be given more than once).  [default: all that the file has]",
)
@click.option("--model", "-m", metavar="MODEL", help="Whose vectors they are, where a file of others does not tell.")
@click.option("--layer", type=click.IntRange(0), metavar="N", help="Read it at another block.")
@click.pass_context
def draw(
    context: click.Context,
    file: str,
    output: str,
    axes: str | None,
    panels: tuple[str, ...],
    model: str | None,
    layer: int | None,
) -> None:
    """Draw a persona space: the cloud of roles with the default in it, and the regions among the replies.

    The cloud is drawn on its first two principal components, the two directions in which the roles differ most; beside
    it stands how much of their variance each component holds. Regions are drawn on two axes, with each reply that the
    space was fitted from as a point. Vectors without roles and replies are drawn block by block.
    """
    path = Path(output)
    if path.suffix.lower() not in _SUFFIXES:
        raise TraceError(output, f"its ending is {quoted(path.suffix)}", f"a name that ends in {', '.join(_SUFFIXES)}")
    context.meta["individuation.writes"] = True
    needs_torch("individuate space draw")
    with mechanism_extra("individuate space draw"):
        from individuation.spaces.picture import picture
        from individuation.spaces.reading import read_space
        from traces.new_file import new_file

    space = read_space(file, model, layer)
    plane = [] if axes is None else [axis.strip() for axis in axes.split(",")]
    data = picture(space, path.suffix[1:].lower(), axes=plane, panels=panels)
    with new_file(path) as partial:
        partial.write_bytes(data)
    click.echo(f"{path}: {', '.join(panels or _drawn(space))}.")


def _drawn(space: object) -> list[str]:
    from individuation.spaces.picture import panels_of
    from mechanism.space import PersonaSpace

    return panels_of(space) if isinstance(space, PersonaSpace) else []
