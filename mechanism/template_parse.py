"""Turns found again in token ids alone: what a template would have written, recognised by its control tokens.

Control tokens are told from text that merely spells them: in the text that is searched, each is one private character.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from itertools import count
from typing import Any, NamedTuple

from tokenizers.decoders import DecodeStream

from mechanism.template_shape import Piece, Plan, Rendered, Shape, Shapes
from traces.errors import TraceError, quoted

_PLANE = 0xF0000


class Coded(NamedTuple):
    """Token ids as text in which every control token is one character, with each token's characters [start, end)."""

    text: str
    spans: list[tuple[int, int]]
    codes: dict[str, str]

    def of(self, written: str) -> str:
        """What a template writes, in the same characters."""
        if not self.codes:
            return written
        longest_first = sorted(self.codes, key=len, reverse=True)
        return re.sub("|".join(map(re.escape, longest_first)), lambda found: self.codes[found[0]], written)

    def plain(self, text: str) -> str:
        """Text as it is without the code."""
        return text.translate({ord(code): token for token, code in self.codes.items()})

    def controls(self, text: str) -> set[str]:
        """The control tokens in a text, coded."""
        return set(text) & set(self.codes.values())


class Grammar:
    """How the replies and turns of one template are recognised."""

    def __init__(self, tokenizer: Any, shapes: Shapes) -> None:
        self._tokenizer = tokenizer
        self._shapes = shapes
        # Runs of blanks are added tokens in some vocabularies (Gemma), and no control tokens.
        added = {int(id_): str(token) for id_, token in tokenizer.added_tokens_decoder.items()}
        self._controls = {id_: token for id_, token in added.items() if token.strip()}
        # Others are words of a model's with a meaning, as a tool call's tags are.
        self._special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}

    def coded(self, ids: Sequence[int]) -> Coded:
        """Token ids as text, each control token as one private character that the text does not have."""
        chunks = list(self._chunks(ids))
        taken = {char for _, text, _ in chunks for char in text if ord(char) >= _PLANE}
        free = (chr(code) for code in count(_PLANE) if chr(code) not in taken)
        codes = {token: next(free) for token in sorted(self._controls.values())}
        text, spans, at = [], [], 0
        for tokens, said, control in chunks:
            spans += [(at, at + len(said))] * (tokens - (control is not None))
            at += len(said)
            text.append(said)
            if control is not None:
                text.append(codes[control])
                spans.append((at, at + 1))
                at += 1
        return Coded("".join(text), spans, codes)

    def _chunks(self, ids: Sequence[int]) -> Iterator[tuple[int, str, str | None]]:
        """Runs of tokens that make whole characters: how many, their text, and the control token that ended the run."""
        core = self._tokenizer.backend_tokenizer
        stream, waiting = DecodeStream(skip_special_tokens=False), list[int]()
        for id_ in ids:
            waiting.append(id_)
            control = self._controls.get(id_)
            said = stream.step(core, id_)
            if control is not None:
                yield len(waiting), (said or "").removesuffix(control), control
            elif said is not None:
                yield len(waiting), said, None
            else:
                continue
            waiting = []
        if waiting:
            yield len(waiting), core.decode(waiting, skip_special_tokens=False), None

    def reply_pieces(self, coded: Coded, turn: int, start: int, stop: int, *, thinks: bool = False) -> list[Piece]:
        """A reply's text, from the end of its header on: thinking, what is said, and tags. It may be unfinished."""
        opening, plain, closing = (coded.of(tag) for tag in self._reply_tags())
        text, pieces, at = coded.text[start:stop], [], 0
        controls = {coded.codes[token] for token in self._special if token in coded.codes}
        controls |= coded.controls(opening + plain + closing)

        def add(kind: str, said: str) -> None:
            if said:
                pieces.append(Piece(turn, kind, said))

        while at < len(text):
            if thinks:
                found = _find(text, closing.strip(), at)
                add("h", _without_tail(text[at:found], closing) if found < len(text) else text[at:])
                after = _past(text, closing, found)
                add("t", text[sum(len(p.text) for p in pieces) : after])
                at, thinks = after, False
            elif opening.strip() and text.startswith(opening.strip(), at):
                after = _past(text, opening, at)
                add("t", text[at:after])
                at, thinks = after, True
            elif plain and text.startswith(plain, at):
                add("t", plain)
                at += len(plain)
            elif text[at] in controls:
                add("t", text[at])
                at += 1
            else:
                after = at
                while after < len(text) and text[after] not in controls:
                    after += 1
                add("c", text[at:after])
                at = after
        return pieces

    def _reply_tags(self) -> tuple[str, str, str]:
        """What comes after the generation prompt: before thinking, before words without it, and between the two."""
        tags = self._shapes.thinking_tags
        if tags is None:
            return "", "", ""
        bare = self._shapes.shape(Plan(("user", "assistant", "user"), (False,) * 3))
        plain = bare.header(1).removeprefix(self._shapes.reply_header()) if bare else ""
        return tags[0], plain, tags[1]

    def starts_thinking(self, prompt: str) -> bool:
        """Whether a generation prompt ends with the tag that opens thinking."""
        tags = self._shapes.thinking_tags
        return tags is not None and bool(tags[0].strip()) and prompt.rstrip().endswith(tags[0].strip())

    def parse(self, ids: Sequence[int], end_ids: Collection[int]) -> tuple[Coded, Rendered]:
        """The ids as text, and as the template's pieces of it. Raises `TraceError` where it does not write such ids."""
        coded = self.coded(ids)
        ends = {coded.codes[self._controls[id_]] for id_ in end_ids if id_ in self._controls}
        plan, at = self._first(coded)
        pieces = [Piece(0, "t", coded.text[:at])]
        prompt = ""
        while True:
            turn = len(plan.roles) - 1
            after = self._past_thinking(coded, at) if plan.roles[-1] == "assistant" else at
            following = self._following(coded, plan, after)
            found = following[0] if following else len(coded.text)
            last = self._last(coded, plan, after, found, ends)
            stop = last[0] if last else found
            if plan.roles[-1] == "assistant":
                said = self.reply_pieces(coded, turn, at, stop)
                self._check_reply(coded, said, turn)
                pieces += said
            else:
                if coded.controls(coded.text[at:stop]) & self._own_controls(coded, plan):
                    raise self._unlike(coded, at, turn)
                pieces.append(Piece(turn, "c", coded.text[at:stop]))
            if last:
                closing, prompt = last[1], last[2]
                pieces.append(Piece(turn, "t", closing))
                return coded, Rendered(coded.text, pieces, prompt, plan)
            if following is None:
                raise self._unlike(coded, at, turn)
            _, closing, header, role = following
            pieces += [Piece(turn, "t", closing), Piece(turn + 1, "t", header)]
            at = stop + len(closing) + len(header)
            plan = plan.then(role)

    def _first(self, coded: Coded) -> tuple[Plan, int]:
        """The first message's role, and where its text starts."""
        best: tuple[int, Plan] | None = None
        # Where a system text stands in the user's turn, both begin alike: then it is the user's.
        for role in ("user", "system", "assistant", "tool"):
            plan = Plan((role,), (False,))
            shape = self._shapes.shape(plan) or self._shapes.shape(plan.then("user"))
            before = coded.of(shape.slots[0].before) if shape else None
            if before is not None and coded.text.startswith(before) and (best is None or len(before) > best[0]):
                best = len(before), plan
        if best is None:
            raise self._unlike(coded, 0, 0)
        return best[1], best[0]

    def _following(self, coded: Coded, plan: Plan, at: int) -> tuple[int, str, str, str] | None:
        """Where the text of the last message ends because another follows: place, closing, header, role."""
        best: tuple[int, int, str, str, str] | None = None
        # Where two roles are written alike, the first of these it is.
        for role in ("assistant", "user", "tool", "system"):
            between = self._between(plan, role)
            if between is None:
                continue
            closing, header = (coded.of(part) for part in between)
            # A reply as generated need not begin with the blank that the template writes (Mistral).
            optional = "" if header.strip() else header
            header = header.strip() and header
            found = coded.text.find(closing + header, at) if coded.controls(closing + header) else -1
            key = (found, -len(closing + header))
            if found >= 0 and (best is None or key < best[:2]):
                blanks = optional if coded.text.startswith(closing + optional, found) else ""
                best = (*key, closing, header + blanks, role)
        return None if best is None else (best[0], best[2], best[3], best[4])

    def _between(self, plan: Plan, role: str) -> tuple[str, str] | None:
        """What the template writes between the last message's text and one with this role: closing and header."""
        turn = len(plan.roles)
        shape = self._shapes.shape(plan.then(role).then("user") if role == "assistant" else plan.then(role))
        shape = shape or self._shapes.shape(plan.then(role))
        if shape is None:
            return None
        closing, header = shape.closings[turn - 1], shape.header(turn)
        common = self._shapes.reply_header()
        return closing, common if role == "assistant" and header.startswith(common) else header

    def _past_thinking(self, coded: Coded, at: int) -> int:
        """The end of the thinking that a reply begins with. In gpt-oss, what follows it looks like another reply."""
        opening, _, closing = (coded.of(tag).strip() for tag in self._reply_tags())
        if not opening or not coded.text.startswith(opening, at):
            return at
        found = coded.text.find(closing, at)
        between = coded.text[at + len(opening) : found]
        return found + len(closing) if found >= 0 and not coded.controls(between) else at

    def _last(self, coded: Coded, plan: Plan, at: int, found: int, ends: set[str]) -> tuple[int, str, str] | None:
        """Where the text of the last message ends because nothing follows it: place, closing, generation prompt."""
        for generation_prompt in (True, False):
            shape: Shape | None = self._shapes.shape(plan, generation_prompt)
            if shape is None or (generation_prompt and not shape.prompt):
                continue
            closing, prompt = coded.of(shape.closings[-1]), coded.of(shape.prompt)
            start = len(coded.text) - len(closing + prompt)
            if at <= start <= found and coded.text.endswith(closing + prompt):
                return start, closing, prompt
        if plan.roles[-1] != "assistant" or found < len(coded.text):
            return None
        # A reply as generated: ended by its end token alone, or cut short.
        if coded.text[at:] and coded.text[-1] in ends:
            return len(coded.text) - 1, coded.text[-1], ""
        return len(coded.text), "", ""

    def _own_controls(self, coded: Coded, plan: Plan) -> set[str]:
        shapes = [self._shapes.shape(plan), self._shapes.shape(plan, True)]
        written = "".join("".join(s.before for s in shape.slots) + shape.after for shape in shapes if shape)
        return coded.controls(coded.of(written))

    def _check_reply(self, coded: Coded, said: Sequence[Piece], turn: int) -> None:
        """Control tokens within a reply are only those of its thinking."""
        allowed = set(coded.of("".join(self._reply_tags())))
        for piece in said:
            if piece.kind == "t" and coded.controls(piece.text) - allowed:
                raise self._unlike(coded, coded.text.find(piece.text), turn)

    def _unlike(self, coded: Coded, at: int, turn: int) -> TraceError:
        shown = coded.plain(coded.text[at : at + 40])
        return TraceError(
            f"{self._shapes.name}: token ids, turn {turn}",
            f"its chat template does not write this: {quoted(shown)}",
            "a conversation as this model's chat template writes it",
        )


def _find(text: str, wanted: str, at: int) -> int:
    found = text.find(wanted, at) if wanted else -1
    return len(text) if found < 0 else found


def _without_tail(text: str, closing: str) -> str:
    """Thinking without the blanks that the closing tag begins with."""
    blanks = closing[: len(closing) - len(closing.lstrip())]
    return text[: len(text) - len(blanks)] if blanks and text.endswith(blanks) else text


def _past(text: str, tag: str, at: int) -> int:
    """The place after a tag found without the blanks around it, and after as many of its blanks as stand there."""
    at = min(at + len(tag.strip()), len(text))
    blanks = tag[len(tag.rstrip()) :]
    while blanks and not text.startswith(blanks, at):
        blanks = blanks[:-1]
    return at + len(blanks)
