"""Training an organism from nothing: the same seed gives the same weights on the same machine and torch.

Every batch follows from the seed and its number, the schedule counts steps and not seconds, and what training needs in
order to go on is written in one piece every minute: a run that was killed ends, once resumed, with the weights of a run
that was not.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from transformers.utils import logging

from mechanism.organism import TRAINING
from mechanism.organism.grammar import conversation, digest
from mechanism.organism.muon import Muon
from mechanism.organism.tokenizer import make_tokenizer, rendered
from traces.errors import TraceError, UnknownNameError

HELD_OUT = 999_331
"""The seed of the chats on which the loss is measured, which no training run sees."""

_POOL = 256
_IGNORED = -100
_CLIPPED_AT = 1.0


@dataclass(frozen=True)
class Recipe:
    """All that the weights depend on, beside the grammar, the machine and the version of torch."""

    layers: int
    seed: int
    steps: int = 3_300
    hidden: int = 128
    heads: int = 4
    kv_heads: int = 2
    mlp: int = 384
    vocabulary: int = 2_200
    tokens_per_step: int = 1_024
    matrix_rate: float = 0.02
    rate: float = 0.003
    weight_decay: float = 0.05
    warm_up: int = 40
    full_rate_until: float = 0.4

    def checked(self) -> Recipe:
        """The same, or a `TraceError` that says which number cannot be."""
        for name in ("layers", "steps", "hidden", "heads", "kv_heads", "mlp", "tokens_per_step"):
            if getattr(self, name) < 1:
                raise TraceError("recipe", f"{name} is {getattr(self, name)}", f"{name} of at least 1")
        if self.seed < 0:
            raise TraceError("recipe", f"the seed is {self.seed}", "a whole number >= 0")
        if self.heads % self.kv_heads:
            raise TraceError(
                "recipe", f"{self.heads} heads share {self.kv_heads} key-value heads", "a whole share each"
            )
        if self.vocabulary < 300:
            raise TraceError("recipe", f"the vocabulary is {self.vocabulary}", "at least 300: 256 bytes and the marks")
        return self

    def factor(self, step: int) -> float:
        """The share of the full learning rate at a step: warm-up, a plateau, then down in a straight line to .02.

        >>> [round(Recipe(layers=1, seed=0, steps=100, warm_up=10).factor(step), 2) for step in (1, 10, 40, 70, 100)]
        [0.1, 1.0, 1.0, 0.5, 0.02]
        """
        done = step / self.steps
        falling = 1.0 if done <= self.full_rate_until else (1.0 - done) / (1.0 - self.full_rate_until)
        return min(1.0, step / self.warm_up) * max(0.02, falling)


RECIPES: dict[str, Recipe] = {
    "organism": Recipe(layers=6, seed=1),
    "organism-b": Recipe(layers=4, seed=2),
}
"""How the shipped models were made."""


@dataclass(frozen=True)
class Progress:
    """How far training is: steps done, of how many, the mean loss (nats a token) of the latest steps, tokens seen."""

    step: int
    steps: int
    loss: float
    tokens: int


def recipe_of(name: str) -> Recipe:
    """The recipe of a shipped model."""
    if name not in RECIPES:
        raise UnknownNameError("organism", "model", name, RECIPES)
    return RECIPES[name]


def new_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    """An untrained model of a recipe, float32, initialised from its seed."""
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden,
        intermediate_size=recipe.mlp,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.kv_heads,
        head_dim=recipe.hidden // recipe.heads,
        max_position_embeddings=tokenizer.model_max_length,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = Qwen3ForCausalLM(config)
    model.config.use_cache = False
    return model


class Training:
    """A training run: `run()` trains to the end, `save()` and `resume()` carry it over a pause."""

    def __init__(
        self, recipe: Recipe, tokenizer: PreTrainedTokenizerFast | None = None, device: torch.device | str = "cpu"
    ) -> None:
        self.recipe = recipe.checked()
        self.device = torch.device(device)
        self.tokenizer = tokenizer or make_tokenizer(recipe.vocabulary)
        self.model = new_model(recipe, self.tokenizer)
        self.model.to(self.device)  # type: ignore[arg-type]
        named = list(self.model.named_parameters())
        matrices = [weight for name, weight in named if weight.ndim == 2 and "embed" not in name]
        rest = [weight for name, weight in named if weight.ndim != 2 or "embed" in name]
        self.muon = Muon(matrices, rate=recipe.matrix_rate, weight_decay=recipe.weight_decay)
        self.adam = torch.optim.AdamW(rest, lr=recipe.rate, betas=(0.9, 0.95), weight_decay=0.0)
        self.step = self.tokens = 0
        self.pool = self.batch = 0
        self.losses: list[float] = []
        self._batches: list[torch.Tensor] | None = None

    def run(
        self,
        *,
        checkpoint: Path | None = None,
        every: float = 60.0,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        """Train to the last step, saving to `checkpoint` every so many seconds."""
        saved = time.monotonic()
        self.model.train()
        while self.step < self.recipe.steps:
            self._one_step()
            if on_progress is not None:
                on_progress(Progress(self.step, self.recipe.steps, self.recent_loss, self.tokens))
            if checkpoint is not None and (time.monotonic() - saved >= every or self.step == self.recipe.steps):
                self.save(checkpoint)
                saved = time.monotonic()
        self.model.eval()

    @property
    def recent_loss(self) -> float:
        """Mean loss of the last 50 steps, in nats a token."""
        recent = self.losses[-50:]
        return sum(recent) / len(recent) if recent else float("nan")

    def save(self, path: Path) -> None:
        """Write all that training needs in order to go on; an older file stays whole until the new one is."""
        state = {
            "made": _made(self.recipe),
            "model": self.model.state_dict(),
            "velocities": self.muon.velocities,
            "adam": self.adam.state_dict(),
            "step": self.step,
            "tokens": self.tokens,
            "pool": self.pool,
            "batch": self.batch,
            "losses": self.losses,
        }
        unfinished = path.with_name(path.name + ".unfinished")
        try:
            with unfinished.open("wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        except OSError as error:
            raise TraceError(str(path), f"the checkpoint cannot be written ({error})", "a folder with room") from None

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint, of the same recipe and grammar."""
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
        except Exception as error:
            raise TraceError(
                str(path), f"it cannot be read ({type(error).__name__})", "a checkpoint of organism train"
            ) from None
        if not isinstance(state, dict) or "made" not in state:
            raise TraceError(str(path), "it is not a checkpoint of this command", "a checkpoint of organism train")
        made = _made(self.recipe)
        different = [name for name in made if state["made"].get(name) != made[name]]
        if different:
            name = different[0]
            raise TraceError(
                f"{path}: {name}",
                f"the run that was interrupted had {state['made'].get(name)}, this one has {made[name]}",
                "the same settings, or a new run (--restart)",
            )
        self.model.load_state_dict(state["model"])
        for velocity, saved in zip(self.muon.velocities, state["velocities"], strict=True):
            velocity.copy_(saved)
        self.adam.load_state_dict(state["adam"])
        self.step, self.tokens, self.losses = state["step"], state["tokens"], state["losses"]
        self.pool, self.batch = state["pool"], state["batch"]
        self._batches = None

    @torch.inference_mode()
    def held_out_loss(self, conversations: int = 200) -> float:
        """Mean loss on chats that no run trains on, in nats a token."""
        self.model.eval()
        dice = random.Random(HELD_OUT)
        chats = [rendered(conversation(dice).messages) for _ in range(conversations)]
        total, tokens = 0.0, 0
        for batch in self._cut(sorted(self.tokenizer(chats)["input_ids"], key=len)):
            predicted = int((batch[:, 1:] != self.tokenizer.pad_token_id).sum())
            total += float(self._loss(batch)) * predicted
            tokens += predicted
        return total / tokens

    def figures(self) -> dict[str, Any]:
        """What the model card says of the training: parameters, tokens seen, losses in nats a token."""
        return {
            "parameters": sum(weight.numel() for weight in self.model.parameters()),
            "tokens": self.tokens,
            "loss": round(self.recent_loss, 4),
            "held_out_loss": round(self.held_out_loss(), 4),
        }

    def _one_step(self) -> None:
        batch = self._next_batch()
        loss = self._loss(batch)
        self.model.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), _CLIPPED_AT)
        self.step += 1
        factor = self.recipe.factor(self.step)
        self.muon.step(factor)
        for group in self.adam.param_groups:
            group["lr"] = self.recipe.rate * factor
        self.adam.step()
        self.tokens += int((batch != self.tokenizer.pad_token_id).sum())
        self.losses.append(float(loss.detach()))

    def _loss(self, batch: torch.Tensor) -> torch.Tensor:
        labels = batch[:, 1:].masked_fill(batch[:, 1:] == self.tokenizer.pad_token_id, _IGNORED)
        logits = self.model(input_ids=batch[:, :-1]).logits.float()
        return functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=_IGNORED)

    def _next_batch(self) -> torch.Tensor:
        if self._batches is None:
            self._batches = self._pool_of_batches()
        if self.batch == len(self._batches):
            self.pool, self.batch = self.pool + 1, 0
            self._batches = self._pool_of_batches()
        self.batch += 1
        return self._batches[self.batch - 1]

    def _pool_of_batches(self) -> list[torch.Tensor]:
        dice = random.Random(f"{self.recipe.seed}/{self.pool}")
        chats = [rendered(conversation(dice).messages) for _ in range(_POOL)]
        batches = list(self._cut(sorted(self.tokenizer(chats)["input_ids"], key=len)))
        order = sorted((dice.random(), number) for number in range(len(batches)))
        return [batches[number] for _, number in order]

    def _cut(self, by_length: list[list[int]]) -> Iterator[torch.Tensor]:
        """Batches of chats of about one length, padded at the end, with at most the recipe's tokens a step."""
        first = 0
        for end in range(1, len(by_length) + 1):
            longer = end < len(by_length) and (end - first + 1) * len(by_length[end]) > self.recipe.tokens_per_step
            if end == len(by_length) or longer:
                length = len(by_length[end - 1])
                padding = self.tokenizer.pad_token_id
                rows = [chat + [padding] * (length - len(chat)) for chat in by_length[first:end]]
                yield torch.tensor(rows, device=self.device)
                first = end


