"""The work of `individuate experiment NAME`: model, space, judge and material, then the run, then the report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from individuation.outcomes.text import show
from individuation.outcomes.writing import write
from individuation.recording.places import SPACE, space_file
from individuation.recording.steps import Steps
from mechanism.experiments.catalogue import Entry
from mechanism.experiments.experiment import Setting, conduct, experiment
from mechanism.experiments.material import ASSISTANT, material_for
from mechanism.host import ORGANISMS, Host, model_folder
from mechanism.judges.choosing import chosen as chosen_judge
from mechanism.judges.scores_file import ScoresFile
from mechanism.organism import DTYPE, is_organism, trained_here
from mechanism.space import PersonaSpace
from mechanism.vectors import load_vectors
from traces.errors import TraceError, UnknownNameError

_INTERRUPTED = 130
TO_BE_JUDGED = "to-be-judged.csv"


@dataclass(frozen=True)
class Asked:
    """What the command was asked for."""

    folder: Path
    options: Mapping[str, Any]
    model: str
    adapter: str | None
    space: str | None
    any_weights: bool
    judge: str | None
    material: Path | None
    persona: str
    axis: str | None
    layer: int | None
    n: int | None
    thinking: bool
    tokens: int | None
    temperature: float | None
    seed: int
    device: str | None
    dtype: str | None
    format_: str
    other: str | None = None


def run_experiment(context: click.Context, entry: Entry, asked: Asked) -> None:
    """Do it, write it, and say it. Raises `TraceError`."""
    kept = f"What was done is in {asked.folder}: the same command again goes on from there."
    begun = False
    try:
        with Steps() as steps:
            steps.begin(f"Loading {asked.model}")
            setting = _setting(entry, asked, steps)
            setting.begin(entry.name)
            begun, context.meta["individuation.kept"] = True, kept
            try:
                outcome = conduct(experiment(entry.name), setting)
            except TraceError:
                if setting.withdraw():
                    del context.meta["individuation.kept"]
                raise
            steps.begin("Writing")
            judge = setting.judge
            if isinstance(judge, ScoresFile) and judge.missing:
                path = asked.folder / TO_BE_JUDGED
                judge.write_missing(path)
                outcome = judge.said_missing(outcome, path)
            files = write(outcome, asked.folder)
    except KeyboardInterrupt:
        click.echo(f"Stopped. {kept if begun else 'Nothing was written.'}", err=True)
        context.exit(_INTERRUPTED)
    if asked.format_ == "json":
        click.echo(json.dumps(outcome.to_dict(), ensure_ascii=False, indent=1, allow_nan=False))
        return
    show(outcome, [str(path) for path in files])


def _setting(entry: Entry, asked: Asked, steps: Steps) -> Setting:
    host = load_host(asked.model, asked.device, asked.dtype, asked.adapter, thinking=asked.thinking)
    space = space_of(host, asked)
    axis = asked.axis or (ASSISTANT if ASSISTANT in space.axes else space.axes[0])
    if axis not in space.axes:
        raise UnknownNameError("--axis", "axis", axis, space.axes)
    material, judge = material_for(host, asked.material), chosen_judge(asked.judge, host)
    if isinstance(judge, ScoresFile) and not judge.there:
        click.echo(f"{asked.judge} is not there yet: answers will be written out to be judged.", err=True)
    if asked.persona not in material.personas:
        raise UnknownNameError("--persona", "persona", asked.persona, material.personas)

    def on_progress(doing: str, done: int, total: int) -> None:
        steps.at(doing, done, total)

    return Setting(
        host=host,
        space=space,
        judge=judge,
        material=material,
        folder=asked.folder,
        seed=asked.seed,
        size=asked.n,
        persona=asked.persona,
        axis=axis,
        layer=space.layer if asked.layer is None else asked.layer,
        other=_other(entry, asked, host),
        options=asked.options,
        on_progress=on_progress,
        sampling=_sampling(asked),
    )


def _sampling(asked: Asked) -> dict[str, Any]:
    """What of it is asked for otherwise than usual."""
    sampling: dict[str, Any] = {} if asked.tokens is None else {"max_new_tokens": asked.tokens}
    if asked.temperature == 0:
        return sampling | {"do_sample": False}
    return sampling if asked.temperature is None else sampling | {"do_sample": True, "temperature": asked.temperature}


def load_host(
    model: str,
    device: str | None = None,
    dtype: str | None = None,
    adapter: str | None = None,
    *,
    thinking: bool = False,
) -> Host:
    """A model, which thinks before it replies only where that is said and its template can be told.

    An organism is run in float32 where nothing else is said, for it is stored in less than it is meant for. Raises
    `TraceError` as `Host.load` does.
    """
    small = trained_here(model_folder(model))
    host = Host.load(model, device, dtype or (DTYPE if small else None), adapter=adapter)
    if not thinking:
        host.template = host.template.without_thinking()
    return host


def space_of(host: Host, asked: Asked) -> PersonaSpace:
    """The space that is given, or the one in the model's own folder. Raises `TraceError` where it does not fit."""
    path = None if asked.space is None else space_file(asked.space)
    if path is None:
        folders = [model_folder(name) for name in (asked.adapter, asked.model) if name is not None]
        path = next((each / SPACE for each in folders if each is not None and (each / SPACE).is_file()), None)
    if path is None:
        found = "no persona space comes with it, and none is given"
        raise TraceError(asked.model, found, "--space FILE (individuate space fit makes one)")
    space = load_vectors(path, model=host.facts())
    # An adapter changes the weights, and the space of its base is what the change is measured in.
    space.check_fits(host, force=asked.any_weights or (asked.space is None and asked.adapter is not None))
    return space.replaced(model_digest=None) if space.model_digest != host.digest else space


def _other(entry: Entry, asked: Asked, host: Host) -> Host | None:
    if not entry.second:
        return None
    name = asked.other
    if name is None:
        if not is_organism(host):
            raise TraceError("--other", "no second model is given", "a model with another's weights (--other)")
        name = next(each for each in ORGANISMS if each != host.name)
    return load_host(name, asked.device, asked.dtype, thinking=asked.thinking)
