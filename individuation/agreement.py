"""How far two sortings of the same stages agree, as two numbers that statistics has for it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from individuation.sorting import Sorting


@dataclass(frozen=True)
class Agreement:
    """Two numbers, on `stages` stages.

    `rand`: the adjusted Rand index (Hubert & Arabie 1985): 1 for the same minds, about 0 for as much as minds of these
    sizes would agree by chance, below 0 for less than that. Where the one sorting has all stages in one mind, or each
    in a mind of its own, and the other has not, it is 0: of such minds no chance could make others. Where the two are
    equal it is 1, be it one mind each.

    `information`: the variation of information (Meilă 2007), in bits: what is still to be known of the one sorting if
    the other is known, added up both ways; 0 for the same minds, log2(stages) at most.
    """

    stages: int
    rand: float
    information: float


def agreement(a: Sorting, b: Sorting) -> Agreement | None:
    """How far two sortings of the same stages agree; None for fewer than 2 stages, or where minds share stages.

    >>> one, other = (Sorting.by_key(np.array(key), np.arange(4)) for key in ([0, 0, 1, 1], [0, 1, 0, 1]))
    >>> agreement(one, other)
    Agreement(stages=4, rand=-0.5, information=2.0)
    """
    if len(a) < 2 or a.mind is None or b.mind is None:
        return None
    from sklearn.metrics import adjusted_rand_score
    from sklearn.metrics.cluster import contingency_matrix

    with warnings.catch_warnings():
        # Many minds on few stages are nothing to be warned of: these are no classes to be learnt.
        warnings.simplefilter("ignore", UserWarning)
        rand = float(adjusted_rand_score(a.mind, b.mind))
        table = contingency_matrix(a.mind, b.mind, sparse=True).tocoo()
    both, n = table.data, len(a)
    row, column = np.bincount(table.row, both)[table.row], np.bincount(table.col, both)[table.col]
    # Not as entropies less mutual information: those cancel, and equal sortings would not come out as 0. Summed in
    # order of size, so that it is the same whichever of the two comes first.
    lost = np.sort(both / n * (np.log2(row / both) + np.log2(column / both)))
    return Agreement(n, rand, float(np.sum(lost)))
