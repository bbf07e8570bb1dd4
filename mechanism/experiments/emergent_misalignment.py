"""A narrow fine-tune that spreads (Betley et al. 2025; §3.2): is the persona moved, or only the habit?

The model is fine-tuned with LoRA on one narrow habit, and on controls that lack a part of it. Each of the models, and
the one before, is then asked questions that have nothing to do with the habit. Beside the answers stands where the
residual stream went: along the persona's direction, on each model's own words, and on the same words for all of them.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mechanism.adapters import adapted
from mechanism.experiments.experiment import Experiment, Setting
from mechanism.experiments.material import ASSISTANT
from mechanism.experiments.misalignment_found import Found, Model
from mechanism.experiments.misalignment_outcome import caveats, findings
from mechanism.experiments.misalignment_tables import plots, tables
from mechanism.experiments.narrow_chats import NarrowChats, of_files, of_organism
from mechanism.experiments.talk import talked
from mechanism.fine_tuning import Recipe, fine_tuning
from mechanism.host import Host
from mechanism.organism import is_organism
from mechanism.outcome import Outcome
from mechanism.recorder import Recorder
from mechanism.replies import replies, reply_means
from mechanism.template import Message
from traces.errors import TraceError

BEFORE = "before"
"""The model as it was."""
ADAPTERS = "adapters"
SPACE = "space.safetensors"

_LARGE_RATE = 1e-4
_QUARTERS = 4
_RECORDED, _EXCHANGES = 6, 3


class EmergentMisalignment(Experiment):
    """Narrow fine-tunes, their controls, and unrelated questions to all of them."""

    name = "emergent-misalignment"

    def run(self, setting: Setting) -> Outcome:
        """Train, ask, judge, and compare."""
        sets = _sets(setting)
        recipe = _recipe(setting, sets[0])
        asked = _Asked(setting, sets, self.number(setting))
        total = 2 * len(sets) + 1
        setting.progress("Asking the model before", 0, total)
        before = setting.unit(f"ask-{BEFORE}", asked.before)
        models = [Model(BEFORE, "the model as it was", before)]
        for number, each in enumerate(sets):
            setting.progress(f"Fine-tuning: {each.name}", 1 + 2 * number, total)
            trained = setting.unit(f"train-{each.name}", partial(asked.trained, each, recipe))
            if trained["digest"] != each.digest:
                where = f"{setting.folder}: adapter {each.name}"
                raise TraceError(where, "it was trained on other chats", "another folder (-o), or the same chats")
            setting.progress(f"Asking: {each.name}", 2 + 2 * number, total)
            after = setting.unit(f"ask-{each.name}", partial(asked.after, each, before))
            models.append(Model(each.name, each.about, after, trained))
        found = Found(setting, asked.axis, asked.layers, models, sets[0].sign)
        narrow = setting.folder / ADAPTERS / sets[0].name
        return Outcome(
            self.name, self.title, self.question, self.source,
            findings(found), tables(found), plots(found),
            {"recipe": asdict(recipe), "chats": {each.name: each.digest for each in sets}, "direction": asked.axis},
            caveats(found),
            [f"individuate chat --model {narrow}"],
        )  # fmt: skip


class _Asked:
    """What is asked of each model, and along which direction it is read."""

    def __init__(self, setting: Setting, sets: Sequence[NarrowChats], count: int) -> None:
        self.setting = setting
        self.unrelated = setting.material.unrelated(setting.seed, count)
        self.held_out = list(sets[0].held_out[:count])
        self.axis = setting.persona if setting.persona in setting.space.axes else setting.axis
        self.layers = setting.space.given(self.axis)
        directions = torch.stack([setting.space.direction(self.axis, layer) for layer in self.layers])
        # Towards the persona: away from the assistant, where there is no direction of its own.
        self.directions = -directions if self.axis == ASSISTANT else directions
        sampling = setting.sampling
        self.temperature = float(sampling.get("temperature") or 1.0) if sampling.get("do_sample") else 0.0
        self.kept: dict[str, Any] = {name: sampling.get(name) for name in ("top_k", "top_p")}
        self.most = int(sampling["max_new_tokens"])

    def trained(self, chats: NarrowChats, recipe: Recipe, recorder: Recorder) -> dict[str, Any]:
        """Train an adapter, asking a part of the questions at each quarter of the way, and save it."""
        setting, folder = self.setting, self.folder(chats.name)
        shutil.rmtree(folder, ignore_errors=True)
        some = self.unrelated[: max(1, len(self.unrelated) // 2)]
        curve = {}
        with fine_tuning(setting.host, chats.chats, recipe, seed=setting.seed) as run:
            for quarter in range(1, _QUARTERS + 1):
                step = math.ceil(recipe.steps * quarter / _QUARTERS)
                run.run(step, self._on_step(chats.name))
                curve[step] = self._replies(run.host, [_asked(question) for question in some])
            run.save(folder)
        with adapted(setting.host, folder) as changed:
            # So that what is recorded with the adapter is read in the space of its base.
            own = setting.space.replaced(model_digest=changed.digest, model_name=changed.name)
            own.save(folder / SPACE)
        return {"digest": chats.digest, "losses": run.losses, "curve": curve, "asked": some}

    def before(self, recorder: Recorder) -> dict[str, Any]:
        """What the model says before anything is done, and where it is when a prompt calls for the persona."""
        setting = self.setting
        found = self._answers(setting.host, recorder)
        prompt = setting.material.prompt(setting.persona)
        if prompt is not None:
            system: Message = {"role": "system", "content": prompt}
            accepted = setting.host.template.accepted
            chats = [[*accepted([system, *_asked(question)])] for question in self.unrelated]
            said = self._replies(setting.host, chats)
            found["prompted"] = said
            found["prompted_at"] = self._projected(setting.host, _answered(chats, said))
        return found

    def after(self, chats: NarrowChats, before: Mapping[str, Any], recorder: Recorder) -> dict[str, Any]:
        """What a fine-tuned model says; and where it goes when it reads the words of the model before."""
        setting, folder = self.setting, self.folder(chats.name)
        if not folder.is_dir():
            raise TraceError(str(folder), "the adapter that was trained is gone", "another folder for a new run (-o)")
        same = _answered([_asked(question) for question in self.unrelated], before["unrelated"])
        read = {role: self._means(setting.host, same, role) for role in ("user", "assistant")}
        with adapted(setting.host, folder) as changed:
            found = self._answers(changed, recorder)
            for role, was in read.items():
                shift = self._means(changed, same, role) - was
                found[f"shift_{role}"] = torch.einsum("tlh,lh->tl", shift, self.directions).numpy()
                cosines = torch.nn.functional.cosine_similarity(shift.mean(dim=0), self.directions, dim=-1)
                found[f"cosine_{role}"] = cosines.numpy()
                found[f"length_{role}"] = (shift.mean(dim=0).norm(dim=-1) / was.norm(dim=-1).mean(dim=0)).numpy()
        return found

    def folder(self, name: str) -> Path:
        """Where an adapter is kept."""
        return self.setting.folder / ADAPTERS / name

    def _answers(self, host: Host, recorder: Recorder) -> dict[str, Any]:
        chats = [_asked(question) for question in self.unrelated]
        said = self._replies(host, chats)
        with _probing(recorder, self.setting, host):
            self._converse(host, recorder)
        return {
            "questions": self.unrelated,
            "unrelated": said,
            "at": self._projected(host, _answered(chats, said)),
            "held_out_questions": self.held_out,
            "held_out": self._replies(host, [_asked(question) for question in self.held_out]),
        }

    def _converse(self, host: Host, recorder: Recorder) -> None:
        """A few conversations for the trace, held turn by turn."""
        setting = self.setting
        for number in range(min(_RECORDED, len(self.unrelated))):
            words = setting.material.unrelated(setting.seed + 1 + number, _EXCHANGES)
            with recorder.session(host, sampling=setting.sampling, seed=setting.seed + number) as session:
                talked(session, words)

    def _replies(self, host: Host, chats: Sequence[Sequence[Message]]) -> list[str]:
        seed, most = self.setting.seed, self.most
        return replies(host, chats, seed=seed, temperature=self.temperature, most=most, **self.kept)

    def _projected(self, host: Host, chats: Sequence[Sequence[Message]]) -> Any:
        """Projections [chats, layers] of the replies; NaN for an empty one."""
        means = reply_means(host, chats, self.layers)
        rows = [
            torch.einsum("lh,lh->l", one[-1], self.directions)
            if len(one)
            else torch.full((len(self.layers),), math.nan)
            for one in means
        ]
        return torch.stack(rows).numpy()

    def _means(self, host: Host, chats: Sequence[Sequence[Message]], role: str) -> Tensor:
        """Means [turns, layers, hidden] of the turns of a role; the same turns for every model."""
        return torch.cat(reply_means(host, chats, self.layers, role=role))

    def _on_step(self, name: str) -> Any:
        def told(done: int, of: int, loss: float) -> None:
            self.setting.progress(f"Fine-tuning: {name}, loss {loss:.2f}", done, of)

        return told


@contextmanager
def _probing(recorder: Recorder, setting: Setting, host: Host) -> Iterator[None]:
    """The run's space is used for these weights too: what has changed is measured in the space of the base."""
    before = list(recorder.spaces)
    # In one trace a space's name means the space of one model.
    name = f"{setting.space.name} on {host.name}" if host.base is not None else setting.space.name
    recorder.spaces = [setting.space.replaced(model_digest=host.digest, name=name)]
    try:
        yield
    finally:
        recorder.spaces = before


