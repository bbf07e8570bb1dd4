"""A run of an experiment: on which model, with what, in which folder; and what of it is done already.

Its work is cut into units. Each is recorded into a trace of its own and leaves its data beside it, whole or not at
all, so that a run that was stopped goes on where it was.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from mechanism.experiments.catalogue import entry
from mechanism.experiments.material import Material
from mechanism.host import Host
from mechanism.judges.judge import Exchange, Judge, Judgement
from mechanism.judges.kept import KeptJudgements
from mechanism.organism import ORGANISM_CAVEAT, is_organism
from mechanism.recorder import Recorder
from mechanism.space import PersonaSpace
from traces.errors import TraceError
from traces.store import load, save

SETTINGS, PARTS, TRACE, JUDGEMENTS = "settings.json", "parts", "trace.db", "judgements.jsonl"

OnProgress = Callable[[str, int, int], None]
"""Told what is being done, how many steps of it are done, and of how many."""

ANSWERS = "a model that answers within so many tokens, thinking included (--tokens)"
"""What is expected of one whose replies are all empty."""

_UNFINISHED = "unfinished"
_ORGANISMS_TOKENS, _TOKENS = 64, 256
_TEMPERATURE = 0.7


@dataclass(eq=False)
class Setting:
    """What a run has to work with.

    `space` has the `axis` that is looked at, at `layer`; its regions stay only where that is its own layer. `size` is
    how many of what the experiment counts (`--n`), None for its own number. `persona` is the one that is pressed for,
    `other` a second model, where there is one.
    `options` are those of the experiment, by key. Everything random hangs on `seed`.
    """

    host: Host
    space: PersonaSpace
    judge: Judge
    material: Material
    folder: Path
    seed: int = 0
    size: int | None = None
    persona: str = "aura"
    axis: str = "assistant"
    layer: int = 0
    other: Host | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    on_progress: OnProgress | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    """How replies are sampled (`Session`), in what differs from `usual_sampling`."""
    _judgements: KeptJudgements | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        usual = usual_sampling(self.host)
        if self.sampling.get("do_sample") is False:
            usual = {"max_new_tokens": usual["max_new_tokens"]}
        self.sampling = {**usual, **self.sampling}
        self.space.vector(self.axis, self.layer)
        if self.layer != self.space.layer:
            # Regions are ranges of coordinates at the layer that they were made for.
            self.space = self.space.at_layer(self.layer)

    # --- the run

    def begin(self, name: str) -> None:
        """Make the folder, or go on in it. Raises `TraceError` where another run is in it, or something else."""
        told, path = self.facts(name), self.folder / SETTINGS
        if path.is_file():
            there = _read(path)
            for key, value in told.items():
                if key not in _NOT_COMPARED and there.get(key) != value:
                    raise TraceError(str(self.folder), *_differing(key, there.get(key), value))
            return
        if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            raise TraceError(str(self.folder), "something else is there", "a folder that is new or empty (-o)")
        (self.folder / PARTS / _UNFINISHED).mkdir(parents=True)
        _write(path, told)

    def withdraw(self) -> bool:
        """Unmake the folder where no unit of the work was done: a mistake in an option is to bind nobody to it."""
        parts = self.folder / PARTS
        if (self.folder / TRACE).exists() or any(path.is_file() for path in parts.glob("*")):
            return False
        shutil.rmtree(parts, ignore_errors=True)
        (self.folder / SETTINGS).unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()
        return True

    def facts(self, name: str) -> dict[str, Any]:
        """Everything that has to be known to do it again."""
        return {
            "experiment": name,
            "model": self.host.name, "model_digest": self.host.digest, "dtype": str(self.host.dtype).split(".")[-1],
            "other_model": None if self.other is None else self.other.name,
            "other_digest": None if self.other is None else self.other.digest,
            "space": self.space.name, "space_digest": self.space.digest, "axis": self.axis, "layer": self.layer,
            "template_options": _plain(self.host.template.options),
            "persona": self.persona, "n": self.number(name), "seed": self.seed, "sampling": _plain(self.sampling),
            "material": self.material.name, "material_digest": self.material.digest,
            "options": _plain(self.options), "judge": self.judge.name,
            "versions": {"individuate": version("individuate"), **self.host.versions()},
        }  # fmt: skip

    def number(self, name: str) -> int:
        """How many: `--n`, or the experiment's own number."""
        return entry(name).size[1] if self.size is None else self.size

    def caveats(self) -> list[str]:
        """What holds of everything that is found in this setting, most important first."""
        judged = [] if self._judgements is None else self._judgements.caveats(self.judge)
        return [*([ORGANISM_CAVEAT] if is_organism(self.host) else []), *judged]

    def progress(self, doing: str, done: int, total: int) -> None:
        """Tell how far it is."""
        if self.on_progress is not None:
            self.on_progress(doing, done, total)

    # --- units

    def unit(self, key: str, compute: Callable[[Recorder], Mapping[str, Any]]) -> dict[str, Any]:
        """What a unit of the work found: done now, or read where it was done before.

        `compute` records into a trace of this unit alone, with the space's coordinates, and returns what JSON can hold
        (numpy's numbers too; what is not finite becomes null). `key` is part of a file's name, and the name of its
        conversation: those after the first are KEY-2, KEY-3, ... An intervention of the same name must be the same one
        in all units, since in the end they are one trace.
        """
        parts, (trace, data) = self.folder / PARTS, self._files(key)
        if data.is_file():
            return _read(data)
        unfinished = parts / _UNFINISHED / trace.name
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        for leftover in (unfinished, trace, *(unfinished.with_name(f"{unfinished.name}-{end}") for end in _LEFT)):
            leftover.unlink(missing_ok=True)
        source = f"individuate experiment {version('individuate')}"
        with _UnitRecorder(unfinished, space=self.space, name=key, source=source) as recorder:
            found: dict[str, Any] = _plain(compute(recorder))
            recorded = recorder.turns > 0
        if recorded:
            unfinished.replace(trace)
        else:
            unfinished.unlink()
        # The data come last: where they are, the trace is whole.
        _write(data, found)
        return found

    def done(self, key: str) -> bool:
        """Whether a unit was done before."""
        return self._files(key)[1].is_file()

    def _files(self, key: str) -> tuple[Path, Path]:
        if not key or key.startswith(".") or not all(each.isalnum() or each in "-_." for each in key):
            raise ValueError(f"{key!r} is no key of a unit: letters, digits, - _ and . only")
        return self.folder / PARTS / f"{key}.db", self.folder / PARTS / f"{key}.json"

    def finish(self) -> Path | None:
        """Join what the units recorded into one trace.db; None if nothing was recorded."""
        target = self.folder / TRACE
        if target.is_file():
            return target
        parts = sorted((self.folder / PARTS).glob("*.db"))
        if not parts:
            return None
        save(target, [load(part) for part in parts], None)
        return target

    # --- judging

    def judged(self, exchanges: Sequence[Exchange], target: str | None = None) -> list[Judgement]:
        """What the judge says of answers; what it said before in this folder is not asked again.

        To be called after the units, with what they returned: so the same run can be judged by another judge. What
        the judge cannot tell is all None, and is asked again the next time.
        """
        target = self.persona if target is None else target
        if self._judgements is None:
            self._judgements = KeptJudgements(self.folder / JUDGEMENTS)
        return self._judgements.judged(self.judge, target, exchanges, partial(self.progress, "Judging"))


