"""What it takes to start: the command's help, and a short trace counted, as CPU time of the whole process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import measuring
from measuring import Figure

HELP_BAR, COUNT_BAR = 0.3, 0.5
TURNS = 100


def measure(_stages: int, repeat: int) -> list[Figure]:
    """Medians of alternating runs. The bars are in seconds; Python alone, and with numpy, are the floors."""
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder, "trace.yaml")
        measuring.child("start.py", "write", trace)
        commands = {
            "python": [sys.executable, "-c", "pass"],
            "numpy": [sys.executable, "-c", "import numpy"],
            "help": [*individuate(), "--help"],
            "count": [*individuate(), str(trace)],
        }

        def once() -> dict[str, float]:
            return {name: _cpu(command) for name, command in commands.items()}

        once()  # compiles what is not compiled yet, as installing a package does
        (times,) = measuring.alternating(repeat, once)
    return [
        Figure("python -c pass", "s", times["python"]),
        Figure("python -c 'import numpy'", "s", times["numpy"]),
        Figure("individuate --help", "s", times["help"], None, HELP_BAR),
        Figure(f"individuate, {TURNS} turns of YAML to a table", "s", times["count"], None, COUNT_BAR),
    ]


def individuate() -> list[str]:
    """The command as installed beside this Python, else as a module of this checkout."""
    script = Path(sys.executable).with_name("individuate")
    return [str(script)] if script.exists() else [sys.executable, "-m", "individuation.cli.main"]


def _cpu(command: list[str]) -> float:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=measuring.environment(), cwd=measuring.ROOT)
    assert process.stdout is not None
    with process.stdout:
        process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return usage.ru_utime + usage.ru_stime


def write(path: str) -> dict[str, float]:
    """The short trace as a trace file."""
    from worlds import world

    import traces.file

    traces.file.write(world(TURNS), Path(path))
    return {}


if __name__ == "__main__":
    measuring.main(measure, {"write": write})
