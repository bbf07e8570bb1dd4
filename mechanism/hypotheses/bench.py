"""What the tests of a model work with: many answers, judged, and where each is in persona space.

Answers and judgements may be kept in a folder, each under a digest of all that it depends on: a test that was stopped
goes on where it was, and another test of the same model asks nothing twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mechanism.experiments.material import Material
from mechanism.host import Host
from mechanism.hypotheses.placing import regions_at
from mechanism.intervention import Intervention
from mechanism.judges.judge import Exchange, Judge, Judgement
from mechanism.judges.kept import KeptJudgements
from mechanism.replies import Reach, replies, reply_means
from mechanism.space import PersonaSpace
from mechanism.template import Message
from traces.errors import TraceError

OnProgress = Callable[[str, int, int], None]
"""Told what is being done, how many steps of it are done, and of how many."""

ANSWERS, JUDGEMENTS = "answers.jsonl", "judgements.jsonl"


@dataclass(frozen=True)
class Size:
    """How much is asked. The defaults take a minute or two on the organism with one core."""

    contexts: int = 10
    """Unrelated questions."""
    answers: int = 6
    """Answers to each question, and conversations from each start."""
    random: int = 19
    """Random directions; with 19 no p-value is below 0.05."""
    turns: int = 5
    """Exchanges without pressure."""
    doses: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)
    """What is added to the residual stream, as shares of its own length."""
    layers: int = 12
    """At most so many layers in the profile."""

    def __post_init__(self) -> None:
        counts = {"contexts": self.contexts, "answers": self.answers, "random": self.random, "turns": self.turns}
        for name, count in {**counts, "layers": self.layers}.items():
            if count < (2 if name in ("contexts", "answers") else 1):
                raise TraceError("the size of the test", f"{name} is {count}", "2 or more (random, turns: 1 or more)")
        if not self.doses or not all(0 < dose <= 10 for dose in self.doses):
            raise TraceError("the size of the test", f"doses are {list(self.doses)}", "numbers above 0, at most 10")


@dataclass(eq=False)
class Bench:
    """A model, a space on it, who judges, and what users say.

    `folder` is where answers are kept; None: nowhere. `most` is the longest answer in tokens. `temperature` is that of
    sampling. Everything random hangs on `seed`. Raises `TraceError` where the space is not the model's.
    """

    host: Host
    space: PersonaSpace
    judge: Judge
    material: Material
    seed: int = 0
    size: Size = field(default_factory=Size)
    folder: Path | None = None
    most: int = 160
    temperature: float = 0.7
    on_progress: OnProgress | None = None

    def __post_init__(self) -> None:
        self.space.check_fits(self.host)
        self._answers: dict[str, list[str]] = dict(_lines(self._file(ANSWERS)))
        self._judgements = KeptJudgements(self._file(JUDGEMENTS))

    def progress(self, doing: str, done: int, total: int) -> None:
        """Tell how far it is."""
        if self.on_progress is not None:
            self.on_progress(doing, done, total)

    def answers(
        self,
        chats: Sequence[Sequence[Message]],
        steering: Intervention | None = None,
        *,
        reach: Reach = "all",
        again: int = 0,
    ) -> list[str]:
        """One sampled answer to each chat, with an intervention on all tokens of the chat or on the answer's only.

        `again` makes another sample of the same chats.
        """
        told = [self._told(chat) for chat in chats]
        spec = None if steering is None else [steering.spec("v").model_dump(mode="json"), reach]
        seed = self.seed * 1000 + again
        key = _digest(self.host.digest, str(self.host.dtype), told, spec, seed, self.temperature, self.most)
        if key not in self._answers:
            acting = () if steering is None else ((steering, reach),)
            self._answers[key] = replies(
                self.host, told, seed=seed, temperature=self.temperature, most=self.most, interventions=acting
            )
            self._keep(ANSWERS, key, self._answers[key])
        return self._answers[key]

    def judged(self, target: str, exchanges: Sequence[Exchange]) -> list[Judgement]:
        """What the judge says of answers, of how far they are the target persona's."""
        return self._judgements.judged(self.judge, target, exchanges)

    def caveats(self) -> list[str]:
        """Caveats where answers are empty, and where the judge could not tell whose they are."""
        return self._judgements.caveats(self.judge)

    def means(self, chats: Sequence[Sequence[Message]], role: str = "assistant") -> list[Tensor]:
        """For each chat the residual stream at the space's layer, averaged over the content of each turn of a role:
        float32 [turns of the role, hidden]; NaN where a turn has no content, as an empty answer.
        """
        found = []
        told = [self._told(chat) for chat in chats]
        for chat, means in zip(told, reply_means(self.host, told, [self.space.layer], role=role), strict=True):
            marks = [turn.marks for turn in self.host.template.split(chat).turns if turn.role == role]
            whole = torch.full((len(marks), self.host.hidden), torch.nan)
            whole[["c" in each for each in marks]] = means[:, 0]
            found.append(whole)
        return found

    def points(self, means: Tensor) -> NDArray[np.float64]:
        """Coordinates [n, axes] of residual streams [n, hidden] at the space's layer."""
        axes = torch.stack([self.space.direction(axis) for axis in self.space.axes], dim=1)
        found: NDArray[np.float64] = (means @ axes).double().numpy()
        return found

    def regions(self, points: NDArray[np.float64]) -> list[str | None]:
        """The region of each point [n, axes], as the space has it; None: in none."""
        return regions_at(self.space, points)

    def opening(self, persona: str | None) -> list[Message]:
        """What a chat begins with, so that this persona speaks: a system prompt, or nothing."""
        prompt = None if persona is None else self.material.prompt(persona)
        return [] if prompt is None else [{"role": "system", "content": prompt}]

    def _told(self, chat: Sequence[Message]) -> list[dict[str, str]]:
        """A chat as the model is told it."""
        return [dict(message) for message in self.host.template.accepted(chat)]

    def _file(self, name: str) -> Path | None:
        return None if self.folder is None else self.folder / name

    def _keep(self, name: str, key: str, said: Any) -> None:
        path = self._file(name)
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            # What stands before may have been cut short.
            file.write(f"\n{json.dumps([key, said], ensure_ascii=False)}")


def settings_of(bench: Bench) -> Mapping[str, Any]:
    """All that has to be known to do it again."""
    size = bench.size
    return {
        "model": bench.host.name, "model_digest": bench.host.digest, "dtype": str(bench.host.dtype).split(".")[-1],
        "judge": bench.judge.name, "material": bench.material.name, "material_digest": bench.material.digest,
        "seed": bench.seed, "temperature": bench.temperature, "longest_answer": bench.most,
        "contexts": size.contexts, "answers": size.answers, "random_directions": size.random, "turns": size.turns,
        "doses": list(size.doses), "versions": bench.host.versions(),
    }  # fmt: skip


def _lines(path: Path | None) -> list[tuple[str, list[Any]]]:
    """What was kept; a line that was cut short is left out."""
    found: list[tuple[str, list[Any]]] = []
    if path is None or not path.is_file():
        return found
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            key, said = json.loads(line)
        except (ValueError, TypeError):
            continue
        if isinstance(key, str) and isinstance(said, list):
            found.append((key, said))
    return found


def _digest(*of: Any) -> str:
    return hashlib.sha256(json.dumps(of, ensure_ascii=False).encode()).hexdigest()[:32]
