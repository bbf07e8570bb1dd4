"""Which links carry a mind on (semantics.md §4): those of the kinds that a view lets carry, as readings narrow them.

A `rebuild` only where `reconstruction` is `same`, unless its measured drift exceeds `max_drift`; `unknown` where
`reconstruction` is `same` or `unknown_cache` is `carry`. A link marked `edited` does not where `edits` is `cut`. Nor
does an own link whose stage rests less on the one that it comes from than `least_connectedness` asks for, as measured.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rules.declaration import Declaration
from rules.readings import Readings
from rules.view import Rows
from traces.stages import LINKS, REBUILD, TRANSCRIPT, UNKNOWN, StageTable


def followed(stages: StageTable, declaration: Declaration) -> tuple[Rows, NDArray[np.int8]]:
    """The links that a view follows: where each stage's link comes from (int64 [stages], -1 none), and the kind."""
    if declaration.follow == "own":
        return stages.own, stages.own_kind
    return stages.previous, stages.previous_kind


def carried_links(stages: StageTable, declaration: Declaration, readings: Readings) -> Rows:
    """For each stage (int64 [stages]) the stage that its followed link comes from, if that carries, else -1.

    The result may be a column of `stages` itself: do not write into it.

    >>> from traces.file import facts_from_data
    >>> turns = [{"role": "user", "model": "m", "server": "a"}, {"role": "assistant", "server": "b"}]
    >>> world = {"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": turns}}}
    >>> stages = StageTable.of(facts_from_data(world))
    >>> others = {"unknown_cache": "carry", "edits": "carry", "max_drift": np.inf,
    ...     "least_connectedness": 0.0}
    >>> by_cache = Declaration(follow="own", carry=frozenset({"attention", "transfer", "rebuild", "unknown"}))
    >>> carried_links(stages, by_cache, {**others, "reconstruction": "same"}).tolist()
    [-1, 0]
    >>> carried_links(stages, by_cache, {**others, "reconstruction": "new"}).tolist()
    [-1, -1]
    """
    parent, kind = followed(stages, declaration)
    kept: NDArray[np.bool_] | None = None

    def without(cut: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return ~cut if kept is None else kept & ~cut

    carried = kinds_that_carry(declaration, readings)
    for code, name in enumerate(LINKS):
        # An own link is never a transcript.
        if name not in carried and not (declaration.follow == "own" and code == TRANSCRIPT):
            kept = without(kind == code)
    if readings["edits"] == "cut":
        kept = without(stages.edited & (stages.own == parent))
    max_drift = float(readings["max_drift"])
    if max_drift != np.inf:
        kept = without((kind == REBUILD) & (stages.drift > max_drift))
    least = float(readings["least_connectedness"])
    if least:
        kept = without((stages.own_kl < least) & (stages.own == parent))
    return parent if kept is None else np.where(kept, parent, -1)


def kinds_that_carry(declaration: Declaration, readings: Readings) -> frozenset[str]:
    """The kinds of link that carry on these readings, edits and drift aside."""
    without = set()
    if readings["reconstruction"] == "new":
        without.add(LINKS[REBUILD])
        if readings["unknown_cache"] == "cut":
            without.add(LINKS[UNKNOWN])
    return declaration.carry - without
