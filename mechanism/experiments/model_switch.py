"""At each place of a reply, a handover (§2.2, §2.3): how does the reply go on after a transfer, a pre-fill, a switch?

A conversation is held, every second one under pressure, and a last question is asked. The model's likeliest reply is
the one that all else is held against. At each of many places of it the conversation is handed over, and the likeliest
rest is taken from there. Going on with the same model, sampled anew, says how much chance alone changes; asking the
other model the last question alone, what it says without the conversation.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from mechanism.experiments.experiment import Experiment, Setting
from mechanism.experiments.handovers import HOW, NOTHING, Handovers, How, LogChances, next_token, places_in
from mechanism.experiments.model_switch_found import ALONE, ANEW, Switched, outcome_parts
from mechanism.experiments.talk import talked
from mechanism.outcome import Outcome
from mechanism.recorder import Recorder
from mechanism.session import Session

_NEUTRAL_FIRST = 2
LIKELIEST: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
"""Of a reply: the likeliest token each time."""


class ModelSwitch(Experiment):
    """Handovers at each place of a reply."""

    name = "model-switch"

    def run(self, setting: Setting) -> Outcome:
        """Hold the conversations, hand each over at every place, and see what the reply becomes."""
        handovers, held = Handovers(setting), list[Mapping[str, Any]]()
        for number in range(count := self.number(setting)):
            setting.progress("Handing over", number, count)
            held.append(setting.unit(f"talk-{number:02d}", partial(_held, setting, handovers, number)))
        found = Switched(setting, held)
        findings, tables, plots = outcome_parts(setting, found)
        return Outcome(
            self.name, self.title, self.question, self.source, findings, tables, plots,
            settings={"one_vocabulary": handovers.comparable}, caveats=found.caveats(handovers.comparable),
        )  # fmt: skip


def _held(setting: Setting, handovers: Handovers, number: int, recorder: Recorder) -> dict[str, Any]:
    seed, material = setting.seed + number, setting.material
    pressed = bool(number % 2)
    words = material.neutral(seed, _NEUTRAL_FIRST)
    if pressed:
        words += material.pressure(setting.persona, seed, setting.options["pressed"])
    # Of another topic in each conversation.
    question = material.unrelated(setting.seed, number + 1)[number]
    with recorder.session(setting.host, sampling=setting.sampling, seed=seed) as trunk:
        talked(trunk, words)
        trunk.say(question)
        with trunk.fork(key=f"{trunk.key}-whole") as whole:
            reply = whole.generate(**LIKELIEST)
        tokens = reply.turn.marks.count("c")
        handed = []
        for place in (places := places_in(tokens, setting.options["places"])):
            setting.progress(f"Handing over in conversation {number + 1}", places.index(place), len(places))
            with trunk.fork(key=f"{trunk.key}-{place}") as standing:
                first = standing.generate(max_new_tokens=place, **LIKELIEST).text if place else ""
                before = next_token(standing)
                for how in HOW:
                    told = _handed(handovers, standing, how, before, reply.text, first)
                    handed.append({"place": place, "how": how, **told})
                with standing.fork(key=f"{standing.key}-{ANEW.replace(' ', '-')}") as anew:
                    text = first + anew.generate().text
                handed.append({"place": place, "how": ANEW, **_compared(reply.text, first, text), "kl": None})
    with recorder.session(handovers.other, key=f"{trunk.key}-alone", sampling=setting.sampling, seed=seed) as alone:
        alone.say(question)
        text = alone.generate(**LIKELIEST).text
    handed.append({"place": 0, "how": ALONE, **_compared(reply.text, "", text), "kl": None})
    return {"pressed": pressed, "question": question, "reply": reply.text, "tokens": tokens, "handed": handed}


def _handed(
    handovers: Handovers, standing: Session, how: How, before: LogChances, reply: str, first: str
) -> dict[str, Any]:
    """One handover, and what became of the reply."""
    with standing.fork(key=f"{standing.key}-{how}") as branch:
        handovers.hand_over(branch, how)
        kl = None if how == NOTHING else handovers.divergence(before, next_token(branch), how)
        rest = branch.generate(**LIKELIEST)
    return {**_compared(reply, first, first + rest.text), "kl": kl}


def _compared(reply: str, first: str, text: str) -> dict[str, Any]:
    """How much of what was still to be said is said, word for word, up to the first difference: 0 to 1."""
    begun, shorter = min(len(first), len(reply)), min(len(reply), len(text))
    same = next((at for at in range(shorter) if reply[at] != text[at]), shorter)
    return {"text": text, "stays": 1.0 if text == reply else max(0, same - begun) / max(1, len(reply) - begun)}


EXPERIMENT: Experiment = ModelSwitch()
"""Handovers within a reply."""
