"""Handovers in the midst of a conversation, or of a reply: by transfer, by pre-fill, to another model (§2.2, §2.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from mechanism.experiments.setting import Setting
from mechanism.host import Host
from mechanism.local_server import LocalServer
from mechanism.processed import Answering
from mechanism.session import Session
from traces.errors import TraceError

How = Literal["nothing", "transfer", "pre-fill", "switch"]

NOTHING: How = "nothing"
TRANSFER: How = "transfer"
PREFILL: How = "pre-fill"
SWITCH: How = "switch"
HOW: tuple[How, ...] = (NOTHING, TRANSFER, PREFILL, SWITCH)
"""What may happen: nothing; the cache is copied to another server; it is recomputed there from the words; another model
pre-fills the words and goes on."""

LogChances = NDArray[np.float64]
"""Logarithms of the probabilities of the next token, [vocabulary]."""


class Handovers:
    """A second server that runs the same model, and another model, for the sessions of a setting.

    Raises `TraceError` where the setting has no second model, or one with the same weights.
    """

    def __init__(self, setting: Setting) -> None:
        if setting.other is None:
            raise TraceError("--other", "no second model is given", "a model with other weights (--other)")
        if setting.other.digest == setting.host.digest:
            raise TraceError("--other", f"{setting.other.name} has the same weights", "a model with other weights")
        self.host, self.other = setting.host, setting.other
        self.second = LocalServer("second")
        self._there = Answering(self.second, self.second.hold(self.host), self.host.template)
        self.comparable = self.host.tokenizer.get_vocab() == self.other.tokenizer.get_vocab()
        """Whether the two models have one vocabulary: only then have their next tokens a divergence."""

    def host_after(self, how: How) -> Host:
        """The model that answers after a handover."""
        return self.other if how == SWITCH else self.host

    def hand_over(self, session: Session, how: How) -> None:
        """Do it."""
        if how == SWITCH:
            session.switch(self.other)
        elif how == TRANSFER:
            session.migrate(self._there, "transfer")
        elif how == PREFILL:
            session.migrate(self._there, "prefill")

    def divergence(self, before: LogChances, after: LogChances, how: How) -> float | None:
        """KL(before || after) of the next token, in nats; None between models of different vocabularies."""
        if how == SWITCH and not self.comparable:
            return None
        size = len(self.host.tokenizer)
        one, two = (_logs(each[:size]) for each in (before, after))
        # Rounding alone makes a divergence negative.
        return max(0.0, float((np.exp(one) * (one - two)).sum()))


def next_token(session: Session) -> LogChances:
    """The distribution of the next token of a reply, of one that stands open or of one that is to begin; [vocabulary].

    The session stays as it is.
    """
    chances: LogChances = chances_of(session, [])[0]
    return chances


def chances_of(session: Session, ids: Sequence[int]) -> LogChances:
    """How probable tokens are as the next ones of a reply: [ids + 1, vocabulary], row i for the place of the i-th.

    What stands last, or what opens a reply, is processed again on a copy of the cache; the session stays as it is.
    """
    session.flush()
    transcript, server = session.transcript, session.now.server
    opening = [] if transcript.open else session.now.template.generation_prompt(transcript.skeleton())
    at = len(transcript.ids) - (0 if opening else 1)
    fed = [*(opening or transcript.ids[at:]), *ids]
    copy = f"{session.cache.key}:read"
    server.fork(session.cache.key, at, copy)
    try:
        told = server.feed(copy, fed, ["assistant"] * len(fed), tuple(session.interventions), None, True)
    finally:
        server.drop(copy)
    if told.logits is None:
        raise RuntimeError("a server was asked for logits and gave none")
    return _logs(told.logits[-len(ids) - 1 :])


def places_in(tokens: int, most: int) -> list[int]:
    """Places in a reply, as how many of its tokens stand already: at most so many, evenly spread, from none on.

    >>> places_in(10, 4), places_in(3, 16), places_in(5, 1)
    ([0, 3, 6, 9], [0, 1, 2], [0])
    """
    if tokens < 1:
        return []
    count = min(most, tokens)
    return sorted({round(number * (tokens - 1) / max(1, count - 1)) for number in range(count)})


def _logs(logits: NDArray[Any]) -> LogChances:
    logs: LogChances = log_softmax(logits.astype(np.float64), axis=-1)
    return logs
