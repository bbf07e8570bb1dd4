"""How numbers and findings are said: the same on the terminal and in a report."""

from __future__ import annotations

import math

from mechanism.outcome import Cell, Estimate, Finding


def number(value: float) -> str:
    """Three digits that matter, and no exponent where people would not write one.

    >>> number(0.123456), number(12345.6), number(2.0), number(0.0000012)
    ('0.123', '12,346', '2', '1.2e-06')
    """
    if not math.isfinite(value):
        return "-"
    if abs(value) < 1e-12:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.001 else f"{value:.2g}"


def estimate(value: Estimate) -> str:
    """A number with its interval.

    >>> estimate(Estimate(0.5, 0.25, 0.75, 12, "Wilson, 95 %"))
    '0.5 (0.25 to 0.75)'
    """
    if value.low is None or value.high is None or not math.isfinite(value.low + value.high):
        return number(value.value)
    return f"{number(value.value)} ({number(value.low)} to {number(value.high)})"


def cell(value: Cell | Estimate) -> str:
    """What stands in a table.

    >>> cell(None), cell(True), cell(3), cell(0.25)
    ('-', 'yes', '3', '0.25')
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Estimate):
        return estimate(value)
    if isinstance(value, float):
        return number(value)
    return f"{value:,}" if isinstance(value, int) else value


def verdict(finding: Finding) -> str:
    """Whether what was asked about is borne out, in a word.

    >>> verdict(Finding("x", "X.", passed=False)), verdict(Finding("x", "X."))
    ('not borne out', 'found')
    """
    if finding.passed is None:
        return "found"
    return "borne out" if finding.passed else "not borne out"


def chance(p: float) -> str:
    """A p-value as people write it.

    >>> chance(0.0004), chance(0.032)
    ('p < 0.001', 'p = 0.032')
    """
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def how_sure(finding: Finding) -> str:
    """The number with its interval, how many observations it rests on, and what it was held against.

    >>> how_sure(Finding("x", "X.", Estimate(0.5, 0.25, 0.75, 12, "Wilson, 95 %"), null="a coin", p=0.9))
    '0.5 (0.25 to 0.75) [Wilson, 95 %; n = 12]; against a coin: p = 0.9'
    """
    parts = []
    if finding.estimate is not None:
        of = [finding.estimate.how, None if finding.estimate.n is None else f"n = {finding.estimate.n:,}"]
        basis = "; ".join(each for each in of if each)
        parts.append(estimate(finding.estimate) + (f" [{basis}]" if basis else ""))
    if finding.null is not None or finding.p is not None:
        against = f"against {finding.null}" if finding.null is not None else "against chance"
        parts.append(against if finding.p is None else f"{against}: {chance(finding.p)}")
    return "; ".join(parts)
