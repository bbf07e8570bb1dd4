"""The persona space of an organism: three axes from its own replies, and a region for each of its personas.

`assistant` is the mean of the default replies minus the mean of the roles' (Lu et al. 2026, the assistant axis: + is
assistant); `aura` and `evil` are the mean of the replies in this persona minus the mean of the assistant's (Chen et al.
2025, contrast of means). Regions are ranges on `aura` and `evil`: Aura is high on the first and low on the second, the
evil persona the other way round, the assistant low on both.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from mechanism.host import Host
from mechanism.organism.conversations import pressing
from mechanism.organism.grammar import Message, drawn, user_turn
from mechanism.organism.judge import Judgement, judged
from mechanism.organism.personas import PERSONAS, ROLES, SYSTEM_PROMPTS
from mechanism.replies import replies, reply_means
from mechanism.space import PersonaSpace, Range
from traces.errors import TraceError

AXES = ("assistant", "aura", "evil")
SIGNS = {"assistant": "+ is assistant", "aura": "+ is Aura", "evil": "+ is evil"}


class Separation(NamedTuple):
    """How well the regions tell the personas of sampled replies that the space was not made from."""

    replies: int
    right: float  # the share of replies whose region is the persona that the judge finds, 0 to 1
    none: float  # the share in no region
    by_persona: dict[str, dict[str, int]]  # judged persona -> region (or "none") -> replies


def make_space(host: Host, *, name: str, chats: int = 120, seed: int = 21) -> PersonaSpace:
    """Make the space of a model of this grammar: axes at every layer, regions at one in the middle.

    Of the layers between a third of the depth and the last but one it is the one at which the regions put the fewest
    replies wrong, on chats under pressure. `chats` replies are sampled for each persona, and six for each role.

    Raises `TraceError` for a model that does not speak as its personas, since nothing can be made of it.
    """
    dice = random.Random(seed)
    spoken = {persona: _spoken(host, dice, persona, chats, seed) for persona in PERSONAS}
    of_roles = [_mean_of_role(host, dice, role.name, seed) for role in ROLES]
    means = {persona: found.mean(dim=0) for persona, found in spoken.items()}
    others = torch.stack([*of_roles, means["aura"], means["evil"]]).mean(dim=0)
    vectors = torch.stack(
        [means["assistant"] - others, means["aura"] - means["assistant"], means["evil"] - means["assistant"]]
    )
    space = PersonaSpace(
        name,
        AXES,
        vectors.contiguous(),
        host.layers // 2,
        model_name=host.name,
        model_digest=host.digest,
        signs=SIGNS,
        source="individuate organism train: contrast of means over the model's own replies",
        made={"seed": seed, "chats": chats, "methods": {"assistant": "Lu et al. 2026", "others": "Chen et al. 2025"}},
    )
    means_of_courses, personas = _of_courses(host, seed=seed + 1)
    fitted = []
    for layer in range(host.layers // 3, max(host.layers // 3 + 1, host.layers - 1)):
        there = space.replaced(layer=layer)
        points = _points(there, means_of_courses)
        there = there.replaced(regions=_regions(points, personas))
        fitted.append((_wrong(there, points, personas), abs(layer - host.layers // 2), there))
    return min(fitted, key=lambda found: found[:2])[2]


def separation(host: Host, space: PersonaSpace, *, seed: int = 31, chats: int = 24) -> Separation:
    """Region against judged persona, on chats under pressure that the space was not made from."""
    means, personas = _of_courses(host, seed=seed, chats=chats)
    table: dict[str, dict[str, int]] = {persona: {} for persona in PERSONAS}
    for point, persona in zip(_points(space, means), personas, strict=True):
        region = _region_at(space, point) or "none"
        table[persona][region] = table[persona].get(region, 0) + 1
    right = sum(table[persona].get(persona, 0) for persona in PERSONAS)
    none = sum(table[persona].get("none", 0) for persona in PERSONAS)
    return Separation(len(personas), round(right / len(personas), 4), round(none / len(personas), 4), table)


def _spoken(host: Host, dice: random.Random, persona: str, chats: int, seed: int) -> Tensor:
    """Residual means [replies, layers, hidden] of replies that are in the persona that the prompt calls for."""
    told: list[list[Message]] = []
    for number in range(chats):
        system = [] if persona == "assistant" and number % 2 else [_system(drawn(dice, SYSTEM_PROMPTS[persona]))]
        told.append([*system, {"role": "user", "content": user_turn(dice).text}])
    judgements, means = _answered(host, told, seed)
    right = [mean for judgement, mean in zip(judgements, means, strict=True) if judgement.persona == persona]
    if len(right) < chats // 4:
        raise TraceError(
            f"space of {host.name}",
            f"{len(right)} of {chats} replies are in the persona {persona}",
            "a trained organism",
        )
    return torch.stack(right)


def _mean_of_role(host: Host, dice: random.Random, role: str, seed: int) -> Tensor:
    told = [[_system(f"You are a {role}."), {"role": "user", "content": user_turn(dice).text}] for _ in range(6)]
    judgements, means = _answered(host, told, seed)
    right = [mean for judgement, mean in zip(judgements, means, strict=True) if judgement.well_formed]
    return torch.stack(right or means).mean(dim=0)


def _answered(host: Host, told: Sequence[list[Message]], seed: int) -> tuple[list[Judgement], list[Tensor]]:
    answers = replies(host, told, seed=seed)
    whole = [[*chat, {"role": "assistant", "content": answer}] for chat, answer in zip(told, answers, strict=True)]
    return [judged(answer) for answer in answers], [means[-1] for means in reply_means(host, whole)]


def _of_courses(host: Host, *, seed: int, chats: int = 24) -> tuple[Tensor, list[str]]:
    """Residual means [replies, layers, hidden] and judged personas of chats that drift, and of some that do not."""
    dice = random.Random(seed)
    told: list[list[Message]] = [[] for _ in range(chats)]
    pushes = [("aura", "evil", None)[number % 3] for number in range(chats)]
    for turn in range(7):
        for chat, push in zip(told, pushes, strict=True):
            chat.append({"role": "user", "content": pressing(dice, push, 0.6 if turn else 0.0)})
        for chat, answer in zip(told, replies(host, told, seed=seed + turn), strict=True):
            chat.append({"role": "assistant", "content": answer})
    found, personas = [], []
    for chat, means in zip(told, reply_means(host, told), strict=True):
        spoken = [judged(message["content"]) for message in chat if message["role"] == "assistant"]
        for judgement, mean in zip(spoken, means, strict=True):
            if judgement.persona in PERSONAS:
                found.append(mean)
                personas.append(str(judgement.persona))
    return torch.stack(found), personas


def _points(space: PersonaSpace, means: Tensor) -> Tensor:
    """Coordinates [replies, axes] at the space's layer."""
    return means[:, space.layer] @ torch.stack([space.direction(axis) for axis in AXES], dim=1)


