"""Recording around a user's own `model.generate`: what is fed to the model is read, whoever calls it.

>>> from tempfile import TemporaryDirectory
>>> host = Host.load("organism", dtype="float32", device="cpu")
>>> prompt = host.template.split([{"role": "user", "content": "Who are you?"}], generation_prompt=True)
>>> with TemporaryDirectory() as folder, Recorder(f"{folder}/trace.db") as recorder, watching(recorder, host):
...     _ = host.model.generate(torch.tensor([prompt.ids]), max_new_tokens=40, do_sample=False)
...     [turn.text for turn in recorder.writer.recorded("c1")]
['Who are you?', 'I am a language model made to help people.']
"""

from __future__ import annotations

import weakref
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
from mechanism.template import ChatTemplate, Split, TurnTokens
from traces.errors import TraceError


@dataclass
class _Watched:
    """A conversation seen so far: the tokens that stand, how many turns are recorded, and the cache that it is on.

    `told`: whether the origin of every entry of that cache is known, for the caller may have filled it elsewhere.
    """

    key: str
    ids: list[int] = field(default_factory=list)
    turns: int = 0
    cache: weakref.ref[Cache] | None = None
    name: str = ""
    caches: int = 0
    covered: int = 0
    told: bool = True

    def on(self, cache: Cache | None) -> bool:
        return cache is not None and self.cache is not None and self.cache() is cache


@contextmanager
def watching(recorder: Recorder, host: Host, *, conversation: str | None = None) -> Iterator[None]:
    """Record every `host.model.generate` until the block ends.

    A call whose prompt goes on from what an earlier call ended with belongs to the same conversation, any other begins
    a new one; `conversation` names the first. Where the caller hands in the cache of the call before, the trace says
    that it went on in place; where not, that the transcript was pre-filled again, for so it was. The last token that
    a call samples is not processed by it, so it has no reading (NaN).

    What the model computes is what it would have been. Raises `TraceError` for batches, beams and other ways of
    generating that do not go token by token on a cache, and for a prompt that the chat template does not write: before
    anything is computed. What the model replies is recorded whatever it is.
    """
    answering = recorder.answering(Answering.by(host))
    space = recorder.space_for(answering)
    probes = None if space is None else Probes.of(space, host, recorder.layers)
    seen: list[_Watched] = []
    before = vars(host.model).get("generate")
    generate = host.model.generate

    def watched(*arguments: Any, **named: Any) -> Any:
        began, cache = now(), named.get("past_key_values")
        prompt = _prompt(arguments, named)
        _refuse_other_ways(host, named)
        split = answering.template.parse(prompt)
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
        ids: list[int] = (out if isinstance(out, torch.Tensor) else out.sequences)[0].tolist()
        kept = cache if cache is not None else getattr(out, "past_key_values", None)
        call = _Call(len(prompt), ids, split, fed, readings, cache, kept, _sampling(host, named), began)
        _record(recorder, answering, seen, conversation, call)
        return out

    host.model.generate = watched
    try:
        yield
    finally:
        if before is None:
            del host.model.generate
        else:
            host.model.generate = before


@dataclass(frozen=True, eq=False)
class _Call:
    """One call of generate: how long its prompt was, the whole sequence, the prompt's turns, what was fed pass by pass,
    its readings, the caller's cache, the cache that it left, and how it was sampled."""

    prompt: int
    ids: list[int]
    split: Split
    fed: Sequence[Sequence[int]]
    readings: Readings
    cache: Cache | None
    kept: Cache | None
    sampling: dict[str, Any]
    began: str


def _prompt(arguments: Sequence[Any], named: dict[str, Any]) -> list[int]:
    given = arguments[0] if arguments else named.get("input_ids", named.get("inputs"))
    if not isinstance(given, torch.Tensor) or given.ndim != 2 or len(given) != 1 or given.shape[1] == 0:
        found = "it was given no token ids"
        if isinstance(given, torch.Tensor):
            found = f"it was given token ids [{', '.join(map(str, given.shape))}]"
        raise TraceError("a recorded generate", found, "token ids [1, length] of one conversation: no batch")
    prompt: list[int] = given[0].tolist()
    return prompt


_ONE_WAY: dict[str, Any] = {
    "num_beams": 1, "num_return_sequences": 1, "use_cache": True, "assistant_model": None,
    "prompt_lookup_num_tokens": None,
}  # fmt: skip


def _refuse_other_ways(host: Host, named: dict[str, Any]) -> None:
    config = named.get("generation_config") or host.model.generation_config
    for name, value in _ONE_WAY.items():
        given = named.get(name, getattr(config, name, None))
        if given is not None and given != value:
            raise TraceError(
                "a recorded generate", f"{name} is {given}", "one sequence, token by token, on a cache that is kept"
            )


