"""Where views disagree, as prose: pair by pair, the first two stages with the reason of each view, then the places."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from individuation.disagreement import NOT_FOLLOWED, RULE
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


def told_disagreements(found: Comparison) -> Iterator[str]:
    """Where views disagree, as lines of text."""
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
        yield f"... and {many(left, 'more pair')} of views{follow}; --format json has them all."


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
    stages = f"on {many(pair.stages, 'stage')}"
    match pair.relation:
        case "refines":
            yield from folded(f"{names[pair.first]} < {names[pair.second]}, {stages}")
        case "refined by":
            yield from folded(f"{names[pair.second]} < {names[pair.first]}, {stages}")
        case _:
            yield from folded(f"{names[pair.first]} and {names[pair.second]}: neither is the finer, {stages}")
            groups = many(pair.meet.count, "group")
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
    yield from folded(
        f"  Of {many(pair.all_pairs, 'pair')} of stages, {divergence.pairs:,} {_is(divergence.pairs)} in one mind "
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
        yield from folded(f"    Parted across {many(len(numbers), 'link')}: {_some(links, len(numbers))}.")
    if len(unlinked):
        name = divergence.joining.result.stages.name
        stages = _some([name(row) for row in unlinked[:_MOST_PLACES].tolist()], len(unlinked))
        yield from folded(f"    Parted {'also ' if len(numbers) else ''}at {stages}, by no single link.")


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
        case "least_connectedness":
            return f"connected by {cause.values[0]} nats, less than least_connectedness={cause.values[1]}"
        case "branching":
            return f"here the conversation branches, also to {cause.values[1]} (branching={cause.values[0]})"
        case name if not cause.values:
            return f"the view does not let {name} links carry"
        case name:
            return f"the {name} changes, {cause.values[0]} to {cause.values[1]}"


# --- lines


def folded(line: str) -> list[str]:
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


def many(number: int, noun: str) -> str:
    """A number with its noun.

    >>> many(1, "stage"), many(1200, "stage")
    ('1 stage', '1,200 stages')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
