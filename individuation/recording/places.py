"""Where conversations are recorded: models on servers, in this process, in processes of their own, or on a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from mechanism.host import model_folder
from mechanism.local_server import LocalServer
from mechanism.organism import DTYPE, trained_here
from mechanism.processed import Answering
from mechanism.server import ModelRequest, Server
from mechanism.space import PersonaSpace
from mechanism.vectors import load_vectors
from traces.errors import TraceError

LOCAL = "local"
"""What the server in this process is called."""

SPACE = "space.safetensors"
"""A space that lies in a model's folder is that model's."""


def space_file(space: str | Path) -> Path:
    """The file of a space as a command is given it: a path, or a model that a space comes with (`organism`)."""
    path = Path(space)
    folder = None if path.is_file() else model_folder(str(space))
    return folder / SPACE if folder is not None and (folder / SPACE).is_file() else path


@dataclass(frozen=True)
class Places:
    """The models that are asked for, and the servers that they are to run on.

    `names`: of servers that are processes of their own, or actors on a Ray cluster: each has one of the models, in
    turn, and one server alone has all. Without names, all models run in this process. `devices` are given to the
    servers in turn; where there are none, and this machine has several GPUs, those.
    """

    requests: Sequence[ModelRequest]
    names: Sequence[str] = ()
    devices: Sequence[str] = ()
    cluster: bool = False

    def open(self, stack: ExitStack) -> list[Answering]:
        """Load the models. Servers end with `stack`. Raises `TraceError`."""
        requests = [replace(request, dtype=request.dtype or _dtype(request.name)) for request in self.requests]
        if not self.names:
            here = LocalServer(LOCAL)
            return [Answering.on(here, request) for request in requests]
        with ThreadPoolExecutor(len(self.names)) as pool:
            # A process takes seconds to start, and loading takes longer. Ray is started by the first of its actors.
            servers = list(map(self._started, self.names) if self.cluster else pool.map(self._started, self.names))
            for server in servers:
                stack.callback(server.close)
            devices = self.devices or ([] if self.cluster else _several_gpus())
            asked: list[tuple[Server, ModelRequest]] = []
            for number in range(max(len(servers), len(requests))):
                at = number % len(servers)
                request = requests[number % len(requests)]
                if devices and request.device_map is None:
                    request = replace(request, device=devices[at % len(devices)])
                asked.append((servers[at], request))
            return list(pool.map(lambda each: Answering.on(*each), asked))

    def _started(self, name: str) -> Server:
        if self.cluster:
            from mechanism.cluster import ClusterServer

            gpus = 0 if list(self.devices) == ["cpu"] else 1
            try:
                return ClusterServer(name, gpus=gpus)
            except TraceError as error:
                if not gpus or "GPU" not in error.found:
                    raise
                expected = "a GPU for each server; or --device cpu"
                raise TraceError(error.where, error.found, expected) from None
        from mechanism.worker_server import WorkerServer

        return WorkerServer(name)


def _dtype(model: str) -> str | None:
    """An organism is stored in half the precision that it is meant to be run in; others as they are."""
    return DTYPE if trained_here(model_folder(model)) else None


def _several_gpus() -> list[str]:
    import torch

    count = torch.cuda.device_count()
    return [f"cuda:{number}" for number in range(count)] if count > 1 else []


@dataclass(frozen=True)
class _Loaded:
    """A model on a server as a space sees it."""

    name: str
    digest: str | None
    layers: int | None
    hidden: int


def spaces_for(
    places: Sequence[Answering],
    requests: Sequence[ModelRequest],
    given: Sequence[str],
    *,
    any_weights: bool,
) -> list[PersonaSpace]:
    """The spaces that the models are probed with: the files that are given, else those in the models' own folders.

    `any_weights`: a space may be used on other weights of the same shape. Raises `TraceError` for a space that fits
    none of the models.
    """
    models = {place.model.facts.digest: place for place in places}
    loaded = [_Loaded(p.model.key, p.model.facts.digest, p.model.facts.layers, p.model.hidden) for p in models.values()]
    facts = [place.model.facts for place in models.values()]
    spaces = []
    for path in [Path(file) for file in given] or _own(requests):
        space = _read(path, places) if len(facts) > 1 else load_vectors(path, model=facts[0])
        if any_weights:
            space = space.replaced(model_digest=None)
        refused: list[TraceError] = []
        for model in loaded:
            try:
                space.check_fits(model)
            except TraceError as error:
                refused.append(error)
        if len(refused) == len(loaded):
            first = refused[0]
            expected = "a space made for this model (--space), or none; --any-weights for one of the same shape"
            raise TraceError(f"{path}: {first.where}", first.found, expected)
        spaces.append(space)
    return spaces


def _read(path: Path, places: Sequence[Answering]) -> PersonaSpace:
    """A space that is for one of several models: the first that can have these vectors."""
    refused: TraceError | None = None
    for place in places:
        try:
            return load_vectors(path, model=place.model.facts)
        except TraceError as error:
            refused = refused or error
    raise refused or TraceError(str(path), "there is no model", "a model")


def _own(requests: Sequence[ModelRequest]) -> list[Path]:
    found: list[Path] = []
    for request in requests:
        folders = [model_folder(name) for name in (request.adapter, request.name) if name is not None]
        own = next((folder / SPACE for folder in folders if folder is not None and (folder / SPACE).is_file()), None)
        if own is not None and own not in found:
            found.append(own)
    return found
