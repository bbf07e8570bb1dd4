"""What comes first: what was recorded, and the answer under each view."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from individuation.case_block import NO_SECTION
from individuation.minds import Mind
from individuation.report.findings import Findings
from individuation.report.markup import (
    NOTHING,
    Content,
    Html,
    chip,
    count,
    joined,
    named,
    section,
    some,
    table,
    tag,
    together,
)
from individuation.report.stage_facts import details_of
from individuation.result import Result, brackets
from rules.view import Tally

MOST_MINDS = 40
_MOST_LABELS = 4
_MOST_NAMED = 6


def heading(found: Findings) -> Html:
    """The title, what it is about, and what was recorded."""
    stages = found.stages
    about: list[Content] = []
    if found.case is not None:
        case = found.case.case
        where = f" (§{case.section})" if case.section != NO_SECTION else ""
        about.append(tag("p", case.statement, where, class_="lead"))
    models = [stages.models[code] for code in np.unique(stages.model).tolist()]
    servers = [stages.servers[code] for code in np.unique(stages.server[stages.server >= 0]).tolist()]
    unsaid = int((stages.tokens < 0).sum())
    tokens = f"{int(stages.tokens[stages.tokens >= 0].sum()):,}"
    if unsaid:
        tokens = "not recorded" if unsaid == len(stages) else f"{tokens}, and {count(unsaid, 'stage')} not recorded"
    texts = sum(detail.text is not None for detail in details_of(found).values())
    facts: list[tuple[str, Content]] = [
        ("Conversations", _some_of(found.stages.conversations)),
        ("Stages", f"{len(stages):,}"),
        ("Models", _some_of([_full_name(found, key) for key in models])),
        ("Servers", _some_of(servers) if servers else "not recorded"),
        ("Tokens", tokens),
        ("Words", f"kept, of {count(texts, 'stage')}" if texts else "not in this page"),
        ("Persona regions", stages.regions.basis),
    ]
    sources = list(dict.fromkeys(facts.source for facts in found.trace.recordings if facts.source))
    if sources:
        facts.append(("Source", joined("; ", map(named, sources))))
    listed = together(*(tag("div", tag("dt", name), tag("dd", value)) for name, value in facts))
    return tag("header", tag("h1", named(found.title)), *about, tag("dl", listed, class_="facts"))


def _full_name(found: Findings, key: str) -> str:
    name = found.stages.model_info[key].name if key in found.stages.model_info else None
    return key if name is None or name == key else f"{key} ({name})"


def _some_of(names: Sequence[str]) -> Html:
    if len(names) == 1:
        return named(names[0])
    return together(f"{len(names):,}: ", some(names, _MOST_NAMED)) if names else Html("0")


def answer(found: Findings) -> Html:
    """How many minds there are under each view, in a sentence and as a table."""
    by_count: dict[str, list[Result]] = {}
    for result in found.results:
        if result.count is not None and (result.count or result.range is not None):
            by_count.setdefault(f"{result.minds_text}", []).append(result)
    parts = [
        together(tag("strong", counted), " under ", joined(", ", [named(result.view) for result in results]))
        for counted, results in by_count.items()
    ]
    none = [named(result.view) for result in found.results if not _has_count(result)]
    if none:
        parts.append(together("no count under ", joined(", ", none), ", for want of what the record does not say"))
    first = list(dict.fromkeys(result.said_first for result in found.results if result.said_first is not None))
    said = brackets(found.results)
    note = (
        tag(
            "p",
            f"{said} (",
            tag("a", "how sure", href="#sure"),
            ").",
            class_="note",
        )
        if said is not None
        else None
    )
    rows = [[named(result.view), _count(result), _who(result), _readings(result)] for result in found.results]
    return section(
        "answer",
        "How many minds",
        *(tag("p", tag("strong", "First: "), caveat, ".") for caveat in first),
        tag("p", joined("; ", parts), ".", class_="lead"),
        table("Minds under each view", ["view", "minds", "who", "readings chosen"], rows, class_="answer"),
        note,
    )


def _has_count(result: Result) -> bool:
    return result.count is not None and bool(result.count or result.range is not None)


def _count(result: Result) -> str:
    return result.count_text if _has_count(result) else "-"


def _who(result: Result) -> Content:
    if isinstance(result.verdict, Tally):
        if result.count is None:
            return "needs the token count of every stage"
        again = int(result.verdict.again.sum())
        return "one for each token processed" + (f"; {again:,} of them again" if again else "")
    if not result.count or result.minds.table is None:
        if "servers" in result.criterion.rests_on:
            return "needs to know the server"
        return "no stage is in a persona region" if result.criterion.is_persona_view else "no stage is in a mind"
    labels = result.minds.table.first_labels(_MOST_LABELS)
    shown = [together(chip(number), " ", named(label)) for number, label in enumerate(labels)]
    more = result.count - len(labels)
    return joined(" ", [*(tag("span", who, class_="who") for who in shown), f"and {more:,} more" if more > 0 else None])


def _readings(result: Result) -> Content:
    if not result.criterion.readings:
        return "none to choose"
    chosen = []
    for reading in result.criterion.readings:
        value = result.readings[reading.name]
        default = None if reading.default == math.inf else reading.default
        if value != default:
            chosen.append(f"{reading.name}={'inf' if value is None else value}")
    left = len(result.criterion.readings) - len(chosen)
    defaults = "by default" if not chosen else f"{left:,} by default"
    return together(*(together(tag("code", said), " ") for said in chosen), defaults if left else None)


def minds(found: Findings) -> Html:
    """The minds of every view that lists them, each with where it is."""
    parts = [_minds_of(result) for result in found.results if len(result.minds)]
    return tag("div", tag("h3", "The minds of each view"), *parts, class_="minds") if parts else NOTHING


def _minds_of(result: Result) -> Html:
    listed = result.minds[:MOST_MINDS]
    contradicting = any(mind.contradictions for mind in listed)
    columns = ["", "mind", "stages", "tokens", "where", "persona", "first", "last"]
    if contradicting:
        columns.append("contradicts itself")
    rows = [[chip(number), *_cells(mind, contradicting)] for number, mind in enumerate(listed)]
    more = len(result.minds) - len(listed)
    caption = f"The minds under {result.view}" + (f"; {more:,} more are not listed" if more else "")
    lost = f"In no mind: {count(result.unassigned_count, 'stage')}." if result.unassigned_count else None
    of_view = tag("summary", named(result.view), f": {result.minds_text}")
    return tag(
        "details", of_view, table(caption, columns, rows, heads=2), tag("p", lost) if lost else None
    )  # fmt: skip


def _cells(mind: Mind, contradicting: bool) -> list[Content]:
    where = joined(" on ", [some(mind.conversations, 3)] + ([some(mind.servers, 3)] if mind.servers else []))
    cells: list[Content] = [
        named(mind.label), f"{len(mind.stages):,}", "-" if mind.tokens is None else f"{mind.tokens:,}",
        where if mind.conversations else "nowhere", some(mind.regions, 4) if mind.regions else "-",
        "-" if mind.first is None else named(mind.first), "-" if mind.last is None else named(mind.last),
    ]  # fmt: skip
    if contradicting:
        said = [
            together(
                named(c.proposition), ": held at ", some(c.held_by, 3), ", denied at ", some(c.denied_by, 3)
            )
            for c in mind.contradictions
        ]  # fmt: skip
        cells.append(joined("; ", said) if said else "-")
    return cells
