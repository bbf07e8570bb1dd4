"""The shape of a chat template: what it writes around the contents of messages, found by rendering markers.

Templates are programs; none of them says where a message begins. What one writes around contents depends on the roles
alone, or else is found not to: every shape is compared with the conversation as it is really rendered.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from traces.errors import TraceError, one_of, quoted
from traces.vocabulary import ROLES

Message = Mapping[str, str]
"""`role`, `content`, and perhaps `thinking`."""

_REMEMBERED = 4096
# Private characters, which no template or tokenizer has a use for.
_MARK, _END = "\U0010fa00", "\U0010fa01"
_MARKED = re.compile(f"{_MARK}([0-9]+)([ch]){_END}")


class Piece(NamedTuple):
    """A run of characters of a rendered conversation: whose turn it is, and `c` content, `h` thinking, `t` template."""

    turn: int
    kind: str
    text: str


class Slot(NamedTuple):
    """Where a message's content (`c`) or thinking (`h`) goes, and what the template writes before it."""

    turn: int
    kind: str
    before: str


class Plan(NamedTuple):
    """What a shape depends on: for each message its role, and whether it has thinking."""

    roles: tuple[str, ...]
    thinking: tuple[bool, ...]

    def first(self, count: int) -> Plan:
        """The plan of the first messages."""
        return Plan(self.roles[:count], self.thinking[:count])

    def then(self, role: str, thinking: bool = False) -> Plan:
        """The plan with one more message."""
        return Plan((*self.roles, role), (*self.thinking, thinking))


@dataclass(frozen=True)
class Shape:
    """A conversation of certain roles as the template writes it.

    `after` stands behind the last content: the last message's closing, then the generation prompt. `closings`: for each
    message, what the template writes after its content that still belongs to it.
    """

    slots: tuple[Slot, ...]
    closings: tuple[str, ...]
    prompt: str

    @property
    def after(self) -> str:
        """All that stands behind the last content."""
        return self.closings[-1] + self.prompt

    def header(self, turn: int) -> str:
        """What the template writes before a message's content, its thinking left out."""
        texts = [slot.before for slot in self.slots if slot.turn == turn]
        return "".join(texts).removeprefix(self.closings[turn - 1] if turn else "")


class Rendered(NamedTuple):
    """A conversation as the template writes it: the whole text, its pieces, and the generation prompt at its end."""

    text: str
    pieces: list[Piece]
    prompt: str
    plan: Plan


class Refused(Exception):  # noqa: N818 - the template's own word, not an error of ours
    """The template does not write such a conversation, and says why."""