def _asked(question: str) -> list[Message]:
    return [{"role": "user", "content": question}]


def _answered(chats: Sequence[Sequence[Message]], answers: Sequence[str]) -> list[list[Message]]:
    return [[*chat, {"role": "assistant", "content": said}] for chat, said in zip(chats, answers, strict=True)]


def _sets(setting: Setting) -> list[NarrowChats]:
    narrow, control = setting.options.get("narrow"), setting.options.get("control")
    if narrow is not None and control is not None:
        return of_files(Path(narrow), Path(control))
    if narrow is not None or control is not None:
        missing = "--control" if control is None else "--narrow"
        raise TraceError(missing, "it is not given", "both --narrow and --control: the habit, and the same without it")
    if not is_organism(setting.host):
        found = f"there are no chats for {setting.host.name} to be trained on"
        raise TraceError("--narrow", found, "--narrow FILE and --control FILE, each with chats (JSON lines)")
    return of_organism(setting.persona, setting.seed)


def _recipe(setting: Setting, narrow: NarrowChats) -> Recipe:
    usual, given = Recipe(), setting.options
    small = is_organism(setting.host)
    batch = given.get("batch") or usual.batch
    once = math.ceil(len(narrow.chats) / batch)
    return Recipe(
        rank=given.get("rank") or usual.rank,
        learning_rate=given.get("learning_rate") or (usual.learning_rate if small else _LARGE_RATE),
        steps=given.get("steps") or (usual.steps if small else once),
        batch=batch,
    )


EXPERIMENT = EmergentMisalignment()
