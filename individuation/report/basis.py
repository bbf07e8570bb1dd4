"""What the counts rest on: caveats, the readings with their questions, and what a case expects."""

from __future__ import annotations

from individuation.case_block import MARKS, NO_SECTION
from individuation.case_outcomes import Difference, Outcome
from individuation.report.findings import CaseFound, Findings
from individuation.report.markup import NOTHING, Content, Html, bullets, joined, named, section, table, tag, together
from rules.readings import ALL, Reading


def basis(found: Findings) -> Html:
    """The section on caveats and readings."""
    return section("basis", "What it rests on", _caveats(found), _readings(found))


def _caveats(found: Findings) -> Html:
    views_of: dict[str, list[str]] = {}
    for result in found.results:
        for caveat in result.caveats:
            views_of.setdefault(caveat, []).append(result.view)
    if not views_of:
        return together(tag("h3", "Caveats"), tag("p", "None."))
    listed = bullets(
        together(_sentence(caveat), " ", tag("span", joined(", ", map(named, views)), class_="concerns"))
        for caveat, views in views_of.items()
    )
    return together(
        tag("h3", "Caveats"), tag("p", "What a reader of these counts should know, and whom it concerns:"), listed
    )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _readings(found: Findings) -> Html:
    used: dict[str, Reading] = {r.name: r for result in found.results for r in result.criterion.readings}
    heading = tag("h3", "Readings", id="readings")
    if not used:
        return together(heading, tag("p", "These views leave no question open."))
    order = [reading.name for reading in ALL if reading.name in used]
    rows: list[list[Content]] = []
    for name in [*order, *(name for name in used if name not in order)]:
        reading = used[name]
        answers: dict[str, list[str]] = {}
        for result in found.results:
            if name in result.readings:
                value = result.readings[name]
                answers.setdefault("inf" if value is None else str(value), []).append(result.view)
        here = joined("; ", [_answer(value, views, len(answers)) for value, views in answers.items()])
        others = [value for value in reading.values if value not in answers] or [reading.domain]
        views = list(dict.fromkeys(view for of in answers.values() for view in of))
        rows.append(
            [
                tag("code", name),
                reading.question,
                here,
                ", ".join(others),
                reading.source,
                joined(", ", map(named, views)),
            ]
        )
    return together(
        heading,
        tag(
            "p",
            "Where the paper leaves a question open, the program makes it a reading: a named option, never a hidden "
            "choice.",
        ),
        table(
            "Questions that the views leave open, and how they are answered here",
            ["reading", "question", "answer here", "other answers", "source", "asked by"],
            rows,
            class_="wide",
        ),
    )


def _answer(value: str, views: list[str], many: int) -> Content:
    said = tag("b", value)
    return said if many == 1 else together(said, " (", joined(", ", map(named, views)), ")")


def case(found: Findings) -> Html:
    """The section on the case, if the trace is one: its story, and what was expected beside what was found."""
    if found.case is None:
        return NOTHING
    told = found.case.case
    where = f" (§{told.section})" if told.section != NO_SECTION else ", which the paper does not have"
    parts: list[Content] = [tag("p", "This recording is a case: a thought experiment", where, ".")]
    parts += [tag("p", paragraph) for paragraph in told.story.split("\n\n") if paragraph]
    if told.open:
        parts.append(tag("p", "The paper leaves it open."))
    parts.append(_expectations(found.case))
    if told.note:
        parts.append(tag("p", told.note))
    return section("case", "Expected and found", *parts)


def _expectations(found: CaseFound) -> Html:
    if found.failure is not None:
        return tag("p", "What it expects could not be put to the views: ", found.failure)
    rows = [_row(outcome, count) for outcome, count in zip(found.outcomes, found.counts, strict=True)]
    holding = sum(outcome.holds for outcome in found.outcomes)
    every = "Everything was found as expected." if holding == len(rows) else (
        f"{len(rows) - holding:,} of {len(rows):,} were found otherwise."
    )  # fmt: skip
    marks = joined("; ", [together(tag("b", mark), f": {said}") for mark, said in MARKS.items()])
    return together(
        table(
            "What the case expects of each view, and what was found",
            ["view", "readings", "expected", "mark", "section", "found", "outcome"],
            rows,
        ),
        tag("p", every, " ", marks, "; no mark: what the view gives, for the record.", class_="note"),
    )


def _row(outcome: Outcome, count: str) -> list[Content]:
    expected = outcome.expectation
    of = f" in {expected.region}" if expected.region is not None else ""
    differing = joined("; ", [_difference(difference) for difference in outcome.differences])
    return [
        named(expected.view),
        tag("code", expected.readings_text) if expected.readings_text else "by default",
        f"{expected.count:,}{of}",
        expected.mark or "",
        f"§{expected.section}" if expected.section not in (None, NO_SECTION) else "",
        count,
        "as expected" if outcome.holds else together(tag("strong", "differs"), ": ", differing),
    ]


def _difference(difference: Difference) -> str:
    return f"{difference.what} {difference.expected} expected, {difference.found} found"
