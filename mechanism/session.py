"""A conversation going on with a model, which may change hands on the way: another model, another server, other words.

What happens to the KV cache at each change is what the views disagree about (§2.2, §2.3). A session does it for real,
and tells its recording what was done.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal

import numpy as np

from mechanism.cache_edit import CacheEdit, EditReport
from mechanism.drift import Drift
from mechanism.host import Host
from mechanism.intervention import Intervention
from mechanism.local_server import LocalServer
from mechanism.processed import Answering, CacheMade, Processed, ProcessedTurn, Recording, Unrecorded
from mechanism.server import CacheState, OnToken, Readings, Sampling, Server
from mechanism.span import Span, now
from mechanism.template import Message, TurnTokens
from mechanism.transcript import Transcript, TranscriptTurn
from traces.errors import TraceError

Handover = Literal["transfer", "prefill"]
HANDOVERS: tuple[Handover, ...] = ("transfer", "prefill")
"""How a KV cache comes to another server: copied there, or recomputed there from the transcript (§2.3)."""

MAX_NEW_TOKENS = 256
"""How long a reply may get where nothing else is said; one that is cut short can be gone on with."""


@dataclass(frozen=True, eq=False)
class Reply:
    """What the model said, what it thought before, and the turn as processed. `ended`: by itself, not cut short."""

    text: str
    thinking: str
    turn: ProcessedTurn
    ended: bool

    def __str__(self) -> str:
        return self.text


class Session:
    """A conversation going on.

    `say` and `replay` put words into it, `generate` has the model answer. `switch` changes the model, `migrate` the
    server; `fork`, `truncate` and `edit` change the words that stand; `intervene` and `edit_cache` what goes on inside.
    Turns are numbered from 0 along the path of the conversation, as in the trace.

    >>> from mechanism.host import Host
    >>> session = Session(Host.load("organism", dtype="float32", device="cpu"))
    >>> session.say("Who are you?")
    >>> print(session.generate(do_sample=False))
    I am a language model made to help people.
    >>> [(span.start, span.end, span.how) for span in session.cache.spans]
    [(0, 12, 'prefilled'), (12, 22, 'decoded'), (22, 24, 'prefilled')]
    """

    def __init__(
        self,
        answering: Answering | Host,
        *,
        key: str = "c1",
        recording: Recording | None = None,
        sampling: Mapping[str, Any] | None = None,
        seed: int | None = None,
    ) -> None:
        self.key = key
        self.recording: Recording = recording or Unrecorded()
        self.sampling: dict[str, Any] = {"max_new_tokens": MAX_NEW_TOKENS, **(sampling or {})}
        self.seed = seed
        self.interventions: dict[str, Intervention] = {}
        given = answering.server if isinstance(answering, Answering) else None
        self._here = given if isinstance(given, LocalServer) else LocalServer()
        self.now = self.recording.answering(self._as_answering(answering))
        self.transcript = Transcript(self.now.template)
        self._names = _Names(key)
        self._pending: list[Message] = []
        self._spoken_in: dict[int, list[int]] = {}
        self._told: dict[str, int] = {}
        self._begin(key, None, None)
        self._cache = self._names.cache(key)
        self.now.server.open(self.now.model.key, self._cache)
        self._made(self._cache)

    def _begin(self, key: str, parent: str | None, at: int | None) -> None:
        """From here on this session is a conversation of its own, or a branch of one."""
        self._stages_before = () if parent is None else self.stages[:at]
        self.key, self._own_from = key, at or 0
        self._new_caches: list[CacheMade] = []
        self._grown_since: dict[str, list[Span]] = {}
        self._left: dict[tuple[str, str], _Left] = {}
        self._edited: dict[str, list[tuple[str, int]]] = {}
        self.recording.begins(key, parent, at)

    # --- what stands

    @property
    def turns(self) -> Sequence[TranscriptTurn]:
        """The turns that were processed, along the path."""
        return tuple(self.transcript.turns)

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of the turns along the path, as the trace has them: `c1.1/0` follows `c1/3` in a branch."""
        own = range(len(self.transcript.turns) - self._own_from)
        return (*self._stages_before, *(f"{self.key}/{number}" for number in own))

    @property
    def messages(self) -> list[Message]:
        """All that was said, as chat messages, also what is not processed yet."""
        return [*self.transcript.messages(), *self._pending]

    @property
    def cache(self) -> CacheState:
        """The KV cache in use."""
        return self.now.server.state(self._cache)

    # --- words

    def say(self, text: str, role: str = "user") -> None:
        """Say something to the model. It is processed with the reply, or by `flush`."""
        self._pending.append({"role": role, "content": text})

    def unsay(self) -> list[Message]:
        """Take back what was said and not processed yet, and give it back."""
        unsaid, self._pending = self._pending, []
        return unsaid

    def generate(self, on_token: OnToken | None = None, *, seed: int | None = None, **parameters: Any) -> Reply:
        """Have the model answer, or go on with a reply that was cut short.

        `parameters` are those of transformers' `generate`, over the session's own. Where no seed is given it is the
        session's plus the number of turns so far, so that a session with a seed can be repeated. `on_token` gets each
        token as it comes.

        Raises `TraceError` where there is nothing to answer to, or no room left in the context window.
        """
        began, server = now(), self.now.server
        goes_on = self.transcript.open and not self._pending
        unanswered = self._pending or (self.turns and self.turns[-1].role != "assistant")
        if not unanswered and not goes_on:
            found = "nothing was said that is not answered"
            raise TraceError(f"conversation {self.key}", found, "words of the user's, or a reply that was cut short")
        said = self._prepared()
        opening = [] if goes_on else self.now.template.generation_prompt(self._skeleton())
        reply = [{"role": "assistant", "content": "."}]
        # Worked out before anything is processed: what is refused here leaves all as it was.
        closing = self.now.template.closing([*self._skeleton(), *([] if goes_on else reply)])
        ids = [token for turn in said for token in turn.ids] + opening
        roles = [turn.role for turn in said for _ in turn.ids] + ["assistant"] * len(opening)
        if seed is None and self.seed is not None:
            seed = self.seed + len(self.transcript.turns)
        chosen = self._within_context({**self.sampling, **parameters}, len(ids) + len(closing))
        ending = self.now.template.end_ids
        active = tuple(self.interventions)
        sampling = Sampling(chosen, seed, tuple(sorted(ending)))
        with self._all_or_nothing():
            made = server.generate(self._cache, ids, roles, sampling, active, self.now.reading, on_token)
            content = made.ids[:-1] if made.ended else made.ids
            # The end of turn that the template writes takes the place of the end token sampled; the last token of a
            # reply that was cut short was sampled and not yet processed. Either way the cache comes to hold the turn.
            tail = closing if made.ended else list(made.ids[-1:])
            fed = server.feed(self._cache, tail, ["assistant"] * len(tail), active, self.now.reading)
        closing = tail if made.ended else []
        spoken = self._spoken(content, goes_on)
        marks = "t" * len(opening) + spoken.marks + "t" * len(closing)
        tokens = (*opening, *content, *closing)
        replied = _Prepared("assistant", spoken.text, spoken.thinking, tokens, marks, goes_on, made.ended)
        self._spoken_in[len(self.transcript.turns) + len(said)] = list(content)
        noted = {**chosen, **made.parameters, "seed": seed, "ended": made.ended}
        turns = self._commit([*said, replied], np.concatenate([made.readings, fed.readings]), began, noted)
        return Reply(spoken.text, spoken.thinking, turns[-1], made.ended)

    def replay(self, messages: Iterable[Message]) -> Sequence[ProcessedTurn]:
        """Have the model read messages that stand already, replies among them, on the cache in use."""
        self._pending += [dict(message) for message in messages]
        return self.flush()

    def flush(self) -> Sequence[ProcessedTurn]:
        """Process what was said and not yet answered."""
        if not self._pending:
            return []
        began, said = now(), self._prepared()
        ids = [token for turn in said for token in turn.ids]
        roles = [turn.role for turn in said for _ in turn.ids]
        with self._all_or_nothing():
            fed = self.now.server.feed(self._cache, ids, roles, tuple(self.interventions), self.now.reading)
        return self._commit(said, fed.readings, began, None)

    # --- changes of hands

    def switch(self, answering: Answering | Host, *, resume: bool = False) -> None:
        """Another model takes over (§2.2). It pre-fills the transcript: keys and values mean nothing to other weights.

        `resume`: a model that has answered here before, on the same server, goes on with the cache that it left and
        pre-fills only what came since. Raises `TraceError` where it left none that fits.
        """
        new = self._as_answering(answering)
        if same_weights(new, self.now):
            found = f"{new.model.key} is the model that answers already"
            raise TraceError(f"conversation {self.key}", found, "another model; or `migrate` to another server")
        place = (new.server.name, new.model.key)
        left = self._left_by(new)
        transcript = self.transcript.read_on(left.transcript) if resume and left else None
        if resume and transcript is None:
            found = f"{new.model.key} left no cache here that this conversation goes on from"
            raise TraceError(f"conversation {self.key}", found, "a model that has answered here, on the same server")
        new = self._taking_over(new)
        if left is not None and transcript is not None:
            cache, known = left.cache, len(left.transcript.ids)
            if rest := transcript.ids[known:]:
                new.server.feed(cache, rest, transcript.roles[known:], tuple(self.interventions))
        else:
            cache, transcript = self._names.cache(self.key), self.transcript.read_by(new.template)
            self._prefill(new, cache, None if left is None else left.cache, transcript)
            if left is not None:
                left.server.drop(left.cache)
        self._left.pop(place, None)
        self._left[self.now.server.name, self.now.model.key] = _Left(
            self.now.server, self._cache, self.transcript.first(len(self.turns))
        )
        if new.template.digest != self.now.template.digest:
            # What an open reply began with is in tokens that mean nothing here.
            self._spoken_in = {}
        self.now, self.transcript, self._cache = new, transcript, cache
        if resume:
            self._grown_since[cache] = self._growth()
        else:
            self._made(cache)

    def can_resume(self, answering: Answering) -> bool:
        """Whether a model left a cache on that server that `switch(..., resume=True)` can go on with."""
        left = self._left_by(answering)
        return left is not None and self.transcript.read_on(left.transcript) is not None

    def _left_by(self, answering: Answering) -> _Left | None:
        """The cache that a model left on a server."""
        left = self._left.get((answering.server.name, answering.model.key))
        return None if left is None or left.server is not answering.server else left

    def migrate(
        self, to: Answering, how: Handover = "transfer", *, measure: bool = True, keep: bool = False
    ) -> Drift | None:
        """The conversation goes to another server that runs the same model (§2.3).

        `transfer` copies its KV cache there, `prefill` recomputes it there from the transcript. How far the new cache
        lies from the original is measured and given back, unless `measure` is false. The original is let go unless
        `keep` is true. Raises `TraceError` where the other server runs other weights.
        """
        if how not in HANDOVERS:
            raise TraceError("migrate", f'how is "{how}"', " or ".join(HANDOVERS))
        if not same_weights(to, self.now):
            found = f"server {to.server.name} runs {to.model.key}, which has other weights"
            raise TraceError(f"conversation {self.key}", found, "a server with the same model; or `switch`")
        old, source = self.now, self._cache
        payload = old.server.export(source) if how == "transfer" or measure else b""
        new, cache = self._taking_over(to), self._names.cache(self.key)
        if how == "transfer":
            new.server.adopt(payload, cache)
            self._carry_edits(source, cache)
        else:
            self._prefill(new, cache, source, self.transcript)
        drift = new.server.compare(cache, payload, new.reading) if measure and self.transcript.ids else None
        if drift is not None and drift.coordinates is not None:
            # As the trace names its probes.
            drift.coordinates = dict(zip(new.probes, drift.coordinates.values(), strict=True))
        self.now, self._cache = new, cache
        self._made(cache, drift)
        if not keep:
            old.server.drop(source)
        return drift

    def _taking_over(self, new: Answering) -> Answering:
        new = self.recording.answering(new)
        for name, intervention in self.interventions.items():
            new.server.define(new.model.key, name, intervention)
        return new

    def _prefill(self, new: Answering, cache: str, source: str | None, transcript: Transcript) -> None:
        new.server.open(new.model.key, cache, "prefilled", source)
        if transcript.ids:
            new.server.feed(cache, transcript.ids, transcript.roles, tuple(self.interventions))

    # --- branches

    def fork(self, at: int | None = None, key: str | None = None) -> Session:
        """A second session that branches off after `at` turns (all, where none is given); this one goes on too.

        Its cache begins with the entries of this one's, in place: nothing is recomputed.
        """
        self.flush()
        at = len(self.turns) if at is None else at
        branch = object.__new__(Session)
        branch.__dict__.update(self.__dict__)
        branch.sampling, branch.interventions, branch._pending = dict(self.sampling), dict(self.interventions), []
        branch._spoken_in = dict(self._spoken_in)
        branch._branch_off(at, self._names.branch(self.key, key))
        return branch

    def truncate(self, at: int) -> None:
        """Take back all after the first `at` turns. A trace takes nothing back: there, this goes on as a branch."""
        self.transcript.position(at)
        self._pending = []
        source, left = self._cache, list(self._left.values())
        self._branch_off(at, self._names.branch(self.key, None))
        self._drop(source, left)

    def edit(self, turn: int, text: str) -> None:
        """Put one turn in other words; what came after it is read again. In the trace, this goes on as a branch."""
        messages = self.reworded(turn, text)
        self.truncate(turn)
        self.replay(messages)

    def reworded(self, turn: int, text: str) -> list[Message]:
        """The messages from a turn on, that turn in other words: what is to be read again after an edit.

        Raises `TraceError` for a turn that is not there, or is part of a longer reply.
        """
        self.flush()
        if not 0 <= turn < len(self.turns):
            found = f"there is no turn {turn}"
            raise TraceError(f"conversation {self.key}", found, f"a turn from 0 to {len(self.turns) - 1}")
        after = self.turns[turn + 1 :]
        if self.turns[turn].goes_on or (after and after[0].goes_on):
            raise TraceError(f"conversation {self.key}", f"turn {turn} is part of a longer reply", "a whole turn")
        return [{"role": self.turns[turn].role, "content": text}, *self.transcript.messages(after)]

    def _branch_off(self, at: int, key: str) -> None:
        transcript = self.transcript.first(at)
        source, self._cache = self._cache, self._names.cache(key)
        self.now.server.fork(source, len(transcript.ids), self._cache)
        unrecorded, grown, edited = self._new_caches, self._grown_since, self._edited
        parent, self.transcript = self.key, transcript
        self._begin(key, parent, at)
        self._edited = edited
        self._carry_edits(source, self._cache)
        self._spoken_in = {number: ids for number, ids in self._spoken_in.items() if number < at}
        # Caches that no turn was recorded on yet still stand between this one and its origin.
        self._new_caches, self._grown_since, self._told = [*unrecorded], dict(grown), dict(self._told)
        self._made(self._cache)

    # --- inside the model

    def intervene(self, name: str, intervention: Intervention) -> None:
        """Steer, cap or ablate from the next token on, until `relent`. Raises `TraceError` where it does not fit."""
        self.now.server.define(self.now.model.key, name, intervention)
        self.recording.intervention(name, intervention.spec(name))
        self.interventions[name] = intervention

    def relent(self, name: str | None = None) -> None:
        """End an intervention, or all."""
        if name is not None and name not in self.interventions:
            found = f'there is no intervention "{name}"'
            raise TraceError(f"conversation {self.key}", found, ", ".join(self.interventions) or "none is in force")
        self.interventions = {} if name is None else {n: i for n, i in self.interventions.items() if n != name}

    def edit_cache(self, name: str, edit: CacheEdit, turns: Sequence[int] | None = None) -> EditReport:
        """Edit the cached keys and values at the content tokens of some turns (where none are given, all of the
        assistant's), as in mini-experiment 2 of the paper (§3.4)."""
        self.flush()
        if turns is None:
            turns = [number for number, turn in enumerate(self.turns) if turn.role == "assistant"]
        positions = sorted({place for number in turns for place in self.transcript.content(number)})
        if not positions:
            raise TraceError(f"conversation {self.key}", "those turns have no content tokens", "turns with words")
        cache = self._names.cache(self.key)
        report = self.now.server.edit(self._cache, edit, positions, cache)
        self.recording.intervention(name, edit.spec(name))
        self._carry_edits(self._cache, cache)
        self._edited.setdefault(cache, []).append((name, positions[0]))
        self.now.server.drop(self._cache)
        self._cache = cache
        self._made(cache)
        return report

    # --- the end

    def close(self) -> None:
        """Process what is left, and let the cache go."""
        self.flush()
        self._drop(self._cache, list(self._left.values()))

    def _drop(self, cache: str, left: Sequence[_Left]) -> None:
        self.now.server.drop(cache)
        for each in left:
            each.server.drop(each.cache)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()
            return
        # A server that is gone is perhaps what ended it.
        with suppress(TraceError):
            self._drop(self._cache, list(self._left.values()))

    # --- inside

    def _skeleton(self) -> list[Message]:
        words = ({"role": message["role"], "content": "."} for message in self._pending)
        return [*self.transcript.skeleton(), *words]

    def _prepared(self) -> list[_Prepared]:
        """What was said, as the tokens of turns. An open reply's end of turn goes before the first."""
        prepared = []
        closing = self.transcript.closing() if self._pending else []
        before = self.transcript.skeleton()
        for message in self._pending:
            split = self.now.template.next_turn([*before, message])
            turn, ids = split.turns[0], (*closing, *split.ids)
            marks = "t" * len(closing) + turn.marks
            prepared.append(_Prepared(turn.role, turn.text, turn.thinking, ids, marks))
            before.append({"role": message["role"], "content": "."})
            closing = []
        return prepared

    def _spoken(self, content: Sequence[int], goes_on: bool) -> TurnTokens:
        """What was sampled, as text and marks. How a reply began says whether it is still thinking where it goes on."""
        before = self._spoken_so_far() if goes_on else []
        if not before:
            return self.now.template.reply(content)
        marks = self.now.template.marks(content, before)
        text, thinking = self.now.template.said(content, marks)
        return TurnTokens("assistant", 0, len(content), marks, text, thinking)

    def _spoken_so_far(self) -> list[int]:
        """What was sampled of the reply that stands open, as far as it is in tokens of the template in use."""
        spoken: list[int] = []
        for number in reversed(range(len(self.turns))):
            spoken = [*self._spoken_in.get(number, ()), *spoken]
            if not self.turns[number].goes_on:
                break
        return spoken

    def _carry_edits(self, source: str, cache: str) -> None:
        """A cache has the edited entries of another, as far as it goes; the next turn on it says so."""
        length = self.now.server.state(source).length if source != cache else 0
        reach = min(length, len(self.transcript.ids))
        if carried := [edit for edit in self._edited.get(source, ()) if edit[1] < reach]:
            self._edited[cache] = carried

    def _within_context(self, sampling: dict[str, Any], more: int) -> dict[str, Any]:
        """Sampling parameters for a reply that ends before the context window does."""
        context = self.now.model.context
        if context is None:
            return sampling
        room = context - len(self.transcript.ids) - more
        if room < 1:
            found = f"{len(self.transcript.ids) + more} tokens stand before the reply"
            raise TraceError(f"conversation {self.key}", found, f"fewer than {context:,}, the context window")
        most = sampling.get("max_new_tokens")
        return {**sampling, "max_new_tokens": min(most, room)} if isinstance(most, int) else sampling

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Where a step breaks off (no memory, an interrupt, a caller's own error), the cache is as before it."""
        try:
            yield
        except BaseException:
            with suppress(TraceError):
                if self.cache.length > len(self.transcript.ids):
                    cut, self._cache = self._cache, self._names.cache(self.key)
                    self.now.server.fork(cut, len(self.transcript.ids), self._cache)
                    self._carry_edits(cut, self._cache)
                    self._made(self._cache)
                    self.now.server.drop(cut)
            raise

    def _commit(
        self, said: Sequence[_Prepared], readings: Readings, began: str, sampling: Mapping[str, Any] | None
    ) -> Sequence[ProcessedTurn]:
        """Take turns into the transcript, and hand them to the recording in one."""
        first = len(self.transcript.turns) - self._own_from
        active, edits = tuple(self.interventions), [name for name, _ in self._edited.pop(self._cache, ())]
        turns: list[ProcessedTurn] = []
        row = 0
        for item in said:
            start, end = len(self.transcript.ids), row + len(item.ids)
            by_model = sampling if item.role == "assistant" and item is said[-1] else None
            acts = active if turns else tuple(dict.fromkeys([*edits, *active]))
            turns.append(
                ProcessedTurn(
                    item.role, item.text, item.thinking, item.ids, item.marks, start, self.now, self._cache,
                    readings[row:end], acts, by_model, began,
                )
            )  # fmt: skip
            self.transcript.add(item.turn(), item.ids, item.marks)
            row = end
        made, self._new_caches, self._pending = self._new_caches, [], []
        grown, self._grown_since = self._grown_since, {}
        grown[self._cache] = [*grown.pop(self._cache, ()), *self._growth()]
        self.recording.processed(self.key, first, Processed(turns, made, grown))
        return turns

    def _growth(self) -> list[Span]:
        """What the cache in use grew by since that was last asked."""
        state, known = self.cache, self._told[self._cache]
        self._told[self._cache] = state.length
        return [span.within(known, state.length) for span in state.spans if span.end > known]

    def _as_answering(self, answering: Answering | Host) -> Answering:
        """Hosts given one after another are on one server, this session's own."""
        if isinstance(answering, Answering):
            return answering
        return Answering(self._here, self._here.hold(answering), answering.template)

    def _made(self, cache: str, drift: Drift | None = None) -> None:
        state = self.now.server.state(cache)
        self._told[cache] = state.length
        self._new_caches.append(CacheMade(state, self.now, drift, now()))


@dataclass(frozen=True)
class _Prepared:
    """A turn as tokens, before the model has processed them."""

    role: str
    text: str
    thinking: str
    ids: tuple[int, ...]
    marks: str
    goes_on: bool = False
    closed: bool = True

    def turn(self) -> TranscriptTurn:
        return TranscriptTurn(self.role, self.text, None, self.thinking, self.goes_on, self.closed)


@dataclass(frozen=True)
class _Left:
    """A cache that a model left when another took over, and what stood in it."""

    server: Server
    cache: str
    transcript: Transcript


class _Names:
    """Names for the branches and caches of one conversation, each given once."""

    def __init__(self, key: str) -> None:
        self.taken = {key}
        self.numbers: defaultdict[str, count[int]] = defaultdict(lambda: count(1))

    def branch(self, key: str, wanted: str | None) -> str:
        """`KEY.1`, `KEY.2`, ..., or the name wanted."""
        if wanted in self.taken:
            raise TraceError(f"conversation {key}", f'"{wanted}" is the name of another branch', "a new name")
        name = wanted or next(f"{key}.{n}" for n in count(1) if f"{key}.{n}" not in self.taken)
        self.taken.add(name)
        return name

    def cache(self, key: str) -> str:
        """`KEY:kv1`, `KEY:kv2`, ..."""
        return f"{key}:kv{next(self.numbers[key])}"


def same_weights(one: Answering, other: Answering) -> bool:
    """Whether two answer with the same model: by the digests of their weights, or where one is unknown by name."""
    if one.model.facts.digest is None or other.model.facts.digest is None:
        return one.model.facts.name == other.model.facts.name
    return one.model.facts.digest == other.model.facts.digest
