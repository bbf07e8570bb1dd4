"""What a criterion is: a view, and the verdict it gives on the stages of a trace."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rules.declaration import Declaration
from rules.readings import ALL, Reading, Readings, Value, complete
from traces.forest import trees
from traces.stages import StageTable

Codes = NDArray[np.int32]
Rows = NDArray[np.int64]

RestsOn = Literal["names", "servers", "principals", "cache", "links", "branches", "regions", "discreteness", "tokens"]
"""What a view rests on and a trace may not give; `rules.caveats` says so where it does not."""


@dataclass(frozen=True, eq=False, repr=False)
class Naming:
    """What a mind is called by, where that differs from its first stage's own columns: a code for each stage."""

    model: tuple[Codes, Sequence[str]] | None = None
    region: Codes | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Partition:
    """Every stage in at most one mind. `mind`: the mind's number for each stage, by first appearance; -1 unassigned.

    `empty`: (model, region) names of minds that no stage belongs to.
    """

    mind: Rows
    count: int
    naming: Naming = field(default_factory=Naming)
    empty: Sequence[tuple[str, str]] = ()

    @classmethod
    def by_links(
        cls, parent: Rows, assigned: NDArray[np.bool_] | None = None, naming: Naming | None = None
    ) -> Partition:
        """One mind for each tree of links; stages come after their parents.

        >>> Partition.by_links(np.array([-1, 0, -1, 1])).mind.tolist()
        [0, 0, 1, 0]
        """
        mind, first = trees(parent)
        count = len(first)
        if assigned is not None:
            begun = assigned[first]
            count = int(begun.sum())
            mind = np.where(assigned, (np.cumsum(begun) - 1)[mind], -1)
        return cls(mind, count, naming or Naming())

    @classmethod
    def by_key(cls, key: Rows, naming: Naming | None = None, empty: Sequence[tuple[str, str]] = ()) -> Partition:
        """One mind for each key; -1 is no mind.

        >>> Partition.by_key(np.array([7, -1, 3, 7])).mind.tolist()
        [0, -1, 1, 0]
        """
        if int(key.max(initial=-1)) > 4 * len(key):
            # Sparse keys: close the gaps first, so that the table below stays in proportion to the stages.
            values, key = np.unique(key, return_inverse=True)
            key = key - int(values[0] == -1)
        first = np.full(int(key.max(initial=-1)) + 2, -1, np.int64)
        # Written backwards, so that the first stage of each key is what remains.
        first[key[::-1]] = np.arange(len(key) - 1, -1, -1)
        first[-1] = -1
        present = np.flatnonzero(first >= 0)
        order = present[np.argsort(first[present])]
        number = np.full(len(first), -1, np.int64)
        number[order] = np.arange(len(order))
        number[-1] = -1
        return cls(number[key], len(order) + len(empty), naming or Naming(), empty)


@dataclass(frozen=True, eq=False, repr=False)
class Cover:
    """Minds that may share stages: each is a chain of stages, from `last[i]` up by `up` to its root."""

    up: Rows
    last: Rows
    assigned: NDArray[np.bool_]
    naming: Naming = field(default_factory=Naming)

    @property
    def count(self) -> int:
        """How many minds."""
        return len(self.last)


@dataclass(frozen=True, eq=False, repr=False)
class Tally:
    """Minds too many to list: how many each stage brings. `count` is None where the record does not allow a count."""

    own: Rows
    again: Rows
    count: int | None


Verdict = Partition | Cover | Tally


@dataclass(frozen=True)
class View:
    """A criterion of individuation.

    `key` and `label` are templates over `stage`, `conversation`, `model`, `server`, `region` and `principal` of a
    mind's first stage: what a program and what a person calls it. `rule` gives the verdict, from stages and all
    readings. `declaration` says the same as data, for all views but those that no declaration can express; without one
    the view's verdicts can be explained by its rule alone. `about` is prose.
    """

    name: str
    definition: str
    source: str
    rule: Callable[[StageTable, Readings], Verdict]
    label: str
    key: str = "{stage}"
    readings: tuple[Reading, ...] = ()
    rests_on: frozenset[RestsOn] = frozenset()
    declaration: Declaration | None = None
    about: str = ""

    @property
    def is_persona_view(self) -> bool:
        """Whether the count hangs on persona regions."""
        return "regions" in self.rests_on

    def complete(self, chosen: Mapping[str, object]) -> dict[str, Value]:
        """All readings of the view with their values: those chosen, and defaults for the rest. Raises `TraceError`."""
        return complete(self.readings, chosen, self.name, self._fixed)

    def settled(self, readings: Readings) -> dict[str, Value]:
        """All readings there are: those given, else as the view fixes them, else the defaults."""
        return {reading.name: reading.default for reading in ALL} | dict(self._fixed) | dict(readings)

    @property
    def _fixed(self) -> Mapping[str, Value]:
        return self.declaration.fixed if self.declaration is not None else {}