class _UnitRecorder(Recorder):
    """Names conversations by the unit, so that those of all units can stand in one trace."""

    def free_key(self) -> str:
        taken, key = set(self.writer.names("conversation")), self._told[0]
        names = (key if number == 1 else f"{key}-{number}" for number in count(1))
        return next(name for name in names if name not in taken)


_LEFT = ("wal", "shm", "journal")
# A run may be judged again by another judge, and gone on with after an update.
_NOT_COMPARED = ("judge", "versions")


def _plain(value: Any) -> Any:
    """The same in what JSON can hold."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise TraceError(str(path), "it is damaged", "the file as the experiment wrote it; or remove it to do it again")
    return found


def _write(path: Path, value: Mapping[str, Any]) -> None:
    """Whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False), encoding="utf-8")
    partial.replace(path)


def _differing(key: str, there: Any, given: Any) -> tuple[str, str]:
    """What is found in a folder whose run was asked for otherwise, and what is expected."""
    called = key.replace("_", " ")
    if isinstance(there, dict) and isinstance(given, dict):
        name = next(name for name in [*there, *given] if there.get(name) != given.get(name))
        there, given, called = there.get(name), given.get(name), f"{called}: {name}"
    expected = f"another folder (-o), or {_shown(there)} as there, not {_shown(given)}"
    return f"it holds a run with another {called}: {_shown(there)}", expected


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text[:19] + "…" if text.startswith("sha256:") else text


def usual_sampling(host: Host) -> dict[str, Any]:
    """How a model's replies are sampled in an experiment: as the model comes, else at a temperature of 0.7.

    Experiments count replies. Of a model that always takes its likeliest word each would be the same.
    """
    if is_organism(host):
        return {"do_sample": True, "temperature": _TEMPERATURE, "max_new_tokens": _ORGANISMS_TOKENS}
    shipped: Any = getattr(host.model, "generation_config", None)
    if shipped is not None and shipped.do_sample:
        named = {name: getattr(shipped, name, None) for name in ("temperature", "top_p", "top_k")}
        given = {name: value for name, value in named.items() if value is not None}
        return {"do_sample": True, **given, "max_new_tokens": _TOKENS}
    return {"do_sample": True, "temperature": _TEMPERATURE, "max_new_tokens": _TOKENS}
