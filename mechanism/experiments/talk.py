"""Conversations held in an experiment: questions, answers, and where each turn was in persona space."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mechanism.host import Host
from mechanism.probe import Probes
from mechanism.replay import replay
from mechanism.session import Session
from mechanism.space import PersonaSpace
from mechanism.template import Message

Exchanged = dict[str, Any]
"""One exchange, as JSON has it: `question`, `answer`, and the coordinates of either turn by probe: `user`, `assistant`.
"""


def talked(session: Session, questions: Iterable[str]) -> list[Exchanged]:
    """Ask one question after the other, and have each answered."""
    exchanges = []
    for question in questions:
        session.say(question)
        asked = session.flush()[-1]
        reply = session.generate()
        exchanges.append(
            {"question": question, "answer": reply.text, "user": dict(asked.at), "assistant": dict(reply.turn.at)}
        )
    return exchanges


def read_again(session: Session, exchanges: Sequence[Exchanged]) -> list[Exchanged]:
    """Have the model read exchanges that were held before, word for word, turn by turn."""
    again = []
    for exchange in exchanges:
        turns = session.replay(
            [{"role": "user", "content": exchange["question"]}, {"role": "assistant", "content": exchange["answer"]}]
        )
        again.append({**exchange, **{turn.role: dict(turn.at) for turn in turns}})
    return again


def messages(exchanges: Sequence[Exchanged]) -> list[Message]:
    """Exchanges as chat messages."""
    told = []
    for exchange in exchanges:
        told.append({"role": "user", "content": exchange["question"]})
        told.append({"role": "assistant", "content": exchange["answer"]})
    return [*told]


def pairs(exchanges: Iterable[Exchanged]) -> list[tuple[str, str]]:
    """Questions and answers, as a judge reads them."""
    return [(exchange["question"], exchange["answer"]) for exchange in exchanges]


def coordinate(exchange: Mapping[str, Any], role: str, axis: str) -> float:
    """Where a turn was on an axis; NaN where it was not read (an empty reply)."""
    value = exchange[role].get(axis)
    return float("nan") if value is None else float(value)


def token_projections(
    host: Host, chats: Sequence[Sequence[Message]], space: PersonaSpace, axis: str, layers: Sequence[int]
) -> dict[int, NDArray[np.float64]]:
    """The projections of every content token of the assistant's turns on an axis, by layer, over all conversations."""
    probes = Probes.of(space, host, layers, force=True)
    columns = {
        layer: next(n for n in range(len(probes)) if (probes.axes[n], probes.layers[n]) == (axis, layer))
        for layer in layers
    }
    found: dict[int, list[NDArray[np.float64]]] = {layer: [] for layer in layers}
    for _, split, readings in replay(host, chats, probes):
        for turn in split.turns:
            if turn.role != "assistant":
                continue
            content = [turn.start + at for at, mark in enumerate(turn.marks) if mark == "c"]
            for layer, column in columns.items():
                found[layer].append(readings[content, column].astype(np.float64))
    return {layer: np.concatenate(values) if values else np.empty(0) for layer, values in found.items()}
