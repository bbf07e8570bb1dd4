"""A server that is a process of its own on this machine, with models and caches in its own memory."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import threading
import time
import weakref
from contextlib import suppress
from typing import Any

from mechanism.calling_server import CallingServer
from mechanism.server import OnToken
from mechanism.wire import encode, receive
from mechanism.worker import SECRET
from traces.errors import TraceError

START_SECONDS = 120.0
"""How long a process may take to start: importing torch from a cold disk takes a while."""
GREETING_SECONDS = 5.0


class WorkerServer(CallingServer):
    """A server in a process of its own, started here and ended with `close`.

    The two speak over a socket on the loopback address; the process proves by a secret that it is the one started.
    `threads`: how many threads torch may use there. Raises `TraceError` where the process does not come up.

    >>> from mechanism.server import ModelRequest
    >>> with WorkerServer("texas", threads=1) as server:
    ...     server.load(ModelRequest("organism", device="cpu")).key
    'organism'
    """

    def __init__(self, name: str, *, threads: int | None = None) -> None:
        super().__init__(name)
        self._lock = threading.Lock()
        self._hardware: str | None = None
        secret = secrets.token_hex(16)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            command = [sys.executable, "-m", "mechanism.worker", str(port), name]
            # Its own output would be mixed with the answer of whoever asked.
            self.process = subprocess.Popen(
                command + ([] if threads is None else [str(threads)]),
                env={**os.environ, SECRET: secret},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
            self._connection = self._accepted(listener, secret)
        # Where nobody closes it, its process ends with this object or with this program.
        self._ended = weakref.finalize(self, _end, self._connection, self.process)

    def _accepted(self, listener: socket.socket, secret: str) -> socket.socket:
        listener.settimeout(0.2)
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            if self.process.poll() is not None:
                break
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # Anybody on this machine may connect, and is not waited for long.
            connection.settimeout(GREETING_SECONDS)
            with suppress(EOFError, TraceError, OSError):
                greeting = receive(connection, at_most=1 << 12)
                given = greeting.get("secret") if isinstance(greeting, dict) else None
                if secrets.compare_digest(str(given).encode(), secret.encode()):
                    connection.settimeout(None)
                    return connection
            connection.close()
        self.process.kill()
        self.process.wait()
        raise self._gone("its process did not start")

    def call(self, method: str, on_token: OnToken | None = None, /, **arguments: Any) -> Any:
        """Have the process do something (`CallingServer.call`). Raises `TraceError` where it has ended."""
        if on_token is not None:
            arguments["stream"] = True
        failed: Exception | None = None
        with self._lock:
            frame = encode({"call": method, "with": arguments})
            whole = False
            try:
                self._connection.sendall(frame)
                while "token" in (answer := receive(self._connection)):
                    # The caller may stop it, or what it does with a token fail; the answer is read to its end all the
                    # same, which is near.
                    if on_token is not None and failed is None:
                        try:
                            on_token(answer["token"])
                        except Exception as error:
                            failed = error
                            self._connection.sendall(encode({"stop": True}))
                whole = True
            except (EOFError, OSError):
                raise self._gone("its process has ended") from None
            finally:
                if not whole:
                    # An interrupt: the rest of the answer would be taken for that of the next call.
                    self._ended()
        if failed is not None:
            raise failed
        if "error" in answer:
            raise TraceError(*answer["error"])
        if "fault" in answer:
            raise RuntimeError(f"in the process of server {self.name}:\n{answer['fault']}")
        return answer["value"]

    @property
    def hardware(self) -> str:
        """What the server runs on."""
        if self._hardware is None:
            self._hardware = str(self.call("hardware"))
        return self._hardware

    def close(self) -> None:
        """End the process."""
        if self._ended.alive:
            with suppress(TraceError):
                self.call("close")
        self._ended()

    def _gone(self, found: str) -> TraceError:
        code = self.process.poll()
        status = "" if code is None else f" (status {code})"
        return TraceError(f"server {self.name}", f"{found}{status}", "a server that answers; its errors stand above")

    def __enter__(self) -> WorkerServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _end(connection: socket.socket, process: subprocess.Popen[bytes]) -> None:
    """End a process: it goes by itself once nobody is connected, unless it is busy."""
    connection.close()
    try:
        process.wait(timeout=2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
