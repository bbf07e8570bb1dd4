"""The process of a server: it hosts models and answers the calls of one session after another.

Started by `mechanism.worker_server`, which gives it the address to come back to and a secret in its environment.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import traceback
from typing import Any

import torch

from mechanism.local_server import LocalServer
from mechanism.server import OnToken
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
    `{"stop": true}`, sent before the answer came, ends it early: with `{"stopped": true}`, unless it was too late.
    """
    while True:
        try:
            asked = receive(connection)
        except (EOFError, ConnectionError):
            return
        except TraceError as error:
            # Of a frame that came whole and holds nothing that is known here; the next one may.
            send(connection, {"error": [error.where, error.found, error.expected]})
            continue
        if "stop" in asked:
            # It did its work by coming, or came too late.
            continue
        name, arguments = asked["call"], asked["with"]
        try:
            if name == "close":
                send(connection, {"value": None})
                return
            if name == "generate" and arguments.pop("stream", False):
                arguments["on_token"] = _telling(connection)
            try:
                send(connection, {"value": called(server, name, arguments)})
            except TraceError as error:
                send(connection, {"error": [error.where, error.found, error.expected]})
            except _StoppedError:
                send(connection, {"stopped": True})
            except ConnectionError:
                raise
            except Exception:
                # Said to whoever asked, who raises it: this process goes on for other calls.
                send(connection, {"fault": traceback.format_exc()})
        except ConnectionError:
            return


class _StoppedError(Exception):
    """Whoever asked does not want the rest."""


def _telling(connection: socket.socket) -> OnToken:
    def tell(token: int) -> None:
        send(connection, {"token": token})
        # While it waits for an answer, the other side sends nothing but that it has had enough, or it goes.
        if select.select([connection], [], [], 0)[0]:
            raise _StoppedError

    return tell


def called(server: LocalServer, name: str, arguments: dict[str, Any]) -> Any:
    """What a server answers to a call. Raises `TraceError` for one that it does not know."""
    if name not in METHODS:
        raise TraceError(f"server {server.name}", f'"{name}" is nothing that it does', ", ".join(sorted(METHODS)))
    if name == "hardware":
        return server.hardware
    return getattr(server, name)(**arguments)


def main() -> None:
    """`python -m mechanism.worker PORT NAME [THREADS]`."""
    # Ctrl-C goes to all processes of a terminal; what it means is for the one that talks to the user.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    port, name = int(sys.argv[1]), sys.argv[2]
    if len(sys.argv) > 3:
        torch.set_num_threads(int(sys.argv[3]))
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        send(connection, {"secret": os.environ.pop(SECRET, ""), "pid": os.getpid()})
        serve(connection, LocalServer(name))


if __name__ == "__main__":
    main()
