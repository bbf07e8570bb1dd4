"""`individuate report`: everything about the minds of a trace as one page of HTML."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from individuation.case_files import Case
    from individuation.report.findings import Findings

_SUFFIXES = (".html", ".htm")
_LONG = 300
"""Stages of which a page takes more than a moment."""


@click.command(
    epilog="""
\b
Examples:
  individuate report examples/qwen3-32b-aura.yaml -o aura.html
  individuate report individuation/cases/gage.yaml -o gage.html --view virtual-instance --view instance-persona
  individuate report aura.db -o new.html --reading reconstruction=new
  individuate report aura.db -o figures.html --no-text

The page is one file that loads nothing from anywhere: it can be mailed, and read without a network or scripts.
"""
)
@click.argument("traces", nargs=-1, required=True, metavar="TRACE...")
@click.option("--output", "-o", required=True, metavar="FILE", help="A new .html file.")
@click.option(
    "--view", "-v", "views", multiple=True, metavar="VIEW",
    help="Report on this view (a name, or a view file of your own). Repeatable; default: every view.",
)  # fmt: skip
@click.option(
    "--reading", "-r", "readings", multiple=True, metavar="NAME=VALUE", help="Answer an open question. Repeatable."
)
@click.option("--labelling", metavar="NAME", help="Take persona regions from this labelling (see `individuate info`).")
@click.option("--no-text", is_flag=True, help="Leave out the words: text, propositions, case data. Titles stay.")
@click.pass_context
def report(
    context: click.Context,
    traces: tuple[str, ...],
    output: str,
    views: tuple[str, ...],
    readings: tuple[str, ...],
    labelling: str | None,
    no_text: bool,
) -> None:
    """Make one page of HTML that says how many minds there are, how sure that is, and why.

    The lanes can be pointed at, zoomed and gone through with the keys; every boundary has its reason, and what the
    counts rest on is listed. Words of the recording are in the page where the trace keeps them, unless --no-text.
    """
    from individuation.report.page import page
    from traces.errors import TraceError
    from traces.new_file import new_file

    context.meta["individuation.writes"] = True
    path = Path(output)
    if path.suffix.lower() not in _SUFFIXES:
        raise TraceError(output, f'its ending is "{path.suffix}"', f"a file that ends in {' or '.join(_SUFFIXES)}")
    # The place is taken first: what takes minutes should not fail at the end.
    with new_file(path) as temporary:
        found = _found(traces, views, readings, labelling, no_text)
        content = page(found).encode()
        temporary.write_bytes(content)
    click.echo(f"{path}: {len(content):,} bytes. Open it in a browser.")


def _found(
    traces: tuple[str, ...], views: tuple[str, ...], readings: tuple[str, ...], labelling: str | None, no_text: bool
) -> Findings:
    from individuation.cli.arguments import chosen_readings
    from individuation.cli.terminal import progress_bar
    from individuation.engine import open_trace
    from individuation.report.findings import findings

    chosen = chosen_readings(readings)
    trace = open_trace(*traces)
    sources = [Path(name).name for name in traces]
    with progress_bar(worth_it=len(trace.stages(labelling)) > _LONG) as bar:
        task = bar.add_task("Counting")

        def progress(what: str, done: int, of: int) -> None:
            bar.update(task, description=what, completed=done, total=of)

        return findings(
            trace, views, labelling=labelling, readings=chosen, text=not no_text,
            case=None if no_text else _case(traces, trace.recordings[0].case is not None), sources=sources,
            command=_command(sources, views, readings, labelling, no_text), progress=progress,
        )  # fmt: skip


def _case(traces: tuple[str, ...], is_case: bool) -> Case | None:
    """The case that the only trace is, if it is one."""
    if len(traces) > 1 or not is_case:
        return None
    from individuation.case_files import case_of

    return case_of(Path(traces[0]))


def _command(
    sources: list[str], views: tuple[str, ...], readings: tuple[str, ...], labelling: str | None, no_text: bool
) -> list[str]:
    """The words that make the same page again, without the folders of this machine."""
    named = [view.rpartition("/")[2].rpartition(os.sep)[2] for view in views]
    return [
        "individuate", "report", *sources, "-o", "report.html", *(f"--view={view}" for view in named),
        *(f"--reading={reading}" for reading in readings), *([f"--labelling={labelling}"] if labelling else []),
        *(["--no-text"] if no_text else []),
    ]  # fmt: skip
