"""`individuate space fit`: ask a model for roles and traits, and make a persona space of what is found."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from individuation.recording.extra import mechanism_extra, needs_torch
from mechanism.judges.choosing import checked
from mechanism.judges.scores_file import SUFFIXES, ScoresFile
from mechanism.organism import is_organism
from mechanism.roles import RoleSet, read_questions, read_roles, read_trait
from traces.errors import TraceError

_INTERRUPTED = 130
_ORGANISMS_TOKENS, _TOKENS = 64, 512


@click.command(
    epilog="""
\b
Examples:
  individuate space fit --model organism --roles organism -o space.safetensors
  individuate space fit --model Qwen/Qwen3-8B --roles data/roles/instructions
      --questions data/extraction_questions.jsonl --judge model:same -o qwen.safetensors
  individuate space fit --model Qwen/Qwen3-8B --roles role_list.json --questions questions.txt
      --trait evil.json --trait sycophantic.json --components 3 -o qwen.safetensors
"""
)
@click.option("--output", "-o", required=True, metavar="FILE", help="A new file for the space (.safetensors).")
@click.option(
    "--model",
    "-m",
    default="organism",
    show_default=True,
    metavar="MODEL",
    help="A folder, a name on the Hugging Face Hub, organism or organism-b.",
)
@click.option("--adapter", metavar="FOLDER", help="A LoRA adapter on the model.")
@click.option(
    "--roles",
    "-r",
    required=True,
    metavar="ROLES",
    help="Roles to ask for: a folder of role files of the assistant-axis repository, its role_list.json, a "
    "JSON file of your own (docs/spaces.md), or organism.",
)
@click.option(
    "--questions", metavar="FILE", help="What all are asked: .jsonl, .json or .txt.  [default: the roles' own]"
)
@click.option(
    "--trait",
    "traits",
    multiple=True,
    metavar="FILE",
    help="A trait that gets an axis: a file of Chen et al. (may be given more than once).",
)
@click.option(
    "--components",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="K",
    help="So many principal components of the roles become axes, too: pc1, pc2, ...",
)
@click.option(
    "--layer",
    type=click.IntRange(0),
    metavar="N",
    help="The block at which coordinates are read, from 0.  [default: as published for the model, else half]",
)
@click.option(
    "--per-role",
    type=click.IntRange(2),
    default=24,
    show_default=True,
    metavar="N",
    help="Replies of each role; of the default and of each side of a trait four times as many.",
)
@click.option(
    "--judge",
    metavar="JUDGE",
    help="Who says whether a reply is in its role: grammar (the organism's), model:NAME, model:same, or a "
    "file of scores.  [default: grammar on an organism, else nobody: all replies are kept]",
)
@click.option(
    "--temperature",
    type=click.FloatRange(0, 2),
    default=0.7,
    show_default=True,
    metavar="T",
    help="How freely replies are sampled; 0: always the likeliest word.",
)
@click.option(
    "--top-p",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="P",
    help="Sample from the likeliest words that have this share of the probability.",
)
@click.option("--thinking", is_flag=True, help="Let the model think before it replies, where its template can.")
@click.option(
    "--tokens",
    type=click.IntRange(1),
    metavar="N",
    help=f"A reply's length at most, thinking included.  [default: {_TOKENS}; on an organism {_ORGANISMS_TOKENS}]",
)
@click.option("--name", metavar="NAME", help="What the space is called.  [default: the file's name]")
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Everything random hangs on it.")
@click.option("--device", metavar="DEVICE", help="cpu, cuda, mps, ...  [default: the best there is]")
@click.option("--dtype", metavar="DTYPE", help="float32, bfloat16, float16.  [default: the checkpoint's]")
@click.option("--restart", is_flag=True, help="Forget what a run that was stopped has done.")
@click.pass_context
def fit(
    context: click.Context,
    output: str,
    model: str,
    adapter: str | None,
    roles: str,
    questions: str | None,
    traits: tuple[str, ...],
    components: int,
    layer: int | None,
    per_role: int,
    judge: str | None,
    temperature: float,
    top_p: float | None,
    thinking: bool,
    tokens: int | None,
    name: str | None,
    seed: int,
    device: str | None,
    dtype: str | None,
    restart: bool,
) -> None:
    """Make a persona space: ask a model to be many roles, and see where its inner state is then.

    The assistant axis leads from the mean of all roles to the model as it is by default (Lu et al. 2026): + is
    assistant. A trait's axis leads from replies under prompts against it to replies under prompts for it (Chen et al.
    2025). The file also keeps the role cloud and the coordinates of every reply, from which regions are fitted.

    A run that was stopped goes on where it was when the command is given again; what is done lies in FILE.parts.
    """
    path = Path(output)
    _check_output(path)
    asked = _asked(roles, questions, traits)
    if judge is not None:
        checked(judge)
    needs_torch("individuate space fit")
    with mechanism_extra("individuate space fit"):
        import torch

        from individuation.experiments.running import load_host
        from individuation.recording.steps import Steps
        from individuation.spaces.description import described, said_of_fit
        from mechanism.asking import Fit
        from mechanism.judges.choosing import chosen
        from mechanism.space_fit import fit_space

    parts = path.with_name(path.name + ".parts")
    # Scores may have been added since: what was kept by the old ones is no longer what would be.
    scored = judge is not None and Path(judge).suffix in SUFFIXES
    if (restart or scored) and parts.is_dir():
        shutil.rmtree(parts)
    kept = "" if scored else f"What was done is in {parts}: the same command again goes on from there."
    try:
        with Steps() as steps:
            steps.begin(f"Loading {model}")
            host = load_host(model, device, dtype, adapter, thinking=thinking)
            own = is_organism(host)
            if own:
                # So small a model is no faster on several threads, and crawls with them on a busy machine.
                torch.set_num_threads(1)
            settings = Fit(
                per_role=per_role,
                layer=layer,
                components=components,
                temperature=temperature,
                top_p=top_p,
                most=tokens or (_ORGANISMS_TOKENS if own else _TOKENS),
                seed=seed,
            )
            judging = chosen(judge, host) if judge is not None or own else None
            if isinstance(judging, ScoresFile) and not judging.there:
                click.echo(f"{judge} is not there yet: replies will be written out to be judged.", err=True)
            if isinstance(descriptions := getattr(judging, "descriptions", None), dict):
                descriptions |= {role.name: role.description for role in asked.roles if role.description}
            context.meta["individuation.kept"] = kept
            with _all_scored(judging, path, parts):
                found = fit_space(
                    host, asked, name=name or path.stem, folder=parts, fit=settings, judge=judging,
                    on_progress=steps.at,
                )  # fmt: skip
            found.save(path)
    except KeyboardInterrupt:
        click.echo(f"Stopped. {kept}", err=True)
        context.exit(_INTERRUPTED)
    shutil.rmtree(parts)
    said_of_fit(described(found), path, organism=own)


def _asked(roles: str, questions: str | None, traits: tuple[str, ...]) -> RoleSet:
    asked = read_roles(roles)
    if questions is not None:
        asked = asked.with_questions(read_questions(questions))
    return asked.with_traits(tuple(read_trait(trait) for trait in traits))


@contextmanager
def _all_scored(judge: object, path: Path, parts: Path) -> Iterator[None]:
    """With a file of scores: no space is made before every reply has one. Those without are written to be judged."""
    error: TraceError | None = None
    try:
        yield
    except TraceError as raised:
        error = raised
    if isinstance(judge, ScoresFile) and judge.missing:
        wanted = path.with_name(f"{path.stem}-to-be-judged.csv")
        judge.write_missing(wanted)
        shutil.rmtree(parts, ignore_errors=True)
        found = f"{len(judge.missing):,} replies have no score yet; they are in {wanted}"
        expected = "score (0 to 10) or persona for each, added to the file of scores; then the same command again"
        raise TraceError("--judge", found, expected)
    if error is not None:
        raise error


def _check_output(path: Path) -> None:
    if path.suffix != ".safetensors":
        raise TraceError(str(path), "its name has another ending", "a name that ends in .safetensors")
    if path.exists():
        raise TraceError(str(path), "it is there already", "a name that is free, or remove it first")
    if not path.absolute().parent.is_dir():
        raise TraceError(str(path), "its folder does not exist", "a folder that exists")
