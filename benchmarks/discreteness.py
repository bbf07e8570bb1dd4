"""How often the test of discreteness is right: on simulated continua it should say "continuum" at least 95 % of the
time, on simulated basins that are visibly apart "discrete" at least 90 %.

    python benchmarks/discreteness.py --draws 200 --processes 2      # the table of docs/hypotheses.md
    python benchmarks/discreteness.py --apart 3 4 5 6 8 --draws 60   # power by distance
    python benchmarks/discreteness.py --dip                          # the table in mechanism/hypotheses/dip.py
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import numpy as np

from mechanism.hypotheses.dip import _PROBABILITIES, _QUANTILES, dip
from mechanism.hypotheses.discreteness import discreteness
from mechanism.hypotheses.simulated_clouds import BASINS, CONTINUA, basins, continuum
from mechanism.statistics import share

SIZES = (60, 100, 200, 500, 1000, 2000)
SHARES = (0.2, 0.2, 0.2, 0.2, 0.1, 0.1)
DIMENSIONS = range(1, 7)
APART = 6.0


class Job(NamedTuple):
    kind: str
    apart: float | None
    seed: int


class Answer(NamedTuple):
    discrete: bool
    basins: int
    true: int
    n: int
    d: int
    seconds: float


def answer(job: Job) -> Answer:
    """One cloud of a kind, of a size, a dimension and a number of basins drawn at random, tested."""
    dice = np.random.default_rng([job.seed, *job.kind.encode(), int(10 * (job.apart or 0))])
    n, d, count = int(dice.choice(SIZES, p=SHARES)), int(dice.choice(DIMENSIONS)), int(dice.integers(2, 6))
    if job.kind == "conversations":
        n = max(n, 160)
    cloud = continuum(job.kind, dice, n, d) if job.apart is None else basins(job.kind, dice, n, d, count, job.apart)
    start = time.process_time()
    found = discreteness(cloud.points, groups=cloud.groups, seed=job.seed)
    return Answer(found.verdict == "discrete", found.basins, cloud.basins, n, d, time.process_time() - start)


def measure(draws: int, seed: int, aparts: list[float], processes: int, only: str | None) -> Iterator[str]:
    """Rows of a table in Markdown, each as soon as it is known."""
    yield "| simulated | apart (sd) | right | of | share (95 % interval) | basins counted right | wrong: n, d | CPU s |"
    yield "|---|---|---|---|---|---|---|---|"
    kinds = [(kind, None) for kind in CONTINUA] + [(kind, apart) for apart in aparts for kind in BASINS]
    kinds = [(kind, apart) for kind, apart in kinds if only in (None, "continua" if apart is None else "basins")]
    with ProcessPoolExecutor(processes) as pool:
        for kind, apart in kinds:
            jobs = [Job(kind, apart, seed + draw) for draw in range(draws)]
            answers = list(pool.map(answer, jobs, chunksize=2))
            right = [each.discrete == (apart is not None) for each in answers]
            told = share(sum(right), len(right))
            wrong = [f"{each.n}, {each.d}" for each, good in zip(answers, right, strict=True) if not good]
            number = "" if apart is None else f"{np.mean([each.basins == each.true for each in answers]):.0%}"
            yield (
                f"| {'continuum' if apart is None else 'basins'}: {kind} | {apart or ''} | {sum(right)} | {len(right)} "
                f"| {told.value:.1%} ({told.low:.1%} to {told.high:.1%}) | {number} | {'; '.join(wrong[:6])}"
                f"{' …' if len(wrong) > 6 else ''} | {np.mean([each.seconds for each in answers]):.2f} |"
            )


def dips(draws: int = 20_000) -> Iterator[str]:
    """Quantiles of sqrt(n) times the dip of n evenly drawn values."""
    for n in _QUANTILES:
        dice = np.random.default_rng([n, 1985])
        found = np.sqrt(n) * np.array([dip(dice.uniform(size=n)) for _ in range(draws)])
        yield f"{n}: {np.quantile(found, _PROBABILITIES).round(4).tolist()}"


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--draws", type=int, default=200, help="clouds of each kind")
    asked.add_argument("--seed", type=int, default=10_000, help="of the first; none of these was used in building")
    asked.add_argument("--apart", type=float, nargs="+", default=[APART], help="distances of the nearest basins, in sd")
    asked.add_argument("--processes", type=int, default=2)
    asked.add_argument("--only", choices=("continua", "basins"))
    asked.add_argument("--dip", action="store_true", help="make the table of the dip's quantiles instead")
    options = asked.parse_args()
    rows = (
        dips() if options.dip else measure(options.draws, options.seed, options.apart, options.processes, options.only)
    )
    for row in rows:
        print(row, flush=True)


if __name__ == "__main__":
    main()
