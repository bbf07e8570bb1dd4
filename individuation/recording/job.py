"""The work of `individuate record`: everything checked first, then conversation after conversation into the trace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import torch

from individuation.cli.terminal import count, some
from individuation.recording.places import LOCAL, Places, spaces_for
from individuation.recording.steps import Steps
from mechanism.connections import Connections
from mechanism.conversation_file import Conversations
from mechanism.local_server import LocalServer
from mechanism.processed import Answering
from mechanism.reading import Way, check, read_in_one_pass, read_on_servers
from mechanism.recorder import Recorder
from mechanism.session import Handover
from mechanism.space import PersonaSpace
from traces.errors import TraceError

__all__ = ["Job", "Places"]

_NOTHING = "none"


@dataclass
class Job:
    """What is to be recorded, and how. `done` and `there` count conversations: recorded now, and there before."""

    store: Path
    title: str | None
    keep_text: bool
    per_token: bool
    places: Places
    spaces: Sequence[str]
    any_weights: bool
    layers: Sequence[int] | None
    route: str | None
    handover: Handover
    resume_caches: bool
    generate: bool
    sampling: Mapping[str, Any]
    seed: int
    connections: bool
    done: int = field(default=0, init=False)
    there: int = field(default=0, init=False)
    turns: int = field(default=0, init=False)
    total: int = field(default=0, init=False)
    begun: bool = field(default=False, init=False)
    whole: int = field(default=0, init=False)
    """Of the turns recorded, how many are of conversations that came to their end."""

    def run(self, context: click.Context, conversations: Conversations) -> None:
        """Do it, and say what was done. Raises `TraceError`."""
        try:
            places = self._run(context, conversations)
        except torch.OutOfMemoryError as error:
            context.meta["individuation.kept"] = self._kept()
            expected = "shorter conversations, a smaller --dtype or model, or --device-map auto"
            raise TraceError(str(self.store), "a device has no memory left", expected) from error
        except (TraceError, KeyboardInterrupt):
            context.meta["individuation.kept"] = self._kept()
            raise
        self._say(places)

    def _run(self, context: click.Context, conversations: Conversations) -> list[Answering]:
        with Steps() as steps, ExitStack() as stack:
            steps.begin("Reading files")
            # What is no conversation is refused before a model is loaded, which may take long.
            self.total = sum(1 for _ in conversations)
            steps.begin("Loading " + some([request.name for request in self.places.requests], 3))
            places = self.places.open(stack)
            spaces = self._spaces(places)
            steps.begin("Checking", self.total)
            check(places, conversations, generate=self.generate, on_checked=lambda _: steps.advance())
            recorder = Recorder(
                self.store,
                space=spaces,
                layers=self.layers,
                keep_text=self.keep_text,
                per_token=self.per_token,
                title=self.title,
                resume=True,
            )
            with recorder:
                context.meta["individuation.writes"], self.begun = False, True
                steps.begin("Recording", self.total)
                try:
                    self._record(recorder, places, conversations, steps)
                finally:
                    self.turns = recorder.turns
            return places

    def _spaces(self, places: Sequence[Answering]) -> list[PersonaSpace]:
        if list(self.spaces) == [_NOTHING]:
            return []
        spaces = spaces_for(places, self.places.requests, self.spaces, any_weights=self.any_weights)
        if not spaces:
            names = " and ".join(request.name for request in self.places.requests)
            expected = "--space FILE; or --space none, to record caches and servers without coordinates"
            raise TraceError(names, "no persona space comes with it, and none is given", expected)
        return spaces

    def _record(
        self, recorder: Recorder, places: Sequence[Answering], conversations: Conversations, steps: Steps
    ) -> None:
        connections = Connections(on_progress=steps.within) if self.connections else None

        def on_done(key: str, there: bool) -> None:
            self.done, self.there = self.done + (not there), self.there + there
            self.whole = recorder.turns
            steps.advance()

        server = places[0].server
        one_pass = len(places) == 1 and isinstance(server, LocalServer) and recorder.spaces
        if one_pass and self.route is None and not self.generate and isinstance(server, LocalServer):
            host = server.host(places[0].model.key)
            read_in_one_pass(recorder, host, conversations, server=LOCAL, connections=connections, on_done=on_done)
            return
        way = Way(self.route or "round-robin", self.handover, self.resume_caches, self.generate)
        read_on_servers(
            recorder,
            places,
            conversations,
            way,
            seed=self.seed,
            sampling=dict(self.sampling),
            connections=connections,
            on_done=on_done,
        )

    # --- what is said

    def _kept(self) -> str:
        """What stays of a recording that did not come to its end; empty where nothing was written."""
        if not self.begun:
            return ""
        have = f"{count(self.done + self.there, 'conversation')} of {self.total:,}"
        more = ", and the first turns of another" if self.turns > self.whole else ""
        return f"{self.store} holds {have}{more}; the same command goes on from there."

    def _say(self, places: Sequence[Answering]) -> None:
        models = dict.fromkeys(place.model.key for place in places)
        servers = dict.fromkeys(place.server.name for place in places)
        on = f" on {some(list(servers), 5)}" if self.places.names else ""
        before = f" {count(self.there, 'conversation')} {'was' if self.there == 1 else 'were'} there already."
        if self.done:
            what = f"{count(self.done, 'conversation')}, {count(self.turns, 'stage')} recorded"
            said = f"{self.store}: {what} with {some(list(models), 5)}{on}.{before if self.there else ''}"
        else:
            said = f"{self.store}: nothing to do.{before}"
        click.echo(f"{said} Next: individuate {self.store}")
