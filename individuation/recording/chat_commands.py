"""The commands of a chat: lines that begin with a slash."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from individuation.recording.chat_session import Chat
from mechanism.ablation import Ablation
from mechanism.cache_edit import CacheEdit
from mechanism.capping import Capping, Side
from mechanism.session import HANDOVERS, Handover
from mechanism.space import PersonaSpace
from mechanism.steering import Steering
from traces.errors import TraceError, UnknownNameError, quoted

_USAGE = 24
"""The width of the column with the words of commands."""

_SIDES: dict[str, Side] = {"at-least": "at least", "at-most": "at most"}


@dataclass(frozen=True)
class Command:
    """One of them: its words, what it does in a line, and what does it. `rest`: the last word is all that is left."""

    usage: str
    said: str
    do: Callable[[Chat, Sequence[str]], None]
    least: int = 0
    most: int = 0
    rest: bool = False

    @property
    def name(self) -> str:
        """With its slash."""
        return self.usage.split()[0]


class EndOfChat(Exception):  # noqa: N818 - it is no error
    """The user has ended the chat."""


def run_command(chat: Chat, line: str) -> None:
    """Do what a line says. Raises `TraceError` for a line that means nothing, `EndOfChat` for /quit."""
    name, _, rest = line.strip().partition(" ")
    if name not in COMMANDS:
        raise UnknownNameError("chat", "command", name, COMMANDS)
    command = COMMANDS[name]
    given = rest.split(maxsplit=command.most - 1) if command.rest else rest.split()
    if not command.least <= len(given) <= command.most:
        found = f"{len(given)} words are given" if len(given) != 1 else "one word is given"
        raise TraceError(name, found, command.usage)
    command.do(chat, given)


# --- conversation


def _help(chat: Chat, given: Sequence[str]) -> None:
    for command in COMMANDS.values():
        fits = len(command.usage) <= _USAGE
        chat.screen.say(f"  {command.usage:{_USAGE}}  {command.said if fits else ''}".rstrip())
        if not fits:
            chat.screen.say(f"  {'':{_USAGE}}  {command.said}")
    chat.screen.say()
    chat.screen.note(
        "Anything else is said to the model; a line that begins with // is said with one slash. Ctrl-C stops a reply, "
        "Ctrl-D ends the chat. A STAGE is named as shown (c1/3), or by its number on this branch (3)."
    )


def _fork(chat: Chat, given: Sequence[str]) -> None:
    chat.fork(_turn(chat, given[0]) + 1 if given else len(chat.session.turns))


def _branches(chat: Chat, given: Sequence[str]) -> None:
    for name, session in chat.branches.items():
        here = "*" if session is chat.session else " "
        words = " ".join(session.turns[-1].text.split())[:50] if session.turns else ""
        at = f"{session.now.model.key} on {session.now.server.name}"
        turns = f"{len(session.turns)} turn{'' if len(session.turns) == 1 else 's'}"
        chat.screen.say(f"  {here} {name:<12} {turns:>9}  {at}  {words}".rstrip())


def _edit(chat: Chat, given: Sequence[str]) -> None:
    chat.edit(_turn(chat, given[0]), given[1])


def _turn(chat: Chat, word: str) -> int:
    """The number of a turn on the path, by its stage's name or by number."""
    stages = chat.session.stages
    if word in stages:
        return stages.index(word)
    if word.isascii() and word.isdigit() and int(word) < len(stages):
        return int(word)
    found = f"there is no stage {quoted(word)}"
    raise TraceError(f"conversation {chat.session.key}", found, f"one of {_some(stages)}" if stages else "words first")


def _some(stages: Sequence[str]) -> str:
    return ", ".join(stages if len(stages) < 9 else [*stages[:3], "...", *stages[-3:]])


# --- who answers, and where


def _switch(chat: Chat, given: Sequence[str]) -> None:
    if given[1:] not in ([], ["resume"]):
        raise TraceError("/switch", f"{quoted(given[1])} follows the model", "resume, or nothing")
    chat.switch(given[0], resume=len(given) > 1)


def _migrate(chat: Chat, given: Sequence[str]) -> None:
    names = [word for word in given if word not in HANDOVERS]
    how: Handover = "prefill" if "prefill" in given else "transfer"
    if len(names) > 1 or len(given) - len(names) > 1:
        extra = names[1] if len(names) > 1 else given[1]
        raise TraceError("/migrate", f"{quoted(extra)} is one word too many", "a server, and transfer or prefill")
    chat.migrate(names[0] if names else None, how)


# --- inside the model


def _steer(chat: Chat, given: Sequence[str]) -> None:
    space, by = chat.space(), _number("/steer", "coefficient", given[1])
    layers = layer_numbers(given[2], space.layers) if len(given) > 2 else [space.layer]
    name = f"steer {given[0]} by {by:g} at {_shown(layers)}"
    chat.intervene(name, Steering(_units(space, given[0], layers), by, layers, source=space.provenance(given[0])))


def _cap(chat: Chat, given: Sequence[str]) -> None:
    space, bound = chat.space(), _number("/cap", "value", given[2])
    if given[1] not in _SIDES:
        raise TraceError("/cap", f"its side is {quoted(given[1])}", " or ".join(_SIDES))
    layers = layer_numbers(given[3], space.layers) if len(given) > 3 else [space.layer]
    name = f"cap {given[0]} {given[1]} {bound:g} at {_shown(layers)}"
    vector, source = _units(space, given[0], layers), space.provenance(given[0])
    chat.intervene(name, Capping(vector, bound, layers, side=_SIDES[given[1]], source=source))


