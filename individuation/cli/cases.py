"""`individuate cases`: thought experiments as files, the paper's own and a user's: list them, tell one, check all."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from individuation.case_files import Case
    from individuation.case_outcomes import Outcome

_MANY = 50
_LONG_TO_READ = 1_000_000


@click.command(
    epilog="""
\b
Examples:
  individuate cases
  individuate cases router-return
  individuate cases --check
  individuate cases my-arguments/ --check
  individuate cases my-arguments/teleporter.yaml --format json

How to write a case: docs/cases.md. With --check the exit status is 0 if all hold, 1 if one differs.
"""
)
@click.argument("targets", nargs=-1, metavar="[NAME|FILE|DIR]...")
@click.option("--check", is_flag=True, help="Run them all, a line each.")
@click.option("--format", "-f", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def cases(targets: tuple[str, ...], check: bool, form: str) -> None:
    """List the paper's cases, tell one of them, or check that all come out as the paper says.

    NAME is a case of the paper: its story is told, and what each view finds in it stands beside what was expected.
    FILE is a case of your own, DIR a folder of them: trace files that say in a `case:` block what they expect.
    """
    chosen, one_by_one = _chosen(targets)
    if check:
        _check(chosen, form)
    elif one_by_one:
        _tell(chosen, form)
    else:
        _list(chosen, targets, form)


def _chosen(targets: tuple[str, ...]) -> tuple[list[Case], bool]:
    """The cases that are asked for, and whether each was asked for by itself."""
    from individuation.case_files import case_of, cases_in, paper_case, paper_cases

    if not targets:
        return list(paper_cases()), False
    found: list[Case] = []
    one_by_one = True
    for target in targets:
        path = Path(target)
        # A bare word is a name, as a trace's path would be with a dot or a separator in it.
        is_path = os.sep in target or "." in target
        if path.is_dir() and (is_path or not _is_paper_case(target)):
            one_by_one = False
            with _progress("Reading", *_size(path)) as progress:
                found += cases_in(path, progress)
        elif is_path or (path.exists() and not _is_paper_case(target)):
            found.append(case_of(path))
        else:
            found.append(paper_case(target))
    return found, one_by_one


def _is_paper_case(name: str) -> bool:
    from individuation.case_files import PAPER_CASES

    return (PAPER_CASES / f"{name}.yaml").exists()


def _size(folder: Path) -> tuple[int, int]:
    """How many entries a folder has, and how many bytes they hold."""
    sizes = [entry.stat().st_size for entry in os.scandir(folder) if entry.is_file()]
    return len(sizes), sum(sizes)


@contextmanager
def _progress(what: str, files: int, size: int = 0) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error where it is a terminal and there is much to do."""
    if not sys.stderr.isatty() or (files <= _MANY and size <= _LONG_TO_READ):
        yield lambda done, of: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=files)
        yield lambda done, of: bar.update(task, completed=done, total=of)


def _run_all(chosen: Sequence[Case]) -> list[tuple[Outcome, ...]]:
    from individuation.case_outcomes import run_case

    outcomes = []
    with _progress("Running", len(chosen)) as progress:
        for done, case in enumerate(chosen, 1):
            outcomes.append(run_case(case))
            progress(done, len(chosen))
    return outcomes


def _list(chosen: Sequence[Case], targets: Sequence[str], form: str) -> None:
    if form == "json":
        _print_json([case.to_dict() for case in chosen])
        return
    from individuation.cli.case_tables import show_list

    show_list(chosen, targets)


def _tell(chosen: Sequence[Case], form: str) -> None:
    from individuation.case_outcomes import turns_of

    outcomes = _run_all(chosen)
    if form == "json":
        told = [
            _with_outcomes(case, found) | {"turns": turns_of(case)}
            for case, found in zip(chosen, outcomes, strict=True)
        ]
        _print_json(told if len(told) > 1 else told[0])
        return
    from individuation.cli.case_tables import show_case

    for number, (case, found) in enumerate(zip(chosen, outcomes, strict=True)):
        if number:
            click.echo()
        show_case(case, found)


def _check(chosen: Sequence[Case], form: str) -> None:
    outcomes = _run_all(chosen)
    holds = [all(outcome.holds for outcome in found) for found in outcomes]
    if form == "json":
        checked = [_with_outcomes(case, found) for case, found in zip(chosen, outcomes, strict=True)]
        _print_json({"holds": all(holds), "cases": checked})
    else:
        from individuation.cli.case_tables import show_check

        show_check(chosen, outcomes)
    sys.exit(0 if all(holds) else 1)


def _with_outcomes(case: Case, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    told = case.to_dict()
    del told["expected"]
    return told | {
        "holds": all(outcome.holds for outcome in outcomes),
        "outcomes": [outcome.to_dict() for outcome in outcomes],
    }


def _print_json(data: object) -> None:
    import json

    click.echo(json.dumps(data, indent=1, ensure_ascii=False))
