"""Conversations from files, recorded: read in one pass each, or turn by turn on servers between which they move.

Both pass over what the trace holds already, so a recording that was interrupted goes on where it was; and both take
conversations as they come, so that there may be more of them than memory holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

from mechanism.connections import Connections, Found, write_connections
from mechanism.conversation_file import ConversationText
from mechanism.host import Host
from mechanism.local_server import LocalServer
from mechanism.probe import Probes
from mechanism.processed import Answering, CacheMade, Processed, ProcessedTurn
from mechanism.recorder import Recorder
from mechanism.replay import read_tokens
from mechanism.routing import router
from mechanism.server import CacheState
from mechanism.session import Handover, Session, same_weights
from mechanism.span import Span, now
from mechanism.template import Message, Split
from traces.errors import TraceError
from traces.writer import RecordedTurn

OnConversation = Callable[[str, bool], None]
"""Called with the key of each conversation that is in the trace, and whether it was there already."""


def check(
    answering: Sequence[Answering],
    conversations: Iterable[ConversationText],
    *,
    generate: bool = False,
    on_checked: Callable[[str], None] | None = None,
) -> int:
    """Refuse conversations that one of the models cannot read, before any is read: a long job does not end on its last
    file. Gives back how many there are.

    `generate`: replies are left out, for the models are to answer. Raises `TraceError`, naming the file, where a chat
    template refuses the messages or they are longer than a context window.
    """
    models = {(each.template.digest, each.model.context): each for each in answering}
    checked = 0
    for text in conversations:
        checked += 1
        if generate and all(message["role"] == "assistant" for message in text.messages):
            raise TraceError(
                f"{text.file}: conversation {text.key}", "nothing in it is to be answered", "a user's turn"
            )
        for each in models.values():
            _split(each, text, generate)
        if on_checked is not None:
            on_checked(text.key)
    return checked


def _split(answering: Answering, text: ConversationText, generate: bool = False) -> Split:
    messages = text.messages
    if generate:
        # A reply will stand there, whatever it says.
        messages = [
            message
            for exchange in _exchanges(messages, generate)
            for message in (*exchange, {"role": "assistant", "content": "."})
        ]
    try:
        split = answering.template.split(messages)
    except TraceError as error:
        raise TraceError(f"{text.file}: {error.where}", error.found, error.expected) from None
    longest = answering.model.context
    if longest is not None and len(split.ids) > longest:
        raise TraceError(
            f"{text.file}: conversation {text.key}",
            f"it has {len(split.ids):,} tokens, and {answering.model.key} reads {longest:,}",
            "a shorter conversation, or a model with a longer context window",
        )
    return split


def read_in_one_pass(
    recorder: Recorder,
    host: Host,
    conversations: Iterable[ConversationText],
    *,
    server: str = "local",
    connections: Connections | None = None,
    on_done: OnConversation | None = None,
) -> None:
    """Record transcripts as the model reads them: one teacher-forced pass for a whole conversation, no KV cache kept.

    The entries of the one cache that such a pass stands for are all pre-filled: the words may have been another's, or
    another time's, but this is how they were processed here. A conversation is written whole, at once, and with how far
    its turns rest on each other where `connections` are to be measured.

    Raises `TraceError` where no space fits the model: there would be nothing to read; and for a conversation that the
    template or the context window refuses, by its file (`check` does so before).
    """
    answering = recorder.answering(Answering.by(host, server))
    space = recorder.space_for(answering)
    if space is None:
        raise TraceError(host.name, "no persona space fits it, so there is nothing to read", "a space of this model")
    probes = Probes.of(space, host, recorder.layers)
    numbers, waiting = count(), dict[int, tuple[ConversationText, Split]]()

    def connected(split: Split) -> Found:
        stages = [(turn.start, turn.end) for turn in split.turns]
        return {} if connections is None else connections.of(host, split.ids, stages)

    def left() -> Iterator[list[int]]:
        for text in conversations:
            if _is_there(recorder, text, [(message, answering) for message in text.messages]):
                if connections is not None and len(text.messages) > 1 and not recorder.writer.connected(text.key):
                    found = connected(_split(answering, text))
                    write_connections(recorder.writer, text.key, found)
                if on_done is not None:
                    on_done(text.key, True)
                continue
            split = _split(answering, text)
            waiting[next(numbers)] = text, split
            yield split.ids

    for which, readings in read_tokens(host, left(), probes):
        text, split = waiting.pop(which)
        time = now()
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
        found = connected(split)
        with recorder.writer.atomically():
            recorder.begins(text.key, None, None)
            recorder.processed(text.key, 0, Processed(turns, [CacheMade(state, answering, None, time)], {cache: spans}))
            write_connections(recorder.writer, text.key, found)
        if on_done is not None:
            on_done(text.key, False)


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
    conversations: Iterable[ConversationText],
    way: Way,
    *,
    seed: int = 0,
    sampling: dict[str, Any] | None = None,
    connections: Connections | None = None,
    on_done: OnConversation | None = None,
) -> None:
    """Record conversations turn by turn, each exchange where the route sends it (§1.2: three cities; two models behind
    one router).

    An exchange is what is said up to and with the model's next reply. Each turn is written as soon as it is processed.
    `connections` need the models in this process. Raises `TraceError` for what a session or a server refuses, and for
    a conversation that the trace holds from another recording.
    """
    if connections is not None:
        for place in places:
            _host(place)
    to = router(way.route, places, seed)
    for text in conversations:
        exchanges = list(_exchanges(text.messages, way.generate))
        planned: list[tuple[Message | None, Answering]] = []
        for number, messages in enumerate(exchanges):
            place = to(text.key, number)
            planned += [(message, place) for message in messages]
            planned += [(None, place)] if way.generate else []
        there = _is_there(recorder, text, planned)
        if there and connections is not None and len(planned) > 1:
            there = recorder.writer.connected(text.key)
        if not there:
            routed = [(to(text.key, number), messages) for number, messages in enumerate(exchanges)]
            with _naming(text), recorder.session(routed[0][0], key=text.key, seed=seed, sampling=sampling) as session:
                _one(session, routed, way, recorder, connections)
        if on_done is not None:
            on_done(text.key, there)


def _is_there(recorder: Recorder, text: ConversationText, planned: Sequence[tuple[Message | None, Answering]]) -> bool:
    """Whether the trace holds a conversation already, to its last turn. `planned`: what each turn is to say (None: what
    the model will), and where.

    Raises `TraceError` where it holds another one of that name: other words, another model, another server.
    """
    there = recorder.writer.recorded(text.key)
    for number, turn in enumerate(there):
        if number == len(planned):
            found = f"it was recorded, and {text.file.name} ends before it"
        else:
            message, place = planned[number]
            now, then = f"{recorder.model_key(place)} on {place.server.name}", f"{turn.model} on {turn.server}"
            if now != then:
                found = f"it was recorded with {then}, not with {now}"
            elif not _says(turn, message):
                found = f"{text.file.name} says something else than when it was recorded"
            else:
                continue
        where = f"{recorder.store.name}: conversation {text.key}, turn {number}"
        raise TraceError(where, found, "the same files, models and servers as before; or another trace (-o)")
    return len(there) == len(planned)


def _says(turn: RecordedTurn, message: Message | None) -> bool:
    """Whether a turn can be a message, as far as the trace holds words. None is what a model said, whatever it was."""
    if message is None:
        return turn.role == "assistant"
    # A template may write less of a message than there is, such as the words without the thinking.
    return turn.role == message["role"] and (turn.text or "").strip() in message["content"]


@contextmanager
def _naming(text: ConversationText) -> Iterator[None]:
    """Where an error is in a conversation, it is in a file."""
    try:
        yield
    except TraceError as error:
        if not error.where.startswith("conversation"):
            raise
        raise TraceError(f"{text.file}: {error.where}", error.found, error.expected) from None


def _one(
    session: Session,
    routed: Sequence[tuple[Answering, Sequence[Message]]],
    way: Way,
    recorder: Recorder,
    connections: Connections | None,
) -> None:
    found: Found = {}
    measured = 0
    for place, messages in routed:
        if connections is not None and not same_weights(place, session.now):
            # As the model that now leaves has read it: the next one has other tokens.
            found |= _connected(session, connections, measured)
            measured = len(session.turns)
        go_to(session, place, way)
        if way.generate:
            for message in messages:
                session.say(message["content"], message["role"])
            session.generate()
        else:
            session.replay(messages)
    if connections is not None:
        found |= _connected(session, connections, measured)
        write_connections(recorder.writer, session.key, found)


def _connected(session: Session, connections: Connections, first: int) -> Found:
    ids, turns = session.transcript.ids, session.turns
    starts = [turn.start for turn in turns if turn.start is not None]
    stages = list(zip(starts, [*starts[1:], len(ids)], strict=True))
    return connections.of(_host(session.now), ids, stages, of=range(first, len(turns)))


def _host(place: Answering) -> Host:
    """The model itself, which only a server in this process can show."""
    if not isinstance(place.server, LocalServer):
        found = f"{place.model.key} is in another process, where connections are not measured"
        raise TraceError(f"server {place.server.name}", found, "a model in this process")
    return place.server.host(place.model.key)


def go_to(session: Session, place: Answering, way: Way) -> None:
    """Have a session go on at a place: nothing if it is there, another server, another model, or both."""
    if not same_weights(place, session.now):
        answered = way.resume and session.can_resume(place)
        session.switch(place, resume=answered)
    elif place.server is not session.now.server:
        session.migrate(place, way.handover)


def _exchanges(messages: Sequence[Message], generate: bool) -> Iterator[list[Message]]:
    """Messages cut after each reply; where the model is to answer, before each reply, and without the replies.

    What ends without a reply is an exchange too. Where the model is to answer and there is no reply at all, it answers
    each thing that the user says.
    """
    exchange: list[Message] = []
    roles = [message["role"] for message in messages]
    for number, message in enumerate(messages):
        reply = message["role"] == "assistant"
        if not (reply and generate):
            exchange.append(message)
        if number + 1 == len(messages):
            ends = True
        elif not generate:
            ends = reply
        else:
            ends = roles[number + 1] == "assistant" if "assistant" in roles else roles[number] == "user"
        if exchange and ends:
            yield exchange
            exchange = []
