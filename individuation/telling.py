"""Explanations as prose: the answer, then the evidence line by line, then what would turn it round."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from individuation.reasons import (
    Chain,
    Connection,
    Cut,
    Differing,
    Evidence,
    Fork,
    LinkFact,
    Missing,
    Passes,
    Ruled,
    SharedKey,
    Sharing,
    StageFact,
)

if TYPE_CHECKING:
    from individuation.explanation import Explanation

_MOST_LINKS = 8
_LONG_STRETCH = 4
_MOST_PARTS = 24
_WIDTH = 96

_CARRIED = {
    "attention": "the cache goes on in place",
    "transfer": "the cache was copied from another server",
    "rebuild": "the cache was recomputed from the transcript",
    "unknown": "the record does not say how the cache came about",
    "transcript": "another model took over; only the text went along",
    "shared": "a prefix of the cache was computed in another conversation",
}
_BARRED = {
    "transcript": "another model took over: keys and values mean nothing to other weights",
    "shared": "a shared prefix: the view keeps to the model as it runs on a single conversation",
    "reconstruction": "reconstruction=new: a recomputed cache begins another mind",
    "unknown_cache": "unknown_cache=cut: an unknown cache is not taken to carry on",
    "edits": "edits=cut: a mind does not go on across an edit of its cache",
}


def told(explanation: Explanation) -> list[str]:
    """An explanation as lines of text."""
    return [
        *_answer(explanation),
        *_evidence(explanation.evidence),
        *_connectedness(explanation.connection, explanation.evidence),
        *_turned(explanation),
    ]


def told_sharing(found: Sharing) -> list[str]:
    """What two minds share, as lines of text."""
    if not (found.links or found.reaches or found.stages_in_common):
        return ["The two minds share nothing: no link leads from the one to the other."]
    lines = []
    if found.stages_in_common:
        lines.append(f"Both minds contain {', '.join(map(str, found.stages_in_common))}.")
    first, second = found.labels
    for reach, one, other in ((found.first_reaches, first, second), (found.second_reaches, second, first)):
        if reach.attending:
            attend = "attends" if reach.attending == 1 else "attend"
            lines.append(
                f"{_count(reach.attending, 'stage')} of {other} {attend} to keys and values computed in "
                f"{_count(reach.attended, 'stage')} of {one}: it is already connected to the other's mental life "
                "(§4.2)."
            )
    shown = found.links[:_MOST_LINKS]
    if found.links:
        lines.append("Links between them:")
    lines += [f"  {link.origin} -> {link.stage}  {link.kind}{_measured(link)}" for link in shown]
    if len(found.links) > len(shown):
        kinds = Counter(link.kind for link in found.links[len(shown) :])
        lines.append(f"  ... and {', '.join(f'{number:,} {kind}' for kind, number in kinds.items())} more")
    return lines


def _answer(explanation: Explanation) -> Iterator[str]:
    chosen = [
        f"{reading.name}={explanation.readings[reading.name]}"
        for reading in explanation.criterion.readings
        if explanation.readings[reading.name] not in (None, reading.default)
    ]
    on = f" under {explanation.view}"
    if chosen:
        on += f", with {' '.join(chosen)}"
    elif explanation.readings:
        on += ", on its default reading" + ("s" if len(explanation.readings) > 1 else "")
    if explanation.same is None:
        yield f"Whether it is one mind{on}, the record does not say."
    elif explanation.same:
        yield f"Same mind{on}."
    elif isinstance(explanation.evidence, Missing):
        yield f"Not one mind{on}."
    else:
        yield f"Different minds{on}."


def _evidence(evidence: Evidence) -> Iterator[str]:
    match evidence:
        case Chain(links=links, stages=stages):
            if not links:
                yield f"  {_stage(stages[0])}: one and the same stage"
            else:
                yield from _way(links, stages)
        case SharedKey(attributes=attributes, source=source, stages=(a, b)):
            shared = ", ".join(f"{name} {a.attributes[name]}" for name in attributes)
            if a.stage == b.stage:
                yield f"  {_stage(a)}: one and the same stage"
                return
            for fact in (a, b):
                yield f"  {_stage(fact)}"
            yield _line(f"Both have {shared}; the view asks for nothing else.", source)
        case Cut():
            yield from _cut(evidence)
        case Fork(links=links, at=at, stages=stages):
            yield from _way(links, stages)
            yield f"They part at {at}: each branch down from there is a mind of its own, and the two share its past."
        case Differing(attributes=attributes, source=source, stages=(a, b)):
            for fact in (a, b):
                yield f"  {_stage(fact)}"
            for name in attributes:
                yield _line(f"The {name} differs: {_value(a, name)} and {_value(b, name)}.", source)
        case Missing(lacking=lacking, source=source, stages=stages):
            for fact in stages if stages[0] != stages[1] else stages[:1]:
                yield f"  {_stage(fact)}"
            for stage, names in lacking.items():
                yield _line(f"{stage} belongs to no mind: {' and '.join(_lack(name) for name in names)}.", source)
        case Passes(own=own, again=again):
            yield from _passes(own, again)
        case Ruled(minds=(a, b)):
            yield "The view declares no links or attributes; by its rule alone:"
            yield f"  the first is in {', '.join(a) or 'no mind'}, the second in {', '.join(b) or 'no mind'}"


def _passes(own: int | None, again: int | None) -> Iterator[str]:
    if own is None and again is None:
        yield "A forward pass processes one position, and no position belongs to two stages."
    elif own is None or again is None:
        yield "How many positions were processed for this stage is not recorded; each is a mind of its own."
    else:
        yield f"{_count(own + again, 'position')} were processed for this stage; each is a mind of its own (§2.1)."


def _cut(cut: Cut) -> Iterator[str]:
    if not cut.separators:
        for fact in cut.stages:
            yield f"  {_stage(fact)}"
        yield "Nothing connects them: no chain of links of any kind leads from one to the other."
        return
    yield from _way(cut.way, cut.stages)
    if len(cut.separators) == 1:
        if sum(not link.carries for link in cut.way) == 1:
            yield "The link marked x separates them."
        else:
            link = cut.separators[0]
            yield f"The link {link.origin} -> {link.stage} is enough to separate them."
            yield "To be one mind this way, they would need all links marked x to carry."
        return
    yield f"They are joined in more than one way; {len(cut.separators)} links at the least separate them:"
    for link in cut.separators[:_MOST_LINKS]:
        yield f"  {link.origin} -> {link.stage}  {link.kind}"
    if len(cut.separators) > _MOST_LINKS:
        yield f"  ... and {len(cut.separators) - _MOST_LINKS} more"


def _way(links: Sequence[LinkFact], stages: Sequence[StageFact]) -> Iterator[str]:
    """Links one below the other; long stretches that carry are drawn together, and the middle of very long ways."""
    known = {fact.stage: fact for fact in stages}
    here = stages[0].stage
    number = 0
    parts: list[list[str]] = [[f"  {_stage(known[here])}"]]
    while number < len(links):
        size = _stretch(links, number)
        size = size if size > _LONG_STRETCH else 1
        part = list(_links(links[number : number + size], here))
        for link in links[number : number + size]:
            here = link.stage if link.origin == here else link.origin
        number += size
        parts.append([*part, f"  {_stage(known[here])}"])
    if len(parts) > _MOST_PARTS:
        head, tail = parts[: _MOST_PARTS // 2], parts[-_MOST_PARTS // 2 :]
        left = len(parts) - len(head) - len(tail)
        parts = [*head, [f"   ... {left:,} more steps; --format json has them all"], *tail]
    for part in parts:
        yield from part


def _links(links: Sequence[LinkFact], here: str) -> Iterator[str]:
    """One link, or a stretch of links that all carry."""
    yield from _link(links[0], here)
    if len(links) > 1:
        kinds = Counter(link.kind for link in links[1:-1])
        least = min((link.kl for link in links if link.kl is not None), default=None)
        measured = "" if least is None else f", each connected by {least:.2g} nats or more"
        if least is not None and any(link.kl is None for link in links):
            measured = f", each that was measured connected by {least:.2g} nats or more"
        yield f"   : {', '.join(f'{count} {kind}' for kind, count in kinds.items())}, all of them carry{measured}"
        if links[0].kind != links[-1].kind:
            last = links[-1]
            yield from _link(last, last.origin)


def _stretch(links: Sequence[LinkFact], number: int) -> int:
    """How many links that carry follow on one another; links that do not are told one by one."""
    end = number
    while end < len(links) and links[end].carries:
        end += 1
    return end - number


def _link(link: LinkFact, here: str) -> Iterator[str]:
    """A link as a line, or a line for each thing that bars it. `here`: the stage that stands above it."""
    mark = "|" if link.carries else "x"
    edited = ", edited" if link.edited else ""
    back = "" if link.origin == here else f" (back to {link.origin})"
    if link.carries:
        yield _line(f"   {mark} {link.kind:<11} {_CARRIED[link.kind]}{_measured(link)}{edited}{back}", link.source)
        return
    for place, bar in enumerate(link.bars):
        kind = link.kind if place == 0 else ""
        match bar.cause:
            case "max_drift":
                said = f"its drift is {bar.values[0]}, more than max_drift={bar.values[1]} allows"
            case "least_connectedness":
                said = f"connected by {bar.values[0]} nats, less than least_connectedness={bar.values[1]} asks for"
            case "branching":
                going_on = "goes on in" if bar.values[0] == "closest" else "branches, also to"
                said = f"branching={bar.values[0]}: here the mind {going_on} {bar.values[1]}"
            case cause if cause in _BARRED:
                said = _BARRED[cause] + (_measured(link) if place == 0 else "")
            case cause if cause in _CARRIED:
                said = f"the view does not let {cause} links carry"
            case cause:
                said = f"the {cause} changes: {bar.values[0]}, {bar.values[1]}"
        yield _line(f"   {mark} {kind:<11} {said}{back if place == 0 else ''}", bar.source)


def _measured(link: LinkFact) -> str:
    said = [] if link.drift is None else [f"drift {link.drift:g}"]
    if link.kl is not None:
        said.append(f"connected by {link.kl:.2g} nats")
    if link.mass is not None:
        said.append(f"{100 * link.mass:.2g}% of attention")
    return f" ({', '.join(said)})" if said else ""


def _connectedness(found: Connection | None, evidence: Evidence) -> Iterator[str]:
    """What was measured between the two stages themselves, and what the figures in brackets are."""
    links = evidence.links if isinstance(evidence, Chain | Fork) else evidence.way if isinstance(evidence, Cut) else ()
    told = any(link.kl is not None or link.mass is not None for link in links)
    if found is not None:
        said = []
        if found.mass is not None:
            said.append(f"{found.later} gives {found.earlier} {100 * found.mass:.2g}% of its attention")
        if found.kl is not None:
            who = "it" if said else found.later
            said.append(f"with {found.earlier} hidden, {who} predicts otherwise by {found.kl:.2g} nats")
        yield f"Quasi-psychological connectedness of the two, as measured: {'; '.join(said)} (§2.1)."
    elif told:
        yield (
            "In brackets, as measured: the quasi-psychological connectedness of the two ends (§2.1), in nats by which "
            "the later one predicts otherwise when the earlier one is hidden from it."
        )


def _stage(fact: StageFact) -> str:
    said = [fact.role]
    if "region" in fact.attributes:
        said.append(_region(fact))
    for attribute, value in fact.attributes.items():
        if attribute not in ("region", "role", "server", "conversation"):
            said.append(value if value is not None else f"{attribute} unknown")
    if fact.server is not None or "server" in fact.attributes:
        said.append(f"on {fact.server}" if fact.server is not None else "server unknown")
    return f"{fact.stage}  {', '.join(said)}"


def _region(fact: StageFact) -> str:
    value, found = fact.attributes["region"], ", ".join(fact.region_from[:3])
    match fact.region_basis:
        case "next":
            return f"poised for {value} (of {found})" if value else f"in no region, as is {found}"
        case "before":
            return f"still {value or 'in no region'} (of {found})"
        case "kept":
            return f"in no region; the last was {value} (of {found})"
        case "branches disagree":
            return f"in no region: its branches lead to different ones ({found})"
        case _:
            return f"region {value}" if value else "in no region"


def _value(fact: StageFact, name: str) -> str:
    return str(fact.attributes[name]) if fact.attributes[name] is not None else "unknown"


def _lack(name: str) -> str:
    return "it is in no persona region" if name == "region" else f"its {name} is not known"


def _turned(explanation: Explanation) -> Iterator[str]:
    for other in explanation.otherwise:
        value = "inf" if other.value is None else other.value
        number = "one mind" if other.same else "two minds"
        if isinstance(other.evidence, Missing):
            number = "no longer one mind"
        yield f"It would be {number} if {other.reading}={value} ({_source(other.source)})."


def _source(source: str) -> str:
    """Where a reading comes from, in words."""
    if source.startswith("open"):
        sections = source.removeprefix("open").strip(" ()")
        return "the paper leaves it open" + (f", {sections}" if sections else "")
    return "a gap in the record, not in the paper" if source.startswith("none") else source


def _line(text: str, section: str) -> str:
    return f"{text:<{_WIDTH - 6}} {section}".rstrip() if section and section != "-" else text


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
