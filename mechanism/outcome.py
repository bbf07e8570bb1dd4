"""What a test or an experiment found: estimates with intervals, tables, plots, and what was concluded. Torch-free.

An outcome is data: `individuation.outcomes` writes it as text, JSON, CSV and pictures.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Cell = str | int | float | bool | None

PlotKind = Literal["lines", "bars", "scatter"]


@dataclass(frozen=True)
class Estimate:
    """A number, the ends of its interval (None: none was computed), how many observations it rests on, and how the
    interval was made, in words.

    >>> str(Estimate(0.5, 0.25, 0.75, 12, "Wilson, 95 %"))
    '0.5 (0.25 to 0.75)'
    """

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    how: str | None = None

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.value:.3g}"
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"

    def above(self, bound: float | Estimate) -> bool | None:
        """Whether it is above a number, or above another estimate: None where the intervals do not tell.

        >>> known = Estimate(0.9, 0.6, 1.0)
        >>> known.above(0.5), known.above(0.7), known.above(Estimate(0.1, 0.0, 0.5)), Estimate(0.1, 0.0, 0.4).above(0.5)
        (True, None, True, False)
        >>> print(Estimate(0.9).above(0.5))
        None
        """
        least, most = (bound.low, bound.high) if isinstance(bound, Estimate) else (bound, bound)
        if self.low is None or self.high is None or least is None or most is None:
            return None
        return True if self.low > most else False if self.high < least else None

    def below(self, bound: float | Estimate) -> bool | None:
        """Whether it is below a number, or below another estimate: None where the intervals do not tell.

        >>> Estimate(0.1, 0.0, 0.4).below(0.5), Estimate(0.9, 0.6, 1.0).below(Estimate(0.1, 0.0, 0.5))
        (True, False)
        """
        least, most = (bound.low, bound.high) if isinstance(bound, Estimate) else (bound, bound)
        if self.low is None or self.high is None or least is None or most is None:
            return None
        return True if self.high < least else False if self.low > most else None

    def to_dict(self) -> dict[str, Any]:
        """The same for JSON; what is not finite becomes null."""
        return {
            "value": _finite(self.value), "low": _finite(self.low), "high": _finite(self.high),
            "n": self.n, "how": self.how,
        }  # fmt: skip


@dataclass(frozen=True)
class Table:
    """Rows under named columns. A cell is text, a number or None; units stand in the column's name."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[Cell | Estimate, ...]]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.title}: a row has {len(row)} cells for {len(self.columns)} columns")


@dataclass(frozen=True)
class Series:
    """One line, set of bars or cloud of a plot. `low` and `high` are the ends of intervals; `labels` name points."""

    name: str
    x: Sequence[float | str]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    labels: Sequence[str] | None = None


@dataclass(frozen=True)
class Plot:
    """A picture as data. `name` is that of its file; `caption` says in a sentence what is to be seen, and of what.

    `bands` are horizontal stretches of y to be shaded: (name, low, high), None for unbounded. `lines`: (name, y).
    """

    name: str
    title: str
    kind: PlotKind
    x: str
    y: str
    series: Sequence[Series]
    caption: str = ""
    bands: Sequence[tuple[str, float | None, float | None]] = ()
    lines: Sequence[tuple[str, float]] = ()


@dataclass(frozen=True)
class Finding:
    """One thing that was found out, as a sentence and as a number.

    `null`: what it was held against, in words; `p`: how probable a value as far out is under it. `passed`: whether what
    was asked about is borne out; None where that was not the question, or could not be told. `source`: paper section.
    """

    name: str
    statement: str
    estimate: Estimate | None = None
    null: str | None = None
    p: float | None = None
    passed: bool | None = None
    source: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The same for JSON."""
        return {
            "name": self.name, "statement": self.statement,
            "estimate": None if self.estimate is None else self.estimate.to_dict(),
            "null": self.null, "p": _finite(self.p), "passed": self.passed, "source": self.source,
        }  # fmt: skip


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


@dataclass(frozen=True)
class Outcome:
    """All of it. `question` is what was asked, in plain words; `settings` everything needed to do it again (model,
    digests, seed, versions); `caveats` what a reader must know before believing it, most important first.
    """

    name: str
    title: str
    question: str
    source: str
    findings: Sequence[Finding]
    tables: Sequence[Table] = ()
    plots: Sequence[Plot] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    caveats: Sequence[str] = ()
    next: Sequence[str] = ()
    """Commands that go on from here."""

    def to_dict(self) -> dict[str, Any]:
        """The whole outcome for JSON."""
        return {
            "name": self.name, "title": self.title, "question": self.question, "source": self.source,
            "findings": [finding.to_dict() for finding in self.findings],
            "tables": [
                {"title": each.title, "columns": list(each.columns), "rows": [[*map(_cell, row)] for row in each.rows]}
                for each in self.tables
            ],
            "plots": [plot.name for plot in self.plots],
            "settings": dict(self.settings), "caveats": list(self.caveats), "next": list(self.next),
        }  # fmt: skip


def _cell(cell: Cell | Estimate) -> Any:
    if isinstance(cell, Estimate):
        return cell.to_dict()
    return _finite(cell) if isinstance(cell, float) else cell


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
