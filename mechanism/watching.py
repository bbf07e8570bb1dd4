"""Recording around a user's own `model.generate`: what is fed to the model is read, whoever calls it.

>>> with Recorder("trace.db", space=space) as recorder, watching(recorder, host):  # doctest: +SKIP
...     host.model.generate(input_ids, max_new_tokens=40)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from transformers.cache_utils import Cache

from mechanism.host import Host
from mechanism.probe import Probes, Readings
from mechanism.processed import Answering, CacheMade, Processed, ProcessedTurn
from mechanism.recorder import Recorder
from mechanism.server import CacheState
from mechanism.span import Span, now
from traces.errors import TraceError


@dataclass
class _Watched:
    """A conversation seen so far: the tokens that stand, how many turns are recorded, and the cache that it is on."""

    key: str
    ids: list[int] = field(default_factory=list)
    turns: int = 0
    cache: Cache | None = None
    name: str = ""
    caches: int = 0
    covered: int = 0


@contextmanager
def watching(recorder: Recorder, host: Host, *, conversation: str | None = None) -> Iterator[None]:
    """Record every `host.model.generate` until the block ends.

    A call whose prompt goes on from what an earlier call ended with belongs to the same conversation, any other begins
    a new one; `conversation` names the first. Where the caller hands in the cache of the call before, the trace says
    that it went on in place; where not, that the transcript was pre-filled again, for so it was. The last token that
    a call samples is not processed by it, so it has no reading (NaN).

    What the model computes is what it would have been. Raises `TraceError` for batches and beams, and for token ids
    that the chat template does not write.
    """
    answering = recorder.answering(Answering.by(host))
    space = recorder.space_for(answering)
    probes = None if space is None else Probes.of(space, host, recorder.layers)
    seen: list[_Watched] = []
    generate = host.model.generate

    def watched(*arguments: Any, **named: Any) -> Any:
        began, cache = now(), named.get("past_key_values")
        fed: list[list[int]] = []
        handle = host.inner.register_forward_pre_hook(_noting(fed), with_kwargs=True)
        try:
            if probes is None:
                out = generate(*arguments, **named)
                readings = np.empty((sum(map(len, fed)), 0), np.float32)
            else:
                with probes.read(host) as reader:
                    out = generate(*arguments, **named)
                    readings = reader.take()
        finally:
            handle.remove()
        ids = _sequence(out)
        _record(recorder, answering, seen, conversation, _Call(ids, fed, readings, cache, named, began))
        return out

    host.model.generate = watched
    try:
        yield
    finally:
        del host.model.generate


@dataclass(frozen=True, eq=False)
class _Call:
    """One call of generate: the whole sequence, what was fed pass by pass, its readings, and the caller's cache."""

    ids: list[int]
    fed: Sequence[Sequence[int]]
    readings: Readings
    cache: Cache | None
    named: dict[str, Any]
    began: str


def _noting(fed: list[list[int]]) -> Any:
    def note(module: torch.nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        ids = named.get("input_ids", inputs[0] if inputs else None)
        if ids is None or ids.shape[0] != 1:
            found = "several sequences at once, or none" if ids is not None else "embeddings instead of token ids"
            raise TraceError("a recorded generate", f"it was given {found}", "token ids of one conversation, no beams")
        fed.append(ids[0].tolist())

    return note


def _sequence(out: Any) -> list[int]:
    ids = out if isinstance(out, torch.Tensor) else out.sequences
    if ids.shape[0] != 1:
        raise TraceError("a recorded generate", f"it gave back {ids.shape[0]} sequences", "one")
    sequence: list[int] = ids[0].tolist()
    return sequence


def _record(recorder: Recorder, answering: Answering, seen: list[_Watched], wanted: str | None, call: _Call) -> None:
    going = next((w for w in seen if w.ids and call.ids[: len(w.ids)] == w.ids), None)
    if going is None:
        going = _Watched((wanted if not seen else None) or recorder.free_key())
        seen.append(going)
        recorder.begins(going.key, None, None)
    processed = sum(map(len, call.fed))
    first = len(call.ids) - 1 - processed
    if first < 0:
        raise TraceError("a recorded generate", "more tokens were processed than it gave back", "a plain decoder")
    goes_on = call.cache is not None and call.cache is going.cache and first <= going.covered
    made: list[CacheMade] = []
    if not goes_on:
        going.caches += 1
        source, going.name, going.cache, going.covered = (
            going.name or None,
            f"{going.key}:kv{going.caches}",
            call.cache,
            0,
        )
        how = "decoded" if source is None else "prefilled"
        taken = len(going.ids) if source is not None else 0
        state = CacheState(going.name, answering.model.key, answering.server.name, how, source, taken, taken, ())
        made.append(CacheMade(state, answering, None, call.began))
    rows = np.full((len(call.ids), call.readings.shape[1]), np.nan, np.float32)
    rows[first : first + processed] = call.readings
    spans = _spans(going.covered, first, call.fed, answering.server.name, call.began)
    turns = []
    split = answering.template.parse(call.ids)
    for turn in split.turns[going.turns :]:
        ids = tuple(call.ids[turn.start : turn.end])
        by_model = _sampling(call.named) if turn is split.turns[-1] else None
        turns.append(
            ProcessedTurn(
                turn.role, turn.text, turn.thinking, ids, turn.marks, turn.start, answering, going.name,
                rows[turn.start : turn.end], (), by_model, call.began,
            )
        )  # fmt: skip
    recorder.processed(going.key, going.turns, Processed(turns, made, {going.name: spans}))
    going.ids, going.turns, going.covered = call.ids, len(split.turns), first + processed


def _spans(covered: int, first: int, fed: Sequence[Sequence[int]], server: str, time: str) -> list[Span]:
    """The origins of the entries that a call added: one span for each pass of several tokens, one for each run of
    single ones."""
    spans: list[Span] = []
    at = first
    for ids in fed:
        start, at = at, at + len(ids)
        how = "decoded" if len(ids) == 1 else "prefilled"
        if spans and how == spans[-1].how == "decoded":
            start = spans.pop().start
        spans.append(Span(start, at, how, server=server, time=time))
    return [span.within(covered, at) for span in spans if span.end > covered]


_NOTED = (
    "do_sample", "max_length", "max_new_tokens", "min_p", "repetition_penalty", "temperature", "top_k", "top_p",
)  # fmt: skip


def _sampling(named: dict[str, Any]) -> dict[str, Any]:
    config = named.get("generation_config")
    given = {} if config is None else {key: getattr(config, key, None) for key in _NOTED}
    return {key: value for key, value in {**given, **named}.items() if key in _NOTED and value is not None}
