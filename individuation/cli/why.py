"""`individuate why`: whether two stages, or two minds, are one, and the evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from individuation.engine import Trace
    from individuation.explanation import Explanation
    from individuation.reasons import Sharing
    from individuation.result import Result
    from rules.view import View


@click.command(
    epilog="""
\b
Examples:
  individuate why examples/qwen3-32b-aura.yaml drift/1 drift/9
  individuate why aura.db c1/1 c1/9 --view instance-persona --reading recurrence=same
  individuate why aura.db "assistant of qwen in c1" "aura of qwen in c1" --view instance-persona

Stages are named CONVERSATION/ORDINAL, counted from 0. With --view, two minds can be named too, by label or id.
"""
)
@click.argument("traces", nargs=-1, required=True, metavar="TRACE...")
@click.argument("first", metavar="STAGE")
@click.argument("second", metavar="STAGE")
@click.option(
    "--view", "-v", "views", multiple=True, metavar="VIEW",
    help="Ask under this view (a name, or a view file of your own). Repeatable; default: every view.",
)  # fmt: skip
@click.option(
    "--reading", "-r", "readings", multiple=True, metavar="NAME=VALUE", help="Answer an open question. Repeatable."
)
@click.option("--labelling", metavar="NAME", help="Take persona regions from this labelling (see `individuate info`).")
@click.option("--format", "-f", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def why(
    traces: tuple[str, ...],
    first: str,
    second: str,
    views: tuple[str, ...],
    readings: tuple[str, ...],
    labelling: str | None,
    form: str,
) -> None:
    """Say whether two stages belong to one mind, and why: the chain of links, or what separates them.

    Each step names its evidence and its section of the paper, so that it can be checked by hand. Where two minds are
    meant or found, it also says what they share.
    """
    import json

    from individuation.cli.arguments import chosen_readings
    from individuation.criteria import all_views, find_view
    from individuation.engine import open_trace, readings_of

    opened = open_trace(*traces)
    stages = opened.stages(labelling)
    found = [find_view(name) for name in views] or all_views()
    chosen = readings_of(found, chosen_readings(readings))
    answers = [_answered(opened, first, second, view, labelling, chosen[view.name]) for view in found]
    if form == "json":
        data = [answer.to_dict() | {"sharing": None if shared is None else _data(shared)} for answer, shared in answers]
        click.echo(json.dumps(data[0] if len(views) == 1 else data, indent=1, ensure_ascii=False))
        return
    if len(found) > 1:
        click.echo(f"{answers[0][0].a} and {answers[0][0].b}, under {len(found)} views")
    for answer, shared in answers:
        if len(found) > 1:
            click.echo(f"\n{answer.view}: same mind iff {answer.definition} ({answer.source})")
        click.echo(str(answer))
        if shared is not None and (shared.reaches or shared.stages_in_common or not _is_stage(stages, first)):
            from individuation.telling import told_sharing

            click.echo("\n".join(told_sharing(shared)))


def _data(shared: Sharing) -> Any:
    from individuation.reasons import as_data

    return as_data(shared)


def _answered(
    trace: Trace, first: str, second: str, view: View, labelling: str | None, readings: dict[str, object]
) -> tuple[Explanation, Sharing | None]:
    from individuation.engine import individuate
    from individuation.explanation import why as explain
    from individuation.sharing import sharing

    result = individuate(trace, view, labelling=labelling, **readings)
    stages = result.stages
    minds = [None if _is_stage(stages, name) else _mind(trace, result, name) for name in (first, second)]
    names = [
        name if mind is None else result.minds[mind].first or name
        for name, mind in zip((first, second), minds, strict=True)
    ]
    answer = explain(trace, names[0], names[1], view, labelling=labelling, **readings)
    if answer.same is not False or result.minds.table is None:
        return answer, None
    rows = [stages.find(name) for name in names]
    pair = [result.minds.of_stage(row) if mind is None else mind for row, mind in zip(rows, minds, strict=True)]
    if pair[0] is None or pair[1] is None or pair[0] == pair[1]:
        return answer, None
    return answer, sharing(result, pair[0], pair[1])


def _mind(trace: Trace, result: Result, name: str) -> int:
    from traces.errors import TraceError, UnknownNameError

    try:
        return result.minds.named(name)
    except UnknownNameError as error:
        # The nearest name stands in the error; what a stage is called does not.
        if not len(result.stages):
            raise TraceError(trace.title, "it has no stages yet", "a trace in which something was said") from None
        stage = f"a stage, such as {result.stages.name(0)}, or a mind under {result.view}: {error.expected}"
        raise TraceError(trace.title, error.found, stage) from None


def _is_stage(stages: Any, name: str) -> bool:
    from traces.errors import TraceError

    try:
        stages.find(name)
    except TraceError:
        return False
    return True
