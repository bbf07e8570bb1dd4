"""Recordings that others published or logged, one file a format; all yield the same vocabulary.

An importer writes what a record says and `unknown` where it is silent: it never guesses (semantics.md §3).
"""

from __future__ import annotations

from typing import Any, Protocol

from traces.facts import Facts
from traces.importers import cache_edit_answers, mini_experiments
from traces.table import TextTable
from traces.text import Source


class Importer(Protocol):
    """One format: what it is called, how it is known by its content, and how it becomes facts."""

    name: str

    def recognises(self, data: Any) -> bool:
        """Whether parsed data is of this format."""
        ...

    def facts(self, source: Source) -> Facts:
        """The facts of a recording. Raises `TraceError` with the place of what is wrong."""
        ...


class TableImporter(Protocol):
    """A format of comma-separated values: what it is called, the columns that it is known by, and its facts."""

    name: str
    columns: frozenset[str]

    def facts(self, table: TextTable) -> Facts:
        """The facts of a table. Raises `TraceError` with the line of what is wrong."""
        ...


IMPORTERS: tuple[Importer, ...] = (mini_experiments.IMPORTER,)
TABLE_IMPORTERS: tuple[TableImporter, ...] = (cache_edit_answers.IMPORTER,)

FORMATS: tuple[str, ...] = tuple(importer.name for importer in IMPORTERS) + tuple(
    importer.name for importer in TABLE_IMPORTERS
)
"""What the formats are called."""
