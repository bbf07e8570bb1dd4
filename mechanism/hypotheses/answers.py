"""How the answers to several questions speak, under steering or without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mechanism.hypotheses.bench import Bench
from mechanism.replies import Reach
from mechanism.steering import Steering
from mechanism.template import Message

LEAST_PILOT = 3
"""So many questions are kept for choosing a dose, though fewer are counted then; of few questions, a third."""


def questions_of(bench: Bench) -> tuple[list[str], list[str]]:
    """Unrelated questions that are counted, and others on which the dose is chosen: no sentence comes twice.

    There are at most `Size.contexts` of each; where there are not enough sentences, fewer. Of one dose, there is
    nothing to choose.
    """
    wanted = bench.size.contexts
    # A grammar may say a sentence again before it is at its end.
    found = list(dict.fromkeys(bench.material.unrelated(bench.seed, 4 * wanted)))[: 2 * wanted]
    if len(bench.size.doses) == 1:
        return found[:wanted], []
    pilot = max(len(found) - wanted, min(LEAST_PILOT, len(found) // 3))
    return found[: len(found) - pilot], found[len(found) - pilot :]


@dataclass(frozen=True)
class Shown:
    """How answers to several questions speak. `shares` [questions]: of those judged, how many are the target's
    (NaN: none was judged); `coherent`: the share of all that is whole text; `judged`: how many were.
    """

    shares: NDArray[np.float64]
    coherent: float
    judged: int

    @property
    def share(self) -> float:
        """The mean over questions."""
        return float(np.nanmean(self.shares)) if self.judged else float("nan")


def asked(
    bench: Bench,
    target: str,
    opening: Sequence[Message],
    questions: Sequence[str],
    each: int,
    steering: Steering | None = None,
    *,
    reach: Reach = "all",
) -> Shown:
    """Ask every question so many times, and judge the answers."""
    chats = [[*opening, {"role": "user", "content": question}] for question in questions for _ in range(each)]
    answers = bench.answers(chats, steering, reach=reach)
    exchanges = [(str(chat[-1]["content"]), answer) for chat, answer in zip(chats, answers, strict=True)]
    judgements = bench.judged(target, exchanges)
    shows = np.array([_as_number(judgement.shows(target)) for judgement in judgements]).reshape(len(questions), each)
    told = np.isfinite(shows)
    shares = np.full(len(questions), np.nan)
    some = told.any(axis=1)
    shares[some] = np.nanmean(shows[some], axis=1)
    whole = [judgement.coherent for judgement in judgements if judgement.coherent is not None]
    return Shown(shares, float(np.mean(whole)) if whole else float("nan"), int(told.sum()))


def random_directions(bench: Bench, count: int) -> list[Tensor]:
    """Directions [hidden] drawn evenly from all directions; their length does not matter to relative steering."""
    dice = torch.Generator().manual_seed(bench.seed + 1)
    return [torch.randn(bench.host.hidden, generator=dice) for _ in range(count)]


def _as_number(shows: bool | None) -> float:
    return float("nan") if shows is None else float(shows)
