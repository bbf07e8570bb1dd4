"""What one part of a test found, to be joined with others into an outcome. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mechanism.outcome import Finding, Plot, Table


@dataclass(frozen=True)
class Part:
    """Findings, tables and plots of one part of a test, and what has to be known before they are believed."""

    findings: tuple[Finding, ...] = ()
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()
    caveats: tuple[str, ...] = ()

    @classmethod
    def joined(cls, parts: Iterable[Part]) -> Part:
        """Several parts as one, in order; a caveat that several have comes once.

        >>> Part.joined([Part(caveats=("a",)), Part(caveats=("a", "b"))]).caveats
        ('a', 'b')
        """
        parts = list(parts)
        return cls(
            tuple(finding for part in parts for finding in part.findings),
            tuple(table for part in parts for table in part.tables),
            tuple(plot for part in parts for plot in part.plots),
            tuple(dict.fromkeys(caveat for part in parts for caveat in part.caveats)),
        )