class Shapes:
    """The shapes of one tokenizer's chat template, remembered by what they depend on."""

    def __init__(self, tokenizer: Any, name: str, options: Mapping[str, Any]) -> None:
        self.name = name
        self._tokenizer = tokenizer
        self._options = dict(options)
        self._remembered: OrderedDict[tuple[Plan, bool], Shape | None] = OrderedDict()
        try:
            self.source = str(tokenizer.get_chat_template())
        except (ValueError, KeyError) as error:
            expected = "a chat model, with chat_template.jinja beside its tokenizer"
            raise TraceError(name, "its tokenizer has no chat template", expected) from error
        self.thinking_tags = self._thinking_tags()

    def _thinking_tags(self) -> tuple[str, str] | None:
        """What the template writes before and after thinking, or the usual tags where it only ever cuts it off."""
        with_it = self.shape(Plan(("user", "assistant"), (False, True)))
        if with_it and len(with_it.slots) == 3:
            opening = with_it.slots[1].before.removeprefix(with_it.closings[0])
            return opening.removeprefix(self.reply_header()), with_it.slots[2].before
        return ("<think>", "</think>") if "</think>" in self.source else None

    def rendered(self, messages: Sequence[Message], generation_prompt: bool = False) -> Rendered:
        """The conversation as the template writes it, cut into pieces.

        Raises `TraceError` where the template refuses it, or writes contents otherwise than once, whole and in order.
        """
        if not messages:
            raise TraceError(f"{self.name}: conversation", "it has no messages", "at least one message")
        given = [self._checked(index, message) for index, message in enumerate(messages)]
        try:
            text = self._render(given, generation_prompt)
        except Refused as refused:
            expected = "messages that it takes, in an order that it takes"
            raise TraceError(
                f"{self.name}: chat template", f"it refuses the conversation: {quoted(str(refused))}", expected
            ) from refused
        # What was remembered may be of yesterday: some templates write the date.
        for fresh in (False, True):
            for read in (given, [self._cut_thinking(message) for message in given]):
                plan = Plan(tuple(message[0] for message in read), tuple(bool(message[2]) for message in read))
                shape = self.shape(plan, generation_prompt, fresh=fresh)
                if shape and (pieces := _filled(shape, read, text)) is not None:
                    return Rendered(text, pieces, shape.prompt, plan)
        raise TraceError(
            f"{self.name}: chat template",
            "it cannot be split exactly: it does not write each message's text once, whole and in order",
            "a template that does, or messages without its own tags in their text",
        )

    def _checked(self, index: int, message: Message) -> tuple[str, str, str]:
        where = f"{self.name}: message {index}"
        role, content, thinking = message.get("role"), message.get("content"), message.get("thinking") or ""
        if role not in ROLES:
            raise TraceError(where, f"its role is {quoted(role)}", one_of(ROLES, "role"))
        if not isinstance(content, str) or not isinstance(thinking, str):
            wrong = content if isinstance(thinking, str) else thinking
            raise TraceError(where, f"its text is {quoted(wrong)}", "text")
        if _MARK in content + thinking or _END in content + thinking:
            raise TraceError(where, "there are private characters in it (U+10FA00, U+10FA01)", "text without them")
        return role, content, thinking

    def _cut_thinking(self, message: tuple[str, str, str]) -> tuple[str, str, str]:
        """A reply with its thinking still in its text, cut as templates do it: at the last closing tag."""
        role, content, thinking = message
        if role != "assistant" or thinking or not self.thinking_tags:
            return message
        opening, closing = (tag.strip() for tag in self.thinking_tags)
        if closing not in content:
            return message
        before, _, said = content.rpartition(closing)
        return role, said, before.split(closing)[0].rpartition(opening)[2]

    def shape(self, plan: Plan, generation_prompt: bool = False, *, fresh: bool = False) -> Shape | None:
        """The shape of such conversations; None where the template refuses them, or does not keep texts in order."""
        if fresh:
            self._remembered.clear()
        key = (plan, generation_prompt)
        if key not in self._remembered:
            self._remembered[key] = self._found(plan, generation_prompt)
            if len(self._remembered) > _REMEMBERED:
                self._remembered.popitem(last=False)
        return self._remembered[key]

    def _found(self, plan: Plan, generation_prompt: bool) -> Shape | None:
        try:
            without = self._render(_marked(plan), False)
            text = self._render(_marked(plan), True) if generation_prompt else without
        except Refused:
            return None
        slots, after = _cut(text)
        if [slot.turn for slot in slots if slot.kind == "c"] != list(range(len(plan.roles))):
            return None
        if any(a.turn > b.turn or (a.turn == b.turn and a.kind == "c") for a, b in pairwise(slots)):
            return None
        prompt = ""
        if generation_prompt:
            found = text[len(without) :] if text.startswith(without) else self.usual_prompt()
            if found is None or not after.endswith(found):
                return None
            prompt = found
        befores = {slot.turn: slot.before for slot in reversed(slots)}
        closings = [self._closing(plan.first(turn), befores[turn]) for turn in range(1, len(plan.roles))]
        return Shape(tuple(slots), (*closings, after.removesuffix(prompt)), prompt)

    def _closing(self, plan: Plan, between: str) -> str:
        """How much of what stands between a message's content and the next one's belongs to the first."""
        for generation_prompt in (False, True):
            shape = self.shape(plan, generation_prompt)
            if shape and between.startswith(shape.closings[-1]):
                return shape.closings[-1]
        # A system text within the user's turn: the template has nothing to end it with.
        return ""

    def reply_header(self) -> str:
        """What the template writes before each reply and whatever is thought in it."""
        replied = Plan(("user", "assistant"), (False, False))
        shapes = [self.shape(plan) for plan in (replied, replied.then("user"), Plan(replied.roles, (False, True)))]
        headers = [s.slots[1].before.removeprefix(s.closings[0]) for s in shapes if s]
        prompt = self.usual_prompt()
        return _common_start([*headers, prompt] if prompt else headers)

    def usual_prompt(self) -> str | None:
        """The generation prompt after a user's message; None where the template has no such shape."""
        shape = self.shape(Plan(("user",), (False,)), generation_prompt=True)
        return shape.prompt if shape else None

    def _render(self, messages: Sequence[tuple[str, str, str]], generation_prompt: bool) -> str:
        given = [
            {"role": role, "content": content} | ({"reasoning_content": said, "thinking": said} if said else {})
            for role, content, said in messages
        ]
        try:
            return str(
                self._tokenizer.apply_chat_template(
                    given, tokenize=False, add_generation_prompt=generation_prompt, **self._options
                )
            )
        except Exception as error:  # A template is a program: it can fail in any way.
            raise Refused(str(error).strip() or type(error).__name__) from error


