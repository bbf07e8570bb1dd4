"""`individuate space test`: the paper's three hypotheses, tested on one persona space."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from individuation.recording.extra import mechanism_extra

if TYPE_CHECKING:
    from individuation.recording.steps import Steps
    from mechanism.host import Host
    from mechanism.hypotheses.bench import Bench
    from mechanism.hypotheses.tested import Points
    from mechanism.outcome import Outcome
    from mechanism.space import PersonaSpace

# A test runner takes a file of this name for tests.
__test__: dict[str, str] = {}

_HYPOTHESES = ("H1", "H2", "H3")
_INTERRUPTED = 130
_TO_BE_JUDGED = "to-be-judged.csv"


@dataclass(frozen=True)
class _Asked:
    """What the command was asked for."""

    space: str
    model: str | None
    adapter: str | None
    any_weights: bool
    traces: Sequence[str]
    only: Sequence[str]
    axes: Sequence[str]
    judge: str | None
    material: Path | None
    n: int | None
    contexts: int | None
    random: int | None
    turns: int | None
    doses: tuple[float, ...] | None
    thinking: bool
    tokens: int | None
    seed: int
    device: str | None
    dtype: str | None
    report: Path | None


def _doses(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    """Numbers written 0.2,0.4."""
    if value is None:
        return None
    try:
        doses = tuple(float(each) for each in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is no list of numbers, such as 0.2,0.4", context, parameter) from None
    if not all(0 < dose <= 10 for dose in doses):
        told = "doses are shares of the residual stream's length, above 0 and at most 10"
        raise click.BadParameter(told, context, parameter)
    return doses


@click.command(
    "test",
    epilog="""
\b
Examples:
  individuate space test space.safetensors                               (what its points show; no model is run)
  individuate space test organism --model organism --report tested       (a few minutes)
  individuate space test space.safetensors --only H3 --trace drift.db
  individuate space test space.safetensors --model Qwen/Qwen3-8B --judge model:same -o tested.safetensors
