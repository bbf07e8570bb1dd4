"""What all benchmarks share: this checkout on Python's path, children to measure in, and figures with their bars.

A child is a process of its own for each measurement, so that no side warms the other's caches, fills its memory or
feeds its garbage collector. This module and the parent stay free of numpy: a child's peak memory counts from that of
its parent.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

OUT = ROOT / "benchmarks" / "out"
STAGES, REPEAT = 1_000_000, 5
LIBRARIES = ("click", "networkx", "numpy", "pydantic", "PyYAML", "rich", "SQLAlchemy", "torch", "transformers")


@dataclass(frozen=True)
class Figure:
    """One thing measured, several times. `bar`: the most that ours may be, in multiples of the peer's or in `unit`."""

    name: str
    unit: str
    ours: list[float]
    peer: list[float] | None = None
    bar: float | None = None

    @property
    def reached(self) -> float:
        """What is held against the bar: medians, ours over the peer's where there is one."""
        ours = statistics.median(self.ours)
        return ours if self.peer is None else ours / statistics.median(self.peer)

    @property
    def met(self) -> bool | None:
        """Whether the bar is met; None where there is none."""
        return None if self.bar is None else self.reached <= self.bar

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"reached": self.reached, "met": self.met}


def child(script: str, *words: object) -> dict[str, float]:
    """What a script of this folder prints as JSON when it is called with these words in a process of its own."""
    command = [sys.executable, str(Path(__file__).with_name(script)), *map(str, words)]
    return dict(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment()).stdout))


def environment() -> dict[str, str]:
    """The environment of a child: this checkout first, and compiled once, as installing a package does."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return inherited | {"PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(OUT / "compiled")}


def alternating(repeat: int, *sides: Callable[[], dict[str, float]]) -> list[dict[str, list[float]]]:
    """Each side measured so many times in turn; for each side its values by name."""
    runs = [[side() for side in sides] for _ in range(repeat)]
    return [{name: [run[i][name] for run in runs] for name in runs[0][i]} for i in range(len(sides))]


def machine() -> dict[str, Any]:
    """Where the figures come from, in general words."""
    import sqlite3

    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        **{name: _version(name) for name in LIBRARIES},
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def table(figures: list[Figure]) -> str:
    """Figures as aligned text."""
    rows = [("", "peer", "ours", "ours/peer", "bar", ""), *map(_row, figures)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i in (0, 5) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _row(figure: Figure) -> tuple[str, ...]:
    alone = figure.peer is None
    return (
        figure.name,
        "" if figure.peer is None else _amount(statistics.median(figure.peer), figure.unit),
        _amount(statistics.median(figure.ours), figure.unit),
        "" if alone else f"{figure.reached:.3g}",
        "" if figure.bar is None else f"<= {figure.bar:g}" + (f" {figure.unit}" if alone else ""),
        {True: "met", False: "MISSED", None: ""}[figure.met],
    )


def _amount(value: float, unit: str) -> str:
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3f} {unit}"


def options(description: str | None) -> argparse.ArgumentParser:
    """The options of every script here."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--stages", type=int, default=STAGES, help=f"stages of the invented trace ({STAGES:,})")
    parser.add_argument("--repeat", type=int, default=REPEAT, help=f"alternating runs of each side ({REPEAT})")
    return parser


def main(measure: Callable[[int, int], list[Figure]], sides: dict[str, Callable[..., dict[str, float]]]) -> None:
    """A script as a command: measure and print, or with the name of a side (as `child` calls it) measure that side."""
    if len(sys.argv) > 1 and sys.argv[1] in sides:
        print(json.dumps(sides[sys.argv[1]](*sys.argv[2:])))
        return
    chosen = options(sys.modules["__main__"].__doc__).parse_args()
    print(table(measure(chosen.stages, chosen.repeat)))
