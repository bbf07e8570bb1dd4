"""Comparisons as prose: the views side by side, how far they agree, which divides more finely, where they part."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from individuation.comparison import minds_per_conversation
from individuation.disagreement import NOT_FOLLOWED, RULE
from individuation.html import preformatted, table
from individuation.reasons import (
    Cause,
    Chain,
    Cut,
    Differing,
    Evidence,
    Fork,
    LinkFact,
    Ruled,
    SharedKey,
)
from rules.declaration import CARRIERS

if TYPE_CHECKING:
    from individuation.comparison import Comparison, Pair
    from individuation.disagreement import Divergence
    from individuation.explanation import Explanation
    from individuation.result import Result

_MOST_CONVERSATIONS = 3
_MOST_PLACES = 4
_MOST_PAIRS = 12
_WIDTH = 92

_BARRED = {
    "transcript": "another model took over",
    "shared": "it comes from another conversation",
    "reconstruction": "the cache was recomputed, and reconstruction=new",
    "unknown_cache": "the record does not say how the cache came about, and unknown_cache=cut",
    "edits": "the cache was edited, and edits=cut",
    RULE: "by the view's rule alone",
    NOT_FOLLOWED: "the view does not go by this link",
}


def told_comparison(found: Comparison) -> list[str]:
    """A comparison as lines of text."""
    parts = (_trace(found), _views(found), _agreement(found), _order(found), _disagreements(found))
    return [line for number, part in enumerate(parts) for line in ([""] if number else []) + list(part)]


def html_of_comparison(found: Comparison) -> str:
    """A comparison as HTML: the same as its text, the first two parts as tables."""
    columns, rows = _view_rows(found)
    views = table("Views side by side", columns, rows, _left_out(found))
    titles, cells = _agreement_rows(found)
    agreed = table("Agreement", titles, cells, [" ".join(_agreement_said(found))])
    return views + agreed + preformatted("\n".join([*_order(found), "", *_disagreements(found)]))


# --- side by side


def _trace(found: Comparison) -> Iterator[str]:
    stages = found.results[0].stages
    parts = found.trace.title, _many(len(stages.conversations), "conversation"), _many(len(stages), "stage")
    yield " · ".join(parts)
    if any(result.criterion.is_persona_view for result in found.results):
        yield f"Persona regions: {stages.regions.basis}"
    chosen = _chosen(found.results)
    if chosen:
        yield f"Readings chosen: {' '.join(chosen)} (all others at their defaults)"


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
    if any(result.range is not None for result in found.results):
        yield "In brackets: the range over readings and plausible region boundaries."
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
        which = f"the {order.stages:,} of {_many(whole, 'stage')}" if order.stages < whole else f"all {whole:,} stages"
        if whole == 1:
            which = "the only stage"
        yield f"Which view divides more finely, on {which}{' that all put into minds' if order.stages < whole else ''}"
        yield "(A < B: every mind of A lies within one mind of B; A = B: the same minds):"
        for line in order.lines():
            yield from _folded(f"  {line}")
    if order.left_out:
        they_put = "it puts" if len(order.left_out) == 1 else "they put"
        yield from _folded(f"  Not in it, for {they_put} no stage into a mind: {', '.join(order.left_out)}")


# --- pair by pair


def _disagreements(found: Comparison) -> Iterator[str]:
    groups = found.alike
    pairs = [(found.pair(one[0], other[0]), one, other) for n, one in enumerate(groups) for other in groups[n + 1 :]]
    differing = [entry for entry in pairs if entry[0].divergences]
    told = [entry for entry in differing if not _follows(found, entry[0])]
    if not differing:
        yield "Where they disagree: nowhere, on the stages that both of two views put into minds."
        return
    yield "Where they disagree"
    for pair, one, other in told[:_MOST_PAIRS]:
        yield ""
        yield from _pair(found, pair, one, other)
    left = len(differing) - min(len(told), _MOST_PAIRS)
    if left:
        follow = f", which {'follows' if left == 1 else 'follow'} from these" if len(told) <= _MOST_PAIRS else ""
        yield ""
        yield f"... and {_many(left, 'more pair')} of views{follow}; --format json has them all."


def _follows(found: Comparison, pair: Pair) -> bool:
    """Whether a third view stands between two, one of which refines the other."""
    if pair.relation not in ("refines", "refined by"):
        return False
    fine, coarse = (pair.first, pair.second) if pair.relation == "refines" else (pair.second, pair.first)
    return any(
        _finer(found, fine, between.view) and _finer(found, between.view, coarse)
        for between in found.results
        if between.view not in (fine, coarse)
    )


def _finer(found: Comparison, fine: str, coarse: str) -> bool:
    return found.pair(fine, coarse).relation == "refines"


def _pair(found: Comparison, pair: Pair, one: Sequence[str], other: Sequence[str]) -> Iterator[str]:
    names = {pair.first: " = ".join(one), pair.second: " = ".join(other)}
    members = {pair.first: one, pair.second: other}
    stages = f"on {_many(pair.stages, 'stage')}"
    match pair.relation:
        case "refines":
            yield from _folded(f"{names[pair.first]} < {names[pair.second]}, {stages}")
        case "refined by":
            yield from _folded(f"{names[pair.second]} < {names[pair.first]}, {stages}")
        case _:
            yield from _folded(f"{names[pair.first]} and {names[pair.second]}: neither is the finer, {stages}")
            groups = _many(pair.meet.count, "group")
            yield f"  {groups} of stages if both must put them together; {pair.join.count:,} if either may."
    for divergence in pair.divergences:
        yield from _divergence(found, pair, divergence, members)


def _divergence(
    found: Comparison, pair: Pair, divergence: Divergence, members: dict[str, Sequence[str]]
) -> Iterator[str]:
    witness = divergence.witness
    if witness is None:
        return
    joining, parting = members[divergence.joining.name], members[divergence.parting.name]
    yield from _folded(
        f"  Of {_many(pair.all_pairs, 'pair')} of stages, {divergence.pairs:,} {_is(divergence.pairs)} in one mind "
        f"under {divergence.joining.name} and not under {divergence.parting.name}; first {witness.a} and {witness.b}:"
    )
    told = [found.sides[name].why(witness.a, witness.b) for name in (*joining, *parting)]
    reasons = [_reason(one) for one in told]
    widths = max(len(one.view) for one in told), max(len(reason) for reason, _ in reasons)
    for one, (reason, cited) in zip(told, reasons, strict=True):
        answer = "one mind " if one.same else "two minds"
        start = f"    {one.view:<{widths[0]}}  {answer}  {reason:<{widths[1]}}"
        yield f"{start}  {'' if cited == '-' else cited}".rstrip()
    numbers, unlinked = divergence.link_numbers, divergence.unlinked
    if len(numbers):
        links = [f"{link.origin} -> {link.stage} {link.kind}" for link in divergence.first_links(_MOST_PLACES)]
        yield from _folded(f"    Parted across {_many(len(numbers), 'link')}: {_some(links, len(numbers))}.")
    if len(unlinked):
        name = divergence.joining.result.stages.name
        stages = _some([name(row) for row in unlinked[:_MOST_PLACES].tolist()], len(unlinked))
        yield from _folded(f"    Parted {'also ' if len(numbers) else ''}at {stages}, by no single link.")


def _reason(told: Explanation) -> tuple[str, str]:
    """What an explanation comes to, in one line, and the section."""
    evidence: Evidence = told.evidence
    match evidence:
        case Chain(links=links):
            kinds = Counter(link.kind for link in links)
            listed = ", ".join(f"{number} {kind}" for kind, number in kinds.items())
            return f"linked ({listed})", _weakest(links).source
        case SharedKey(attributes=attributes, source=source, stages=(a, _)):
            return f"both have {' and '.join(f'{name} {a.attributes[name]}' for name in attributes)}", source
        case Differing(attributes=(name, *_), source=source, stages=(a, b)):
            return f"the {name} differs: {a.attributes[name] or 'none'}, {b.attributes[name] or 'none'}", source
        case Cut(separators=(first, *_)):
            where = "" if {first.origin, first.stage} == {told.a, told.b} else f" {first.origin} -> {first.stage}"
            return f"cut at the {first.kind} link{where}: {_cause(first.bars[0])}", first.bars[0].source
        case Cut():
            return "no chain of links joins them", told.source
        case Fork(at=at):
            return f"they stand on different branches from {at}", "open"
        case Ruled():
            return "by the view's rule alone", told.source
        case _:
            return str(told).splitlines()[0], told.source


def _weakest(links: Sequence[LinkFact]) -> LinkFact:
    return max(links, key=lambda link: CARRIERS.index(link.kind))


def _cause(cause: Cause) -> str:
    if cause.cause in _BARRED:
        return _BARRED[cause.cause]
    match cause.cause:
        case "max_drift":
            return f"its drift is {cause.values[0]}, more than max_drift={cause.values[1]}"
        case "branching":
            return f"here the conversation branches, also to {cause.values[1]} (branching={cause.values[0]})"
        case name if not cause.values:
            return f"the view does not let {name} links carry"
        case name:
            return f"the {name} changes, {cause.values[0]} to {cause.values[1]}"


# --- lines


def _folded(line: str) -> list[str]:
    """A line of names as several, indented, each break between two words."""
    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.wrap(
        line, _WIDTH, subsequent_indent=f"{indent}    ", break_long_words=False, break_on_hyphens=False,
        drop_whitespace=True,
    )  # fmt: skip


def _is(number: int) -> str:
    return "is" if number == 1 else "are"


def _some(names: Sequence[str], total: int) -> str:
    return ", ".join(names) + (f", and {total - len(names):,} more" if total > len(names) else "")


def _aligned(titles: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int]) -> Iterator[str]:
    width = [max(len(row[column]) for row in (titles, *rows)) for column in range(len(titles))]
    for row in (titles, *rows):
        cells = (
            cell.rjust(width[column]) if column in right else cell.ljust(width[column])
            for column, cell in enumerate(row)
        )
        yield "   ".join(cells).rstrip()


def _many(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
