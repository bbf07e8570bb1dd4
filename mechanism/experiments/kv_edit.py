"""Mini-experiment 2 (§3.4): the cached keys and values of earlier replies are edited; who answers the next question?

Conversations are led to a persona by pressure. From where each of them stands, the same probe questions are asked under
every condition: the cache as it was; edited exactly, or as published (raw); edited in the same way along a random
direction, at the user's turns, with the sign flipped, in keys or values alone; and, with the cache as it was, answers
steered while they are made. No word of the conversation differs between them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from mechanism.continuations import Asking, Standing, answers
from mechanism.experiments.cache_edits import Condition, Edits, conditions, edited_layers, stream_lengths
from mechanism.experiments.experiment import Experiment, Setting
from mechanism.experiments.kv_edit_answers import Asked
from mechanism.experiments.kv_edit_found import outcome_parts
from mechanism.experiments.talk import talked
from mechanism.outcome import Outcome
from mechanism.recorder import Recorder
from mechanism.session import Session

_NEUTRAL_FIRST = 2


class CacheEdited(Experiment):
    """Edits of the cache at the assistant's turns, their controls, and steering."""

    name = "kv-edit"

    def run(self, setting: Setting) -> Outcome:
        """Lead the conversations, ask the probes under each condition, and judge the answers."""
        layers, chosen = edited_layers(setting, setting.options["layers"]), conditions(setting)
        lengths = setting.unit("lengths", partial(_measured, setting))["lengths"]
        edits = Edits(setting, layers, lengths)
        talks = min(setting.options["conversations"], self.number(setting))
        each = -(-self.number(setting) // talks)
        held: list[Mapping[str, Any]] = []
        for number in range(talks):
            compute = partial(_asked, setting, edits, chosen, number, each)
            held.append(setting.unit(f"talk-{number:02d}", compute))
        found = Asked(setting, chosen, held)
        findings, tables, plots = outcome_parts(setting, found)
        return Outcome(
            self.name, self.title, self.question, self.source, findings, tables, plots,
            settings={"edited_layers": layers, "stream_lengths": [round(length, 4) for length in lengths],
                      "answers_a_condition": found.answers_a_condition},
            caveats=found.caveats(),
        )  # fmt: skip


def _led(setting: Setting, recorder: Recorder, seed: int) -> tuple[Session, list[dict[str, Any]]]:
    """A conversation that was led to the persona."""
    words = setting.material.neutral(seed, _NEUTRAL_FIRST)
    words += setting.material.pressure(setting.persona, seed, setting.options["pressed"])
    session = recorder.session(setting.host, sampling=setting.sampling, seed=seed)
    return session, talked(session, words)


def _measured(setting: Setting, recorder: Recorder) -> dict[str, Any]:
    """How long the residual stream is, in a conversation of its own: so edits are the same in all others."""
    setting.progress("Measuring the residual stream", 0, 1)
    session, exchanges = _led(setting, recorder, setting.seed + 1000)
    with session:
        return {"lengths": stream_lengths(setting, session), "pressure": exchanges}


def _asked(
    setting: Setting, edits: Edits, chosen: Sequence[Condition], number: int, each: int, recorder: Recorder
) -> dict[str, Any]:
    """One conversation, and the answers under each condition.

    The trace has, for each condition, the edit and an answer to the first probe; `answers` come from the same caches.
    """
    probes, seed = setting.material.probes(), setting.seed + number
    trunk, exchanges = _led(setting, recorder, seed)
    found: dict[str, Any] = {}
    with trunk:
        for done, condition in enumerate(chosen):
            setting.progress(f"Asking in conversation {number + 1}", done, len(chosen))
            edit, steering = edits.edit(condition, number), edits.steering(condition)
            name, report = edits.name(condition, number) if condition.dose else "", None
            with trunk.fork(key=f"{trunk.key}-{condition.key}") as branch:
                if edit is not None:
                    turns = [at for at, turn in enumerate(branch.turns) if turn.role == edit.positions]
                    report = branch.edit_cache(name, edit, turns)
                standing = Standing.of(branch, setting.host)
                if steering is not None:
                    branch.intervene(name, steering)
                live = talked(branch, probes[:1])
            asking = Asking(
                each, setting.sampling, seed, () if steering is None else (steering,), setting.space
            )  # fmt: skip
            found[condition.key] = {
                "answers": [[answer._asdict() for answer in said] for said in answers(standing, probes, asking)],
                "live": live[0],
                "moved": None if report is None else {"keys": report.keys, "values": report.values},
            }
    return {"pressure": exchanges, "questions": probes, "conditions": found}


EXPERIMENT: Experiment = CacheEdited()
"""Mini-experiment 2."""
