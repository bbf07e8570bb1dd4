"""What a view found on a trace: the minds, those left out, and what it all rests on (semantics.md §6)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from rules.readings import Readings
from rules.view import Cover, Partition, Tally, Verdict, View
from traces.forest import roots, sums_from_root
from traces.stages import StageTable

_NUMBERED = re.compile(r" \(\d+\)\Z")


@dataclass(frozen=True)
class Contradiction:
    """A proposition that some stages of a mind hold and others deny."""

    proposition: str
    held_by: tuple[str, ...]
    denied_by: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"proposition": self.proposition, "held_by": list(self.held_by), "denied_by": list(self.denied_by)}


@dataclass(frozen=True)
class Mind:
    """One mind under a view. Stages are named `CONVERSATION/ORDINAL`; token sums are None where a count is missing."""

    id: str
    label: str
    stages: tuple[str, ...]
    conversations: tuple[str, ...]
    models: tuple[str, ...]
    servers: tuple[str, ...]
    regions: tuple[str, ...]
    tokens: int | None
    assistant_tokens: int | None
    first: str | None
    last: str | None
    contradictions: tuple[Contradiction, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, keys in the order of docs/trace-format.md."""
        data: dict[str, Any] = {}
        for key, value in self.__dict__.items():
            data[key] = list(value) if isinstance(value, tuple) else value
        data["contradictions"] = [contradiction.to_dict() for contradiction in self.contradictions]
        return data


