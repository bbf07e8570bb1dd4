"""The views side by side: how far they agree, which divides more finely, and where they part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from individuation.comparison import Comparison, Pair
from individuation.disagreement import Divergence
from individuation.report.findings import Findings
from individuation.report.markup import (
    NOTHING,
    Content,
    Html,
    count,
    joined,
    lines,
    named,
    section,
    table,
    tag,
    together,
)

_MOST_PLACES = 6
_WORK = 50_000
"""Stages times witnesses, each of which is explained under two views."""

_SAID = {
    "equal": ("=", "the same minds"),
    "refines": ("<", "finer"),
    "refined by": (">", "coarser"),
    "incomparable": ("∥", "neither is finer"),
}


def compared(found: Findings) -> Html:
    """The section; nothing where there is nothing to compare."""
    comparison = found.comparison
    if comparison is None:
        return NOTHING
    return section(
        "compared",
        "The views compared",
        tag(
            "p",
            "Two views are compared on the stages that both put into minds. One is finer than another if each of its "
            "minds lies within one mind of the other.",
        ),
        _matrix(comparison, len(found.stages)),
        _numbers(comparison),
        *_order(comparison, len(found.stages)),
        *_partings(comparison, len(found.stages)),
    )


def _matrix(comparison: Comparison, whole: int) -> Html:
    names = [result.view for result in comparison.results]
    rows: list[list[Content]] = []
    for name in names:
        cells = [
            tag("span", "·", class_="self") if name == other else _cell(comparison.pair(name, other), name, whole)
            for other in names
        ]
        rows.append([named(name), *cells])
    caption = "How the view of a row stands to the view of a column"
    return table(caption, ["", *map(named, names)], rows, class_="matrix")


def _cell(pair: Pair, row: str, whole: int) -> Html:
    if pair.relation is None:
        return tag("span", "no stage in common", class_="numbers")
    relation = pair.relation
    if pair.first != row:
        relation = {"refines": "refined by", "refined by": "refines"}.get(relation, relation)  # type: ignore[assignment]
    sign, said = _SAID[relation]
    numbers = None
    if pair.agreement is not None:
        numbers = f"ARI {_decimal(pair.agreement.rand)}, VI {_decimal(pair.agreement.information)}"
    return together(
        tag("span", tag("b", sign), " ", said, class_="relation"),
        tag("span", numbers, class_="numbers") if numbers else None,
        tag("span", f"on {count(pair.stages, 'stage')}", class_="numbers") if pair.stages < whole else None,
    )


def _decimal(value: float) -> str:
    """Two decimals, so that only what is 0 or 1 is shown as 0 or 1.

    >>> [_decimal(value) for value in (0.0, 1.0, 0.9999, 0.0001, -0.0001, -0.5)]
    ['0', '1', '>0.99', '<0.01', '>−0.01', '−0.50']
    """
    if value in (0.0, 1.0):
        return f"{value:.0f}"
    if 0.995 <= value < 1:
        return ">0.99"
    if abs(value) < 0.005:
        return "<0.01" if value > 0 else ">−0.01"
    return f"{value:.2f}".replace("-", "−")


def _numbers(comparison: Comparison) -> Html:
    shared = any(pair.agreement is None for pair in comparison.pairs)
    return tag(
        "p",
        "ARI, the adjusted Rand index (Hubert and Arabie 1985): 1 for the same minds, about 0 for as much agreement as "
        "chance would give. VI, the variation of information in bits (Meilă 2007): 0 for the same minds, more for "
        "further apart.",
        " Neither is given for fewer than two stages, or where minds share stages." if shared else None,
        *(f" {view} is left out: {why}." for view, why in comparison.left_out.items()),
        class_="note",
    )


def _order(comparison: Comparison, whole: int) -> Iterator[Html]:
    order = comparison.order
    yield tag("h3", "Which view divides more finely")
    if not order.nodes:
        yield tag("p", "No stage is in a mind of every view, so there is no order among all of them.")
    else:
        which = (
            f"all {whole:,} stages" if order.stages == whole else f"the {order.stages:,} stages that all put into minds"
        )
        which = "the only stage" if whole == 1 else which
        yield tag("p", f"On {which}: A < B, every mind of A lies within one mind of B; A = B, they are the same minds.")
        yield tag("ul", *(tag("li", _line(line)) for line in order.lines()), class_="order")
    if order.left_out:
        views = joined(", ", map(named, order.left_out))
        yield tag("p", "Not in it, for no stage is in a mind there: ", views, ".")


def _line(line: str) -> Html:
    """A chain of views, in which each name keeps its own direction."""
    parts = [joined(" = ", map(named, node.split(" = "))) for node in line.split(" < ")]
    return joined(" < ", parts)


def _partings(comparison: Comparison, stages: int) -> Iterator[Html]:
    yield tag("h3", "Where they part")
    pairs = [
        (comparison.pair(one[0], other[0]), {one[0]: one, other[0]: other})
        for one, other in combinations(comparison.alike, 2)
    ]
    differing = [(pair, alike) for pair, alike in pairs if pair.divergences]
    if not differing:
        yield tag("p", "Nowhere, on the stages that both of two views put into minds.")
        return
    most = min(40, max(_WORK // max(stages, 1), 6))
    for pair, alike in differing[:most]:
        yield _parting(comparison, pair, alike)
    if len(differing) > most:
        left = count(len(differing) - most, "pair")
        yield tag(
            "p", f"{left} of views that part as well: {'it is' if left.startswith('1 ') else 'they are'} left out."
        )


def _parting(comparison: Comparison, pair: Pair, alike: dict[str, tuple[str, ...]]) -> Html:
    fine, coarse, sign = pair.first, pair.second, " and "
    if pair.relation == "refines":
        sign = " < "
    elif pair.relation == "refined by":
        fine, coarse, sign = pair.second, pair.first, " < "
    heading = joined(sign, [joined(" = ", map(named, alike[name])) for name in (fine, coarse)])
    many = sum(found.pairs for found in pair.divergences)
    summary = tag(
        "summary",
        heading,
        f": {count(many, 'pair')} of {pair.all_pairs:,} put together by one and kept apart by the other",
    )
    said: list[Content] = []
    if pair.relation == "incomparable":
        groups = count(pair.meet.count, "group")
        said.append(tag("p", f"{groups} if both must put stages together; {pair.join.count:,} if either may."))
    for divergence in pair.divergences:
        said += _divergence(comparison, pair, divergence)
    return tag("details", summary, *said)


def _divergence(comparison: Comparison, pair: Pair, divergence: Divergence) -> Iterator[Html]:
    witness = divergence.witness
    if witness is None:
        return
    joining, parting = divergence.joining.name, divergence.parting.name
    are = "is" if divergence.pairs == 1 else "are"
    yield tag(
        "p", f"{count(divergence.pairs, 'pair')} of stages {are} in one mind under ", named(joining), " and not under ",
        named(parting), "; the first is ", named(witness.a), " and ", named(witness.b), ".",
    )  # fmt: skip
    for name, told in ((joining, witness.together), (parting, witness.apart)):
        yield tag("p", tag("b", named(name)))
        yield lines(str(told), "prose")
    numbers = divergence.link_numbers
    if len(numbers):
        links = [
            together(named(link.origin), " → ", named(link.stage), f" ({link.kind})")
            for link in divergence.first_links(_MOST_PLACES)
        ]
        yield tag("p", f"Parted across {count(len(numbers), 'link')}: ", _list(links, len(numbers)), ".")
    if len(divergence.unlinked):
        name_of = divergence.joining.result.stages.name
        places = [named(name_of(row)) for row in divergence.unlinked[:_MOST_PLACES].tolist()]
        also = "also " if len(numbers) else ""
        yield tag("p", f"Parted {also}where no link leads across, at ", _list(places, len(divergence.unlinked)), ".")


def _list(shown: Sequence[Html], total: int) -> Html:
    more = total - len(shown)
    return joined(", ", [*shown, f"and {more:,} more"] if more > 0 else shown)
