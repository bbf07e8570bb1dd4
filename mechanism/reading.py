"""Conversations from files, recorded: read in one pass each, or turn by turn on servers between which they move.

Both pass over what the trace holds already, so a recording that was interrupted goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mechanism.conversation_file import ConversationText
from mechanism.host import Host
from mechanism.probe import Probes
from mechanism.processed import Answering, CacheMade, Processed, ProcessedTurn
from mechanism.recorder import Recorder
from mechanism.replay import replay
from mechanism.routing import router
from mechanism.server import CacheState
from mechanism.session import Handover, Session
from mechanism.span import Span, now
from mechanism.template import Message
from traces.errors import TraceError

OnConversation = Callable[[str], None]
"""Called with the key of each conversation that is in the trace, also of those that were there already."""


def read_in_one_pass(
    recorder: Recorder, host: Host, conversations: Sequence[ConversationText], on_done: OnConversation | None = None
) -> None:
    """Record transcripts as the model reads them: one teacher-forced pass for a whole conversation, no KV cache kept.

    The entries of the one cache that such a pass stands for are all pre-filled: the words may have been another's, or
    another time's, but this is how they were processed here. A conversation is written whole, at once.

    Raises `TraceError` where no space fits the model: there would be nothing to read; and for a conversation that the
    template or the context window refuses, by its key.
    """
    answering = recorder.answering(Answering.by(host))
    space = recorder.space_for(answering)
    if space is None:
        raise TraceError(host.name, "no persona space fits it, so there is nothing to read", "a space of this model")
    left = [text for text in conversations if len(recorder.writer.recorded(text.key)) < len(text.messages)]
    if on_done is not None:
        waiting = {text.key for text in left}
        for text in conversations:
            if text.key not in waiting:
                on_done(text.key)
    for text in left:
        _check(host, text)
    probes = Probes.of(space, host, recorder.layers)
    for number, split, readings in replay(host, (text.messages for text in left), probes):
        text, time = left[number], now()
        cache = f"{text.key}:kv1"
        spans = (Span(0, len(split.ids), "prefilled", server=answering.server.name, time=time),)
        state = CacheState(cache, answering.model.key, answering.server.name, "prefilled", None, 0, 0, ())
        turns = [
            ProcessedTurn(
                turn.role, turn.text, turn.thinking, tuple(split.ids[turn.start : turn.end]), turn.marks, turn.start,
                answering, cache, readings[turn.start : turn.end], (), None, time,
            )
            for turn in split.turns
        ]  # fmt: skip
        with recorder.writer.atomically():
            recorder.begins(text.key, None, None)
            recorder.processed(text.key, 0, Processed(turns, [CacheMade(state, answering, None, time)], {cache: spans}))
        if on_done is not None:
            on_done(text.key)


def _check(host: Host, text: ConversationText) -> None:
    """Refuse a conversation before any is read, so that a long job does not end on its last file."""
    try:
        host.check_length(len(host.template.split(text.messages).ids))
    except TraceError as error:
        raise TraceError(f"{text.file}: {error.where}", error.found, error.expected) from None


@dataclass(frozen=True)
class Way:
    """How conversations move between places.

    `route` is one of `routing.ROUTES`. `handover` is how the KV cache comes to another server that runs the same
    model; another model always pre-fills. `resume`: a model that has answered in this conversation before, on that
    server, goes on with the cache that it left. `generate`: the model answers what users say, and replies that stand in
    the file are left out; otherwise they are read as they stand.
    """

    route: str = "round-robin"
    handover: Handover = "prefill"
    resume: bool = False
    generate: bool = False


def read_on_servers(
    recorder: Recorder,
    places: Sequence[Answering],
    conversations: Sequence[ConversationText],
    way: Way,
    *,
    seed: int = 0,
    sampling: dict[str, Any] | None = None,
    on_done: OnConversation | None = None,
) -> None:
    """Record conversations turn by turn, each exchange where the route sends it (§1.2: three cities; two models behind
    one router).

    An exchange is what is said up to and with the model's next reply. Each turn is written as soon as it is processed.
    Raises `TraceError` for what a session or a server refuses.
    """
    to = router(way.route, places, seed)
    for text in conversations:
        exchanges = list(_exchanges(text.messages, way.generate))
        expected = sum(len(messages) + way.generate for messages in exchanges)
        if len(recorder.writer.recorded(text.key)) < expected:
            _one(recorder, text, exchanges, to, way, seed, sampling or {})
        if on_done is not None:
            on_done(text.key)


def _one(
    recorder: Recorder,
    text: ConversationText,
    exchanges: Sequence[Sequence[Message]],
    to: Callable[[str, int], Answering],
    way: Way,
    seed: int,
    sampling: dict[str, Any],
) -> None:
    with recorder.session(to(text.key, 0), key=text.key, seed=seed, sampling=sampling) as session:
        for number, messages in enumerate(exchanges):
            go_to(session, to(text.key, number), way)
            if way.generate:
                for message in messages:
                    session.say(message["content"], message["role"])
                session.generate()
            else:
                session.replay(messages)


def go_to(session: Session, place: Answering, way: Way) -> None:
    """Have a session go on at a place: nothing if it is there, another server, another model, or both."""
    if place.model.facts.digest != session.now.model.facts.digest:
        answered = way.resume and session.can_resume(place)
        session.switch(place, resume=answered)
    elif place.server is not session.now.server:
        session.migrate(place, way.handover)


def _exchanges(messages: Sequence[Message], generate: bool) -> Iterator[list[Message]]:
    """Messages cut after each reply; where the model is to answer, before each reply, and without the replies.

    What ends without a reply is an exchange too.
    """
    exchange: list[Message] = []
    for number, message in enumerate(messages):
        reply = message["role"] == "assistant"
        if not (reply and generate):
            exchange.append(message)
        last = number + 1 == len(messages)
        if exchange and (last or (messages[number + 1]["role"] == "assistant" if generate else reply)):
            yield exchange
            exchange = []
