"""Replay: reading a transcript that is there already, one teacher-forced pass for a whole conversation.

Only the inner model runs (no logits), without a cache, and no further than the last block that is read.

Conversations of nearly the same length share a pass as rows of one batch, filled up at the end. Under a causal mask no
token sees what fills up the row behind it, so no mask is needed and rows are read exactly as they would be alone, by
every attention, with or without a sliding window. Packing several into one row, told apart by positions that start
anew, is not done: transformers heeds it only with `use_cache=False` and a mask of its own making, gives wrong states
without a word otherwise, and pays for attention over the whole row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import torch
from torch import nn

from mechanism.host import Host
from mechanism.probe import Probes, Readings
from mechanism.template import Message, Split
from traces.errors import TraceError

TOKENS_PER_PASS = {"cpu": 512, "cuda": 16384, "mps": 4096}
"""At most so many tokens share a pass (a longer conversation has one of its own), by the kind of device."""

LARGEST_FILL = 0.05
"""How much of a pass may be filling."""

WINDOW_PASSES = 64
"""Sorting by length looks so many passes ahead, so that results come soon and in about the order of the input."""


def replay(
    host: Host, conversations: Iterable[Sequence[Message]], probes: Probes, *, tokens_per_pass: int | None = None
) -> Iterator[tuple[int, Split, Readings]]:
    """Read conversations: for each its number, its tokens and turns, and the readings of every token.

    They come as they are read, those of like length together, so not quite in order. Readings are float32
    [tokens, probes] and there are as many as `Split.ids`.

    Raises `TraceError`, naming the conversation by its place (from 1), for one that the template cannot split or that
    is longer than the model's context.
    """
    splits: dict[int, Split] = {}

    def tokens() -> Iterator[list[int]]:
        for index, messages in enumerate(conversations):
            try:
                splits[index] = host.template.split(messages)
                host.check_length(len(splits[index].ids))
            except TraceError as error:
                raise TraceError(f"conversation {index + 1}: {error.where}", error.found, error.expected) from None
            yield splits[index].ids

    for index, readings in read_tokens(host, tokens(), probes, tokens_per_pass=tokens_per_pass):
        yield index, splits.pop(index), readings


def read_tokens(
    host: Host, sequences: Iterable[Sequence[int]], probes: Probes, *, tokens_per_pass: int | None = None
) -> Iterator[tuple[int, Readings]]:
    """The same from token ids: for each sequence its number and its readings, float32 [tokens, probes]."""
    room = tokens_per_pass or TOKENS_PER_PASS.get(host.device.type, TOKENS_PER_PASS["cpu"])
    numbered = enumerate(sequences)
    while window := dict(_window(numbered, room * WINDOW_PASSES)):
        for rows in passes({index: len(ids) for index, ids in window.items()}, room):
            if len(window[rows[0]]):
                yield from zip(rows, _read(host, [window[row] for row in rows], probes), strict=True)
            else:
                yield from ((row, torch.empty(0, len(probes)).numpy()) for row in rows)


def passes(lengths: dict[int, int], room: int) -> list[list[int]]:
    """Which sequences share a pass: longest first, as many as have room and need little filling.

    >>> passes({0: 40, 1: 100, 2: 98, 3: 39}, room=256)
    [[1, 2], [0, 3]]
    """
    planned: list[list[int]] = []
    longest = tokens = 0
    for index in sorted(lengths, key=lambda index: (-lengths[index], index)):
        length = lengths[index]
        filled = (len(planned[-1]) + 1) * longest if planned else 0
        if planned and filled <= room and filled - (tokens + length) <= LARGEST_FILL * filled:
            planned[-1].append(index)
            tokens += length
        else:
            planned.append([index])
            longest = tokens = length
    return planned


def _window(numbered: Iterator[tuple[int, Sequence[int]]], tokens: int) -> Iterator[tuple[int, Sequence[int]]]:
    for index, ids in islice(numbered, tokens):
        yield index, ids
        tokens -= len(ids)
        if tokens <= 0:
            return


def _read(host: Host, rows: Sequence[Sequence[int]], probes: Probes) -> list[Readings]:
    longest = len(rows[0])
    filled = torch.tensor([[*ids, *[ids[-1]] * (longest - len(ids))] for ids in rows], device=host.device)
    with torch.inference_mode(), probes.read(host, batched=True) as reader:
        # Registered after the reader's, so called after it.
        stop = host.blocks[probes.last_layer].register_forward_hook(_stop)
        try:
            host.inner(input_ids=filled, use_cache=False)
        except _Enough:
            pass
        finally:
            stop.remove()
        readings = reader.take().reshape(len(rows), longest, len(probes))
    return [row[: len(ids)] for row, ids in zip(readings, rows, strict=True)]


class _Enough(BaseException):
    """The last block that is read has run. Not an `Exception`, so that no code between here and there swallows it."""


def _stop(module: nn.Module, inputs: object, output: object) -> None:
    raise _Enough
