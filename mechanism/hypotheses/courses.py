"""Conversations that begin in many ways and then go on without pressure: where do they end up?

A start is nothing at all, a system prompt, a user's pressure, or steering during the first answer. After it the user
asks neutral questions. What was said is read by the model anew before each answer, so what remains of a start is the
text that it left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from mechanism.experiments.material import ASSISTANT
from mechanism.hypotheses.answers import random_directions
from mechanism.hypotheses.bench import Bench
from mechanism.steering import Steering
from mechanism.template import Message

Kind = Literal["nothing", "prompt", "pressure", "steering"]
Regions = list[str | None]

PRESSED = 4
"""Exchanges with pressure."""
DOSE = 0.4
"""How hard the first answer is steered, as a share of the residual stream's length."""
RANDOM_STARTS = 3

_MOST_ROLES = 6
_MOST_STEERED_AXES = 4


class Start(NamedTuple):
    """How conversations begin: of a kind, and what it is."""

    kind: Kind
    what: str

    @property
    def name(self) -> str:
        """It in words.

        >>> Start("pressure", "aura").name, Start("nothing", "").name
        ('pressure: aura', 'nothing')
        """
        return f"{self.kind}: {self.what}" if self.what else self.kind


@dataclass(frozen=True)
class Course:
    """One conversation. `states` [replies, hidden] and `points` [replies, axes] are NaN for an empty reply; the first
    `pushed` replies belong to the start.
    """

    start: Start
    chat: list[Message]
    states: NDArray[np.float64]
    points: NDArray[np.float64]
    regions: Regions
    pushed: int

    @property
    def free(self) -> Regions:
        """The regions of the replies that nobody pressed for."""
        return self.regions[self.pushed :]

    @property
    def prompted(self) -> bool:
        """Whether a system prompt goes on calling for a persona."""
        return self.start.kind == "prompt"

    @property
    def questions(self) -> list[str]:
        """What the user said before each reply."""
        return [str(message["content"]) for message in self.chat if message["role"] == "user"]

    @property
    def replies(self) -> list[str]:
        """What was answered."""
        return [str(message["content"]) for message in self.chat if message["role"] == "assistant"]


def courses_of(bench: Bench) -> list[Course]:
    """`Size.answers` conversations from each start, with `Size.turns` exchanges without pressure."""
    starts = list(_starts(bench))
    plans = [(start, steering, number) for start, steering in starts for number in range(bench.size.answers)]
    chats: list[list[Message]] = []
    pushes: list[list[str]] = []
    for index, (start, _, number) in enumerate(plans):
        chats.append(bench.opening(start.what) if start.kind == "prompt" else [])
        pressed = start.kind == "pressure"
        pushes.append(bench.material.pressure(start.what, bench.seed + number, PRESSED) if pressed else [])
        if start.kind == "steering":
            pushes[-1] = bench.material.neutral(bench.seed + 10_000 + index, 1)
    steps, doing = PRESSED + bench.size.turns, "Conversations from many starts"
    for turn in range(PRESSED):
        bench.progress(doing, turn, steps)
        together = [index for index, said in enumerate(pushes) if turn < len(said)]
        for steering in dict.fromkeys(plans[index][1] for index in together):
            some = [index for index in together if plans[index][1] is steering]
            go_on(bench, [chats[index] for index in some], [pushes[index][turn] for index in some], steering, turn)
    said = [bench.material.neutral(bench.seed + index, bench.size.turns) for index in range(len(plans))]
    for turn in range(bench.size.turns):
        bench.progress(doing, PRESSED + turn, steps)
        go_on(bench, chats, [words[turn] for words in said], None, PRESSED + turn)
    bench.progress(doing, steps, steps)
    return list(read(bench, [plan[0] for plan in plans], chats, [len(push) for push in pushes]))


def go_on(
    bench: Bench, chats: Sequence[list[Message]], said: Sequence[str], steering: Steering | None, turn: int
) -> None:
    """Add to each chat what the user says and the answer to it, steered (on all of its tokens) or not."""
    for chat, words in zip(chats, said, strict=True):
        chat.append({"role": "user", "content": words})
    for chat, answer in zip(chats, bench.answers(chats, steering, again=100 + turn), strict=True):
        chat.append({"role": "assistant", "content": answer})


def read(
    bench: Bench, starts: Sequence[Start], chats: Sequence[list[Message]], pushed: Sequence[int]
) -> Iterator[Course]:
    """Where each reply is; read without any steering."""
    for start, chat, first, states in zip(starts, chats, pushed, bench.means(chats), strict=True):
        points = bench.points(states)
        yield Course(start, chat, states.double().numpy(), points, bench.regions(points), first)


def directions_between(courses: Sequence[Course], one: str, other: str) -> torch.Tensor | None:
    """The direction from the mean reply of one region to that of another, float32 [hidden]; None: no reply in one."""
    centres = []
    for region in (one, other):
        states = [
            state
            for course in courses
            for state, there in zip(course.states, course.regions, strict=True)
            if there == region and np.isfinite(state).all()
        ]
        if not states:
            return None
        centres.append(np.mean(states, axis=0))
    return torch.from_numpy(centres[1] - centres[0]).float()


def _starts(bench: Bench) -> Iterator[tuple[Start, Steering | None]]:
    yield Start("nothing", ""), None
    roles = [] if bench.space.cloud is None else list(bench.space.cloud.roles)
    roles = [role for role in roles if role not in bench.material.personas]
    step = max(1, len(roles) // _MOST_ROLES)
    for persona in (*bench.material.personas, *roles[::step][:_MOST_ROLES]):
        if bench.opening(persona):
            yield Start("prompt", persona), None
    for persona in bench.material.personas:
        if persona != ASSISTANT:
            yield Start("pressure", persona), None
    layer = bench.space.layer
    for axis in bench.space.axes[:_MOST_STEERED_AXES]:
        for sign in (1, -1):
            vector = sign * bench.space.vector(axis)
            yield Start("steering", f"{'+-'[sign < 0]} {axis}"), Steering(vector, DOSE, [layer], relative=True)
    for number, direction in enumerate(random_directions(bench, RANDOM_STARTS), 1):
        yield Start("steering", f"random {number}"), Steering(direction, DOSE, [layer], relative=True)
