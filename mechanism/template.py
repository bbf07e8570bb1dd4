"""A model's chat template: which token of a conversation belongs to whose turn, exactly.

A turn has the tokens that the template writes for a message: its header, its content, and what ends it. Each token is
marked: content, thinking, or template. What cannot be told exactly is an error, not a guess.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from mechanism.template_parse import Grammar
from mechanism.template_shape import Message, Piece, Plan, Rendered, Shapes
from traces.errors import TraceError

__all__ = ["ChatTemplate", "Message", "Split", "TurnTokens"]

_THINKING = "enable_thinking"


@dataclass(frozen=True)
class TurnTokens:
    """One turn's tokens: positions [start, end) of the conversation's ids.

    `marks` has one letter a token: `c` content, `h` thinking, `t` template. A token that holds both is `t`, unless all
    that the template adds to it is blanks (as Mistral's before a reply's first word). `text` is the content as the
    template writes it (many trim it), `thinking` likewise: empty where the template leaves it out.
    """

    role: str
    start: int
    end: int
    marks: str
    text: str
    thinking: str = ""


@dataclass(frozen=True)
class Split:
    """A conversation's token ids, and its turns: one after another without gaps, up to the generation prompt.

    `prompt_start` is where the generation prompt begins: `len(ids)` if there is none.
    """

    ids: list[int]
    turns: list[TurnTokens]
    prompt_start: int

    @property
    def prompt(self) -> list[int]:
        """The ids of the generation prompt, which belong to no turn yet."""
        return self.ids[self.prompt_start :]


class ChatTemplate:
    """The chat template of a tokenizer; `options` are variables of the template, such as `enable_thinking`.

    `end_ids` are the ids that end a reply. Raises `TraceError` for a tokenizer without a template, or a slow one.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        name: str = "tokenizer",
        end_ids: Sequence[int] = (),
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if not getattr(tokenizer, "is_fast", False):
            found = "its tokenizer is a slow one, which does not say which characters a token stands for"
            raise TraceError(name, found, "a fast tokenizer (tokenizer.json)")
        self.tokenizer = tokenizer
        self.name = name
        self.options = dict(options or {})
        self.end_ids = frozenset([*end_ids, *(id_ for id_ in [tokenizer.eos_token_id] if id_ is not None)])
        self._shapes = Shapes(tokenizer, name, self.options)
        self._grammar = Grammar(tokenizer, self._shapes)

    @cached_property
    def digest(self) -> str:
        """`sha256:<hex>` of all that decides which tokens a conversation becomes: tokenizer, template and options."""
        parts = (self.tokenizer.backend_tokenizer.to_str(), self._shapes.source, repr(sorted(self.options.items())))
        return "sha256:" + hashlib.sha256("\0".join(parts).encode()).hexdigest()

    @cached_property
    def takes_system_prompts(self) -> bool:
        """Whether the template writes a system prompt; Gemma 2's does not."""
        try:
            self.split([{"role": "system", "content": "."}, {"role": "user", "content": "."}])
        except TraceError:
            return False
        return True

    def without_thinking(self) -> ChatTemplate:
        """The same template where replies are not preceded by thinking, if it can be told so (`enable_thinking`, as
        that of Qwen 3); else itself.
        """
        if _THINKING not in self._shapes.source:
            return self
        options = {**self.options, _THINKING: False}
        return ChatTemplate(self.tokenizer, name=self.name, end_ids=sorted(self.end_ids), options=options)

    def accepted(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Messages as the template takes them: where it takes no system prompt, this stands before the first question,
        as Lu et al. 2026 have it for Gemma 2.
        """
        if self.takes_system_prompts or len(messages) < 2 or messages[0]["role"] != "system":
            return messages
        prompt, asked, *after = messages
        return [{"role": "user", "content": f"{prompt['content']}\n\n{asked['content']}"}, *after]

    def split(self, messages: Sequence[Message], *, generation_prompt: bool = False) -> Split:
        """The whole conversation as `apply_chat_template` writes and tokenises it, cut into its turns.

        A message has `role`, `content`, and perhaps `thinking` (the assistant's). Control tokens in its text are the
        control tokens that the model gets. Raises `TraceError` where the template refuses the messages or cannot be
        split exactly.
        """
        return self._split(self._shapes.rendered(messages, generation_prompt))

    def _split(self, rendered: Rendered) -> Split:
        encoded = self.tokenizer(rendered.text, add_special_tokens=False, return_offsets_mapping=True)
        return self._turns(list(encoded["input_ids"]), encoded["offset_mapping"], rendered)

    def _turns(self, ids: list[int], offsets: Sequence[tuple[int, int]], rendered: Rendered) -> Split:
        roles = rendered.plan.roles
        marks = self._assigned(offsets, rendered)
        turns, start = [], 0
        for turn, role in enumerate(roles):
            if not marks[turn]:
                found = "the template writes nothing of it"
                raise TraceError(f"{self.name}: message {turn}", found, "a message with a place of its own")
            said = {kind: "".join(p.text for p in rendered.pieces if p[:2] == (turn, kind)) for kind in "ch"}
            turns.append(TurnTokens(role, start, start + len(marks[turn]), marks[turn], said["c"], said["h"]))
            start += len(marks[turn])
        return Split(ids, turns, start)

    def _assigned(self, offsets: Sequence[tuple[int, int]], rendered: Rendered) -> list[str]:
        """The marks of each turn's tokens, in the order of tokens. The generation prompt counts as a turn more."""
        count = len(rendered.plan.roles)
        pieces = [piece for piece in [*rendered.pieces, Piece(count, "t", rendered.prompt)] if piece.text]
        ends, end = [], 0
        for piece in pieces:
            end += len(piece.text)
            ends.append(end)
        marks: list[list[str]] = [[] for _ in range(count + 1)]
        now = 0
        for start, stop in offsets:
            while ends[now] <= start and now + 1 < len(pieces):
                now += 1
            if stop <= ends[now]:
                marks[pieces[now].turn].append(pieces[now].kind)
                continue
            last = now
            while ends[last] < stop:
                last += 1
            over = [
                Piece(p.turn, p.kind, rendered.text[max(start, end - len(p.text)) : min(stop, end)])
                for p, end in zip(pieces[now : last + 1], ends[now : last + 1], strict=True)
            ]
            turn = over[-1].turn
            if over[0].turn != turn:
                self._check_within(rendered, over)
            marks[turn].append(_mark(over))
        return ["".join(letters) for letters in marks]

    def _check_within(self, rendered: Rendered, over: Sequence[Piece]) -> None:
        """A token may reach over the end of a system text that stands within the next turn: it is the next one's."""
        for piece in over[:-1]:
            if piece.turn != over[-1].turn and (piece.kind == "t" or rendered.plan.roles[piece.turn] == "assistant"):
                raise TraceError(
                    f"{self.name}: message {piece.turn}",
                    "a token begins in its turn and ends in the next one's: the template cannot be split exactly",
                    "a template that writes control tokens between turns",
                )

    def next_turn(self, messages: Sequence[Message]) -> Split:
        """The tokens of the last message where all before it stand already, their ends included: a split of one turn.

        A reply is written as it stands once another turn follows it, but with its thinking, if it has any. So all
        turns' tokens one after another are those of `split`, up to what the template writes otherwise in the last
        reply, and to thinking that it takes away later. Raises `TraceError` where it rewrites other earlier turns.
        """
        rendered = self._as_it_stands(messages)
        self._check_stands(messages, rendered)
        split = self._split(rendered)
        turn = split.turns[len(messages) - 1]
        ids = split.ids[turn.start : turn.end]
        return Split(ids, [TurnTokens(turn.role, 0, len(ids), turn.marks, turn.text, turn.thinking)], len(ids))

    def _as_it_stands(self, messages: Sequence[Message]) -> Rendered:
        """The conversation, its last message as the template writes it when another turn follows."""
        role = messages[-1].get("role") if messages else None
        if role != "assistant":
            try:
                return self._shapes.rendered(messages)
            except TraceError:
                if role != "system":
                    raise
                # Within the user's turn: alone, it has no place.
                return self._shapes.rendered([*messages, _ANOTHER])
        # The opening of another reply ends this one, and keeps its thinking.
        if messages[-1].get("thinking"):
            return self._shapes.rendered(messages, generation_prompt=True)
        try:
            return self._shapes.rendered([*messages, _ANOTHER])
        except TraceError:
            return self._shapes.rendered(messages)

    def _check_stands(self, messages: Sequence[Message], rendered: Rendered) -> None:
        if len(messages) < 2:
            return
        now = self._shapes.shape(rendered.plan, bool(rendered.prompt))
        before = self._shapes.shape(rendered.plan.first(len(messages) - 1))
        # A lone system message may have no shape: then it was never fed alone.
        if now is None or before is None:
            return
        for turn, role in enumerate(rendered.plan.roles[: len(messages) - 1]):
            rewritten = role == "assistant" and self._shapes.thinking_tags is not None
            if now.header(turn) != before.header(turn) and not rewritten:
                raise TraceError(
                    f"{self.name}: message {turn}",
                    "the template writes it otherwise once another message follows",
                    "a template that leaves earlier turns as they are, to go on from a cache of them",
                )

    def generation_prompt(self, messages: Sequence[Message]) -> list[int]:
        """The ids that open the assistant's reply after these messages; none where the template has no such thing."""
        return self.split(messages, generation_prompt=True).prompt

    def closing(self, messages: Sequence[Message]) -> list[int]:
        """The ids that the template writes after the content of the last message, a reply, when another turn follows.

        Raises `TraceError` where the last message is not the assistant's.
        """
        if not messages or messages[-1].get("role") != "assistant":
            where = f"{self.name}: message {len(messages) - 1}"
            raise TraceError(where, "it is not the assistant's", "a conversation whose last message is a reply")
        rendered = self._as_it_stands(messages)
        shape = self._shapes.shape(rendered.plan, bool(rendered.prompt))
        closing = shape.closings[len(messages) - 1] if shape else ""
        return list(self.tokenizer(closing, add_special_tokens=False)["input_ids"]) if closing else []

    def marks(self, reply: Sequence[int], before: Sequence[int] = ()) -> str:
        """One letter for each token of a reply as generated: `h` thinking, `c` words, `t` tags and control tokens.

        `before` are the tokens of the same reply that were generated earlier, where it goes on.
        """
        return self._replied([*before, *reply])[0][len(before) :]

    def reply(self, ids: Sequence[int]) -> TurnTokens:
        """A reply as generated, from the end of the generation prompt: its marks, its words and its thinking."""
        marks, words, thinking = self._replied(ids)
        return TurnTokens("assistant", 0, len(ids), marks, words, thinking)

    def _replied(self, ids: Sequence[int]) -> tuple[str, str, str]:
        coded = self._grammar.coded(ids)
        thinks = self._grammar.starts_thinking(self._shapes.usual_prompt() or "")
        pieces = self._grammar.reply_pieces(coded, 0, 0, len(coded.text), thinks=thinks)
        if not pieces:
            return "t" * len(ids), "", ""
        marks = self._assigned(coded.spans, Rendered(coded.text, pieces, "", Plan(("assistant",), (False,))))[0]
        words, thinking = (coded.plain("".join(p.text for p in pieces if p.kind == kind)) for kind in "ch")
        return marks, words, thinking

    def said(self, ids: Sequence[int], marks: str) -> tuple[str, str]:
        """The words and the thinking in a turn's tokens, as text."""
        words, thinking = (
            self.tokenizer.decode([id_ for id_, mark in zip(ids, marks, strict=True) if mark == kind]) for kind in "ch"
        )
        return str(words), str(thinking)

    def parse(self, ids: Sequence[int]) -> Split:
        """The turns of a conversation from its token ids alone, a last reply perhaps unfinished.

        Thinking of earlier replies may stand in it. A system text that the template puts within the user's turn cannot
        be told from that, and is parsed as the user's; so are control tokens that were written as text. Raises
        `TraceError` for ids that the template does not write.
        """
        coded, rendered = self._grammar.parse(ids, self.end_ids)
        split = self._turns(list(ids), coded.spans, rendered)
        turns = [
            replace(turn, text=coded.plain(turn.text), thinking=coded.plain(turn.thinking)) for turn in split.turns
        ]
        return replace(split, turns=turns)


_ANOTHER: Message = {"role": "user", "content": "."}


def _mark(over: Sequence[Piece]) -> str:
    """The letter of a token, from the parts of pieces that it holds: the template's, unless that adds blanks alone."""
    if len({piece.turn for piece in over}) > 1:
        return "t"
    kinds = {piece.kind for piece in over}
    worded = {piece.kind for piece in over if piece.text.strip()}
    return kinds.pop() if len(kinds) == 1 else worded.pop() if len(worded) == 1 else "t"
