"""A trace document into facts: names resolved, model and server carried over, what refers to nothing refused."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from traces.declarations import check_declarations
from traces.document import place_of, validated
from traces.errors import TraceError, UnknownNameError, quoted, suggestion
from traces.facts import (
    Beliefs,
    Caches,
    CacheSpans,
    Chances,
    Connections,
    Conversations,
    Coordinates,
    Facts,
    TurnDetail,
    TurnLabels,
    Turns,
    is_detailed,
    numbered,
    split_belief,
)
from traces.identity import model_identities, models_named
from traces.paths import is_before, path_order, turn_on_path
from traces.provenance import span_breaches
from traces.text import Place, Source
from traces.turn_labels import rows_of
from traces.vocabulary import CACHES, DERIVATIONS, ROLES, Connection, Probe, Server, TraceDocument, Turn


def facts_from(source: Source) -> Facts:
    """The facts of a parsed trace file. Raises `TraceError`."""
    return _Reading(source, validated(source, TraceDocument)).facts()


class _Reading:
    def __init__(self, source: Source, document: TraceDocument) -> None:
        self.source = source
        self.document = document
        self.names = list(document.conversations)
        self.number = {name: i for i, name in enumerate(self.names)}
        self.model_number = {name: i for i, name in enumerate(document.models)}
        identity = model_identities(document.models)
        self.identity = [identity[key] for key in document.models]
        self.cache_number = {name: i for i, name in enumerate(document.caches)}
        self.server_number = {name: i for i, name in enumerate(document.servers or ())}

    def where(self, conversation: str, turn: int | None = None, field: str = "") -> str:
        loc: Place = ("conversations", conversation)
        if turn is not None:
            loc = (*loc, "turns", turn)
        return place_of(self.source, (*loc, field) if field else loc)

    def facts(self) -> Facts:
        document = self.document
        check_declarations(self.source, document)
        for cache in document.caches.values():
            for server in (cache.server, *(span.server for span in cache.spans)):
                if server is not None:
                    self.server("", server)
        conversations = self.conversation_table()
        self.carry_over(conversations)
        facts = Facts(
            name=self.source.name,
            title=document.title,
            source=document.source,
            case=document.case,
            models=dict(document.models),
            spaces=dict(document.spaces),
            labellings={name: dict(labelling.spaces) for name, labelling in document.labellings.items()},
            interventions=dict(document.interventions),
            principals=self.principals,
            conversations=conversations,
            locate=lambda conversation, turn, field: self.where(conversation, turn, field),
        )
        self.turn_tables(facts)
        declared = document.servers or {}
        facts.servers = {name: declared.get(name, Server()) for name in self.server_number}
        facts.caches = self.cache_table()
        spans = self.span_table()
        facts.cache_spans = lambda: spans
        facts.turn_labels = {
            name: TurnLabels(
                rows_of(facts, place_of(self.source, ("labellings", name)), labelling.turns), labelling.made
            )
            for name, labelling in document.labellings.items()
            if labelling.turns
        }
        for row, found, expected in span_breaches(facts, spans):
            raise TraceError(place_of(self.source, ("caches", facts.caches.names[row])), found, expected)
        return facts

    def same_weights(self, one: str, other: str) -> bool:
        return self.identity[self.model_number[one]] == self.identity[self.model_number[other]]

    def server(self, where: str, name: str) -> int:
        """A server's number. Without a `servers:` list, a server exists by being named."""
        if name not in self.server_number:
            if self.document.servers is not None:
                raise UnknownNameError(where, "server", name, self.document.servers)
            self.server_number[name] = len(self.server_number)
        return self.server_number[name]

    def conversation_table(self) -> Conversations:
        parent = np.full(len(self.names), -1, np.int32)
        at = np.zeros(len(self.names), np.int32)
        size = np.array([len(c.turns) for c in self.document.conversations.values()], np.int32)
        for i, (name, conversation) in enumerate(self.document.conversations.items()):
            if conversation.parent is None:
                continue
            if conversation.parent not in self.number:
                raise UnknownNameError(
                    self.where(name, None, "parent"), "conversation", conversation.parent, self.names
                )
            parent[i], at[i] = self.number[conversation.parent], conversation.at or 0
        table = Conversations(self.names, parent, at, (np.cumsum(size) - size).astype(np.int64), size)
        check_branches(table, lambda i, field: self.where(self.names[i], None, field))
        return table

    def carry_over(self, table: Conversations) -> None:
        """Fill in model and server along each path, and principals, parents before their branches."""
        total = int(table.size.sum())
        principal: list[str | None] = [None] * len(table)
        self.model = np.full(total, -1, np.int32)
        self.server_of = np.full(total, -1, np.int32)
        for c in path_order(table.parent):
            conversation = self.document.conversations[self.names[c]]
            inherits = table.parent[c] >= 0 and "principal" not in conversation.model_fields_set
            principal[c] = principal[table.parent[c]] if inherits else conversation.principal
            before = turn_on_path(table, int(table.parent[c]), int(table.at[c]) - 1)
            model, server = (-1, -1) if before < 0 else (int(self.model[before]), int(self.server_of[before]))
            for k, turn in enumerate(conversation.turns):
                if turn.model is not None:
                    if turn.model not in self.model_number:
                        raise UnknownNameError(
                            self.where(self.names[c], k, "model"), "model", turn.model, self.document.models
                        )
                    model = self.model_number[turn.model]
                if "server" in turn.model_fields_set:
                    server = -1
                    if turn.server is not None:
                        server = self.server(self.where(self.names[c], k, "server"), turn.server)
                if model < 0:
                    raise TraceError(
                        self.where(self.names[c], k),
                        "no model is given, and none before it",
                        "a model on the first turn",
                    )
                row = int(table.first[c]) + k
                self.model[row], self.server_of[row] = model, server
        table.principal, self.principals = numbered(principal)

    def turn_tables(self, facts: Facts) -> None:
        rows = [turn for conversation in self.document.conversations.values() for turn in conversation.turns]
        count = len(rows)
        role = {name: i for i, name in enumerate(ROLES)}
        cache = {name: i for i, name in enumerate(CACHES)} | {None: -1}
        table = facts.conversations
        facts.turns = turns = Turns(
            conversation=np.repeat(np.arange(len(table), dtype=np.int32), table.size),
            role=np.fromiter((role[t.role] for t in rows), np.int8, count),
            tokens=np.fromiter((-1 if t.tokens is None else t.tokens for t in rows), np.int64, count),
            model=self.model,
            server=self.server_of,
            cache=np.fromiter((cache[t.cache] for t in rows), np.int8, count),
            kv=np.fromiter((self.named_cache(facts, i, t) for i, t in enumerate(rows)), np.int32, count),
            edited=np.fromiter((t.edited for t in rows), np.bool_, count),
            drift=np.fromiter((math.nan if t.drift is None else t.drift for t in rows), np.float64, count),
            shared_from=np.full(count, -1, np.int64),
            start=np.fromiter((-1 if t.start is None else t.start for t in rows), np.int64, count),
        )
        facts.probes = dict(self.document.probes)
        self.coordinates(facts, rows)
        regions: dict[str, int] = {}
        stated: list[int] = []
        chances: list[tuple[int, int, float]] = []
        for row, turn in enumerate(rows):
            stated.append(-1 if turn.region is None else regions.setdefault(turn.region, len(regions)))
            for region, probability in turn.region_probabilities.items():
                chances.append((row, regions.setdefault(region, len(regions)), probability))
        facts.stated = np.array(stated, np.int32)
        facts.chances = Chances(
            np.array([row for row, _, _ in chances], np.int64),
            np.array([region for _, region, _ in chances], np.int32),
            np.array([probability for _, _, probability in chances], np.float64),
        )
        facts.regions = list(regions)
        facts.beliefs = _beliefs(rows)
        details: dict[int, TurnDetail] = {}
        measured: list[tuple[int, int, float, float]] = []
        for row, turn in enumerate(rows):
            if turn.shared_from is not None:
                turns.shared_from[row] = self.shared(facts, row, turn.shared_from)
            origins = {self.earlier(facts, row, name): of for name, of in turn.connections.items()}
            for origin, of in sorted(origins.items(), key=lambda item: item[0]):
                measured.append(
                    (row, origin, math.nan if of.mass is None else of.mass, math.nan if of.kl is None else of.kl)
                )
            if is_detailed(turn):
                details[row] = self.detail(facts, row, turn, origins)
        facts.details = lambda: details
        facts.connections = _connections(measured)

    def named_cache(self, facts: Facts, row: int, turn: Turn) -> int:
        if turn.kv is None:
            return -1
        if turn.kv not in self.cache_number:
            raise UnknownNameError(self._row(facts, row, "kv"), "cache", turn.kv, self.document.caches)
        cache = self.document.caches[turn.kv]
        if not self.same_weights(cache.model, self._model_of(row)):
            raise TraceError(
                self._row(facts, row, "kv"),
                f"kv is {quoted(turn.kv)}, a cache of model {cache.model}, but the turn ran on {self._model_of(row)}",
                "a cache of the turn's own model: a cache means nothing to other weights",
            )
        if cache.server is not None and self.server_of[row] not in (-1, self.server_number[cache.server]):
            raise TraceError(
                self._row(facts, row, "kv"),
                f"kv is {quoted(turn.kv)}, a cache on server {cache.server}, but the turn ran on another",
                "a cache on the turn's own server",
            )
        return self.cache_number[turn.kv]

    def _model_of(self, row: int) -> str:
        return list(self.document.models)[int(self.model[row])]

    def _row(self, facts: Facts, row: int, field: str) -> str:
        c = int(np.searchsorted(facts.conversations.first, row, side="right")) - 1
        while facts.conversations.size[c] == 0:
            c -= 1
        return self.where(self.names[c], row - int(facts.conversations.first[c]), field)

    def coordinates(self, facts: Facts, rows: list[Turn]) -> None:
        axes_of_model: dict[int, set[str]] = {}
        spaces = [*self.document.spaces.values()]
        for labelling in self.document.labellings.values():
            spaces += labelling.spaces.values()
        for space in spaces:
            for key in models_named(self.document.models, space.model):
                axes_of_model.setdefault(self.model_number[key], set()).update(space.axes)
        numbers = {name: i for i, name in enumerate(facts.probes)}
        turn_of: list[int] = []
        probe_of: list[int] = []
        values: list[float] = []
        for row, turn in enumerate(rows):
            for axis, value in turn.at.items():
                if axis not in numbers:
                    known = axes_of_model.get(int(self.model[row]))
                    if axis not in self.document.probes and known is not None and axis not in known:
                        raise TraceError(
                            self._row(facts, row, "at"),
                            f"at has a coordinate on {quoted(axis)}{suggestion(axis, known)}",
                            f"an axis of a space of its model ({', '.join(sorted(known))}), or one "
                            "declared under probes",
                        )
                    numbers[axis] = len(numbers)
                    facts.probes[axis] = Probe(axis=axis)
                turn_of.append(row)
                probe_of.append(numbers[axis])
                values.append(value)
            if turn.at_tokens is not None:
                for axis in turn.at_tokens.probes:
                    if axis not in numbers:
                        raise UnknownNameError(self._row(facts, row, "at_tokens"), "probe", axis, facts.probes)
        facts.coordinates = Coordinates(
            np.array(turn_of, np.int64), np.array(probe_of, np.int32), np.array(values, np.float64)
        )

    def stage(self, facts: Facts, where: str, said: str, name: str) -> int:
        """The turn row of a named stage; `said` is how a message begins."""
        conversation, slash, ordinal = name.rpartition("/")
        if not slash:
            raise TraceError(where, f"{said} {quoted(name)}", "a stage: CONVERSATION/ORDINAL, ordinals from 0")
        if conversation not in self.number:
            raise UnknownNameError(where, "conversation", conversation, self.names)
        c = self.number[conversation]
        if not ordinal.isdecimal() or int(ordinal) >= facts.conversations.size[c]:
            raise TraceError(
                where,
                f"{said} {quoted(name)}",
                f"{conversation}/ORDINAL with an ordinal below {facts.conversations.size[c]}",
            )
        return int(facts.conversations.first[c]) + int(ordinal)

    def earlier(self, facts: Facts, row: int, name: str) -> int:
        """The row of a stage before this one on its path."""
        where = self._row(facts, row, "connections")
        origin = self.stage(facts, where, "connections has", name)
        if not bool(is_before(facts.conversations, facts.turns.conversation, np.array([origin]), np.array([row]))[0]):
            raise TraceError(
                where,
                f"connections has {quoted(name)}, which is not before this turn",
                "an earlier stage on the turn's path",
            )
        return origin

    def shared(self, facts: Facts, row: int, name: str) -> int:
        where = self._row(facts, row, "shared_from")
        origin = self.stage(facts, where, "shared_from is", name)
        if facts.turns.conversation[origin] == facts.turns.conversation[row]:
            raise TraceError(
                where, f"shared_from is {quoted(name)}, of the same conversation", "a stage of another conversation"
            )
        if self.identity[self.model[origin]] != self.identity[self.model[row]]:
            raise TraceError(
                where,
                f"shared_from is {quoted(name)}, which ran on another model",
                "a stage on the same model: a cache means nothing to other weights",
            )
        return origin

    def detail(self, facts: Facts, row: int, turn: Turn, connections: Mapping[int, Connection]) -> TurnDetail:
        for name in turn.interventions:
            if name not in self.document.interventions:
                raise UnknownNameError(
                    self._row(facts, row, "interventions"), "intervention", name, self.document.interventions
                )
        probes: tuple[str, ...] = ()
        grid = None
        if turn.at_tokens is not None:
            probes = turn.at_tokens.probes
            grid = _unpacked(self._row(facts, row, "at_tokens"), turn.at_tokens.float32, turn.tokens, len(probes))
        return TurnDetail(
            text=turn.text,
            token_ids=None if turn.token_ids is None else np.array(turn.token_ids, np.int32),
            token_marks=turn.token_marks,
            time=turn.time,
            sampling=turn.sampling,
            interventions=turn.interventions,
            token_probes=probes,
            token_coordinates=grid,
            connection_layers={
                origin: np.array(of.mass_by_layer, np.float32)
                for origin, of in connections.items()
                if of.mass_by_layer is not None
            },
        )

    def cache_table(self) -> Caches:
        caches = list(self.document.caches.values())
        return Caches(
            names=list(self.document.caches),
            model=np.array([self.model_number[c.model] for c in caches], np.int32),
            server=np.array([-1 if c.server is None else self.server_number[c.server] for c in caches], np.int32),
            source=np.array([-1 if c.source is None else self.cache_number[c.source] for c in caches], np.int32),
            how=np.array([DERIVATIONS.index(c.how) for c in caches], np.int8),
            positions=np.array([-1 if c.positions is None else c.positions for c in caches], np.int64),
            drift=np.array([math.nan if c.drift is None else c.drift for c in caches], np.float64),
            drift_kl=np.array([math.nan if c.drift_kl is None else c.drift_kl for c in caches], np.float64),
            time=[c.time for c in caches],
            drift_mean=np.array([math.nan if c.drift_mean is None else c.drift_mean for c in caches], np.float64),
            drift_layers=[c.drift_layers for c in caches],
        )

    def span_table(self) -> CacheSpans:
        rows = [(i, span) for i, cache in enumerate(self.document.caches.values()) for span in cache.spans]
        spans = [span for _, span in rows]
        return CacheSpans(
            cache=np.array([i for i, _ in rows], np.int32),
            start=np.array([s.start for s in spans], np.int64),
            end=np.array([s.end for s in spans], np.int64),
            how=np.array([DERIVATIONS.index(s.how) for s in spans], np.int8),
            source=np.array([-1 if s.source is None else self.cache_number[s.source] for s in spans], np.int32),
            source_start=np.array([-1 if s.source_start is None else s.source_start for s in spans], np.int64),
            server=np.array([-1 if s.server is None else self.server_number[s.server] for s in spans], np.int32),
            time=[s.time for s in spans],
            layers=[s.layers for s in spans],
        )


