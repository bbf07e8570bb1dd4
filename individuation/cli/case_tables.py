"""Cases as a person reads them: the story, what was expected beside what was found, and what to ask next."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from individuation.case_block import MARKS, NO_SECTION
from individuation.case_files import Case
from individuation.case_outcomes import Difference, Outcome, turns_of
from individuation.cli.terminal import console, count, number, some, table
from traces.errors import quoted

_MOST_TURNS = 20
_MOST_NAMED = 4
_LEAST_TEXT = 24
_DIFFERS = "bold red"


def show_list(cases: Sequence[Case], targets: Sequence[str]) -> None:
    """One line for each case."""
    out = console()
    out.print(Text(f"{count(len(cases), 'case')}{'' if targets else ', most of them from the paper'}", style="bold"))
    rows = [(case.name, sections(case.section), " ".join(case.marks) or "-", case.statement) for case in cases]
    out.print(table([("case", "left"), ("section", "left"), ("marks", "left"), ("what it is about", "fold")], rows))
    out.print(Text(_legend()))
    words = [shlex.quote(word) for word in targets]
    first = shown_path(cases[0].path) if targets else cases[0].name
    out.print(Text(f"\nTell one: individuate cases {shlex.quote(first)}"), soft_wrap=True)
    out.print(Text(f"Run all: individuate cases {' '.join([*words, '--check'])}"), soft_wrap=True)


def show_case(case: Case, outcomes: Sequence[Outcome]) -> None:
    """The story of a case, its turns, what was expected and found, and the next commands."""
    out = console()
    heading = [case.title]
    if case.section != NO_SECTION:
        heading.append(sections(case.section))
    if case.open:
        heading.append(MARKS["open"])
    out.print(Text(" · ".join(heading), style="bold"))
    for paragraph in case.story.split("\n\n") if case.story else ():
        out.print(Text(f"\n{paragraph}"))
    out.print(Text(f"\nIn short: {case.statement}\n"))
    if len(case.trace.stages()):
        _show_turns(out, case)
    out.print(
        table(
            [("view", "left"), ("expected", "right"), ("mark", "left"), ("found", "left"), ("", "fold")],
            _rows(outcomes),
        )
    )
    out.print(Text(_legend()))
    differing = [said for outcome in outcomes for said in _differences(outcome)]
    if differing:
        out.print(Text("\nNot as expected", style=_DIFFERS))
        for said in differing:
            out.print(Text(f" - {said}"))
    if case.note:
        out.print(Text(f"\n{case.note}"))
    out.print(Text("\nNext"))
    for command in next_commands(case):
        # Whole, however narrow the terminal: a command is there to be copied.
        out.print(Text(f"  {command}"), soft_wrap=True)


def show_check(cases: Sequence[Case], outcomes: Sequence[Sequence[Outcome]]) -> None:
    """One line for each case, and below it where it differs."""
    out = console()
    width = max(len(case.name) for case in cases)
    good = 0
    for case, found in zip(cases, outcomes, strict=True):
        holding = sum(outcome.holds for outcome in found)
        holds = holding == len(found)
        good += holds
        line = f"{'ok     ' if holds else 'DIFFERS'}  {case.name:<{width}}  {holding} of {len(found)} as expected"
        out.print(Text(line, style="" if holds else _DIFFERS), soft_wrap=True)
        for outcome in found:
            for said in _differences(outcome):
                out.print(Text(f"           {said}"), soft_wrap=True)
    verb = "holds" if len(cases) == 1 else "hold"
    out.print(Text(f"{good} of {count(len(cases), 'case')} {verb}{'.' if good == len(cases) else '; see above.'}"))


def sections(section: str) -> str:
    """Sections with their sign.

    >>> sections("1.2, 2.3"), sections("fn 3")
    ('§1.2, §2.3', 'fn 3')
    """
    return re.sub(r"(?<![\w.])(?=\d+(\.\d+)*(,|$))(?<!fn )", "§", section)


def shown_path(path: Path) -> str:
    """A path as a command takes it: from here, if it lies below."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_absolute() and path.is_relative_to(here) else path)


def next_commands(case: Case) -> list[str]:
    """What to ask of a case's trace next."""
    path = shlex.quote(shown_path(case.path))
    commands = [f"individuate {path}"]
    stages = case.trace.stages()
    spoken = [stage for stage, of_model in enumerate(stages.assistant.tolist()) if of_model]
    ends = spoken if len(spoken) > 1 else list(range(len(stages)))
    if len(ends) > 1:
        pair = " ".join(shlex.quote(stages.name(stage)) for stage in (ends[0], ends[-1]))
        commands.append(f"individuate why {path} {pair}")
    commands.append(f"individuate draw {path} -o {shlex.quote(f'{case.name}.svg')}")
    return commands


def _legend() -> str:
    return (
        " · ".join(f"{mark}{':' if len(mark) > 1 else ''} {meaning}" for mark, meaning in MARKS.items())
        + " · no mark: for the record"
    )


