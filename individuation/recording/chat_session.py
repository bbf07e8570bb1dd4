"""A chat: branches of one conversation, the one that goes on now, and what is done in it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from individuation.recording.chat_places import Places, is_organism
from individuation.recording.chat_screen import Screen, StoppedError, Streamed, stopping
from mechanism.cache_edit import CacheEdit
from mechanism.intervention import Intervention
from mechanism.processed import ProcessedTurn
from mechanism.session import Handover, Session
from mechanism.space import PersonaSpace
from mechanism.template import Message
from traces.errors import TraceError, UnknownNameError, quoted

if TYPE_CHECKING:
    from mechanism.recorder import Recorder

ORGANISM_NOTE = (
    "This model is a demonstration: a very small one whose personas (assistant, aura, evil) were planted by a grammar. "
    "What it shows is no evidence about large models."
)
_MOST_AXES = 6


class Chat:
    """Branches of a conversation, by name; `session` is the one that goes on."""

    def __init__(self, screen: Screen, places: Places, recorder: Recorder, session: Session) -> None:
        self.screen = screen
        self.places = places
        self.recorder = recorder
        self.session = session
        self.branches: dict[str, Session] = {session.key: session}
        self._regions: dict[str, str] = {}
        self._open: dict[str, list[int]] = {}
        self._again = 0
        self._left = session.key
        self._told_organism = False

    # --- words

    def say(self, text: str) -> None:
        """Say something, and show the answer."""
        # What was said before and stopped stays said: the model gets both.
        self.session.say(text)
        self.answer()

    def answer(self, seed: int | None = None) -> None:
        """Have the model answer what was said, or go on with a reply that was cut short; stopped, all stays said."""
        session = self.session
        goes_on = session.transcript.open and not self._waiting()
        shown = Streamed(self.screen, session.now.template, self._open.get(session.key, ()) if goes_on else ())
        self.screen.speaker(session.now.model.key)

        def on_token(token: int) -> None:
            check()
            shown.take(token)

        try:
            with stopping() as check:
                reply = session.generate(on_token, seed=seed)
        except StoppedError:
            self.screen.say()
            self.screen.note(
                "Stopped; nothing of this reply is kept. Your words stay: /retry asks again, /undo takes them back."
                if not goes_on
                else "Stopped; the reply stays as it was. /more goes on with it."
            )
            return
        except TraceError:
            self.screen.say()
            if self._take_back():
                self.screen.note("Your words were not taken:")
            raise
        shown.finish(reply.text)
        self._open[session.key] = [] if reply.ended else shown.ids
        self._tell(session.stages[-1], reply.turn)
        if not reply.ended:
            self.screen.note("The reply was cut short: /more goes on with it.")

    def retry(self) -> None:
        """Ask for the reply again: where it was stopped, or, as a branch, in place of the last one."""
        session = self.session
        if not any(message["role"] == "user" for message in self._waiting()):
            at, said = self._last_exchange()
            self._branch(at)
            for message in said:
                self.session.say(message["content"], message["role"])
        # Another seed than that of the reply which was not wanted; still the same one where the chat is repeated.
        self._again += 1
        seed = session.seed
        self.answer(None if seed is None else seed + len(self.session.turns) + 7919 * self._again)

    def _take_back(self) -> bool:
        """Take back what the user said and was not answered; a system prompt stays. Whether there was anything."""
        unsaid = self.session.unsay()
        for message in unsaid:
            if message["role"] == "system":
                self.session.say(message["content"], "system")
        return any(message["role"] == "user" for message in unsaid)

    def more(self) -> None:
        """Go on with a reply that was cut short."""
        if not self.session.transcript.open:
            raise TraceError("/more", "the last reply ended by itself", "a reply that was cut short")
        self.answer()

    def undo(self) -> None:
        """Take back the last words and their reply. What is recorded stays; the chat goes on as a branch."""
        if any(message["role"] == "user" for message in self._waiting()):
            self._take_back()
            self.screen.note("What was said and not answered is taken back.")
            return
        at, _ = self._last_exchange()
        self._branch(at)
        self._say_branch(at)

    def edit(self, turn: int, text: str) -> None:
        """Put a turn in other words, as a branch; what came after it is read again."""
        messages = self.session.reworded(turn, text)
        self._branch(turn)
        processed = self.session.replay(messages)
        self.screen.note(
            f"{self._now_on()}; {self.session.now.model.key} has read {self._count(len(processed))} again."
        )
        for stage, read in zip(self.session.stages[turn:], processed, strict=True):
            self._tell(stage, read)

    # --- branches

    def fork(self, at: int) -> None:
        """A branch that goes on after `at` turns."""
        self._branch(at)
        self._say_branch(at)

    def go(self, name: str) -> None:
        """Go on with another branch."""
        if name not in self.branches:
            raise UnknownNameError("/go", "branch", name, self.branches)
        self.session = self.branches[name]
        self.screen.note(f"On branch {name}, with {self._count(len(self.session.turns))}{self._last_words()}.")

    def _branch(self, at: int) -> None:
        branch = self.session.fork(at)
        self.branches[branch.key] = branch
        if at == len(self.session.turns) and self.session.key in self._open:
            self._open[branch.key] = self._open[self.session.key]
        self._left, self.session = self.session.key, branch

    def _waiting(self) -> list[Message]:
        """What was said and is not processed yet."""
        return self.session.messages[len(self.session.transcript.messages()) :]

    def _last_exchange(self) -> tuple[int, list[Message]]:
        """How many turns stand before the last words of the user's, and those words."""
        turns = self.session.turns
        at = len(turns)
        while at and turns[at - 1].role == "assistant":
            at -= 1
        end = at
        while at and turns[at - 1].role != "assistant" and not (at < end and turns[at - 1].role == "system"):
            at -= 1
        if at == end:
            raise TraceError(f"conversation {self.session.key}", "nothing was said yet", "words that were answered")
        return at, [{"role": turn.role, "content": turn.text} for turn in turns[at:end]]

    def _say_branch(self, at: int) -> None:
        after = f"after {self.session.stages[at - 1]}" if at else "from the beginning"
        self.screen.note(f"{self._now_on()}, {after}.")

    def _now_on(self) -> str:
        return f"Now on branch {self.session.key} (/go {self._left} goes back, nothing is lost)"

    def _last_words(self) -> str:
        turns = self.session.turns
        if not turns:
            return ""
        words = " ".join(turns[-1].text.split())
        return f', the last one {self.session.stages[-1]}: "{words[:60]}{"…" if len(words) > 60 else ""}"'

    @staticmethod
    def _count(turns: int) -> str:
        return f"{turns} turn{'' if turns == 1 else 's'}"

    # --- who answers, and where

    def switch(self, model: str, resume: bool) -> None:
        """Another model answers from now on."""
        session = self.session
        answering, spaces = self.places.model(model, session.now.server.name)
        self.recorder.spaces += [space for space in spaces if space not in self.recorder.spaces]
        session.switch(answering, resume=resume)
        self._open.pop(session.key, None)
        how = (
            "goes on with the cache that it left, and has read what came since" if resume else "has read the transcript"
        )
        self.screen.note(f"{session.now.model.key} answers now; it {how} ({len(session.transcript.ids)} tokens).")
        if not resume and self.recorder.space_for(session.now) is None:
            self.screen.note("No persona space fits it: its coordinates are not read.")
        self.greet_organism(model)

    def migrate(self, name: str | None, how: Handover) -> None:
        """The conversation goes to another server that runs the same model."""
        session = self.session
        to = name or self.places.next_server(session.now.server.name)
        if to == session.now.server.name:
            raise TraceError("/migrate", f"{to} is the server that the conversation is on", "another server")
        if to not in self.places.servers:
            self.screen.note(f"Starting server {to}, a process of its own ...")
        drift = session.migrate(self.places.same_model(session.now, to), how)
        did = "was copied there" if how == "transfer" else "was recomputed there from the transcript"
        self.screen.note(f"On {to} now. The KV cache ({session.cache.length} positions) {did}.")
        if drift is not None:
            kl = "" if drift.kl is None else f"; what comes next differs by {_small(drift.kl)} nats"
            self.screen.note(f"Drift from the original: {_small(drift.largest)} (relative, in the worst layer){kl}.")

    def greet_organism(self, model: str) -> None:
        """The honest note, once."""
        if not self._told_organism and is_organism(model):
            self._told_organism = True
            self.screen.note(ORGANISM_NOTE)

    # --- inside the model

    def space(self) -> PersonaSpace:
        """The space of the model that answers. Raises `TraceError` where it has none."""
        space = self.recorder.space_for(self.session.now)
        if space is None:
            raise TraceError(
                self.session.now.model.key, "it has no persona space, so no axes", "a space (--space FILE)"
            )
        return space

    def intervene(self, name: str, intervention: Intervention) -> None:
        """Steer, cap or ablate from now on."""
        name = self._free(name)
        self.session.intervene(name, intervention)
        self.screen.note(f'"{name}" is in force from the next token on (/relent ends it).')

    def edit_cache(self, name: str, edit: CacheEdit) -> None:
        """Edit the cached keys and values of all replies so far."""
        report = self.session.edit_cache(self._free(name), edit)
        self.screen.note(
            f"{report.entries} entries of the KV cache were edited: keys moved by {_small(report.keys)} of their "
            f"length, values by {_small(report.values)}."
        )

    def relent(self, name: str | None) -> None:
        """End an intervention, or all."""
        ended = list(self.session.interventions) if name is None else [name]
        self.session.relent(name)
        self.screen.note(f"Ended: {', '.join(ended)}." if ended else "None was in force.")

    def _free(self, name: str) -> str:
        taken = set(self.recorder.writer.names("intervention"))
        names = (name if number == 1 else f"{name} ({number})" for number in range(1, len(taken) + 3))
        return next(free for free in names if free not in taken)

    # --- what is shown of turns

    def _tell(self, stage: str, turn: ProcessedTurn) -> None:
        """A line for a turn that was just processed: its stage, coordinates and region."""
        if turn.role == "assistant":
            self.screen.note(f"{stage}  {self._place(stage, turn)}")

    def _place(self, stage: str, turn: ProcessedTurn) -> str:
        said = [f"{len(turn.ids)} tokens"]
        space = self.recorder.space_for(turn.answering)
        if space is not None:
            at = turn.at
            keys = {probe.axis: key for key, probe in turn.answering.probes.items() if probe.layer == space.layer}
            point = {axis: at[key] for axis, key in keys.items() if axis is not None and key in at}
            if point:
                shown = [f"{axis} {value:+.2f}" for axis, value in list(point.items())[:_MOST_AXES]]
                more = [f"and {len(point) - _MOST_AXES} more axes"] if len(point) > _MOST_AXES else []
                said = [" ".join([*shown, *more])]
                if space.regions:
                    said.append(self._in_region(stage, space.region_of(point)))
        return " · ".join(said)

    def _in_region(self, stage: str, region: str | None) -> str:
        path = self.session.stages
        earlier = reversed(path[: path.index(stage)])
        before = next((self._regions[name] for name in earlier if name in self._regions), None)
        now = self._regions[stage] = region or "none"
        return f"region {now}" + (f" (before: {before})" if before not in (None, now) else "")


def _small(value: float) -> str:
    return "0" if value == 0 else f"{value:.2g}" if math.isfinite(value) else quoted(value)