class MindTable:
    """All minds of a verdict as columns, a row a mind; strings are made when asked for.

    `members` lists the stages of all minds, mind by mind; those of mind i stand from `start[i]` to `start[i + 1]`. The columns
    `count`, `tokens`, `assistant_tokens` (-1 where a count is missing), `first` and `last` are computed at once.
    """

    def __init__(self, stages: StageTable, verdict: Partition | Cover, view: View) -> None:
        self.stages = stages
        self.verdict = verdict
        self.view = view
        if isinstance(verdict, Partition):
            self._of_partition(verdict)
        else:
            self._of_cover(verdict)

    def __len__(self) -> int:
        return len(self.first)

    def _of_partition(self, verdict: Partition) -> None:
        stages, mind, minds = self.stages, verdict.mind, verdict.count
        assigned = mind >= 0
        rows = slice(None) if bool(assigned.all()) else np.flatnonzero(assigned)
        mine, stage = mind[rows], np.arange(len(mind))[rows]
        self.count = np.bincount(mine, minlength=minds)
        self.tokens, self.assistant_tokens = self._sums(mine, stage, minds)
        self.first = np.full(minds, -1, np.int64)
        self.last = np.full(minds, -1, np.int64)
        self.first[mine[::-1]] = stage[::-1]
        self.last[mine] = stage

    def _sums(
        self, mind: NDArray[np.int64], stage: NDArray[np.int64], minds: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        tokens = self.stages.tokens[stage]
        # Doubles are exact up to 2**53, more tokens than any record holds.
        total = np.bincount(mind, tokens, minds).astype(np.int64)
        spoken = np.bincount(mind, np.where(self.stages.assistant[stage], tokens, 0), minds).astype(np.int64)
        if not self.stages.tokens_known:
            total[mind[tokens < 0]] = -1
            spoken[mind[(tokens < 0) & self.stages.assistant[stage]]] = -1
        return total, spoken

    def _of_cover(self, verdict: Cover) -> None:
        stages, last = self.stages, verdict.last
        self.last = last
        self.first = roots(verdict.up)[last] if len(last) else np.empty(0, np.int64)

        def along(value: NDArray[np.int64]) -> NDArray[np.int64]:
            return sums_from_root(verdict.up, value)[last]

        unknown = stages.tokens < 0
        known = np.where(unknown, 0, stages.tokens)
        self.count = along(np.ones(len(stages), np.int64))
        self.tokens = np.where(along(unknown.astype(np.int64)) > 0, -1, along(known))
        spoken_unknown = along((unknown & stages.assistant).astype(np.int64)) > 0
        self.assistant_tokens = np.where(spoken_unknown, -1, along(np.where(stages.assistant, known, 0)))

    @cached_property
    def _members(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        start = np.concatenate([[0], np.cumsum(self.count)])
        if isinstance(self.verdict, Partition):
            order = np.argsort(self.verdict.mind, kind="stable")
            return order[len(order) - int(start[-1]) :], start
        members = np.empty(int(start[-1]), np.int64)
        place = start[1:] - 1
        current = self.last
        while len(current):
            members[place] = current
            current = self.verdict.up[current]
            going = current >= 0
            current, place = current[going], place[going] - 1
        return members, start

    def members(self, mind: int) -> NDArray[np.int64]:
        """The stages of a mind, in order."""
        members, start = self._members
        return members[start[mind] : start[mind + 1]]

    def distinct(self, column: NDArray[Any]) -> list[list[int]]:
        """For each mind the distinct codes of a column of stages, by first appearance; -1 left out."""
        members, start = self._members
        owner = np.repeat(np.arange(len(self)), np.diff(start))
        code = column[members]
        keep = code >= 0
        # Most repetition is between neighbours; the rest is little enough to sort.
        keep[1:] &= (owner[1:] != owner[:-1]) | (code[1:] != code[:-1])
        rows = np.flatnonzero(keep)
        pair = owner[rows] * (int(code.max(initial=0)) + 1) + code[rows]
        _, first = np.unique(pair, return_index=True)
        rows = rows[np.sort(first)]
        result: list[list[int]] = [[] for _ in range(len(self))]
        for mind, value in zip(owner[rows].tolist(), code[rows].tolist(), strict=True):
            result[mind].append(value)
        return result

    def _field(self, mind: int, name: str) -> str:
        """What a template of the view names, at the first stage of a mind."""
        verdict, stages = self.verdict, self.stages
        first = int(self.first[mind])
        if first < 0:
            model, region = (
                verdict.empty[mind - len(self) + len(verdict.empty)] if isinstance(verdict, Partition) else ("", "")
            )
            return {"model": model, "region": region}.get(name, "")
        match name:
            case "stage":
                return stages.name(first)
            case "conversation":
                return stages.conversations[stages.conversation[first]]
            case "server":
                return stages.servers[stages.server[first]] if stages.server[first] >= 0 else ""
            case "model":
                codes, names = verdict.naming.model or (stages.model, stages.models)
                return names[codes[first]]
            case _:
                region = stages.region if verdict.naming.region is None else verdict.naming.region
                return stages.regions.names[region[first]] if region[first] >= 0 else ""

    def _filled(self, template: str, mind: int) -> str:
        return re.sub(r"\{(\w+)\}", lambda field: self._field(mind, field.group(1)), template)

    @cached_property
    def ids(self) -> list[str]:
        """The ids of all minds."""
        if isinstance(self.verdict, Cover):
            return [f"{self.stages.name(a)}..{self.stages.name(b)}" for a, b in zip(self.first, self.last, strict=True)]
        return [self._filled(self.view.key, mind) for mind in range(len(self))]

    @cached_property
    def labels(self) -> list[str]:
        """The labels of all minds: for people, unique, and the same for the same input."""
        return self._labels(len(self))

    def first_labels(self, how_many: int) -> list[str]:
        """The labels of the first few minds."""
        return self._labels(min(how_many, len(self)))

    def _labels(self, how_many: int) -> list[str]:
        # A later mind can only be given a number, never change an earlier one's label.
        labels: list[str] = []
        seen: dict[str, int] = {}
        taken: set[str] = set()
        for mind in range(how_many):
            base = self._filled(self.view.label, mind)
            number = seen.get(base, 0) + 1
            label = base if number == 1 else f"{base} ({number})"
            while label in taken:
                number += 1
                label = f"{base} ({number})"
            seen[base] = number
            taken.add(label)
            labels.append(label)
        return labels

    @cached_property
    def region_of_stage(self) -> NDArray[np.int32]:
        """The region that each stage brings to its mind: the effective one under persona views, else its own."""
        naming = self.verdict.naming.region
        return self.stages.region if naming is None else naming

    @cached_property
    def _sets(self) -> dict[str, list[list[int]]]:
        stages = self.stages
        return {
            "conversations": self.distinct(stages.conversation),
            "models": self.distinct(stages.model),
            "servers": self.distinct(stages.server),
            "regions": self.distinct(self.region_of_stage),
        }

    @cached_property
    def contradictions(self) -> dict[int, list[Contradiction]]:
        """Contradictions by mind, for those that have any."""
        stages = self.stages
        if not len(stages.belief_stage):
            return {}
        minds_of: dict[int, list[int]] = {}
        members, start = self._members
        believing = np.isin(members, stages.belief_stage)
        owner = np.repeat(np.arange(len(self)), np.diff(start))
        for stage, mind in zip(members[believing].tolist(), owner[believing].tolist(), strict=True):
            minds_of.setdefault(stage, []).append(mind)
        sides: dict[tuple[int, int], tuple[list[int], list[int]]] = {}
        beliefs = zip(
            stages.belief_stage.tolist(), stages.belief_proposition.tolist(), stages.belief_holds.tolist(), strict=True
        )
        for stage, proposition, holds in beliefs:
            for mind in minds_of.get(stage, ()):
                side = sides.setdefault((mind, proposition), ([], []))[0 if holds else 1]
                if stage not in side:
                    side.append(stage)
        found: dict[int, list[Contradiction]] = {}
        for (mind, proposition), (held, denied) in sides.items():
            if held and denied:
                found.setdefault(mind, []).append(
                    Contradiction(
                        stages.proposition_names[proposition],
                        tuple(stages.name(stage) for stage in sorted(held)),
                        tuple(stages.name(stage) for stage in sorted(denied)),
                    )
                )
        return found

    def mind(self, index: int) -> Mind:
        """One mind, written out."""
        stages, sets = self.stages, self._sets
        first, last = int(self.first[index]), int(self.last[index])

        def names(of: str, listed: Sequence[str]) -> tuple[str, ...]:
            return tuple(listed[code] for code in sets[of][index])

        models, regions = names("models", stages.models), names("regions", stages.regions.names)
        if first < 0:
            models, regions = (self._field(index, "model"),), (self._field(index, "region"),)
        return Mind(
            id=self.ids[index],
            label=self.labels[index],
            stages=tuple(stages.name(stage) for stage in self.members(index)),
            conversations=names("conversations", stages.conversations),
            models=models,
            servers=names("servers", stages.servers),
            regions=regions,
            tokens=None if self.tokens[index] < 0 else int(self.tokens[index]),
            assistant_tokens=None if self.assistant_tokens[index] < 0 else int(self.assistant_tokens[index]),
            first=None if first < 0 else stages.name(first),
            last=None if last < 0 else stages.name(last),
            contradictions=tuple(self.contradictions.get(index, ())),
        )


class Minds(Sequence[Mind]):
    """The minds of a result, in order of first appearance; each is written out when it is asked for."""

    def __init__(self, table: MindTable | None) -> None:
        self.table = table

    def __len__(self) -> int:
        return 0 if self.table is None else len(self.table)

    @overload
    def __getitem__(self, index: int) -> Mind: ...
    @overload
    def __getitem__(self, index: slice) -> list[Mind]: ...
    def __getitem__(self, index: int | slice) -> Mind | list[Mind]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if self.table is None or not -len(self) <= index < len(self):
            raise IndexError(f"there are {len(self)} minds")
        return self.table.mind(index % len(self))

    def __iter__(self) -> Iterator[Mind]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        shown = ", ".join(self.table.first_labels(5)) if self.table is not None else ""
        return f"<{len(self)} minds: {shown}{', …' if len(self) > 5 else ''}>"


@dataclass(frozen=True)
class Result:
    """The verdict of one view on one trace.

    `count` is the number of minds, None where the record does not allow a count (forward-pass without token counts).
    """

    view: str
    readings: Mapping[str, Any]
    count: int | None
    minds: Minds
    caveats: list[str]
    verdict: Verdict
    stages: StageTable

    @classmethod
    def of(cls, view: View, stages: StageTable, readings: Readings, verdict: Verdict, caveats: list[str]) -> Result:
        """A result from a verdict."""
        table = None if isinstance(verdict, Tally) else MindTable(stages, verdict, view)
        shown = {name: None if value == math.inf else value for name, value in readings.items()}
        return cls(view.name, shown, verdict.count, Minds(table), caveats, verdict, stages)

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
            "minds": [mind.to_dict() for mind in self.minds],
        }
        if isinstance(self.verdict, Tally):
            data["per_stage"] = self.per_stage()
        return data | {"unassigned": self.unassigned, "caveats": list(self.caveats)}

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
