"""Which format a file has, by its content; every format ends as facts."""

from __future__ import annotations

from pathlib import Path

from traces.errors import TraceError
from traces.facts import Facts
from traces.file import read_bytes
from traces.importers import FORMATS, IMPORTERS, TABLE_IMPORTERS
from traces.resolution import facts_from
from traces.sqlite_file import is_database
from traces.table import columns_of, read_table
from traces.text import parse
from traces.vocabulary import FORMAT_VERSION


def read(path: Path) -> Facts:
    """The facts of a trace.db, a trace file, or a recording in a known format.

    Raises `TraceError` for a file that is none of these, or is one with something wrong in it.
    """
    if is_database(path):
        # SQLAlchemy takes longer to import than a trace file takes to count.
        from traces.store import load

        return load(path)
    content = read_bytes(path)
    columns = columns_of(content)
    for of_tables in TABLE_IMPORTERS:
        if of_tables.columns <= set(columns):
            return of_tables.facts(read_table(str(path), content))
    source = parse(str(path), content, nan=True)
    for importer in IMPORTERS:
        if importer.recognises(source.data):
            return importer.facts(source)
    if isinstance(source.data, dict) and "individuation" not in source.data and source.data:
        known = ", ".join(FORMATS)
        keys = (
            ""
            if "conversations" in source.data
            else f", and its keys ({_listed(source.data)}) are of no known recording"
        )
        raise TraceError(
            str(path),
            f"it has no `individuation:` line{keys}",
            f"a trace file that begins with `individuation: {FORMAT_VERSION}`, a trace.db, or one of: {known}",
        )
    facts = facts_from(source)
    if source.has_nan:
        # Only now: what stands in a known field has been refused with its place.
        raise TraceError(str(path), "it holds NaN or Infinity", "finite numbers, or null where nothing was recorded")
    return facts


def _listed(data: dict[str, object]) -> str:
    return ", ".join(list(data)[:6]) + (", ..." if len(data) > 6 else "")
