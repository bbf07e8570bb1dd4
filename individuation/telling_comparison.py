"""Comparisons as prose: the views side by side, how far they agree, which divides more finely, where they part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from individuation.comparison import minds_per_conversation
from individuation.html import preformatted, table
from individuation.result import brackets
from individuation.telling_disagreement import folded, many, told_disagreements

if TYPE_CHECKING:
    from individuation.comparison import Comparison, Pair
    from individuation.result import Result

_MOST_CONVERSATIONS = 3


def told_comparison(found: Comparison) -> list[str]:
    """A comparison as lines of text."""
    parts = (_trace(found), _views(found), _agreement(found), _order(found), told_disagreements(found))
    return [line for number, part in enumerate(parts) for line in ([""] if number else []) + list(part)]


def html_of_comparison(found: Comparison) -> str:
    """A comparison as HTML: the same as its text, the first two parts as tables."""
    columns, rows = _view_rows(found)
    views = table("Views side by side", columns, rows, _left_out(found))
    titles, cells = _agreement_rows(found)
    agreed = table("Agreement", titles, cells, [" ".join(_agreement_said(found))])
    return views + agreed + preformatted("\n".join([*_order(found), "", *told_disagreements(found)]))


# --- side by side


def _trace(found: Comparison) -> Iterator[str]:
    stages = found.results[0].stages
    parts = found.trace.title, many(len(stages.conversations), "conversation"), many(len(stages), "stage")
    yield " · ".join(parts)
    if any(result.criterion.is_persona_view for result in found.results):
        yield f"Persona regions: {stages.regions.basis}"
    chosen = _chosen(found.results)
    if chosen:
        yield f"Readings chosen: {' '.join(chosen)} (all others at their defaults)"
    for first in dict.fromkeys(result.said_first for result in found.results if result.said_first is not None):
        concerned = ", ".join(result.view for result in found.results if result.said_first == first)
        yield f"First: {first} [{concerned}]"


def _chosen(results: Sequence[Result]) -> list[str]:
    """The readings that are not at their defaults, as `--reading` takes them."""
    found: dict[str, None] = {}
    for result in results:
        for reading in result.criterion.readings:
            value = result.readings[reading.name]
            if value is not None and value != reading.default:
                found[f"{reading.name}={value}"] = None
    return list(found)


def _views(found: Comparison) -> Iterator[str]:
    yield from _aligned(*_view_rows(found), right=(0, 2, 3))
    said = brackets(found.results)
    if said is not None:
        yield f"{said}."
    yield from _left_out(found)


def _left_out(found: Comparison) -> list[str]:
    return [f"{view} is left out: {why}." for view, why in found.left_out.items()]


def _view_rows(found: Comparison) -> tuple[list[str], list[list[str]]]:
    rows = [
        [str(number), result.view, _count(result), f"{result.unassigned_count:,}", _per_conversation(result)]
        for number, result in enumerate(found.results, 1)
    ]
    return ["", "view", "minds", "in no mind", "minds in each conversation"], rows


def _count(result: Result) -> str:
    return "-" if not result.count and result.range is None else result.count_text


def _per_conversation(result: Result) -> str:
    counts = minds_per_conversation(result)
    if len(counts) <= _MOST_CONVERSATIONS:
        return ", ".join(f"{name} {count}" for name, count in counts.items())
    low, high = min(counts.values()), max(counts.values())
    return f"{low:,} in each of {len(counts):,}" if low == high else f"{low:,} to {high:,}, in {len(counts):,}"


# --- agreement


def _agreement(found: Comparison) -> Iterator[str]:
    yield from _agreement_said(found)
    yield from _aligned(*_agreement_rows(found), right=range(1, len(found.results) + 1))


def _agreement_said(found: Comparison) -> list[str]:
    numbers = sorted({pair.agreement.stages for pair in found.pairs if pair.agreement is not None})
    span = "" if not numbers else f" ({numbers[0]:,})" if len(numbers) == 1 else f" ({numbers[0]:,} to {numbers[-1]:,})"
    said = [
        f"How far two views agree, on the stages that both put into minds{span}.",
        "Below the dots, the adjusted Rand index: 1 is the same minds, 0 no more agreement than chance would give.",
        "Above them, the variation of information in bits: 0 is the same minds, more is further apart.",
    ]
    if any(_of_one_mind(pair) for pair in found.pairs):
        said.append("A view that puts all stages into one mind has an index of 0 against every other that does not.")
    if any(pair.agreement is None for pair in found.pairs):
        said.append("A dash: fewer than two such stages, or minds that share stages.")
    return said


def _of_one_mind(pair: Pair) -> bool:
    agreed = pair.agreement
    return agreed is not None and agreed.rand == 0 and 1 in (pair.sortings[0].count, pair.sortings[1].count)


def _agreement_rows(found: Comparison) -> tuple[list[str], list[list[str]]]:
    names = [result.view for result in found.results]
    rows = []
    for i, name in enumerate(names):
        cells = []
        for j, other in enumerate(names):
            agreed = found.pair(name, other).agreement if i != j else None
            number = None if agreed is None else agreed.rand if j < i else agreed.information
            cells.append("." if i == j else "-" if number is None else _decimal(number))
        rows.append([f"{i + 1} {name}", *cells])
    return ["", *(str(number) for number in range(1, len(names) + 1))], rows


def _decimal(value: float) -> str:
    """Two decimals, so that only what is 0 or 1 is shown as 0 or 1.

    >>> [_decimal(value) for value in (0.0, 1.0, 0.9999, 0.0001, -0.0001, 1.375)]
    ['0', '1', '>0.99', '<0.01', '>-0.01', '1.38']
    """
    if value in (0.0, 1.0):
        return f"{value:.0f}"
    if 0.995 <= value < 1:
        return ">0.99"
    if abs(value) < 0.005:
        return "<0.01" if value > 0 else ">-0.01"
    return f"{value:.2f}"


# --- the order of refinement


def _order(found: Comparison) -> Iterator[str]:
    order = found.order
    if not order.nodes:
        yield "Which view divides more finely: no stage is in a mind of every view, so there is no order among all."
    else:
        whole = len(found.results[0].stages)
        which = f"the {order.stages:,} of {many(whole, 'stage')}" if order.stages < whole else f"all {whole:,} stages"
        if whole == 1:
            which = "the only stage"
        yield f"Which view divides more finely, on {which}{' that all put into minds' if order.stages < whole else ''}"
        yield "(A < B: every mind of A lies within one mind of B; A = B: the same minds):"
        for line in order.lines():
            yield from folded(f"  {line}")
    if order.left_out:
        they_put = "it puts" if len(order.left_out) == 1 else "they put"
        yield from folded(f"  Not in it, for {they_put} no stage into a mind: {', '.join(order.left_out)}")


# --- lines


def _aligned(titles: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int]) -> Iterator[str]:
    width = [max(len(row[column]) for row in (titles, *rows)) for column in range(len(titles))]
    for row in (titles, *rows):
        cells = (
            cell.rjust(width[column]) if column in right else cell.ljust(width[column])
            for column, cell in enumerate(row)
        )
        yield "   ".join(cells).rstrip()
