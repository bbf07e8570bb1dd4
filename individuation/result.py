"""What a view found on a trace: the minds, those left out, and what it all rests on (semantics.md §6)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from individuation.minds import Minds, MindTable
from individuation.ranges import CountRange
from rules.caveats import not_discrete
from rules.readings import Readings
from rules.view import Cover, Partition, Tally, Verdict, View
from traces.stages import StageTable

_MOST_SHOWN = 40


def brackets(results: Iterable[Result]) -> str | None:
    """What stands in brackets beside counts, as a sentence without its full stop; None where nothing does."""
    ranged = [result for result in results if result.range is not None]
    if not ranged:
        return None
    first = any(result.range_first for result in ranged)
    return "In brackets: the range over readings and plausible region boundaries" + (
        "; where regions were not shown to be discrete, the range comes first" if first else ""
    )


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """The verdict of one view on one trace.

    `count` is the number of minds, None where the record does not allow a count (forward-pass without token counts).
    Under a persona view it never stands alone: `range` says how far it may vary.
    """

    view: str
    readings: Mapping[str, Any]
    count: int | None
    minds: Minds
    caveats: list[str]
    verdict: Verdict
    stages: StageTable
    criterion: View
    ranging: Callable[[], CountRange | None] | None = None

    @classmethod
    def of(
        cls,
        view: View,
        stages: StageTable,
        readings: Readings,
        verdict: Verdict,
        caveats: list[str],
        ranging: Callable[[], CountRange | None] | None = None,
    ) -> Result:
        """A result from a verdict. `ranging` finds the range of a persona view's count when it is asked for."""
        table = None if isinstance(verdict, Tally) else MindTable(stages, verdict, view)
        shown = {name: None if value == math.inf else value for name, value in readings.items()}
        return cls(view.name, shown, verdict.count, Minds(table), caveats, verdict, stages, view, ranging)

    def __repr__(self) -> str:
        return f"<Result {self.view}: {self.minds_text}, {len(self.caveats)} caveats>"

    @cached_property
    def range(self) -> CountRange | None:
        """The least and the greatest count over readings and plausible region boundaries; None where the view does not
        rest on regions.
        """
        return self.ranging() if self.ranging is not None else None

    @property
    def count_text(self) -> str:
        """The count as a table has it: with its range under a persona view, `2 (1-4)`; `-` for none. Where regions were
        not shown to be discrete the range comes first: `1-4 (2 as labelled)`.
        """
        count = "-" if self.count is None or self.nothing_known else f"{self.count:,}"
        if self.range is None:
            return count
        return f"{self.range} ({count} as labelled)" if self.range_first else f"{count} ({self.range})"

    @property
    def minds_text(self) -> str:
        """The count with its noun, and with its range under a persona view: `2 minds (1-4)`. Where regions were shown
        not to be discrete the range comes first: `1-4 minds (2 as labelled)`.
        """
        none = self.count is None or self.nothing_known
        if self.range_first:
            return f"{self.range} minds ({self.count:,} as labelled)"
        count = "no count of minds" if none else f"{self.count:,} mind{'' if self.count == 1 else 's'}"
        return count if self.range is None else f"{count} ({self.range})"

    def _repr_html_(self) -> str:
        from individuation.html import table

        rows = [
            (mind.label, len(mind.stages), mind.tokens if mind.tokens is not None else "-") for mind in self.minds[:40]
        ]
        more = [f"... and {len(self.minds) - 40:,} minds more"] if len(self.minds) > 40 else []
        chosen = f", with {self.chosen_text}" if self.chosen_text else ""
        first = "" if self.said_first is None else f"{self.said_first}. "
        rest = [caveat for caveat in self.caveats if caveat != self.said_first]
        return table(
            f"{first}{self.view}: {self.minds_text}{chosen}", ["mind", "stages", "tokens"], rows, [*more, *rest]
        )

    @property
    def said_first(self) -> str | None:
        """The caveat that comes before the count: that the regions counted were not shown to be discrete."""
        return not_discrete(self.criterion, self.stages)

    @property
    def range_first(self) -> bool:
        """Whether the range tells more than the count: where regions are stretches of a continuum, how many there are
        hangs on where they were cut.
        """
        if self.said_first is None or self.count is None or self.nothing_known or self.range is None:
            return False
        return self.range.low != self.range.high or not self.range.complete

    @property
    def readings_text(self) -> str:
        """All readings and their values on one line, as `--reading` takes them."""
        return " ".join(f"{name}={'inf' if value is None else value}" for name, value in self.readings.items())

    @property
    def chosen_text(self) -> str:
        """The readings that are not at their defaults, as `--reading` takes them; "" where all are."""
        chosen = []
        for reading in self.criterion.readings:
            value = self.readings[reading.name]
            if value is not None and value != reading.default:
                chosen.append(f"{reading.name}={value}")
        return " ".join(chosen)

    @property
    def nothing_known(self) -> bool:
        """Whether no stage belongs to any mind for want of what the record does not say: there is nothing to count."""
        needs = self.criterion.rests_on & {"servers", "principals"}
        return bool(needs) and not self.count and self.unassigned_count == len(self.stages)

    @cached_property
    def unassigned(self) -> list[str]:
        """The stages that belong to no mind."""
        return [self.stages.name(stage) for stage in self._unassigned_rows()]

    @property
    def unassigned_count(self) -> int:
        """How many stages belong to no mind."""
        return len(self._unassigned_rows())

    def _unassigned_rows(self) -> NDArray[np.int64]:
        match self.verdict:
            case Partition():
                return np.flatnonzero(self.verdict.mind < 0)
            case Cover():
                return np.flatnonzero(~self.verdict.assigned)
            case _:
                return np.empty(0, np.int64)

    def summary(self, labels: int = 20) -> dict[str, Any]:
        """The count, the labels of the first minds, and the caveats; without stages."""
        return {
            "view": self.view,
            "readings": dict(self.readings),
            "count": self.count,
            **self._range_data(),
            "labels": [] if self.minds.table is None else self.minds.table.first_labels(labels),
            "unassigned": self.unassigned_count,
            "caveats": list(self.caveats),
        }

    def to_dict(self) -> dict[str, Any]:
        """Everything, as `--format json` prints it (docs/trace-format.md)."""
        data: dict[str, Any] = {
            "view": self.view,
            "readings": dict(self.readings),
            "count": self.count,
            **self._range_data(),
            "minds": [mind.to_dict() for mind in self.minds],
        }
        if isinstance(self.verdict, Tally):
            data["per_stage"] = self.per_stage()
        return data | {"unassigned": self.unassigned, "caveats": list(self.caveats)}

    def _range_data(self) -> dict[str, Any]:
        span = self.range
        return {} if span is None else {"range": {"low": span.low, "high": span.high, "complete": span.complete}}

    def per_stage(self) -> list[dict[str, Any]]:
        """For a view that summarises minds by stage: how many each stage brings."""
        if not isinstance(self.verdict, Tally):
            return []
        known = self.verdict.count is not None
        rows = zip(self.verdict.own.tolist(), self.verdict.again.tolist(), strict=True)
        return [
            {
                "stage": self.stages.name(stage),
                "own": own if own >= 0 else None,
                "again": again if known else None,
                "passes": own + again if known else None,
            }
            for stage, (own, again) in enumerate(rows)
        ]
