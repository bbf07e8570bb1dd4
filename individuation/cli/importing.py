"""`individuate import`: recordings and trace files into one trace.db, all or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from traces.facts import Facts

_LONG_TO_READ = 1_000_000
_LONG_TO_STORE = 100_000


@click.command(
    "import",
    epilog="""
\b
Examples:
  individuate import delusion_unsteered.json delusion_cap_asst.json -o aura.db
  individuate import monday/*.yaml --prefix -o week.db
  individuate import aura.db -o aura.yaml          (a stored trace as a file again)
""",
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--output", "-o", required=True, metavar="TRACE", help="A trace.db, made or added to; or a new .yaml or .json file."
)
@click.option(
    "--prefix", is_flag=True, help="Put each file's stem before its own names, so that equal names do not clash."
)
@click.option(
    "--no-text",
    is_flag=True,
    help="Leave out the words: text, token ids, propositions, sampling settings, case data. Titles stay.",
)
@click.pass_context
def import_(context: click.Context, files: tuple[str, ...], output: str, prefix: bool, no_text: bool) -> None:
    """Import recordings and trace files into a trace.db (or convert them to a trace file).

    Formats are recognised by content: trace files in YAML or JSON, trace.db,
    and the result files of the published mini-experiments (JSON; the table of
    the second as CSV).
    In one trace a name means one thing: models, servers, probes and spaces of the same name must agree,
    conversations must differ.
    """
    from individuation.cli.terminal import count
    from traces.file import SUFFIXES, write
    from traces.stages import StageTable
    from traces.together import prefixed, prefixes

    context.meta["individuation.writes"] = True
    target = Path(output)
    recordings = _read_all([Path(file) for file in files], no_text)
    if prefix:
        recordings = [prefixed(facts, name) for facts, name in zip(recordings, prefixes(recordings), strict=True)]
    for facts in recordings:
        # What cannot be counted must not be stored.
        StageTable.of(facts)
    if target.suffix in SUFFIXES:
        joined = recordings[0]
        if len(recordings) > 1:
            from traces.store import gathered

            joined = gathered(recordings, target.name)
        write(joined, target)
    else:
        _save(target, recordings)
    turns = sum(len(facts.turns) for facts in recordings)
    conversations = sum(len(facts.conversations) for facts in recordings)
    click.echo(
        f"{target}: {count(conversations, 'conversation')}, {count(turns, 'stage')} imported. Next: "
        f"individuate {target}"
    )


def _read_all(files: list[Path], no_text: bool) -> list[Facts]:
    from individuation.cli.terminal import progress_bar
    from traces.recognition import read
    from traces.together import without_text

    sizes = [file.stat().st_size if file.is_file() else 0 for file in files]
    recordings = []
    with progress_bar(worth_it=sum(sizes) > _LONG_TO_READ) as bar:
        task = bar.add_task("Reading", total=sum(sizes))
        for file, size in zip(files, sizes, strict=True):
            facts = read(file)
            recordings.append(without_text(facts) if no_text else facts)
            bar.advance(task, size)
    return recordings


def _save(target: Path, recordings: list[Facts]) -> None:
    from individuation.cli.terminal import progress_bar
    from traces.store import save

    total = sum(len(facts.turns) for facts in recordings)
    with progress_bar(worth_it=total > _LONG_TO_STORE) as bar:
        task = bar.add_task("Storing", total=total)
        before = [0]

        def progress(done: int, of: int) -> None:
            bar.update(task, completed=before[0] + done)
            if done == of:
                before[0] += of

        save(target, recordings, progress)
