"""Mini-experiment 2's conditions: what is done to the cache of a conversation, or to the answers that follow.

Doses of the two edits are in one unit, lengths of what is edited, so that they can be drawn beside each other. An exact
edit by 1 adds to the residual stream that enters a block a vector as long as it is there on average over the
assistant's tokens. A raw edit, which passes the norm by, adds a vector as long as a normalised residual stream (the
root of its width).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mechanism.architecture import block_output
from mechanism.cache_edit import CacheEdit
from mechanism.experiments.setting import ANSWERS, Setting
from mechanism.experiments.thresholds import layers_around
from mechanism.intervention import Intervention
from mechanism.session import Session
from mechanism.steering import Steering
from traces.errors import TraceError

Way = Literal[
    "as it was", "exact", "raw", "raw, values only", "random direction", "user turns", "sign flipped", "keys only",
    "values only", "steered",
]  # fmt: skip

BASELINE: Way = "as it was"
EXACT: Way = "exact"
RAW: Way = "raw"
RAW_VALUES: Way = "raw, values only"
RANDOM: Way = "random direction"
USER: Way = "user turns"
FLIPPED: Way = "sign flipped"
KEYS: Way = "keys only"
VALUES: Way = "values only"
STEERED: Way = "steered"

CONTROLS: tuple[Way, ...] = (RANDOM, USER, FLIPPED)
"""Edits of the same size that are to do nothing of the kind."""


@dataclass(frozen=True)
class Condition:
    """One way, at one dose."""

    way: Way
    dose: float = 0.0

    @property
    def key(self) -> str:
        """Its name in files.

        >>> Condition("user turns", 1.5).key
        'user-turns-1.5'
        """
        return self.way.replace(",", "").replace(" ", "-") + (f"-{self.dose:g}" if self.dose else "")


def conditions(setting: Setting) -> list[Condition]:
    """All of a run: exact edits and their controls over doses, raw edits and steering over their own, parts at one."""
    options, at = setting.options, setting.options["at"]
    exact = sorted({*options["coefficients"], at} - {0.0})
    raw, steered = (sorted({*options[name]} - {0.0}) for name in ("raw", "steered"))
    if not at:
        raise TraceError("--at", "it is 0", "a dose above 0, to compare controls at")
    return [
        Condition(BASELINE),
        *(Condition(way, dose) for way in (EXACT, RANDOM, USER) for dose in exact),
        *(Condition(way, at) for way in (FLIPPED, KEYS, VALUES)),
        *(Condition(way, dose) for way in (RAW, RAW_VALUES) for dose in raw),
        *(Condition(STEERED, dose) for dose in steered),
    ]  # fmt: skip


class Edits:
    """What each condition does, for a model, an axis and the lengths of its residual stream.

    `lengths`: of the output of each block, by block. `layers` are those whose keys and values are edited.
    """

    def __init__(self, setting: Setting, layers: Sequence[int], lengths: Sequence[float]) -> None:
        self.layers = tuple(layers)
        self._steered = layers_around(setting)
        axis = setting.space.vectors[setting.space.axes.index(setting.axis)]
        # Away from the persona that is pressed for: back along an axis that is its own.
        self._axis = -axis if setting.axis == setting.persona else axis
        self._source = setting.space.provenance(setting.axis)
        self._unit = _units(self._axis)
        self._lengths = torch.tensor(lengths, dtype=torch.float32)[:, None]
        self._root = math.sqrt(setting.host.hidden)
        self._seed, self._persona = setting.seed, setting.persona

    def name(self, condition: Condition, number: int) -> str:
        """The name of an intervention in the trace; random directions differ between conversations."""
        of = {
            EXACT: "exact edit", RAW: "raw edit", RAW_VALUES: "raw edit, values only", USER: "exact edit of user turns",
            FLIPPED: "exact edit, sign flipped", KEYS: "exact edit, keys only", VALUES: "exact edit, values only",
            RANDOM: f"exact edit, random direction {number + 1}", STEERED: f"away from {self._persona}",
        }[condition.way]  # fmt: skip
        return f"{of}, by {condition.dose:g}"

    def edit(self, condition: Condition, number: int) -> CacheEdit | None:
        """The edit of a condition in a conversation, by its number; None where the cache stays as it is."""
        if condition.way in (BASELINE, STEERED):
            return None
        if condition.way in (RAW, RAW_VALUES):
            return CacheEdit(
                self._unit * self._root, condition.dose, self.layers, method="raw", keys=condition.way == RAW,
                source=self._source,
            )  # fmt: skip
        random = condition.way == RANDOM
        return CacheEdit(
            (_units(self._random(number)) if random else self._unit) * self._lengths,
            -condition.dose if condition.way == FLIPPED else condition.dose,
            self.layers,
            "user" if condition.way == USER else "assistant",
            keys=condition.way != VALUES,
            values=condition.way != KEYS,
            source=None if random else self._source,
        )

    def steering(self, condition: Condition) -> Intervention | None:
        """The steering of a condition; None where there is none."""
        if condition.way != STEERED:
            return None
        return Steering(
            self._axis, condition.dose, self._steered, "assistant", relative=True, source=self._source
        )  # fmt: skip

    def _random(self, number: int) -> Tensor:
        dice = torch.Generator().manual_seed(self._seed + 1_000_003 * (number + 1))
        return torch.randn(self._unit.shape, generator=dice)


def edited_layers(setting: Setting, given: Sequence[int] | None) -> list[int]:
    """The blocks whose keys and values are edited: those given, else all from the second on.

    An exact edit at a block needs the axis in the output of the one before, a raw one at the block itself. Raises
    `TraceError` where the axis has no vector there.
    """
    there = set(setting.space.given(setting.axis))
    fit = [layer for layer in range(1, setting.host.layers) if {layer - 1, layer} <= there]
    chosen = fit if given is None else sorted(set(given))
    if not chosen or not set(chosen) <= set(fit):
        found = f"block {next((each for each in chosen if each not in fit), 1)} is to be edited"
        expected = f"blocks at which, and before which, the axis {setting.axis} has a vector"
        raise TraceError("--layers", found, expected + (f": {', '.join(map(str, fit))}" if fit else "; it has none"))
    return chosen


def stream_lengths(setting: Setting, session: Session) -> list[float]:
    """The mean length of the residual stream after each block, over the content tokens of the assistant's turns."""
    host = setting.host
    places = [
        place
        for number, turn in enumerate(session.turns)
        if turn.role == "assistant"
        for place in session.transcript.content(number)
    ]
    if not places:
        raise TraceError(host.name, "its replies are empty", ANSWERS)
    lengths: list[float] = []

    def take(_block: object, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        lengths.append(float(torch.linalg.vector_norm(block_output(output)[0, places].float(), dim=-1).mean()))

    handles = [block.register_forward_hook(take) for block in host.blocks]
    try:
        with torch.inference_mode():
            host.inner(input_ids=torch.tensor([session.transcript.ids], device=host.device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return lengths


def _units(vectors: Tensor) -> Tensor:
    lengths = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return torch.where(lengths > 0, vectors / lengths.clamp(min=1e-30), vectors)
