"""All benchmarks: prints a table, writes out/results.json, and fails where a bar is missed."""

from __future__ import annotations

import datetime
import json
import sys

import live
import measuring
import minds
import reasons
import recording
import start
import store
import writer


def main() -> int:
    chosen = measuring.options(__doc__).parse_args()
    machine = measuring.machine()
    today = datetime.date.today().isoformat()
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    print(f"{today}, {chosen.stages:,} stages, medians of {chosen.repeat} alternating runs\n", flush=True)
    figures = []
    for part in (start, minds, reasons, store, writer, recording, live):
        measured = part.measure(chosen.stages, chosen.repeat)
        print(measuring.table(measured), end="\n\n", flush=True)
        figures += measured
    measuring.OUT.mkdir(exist_ok=True)
    results = {
        "date": today,
        "machine": machine,
        "stages": chosen.stages,
        "repeat": chosen.repeat,
        "figures": [figure.to_dict() for figure in figures],
    }
    (measuring.OUT / "results.json").write_text(
        json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    missed = [figure.name.strip() for figure in figures if figure.met is False]
    print(f"missed: {'; '.join(missed)}" if missed else "all bars met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