""",
)
@click.argument("space")
@click.option(
    "--model", "-m", metavar="MODEL", help="Ask the space's model too: a folder, a name on the Hub, organism."
)
@click.option("--adapter", metavar="FOLDER", help="A LoRA adapter on the model.")
@click.option("--any-weights", is_flag=True, help="Use the space on other weights of the same shape.")
@click.option(
    "--trace",
    "traces",
    multiple=True,
    metavar="TRACE",
    help="Test H3 on the assistant's turns that were recorded here.",
)
@click.option(
    "--only",
    type=click.Choice(_HYPOTHESES, case_sensitive=False),
    multiple=True,
    help="One hypothesis; may be repeated.",
)
@click.option(
    "--axis", "axes", multiple=True, metavar="NAME",
    help="Steer along this axis; may be repeated.  [default: those named as a persona that there is pressure for]",
)  # fmt: skip
@click.option(
    "--judge", metavar="JUDGE",
    help="Who judges answers: grammar (the organism's), model:NAME (model:same: the one that answers), or a CSV or "
    "JSONL file of scores.  [default: grammar on an organism]",
)  # fmt: skip
@click.option(
    "--material", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="What users say: a JSON file (docs/experiments.md).  [default: words that fit the model]",
)  # fmt: skip
@click.option(
    "--n",
    type=click.IntRange(2),
    metavar="N",
    help="Answers to each question, conversations from each start.  [default: 6]",
)
@click.option("--contexts", type=click.IntRange(2), metavar="N", help="Unrelated questions.  [default: 10]")
@click.option("--random", type=click.IntRange(1), metavar="N", help="Random directions for comparison.  [default: 19]")
@click.option("--turns", type=click.IntRange(1), metavar="N", help="Exchanges without pressure.  [default: 5]")
@click.option(
    "--doses", callback=_doses, metavar="X,X,...",
    help="How hard to steer, as shares of the residual stream's length; the best is chosen.  [default: 0.1 to 0.8]",
)  # fmt: skip
@click.option("--thinking", is_flag=True, help="Let the model think before it answers, where its template can.")
@click.option(
    "--tokens",
    type=click.IntRange(1),
    metavar="N",
    help="An answer's length at most.  [default: 160; on an organism 64]",
)
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Everything random hangs on it.")
@click.option("--device", metavar="DEVICE", help="cpu, cuda, mps, ...  [default: the best there is]")
@click.option("--dtype", metavar="DTYPE", help="float32, bfloat16, float16.  [default: the checkpoint's]")
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="A new space file that says what was found, and whether its regions are discrete.",
)  # fmt: skip
@click.option(
    "--report", type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER",
    help="Write a report, tables and plots; answers are kept here, so that a test that was stopped goes on.",
)  # fmt: skip
@click.option(
    "--format", "format_", type=click.Choice(["text", "json"]), default="text", show_default=True,
    help="How the outcome is printed.",
)  # fmt: skip
@click.pass_context
def test(
    context: click.Context,
    space: str,
    model: str | None,
    adapter: str | None,
    any_weights: bool,
    traces: tuple[str, ...],
    only: tuple[str, ...],
    axes: tuple[str, ...],
    judge: str | None,
    material: Path | None,
    n: int | None,
    contexts: int | None,
    random: int | None,
    turns: int | None,
    doses: tuple[float, ...] | None,
    thinking: bool,
    tokens: int | None,
    seed: int,
    device: str | None,
    dtype: str | None,
    output: Path | None,
    report: Path | None,
    format_: str,
) -> None:
    """Test the paper's three hypotheses about personas on one persona SPACE.

    H1: a direction is a gateway: steering along it changes how unrelated questions are answered, as random directions
    do not. H2: the space has few dimensions. H3: its regions are places where the model stays, not lines drawn through
    a continuum. Without --model only points are looked at (H2, and a part of H3).

    SPACE is a file, or organism for the space that comes with it.
    """
    from traces.errors import TraceError

    asked = _Asked(
        space, model, adapter, any_weights, traces, [name.upper() for name in only] or _HYPOTHESES, axes, judge,
        material, n, contexts, random, turns, doses, thinking, tokens, seed, device, dtype, report,
    )  # fmt: skip
    if output is not None and output.exists():
        raise TraceError(str(output), "it is there already", "a new file")
    if model is None and (given := _for_models_only(asked)):
        raise TraceError(given, "it is given, but no model is asked", "--model as well")
    with mechanism_extra("individuate space test"):
        import torch

        from individuation.outcomes.text import show
        from individuation.recording.steps import Steps
    kept = (
        "" if report is None else f" What was answered is kept in {report}: the same command again goes on from there."
    )
    try:
        with Steps() as steps:
            outcome, files, discrete = _tested(asked, output, steps)
    except KeyboardInterrupt:
        click.echo(f"Stopped.{kept}", err=True)
        context.exit(_INTERRUPTED)
    except torch.OutOfMemoryError as error:
        expected = "a smaller --dtype or model" + ("" if report is None else "; what was answered stays")
        raise TraceError(model or space, "a device has no memory left", expected) from error
    if format_ == "json":
        told = {**outcome.to_dict(), "discrete": discrete}
        click.echo(json.dumps(told, ensure_ascii=False, indent=1, allow_nan=False))
        return
    # A report has the tables; the terminal would be full of them.
    show(outcome if report is None else replace(outcome, tables=()), files)


def _for_models_only(asked: _Asked) -> str | None:
    given = {
        "--adapter": asked.adapter, "--judge": asked.judge, "--material": asked.material, "--axis": asked.axes,
        "--n": asked.n, "--contexts": asked.contexts, "--random": asked.random, "--turns": asked.turns,
        "--doses": asked.doses, "--tokens": asked.tokens, "--device": asked.device, "--dtype": asked.dtype,
    }  # fmt: skip
    return next((name for name, value in given.items() if value), None)


def _tested(asked: _Asked, output: Path | None, steps: Steps) -> tuple[Outcome, list[str], bool | None]:
    from individuation.outcomes.writing import write
    from mechanism.hypotheses.tested import hypotheses_tested
    from mechanism.judges.scores_file import ScoresFile

    host = _host(asked, steps)
    space = _space(asked, host)
    points = _points(asked, space) if asked.traces else None
    bench = None if host is None else _bench(asked, host, space, steps)
    steps.begin("Testing")
    found = hypotheses_tested(space, bench, points=points, which=asked.only, axes=asked.axes, seed=asked.seed)
    outcome = found.outcome
    files: list[str] = []
    if bench is not None and isinstance(bench.judge, ScoresFile) and bench.judge.missing:
        path = (asked.report or Path()) / _TO_BE_JUDGED
        path.parent.mkdir(parents=True, exist_ok=True)
        bench.judge.write_missing(path)
        outcome = bench.judge.said_missing(outcome, path)
    if output is not None:
        space.replaced(discrete=found.discrete, tested=found.summary).save(output)
        files.append(str(output))
        outcome = replace(outcome, next=[f"individuate space show {output}", *outcome.next])
    if asked.report is not None:
        steps.begin("Writing")
        files += [str(path) for path in write(outcome, asked.report)]
    return outcome, files, found.discrete


def _host(asked: _Asked, steps: Steps) -> Host | None:
    if asked.model is None:
        return None
    from mechanism.judges.choosing import checked

    if asked.judge is not None:
        checked(asked.judge)
    steps.begin(f"Loading {asked.model}")
    from individuation.experiments.running import load_host

    return load_host(asked.model, asked.device, asked.dtype, asked.adapter, thinking=asked.thinking)


def _space(asked: _Asked, host: Host | None) -> PersonaSpace:
    """The space, with the digest of the model that is asked, where it is used on other weights."""
    from individuation.recording.places import space_file
    from mechanism.vectors import load_vectors

    space = load_vectors(space_file(asked.space), model=None if host is None else host.facts())
    if host is None:
        return space
    space.check_fits(host, force=asked.any_weights)
    return space.replaced(model_digest=host.digest) if space.model_digest != host.digest else space


def _bench(asked: _Asked, host: Host, space: PersonaSpace, steps: Steps) -> Bench:
    from mechanism.experiments.material import material_for
    from mechanism.hypotheses.bench import Bench, Size
    from mechanism.judges.choosing import chosen
    from mechanism.organism import is_organism

    sized: dict[str, Any] = {
        name: value
        for name, value in {
            "answers": asked.n, "contexts": asked.contexts, "random": asked.random, "turns": asked.turns,
        }.items()
        if value is not None
    }  # fmt: skip
    size = Size(**sized) if asked.doses is None else Size(**sized, doses=asked.doses)
    usual = 64 if is_organism(host) else 160

    def on_progress(doing: str, done: int, total: int) -> None:
        steps.at(doing, done, total)

    return Bench(
        host,
        space,
        chosen(asked.judge, host),
        material_for(host, asked.material),
        seed=asked.seed,
        size=size,
        folder=asked.report,
        most=asked.tokens or usual,
        on_progress=on_progress,
    )


def _points(asked: _Asked, space: PersonaSpace) -> Points:
    from individuation.spaces.recorded_points import recorded_points
    from mechanism.hypotheses.tested import Points

    values, groups = recorded_points([Path(path) for path in asked.traces], space)
    return Points(values, groups, f"the assistant's turns in {', '.join(Path(path).name for path in asked.traces)}")
