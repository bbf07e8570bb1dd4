"""How an SQLite file is known, without loading what reads it, and without taking its locks away.

Where this process has a file open for writing, nothing may open it but SQLite: on POSIX systems, to close any other
handle on it drops the locks that SQLite holds, and another process could then take its log away.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MAGIC = b"SQLite format 3\0"


def is_database(path: Path) -> bool:
    """Whether a file is an SQLite database by its first bytes. A pipe, which can be read only once, is none."""
    if not path.is_file():
        return False
    if is_held(path):
        return True
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


_held: Counter[tuple[int, int]] = Counter()
_lock = threading.Lock()


@contextmanager
def held(path: Path) -> Iterator[None]:
    """While this process has a trace.db open for writing."""
    found = path.stat()
    key = (found.st_dev, found.st_ino)
    with _lock:
        _held[key] += 1
    try:
        yield
    finally:
        with _lock:
            _held[key] -= 1


def is_held(path: Path) -> bool:
    """Whether this process has the file open for writing: it is a sound trace.db, and only SQLite may open it."""
    if not any(_held.values()):
        return False
    try:
        found = path.stat()
    except OSError:
        return False
    return _held[found.st_dev, found.st_ino] > 0
