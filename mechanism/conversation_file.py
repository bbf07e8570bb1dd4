"""Conversations as files: what `individuate record` reads.

Told by content, not by name: a JSON list of messages; an object with them under `messages` (chat logs) or
`conversation` (transcripts of the assistant-axis repository, Lu et al. 2026); a list of such objects; or the same, one
to a line (JSON lines). A message is `{"role": ..., "content": ...}`, perhaps with `thinking`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mechanism.template import Message
from traces.errors import TraceError, one_of, quoted
from traces.vocabulary import ROLES

_LISTS = ("messages", "conversation")
_NAMES = ("id", "conversation_id", "name")
_EXPECTED = 'a list of messages {"role", "content"}, or an object with one under "messages" or "conversation"'
SUFFIXES = (".json", ".jsonl")


@dataclass(frozen=True)
class ConversationText:
    """A conversation to be read: its key in the trace, its messages, and the file that it is in."""

    key: str
    messages: Sequence[Message]
    file: Path


def conversation_files(paths: Sequence[Path]) -> list[Path]:
    """Files, and in folders all .json and .jsonl files, in order of their names. Raises `TraceError` for none."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES and file.is_file())
            if not inside:
                raise TraceError(str(path), "no .json or .jsonl file is in it", "a folder with conversations")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise TraceError(str(path), "there is no such file", "a conversation, or a folder of them")
    return found


def conversations(paths: Sequence[Path]) -> Iterator[ConversationText]:
    """All conversations of some files and folders, each with a key of its own.

    The key is the file's name without its ending; where a file holds several, with the conversation's own id or its
    number behind it. Raises `TraceError` where a file is no conversation, saying where in it.
    """
    taken: set[str] = set()
    for file in conversation_files(paths):
        each = list(_read(file))
        for number, (name, place, messages) in enumerate(each, 1):
            key = file.stem if len(each) == 1 else f"{file.stem}:{name or number}"
            unique, again = key, 2
            while unique in taken:
                unique, again = f"{key} ({again})", again + 1
            taken.add(unique)
            yield ConversationText(unique, _messages(messages, place), file)


def _read(file: Path) -> Iterator[tuple[str | None, str, Any]]:
    """The name, the place for messages of errors, and the messages of each conversation in a file."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise TraceError(str(file), "it is not UTF-8", "text in UTF-8") from None
    except OSError as error:
        raise TraceError(str(file), f"it cannot be read: {error.strerror}", "a file that you may read") from None
    try:
        data = json.loads(text)
    except ValueError as error:
        yield from _lines(file, text, error)
        return
    except RecursionError:
        raise TraceError(str(file), "it is nested too deeply", _EXPECTED) from None
    if isinstance(data, list) and data and not _is_message(data[0]):
        for number, item in enumerate(data):
            yield _one(item, f"{file}: conversation {number}")
    else:
        yield _one(data, str(file))


def _lines(file: Path, text: str, whole: ValueError) -> Iterator[tuple[str | None, str, Any]]:
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if len(lines) < 2:
        raise TraceError(str(file), f"it is not JSON ({whole})", _EXPECTED)
    for number, line in lines:
        try:
            item = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise TraceError(
                f"{file}: line {number}", f"it is not JSON ({error})", f"JSON lines: {_EXPECTED}"
            ) from None
        yield _one(item, f"{file}: line {number}")


def _is_message(item: Any) -> bool:
    return isinstance(item, dict) and "role" in item


def _one(item: Any, place: str) -> tuple[str | None, str, Any]:
    if isinstance(item, list):
        return None, place, item
    if isinstance(item, dict):
        for key in _LISTS:
            if key in item:
                name = next((str(item[field]) for field in _NAMES if isinstance(item.get(field), str | int)), None)
                return name, place, item[key]
    raise TraceError(place, f"it is {quoted(item)}", _EXPECTED)


def _messages(items: Any, place: str) -> list[Message]:
    if not isinstance(items, list) or not items:
        raise TraceError(place, "it has no messages", _EXPECTED)
    messages: list[Message] = []
    for number, item in enumerate(items):
        where = f"{place}, message {number}"
        if not isinstance(item, dict):
            raise TraceError(where, f"it is {quoted(item)}", '{"role": ..., "content": ...}')
        role, content = item.get("role"), item.get("content")
        if role not in ROLES:
            raise TraceError(where, f"role is {quoted(role)}", one_of(ROLES, "role"))
        if not isinstance(content, str):
            raise TraceError(where, f"content is {quoted(content)}", "text")
        message = {"role": role, "content": content}
        thinking = item.get("thinking", item.get("reasoning_content"))
        if thinking is not None:
            if not isinstance(thinking, str):
                raise TraceError(where, f"thinking is {quoted(thinking)}", "text")
            message["thinking"] = thinking
        messages.append(message)
    return messages
