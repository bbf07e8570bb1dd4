"""`individuate check`: every invariant of a stored trace."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command(
    epilog="""
\b
Examples:
  individuate check aura.db
  individuate check aura.db --format json

Exit status: 0 if all hold, 1 if one is broken, 2 if the file is no trace at all.
"""
)
@click.argument("trace", metavar="TRACE")
@click.option("--format", "-f", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def check(trace: str, form: str) -> None:
    """Check every invariant of a trace: that the file is sound, and that what it records could have happened."""
    import json

    from traces.check import check_facts, check_store
    from traces.recognition import read
    from traces.sqlite_file import is_database

    path = Path(trace)
    findings = list(check_store(path) if is_database(path) else check_facts(read(path)))
    broken = [finding for finding in findings if not finding.holds]
    if form == "json":
        data = [{"invariant": f.invariant, "holds": f.holds, "breaches": list(f.breaches)} for f in findings]
        click.echo(json.dumps(data, indent=1, ensure_ascii=False))
    else:
        for finding in findings:
            click.echo(f"{'ok    ' if finding.holds else 'BROKEN'}  {finding.invariant}")
            for breach in finding.breaches:
                click.echo(f"          {breach}")
        click.echo(
            f"{len(findings) - len(broken)} of {len(findings)} invariants hold"
            + ("." if not broken else "; see above.")
        )
    sys.exit(1 if broken else 0)
