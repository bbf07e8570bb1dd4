"""How far a long job is: a bar on a terminal; elsewhere a line now and then, so that a log says it too."""

from __future__ import annotations

import time
from types import TracebackType

import click

from individuation.cli.terminal import progress_bar

_SECONDS = 10.0
"""Between two lines where there is no terminal."""


class Steps:
    """Steps of one job after another, shown on standard error.

    >>> with Steps() as steps:
    ...     steps.begin("Recording", 2)
    ...     steps.advance()
    ...     steps.done
    1
    """

    def __init__(self) -> None:
        self._bar = progress_bar(worth_it=True)
        self._task = self._bar.add_task("", total=None, visible=False)
        self._said = 0.0
        self._doing, self._total = "", 0
        self.done = 0

    def begin(self, doing: str, total: int | None = None) -> None:
        """Another job, of so many steps where that is known."""
        self._doing, self._total, self.done = doing, total or 0, 0
        self._said = time.monotonic()
        self._bar.reset(self._task, total=total, description=doing, visible=True)

    def advance(self) -> None:
        """One step is done."""
        self.done += 1
        self._bar.update(self._task, completed=self.done, description=self._doing)
        if self._bar.disable and time.monotonic() - self._said > _SECONDS:
            self._said = time.monotonic()
            click.echo(f"{self._doing}: {self.done:,} of {self._total:,}", err=True)

    def at(self, doing: str, done: int, total: int) -> None:
        """How far a job is, told as a whole; another name begins another job."""
        if doing != self._doing or total != self._total:
            self.begin(doing, total)
        self.done = done - 1
        self.advance()

    def within(self, done: int, total: int) -> None:
        """How far the step is that is being taken."""
        self._bar.update(self._task, description=f"{self._doing} ({done:,} of {total:,} within)")

    def __enter__(self) -> Steps:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()
