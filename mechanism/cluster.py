"""Servers as Ray actors: one for each GPU, on as many machines as the user's Ray cluster has (extra `cluster`).

The actor runs the same `LocalServer` as a process of `worker_server` does, and is told the same words.
"""

from __future__ import annotations

import traceback
from typing import Any

from mechanism.calling_server import CallingServer
from mechanism.local_server import LocalServer
from mechanism.server import OnToken
from mechanism.wire import decode, encode
from mechanism.worker import called
from traces.errors import TraceError

START_SECONDS = 120.0
"""How long an actor may take to start, the installation of its environment included."""


class ServerActor:
    """What runs in the actor: a `LocalServer`, called with frames (`mechanism.wire`)."""

    def __init__(self, name: str) -> None:
        self._server = LocalServer(name)

    def call(self, frame: bytes) -> bytes:
        """Answer one call; an error comes back as data."""
        try:
            asked = decode(frame)
            return encode({"value": called(self._server, asked["call"], asked["with"])})
        except TraceError as error:
            return encode({"error": [error.where, error.found, error.expected]})
        except Exception:
            return encode({"fault": traceback.format_exc()})


class ClusterServer(CallingServer):
    """A server as a Ray actor. `gpus` is how many GPUs it is given; where the cluster has none, 0.

    `on` pins it to a node of the cluster, by Ray's node id; None lets Ray choose. Tokens of a reply come when the reply
    is whole. Raises `TraceError` where Ray is not installed, or has no room for the actor.
    """

    def __init__(self, name: str, *, gpus: float = 1, on: str | None = None, address: str | None = None) -> None:
        super().__init__(name)
        self._ray = _ray()
        if not self._ray.is_initialized():
            self._ray.init(address=address, log_to_driver=False, include_dashboard=False)
        # No CPU is reserved: it would keep a machine with more GPUs than idle cores, or none, from holding them all.
        options: dict[str, Any] = {"num_gpus": gpus, "num_cpus": 0}
        if on is not None:
            from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node_id=on, soft=False)
        if gpus > float(self._ray.cluster_resources().get("GPU", 0)):
            found = f"the Ray cluster has {self._ray.cluster_resources().get('GPU', 0):g} GPUs"
            raise TraceError(f"server {name}", found, f"{gpus:g} for each server; or gpus=0 for the CPU")
        self._actor = self._ray.remote(ServerActor).options(**options).remote(name)
        try:
            self._ray.get(self._actor.__ray_ready__.remote(), timeout=START_SECONDS)
        except (self._ray.exceptions.GetTimeoutError, self._ray.exceptions.RayActorError):
            self.close()
            found = f"Ray could not start an actor with {gpus:g} GPUs in {START_SECONDS:g} seconds"
            raise TraceError(f"server {name}", found, "a cluster with room for it") from None

    def call(self, method: str, on_token: OnToken | None = None, /, **arguments: Any) -> Any:
        """Have the actor do something (`CallingServer.call`)."""
        frame = encode({"call": method, "with": arguments})
        try:
            answer = decode(self._ray.get(self._actor.call.remote(frame)))
        except self._ray.exceptions.RayActorError:
            raise TraceError(f"server {self.name}", "its Ray actor has ended", "an actor that lives") from None
        if "error" in answer:
            raise TraceError(*answer["error"])
        if "fault" in answer:
            raise RuntimeError(f"in the actor of server {self.name}:\n{answer['fault']}")
        value = answer["value"]
        if on_token is not None:
            for token in value.ids:
                on_token(token)
        return value

    def close(self) -> None:
        """End the actor; the cluster goes on."""
        self._ray.kill(self._actor)


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise TraceError("Ray", "it is not installed", "pip install 'individuate[cluster]'") from None
    return ray
