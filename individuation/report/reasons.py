"""Why: for each view, each place where a mind ends and another begins, with its evidence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from individuation.picture.captions import counted
from individuation.reasons import Cut, Evidence, Fork, LinkFact
from individuation.report.findings import Findings
from individuation.report.markup import Content, Html, chip, count, lines, named, section, table, tag, together
from individuation.report.seams import Reason, Seams, in_short
from individuation.report.stage_facts import seam_id
from individuation.result import Result
from individuation.telling import told_sharing
from rules.view import Tally

_MOST_LINKS = 12
_MOST_OPEN = 6
"""Reasons that all stand open; of more, only the first of each view."""


def reasons(found: Findings) -> Html:
    """The section."""
    told = sum(len(seams.reasons) for seams in found.seams)
    said: list[Content] = [
        tag(
            "p",
            "At each place where a mind ends along a path, the two stages on either side were put to the view: are "
            "they one mind, and if not, what separates them? Evidence names links, stages and attributes of the "
            "record, each with its section of the paper, and can be checked by hand.",
        )
    ]
    if told:
        held = sum(reason.holds for seams in found.seams for reason in seams.reasons)
        checked = (
            f"Each of the {counted(told, 'explanation')} below was verified on the record without the view being "
            "applied again: the facts it names are so, and its answer follows from them."
            if held == told
            else f"Of the {counted(told, 'explanation')} below {held:,} could be verified on the record."
        )
        said.append(tag("p", checked))
    none = [seams.result for seams in found.seams if not seams.all]
    parts = [_view(number, seams, told <= _MOST_OPEN) for number, seams in enumerate(found.seams) if seams.all]
    if none:
        parts.append(_without(none))
    return section("why", "Why: each boundary", *said, *parts)


def _without(results: Sequence[Result]) -> Html:
    rows: list[list[Content]] = []
    for result in results:
        if isinstance(result.verdict, Tally):
            said = "it counts forward passes, and no pass belongs to two stages: it has no boundaries between them"
        elif not result.count:
            said = "no stage is in a mind"
        elif result.count == 1:
            said = "there is one mind, so no boundary" if not result.unassigned_count else "there is one mind"
        else:
            said = "no path leads from one of its minds to another"
        rows.append([named(result.view), said])
    return table("Views without a boundary", ["view", "why not"], rows)


def _view(number: int, seams: Seams, opened: bool) -> Html:
    result = seams.result
    paths = sum(seam.kind == "path" for seam in seams.all)
    forks = sum(seam.kind == "fork" for seam in seams.all)
    apart = len(seams.all) - paths - forks
    parts = [count(paths, "boundary", "boundaries") + " along paths"] if paths else []
    parts += [count(forks, "parting", "partings") + " of branches"] if forks else []
    if apart:
        parts.append(f"{count(apart, 'example')} of conversations that no path connects")
    left = len(seams.all) - len(seams.reasons)
    said = f"{'; '.join(parts).capitalize()}."
    if left:
        said += f" The reasons of the first {len(seams.reasons):,} are given; {left:,} are left out."
    return tag(
        "article",
        tag("h3", named(result.view), f": {result.minds_text}"),
        tag("p", "Same mind if and only if: ", result.criterion.definition, f" ({result.criterion.source}). {said}"),
        *(
            _reason(seam_id(number, place), result, reason, opened or not place)
            for place, reason in enumerate(seams.reasons)
        ),
        class_="reasons",
    )


def _reason(identity: str, result: Result, reason: Reason, opened: bool) -> Html:
    explanation = reason.explanation
    short, cited = in_short(explanation)
    where = {"path": " → ", "fork": " | ", "apart": " · "}[reason.seam.kind]
    summary = tag(
        "summary",
        tag("span", named(explanation.a), where, named(explanation.b), class_="where"),
        " ",
        tag("span", _mind(reason.minds[0]), where, _mind(reason.minds[1]), class_="chips"),
        " ",
        tag("span", short, class_="short"),
        " ",
        tag("span", cited, class_="cited") if cited else None,
    )
    labels = [
        _label(result, mind, name) for mind, name in zip(reason.minds, (explanation.a, explanation.b), strict=True)
    ]
    return tag(
        "details",
        summary,
        tag("p", labels[0], "; ", labels[1], "."),
        lines(str(explanation), "prose"),
        *_evidence(explanation.evidence),
        *_sharing(reason),
        None if reason.holds else tag("p", "This explanation could not be verified on the record."),
        id=identity,
        open=opened,
    )


def _mind(mind: int | None) -> Html:
    return chip(mind) if mind is not None else tag("span", "no mind", class_="none")


def _label(result: Result, mind: int | None, stage: str) -> Html:
    if mind is None or result.minds.table is None:
        return together(named(stage), " is in no mind")
    return together(named(stage), " is in ", chip(mind), " ", named(result.minds.table.first_labels(mind + 1)[mind]))


def _evidence(evidence: Evidence) -> Iterator[Html]:
    match evidence:
        case Cut(way=way, separators=separators):
            yield from _links("Links on the way between them", way)
            if list(separators) != [link for link in way if not link.carries]:
                yield from _links("The least set of links that separates them", separators)
        case Fork(links=links):
            yield from _links("Links on the way between them", links)
        case _:
            return


def _links(caption: str, links: Sequence[LinkFact]) -> Iterator[Html]:
    if len(links) < 2:
        return
    measured = any(link.kl is not None for link in links[:_MOST_LINKS])
    rows: list[list[Content]] = [
        [
            named(link.origin),
            named(link.stage),
            link.kind,
            " → ".join(server or "unknown" for server in link.servers),
            "-" if link.drift is None else f"{link.drift:g}",
            *(["-" if link.kl is None else f"{link.kl:.2g} nats"] if measured else []),
            "yes" if link.carries else "no",
            "; ".join(f"{bar.cause}: {', '.join(bar.values)}" if bar.values else bar.cause for bar in link.bars) or "-",
        ]
        for link in links[:_MOST_LINKS]
    ]
    more = f"; {len(links) - _MOST_LINKS:,} more are not listed" if len(links) > _MOST_LINKS else ""
    connected = ["connected"] if measured else []
    titles = ["from", "to", "link", "servers", "drift", *connected, "carries", "what bars it"]
    yield table(f"{caption}{more}", titles, rows, heads=2)


def _sharing(reason: Reason) -> Iterator[Html]:
    found = reason.sharing
    if found is not None and (found.links or found.reaches or found.stages_in_common):
        yield tag("p", tag("b", "What the two minds share"))
        yield lines("\n".join(told_sharing(found)), "prose")
