"""`individuate space show`: what a persona space holds, ours or another's."""

from __future__ import annotations

import json

import click

from individuation.recording.extra import mechanism_extra, needs_torch


@click.command(
    epilog="""
\b
Examples:
  individuate space show space.safetensors
  individuate space show assistant_axis.pt
  individuate space show role_vectors/ --model google/gemma-2-27b-it
  individuate space show evil_response_avg_diff.pt --model Qwen/Qwen2.5-7B-Instruct --format json
"""
)
@click.argument("file", metavar="FILE")
@click.option(
    "--model",
    "-m",
    metavar="MODEL",
    help="Whose vectors they are, where a file of others does not tell. Only its config is read.",
)
@click.option("--layer", type=click.IntRange(0), metavar="N", help="Read it at another block.")
@click.option("--format", "-f", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def show(file: str, model: str | None, layer: int | None, form: str) -> None:
    """Say what a persona space holds: axes, role cloud, regions, what was tested, and how it was made.

    FILE is a space, or vectors as others publish them: assistant_axis.pt, a folder of role vectors, capping_config.pt,
    *_diff.pt (Chen et al.), a GGUF control vector.
    """
    needs_torch("individuate space show")
    with mechanism_extra("individuate space show"):
        from individuation.spaces.description import described, said
        from individuation.spaces.reading import read_space

    told = described(read_space(file, model, layer))
    if form == "json":
        click.echo(json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False))
        return
    said(told | {"file": file})
