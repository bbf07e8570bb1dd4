"""The process of a server: it hosts models and answers the calls of one session after another.

Started by `mechanism.worker_server`, which gives it the address to come back to and a secret in its environment.
"""

from __future__ import annotations

import os
import socket
import sys
import traceback
from typing import Any

import torch

from mechanism.local_server import LocalServer
from mechanism.wire import receive, send
from traces.errors import TraceError

SECRET = "INDIVIDUATE_WORKER_SECRET"
METHODS = frozenset(
    {
        "adopt", "compare", "define", "drop", "edit", "export", "feed", "fork", "generate", "load", "open", "probe",
        "state", "hardware",
    }
)  # fmt: skip
"""What may be called from outside."""


def serve(connection: socket.socket, server: LocalServer) -> None:
    """Answer calls until the other side goes or says `close`.

    A call is `{"call": name, "with": arguments}`. Answers are `{"token": id}` for each token on the way, then
    `{"value": ...}`, `{"error": [where, found, expected]}` or, for a fault of the program, `{"fault": traceback}`.
    """
    while True:
        try:
            asked = receive(connection)
        except (EOFError, ConnectionError):
            return
        name, arguments = asked["call"], asked["with"]
        if name == "close":
            send(connection, {"value": None})
            return
        try:
            send(connection, {"value": _called(connection, server, name, arguments)})
        except TraceError as error:
            send(connection, {"error": [error.where, error.found, error.expected]})
        except Exception:
            # Said to whoever asked, who raises it: this process goes on for other calls.
            send(connection, {"fault": traceback.format_exc()})


def _called(connection: socket.socket, server: LocalServer, name: str, arguments: dict[str, Any]) -> Any:
    if name not in METHODS:
        raise TraceError(f"server {server.name}", f'"{name}" is nothing that it does', ", ".join(sorted(METHODS)))
    if name == "hardware":
        return server.hardware
    if name == "generate" and arguments.pop("stream", False):
        arguments["on_token"] = lambda token: send(connection, {"token": token})
    return getattr(server, name)(**arguments)


def main() -> None:
    """`python -m mechanism.worker PORT NAME [THREADS]`."""
    port, name = int(sys.argv[1]), sys.argv[2]
    if len(sys.argv) > 3:
        torch.set_num_threads(int(sys.argv[3]))
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        send(connection, {"secret": os.environ.pop(SECRET, ""), "pid": os.getpid()})
        serve(connection, LocalServer(name))


if __name__ == "__main__":
    main()
