"""`individuate experiment`: the paper's experiments, on any model, a command each. No torch before one is run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from mechanism.experiments.catalogue import CATALOGUE, Entry, Option

_FROM = "user-turns"
"""The experiment that the published recordings are of."""


class _Experiments(click.Group):
    """The experiments of the catalogue; a command is made when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names, in the catalogue's order."""
        return list(CATALOGUE)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One of them as a command."""
        return _command(CATALOGUE[cmd_name]) if cmd_name in CATALOGUE else None


@click.group(
    cls=_Experiments,
    no_args_is_help=True,
    epilog="""
\b
Examples:
  individuate experiment drift -o drift
  individuate experiment user-turns --model Qwen/Qwen3-8B --space axis.safetensors --judge model:Qwen/Qwen3-8B -o qwen
  individuate experiment user-turns --from delusion_unsteered.json delusion_cap_asst.json -o published
""",
)
def experiment() -> None:
    """Do the experiments of the paper with a model, and say what was found, and how sure that is.

    Each writes a folder: a report, tables (CSV), plots (SVG, PNG), and a trace.db of the conversations, in which minds
    can be counted. Without --model the organism answers, a very small model that comes with the program: a
    demonstration, and no evidence about large models. A run that was stopped goes on when it is given again.
    """


def _command(entry: Entry) -> click.Command:
    parameters: list[click.Parameter] = [*_common(entry), *(_parameter(option) for option in entry.options)]
    if entry.name == _FROM:
        parameters += _of_published()
    return click.Command(
        entry.name,
        callback=_callback(entry),
        params=parameters,
        help=f"{entry.title}{'' if entry.title.endswith('?') else '.'}\n\n{entry.question}\n\n{entry.source}.",
        short_help=entry.title,
        epilog="\b\nExamples:\n" + "\n".join(f"  {example}" for example in entry.examples),
    )


def _common(entry: Entry) -> list[click.Parameter]:
    counted, usual = entry.size
    options: list[click.Parameter] = [
        click.Option(["--output", "-o"], metavar="FOLDER",
                     help=f"Where everything is written; a run there goes on.  [default: {entry.name}]"),
        click.Option(["--model", "-m"], default="organism", show_default=True, metavar="MODEL",
                     help="A folder, a name on the Hugging Face Hub, organism or organism-b."),
        click.Option(["--adapter"], metavar="FOLDER", help="A LoRA adapter on the model."),
        click.Option(["--space"], metavar="FILE",
                     help="A persona space, or vectors in a published format.  [default: that in the model's folder]"),
        click.Option(["--any-weights"], is_flag=True, help="Use a space made for other weights of the same shape."),
        click.Option(["--judge"], metavar="JUDGE",
                     help="Who judges answers: grammar (the organism's), model:NAME (another chat model; model:same is "
                     "the one that answers), or a CSV or JSONL file of scores.  [default: grammar on an organism]"),
        click.Option(["--material"], type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
                     help="What users say: a JSON file (docs/experiments.md).  [default: words that fit the model]"),
        click.Option(["--persona"], default=entry.persona, show_default=True, metavar="NAME",
                     help="The persona that is pressed for."),
        click.Option(["--axis"], metavar="NAME",
                     help="The axis of the space that is looked at.  [default: assistant, or the first]"),
        click.Option(["--layer"], type=click.IntRange(0), metavar="N",
                     help="At which block.  [default: the space's]"),
        click.Option(["--n"], type=click.IntRange(1), metavar="N", help=f"How many {counted}.  [default: {usual}]"),
        click.Option(["--thinking"], is_flag=True,
                     help="Let the model think before it replies, where its template can."),
        click.Option(["--tokens"], type=click.IntRange(1), metavar="N",
                     help="A reply's length at most, thinking included.  [default: 256; on an organism 64]"),
        click.Option(["--temperature"], type=click.FloatRange(0, 2), metavar="T",
                     help="How freely replies are sampled; 0: always the likeliest word.  [default: as the model "
                     "comes; 0.7 where that is the likeliest word, and on an organism]"),
        click.Option(["--seed"], type=int, default=0, show_default=True, metavar="N",
                     help="Everything random hangs on it."),
        click.Option(["--device"], metavar="DEVICE", help="cpu, cuda, mps, ...  [default: the best there is]"),
        click.Option(["--dtype"], metavar="DTYPE", help="float32, bfloat16, float16.  [default: the checkpoint's]"),
        click.Option(["--format", "format_"], type=click.Choice(["text", "json"]), default="text", show_default=True,
                     help="How the outcome is printed."),
    ]  # fmt: skip
    if entry.second:
        other = "A second model.  [default: the other organism, where the model is one]"
        options.insert(3, click.Option(["--other"], metavar="MODEL", help=other))
    return options


def _of_published() -> list[click.Parameter]:
    return [
        click.Option(["--from", "published"], multiple=True, metavar="FILE...",
                     help="Analyse published recordings instead of making any: files as the paper's supplement has "
                     "them. Needs no model."),
        click.Argument(["files"], nargs=-1, metavar="[FILE]..."),
    ]  # fmt: skip


def _parameter(option: Option) -> click.Option:
    shown = option.default is not None and option.kind != "flag"
    names = [f"--{option.name}", option.key]
    kinds: dict[str, Any] = {"file": click.Path(dir_okay=False, path_type=Path)}
    if option.kind == "flag":
        return click.Option(names, is_flag=True, help=option.help)
    if option.kind == "choice":
        return click.Option(
            names, type=click.Choice(option.choices), default=option.default, show_default=shown, help=option.help
        )
    bounded = option.least is not None or option.most is not None
    if option.kind == "number":
        kinds["number"] = click.FloatRange(option.least, option.most) if bounded else float
    if option.kind == "whole number":
        least, most = (None if end is None else int(end) for end in (option.least, option.most))
        kinds["whole number"] = click.IntRange(least, most) if bounded else int
    metavar = {"number": "X", "whole number": "N", "numbers": "X,X,...", "whole numbers": "N,N,...", "file": "FILE"}
    return click.Option(
        names,
        type=kinds.get(option.kind, str),
        default=option.default,
        show_default=shown,
        metavar=metavar.get(option.kind, "TEXT"),
        help=option.help,
    )


def _callback(entry: Entry) -> Callable[..., None]:
    @click.pass_context
    def run(context: click.Context, /, **given: Any) -> None:
        published = (*given.pop("published", ()), *given.pop("files", ()))
        if published and not given.get("output"):
            given["output"] = f"{entry.name}-published"
        folder = Path(given.pop("output") or entry.name)
        if published:
            _refuse_useless(context)
            from individuation.experiments.published import analyse

            analyse([Path(file) for file in published], folder, given["format_"])
            return
        options = chosen(entry, {option.key: given.pop(option.key) for option in entry.options})
        from individuation.recording.extra import mechanism_extra, needs_torch
        from mechanism.judges.choosing import checked

        if given["judge"] is not None:
            checked(given["judge"])
        needs_torch(f"individuate experiment {entry.name}")
        with mechanism_extra(f"individuate experiment {entry.name}"):
            from individuation.experiments.running import Asked, run_experiment

            run_experiment(context, entry, Asked(folder=folder, options=options, **given))

    return run


def _refuse_useless(context: click.Context) -> None:
    """Recordings are what they are: what a run could be asked for has no effect on them."""
    used = {"output", "format_", "published", "files"}
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if name not in used and source is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{parameter.opts[0]} has no effect on recordings (--from).")


def chosen(entry: Entry, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of an experiment as it takes them: lists of numbers are read. Raises `TraceError`.

    >>> from mechanism.experiments.catalogue import entry
    >>> chosen(entry("user-turns"), {"turns": 8, "quantile": 0.5, "layers": "2-4,6"})
    {'turns': 8, 'quantile': 0.5, 'layers': [2, 3, 4, 6]}
    """
    read = {}
    for option in entry.options:
        value = given[option.key]
        if isinstance(value, str) and option.kind == "numbers":
            value = [_number(option, part) for part in value.split(",")]
        elif isinstance(value, str) and option.kind == "whole numbers":
            value = [number for part in value.split(",") for number in _range(option, part)]
        if isinstance(value, list):
            _check_bounds(option, value)
        read[option.key] = value
    return read


def _check_bounds(option: Option, values: Sequence[float]) -> None:
    from traces.errors import TraceError

    for value in values:
        if not (value >= (option.least if option.least is not None else -math.inf)) or not (
            value <= (option.most if option.most is not None else math.inf)
        ):
            ends = " ".join(
                f"{word} {end:g}"
                for word, end in (("at least", option.least), ("at most", option.most))
                if end is not None
            )
            raise TraceError(f"--{option.name}", f"there is {value:g} in it", f"numbers of {ends}")


def _number(option: Option, part: str) -> float:
    from traces.errors import TraceError, quoted

    try:
        return float(part)
    except ValueError:
        expected = "numbers with commas between them, such as 0.1,0.2"
        raise TraceError(f"--{option.name}", f"there is {quoted(part)} in it", expected) from None


def _range(option: Option, part: str) -> range:
    from traces.errors import TraceError, quoted

    first, dash, last = part.strip().partition("-")
    if not (first.isdecimal() and (last.isdecimal() or not dash)):
        expected = "numbers and ranges such as 8,12 or 0-11"
        raise TraceError(f"--{option.name}", f"there is {quoted(part)} in it", expected)
    return range(int(first), int(last or first) + 1)
