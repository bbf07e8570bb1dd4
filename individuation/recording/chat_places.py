"""Where a chat can go: the models that were asked for, and the servers, each started when it is first wanted."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from individuation.recording.places import spaces_for
from mechanism.host import model_folder
from mechanism.local_server import LocalServer
from mechanism.organism import DTYPE, trained_here
from mechanism.processed import Answering
from mechanism.server import ModelRequest, Server
from mechanism.space import PersonaSpace
from mechanism.worker_server import WorkerServer

HERE = "local"
"""The server in the chat's own process."""


class Places:
    """Models on servers. `device` and `dtype` are those of `Host.load`; an organism is float32 where none is given.
    `spaces` are files of the first model's spaces; where none are given, and for later models, it is the space in the
    model's own folder.
    """

    def __init__(self, device: str | None = None, dtype: str | None = None, spaces: Sequence[str] = ()) -> None:
        self.device = device
        self.dtype = dtype
        self._given = tuple(spaces)
        self.servers: dict[str, Server] = {HERE: LocalServer(HERE)}
        self._requests: dict[tuple[str, str], ModelRequest] = {}

    def model(self, name: str, server: str = HERE) -> tuple[Answering, list[PersonaSpace]]:
        """A model on a server that is there, and the spaces that it is probed with.

        Raises `TraceError` where it cannot be loaded, or none of the given spaces is of the first model.
        """
        dtype = DTYPE if self.dtype is None and is_organism(name) else self.dtype
        request = ModelRequest(name, self.device, dtype)
        answering = self._on(server, request)
        given, self._given = self._given, ()
        return answering, spaces_for([answering], [request], given, any_weights=False)

    def same_model(self, now: Answering, server: str) -> Answering:
        """The model that answers now, on another server, which is started if need be."""
        if server not in self.servers:
            self.servers[server] = WorkerServer(server)
        return self._on(server, self._requests[now.server.name, now.model.key])

    def next_server(self, now: str) -> str:
        """The server to go to where none is named: the next one there is, or a new one where there is only one."""
        names = list(self.servers)
        if len(names) > 1:
            return names[(names.index(now) + 1) % len(names)]
        return next(name for number in count(2) if (name := f"server-{number}") not in self.servers)

    def close(self) -> None:
        """End all servers."""
        for server in self.servers.values():
            server.close()

    def _on(self, server: str, request: ModelRequest) -> Answering:
        answering = Answering.on(self.servers[server], request)
        self._requests[server, answering.model.key] = request
        return answering


def is_organism(model: str) -> bool:
    """Whether it is a model with planted personas: a shipped one, or one that `individuate organism train` made."""
    return trained_here(model_folder(model))
