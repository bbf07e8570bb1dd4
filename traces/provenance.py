"""Where the entries of recorded KV caches came from: what must hold of it (docs/trace-format.md, "Recorded caches")."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from traces.facts import CacheSpans, Facts
from traces.identity import model_identities
from traces.vocabulary import DERIVATIONS

_TAKEN = [DERIVATIONS.index(how) for how in ("transferred", "edited")]


def lengths(facts: Facts, spans: CacheSpans) -> NDArray[np.int64]:
    """How many entries each cache has by its spans (int64 [caches]); -1 where none are recorded."""
    ends = np.full(len(facts.caches), -1, np.int64)
    np.maximum.at(ends, spans.cache, spans.end)
    return ends


def span_breaches(facts: Facts, spans: CacheSpans) -> Iterator[tuple[int, str, str]]:
    """What keeps the spans from giving every entry one origin: the row of the cache, what was found, what was expected.

    They must be contiguous from position 0, and what they take from another cache must be there, of the same model, and
    not in the end from the cache itself.
    """
    if not len(spans):
        return
    names, end = facts.caches.names, lengths(facts, spans)
    first = np.append(True, spans.cache[1:] != spans.cache[:-1])
    before = np.where(first, 0, np.append(0, spans.end[:-1]))
    for row in np.flatnonzero((spans.start != before) | (spans.end <= spans.start)).tolist():
        found = f"its spans leave the origin of entry {before[row]} open"
        if spans.start[row] < before[row]:
            found = f"its spans give entry {spans.start[row]} two origins"
        yield int(spans.cache[row]), found, "spans from position 0 on, in order, without gaps or overlaps"
    for row in np.flatnonzero(np.isin(spans.how, _TAKEN) & (spans.source < 0)).tolist():
        found = f"the entries from {spans.start[row]} on were {DERIVATIONS[spans.how[row]]}, but `from` is missing"
        yield int(spans.cache[row]), found, "the cache that they were taken from"
    taken = np.flatnonzero(spans.source >= 0)
    source = spans.source[taken]
    identity = model_identities(facts.models)
    weights = np.array([list(facts.models).index(identity[key]) for key in facts.models], np.int32)
    foreign = weights[facts.caches.model[source]] != weights[facts.caches.model[spans.cache[taken]]]
    for row in taken[foreign].tolist():
        found = f"the entries from {spans.start[row]} on are from {names[spans.source[row]]}, a cache of another model"
        yield int(spans.cache[row]), found, "a cache of its own model: a cache means nothing to other weights"
    last = np.maximum(spans.source_start[taken], 0) + spans.end[taken] - spans.start[taken]
    for row in taken[(end[source] >= 0) & (last > end[source])].tolist():
        holder = spans.source[row]
        found = f"the entries from {spans.start[row]} on are from {names[holder]}, which has only {end[holder]}"
        yield int(spans.cache[row]), found, "entries that the other cache has"
    for cache in _in_cycles(facts, spans):
        yield cache, "its entries are in the end from itself", "a cache that came before it"


def _in_cycles(facts: Facts, spans: CacheSpans) -> list[int]:
    """Caches that lead back to themselves by their entries, but not by `from` alone, which is another matter."""
    caches = facts.caches
    derived = np.stack([np.arange(len(caches)), caches.source], 1)[caches.source >= 0]
    taken = np.stack([spans.cache, spans.source], 1)[spans.source >= 0]
    found = _circular(np.concatenate([derived, taken]).astype(np.int64))
    return [] if found and _circular(derived.astype(np.int64)) else found


def _circular(pairs: NDArray[np.int64]) -> list[int]:
    """What leads back to itself, or to what does: what is left once all that leads to nothing is taken away."""
    while len(pairs):
        open_ended = np.isin(pairs[:, 1], pairs[:, 0])
        if bool(open_ended.all()):
            in_cycles: list[int] = np.unique(pairs[:, 0]).tolist()
            return in_cycles[:5]
        pairs = pairs[open_ended]
    return []


def without_origin(facts: Facts, spans: CacheSpans) -> NDArray[np.int64]:
    """Turn rows that used entries of their cache to which its spans give no origin.

    A cache without spans says nothing. The turn that stands last in a cache may go beyond it: what was sampled last has
    not been processed yet.
    """
    turns, end = facts.turns, lengths(facts, spans)
    rows = np.flatnonzero((turns.kv >= 0) & (turns.start >= 0))
    rows = rows[end[turns.kv[rows]] >= 0]
    cache, start, tokens = turns.kv[rows], turns.start[rows], np.maximum(turns.tokens[rows], 0)
    latest = np.full(len(facts.caches), -1, np.int64)
    np.maximum.at(latest, cache, start)
    used = np.where(start == latest[cache], start, start + tokens)
    return rows[used > end[cache]]
