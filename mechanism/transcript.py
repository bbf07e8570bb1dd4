"""The transcript of a conversation going on: its turns, and the tokens that the model now answering reads them as.

A reply may be cut short and go on elsewhere (another model, another server), so a turn is a run of tokens of one role
that was processed in one place: what the trace calls a turn, and every view a stage (semantics.md §2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from mechanism.template import ChatTemplate, Message
from traces.errors import TraceError


@dataclass(frozen=True)
class TranscriptTurn:
    """A turn as it stands in the transcript.

    `text` is its content, `thinking` what the model thought before it answered. `start` is the position of its first
    token among `Transcript.ids`, None where the tokens of the model now answering cannot be cut there. `goes_on`: it
    continues the reply of the turn before. `closed`: the template's end of turn stands in it.
    """

    role: str
    text: str
    start: int | None = None
    thinking: str = ""
    goes_on: bool = False
    closed: bool = True


@dataclass
class Transcript:
    """Turns, and their tokens as the model now answering reads them.

    `ids` are all tokens, `roles` has the role of each, and `marks` a letter for each (`c` content, `t` template, `h`
    thinking). All three change when another template takes over (`read_by`).
    """

    template: ChatTemplate
    turns: list[TranscriptTurn] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    roles: list[str] = field(default_factory=list)
    marks: str = ""

    def messages(self, turns: Sequence[TranscriptTurn] | None = None) -> list[Message]:
        """The turns as chat messages; a reply that goes on is one message."""
        messages: list[dict[str, str]] = []
        for turn in self.turns if turns is None else turns:
            if turn.goes_on and messages:
                messages[-1]["content"] += turn.text
                thinking = messages[-1].get("thinking", "") + turn.thinking
            else:
                messages.append({"role": turn.role, "content": turn.text})
                thinking = turn.thinking
            if thinking:
                messages[-1]["thinking"] = thinking
        return [*messages]

    @property
    def open(self) -> bool:
        """Whether the last turn is a reply that was cut short: no end of turn stands after it."""
        return bool(self.turns) and not self.turns[-1].closed

    def skeleton(self) -> list[Message]:
        """The messages without their words: what the template writes around what comes next depends on roles alone,
        and a model may have sampled text that the template would read as its own."""
        return [{"role": message["role"], "content": "."} for message in self.messages()]

    def closing(self) -> list[int]:
        """The tokens that end an open reply; none where nothing is open."""
        return self.template.closing(self.skeleton()) if self.open else []

    def add(self, turn: TranscriptTurn, ids: Sequence[int], marks: str) -> None:
        """Append a turn and its tokens."""
        self.turns.append(replace(turn, start=len(self.ids)))
        self.ids += ids
        self.roles += [turn.role] * len(ids)
        self.marks += marks

    def position(self, at: int) -> int:
        """The position of the first token after `at` turns. Raises `TraceError` where there is none."""
        if not 0 <= at <= len(self.turns):
            raise TraceError("the conversation", f"it has {len(self.turns)} turns, not {at}", "a turn that is there")
        if at == len(self.turns):
            return len(self.ids)
        start = self.turns[at].start
        if start is None:
            found = f"the model now answering reads turns {at - 1} and {at} as one text, with a token astride both"
            raise TraceError("the conversation", found, "a cut before or after the whole reply")
        return start

    def content(self, number: int) -> list[int]:
        """The positions of a turn's content tokens; where the turn is part of a reply whose tokens cannot be cut there,
        those of the whole reply."""
        first, end = number, number + 1
        if not 0 <= number < len(self.turns):
            self.position(number if number < 0 else number + 1)
        while self.turns[first].start is None:
            first -= 1
        while end < len(self.turns) and self.turns[end].start is None:
            end += 1
        return [place for place in range(self.position(first), self.position(end)) if self.marks[place] == "c"]

    def first(self, at: int) -> Transcript:
        """The transcript of the first `at` turns."""
        end = self.position(at)
        return Transcript(self.template, self.turns[:at], self.ids[:end], self.roles[:end], self.marks[:end])

    def read_by(self, template: ChatTemplate) -> Transcript:
        """The same turns as another template writes them and its tokenizer cuts them.

        Where the other tokenizer and template are the same, the tokens stay as they are, also those that were sampled
        in another way than the tokenizer would have cut the text.
        """
        if template.digest == self.template.digest:
            return Transcript(template, list(self.turns), list(self.ids), list(self.roles), self.marks)
        if not self.turns:
            return Transcript(template)
        read, starts = self._cut(template, self.turns)
        message = -1
        for number, turn in enumerate(self.turns):
            start: int | None
            if turn.goes_on and number:
                # The tokens of what stood before a reply went on must be the first ones of the whole.
                earlier, _ = self._cut(
                    template, [*self.turns[: number - 1], replace(self.turns[number - 1], closed=False)]
                )
                start = len(earlier.ids) if read.ids[: len(earlier.ids)] == earlier.ids else None
            else:
                message += 1
                start = starts[message]
            read.turns.append(replace(turn, start=start))
        return read

    def read_on(self, known: Transcript) -> Transcript | None:
        """The same turns, the first of which a model has read already, as `known` says: their tokens stay as they were.

        None where they are not the first ones, or where the reply that stood last was gone on with by another model: to
        other tokenizers, tokens before and after the seam mean nothing apart.
        """
        if known.template.digest == self.template.digest:
            return self.read_by(known.template) if self.ids[: len(known.ids)] == known.ids else None
        count = len(known.turns)
        mine = [(turn.role, turn.text, turn.thinking) for turn in self.turns[:count]]
        if mine != [(turn.role, turn.text, turn.thinking) for turn in known.turns]:
            return None
        later = self.turns[count:]
        if later and later[0].goes_on:
            return None
        read = known.first(count)
        for first in [number for number, turn in enumerate(later) if not turn.goes_on]:
            end = next((n for n in range(first + 1, len(later)) if not later[n].goes_on), len(later))
            closing = read.closing()
            split = known.template.next_turn([*read.skeleton(), *self.messages(later[first:end])])
            marks = split.turns[0].marks
            length = len(marks) if later[end - 1].closed else len(marks.rstrip("t"))
            read.add(later[first], [*closing, *split.ids[:length]], "t" * len(closing) + marks[:length])
            read.turns += [replace(turn, start=None) for turn in later[first + 1 : end]]
        return read

    def _cut(self, template: ChatTemplate, turns: Sequence[TranscriptTurn]) -> tuple[Transcript, list[int]]:
        """Tokens without turns, and where each message starts. An open reply is without its end of turn."""
        split = template.split(self.messages(turns))
        roles = [turn.role for turn in split.turns for _ in turn.marks]
        marks = "".join(turn.marks for turn in split.turns)
        end = len(marks) if turns[-1].closed else len(marks.rstrip("t"))
        return Transcript(template, [], split.ids[:end], roles[:end], marks[:end]), [turn.start for turn in split.turns]
