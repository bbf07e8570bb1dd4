"""A new file appears whole or not at all, and never in the place of another."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from traces.errors import TraceError


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A place to write a file that is to appear at `path` whole, once the block ends well, or not at all.

    Raises `TraceError` where nothing can be written, or where a file is there already.
    """
    if path.is_dir():
        raise TraceError(str(path), "it is a directory", "a name for a file")
    if path.exists():
        raise TraceError(str(path), "it is there already", "a name that is free, or remove it first")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise TraceError(str(path), "its folder does not exist", "a folder that exists")
    if not os.access(folder, os.W_OK):
        raise TraceError(str(path), "its folder is read-only", "a folder that you may write to")
    sweep(path)
    temporary = folder / f".{path.name}.{os.getpid()}.partial"
    temporary.unlink(missing_ok=True)
    try:
        yield temporary
        _to_disk(temporary)
        try:
            # A link fails where a replacement would silently overwrite what another process made meanwhile.
            path.hardlink_to(temporary)
        except FileExistsError:
            raise TraceError(str(path), "another program made it meanwhile", "a name that is free") from None
        except OSError:
            temporary.replace(path)
        _to_disk(folder)
    except OSError as error:
        raise TraceError(
            str(path), f"it cannot be written: {error.strerror}", "a place with room that you may write to"
        ) from None
    finally:
        for leftover in (temporary, Path(f"{temporary}-wal"), Path(f"{temporary}-shm"), Path(f"{temporary}-journal")):
            leftover.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep(path: Path) -> None:
    """Remove what processes that were killed while they wrote this file left beside it."""
    prefix = f".{path.name}."
    for leftover in path.absolute().parent.glob(f"{glob.escape(prefix)}*.partial*"):
        owner = leftover.name.removeprefix(prefix).split(".")[0]
        if owner.isdecimal() and not _runs(int(owner)):
            leftover.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