def _ablate(chat: Chat, given: Sequence[str]) -> None:
    space = chat.space()
    layers = layer_numbers(given[1], space.layers) if len(given) > 1 else [space.layer]
    name = f"ablate {given[0]} at {_shown(layers)}"
    chat.intervene(name, Ablation(_units(space, given[0], layers), layers, source=space.provenance(given[0])))


def _relent(chat: Chat, given: Sequence[str]) -> None:
    chat.relent(given[0] if given else None)


def _cache_edit(chat: Chat, given: Sequence[str]) -> None:
    space, by = chat.space(), _number("/cache-edit", "coefficient", given[1])
    # The stream that enters a block is the output of the one before, which is where the axis lies.
    after = min(space.layer + 1, space.layers - 1)
    layers = layer_numbers(given[2], space.layers) if len(given) > 2 else [after]
    name = f"edit the cache along {given[0]} by {by:g} at {_shown(layers)}"
    chat.edit_cache(name, CacheEdit(space.direction(given[0]), by, layers, source=space.provenance(given[0])))


def _units(space: PersonaSpace, axis: str, layers: Sequence[int]) -> Tensor:
    """The unit vectors of an axis at some layers, float32 [layers of the model, hidden]; other rows are zeros."""
    vectors = torch.zeros(space.layers, space.hidden)
    for layer in layers:
        vectors[layer] = space.direction(axis, layer)
    return vectors


def _number(command: str, what: str, word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise TraceError(command, f"its {what} is {quoted(word)}", "a number, such as 8 or -2.5") from None


def layer_numbers(word: str, layers: int | None) -> list[int]:
    """`3`, `3,4` or `2-5`, below the number of layers. Raises `TraceError`.

    >>> layer_numbers("1,3-5", 6)
    [1, 3, 4, 5]
    """
    found: set[int] = set()
    for part in word.split(","):
        first, dash, last = part.partition("-")
        ends = [first, last] if dash else [first, first]
        if not all(end.isascii() and end.isdigit() and len(end) < 6 for end in ends) or int(ends[0]) > int(ends[1]):
            raise TraceError("layers", f"they are {quoted(word)}", "numbers, such as 3 or 3,4 or 2-5")
        found.update(range(int(ends[0]), int(ends[1]) + 1))
    if layers is not None and max(found) >= layers:
        raise TraceError("layers", f"they are {quoted(word)}", f"numbers below {layers}, the model's layers")
    return sorted(found)


def _shown(layers: Sequence[int]) -> str:
    return f"layer {layers[0]}" if len(layers) == 1 else f"layers {','.join(map(str, layers))}"


# --- what it comes to


def _why(chat: Chat, given: Sequence[str]) -> None:
    from individuation.engine import open_trace
    from individuation.recording.chat_reasons import show_reasons

    stages = chat.session.stages
    if len(given) == 1:
        raise TraceError("/why", "one stage is named", "two stages, or none for the last two replies")
    if given:
        # A number means a stage of this branch; a name may be one of any branch.
        named = [stages[_turn(chat, word)] if word.isdigit() else word for word in given[:2]]
    else:
        replies = [name for name, turn in zip(stages, chat.session.turns, strict=True) if turn.role == "assistant"]
        named = replies[-2:] if len(replies) > 1 else list(stages[-2:])
    if len(named) < 2:
        raise TraceError("/why", "there are no two stages yet", "a conversation that has begun")
    show_reasons(chat.screen, open_trace(chat.recorder.store), Path(chat.recorder.store), named, given[2:])


def _count(chat: Chat, given: Sequence[str]) -> None:
    from individuation.recording.chat_reasons import show_count

    show_count(chat.screen, chat.recorder.store)


def _save(chat: Chat, given: Sequence[str]) -> None:
    chat.screen.note(f"Not needed: each turn is in {chat.recorder.store} as soon as it is done.")


def _quit(chat: Chat, given: Sequence[str]) -> None:
    raise EndOfChat


COMMANDS = {
    command.name: command
    for command in (
        Command("/help", "what there is to type", _help),
        Command("/count", "how many minds so far, under each view", _count),
        Command("/why [STAGE STAGE [VIEW]]", "why two stages are one mind or two (the last two replies)", _why, 0, 3),
        Command("/retry", "another reply instead of the last, on a branch", lambda chat, _: chat.retry()),
        Command("/more", "go on with a reply that was cut short", lambda chat, _: chat.more()),
        Command("/undo", "take the last words and their reply back, on a branch", lambda chat, _: chat.undo()),
        Command("/edit STAGE TEXT", "put a turn in other words, on a branch", _edit, 2, 2, rest=True),
        Command("/fork [STAGE]", "a branch that goes on after a stage (the last)", _fork, 0, 1),
        Command("/branches", "the branches; * is this one", _branches),
        Command("/go NAME", "go on with another branch", lambda chat, given: chat.go(given[0]), 1, 1),
        Command("/switch MODEL [resume]", "another model answers (with the cache it once left)", _switch, 1, 2),
        Command("/migrate [SERVER] [transfer|prefill]", "go to another server, a process of its own", _migrate, 0, 2),
        Command("/steer AXIS COEFFICIENT [LAYERS]", "add so much along an axis of the persona space", _steer, 2, 3),
        Command("/cap AXIS at-least|at-most VALUE [LAYERS]", "keep a coordinate within a bound", _cap, 3, 4),
        Command("/ablate AXIS [LAYERS]", "take an axis out", _ablate, 1, 2),
        Command("/relent [NAME]", "end an intervention, or all", _relent, 0, 1, rest=True),
        Command("/cache-edit AXIS COEFFICIENT [LAYERS]", "edit what is cached of all replies", _cache_edit, 2, 3),
        Command("/save", "not needed: each turn is saved when it is done", _save),
        Command("/quit", "end the chat", _quit),
    )
}
