"""Conversations as files: what `individuate record` reads.

Told by content, not by name: a JSON list of messages; an object with them under `messages` (chat logs) or
`conversation` (transcripts of the assistant-axis repository, Lu et al. 2026); a list of such objects; or the same, one
to a line (JSON lines). A message is `{"role": ..., "content": ...}`, perhaps with `thinking`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

from mechanism.template_shape import Message
from traces.errors import TraceError, one_of, quoted
from traces.vocabulary import ROLES

_LISTS = ("messages", "conversation")
_NAMES = ("id", "conversation_id", "name")
_EXPECTED = 'a list of messages {"role", "content"}, or an object with one under "messages" or "conversation"'
SUFFIXES = (".json", ".jsonl")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True)
class ConversationText:
    """A conversation to be read: its key in the trace, its messages, and the file that it is in."""

    key: str
    messages: Sequence[Message]
    file: Path


class Conversations:
    """All conversations of some files and folders, each with a key of its own; iterated, they are read one by one.

    In a folder all .json and .jsonl files are read, in order of their names. A conversation's key is the file's name
    without its ending, in a folder with the path from there; where a file holds several, with the conversation's own
    id or its number behind it. No more than one file is in memory at a time, and of JSON lines no more than one line;
    each iteration reads the files again.

    Raises `TraceError` for a path that is not there and a folder without files; when iterated, where a file is no
    conversation, saying where in it.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = Path(folder, "chat.json").write_text('[{"role": "user", "content": "Hello."}]')
    ...     [(text.key, len(text.messages)) for text in Conversations([Path(folder)])]
    [('chat', 1)]
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.files = tuple(_files(paths))

    def __iter__(self) -> Iterator[ConversationText]:
        taken: set[str] = set()
        for file, stem in self.files:
            for name, place, messages in _numbered(_read(file)):
                key = _key(stem if name is None else f"{stem}:{name}")
                unique = next(k for n in count(1) if (k := key if n == 1 else f"{key} ({n})") not in taken)
                taken.add(unique)
                yield ConversationText(unique, _messages(messages, place), file)


def _files(paths: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Files, each with the name that its conversations get."""
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES and file.is_file())
            if not inside:
                raise TraceError(str(path), "no .json or .jsonl file is in it", "a folder with conversations")
            for file in inside:
                yield file, file.relative_to(path).with_suffix("").as_posix()
        elif path.exists():
            yield path, path.stem
        else:
            raise TraceError(str(path), "there is no such file", "a conversation, or a folder of them")


def _key(name: str) -> str:
    """A name that a trace takes."""
    return _CONTROLS.sub(" ", name).strip() or "conversation"


_Found = tuple[str | None, str, Any]
"""The name of a conversation if it has one, the place for messages of errors, and the messages."""


def _numbered(found: Iterator[_Found]) -> Iterator[_Found]:
    """A conversation that is alone in its file needs no name; of several, one without gets its number."""
    first = next(found, None)
    second = next(found, None)
    if first is not None and second is None:
        yield None, first[1], first[2]
    elif first is not None and second is not None:
        for number, (name, place, messages) in enumerate(chain([first, second], found), 1):
            yield name or str(number), place, messages


def _read(file: Path) -> Iterator[_Found]:
    try:
        if _is_lines(file):
            yield from _lines(file)
            return
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise TraceError(str(file), "it is not UTF-8", "text in UTF-8") from None
    except OSError as error:
        raise TraceError(str(file), f"it cannot be read: {error.strerror}", "a file that you may read") from None
    try:
        data = json.loads(text)
    except ValueError as error:
        raise TraceError(str(file), f"it is not JSON ({error})", _EXPECTED) from None
    except RecursionError:
        raise TraceError(str(file), "it is nested too deeply", _EXPECTED) from None
    if isinstance(data, list) and data and not _is_message(data[0]):
        for number, item in enumerate(data):
            yield _one(item, f"{file}: conversation {number}")
    else:
        yield _one(data, str(file))


def _is_lines(file: Path) -> bool:
    """Whether a file is JSON lines: it says so by its name and begins with a line of JSON, or that line is not all."""
    with file.open(encoding="utf-8-sig") as lines:
        written = (line for line in lines if line.strip())
        first, second = next(written, None), next(written, None)
    if first is None or (second is None and file.suffix != ".jsonl"):
        return False
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        # A list or an object over several lines; in a file of JSON lines, a line that is broken.
        return file.suffix == ".jsonl" and first.strip() not in ("[", "{")
    return True


def _lines(file: Path) -> Iterator[_Found]:
    with file.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            place = f"{file}: line {number}"
            try:
                item = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise TraceError(place, f"it is not JSON ({error})", f"JSON lines: {_EXPECTED}") from None
            yield _one(item, place)


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
        _refuse_half(content, where)
        message = {"role": role, "content": content}
        thinking = item.get("thinking", item.get("reasoning_content"))
        if thinking is not None:
            if not isinstance(thinking, str):
                raise TraceError(where, f"thinking is {quoted(thinking)}", "text")
            _refuse_half(thinking, where)
            message["thinking"] = thinking
        messages.append(message)
    return messages


def _refuse_half(text: str, where: str) -> None:
    """JSON can hold half of a surrogate pair, which is no character that a tokenizer or a store knows."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise TraceError(where, "its text holds half of a surrogate pair", "text in Unicode") from None
