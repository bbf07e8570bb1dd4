"""How an SQLite file is known, without loading what reads it."""

from __future__ import annotations

from pathlib import Path

MAGIC = b"SQLite format 3\0"


def is_database(path: Path) -> bool:
    """Whether a file is an SQLite database by its first bytes. A pipe, which can be read only once, is none."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False
