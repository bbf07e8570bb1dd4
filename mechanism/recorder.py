"""Recording: what sessions do, written into a trace.db turn by turn.

>>> from tempfile import TemporaryDirectory
>>> with TemporaryDirectory() as folder, Recorder(f"{folder}/trace.db") as recorder:
...     session = recorder.session(Host.load("organism", dtype="float32", device="cpu"))
...     session.say("Who are you?")
...     print(session.generate(do_sample=False))
...     [turn.role for turn in recorder.writer.recorded("c1")]
I am a language model made to help people.
['user', 'assistant']
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from mechanism.drift import Drift
from mechanism.host import Host
from mechanism.processed import Answering, CacheMade, Processed, ProcessedTurn
from mechanism.session import Session
from mechanism.space import PersonaSpace
from mechanism.span import Span
from traces.errors import TraceError
from traces.vocabulary import CacheSpan, Intervention, KVCache, Probe, Server, Turn
from traces.writer import NewTurn, TraceWriter


class Recorder:
    """Writes what sessions do into a trace.db: facts only, each step of a session whole, at once.

    `space`: persona spaces whose axes are read at every token, one for each model that is to be probed; a space that
    names weights is used for these alone, and a model without a space is recorded without coordinates. `layers`: read
    at these layers too, besides the space's own. `keep_text`: whether words and token ids are kept; without them the
    trace holds counts and coordinates. `per_token`: whether the coordinates of each token are kept, or only those of
    turns. `resume`: turns that the trace holds already are passed over, so that a recording that was interrupted goes
    on where it was; the sessions must be as they were.

    Raises `TraceError` for a store that cannot be written, or a space that does not fit a model.
    """

    def __init__(
        self,
        store: str | Path,
        *,
        space: PersonaSpace | Iterable[PersonaSpace] | None = None,
        layers: Sequence[int] | None = None,
        keep_text: bool = True,
        per_token: bool = True,
        name: str | None = None,
        title: str | None = None,
        source: str | None = None,
        resume: bool = False,
    ) -> None:
        self.store = Path(store)
        self.spaces = [] if space is None else [space] if isinstance(space, PersonaSpace) else list(space)
        self.layers = layers
        self.keep_text = keep_text
        self.per_token = per_token
        self.resume = resume
        self.turns = 0
        """How many turns were written so far."""
        self._told = (name or self.store.stem, title, source or f"recorded with individuate {version('individuate')}")
        self._open = ExitStack()
        self._writer: TraceWriter | None = None
        self._models: dict[tuple[str, str | None], str] = {}
        self._there: dict[str, int] = {}
        self._written: dict[str, int] = {}
        # Other recorders may have the same server read something else.
        self._reading = secrets.token_hex(8)
        self._versions: dict[str, Mapping[str, str]] = {}

    def __enter__(self) -> Recorder:
        name, title, source = self._told
        self._writer = self._open.enter_context(
            TraceWriter.open(self.store, recording=name, title=title, source=source)
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()
        self._writer = None

    @property
    def writer(self) -> TraceWriter:
        """The store being written. Raises `TraceError` where the recorder is not open."""
        if self._writer is None:
            raise TraceError(str(self.store), "the recorder is not open", "`with Recorder(...) as recorder:`")
        return self._writer

    def session(self, answering: Answering | Host, *, key: str | None = None, **options: Any) -> Session:
        """A session that is recorded. `key` names its conversation; where none is given, the first of c1, c2, ... that
        is free. `options` are those of `Session`.
        """
        return Session(answering, key=key or self.free_key(), recording=self, **options)

    def free_key(self) -> str:
        """The first of c1, c2, ... that names no conversation of the trace."""
        taken = set(self.writer.names("conversation"))
        return next(name for number in count(1) if (name := f"c{number}") not in taken)

    def space_for(self, answering: Answering) -> PersonaSpace | None:
        """The space that a model is probed with: one made for its weights, else one that names no weights."""
        digest = answering.model.facts.digest
        own = [space for space in self.spaces if space.model_digest is not None and space.model_digest == digest]
        shape = answering.model.facts.layers, answering.model.hidden
        loose = [s for s in self.spaces if s.model_digest is None and (s.layers, s.hidden) == shape]
        return next(iter([*own, *loose]), None)

    def model_key(self, answering: Answering) -> str:
        """The model's key in the trace: its key on the server, with a number where that means other weights there."""
        facts = answering.model.facts
        known = (answering.model.key, facts.digest)
        if known not in self._models:
            taken = set(self.writer.names("model"))
            names = (answering.model.key if n == 1 else f"{answering.model.key}-{n}" for n in count(1))
            self._models[known] = self._declared(names, taken, lambda name: self.writer.model(name, facts))
        self._versions[self._models[known]] = answering.model.versions
        return self._models[known]

    # --- what a session tells (`processed.Recording`)

    def answering(self, answering: Answering) -> Answering:
        """A model takes over: it, its server and its probes become known to the trace."""
        space = self.space_for(answering)
        probes = {}
        if space is not None:
            probes = answering.server.probe(answering.model.key, self._reading, space, self.layers)
        # Each for itself, not at once: a name that means something else there is passed over, which would undo all.
        key = self.model_key(answering)
        self.writer.server(answering.server.name, Server(hardware=answering.server.hardware))
        if space is None:
            return answering.probed(None, {})
        self._declare_space(space, key)
        named = {self._probe_key(name, probe, key): probe for name, probe in probes.items()}
        return answering.probed(self._reading, named)

    def begins(self, conversation: str, parent: str | None, at: int | None) -> None:
        """A conversation begins."""
        there = self.writer.recorded(conversation)
        if there and not self.resume:
            raise TraceError(
                f"{self.store.name}: conversation {conversation}",
                f"it has {len(there)} turns already",
                "another key, or resume=True to go on where it was",
            )
        self._there[conversation], self._written[conversation] = len(there), 0
        self.writer.conversation(conversation, parent, at)

    def intervention(self, name: str, facts: Intervention) -> None:
        """Something will be done to the model."""
        self.writer.intervention(name, facts)

    def processed(self, conversation: str, first: int, step: Processed) -> None:
        """Turns were processed; they are in the store, whole, when this returns."""
        there = self._there[conversation]
        if first != self._written[conversation]:
            raise TraceError(
                f"{self.store.name}: conversation {conversation}",
                f"turn {self._written[conversation]} could not be recorded, so turn {first} cannot follow",
                "a new session, with resume=True to go on from what is recorded",
            )
        with self.writer.atomically():
            new_caches = [made for made in step.made if not self.writer.has("kv_cache", made.state.key)]
            keys = {made.state.key for made in new_caches}
            # Entries that a cache took from another can be told only once that one's are.
            spans: dict[str, list[Span]] = {key: list(grown) for key, grown in step.grown.items() if key not in keys}
            for made in new_caches:
                self.writer.cache(made.state.key, self._cache(made))
                spans[made.state.key] = [*made.state.spans, *step.grown.get(made.state.key, ())]
            if first < there:
                self._check_same(conversation, first, step.turns)
            new = [self._turn(turn) for number, turn in enumerate(step.turns, first) if number >= there]
            if new:
                # What a cache grew by goes with the turns that it grew by.
                told = {key: tuple(map(_fact, each)) for key, each in spans.items() if each}
                new[0] = replace(new[0], spans=told)
                self.writer.turns(conversation, new)
                self.turns += len(new)
        self._written[conversation] = first + len(step.turns)

    # --- inside

    def _probe_key(self, name: str, probe: Probe, model: str) -> str:
        taken = set(self.writer.names("probe"))
        names = (name if n == 0 else f"{name} of {model}" if n == 1 else f"{name} of {model} ({n})" for n in count())
        return self._declared(names, taken, lambda key: self.writer.probe(key, probe))

    def _declare_space(self, space: PersonaSpace, model: str) -> None:
        facts = space.facts(model)
        names = (
            space.name if n == 0 else f"{space.name} of {model}" if n == 1 else f"{space.name} ({n})" for n in count()
        )
        self._declared(names, set(self.writer.names("space")), lambda name: self.writer.space(name, facts))

    def _declared(self, names: Iterable[str], taken: set[str], declare: Any) -> str:
        """The first of the names under which something can be declared: free, or the same thing already."""
        for name in names:
            try:
                declare(name)
            except TraceError:
                if name not in taken:
                    raise
                continue
            return name
        raise AssertionError("there are always more names")

    def _check_same(self, conversation: str, first: int, turns: Sequence[ProcessedTurn]) -> None:
        there = self.writer.recorded(conversation)
        for number, turn in enumerate(turns, first):
            if number >= len(there):
                return
            recorded = there[number]
            same = (recorded.role, recorded.tokens) == (turn.role, len(turn.ids))
            place = (self.model_key(turn.answering), turn.answering.server.name)
            same = same and (recorded.model, recorded.server) == place
            if recorded.token_ids is not None:
                same = same and recorded.token_ids.tolist() == list(turn.ids)
            if not same:
                raise TraceError(
                    f"{self.store.name}: conversation {conversation}, turn {number}",
                    "what is recorded there is another turn than the one that this session processed",
                    "the same conversation, models, servers and seed as in the recording that was interrupted",
                )

    def _cache(self, made: CacheMade) -> KVCache:
        state, drift = made.state, made.drift
        measured = {} if drift is None else _drift_facts(drift)
        rebuilt = state.how == "prefilled"
        return KVCache(
            model=self.model_key(made.answering),
            server=state.server,
            source=state.source,
            how=state.how,  # type: ignore[arg-type]
            positions=state.length if rebuilt else state.taken_over,
            time=made.time,
            **measured,
        )

    def _turn(self, turn: ProcessedTurn) -> NewTurn:
        model = self.model_key(turn.answering)
        sampling = None
        if turn.sampling is not None:
            sampling = {**turn.sampling, "versions": dict(self._versions[model])}
        per_token = self.per_token and turn.readings.shape[1] > 0
        return NewTurn(
            Turn(
                role=turn.role,  # type: ignore[arg-type]
                tokens=len(turn.ids),
                model=model,
                server=turn.answering.server.name,
                kv=turn.cache,
                start=turn.start,
                text=turn.text if self.keep_text else None,
                token_marks=turn.marks,
                interventions=turn.interventions,
                sampling=sampling,
                time=turn.time,
            ),
            token_ids=np.array(turn.ids, np.int32) if self.keep_text else None,
            coordinates=turn.at,
            token_probes=tuple(turn.answering.probes) if per_token else (),
            token_coordinates=np.ascontiguousarray(turn.readings.T) if per_token else None,
        )


def _fact(span: Span) -> CacheSpan:
    return CacheSpan.model_validate(span.to_fact())


def _drift_facts(drift: Drift) -> dict[str, Any]:
    facts: dict[str, Any] = {"drift": drift.largest, "drift_mean": drift.mean, "drift_layers": drift.by_layer()}
    return facts if drift.kl is None else {**facts, "drift_kl": drift.kl}