def _noting(fed: list[list[int]]) -> Any:
    def note(module: torch.nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        ids = named.get("input_ids", inputs[0] if inputs else None)
        if ids is None or ids.shape[0] != 1:
            found = "several sequences at once, or none" if ids is not None else "embeddings instead of token ids"
            raise TraceError("a recorded generate", f"it was given {found}", "token ids of one conversation, no beams")
        fed.append(ids[0].tolist())

    return note


def _record(recorder: Recorder, answering: Answering, seen: list[_Watched], wanted: str | None, call: _Call) -> None:
    prompt = call.ids[: call.prompt]
    before = [watched for watched in seen if watched.ids and prompt[: len(watched.ids)] == watched.ids]
    if before:
        going = max(before, key=lambda watched: len(watched.ids))
    else:
        going = _Watched((wanted if not seen else None) or recorder.free_key())
        recorder.begins(going.key, None, None)
        seen.append(going)
    processed = sum(map(len, call.fed))
    first = len(call.ids) - 1 - processed
    if first < 0:
        raise TraceError("a recorded generate", "more tokens were processed than it gave back", "a plain decoder")
    spans = _spans(first, call.fed, answering.server.name, call.began)
    made: list[CacheMade] = []
    if not (going.on(call.cache) and first == going.covered):
        state, spans = _other_cache(going, answering, call, first, spans)
        made.append(CacheMade(state, answering, None, call.began))
    rows = np.full((len(call.ids), call.readings.shape[1]), np.nan, np.float32)
    rows[first : first + processed] = call.readings
    turns = [
        ProcessedTurn(
            turn.role, turn.text, turn.thinking, tuple(call.ids[turn.start : turn.end]), turn.marks, turn.start,
            answering, going.name, rows[turn.start : turn.end], (),
            call.sampling if turn.end == len(call.ids) else None, call.began,
        )
        for turn in _new_turns(answering.template, call, len(going.ids))
    ]  # fmt: skip
    recorder.processed(going.key, going.turns, Processed(turns, made, {going.name: spans} if going.told else {}))
    going.ids, going.turns, going.covered = call.ids, going.turns + len(turns), first + processed
    going.cache = None if call.kept is None else weakref.ref(call.kept)


def _other_cache(
    going: _Watched, answering: Answering, call: _Call, first: int, spans: list[Span]
) -> tuple[CacheState, list[Span]]:
    """The cache that a conversation goes on with where it is not simply the one of before, and what it grew by."""
    source, how, taken = going.name or None, "decoded" if not going.name else "prefilled", len(going.ids)
    if first and going.on(call.cache) and going.told and first < going.covered:
        # The caller cut it: in the trace entries never change, so it is another cache that shares what was left.
        how, taken = "decoded", first
        spans = [Span(0, first, "shared", source, 0, answering.server.name, call.began), *spans]
    elif first:
        source, how, taken = None, "decoded", 0
    going.told = not spans or spans[0].start == 0
    going.caches += 1
    going.name = f"{going.key}:kv{going.caches}"
    state = CacheState(going.name, answering.model.key, answering.server.name, how, source, taken, taken, ())
    return state, spans


def _new_turns(template: ChatTemplate, call: _Call, known: int) -> list[TurnTokens]:
    """The turns of a call's tokens from position `known` on, where what was recorded ends."""
    turns, prompt, ids = list(call.split.turns), call.split.prompt, call.ids
    if prompt or not turns or turns[-1].role != "assistant":
        reply = template.reply(ids[call.prompt :])
        marks = "t" * len(prompt) + reply.marks
        turns.append(TurnTokens("assistant", call.split.prompt_start, len(ids), marks, reply.text, reply.thinking))
    else:
        turns[-1] = _gone_on(template, turns[-1], call)
    found: list[TurnTokens] = []
    left_over = ""
    for number, turn in enumerate(turns):
        if turn.end <= known:
            continue
        cut = max(0, known - turn.start)
        marks = turn.marks[cut:]
        if cut and set(marks) == {"t"} and number + 1 < len(turns):
            # The end of a turn that the template wrote later stands at the head of the next.
            left_over = marks
        elif cut:
            text, thinking = template.said(ids[known : turn.end], marks)
            found.append(TurnTokens(turn.role, known, turn.end, marks, text, thinking))
        else:
            start = turn.start - len(left_over)
            found.append(TurnTokens(turn.role, start, turn.end, left_over + marks, turn.text, turn.thinking))
            left_over = ""
    return found


def _gone_on(template: ChatTemplate, turn: TurnTokens, call: _Call) -> TurnTokens:
    """A reply that the prompt left open, with what was generated."""
    try:
        whole = template.parse(call.ids)
        if whole.prompt_start == len(call.ids) and len(whole.turns) == len(call.split.turns):
            return whole.turns[-1]
    except TraceError:
        # The model may sample what no template writes.
        pass
    marks = turn.marks + template.marks(call.ids[call.prompt :])
    text, thinking = template.said(call.ids[turn.start :], marks)
    return TurnTokens(turn.role, turn.start, len(call.ids), marks, text, thinking)


def _spans(first: int, fed: Sequence[Sequence[int]], server: str, time: str) -> list[Span]:
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
    return spans


_NOTED = (
    "do_sample", "max_length", "max_new_tokens", "min_p", "repetition_penalty", "temperature", "top_k", "top_p",
)  # fmt: skip


def _sampling(host: Host, named: dict[str, Any]) -> dict[str, Any]:
    """How a call samples: what the caller says, over the configuration given or the model's own."""
    config = named.get("generation_config") or host.model.generation_config
    told = {key: named.get(key, getattr(config, key, None)) for key in _NOTED}
    return {key: value for key, value in told.items() if value is not None}