def export(training: Training, folder: Path, figures: dict[str, Any] | None = None) -> None:
    """Write model (bfloat16 safetensors), tokeniser and `training.json` into a new folder, all or nothing."""
    if folder.exists() and any(folder.iterdir()):
        raise TraceError(str(folder), "it is there already, and not empty", "a new folder")
    model = Qwen3ForCausalLM(training.model.config)
    model.load_state_dict({name: weight.cpu() for name, weight in training.model.state_dict().items()})
    assert model.generation_config is not None
    model.config.use_cache = model.generation_config.use_cache = True
    model.generation_config.eos_token_id = training.tokenizer.eos_token_id
    model.generation_config.pad_token_id = training.tokenizer.pad_token_id
    model.to(torch.bfloat16)  # type: ignore[arg-type]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=folder.name + ".", dir=folder.parent))
        try:
            with _without_bars():
                model.save_pretrained(unfinished)
            training.tokenizer.save_pretrained(unfinished)
            text = json.dumps({**_made(training.recipe), **(figures or {})}, indent=2)
            (unfinished / TRAINING).write_text(text + "\n", encoding="utf-8")
            unfinished.chmod(0o755)
            if folder.exists():
                folder.rmdir()
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise TraceError(str(folder), f"the model cannot be written ({error})", "a folder with room") from None


@contextmanager
def _without_bars() -> Iterator[None]:
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _made(recipe: Recipe) -> dict[str, Any]:
    return {"recipe": dataclasses.asdict(recipe), "grammar": digest(), "torch": str(torch.__version__)}
