"""What a chat shows: prompts, replies as they come, and notes about them. Plain text where nobody looks on."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mechanism.template import ChatTemplate

YOU = "you"
_CONTROLS = dict.fromkeys((*(code for code in range(32) if code not in (9, 10)), *range(127, 160)), "\ufffd")
_HALF = "\ufffd"


class StoppedError(Exception):
    """The user stopped a reply."""


class Screen:
    """A terminal, or a pipe: then lines are read without asking, and shown as if typed."""

    def __init__(self) -> None:
        self.asks = sys.stdin.isatty()
        # Colour tells nothing that the words do not tell.
        self.colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def edit_lines(self, words: Sequence[str]) -> None:
        """Line editing and a history for this chat, where the system has it; Tab completes commands."""
        if not self.asks:
            return
        try:
            import readline
        except ImportError:
            return
        readline.set_completer_delims(" ")
        readline.parse_and_bind("tab: complete")
        readline.set_completer(
            lambda typed, number: next(iter([w for w in words if w.startswith(typed)][number:]), None)
        )

    def ask(self) -> str | None:
        """A line of the user's; None at the end of what is typed. Raises `KeyboardInterrupt`."""
        if self.asks:
            try:
                return input(self._prompt())
            except EOFError:
                self.say()
                return None
        line = sys.stdin.readline()
        if not line:
            return None
        line = line.rstrip("\r\n")
        if line.strip():
            self.say(f"{YOU}> {line}")
        return line

    def _prompt(self) -> str:
        # The marks tell the line editor that these bytes take no room.
        return f"\001\x1b[1m\002{YOU}>\001\x1b[0m\002 " if self.colour else f"{YOU}> "

    def say(self, text: str = "", **style: Any) -> None:
        """A line, or several."""
        self.write(f"{text}\n", **style)

    def note(self, text: str) -> None:
        """A line about the conversation, indented so that it is not taken for part of it."""
        room = min(shutil.get_terminal_size((100, 24)).columns, 100) if self.asks else 100
        lines = textwrap.wrap(text, room - 2, break_long_words=False, break_on_hyphens=False)
        self.say("\n".join(f"  {line}" for line in lines), dim=True)

    def write(self, text: str, **style: Any) -> None:
        """Text as it is, at once. Whatever else a model may have said, no terminal obeys it."""
        safe = text.translate(_CONTROLS)
        encoding = sys.stdout.encoding or "utf-8"
        safe = safe.encode(encoding, "replace").decode(encoding)
        click.echo(click.style(safe, **style) if self.colour and style else safe, nl=False, color=self.colour)
        sys.stdout.flush()

    def speaker(self, name: str) -> None:
        """Who speaks now."""
        self.write(f"{name}> ", bold=True)


class Streamed:
    """A reply on the screen as it comes: what the model thinks, then what it says, no half characters.

    `before` are the tokens of the same reply that stand already.
    """

    def __init__(self, screen: Screen, template: ChatTemplate, before: Sequence[int] = ()) -> None:
        self.screen = screen
        self.template = template
        self.ids = list(before)
        self._not_before = 0.0
        self._thought, self._said = self._texts()

    def take(self, token: int) -> None:
        """One token more."""
        if token in self.template.end_ids:
            return
        self.ids.append(token)
        # What a whole reply reads as is worked out anew each time, so of a long one several tokens are shown at once.
        began = time.monotonic()
        if began >= self._not_before:
            self._show(*self._texts())
            ended = time.monotonic()
            self._not_before = ended + 9 * (ended - began)

    def finish(self, text: str) -> None:
        """The end: show what was held back, and begin a new line."""
        thinking, said = self._texts()
        self._show(thinking, said, whole=True)
        if not self._said and text and not thinking:
            self.screen.write(text)
        self.screen.say()

    def _texts(self) -> tuple[str, str]:
        if not self.ids:
            return "", ""
        turn = self.template.reply(self.ids)
        return turn.thinking, turn.text

    def _show(self, thinking: str, said: str, whole: bool = False) -> None:
        if new := _added(self._thought, thinking, whole):
            self.screen.write(new if self._thought else f"(thinks) {new}", dim=True)
            self._thought += new
        if new := _added(self._said, said, whole):
            self.screen.write(f"\n{new}" if self._thought and not self._said else new)
            self._said += new


def _added(shown: str, text: str, whole: bool) -> str:
    """What is to be shown more of a text; its last character may be half there yet."""
    if not text.startswith(shown):
        return ""
    new = text[len(shown) :]
    return new if whole else new.rstrip(_HALF)


@contextmanager
def stopping() -> Iterator[Callable[[], None]]:
    """Ctrl-C stops a reply between two tokens, so that nothing breaks off in the middle of a step; twice, it ends all.

    Gives what is to be called at each token: it raises `StoppedError` once Ctrl-C was pressed.
    """
    pressed: list[bool] = []

    def press(number: int, frame: FrameType | None) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(True)

    def check() -> None:
        if pressed:
            raise StoppedError

    if threading.current_thread() is not threading.main_thread():
        yield check
        return
    before = signal.signal(signal.SIGINT, press)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)
