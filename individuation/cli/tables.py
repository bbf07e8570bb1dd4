"""Counts and minds as a person reads them: the answer first, then what it rests on, then what to ask next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from individuation.cli.terminal import console, number, some, table
from individuation.cli.terminal import count as counted
from individuation.engine import Trace
from individuation.minds import Mind
from individuation.result import Result, brackets
from rules.view import Partition, Tally

_MOST_MINDS = 40
_MOST_LABELS = 4
_MOST_VIEWS_NAMED = 3


def show_overview(trace: Trace, results: Sequence[Result], traces: Sequence[str], labelling: str | None) -> None:
    """One line for each view."""
    out = console()
    _say_what_is_counted(out, trace, results[0])
    _say_regions(out, results[0], labelling)
    _say_first(out, results)
    chosen = _not_default(results)
    if chosen:
        out.print(Text(f"Readings chosen: {' '.join(chosen)} (all others at their defaults)"))
    out.print(
        table(
            [("view", "left"), ("minds", "right"), ("who", "fold")],
            [(result.view, *_line(result)) for result in results],
        )
    )
    _say_range(out, results)
    _say_caveats(out, {result.view: _said_last(result) for result in results})
    out.print()
    # Whole, however narrow the terminal: a command is there to be copied.
    out.print(
        f"List the minds of a view: individuate {_again(traces, chosen, labelling)} --view virtual-instance",
        soft_wrap=True,
        markup=False,
    )
    stages = results[0].stages
    if len(stages) > 1:
        pair = shlex.join([*traces, *(stages.name(row) for row in _worth_asking(results))])
        out.print(f"Why two stages are one mind or two: individuate why {pair}", soft_wrap=True, markup=False)
        sure = _again(traces, chosen, labelling)
        out.print(f"How sure a count is: individuate sensitivity {sure}", soft_wrap=True, markup=False)
        out.print(f"See it: individuate draw {sure}", soft_wrap=True, markup=False)
    out.print("What the views and their readings mean: individuate views", soft_wrap=True, markup=False)


def _worth_asking(results: Sequence[Result]) -> tuple[int, int]:
    """Two stages of two minds under some view: side by side where there are such, else the end of one and the beginning
    of the next; where no view finds two, the first stage and the last.
    """
    for result in reversed(results):
        if isinstance(result.verdict, Partition):
            mind, before = result.verdict.mind, result.stages.previous
            parted = (before >= 0) & (mind >= 0) & (mind[before] >= 0) & (mind[before] != mind)
            if parted.any():
                row = int(parted.argmax())
                return int(before[row]), row
    for result in reversed(results):
        if isinstance(result.verdict, Partition) and int(result.verdict.mind.max(initial=-1)) > 0:
            mind = result.verdict.mind
            return int((mind == 0).nonzero()[0][-1]), int((mind == 1).argmax())
    return 0, len(results[0].stages) - 1


def _not_default(results: Sequence[Result]) -> list[str]:
    """The readings whose value was chosen, as `--reading` takes them."""
    chosen: dict[str, None] = {}
    for result in results:
        chosen |= dict.fromkeys(result.chosen_text.split())
    return list(chosen)


def _again(traces: Sequence[str], chosen: Sequence[str], labelling: str | None) -> str:
    """The words of a command that counts the same again, as a shell takes them."""
    return shlex.join(
        [*traces, *(["--labelling", labelling] if labelling else []), *(f"--reading={c}" for c in chosen)]
    )


def show_minds(
    trace: Trace, result: Result, traces: Sequence[str], labelling: str | None, named: str | None = None
) -> None:
    """The minds of one view, a row each. `named`: what the view was called by, where that is not its name."""
    out = console()
    view = result.criterion
    _say_what_is_counted(out, trace, result)
    if view.is_persona_view:
        _say_regions(out, result, labelling)
    _say_first(out, [result])
    out.print(Text(f"{result.view}: {result.minds_text}. Same mind iff: {view.definition} ({view.source})."))
    if result.readings:
        out.print(Text(f"Readings: {result.readings_text}"))
    if isinstance(result.verdict, Tally):
        _list_passes(out, result)
    elif len(result.minds):
        listed = result.minds[:_MOST_MINDS]
        out.print(table(_columns(listed), [_row(mind, listed) for mind in listed]))
        _say_more(out, len(result.minds) - len(listed), "mind")
        _say_contradictions(out, listed)
    _say_range(out, [result])
    if result.unassigned_count:
        out.print(Text(f"In no mind: {counted(result.unassigned_count, 'stage')}: {some(result.unassigned, 8)}\n"))
    _say_caveats(out, {result.view: _said_last(result)})
    if len(result.stages) > 1 and not isinstance(result.verdict, Tally):
        pair = [result.stages.name(row) for row in _worth_asking([result])]
        again = [
            *(["--labelling", labelling] if labelling else []),
            *(f"--reading={c}" for c in _not_default([result])),
        ]
        words = shlex.join([*traces, *pair, "--view", named or result.view, *again])
        out.print()
        out.print(f"Why: individuate why {words}", soft_wrap=True, markup=False)


def _say_what_is_counted(out: Console, trace: Trace, result: Result) -> None:
    stages = result.stages
    servers = len({server for server in stages.server.tolist() if server >= 0})
    parts = (
        trace.title,
        counted(len(stages.conversations), "conversation"),
        counted(len(stages), "stage"),
        counted(len(set(stages.model.tolist())), "model"),
        counted(servers, "server") if servers else "server not recorded",
    )
    out.print(Text(" · ".join(parts), style="bold"))


def _say_regions(out: Console, result: Result, labelling: str | None) -> None:
    regions = result.stages.regions
    others = f" (also here: --labelling {', '.join(regions.others)})" if regions.others and labelling is None else ""
    out.print(Text(f"Persona regions: {regions.basis.replace('no persona regions', 'none')}{others}"))


def _say_first(out: Console, results: Sequence[Result]) -> None:
    """What a reader has to know before some counts, with the views that it concerns."""
    concerned: dict[str, list[str]] = {}
    for result in results:
        if result.said_first is not None:
            concerned.setdefault(result.said_first, []).append(result.view)
    for caveat, views in concerned.items():
        named = f" [{', '.join(views)}]" if len(results) > 1 else ""
        out.print(Text(f"First: {caveat}{named}", style="bold"))


def _said_last(result: Result) -> list[str]:
    return [caveat for caveat in result.caveats if caveat != result.said_first]


def _line(result: Result) -> tuple[str, str]:
    """The count and who they are, or what the trace would have to say for there to be a count."""
    view = result.criterion
    if isinstance(result.verdict, Tally):
        if result.count is None:
            return "-", "needs the token count of every stage"
        again = int(result.verdict.again.sum())
        return f"{result.count:,}", "one for each token processed" + (f"; {again:,} of them again" if again else "")
    if not result.count:
        if "servers" in view.rests_on:
            return "-", "needs to know the server"
        if view.is_persona_view:
            return result.count_text, "no stage is in a persona region"
    labels = result.minds.table.first_labels(_MOST_LABELS) if result.minds.table is not None else []
    return result.count_text, some(labels, _MOST_LABELS, result.count)


def _say_range(out: Console, results: Sequence[Result]) -> None:
    said = brackets(results)
    if said is not None:
        out.print(Text(f"{said} (individuate sensitivity)."), soft_wrap=True)


def _say_caveats(out: Console, caveats: Mapping[str, Sequence[str]]) -> None:
    """Each caveat once, with the views that it concerns."""
    views_of: dict[str, list[str]] = {}
    for view, said in caveats.items():
        for caveat in said:
            views_of.setdefault(caveat, []).append(view)
    if not views_of:
        return
    out.print(Text("Caveats", style="bold"))
    listed = Table.grid(padding=(0, 1))
    for caveat, views in views_of.items():
        named = ", ".join(views) if len(views) <= _MOST_VIEWS_NAMED else f"{len(views)} views"
        concerns = f" [{named}]" if len(caveats) > 1 else ""
        listed.add_row(" -", Text(f"{caveat}{concerns}"))
    out.print(listed)


def _say_contradictions(out: Console, minds: Sequence[Mind]) -> None:
    for mind in minds:
        for c in mind.contradictions:
            held, denied = some(c.held_by, 4), some(c.denied_by, 4)
            out.print(Text(f'{mind.label} contradicts itself: "{c.proposition}" held at {held}, denied at {denied}\n'))


def _list_passes(out: Console, result: Result) -> None:
    listed = result.per_stage()[:_MOST_MINDS]
    columns = [("stage", "left"), ("own tokens", "right"), ("again", "right"), ("passes", "right")]
    rows = [[row["stage"], number(row["own"]), number(row["again"]), number(row["passes"])] for row in listed]
    out.print(table(columns, rows))
    _say_more(out, len(result.stages) - len(rows), "stage")


def _say_more(out: Console, left: int, noun: str) -> None:
    if left > 0:
        out.print(f"... and {counted(left, noun)} more; --format csv or json lists all.\n", markup=False)


def _columns(minds: Sequence[Mind]) -> list[tuple[str, str]]:
    columns = [
        ("mind", "fold"), ("stages", "right"), ("tokens", "right"), ("where", "fold"), ("persona", "fold"),
        ("first to last", "fold"),
    ]  # fmt: skip
    if any(mind.contradictions for mind in minds):
        columns.append(("contradicts itself", "fold"))
    return columns


def _span(mind: Mind) -> str:
    """`c1/0 to 7`, or both names in full where they are of different conversations."""
    if mind.first is None or mind.last is None:
        return "-"
    conversation, _, _ = mind.first.rpartition("/")
    return f"{mind.first} to {mind.last.removeprefix(f'{conversation}/')}"


def _row(mind: Mind, minds: Sequence[Mind]) -> list[str]:
    where = some(mind.conversations, 3) + (f" on {some(mind.servers, 3)}" if mind.servers else "")
    row = [
        mind.label, f"{len(mind.stages):,}", number(mind.tokens), where or "nowhere", some(mind.regions, 4) or "-",
        _span(mind),
    ]  # fmt: skip
    if any(other.contradictions for other in minds):
        row.append(some([c.proposition for c in mind.contradictions], 3) or "-")
    return row