def _marked(plan: Plan) -> list[tuple[str, str, str]]:
    return [
        (role, f"{_MARK}{i}c{_END}", f"{_MARK}{i}h{_END}" if thinking else "")
        for i, (role, thinking) in enumerate(zip(plan.roles, plan.thinking, strict=True))
    ]


def _cut(text: str) -> tuple[list[Slot], str]:
    """The slots of a conversation rendered with markers, and what stands after the last."""
    slots, at = [], 0
    for found in _MARKED.finditer(text):
        slots.append(Slot(int(found[1]), found[2], text[at : found.start()]))
        at = found.end()
    return slots, text[at:]


def _filled(shape: Shape, messages: Sequence[tuple[str, str, str]], text: str) -> list[Piece] | None:
    """The pieces of a rendered conversation that has this shape; None if it has not."""
    pieces: list[Piece] = []
    at, last = 0, -1
    for index, (turn, kind, before) in enumerate(shape.slots):
        if not text.startswith(before, at):
            return None
        closing = shape.closings[last] if last >= 0 and last != turn else ""
        if closing:
            pieces.append(Piece(last, "t", closing))
        pieces.append(Piece(turn, "t", before[len(closing) :]))
        at += len(before)
        ends = index + 1 == len(shape.slots)
        following = shape.after if ends else shape.slots[index + 1].before
        written = messages[turn][1 if kind == "c" else 2]
        for said in _as_templates_trim(written):
            stop = at + len(said)
            if text.startswith(said, at) and text.startswith(following, stop):
                if ends and stop + len(following) != len(text):
                    continue
                break
        else:
            return None
        pieces.append(Piece(turn, kind, said))
        at, last = stop, turn
    pieces.append(Piece(last, "t", shape.closings[-1]))
    return pieces


def _common_start(texts: Sequence[str]) -> str:
    shortest = min(texts, key=len, default="")
    same = (all(text[i] == char for text in texts) for i, char in enumerate(shortest))
    return shortest[: next((i for i, is_same in enumerate(same) if not is_same), len(shortest))]


def _as_templates_trim(text: str) -> list[str]:
    """A text whole, and as templates are known to trim it."""
    ways = (
        text, text.strip(), text.strip("\n"), text.lstrip("\n"), text.rstrip("\n"), text.lstrip(), text.rstrip(),
    )  # fmt: skip
    return list(dict.fromkeys(ways))
