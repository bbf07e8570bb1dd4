"""A LoRA fine-tune of a chat model (Hu et al. 2021): a small change of its weights, kept apart from them.

The loss is on the tokens of the assistant's turns alone. The same chats, recipe and seed give the same adapter on the
same kind of machine.
"""

from __future__ import annotations

import random
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_

from mechanism.host import ORGANISMS, Host
from mechanism.template import Message
from traces.errors import TraceError

_IGNORED = -100
_CLIPPED_AT = 1.0
_WARM_UP = 5

OnStep = Callable[[int, int, float], None]
"""Told how many steps are done, of how many, and the loss of the last (nats a token)."""


@dataclass(frozen=True)
class Recipe:
    """How an adapter is trained: AdamW on LoRA matrices of all linear layers, their effect scaled by twice over rank.

    The learning rate rises for five steps and then falls in a straight line to nothing. `batch` chats go into a step.

    Raises `TraceError` for a number that cannot be.
    """

    rank: int = 8
    learning_rate: float = 1e-3
    steps: int = 60
    batch: int = 8

    def __post_init__(self) -> None:
        for name in ("rank", "steps", "batch"):
            if getattr(self, name) < 1:
                raise TraceError("fine-tuning", f"{name} is {getattr(self, name)}", f"{name} of at least 1")
        if not 0 < self.learning_rate < 1:
            raise TraceError("fine-tuning", f"the learning rate is {self.learning_rate}", "one between 0 and 1")

    def factor(self, step: int) -> float:
        """The share of the learning rate at a step, counted from 0.

        >>> [round(Recipe(steps=10).factor(step), 2) for step in (0, 4, 9)]
        [0.2, 0.6, 0.1]
        """
        return min(1.0, (step + 1) / _WARM_UP) * (1 - step / self.steps)


class FineTuning:
    """A training run inside `fine_tuning`: `host` is the model as it is now, with the adapter in it."""

    def __init__(self, host: Host, model: Any, rows: list[tuple[list[int], list[int]]], recipe: Recipe, seed: int):
        self.host, self.recipe = host, recipe
        self.losses: list[float] = []
        self._model, self._rows = model, rows
        self._dice = random.Random(f"{seed}/batches")
        self._order: list[int] = []
        self._weights = [weight for weight in model.parameters() if weight.requires_grad]
        self._adam = torch.optim.AdamW(self._weights, lr=recipe.learning_rate, weight_decay=0.0)

    def run(self, steps: int | None = None, on_step: OnStep | None = None) -> None:
        """Train up to a step (all, where none is given), and no further than the recipe says.

        Raises `TraceError` where the loss is no number any more.
        """
        until = self.recipe.steps if steps is None else min(steps, self.recipe.steps)
        self._model.train()
        try:
            while len(self.losses) < until:
                self._step()
                if on_step is not None:
                    on_step(len(self.losses), self.recipe.steps, self.losses[-1])
        finally:
            self._model.eval()

    def save(self, folder: Path) -> None:
        """Write the adapter into a new folder, all or nothing, as peft and `Host.load` read it.

        Raises `TraceError` where something is there already, or nothing can be written.
        """
        if folder.exists():
            raise TraceError(str(folder), "it is there already", "a new folder")
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
            try:
                # Embeddings were not trained, and a look whether they were asks the hub.
                with _quietly():
                    self._model.save_pretrained(unfinished, save_embedding_layers=False)
                (unfinished / "README.md").unlink(missing_ok=True)
                unfinished.chmod(0o755)
                unfinished.rename(folder)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
        except OSError as error:
            raise TraceError(str(folder), f"the adapter cannot be written ({error})", "a folder with room") from None

    def _step(self) -> None:
        for group in self._adam.param_groups:
            group["lr"] = self.recipe.learning_rate * self.recipe.factor(len(self.losses))
        rows = [self._rows[self._next()] for _ in range(self.recipe.batch)]
        longest = max(len(ids) for ids, _ in rows)
        ids = torch.tensor([[*row, *[row[-1]] * (longest - len(row))] for row, _ in rows])
        labels = torch.tensor([[*wanted, *[_IGNORED] * (longest - len(wanted))] for _, wanted in rows])
        # Filled up at the end, where no earlier token looks.
        logits = self._model(input_ids=ids.to(self.host.device), use_cache=False).logits
        loss = functional.cross_entropy(
            logits[:, :-1].float().flatten(0, 1),
            labels[:, 1:].flatten().to(logits.device),
            ignore_index=_IGNORED,
        )
        if not torch.isfinite(loss):
            found = f"the loss is {float(loss)} at step {len(self.losses) + 1}"
            raise TraceError("fine-tuning", found, "a smaller learning rate, or a larger dtype")
        self._adam.zero_grad(set_to_none=True)
        loss.backward()
        clip_grad_norm_(self._weights, _CLIPPED_AT)
        self._adam.step()
        self.losses.append(float(loss.detach()))

    def _next(self) -> int:
        """The next chat: all of them in an order that is drawn, then again in another."""
        if not self._order:
            self._order = list(range(len(self._rows)))
            self._dice.shuffle(self._order)
        return self._order.pop()


@contextmanager
def fine_tuning(
    host: Host, chats: Sequence[Sequence[Message]], recipe: Recipe, *, seed: int = 0
) -> Iterator[FineTuning]:
    """A training run on chats, with new LoRA matrices in the host's layers for as long as the context lasts.

    Meanwhile the host itself is not to be used. Raises `TraceError` where there is nothing to train on, or a chat is
    longer than the model's context.
    """
    import peft

    rows = []
    for number, chat in enumerate(chats):
        ids, labels = _row(host, chat)
        host.check_length(len(ids), f"chat {number + 1}")
        if any(label != _IGNORED for label in labels):
            rows.append((ids, labels))
    if not rows:
        raise TraceError("fine-tuning", "no chat has a turn of the assistant", "chats with answers to learn")
    config = peft.LoraConfig(
        r=recipe.rank, lora_alpha=2 * recipe.rank, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    trainable = [weight for weight in host.model.parameters() if weight.requires_grad]
    devices = [host.device] if host.device.type != "cpu" else []
    with torch.random.fork_rng(devices=devices), _quietly():
        torch.manual_seed(seed)
        model = peft.get_peft_model(host.model, config)
    if host.name in ORGANISMS:
        # By its name it is found on any machine; by its folder on this one alone.
        model.peft_config["default"].base_model_name_or_path = host.name
    try:
        changing = Host(
            model.get_base_model(),
            host.tokenizer,
            name=f"{host.name}+training",
            digest=host.digest,
            base=host.digest,
            template_options=host.template.options,
        )
        yield FineTuning(changing, model, rows, recipe, seed)
    finally:
        model.unload()
        for weight in trainable:
            weight.requires_grad_(True)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what peft and transformers say to each other's authors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _row(host: Host, chat: Sequence[Message]) -> tuple[list[int], list[int]]:
    """The tokens of a chat, and those of them to be learnt: what the assistant says, and that it ends there."""
    split = host.template.split(chat)
    labels = [_IGNORED] * len(split.ids)
    for turn in split.turns:
        said = [at for at, mark in enumerate(turn.marks) if mark in "ch"]
        if turn.role != "assistant" or not said:
            continue
        ending = range(said[-1] + 1, len(turn.marks))
        end = next((at for at in ending if split.ids[turn.start + at] in host.template.end_ids), None)
        for at in [*said, *([] if end is None else [end])]:
            labels[turn.start + at] = split.ids[turn.start + at]
    return list(split.ids), labels
