"""What every experiment is, and how one is conducted: begun or gone on with, run, its trace joined."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import ClassVar

import torch

from mechanism.experiments.catalogue import Entry, Option, entry
from mechanism.experiments.catalogue import experiment as experiment
from mechanism.experiments.setting import OnProgress, Setting
from mechanism.outcome import Finding, Outcome
from traces.errors import TraceError

__all__ = ["Experiment", "OnProgress", "Setting", "conduct", "experiment"]


class Experiment(ABC):
    """One experiment. What it asks and takes is in the catalogue, under its `name`; a module has it as `EXPERIMENT`."""

    name: ClassVar[str]

    @property
    def entry(self) -> Entry:
        """What the catalogue says of it."""
        return entry(self.name)

    @property
    def title(self) -> str:
        """It in a line."""
        return self.entry.title

    @property
    def question(self) -> str:
        """What it asks, in plain words."""
        return self.entry.question

    @property
    def source(self) -> str:
        """Where it comes from."""
        return self.entry.source

    @property
    def options(self) -> tuple[Option, ...]:
        """What it takes beside what all take."""
        return self.entry.options

    @abstractmethod
    def run(self, setting: Setting) -> Outcome:
        """Do it. Work that takes long goes through `setting.unit`, judging through `setting.judged`."""

    def number(self, setting: Setting) -> int:
        """How many of what it counts."""
        return setting.number(self.name)


_NOTHING = Finding("nothing", "Nothing could be told: no answer was judged.")


def conduct(experiment: Experiment, setting: Setting) -> Outcome:
    """Run an experiment in its folder, or go on with it where it was stopped, and join its trace.

    The outcome says what has to be known to do it again, and has the caveats of the setting first. Raises `TraceError`
    where the folder holds another run, and where a device has no memory left.
    """
    setting.begin(experiment.name)
    try:
        outcome = experiment.run(setting)
    except torch.OutOfMemoryError as error:
        expected = "a smaller --dtype or model; what was done stays"
        raise TraceError(setting.host.name, "a device has no memory left", expected) from error
    trace = setting.finish()
    following = (
        [] if trace is None else [f"individuate {trace}", f"individuate draw {trace} -o {trace.with_suffix('.svg')}"]
    )
    return replace(
        outcome,
        findings=outcome.findings or [_NOTHING],
        settings={**setting.facts(experiment.name), **outcome.settings},
        caveats=[*setting.caveats(), *outcome.caveats],
        next=[*following, *outcome.next],
    )
