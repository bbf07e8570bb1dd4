"""`individuate experiment user-turns --from FILES`: the published recordings analysed again. Needs no torch."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from individuation.experiments.published_minds import counted
from individuation.outcomes.text import show
from individuation.outcomes.writing import DATA, file_name, write
from mechanism.outcome import Outcome
from mechanism.published.cache_edit import Answers
from mechanism.published.outcome import NAME, outcome
from mechanism.published.user_turns import pairs_of, projections_of
from traces.errors import TraceError
from traces.facts import Facts
from traces.file import read_bytes
from traces.importers.cache_edit_answers import IMPORTER
from traces.recognition import read
from traces.table import columns_of, read_table

_EXPECTED = "files as the paper's supplement has them: both conditions of a case, or exp2_results.csv"


def analyse(files: Sequence[Path], folder: Path, format_: str) -> None:
    """Analyse recordings of mini-experiment 1 (both conditions of a case), the table of 2, or both; write and say it.

    A folder with an earlier analysis is written anew. Raises `TraceError` for files that are something else, and for a
    folder that holds something else.
    """
    earlier = _earlier(folder)
    found = analysed(files)
    # Tables and pictures of files that are not among these any more would pass for this analysis's.
    for path in earlier:
        path.unlink(missing_ok=True)
    written = write(found, folder)
    if format_ == "json":
        click.echo(json.dumps(found.to_dict(), ensure_ascii=False, indent=1, allow_nan=False))
        return
    show(found, [str(path) for path in written])


def analysed(files: Sequence[Path], *, seed: int = 0) -> Outcome:
    """The outcome of published files, with the minds in the recorded conversations.

    Raises `TraceError` for files that are something else.
    """
    recordings: list[Facts] = []
    answers: Answers | None = None
    for path in files:
        content = read_bytes(path)
        if IMPORTER.columns <= set(columns_of(content)):
            if answers is not None:
                raise TraceError(str(path), "it is a second table of mini-experiment 2", "one of them")
            answers = Answers(IMPORTER.answers(read_table(str(path), content)), str(path))
        else:
            recordings.append(_recording(path))
    pairs = pairs_of([each for facts in recordings for each in projections_of(facts)])
    settings: dict[str, Any] = {
        "files": {path.name: f"sha256:{sha256(read_bytes(path)).hexdigest()}" for path in files},
        "versions": {"individuate": version("individuate")},
    }
    found = outcome(pairs, answers, seed=seed, settings=settings)
    if not recordings:
        return found
    minds = counted(recordings)
    named = " ".join(
        shlex.quote(str(path)) for path in files if not IMPORTER.columns <= set(columns_of(read_bytes(path)))
    )
    return replace(
        found,
        findings=[*found.findings, *minds.findings],
        tables=[*found.tables, *minds.tables],
        plots=[*found.plots, *minds.plots],
        caveats=[*found.caveats, *minds.caveats],
        next=[f"individuate import {named} -o published.db"],
    )


def _recording(path: Path) -> Facts:
    try:
        return read(path)
    except TraceError as error:
        raise TraceError(error.where, error.found, _EXPECTED) from None


def _earlier(folder: Path) -> list[Path]:
    """The tables and pictures that an earlier analysis wrote there. Raises `TraceError` where something else is."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return []
    try:
        there = json.loads((folder / DATA).read_text(encoding="utf-8"))
        tables = [f"{file_name(table['title'])}.csv" for table in there["tables"]]
        plots = [f"{file_name(name)}.{kind}" for name in there["plots"] for kind in ("svg", "png")]
        ours = there["name"] == NAME
    except (OSError, ValueError, KeyError, TypeError):
        ours = False
    if not ours:
        raise TraceError(str(folder), "something else is there", "a folder that is new or empty (-o)")
    return [folder / name for name in (*tables, *plots)]
