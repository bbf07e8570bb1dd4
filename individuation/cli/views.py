"""`individuate views`: every view and reading, with its source."""

from __future__ import annotations

import click


@click.command(
    epilog="""
\b
Examples:
  individuate views
  individuate views virtual-instance
  individuate views ./my-view.toml

Where a view is named, readings can follow in brackets: --view "virtual-instance[reconstruction=new]".
  individuate views --format json
"""
)
@click.argument("names", nargs=-1, metavar="[VIEW|FILE.toml]...")
@click.option("--format", "-f", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def views(names: tuple[str, ...], form: str) -> None:
    """List every view and reading with its source (sections of Beckmann & Butlin 2026)."""
    import json

    from individuation.catalogue import described
    from individuation.criteria import all_views, find_view

    chosen = [find_view(name) for name in names] or all_views()
    data = described(chosen)
    if form == "json":
        click.echo(json.dumps(data, indent=1, ensure_ascii=False))
        return
    from rich.padding import Padding
    from rich.text import Text

    from individuation.cli.terminal import console, table

    out = console()
    out.print(Text("Views: two stages belong to one mind iff ...", style="bold"))
    rows = [(view["view"], view["definition"], view["source"]) for view in data["views"]]
    out.print(table([("view", "left"), ("same mind iff", "fold"), ("source", "left")], rows))
    out.print(Text("Readings: what the paper leaves open; the first value is the default", style="bold"))
    for reading in data["readings"]:
        out.print(
            Text(
                f" {reading['reading']} = {reading['values']}   for {', '.join(reading['views'])}; "
                f"source: {reading['source']}"
            )
        )
        out.print(Padding(Text(reading["question"], style="dim"), (0, 0, 0, 5)))
    out.print(
        Text("Choose one with --reading NAME=VALUE. Sections are those of Beckmann & Butlin 2026 (arXiv:2604.17031).")
    )
