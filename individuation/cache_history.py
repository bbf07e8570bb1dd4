"""How conversations came by their KV caches, turn by turn: for `individuate info`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from traces.facts import CacheSpans, Facts
from traces.provenance import lengths
from traces.vocabulary import DERIVATIONS

TAKEN = ("transferred", "restored", "shared", "edited")
"""How entries come to be that were not computed where they are."""


def cache_history(facts: Facts) -> dict[str, list[dict[str, Any]]]:
    """For each conversation with recorded caches, the caches that its own turns used, in their order.

    Each says at which turns it was used, how it came to be, from which cache, on which server, how many entries it has
    and how they came to be, what it took over from where, and the drift that was measured.

    >>> from traces.file import facts_from_data
    >>> spans = [{"start": 0, "end": 3, "how": "prefilled"}, {"start": 3, "end": 8, "how": "decoded"}]
    >>> facts = facts_from_data({"individuation": 1, "models": {"m": {}},
    ...     "caches": {"k": {"model": "m", "how": "decoded", "spans": spans}},
    ...     "conversations": {"c": {"turns": [{"role": "user", "model": "m", "kv": "k"},
    ...                                       {"role": "assistant", "kv": "k"}]}}})
    >>> cache_history(facts)
    {'c': [{'cache': 'k', 'turns': '0-1', 'how': 'decoded', 'entries': 8, 'origins': {'decoded': 5, 'prefilled': 3}}]}
    """
    turns = facts.turns
    used = np.flatnonzero(turns.kv >= 0)
    if not len(used):
        return {}
    spans = facts.cache_spans()
    bounds = np.searchsorted(spans.cache, np.arange(len(facts.caches) + 1))
    ends = lengths(facts, spans)
    # A run: turns of one conversation, one after the other, on one cache.
    breaks = np.diff(used) > 1
    breaks |= (np.diff(turns.kv[used]) != 0) | (np.diff(turns.conversation[used]) != 0)
    first = np.append(0, np.flatnonzero(breaks) + 1)
    last = np.append(first[1:], len(used)) - 1
    history: dict[str, list[dict[str, Any]]] = {}
    for begin, end in zip(used[first].tolist(), used[last].tolist(), strict=True):
        cache = int(turns.kv[begin])
        row = {
            "cache": facts.caches.names[cache],
            "turns": f"{facts.ordinal(begin)}-{facts.ordinal(end)}" if begin < end else str(facts.ordinal(begin)),
            **_derivation(facts, cache),
        }
        if ends[cache] >= 0:
            mine = range(int(bounds[cache]), int(bounds[cache + 1]))
            row |= {"entries": int(ends[cache]), "origins": _origins(spans, mine)}
            if taken := list(_taken(facts, spans, mine)):
                row["taken over"] = taken
        history.setdefault(facts.conversations.names[turns.conversation[begin]], []).append(row)
    return history


def _derivation(facts: Facts, cache: int) -> dict[str, Any]:
    caches = facts.caches
    row: dict[str, Any] = {"how": DERIVATIONS[caches.how[cache]]}
    if caches.source[cache] >= 0:
        row["from"] = caches.names[caches.source[cache]]
    if caches.server[cache] >= 0:
        row["server"] = list(facts.servers)[caches.server[cache]]
    if caches.positions[cache] >= 0:
        row["positions"] = int(caches.positions[cache])
    for field in ("drift", "drift_mean", "drift_kl"):
        value = float(getattr(caches, field)[cache])
        if not math.isnan(value):
            row[field] = value
    if caches.time[cache] is not None:
        row["time"] = caches.time[cache]
    return row


def _origins(spans: CacheSpans, rows: range) -> dict[str, int]:
    """How many entries came to be in each way."""
    mine = slice(rows.start, rows.stop)
    counts = np.bincount(spans.how[mine], spans.end[mine] - spans.start[mine], minlength=len(DERIVATIONS))
    return {how: int(count) for how, count in zip(DERIVATIONS, counts, strict=True) if count}


def _taken(facts: Facts, spans: CacheSpans, rows: range) -> Iterator[dict[str, Any]]:
    for row in rows:
        how = DERIVATIONS[spans.how[row]]
        if how not in TAKEN:
            continue
        taken: dict[str, Any] = {"entries": f"{spans.start[row]}-{spans.end[row] - 1}", "how": how}
        if spans.source[row] >= 0:
            taken["from"] = facts.caches.names[spans.source[row]]
        if spans.source_start[row] >= 0:
            taken["from_start"] = int(spans.source_start[row])
        if spans.server[row] >= 0:
            taken["server"] = list(facts.servers)[spans.server[row]]
        yield taken


def told(row: dict[str, Any]) -> str:
    """A cache of a history in words.

    >>> told({"cache": "k2", "turns": "2-3", "how": "transferred", "from": "k1", "server": "texas",
    ...       "drift": 0.0, "entries": 55, "origins": {"decoded": 3, "transferred": 52},
    ...       "taken over": [{"entries": "0-51", "how": "transferred", "from": "k1", "from_start": 0}]})
    'k2 at turns 2-3: transferred from k1 on texas (drift 0); 55 entries: 3 decoded, 52 transferred (0-51 from k1)'
    """
    where = f" on {row['server']}" if "server" in row else ""
    source = f" from {row['from']}" if "from" in row else ""
    turns = f"turn{'s' if '-' in row['turns'] else ''} {row['turns']}"
    notes = [f"{row['positions']:,} entries"] if "positions" in row else []
    notes += [
        f"{name.replace('_', ' ')} {row[name]:.3g}" for name in ("drift", "drift_mean", "drift_kl") if name in row
    ]
    text = f"{row['cache']} at {turns}: {row['how']}{source}{where}" + (f" ({', '.join(notes)})" if notes else "")
    if "entries" not in row:
        return text
    origins = ", ".join(f"{count:,} {how}" for how, count in row["origins"].items())
    spans = row.get("taken over", [])
    pieces = [f"{span['entries']} from {span.get('from', 'nowhere recorded')}" for span in spans[:4]]
    pieces += [f"and {len(spans) - 4} more"] if len(spans) > 4 else []
    return f"{text}; {row['entries']:,} entries: {origins}" + (f" ({', '.join(pieces)})" if pieces else "")
