"""The KV caches of a trace.db that is being written to, and the spans of entries that they grow by."""

from __future__ import annotations

import json
import sqlite3
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from traces.errors import TraceError, UnknownNameError, quoted
from traces.known_names import KnownNames
from traces.store_writing import INSERT_CACHE, INSERT_SPAN, json_or_null
from traces.vocabulary import DERIVATIONS, CacheSpan, KVCache, Turn

_FIELDS = (
    "model", "server", "from", "how", "positions", "drift", "drift_kl", "time", "drift_mean", "drift_layers",
)  # fmt: skip


class GrowingCaches:
    """Caches and their spans. Ask and add within a transaction on the connection of `known`."""

    def __init__(self, known: KnownNames) -> None:
        self.known = known
        self.connection: sqlite3.Connection = known.connection
        self.forget()

    def forget(self) -> None:
        """What was known may no longer be so."""
        self._caches: dict[str, tuple[int, KVCache]] | None = None
        self._spans: dict[str, list[CacheSpan]] = {}

    def declare(self, where: str, key: str, cache: KVCache) -> None:
        """Declare a KV cache. Spans that it brings are added to those recorded of it, as those of turns are."""
        known = self._table()
        bare = cache.model_copy(update={"spans": ()})
        if key in known:
            _refuse_other(where, known[key][1], bare)
        else:
            model = self.known.id(where, "model", cache.model)
            server = -1 if cache.server is None else self.known.id(where, "server", cache.server)
            source = -1 if cache.source is None else self.cache(where, cache.source)[0]
            self._refuse_foreign(where, cache)
            number = self.known.new_id("kv_cache")
            positions = -1 if cache.positions is None else cache.positions
            self.connection.execute(
                INSERT_CACHE,
                (
                    number, key, model, server, source, DERIVATIONS.index(cache.how), positions, cache.drift,
                    cache.drift_kl, cache.time, cache.drift_mean, json_or_null(cache.drift_layers),
                ),
            )  # fmt: skip
            known[key] = (number, bare)
            self._spans[key] = []
        self.add_spans(where, key, cache.spans)

    def _table(self) -> dict[str, tuple[int, KVCache]]:
        if self._caches is None:
            self._caches = {}
            for number, key, *fields, layers in self.connection.execute(
                "SELECT v.id, v.key, m.key, s.key, o.key, v.how, v.positions, v.drift, v.drift_kl, v.time, "
                "v.drift_mean, v.drift_json FROM kv_cache v JOIN model m ON m.id = v.model_id "
                "LEFT JOIN server s ON s.id = v.server_id LEFT JOIN kv_cache o ON o.id = v.source_id ORDER BY v.id"
            ).fetchall():
                fields[3] = DERIVATIONS[fields[3]]
                given = (*fields, None if layers is None else json.loads(layers))
                self._caches[key] = (number, KVCache(**dict(zip(_FIELDS, given, strict=True))))
        return self._caches

    def cache(self, where: str, name: str) -> tuple[int, KVCache]:
        """The id of a cache that must be there, and what was declared of it."""
        known = self._table()
        if name not in known:
            raise UnknownNameError(where, "cache", name, known)
        return known[name]

    def _refuse_foreign(self, where: str, cache: KVCache) -> None:
        if cache.source is None:
            if cache.how in ("transferred", "edited"):
                raise TraceError(
                    where, f"it was {cache.how}, but its source is missing", "the cache it was derived from"
                )
        elif not self.known.same_weights(self.cache(where, cache.source)[1].model, cache.model):
            found = f"it is derived from {cache.source}, a cache of another model"
            raise TraceError(where, found, "a cache of its own model: a cache means nothing to other weights")

    def of_turn(self, where: str, turn: Turn) -> int:
        """The id of the cache that a turn names; it must be one of its model, and on its server."""
        number, cache = self.cache(where, str(turn.kv))
        if not self.known.same_weights(cache.model, str(turn.model)):
            found = f"kv is {quoted(turn.kv)}, a cache of model {cache.model}, but the turn ran on {turn.model}"
            raise TraceError(where, found, "a cache of the turn's own model: a cache means nothing to other weights")
        if cache.server is not None and turn.server is not None and cache.server != turn.server:
            found = f"kv is {quoted(turn.kv)}, a cache on server {cache.server}, but the turn ran on {turn.server}"
            raise TraceError(where, found, "a cache on the turn's own server")
        return number

    def spans(self, key: str) -> list[CacheSpan]:
        """The spans that are recorded of a cache."""
        if key not in self._spans:
            found = self.connection.execute(
                'SELECT a.start, a."end", a.how, o.key, a.source_start, s.key, a.time, a.layers_json FROM cache_span a '
                "JOIN kv_cache v ON v.id = a.cache_id LEFT JOIN kv_cache o ON o.id = a.source_id "
                "LEFT JOIN server s ON s.id = a.server_id WHERE v.key = ? ORDER BY a.start",
                (key,),
            ).fetchall()
            self._spans[key] = [_span(*row) for row in found]
        return self._spans[key]

    def add_spans(self, where: str, key: str, spans: Sequence[CacheSpan]) -> None:
        """Record what is new of the spans of a cache. What it had before must still be so: entries never change."""
        if not spans:
            return
        number, _ = self.cache(where, key)
        recorded = self.spans(key)
        end = recorded[-1].end if recorded else 0
        if spans[-1].end < end:
            raise TraceError(
                where,
                f"cache {key} has {spans[-1].end} entries, but {end} were recorded",
                "a new cache, shared from it, where entries were cut off",
            )
        rows = []
        for span in spans:
            self._refuse_changed(where, key, recorded, span)
            end = recorded[-1].end if recorded else 0
            if span.start > end:
                raise TraceError(
                    where,
                    f"the spans of cache {key} go on at {span.start}, but {end} entries were recorded",
                    "spans without gaps: every entry has an origin",
                )
            if span.end <= end:
                continue
            shift = end - span.start
            if shift:
                place = None if span.source_start is None else span.source_start + shift
                span = span.model_copy(update={"start": end, "source_start": place})
            source = -1 if span.source is None else self.cache(where, span.source)[0]
            self._refuse_origin(where, key, span)
            server = -1 if span.server is None else self.known.id(where, "server", span.server)
            layers = None if span.layers is None else list(span.layers)
            rows.append(
                (
                    number, span.start, span.end, DERIVATIONS.index(span.how), source,
                    -1 if span.source_start is None else span.source_start, server, span.time, json_or_null(layers),
                )
            )  # fmt: skip
            recorded.append(span)
        self.connection.executemany(INSERT_SPAN, rows)

    def _refuse_origin(self, where: str, key: str, span: CacheSpan) -> None:
        if span.source is None:
            if span.how in ("transferred", "edited"):
                found = f"entries of cache {key} were {span.how}, but from which cache is not given"
                raise TraceError(where, found, "the cache that they were taken from")
            return
        if span.source == key:
            raise TraceError(where, f"entries of cache {key} were taken from itself", "another cache")
        if not self.known.same_weights(self.cache(where, span.source)[1].model, self.cache(where, key)[1].model):
            found = f"entries of cache {key} were taken from {span.source}, a cache of another model"
            raise TraceError(where, found, "a cache of its own model: a cache means nothing to other weights")
        there = self.spans(span.source)
        last = (span.source_start or 0) + span.end - span.start
        if there and there[-1].end < last:
            found = f"entries of cache {key} were taken from {span.source}, of which {there[-1].end} were recorded"
            raise TraceError(where, found, f"at least {last} recorded entries there")

    def _refuse_changed(self, where: str, key: str, recorded: list[CacheSpan], span: CacheSpan) -> None:
        first = max(0, bisect_right(recorded, span.start, key=lambda known: known.start) - 1)
        for place in range(first, len(recorded)):
            known = recorded[place]
            if known.start >= span.end:
                return
            if known is span or known.end <= span.start:
                continue
            if _origin(known) != _origin(span):
                entry = f"entry {max(known.start, span.start)} of cache {key}"
                now = span.how if known.how != span.how else f"{span.how} otherwise"
                found = f"{entry} was recorded as {known.how}, and is now {now}"
                raise TraceError(where, found, "a new cache, where entries are others than they were")


def _span(
    start: int,
    end: int,
    how: int,
    source: str | None,
    source_start: int | None,
    server: str | None,
    time: str | None,
    layers: str | None,
) -> CacheSpan:
    fields: dict[str, Any] = {"start": start, "end": end, "how": DERIVATIONS[how], "time": time, "server": server}
    if source is not None:
        fields |= {"from": source, "from_start": source_start}
    if layers is not None:
        fields["layers"] = json.loads(layers)
    return CacheSpan(**fields)


def _origin(span: CacheSpan) -> tuple[Any, ...]:
    place = None if span.source_start is None else span.source_start - span.start
    return (span.how, span.source, place, span.server, span.layers)


def _refuse_other(where: str, known: KVCache, cache: KVCache) -> None:
    if known == cache:
        return
    field = next(name for name in KVCache.model_fields if getattr(known, name) != getattr(cache, name))
    raise TraceError(
        where,
        f"its {field} is {quoted(getattr(cache, field))}, but a cache of that name is recorded with "
        f"{quoted(getattr(known, field))}",
        "the same cache under the same name, or another name",
    )