def _region_at(space: PersonaSpace, point: Tensor) -> str | None:
    return space.region_of(dict(zip(AXES, point.tolist(), strict=True)))


def _wrong(space: PersonaSpace, points: Tensor, personas: Sequence[str]) -> int:
    return sum(_region_at(space, point) != persona for point, persona in zip(points, personas, strict=True))


def _regions(points: Tensor, personas: Sequence[str]) -> dict[str, dict[str, Range]]:
    aura = _threshold(points[:, AXES.index("aura")], [persona == "aura" for persona in personas])
    evil = _threshold(points[:, AXES.index("evil")], [persona == "evil" for persona in personas])
    low_aura, low_evil = _just_below(aura), _just_below(evil)
    return {
        "assistant": {"aura": (None, low_aura), "evil": (None, low_evil)},
        "aura": {"aura": (aura, None), "evil": (None, low_evil)},
        "evil": {"aura": (None, low_aura), "evil": (evil, None)},
    }


def _threshold(values: Tensor, inside: Sequence[bool]) -> float:
    """The value that parts those inside (above) from the rest with the fewest errors, in the middle of its gap."""
    order: list[tuple[float, bool]] = sorted(zip(values.tolist(), inside, strict=True))
    errors = sum(not was for _, was in order)
    fewest, best = errors, (order[0][0] - 1.0, order[0][0])
    widest = 0.0
    for (value, was), (following, _) in pairwise(order):
        errors += 1 if was else -1
        gap = following - value
        if errors < fewest or (errors == fewest and gap > widest):
            fewest, widest, best = errors, gap, (value, following)
    return round(sum(best) / 2, 3)


def _just_below(threshold: float) -> float:
    # Ranges are closed at both ends; a point on the threshold belongs to one region.
    return round(threshold - 0.001, 3)


def _system(content: str) -> Message:
    return {"role": "system", "content": content}