def _show_turns(out: Console, case: Case) -> None:
    """The turns, with the columns in which they differ; what all have in common is said once."""
    turns = turns_of(case)
    shared = {name: turns[0][name] for name in ("model", "server") if len({turn[name] for turn in turns}) == 1}
    named = [f"{name} {value}" for name, value in shared.items() if value is not None]
    out.print(Text(f"{count(len(turns), 'stage')}{', all on ' if named else ''}{', '.join(named)}"))
    listed = turns[:_MOST_TURNS]
    columns = [
        (name, "right" if name == "tokens" else "left")
        for name in ("stage", "role", "tokens", "model", "server", "link", "region")
        if name not in shared and any(turn[name] is not None for turn in listed)
    ]
    width = sum(max(len(title), *(len(_cell(turn[title])) for turn in listed)) + 3 for title, _ in columns)
    texts = any(turn["text"] is not None for turn in listed) and out.width - width >= _LEAST_TEXT
    rows = [[_cell(turn[name]) for name, _ in columns] for turn in listed]
    if texts:
        columns.append(("text", "fold"))
        for row, turn in zip(rows, listed, strict=True):
            # As in messages: short, on one line, and nothing in it that a terminal would obey.
            row.append("" if turn["text"] is None else quoted(turn["text"]))
    out.print(table(columns, rows))
    if len(turns) > len(listed):
        out.print(Text(f"... and {count(len(turns) - len(listed), 'more stage')}.\n"))


def _cell(value: object) -> str:
    return number(value) if isinstance(value, int) else "" if value is None else str(value)


def _rows(outcomes: Sequence[Outcome]) -> list[list[object]]:
    """A row for each view and region on default readings; what other readings give stands at its end."""
    rows: dict[tuple[str, str | None], tuple[list[object], list[str]]] = {}
    apart: list[tuple[list[object], list[str]]] = []
    for outcome in outcomes:
        key = outcome.expectation.view, outcome.expectation.region
        if outcome.expectation.readings and key in rows:
            rows[key][1].append(_variant(outcome))
        else:
            rows_of = (_row(outcome), _further(outcome))
            apart.append(rows_of)
            if not outcome.expectation.readings:
                rows[key] = rows_of
    return [[*row, "\n".join(further)] for row, further in apart]


def _row(outcome: Outcome) -> list[object]:
    expectation = outcome.expectation
    found = outcome.found.count_text
    return [
        _view(outcome),
        number(expectation.count),
        _mark(outcome),
        found if outcome.holds else Text(f"{found} differs", style=_DIFFERS),
    ]


def _view(outcome: Outcome) -> str:
    """The view with all that makes this expectation another than the view's plain count."""
    expectation = outcome.expectation
    region = f" in region {expectation.region}" if expectation.region is not None else ""
    readings = f" ({expectation.readings_text})" if expectation.readings else ""
    return f"{expectation.view}{region}{readings}"


def _mark(outcome: Outcome) -> str:
    expectation = outcome.expectation
    if expectation.mark == "P" and expectation.section:
        return f"P {sections(expectation.section)}"
    return expectation.mark or ""


def _variant(outcome: Outcome) -> str:
    """What another reading gives: `3 under reconstruction=new (open)`."""
    expectation = outcome.expectation
    counted = expectation.count == outcome.found.count
    differs = "" if outcome.holds else " differs" if counted else f" ({number(expectation.count)} expected)"
    mark = f" ({_mark(outcome)})" if expectation.mark else ""
    further = ", ".join(_further(outcome))
    under = f"{number(outcome.found.count)}{differs} under {expectation.readings_text}{mark}"
    return f"{under}: {further}" if further else under


def _further(outcome: Outcome) -> list[str]:
    """What was found of everything beside the count that the case expects something of."""
    expectation, found = outcome.expectation, outcome.found
    said = []
    if expectation.stages is not None:
        sizes = [number(size) for size in found.stages]
        said.append(
            count(found.stages[0], "stage") if len(sizes) == 1 else f"stages: {some(sizes, _MOST_NAMED) or 'none'}"
        )
    if expectation.unassigned is not None:
        said.append(f"{count(found.unassigned, 'stage')} in no mind")
    if expectation.contradictions is not None:
        said.append(f"contradicts itself: {_propositions(found.contradictions)}")
    if expectation.caveat is not None:
        more = f" (and {len(found.caveats) - 1} more)" if len(found.caveats) > 1 else ""
        said.append(f"caveat: {found.caveats[0]}{more}" if found.caveats else "no caveat")
    return said


def _propositions(propositions: Sequence[str]) -> str:
    return some([quoted(proposition) for proposition in propositions], _MOST_NAMED) or "nowhere"


def _differences(outcome: Outcome) -> list[str]:
    mark = f" [{_mark(outcome)}]" if outcome.expectation.mark else ""
    return [f"{_view(outcome)}: {_difference(difference)}{mark}" for difference in outcome.differences]


def _difference(difference: Difference) -> str:
    expected, found = difference.expected, difference.found
    match difference.what:
        case "count":
            return f"{count(expected, 'mind')} expected, {'no count' if found is None else number(found)} found"
        case "stages":
            named = [some([number(size) for size in sizes], _MOST_NAMED) or "none" for sizes in (expected, found)]
            return f"minds of so many stages: {named[0]} expected, {named[1]} found"
        case "unassigned":
            return f"stages in no mind: {number(expected)} expected, {number(found)} found"
        case "contradictions":
            return f"contradictions: {_propositions(expected)} expected, {_propositions(found)} found"
        case _:
            return "a caveat expected, none found" if expected else "no caveat expected, one found"