def _connections(rows: list[tuple[int, int, float, float]]) -> Connections:
    return Connections(
        turn=np.array([row for row, _, _, _ in rows], np.int64),
        source=np.array([origin for _, origin, _, _ in rows], np.int64),
        mass=np.array([mass for _, _, mass, _ in rows], np.float64),
        kl=np.array([kl for _, _, _, kl in rows], np.float64),
    )


def _beliefs(rows: list[Turn]) -> Beliefs:
    propositions: dict[str, int] = {}
    entries = [(row, *split_belief(text)) for row, turn in enumerate(rows) for text in turn.believes]
    return Beliefs(
        turn=np.array([row for row, _, _ in entries], np.int64),
        proposition=np.array([propositions.setdefault(p, len(propositions)) for _, p, _ in entries], np.int32),
        holds=np.array([holds for _, _, holds in entries], np.bool_),
        propositions=list(propositions),
    )


def _unpacked(where: str, packed_text: str, tokens: int | None, probes: int) -> NDArray[np.float32]:
    try:
        packed = base64.b64decode("".join(packed_text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise TraceError(where, "at_tokens.float32 is not base64", "base64 of little-endian float32 numbers") from None
    if tokens is None or len(packed) != 4 * probes * tokens:
        raise TraceError(
            where,
            f"at_tokens has {len(packed):,} bytes for {probes} probes and {quoted(tokens)} tokens",
            "4 bytes for each probe and token",
        )
    grid = np.frombuffer(packed, "<f4").reshape(probes, tokens)
    if bool(np.isinf(grid).any()):
        raise TraceError(where, "at_tokens holds infinity", "finite numbers; NaN for a token that was not read")
    return grid


def check_branches(table: Conversations, where: Callable[[int, str], str]) -> None:
    """Refuse circular branches, and branch points beyond the end of the parent's path."""
    try:
        order = path_order(table.parent)
    except ValueError as error:
        member = int(error.args[0])
        raise TraceError(
            where(member, "parent"),
            f"its parents lead back to itself: {' -> '.join(_cycle(table, member))}",
            "a parent that does not branch from it",
        ) from None
    for c in order:
        parent = int(table.parent[c])
        if parent < 0:
            continue
        longest = int(table.at[parent] + table.size[parent])
        if table.at[c] > longest:
            raise TraceError(
                where(c, "at"),
                f"at is {table.at[c]}, but the path of {table.names[parent]} has {longest} turns",
                f"a whole number from 0 to {longest}",
            )


def _cycle(table: Conversations, member: int) -> list[str]:
    names = [table.names[member]]
    current = int(table.parent[member])
    while current != member and len(names) < 12:
        names.append(table.names[current])
        current = int(table.parent[current])
    return [*names, table.names[member]]
