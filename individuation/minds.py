"""The minds of a verdict: as columns, and one by one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from rules.view import Cover, Partition, View
from traces.errors import UnknownNameError
from traces.forest import roots, sums_from_root
from traces.stages import StageTable
from traces.vocabulary import ROLES


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


@dataclass(frozen=True)
class Lists:
    """A list of numbers for each mind, laid end to end; that of mind i stands from `start[i]` to `start[i + 1]`."""

    values: NDArray[Any]
    start: NDArray[np.int64]

    @classmethod
    def of(cls, values: NDArray[Any], count: NDArray[np.int64]) -> Lists:
        """From all values, mind by mind, and how many each mind has."""
        return cls(values, np.concatenate([[0], np.cumsum(count)]))

    def __getitem__(self, mind: int) -> NDArray[Any]:
        return self.values[self.start[mind] : self.start[mind + 1]]


def _without_repeats(owner: NDArray[Any], code: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Two columns without the rows that repeat the row before."""
    new = np.ones(len(owner), np.bool_)
    new[1:] = (owner[1:] != owner[:-1]) | (code[1:] != code[:-1])
    rows = np.flatnonzero(new)
    return owner[rows], code[rows]


class MindTable:
    """All minds of a verdict as columns, a row a mind; strings are made when asked for.

    `members` lists the stages of all minds, mind by mind; those of mind i stand from `start[i]` to `start[i + 1]`. The
    columns `count`, `tokens`, `assistant_tokens` (-1 where a count is missing), `first` and `last` are computed at
    once.
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
        minds, tokens, spoken = verdict.count, self.stages.tokens, self.stages.assistant
        # Neighbours are mostly of one mind: the columns come from runs of such stages, not from single ones.
        start = np.flatnonzero(np.concatenate([[True], self._changes]))[: len(self.stages)]
        owner, size = verdict.mind[start], np.diff(start, append=len(self.stages))
        assigned = owner >= 0

        def total(of_run: NDArray[np.int64]) -> NDArray[np.int64]:
            # Doubles are exact up to 2**53, more tokens than any record holds.
            return np.bincount(owner[assigned], of_run[assigned], minds).astype(np.int64)

        self.count = total(size)
        self.tokens = total(np.add.reduceat(tokens, start))
        self.assistant_tokens = total(np.add.reduceat(tokens * spoken, start))
        if not self.stages.tokens_known:
            unknown = (tokens < 0) & (verdict.mind >= 0)
            self.tokens[verdict.mind[unknown]] = -1
            self.assistant_tokens[verdict.mind[unknown & spoken]] = -1
        self.first = np.full(minds, -1, np.int64)
        self.last = np.full(minds, -1, np.int64)
        self.first[owner[assigned][::-1]] = start[assigned][::-1]
        self.last[owner[assigned]] = (start + size - 1)[assigned]

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
    def _members(self) -> Lists:
        if isinstance(self.verdict, Partition):
            order = np.argsort(self.verdict.mind, kind="stable")
            return Lists.of(order[len(order) - int(self.count.sum()) :], self.count)
        members = Lists.of(np.empty(int(self.count.sum()), np.int64), self.count)
        current, place = self.last, members.start[1:] - 1
        while len(current):
            members.values[place] = current
            current = self.verdict.up[current]
            going = current >= 0
            current, place = current[going], place[going] - 1
        return members

    def members(self, mind: int) -> NDArray[np.int64]:
        """The stages of a mind, in order."""
        return self._members[mind]

    @cached_property
    def _owner(self) -> NDArray[np.int64]:
        """The mind of each stage, -1 for none; where minds share stages, that of each of `_members`."""
        return self.verdict.mind if isinstance(self.verdict, Partition) else np.repeat(np.arange(len(self)), self.count)

    @cached_property
    def _changes(self) -> NDArray[np.bool_]:
        """Where `_owner` differs from the row before, from the second row on."""
        changes: NDArray[np.bool_] = self._owner[1:] != self._owner[:-1]
        return changes

    def distinct(self, column: NDArray[Any]) -> Lists:
        """For each mind the distinct codes of a column of stages, by first appearance; -1 left out."""
        owner, code = self._owner, column if isinstance(self.verdict, Partition) else column[self._members.values]
        kept = (owner >= 0) & (code >= 0)
        kept[1:] &= self._changes | (code[1:] != code[:-1])
        # Most repetition is between neighbours, in the record or in the mind; what is left is little enough to sort.
        rows = np.flatnonzero(kept)
        owner, code = _without_repeats(owner[rows], code[rows])
        order = np.argsort(owner, kind="stable")
        owner, code = _without_repeats(owner[order], code[order])
        count = np.bincount(owner, minlength=len(self))
        several = np.flatnonzero(count[owner] > 2)
        _, first = np.unique(owner[several] * (int(code.max(initial=0)) + 1) + code[several], return_index=True)
        again = np.delete(several, first)
        return Lists.of(np.delete(code, again), count - np.bincount(owner[again], minlength=len(self)))

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
                return stages.conversations[int(stages.conversation[first])]
            case "server":
                return _name(stages.servers, int(stages.server[first]))
            case "role":
                return ROLES[int(stages.role[first])]
            case "principal":
                return _name(stages.principals, int(stages.principal[first]))
            case "model":
                codes, names = verdict.naming.model or (stages.model, stages.models)
                return names[int(codes[first])]
            case _:
                return _name(stages.regions.names, int(self.region_of_stage[first]))

    def _filled(self, template: str, mind: int) -> str:
        return re.sub(r"\{(\w+)\}", lambda field: self._field(mind, field.group(1)), template)

    @cached_property
    def ids(self) -> list[str]:
        """The ids of all minds."""
        if isinstance(self.verdict, Cover):
            return [
                f"{self.stages.name(int(a))}..{self.stages.name(int(b))}"
                for a, b in zip(self.first, self.last, strict=True)
            ]
        # Names may hold the separators of keys: "a" with "b/c" and "a/b" with "c" would both be "a/b/c".
        return _numbered(self._filled(self.view.key, mind) for mind in range(len(self)))

    @cached_property
    def labels(self) -> list[str]:
        """The labels of all minds: for people, unique, and the same for the same input."""
        return self._labels(len(self))

    def first_labels(self, how_many: int) -> list[str]:
        """The labels of the first few minds."""
        return self._labels(min(how_many, len(self)))

    def _labels(self, how_many: int) -> list[str]:
        return _numbered(self._filled(self.view.label, mind) for mind in range(how_many))

    @cached_property
    def region_of_stage(self) -> NDArray[np.int32]:
        """The region that each stage brings to its mind: the effective one under persona views, else its own."""
        naming = self.verdict.naming.region
        return self.stages.region if naming is None else naming

    @cached_property
    def _sets(self) -> dict[str, Lists]:
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
        members = self._members.values
        believing = np.isin(members, stages.belief_stage)
        owner = np.repeat(np.arange(len(self)), self.count)
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
            return tuple(listed[code] for code in sets[of][index].tolist())

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


def _numbered(names: Iterable[str]) -> list[str]:
    """The same names, with a number after those that came before; a later name never changes an earlier one."""
    numbered: list[str] = []
    seen: dict[str, int] = {}
    taken: set[str] = set()
    for name in names:
        number = seen.get(name, 0) + 1
        shown = name if number == 1 else f"{name} ({number})"
        while shown in taken:
            number += 1
            shown = f"{name} ({number})"
        seen[name] = number
        taken.add(shown)
        numbered.append(shown)
    return numbered


def _name(names: Sequence[str], code: int) -> str:
    return names[code] if code >= 0 else ""


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

    def named(self, name: str) -> int:
        """The position of the mind of that label or id. Raises `UnknownNameError`."""
        table = self.table
        if table is not None:
            for known in (table.labels, table.ids):
                if name in known:
                    return known.index(name)
        raise UnknownNameError("minds", "stage or mind", name, [] if table is None else table.labels)

    def of_stage(self, row: int) -> int | None:
        """The position of the first mind that a stage (a row of the stage table) belongs to, or None."""
        if self.table is None:
            return None
        if isinstance(self.table.verdict, Partition):
            found = int(self.table.verdict.mind[row])
            return found if found >= 0 else None
        return next((index for index in range(len(self)) if row in self.table.members(index)), None)

    def __repr__(self) -> str:
        shown = ", ".join(self.table.first_labels(5)) if self.table is not None else ""
        return f"<{len(self)} minds: {shown}{', …' if len(self) > 5 else ''}>"
