"""The extra that recording needs: torch and what stands on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from traces.errors import TraceError


@contextmanager
def mechanism_extra(command: str) -> Iterator[None]:
    """What a missing package of the extra means, said as it is. For the imports of a command."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in ("individuation", "mechanism", "traces"):
            raise
        raise TraceError(command, f"{error.name} is not installed", "pip install 'individuate[mechanism]'") from None


def needs_torch(command: str) -> None:
    """Say that the extra is missing before anything else is looked at. Nothing is imported."""
    if find_spec("torch") is None:
        raise TraceError(command, "torch is not installed", "pip install 'individuate[mechanism]'")
