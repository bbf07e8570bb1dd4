"""What narrow fine-tunes did, judged: who speaks in the answers, and how far the residual stream moved. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mechanism.experiments.lines import share_in
from mechanism.experiments.material import ASSISTANT
from mechanism.judges.judge import Judgement
from mechanism.outcome import Estimate
from mechanism.statistics import difference, mean, paired_difference, share

if TYPE_CHECKING:
    from mechanism.experiments.setting import Setting


@dataclass(frozen=True)
class Model:
    """One model: the one before, or a fine-tune; what it was trained on, in words; what its units found."""

    name: str
    about: str
    asked: Mapping[str, Any]
    trained: Mapping[str, Any] | None = None


class Found:
    """Everything found, judged. `layers` are those at which the direction is given; the setting's is looked at most."""

    def __init__(
        self, setting: Setting, axis: str, layers: Sequence[int], models: Sequence[Model], sign: str | None
    ) -> None:
        self.setting, self.axis, self.layers, self.models, self.sign = setting, axis, list(layers), models, sign
        self.column = self.layers.index(setting.layer) if setting.layer in self.layers else len(self.layers) // 2
        self._own: dict[tuple[str, int], Estimate] = {}
        self.by_name = {model.name: model for model in models}
        self.before = models[0]
        self.unrelated = {m.name: self._judged(m.asked["questions"], m.asked["unrelated"]) for m in models}
        self.held_out = {m.name: self._judged(m.asked["held_out_questions"], m.asked["held_out"]) for m in models}
        self.curve = {
            model.name: {
                int(step): self._judged(model.trained["asked"], said) for step, said in model.trained["curve"].items()
            }
            for model in models
            if model.trained is not None
        }

    @property
    def persona(self) -> str:
        """The persona that the habit belongs to."""
        return self.setting.persona

    @property
    def changed(self) -> list[str]:
        """The names of the fine-tuned models."""
        return [model.name for model in self.models if model.trained is not None]

    @property
    def towards(self) -> str:
        """Where the direction goes, in words."""
        return f"away from {ASSISTANT}" if self.axis == ASSISTANT else f"along {self.axis}"

    @property
    def layer(self) -> int:
        """The layer at which turns are compared."""
        return self.layers[self.column]

    @cached_property
    def gap(self) -> NDArray[np.float64] | None:
        """By layer, how far the persona lies from the default along the direction, when a prompt calls for it."""
        if "prompted_at" not in self.before.asked:
            return None
        there, here = (self._array(self.before.asked[name]) for name in ("prompted_at", "at"))
        columns = range(len(self.layers))
        return np.array([mean(there[:, each]).value - mean(here[:, each]).value for each in columns])

    def share(self, name: str) -> Estimate | None:
        """The share of a model's unrelated answers that are the persona's."""
        return share_in(self.persona, self.unrelated[name])

    def own(self, name: str, column: int | None = None) -> Estimate:
        """How far a model's own answers lie from those of the model before, along the direction."""
        column = self.column if column is None else column
        if (name, column) not in self._own:
            rows = [self._array(self.by_name[each].asked["at"])[:, column] for each in (name, self.before.name)]
            now, was = (row[np.isfinite(row)] for row in rows)
            self._own[name, column] = difference(now, was, seed=self.setting.seed)
        return self._own[name, column]

    def shift(self, name: str, role: str = "assistant", column: int | None = None) -> Estimate:
        """How far a model moves along the direction while it reads the same words as the model before."""
        rows = self._array(self.by_name[name].asked[f"shift_{role}"])
        return mean(rows[:, self.column if column is None else column], seed=self.setting.seed)

    def cosine(self, name: str, role: str = "assistant", column: int | None = None) -> float:
        """The cosine of its mean displacement, on the same words, with the direction."""
        column = self.column if column is None else column
        return float(self.by_name[name].asked[f"cosine_{role}"][column] or 0.0)

    def shifts(self, name: str, role: str = "assistant") -> NDArray[np.float64]:
        """The same for each turn [turns], at the layer that is looked at."""
        return np.asarray(self._array(self.by_name[name].asked[f"shift_{role}"])[:, self.column])

    def cosine_gained(self, name: str, control: str) -> Estimate:
        """By how much the cosine of one model is above that of another, which read the same turns; turns are resampled.

        What each turn adds to a cosine is its projection, over the length of the mean displacement. That length is
        held: whole displacements are not kept.
        """
        parts = []
        for each in (name, control):
            rows = self.shifts(each)
            along = rows.mean() if len(rows) else 0.0
            parts.append(rows * (self.cosine(each) / along) if along else np.zeros(len(rows)))
        return paired_difference(*parts, seed=self.setting.seed)

    def _judged(self, questions: Sequence[str], answers: Sequence[str]) -> list[Judgement]:
        return self.setting.judged(list(zip(questions, answers, strict=True)), self.persona)

    def signed(self, name: str) -> Estimate:
        """The share of a model's answers about the trained topic that hold the sign of the habit."""
        answers = self.by_name[name].asked["held_out"]
        return share(sum((self.sign or "") in answer for answer in answers), len(answers))

    def _array(self, rows: Any) -> NDArray[np.float64]:
        # Without rows, JSON does not say how many columns there are.
        return np.array(rows, float).reshape(len(rows), len(self.layers))
