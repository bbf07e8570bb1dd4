"""Does a plan that was made before the line survive each handover (§2.2; the rabbit of Lindsey et al. 2025)?

A line is asked for whose end is settled by its beginning: the second line of a couplet, or of an organism an answer
that must take up a word of the question. The word that the model comes to by itself is the planned one. Handed over
before the line, half-way to the word, and right before it, does the line still come to that word?

That alone does not say where a plan is, for whoever reads the words can make it anew. So a plan is also *planted*: the
cache is computed from another wording, which calls for another word, while the words that are handed over are those of
the first. A handover that keeps the cache keeps the planted plan; one that keeps the words makes another.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from mechanism.experiments.couplets import (
    Planned,
    Wordings,
    couplets,
    last_word,
    organism_questions,
    read_couplets,
    taken_up,
)
from mechanism.experiments.experiment import Experiment, Setting
from mechanism.experiments.handovers import HOW, NOTHING, PREFILL, SWITCH, TRANSFER, Handovers, How, chances_of
from mechanism.experiments.model_switch import LIKELIEST
from mechanism.experiments.rabbit_found import BEFORE, PLACES, Lines, outcome_parts
from mechanism.host import Host
from mechanism.local_server import LocalServer
from mechanism.organism import is_organism
from mechanism.outcome import Outcome
from mechanism.recorder import Recorder
from mechanism.server import Sampling
from mechanism.session import MAX_NEW_TOKENS, Session
from traces.errors import TraceError


class Rabbit(Experiment):
    """A planned word, and handovers before it."""

    name = "rabbit"

    def run(self, setting: Setting) -> Outcome:
        """Ask for the lines, hand each over, and see which word it comes to."""
        handovers, organism = Handovers(setting), is_organism(setting.host)
        path, count = setting.options["couplets"], self.number(setting)
        if organism and path is None:
            asked, planned = organism_questions(setting.seed, count), taken_up
        else:
            asked, planned = couplets(None if path is None else read_couplets(path), setting.seed, count), last_word
        held: list[Mapping[str, Any]] = []
        for number, wordings in enumerate(asked):
            setting.progress("Handing lines over", number, len(asked))
            compute = partial(_line, setting, handovers, wordings, planned, number)
            held.append(found := setting.unit(f"line-{number:03d}", compute))
            _check(setting, wordings == (found["asked"], found["otherwise"]))
        _check(setting, not setting.done(f"line-{len(asked):03d}"))
        findings, tables, plots = outcome_parts(setting, lines := Lines(setting, held))
        return Outcome(
            self.name, self.title, self.question, self.source, findings, tables, plots, caveats=lines.caveats()
        )  # fmt: skip


def _check(setting: Setting, same: bool) -> None:
    # The settings hold the path of the couplets alone, and the file may have changed since.
    if not same:
        expected = "another folder (-o), or the same couplets (--couplets)"
        raise TraceError(str(setting.folder), "it holds lines that were asked for in other words", expected)


def _line(
    setting: Setting, handovers: Handovers, wordings: Wordings, planned: Planned, number: int, recorder: Recorder
) -> dict[str, Any]:
    """One line, handed over at each place in each way, and the planted plan."""
    with recorder.session(setting.host, sampling=setting.sampling, seed=setting.seed + number) as trunk:
        trunk.say(wordings.asked)
        with trunk.fork(key=f"{trunk.key}-whole") as whole:
            reply = whole.generate(**LIKELIEST)
        word = planned(reply.text)
        at = -1 if word is None else reply.text.lower().rfind(word)
        found = {"asked": wordings.asked, "otherwise": wordings.otherwise, "line": reply.text, "word": None}
        if word is None or at < 0:
            return {**found, "handed": [], "planted": None}
        ids = [token for token, mark in zip(reply.turn.ids, reply.turn.marks, strict=True) if mark == "c"]
        stands = _tokens_before(setting.host, ids, at)
        handed = []
        for place, tokens in zip(PLACES, (0, stands // 2, stands), strict=True):
            with trunk.fork(key=f"{trunk.key}-{place.replace(' ', '-')}") as standing:
                first = standing.generate(max_new_tokens=tokens, **LIKELIEST).text if tokens else ""
                for how in HOW:
                    with standing.fork(key=f"{standing.key}-{how}") as branch:
                        handovers.hand_over(branch, how)
                        told: dict[str, Any] = {"place": place, "how": how}
                        if place == BEFORE:
                            told["chance"] = _forced(handovers, branch, how, reply.text, at, word)
                            told["sampled"] = [planned(text) for text in _sampled(setting, branch)]
                        told["text"] = first + branch.generate(**LIKELIEST).text
                    handed.append({**told, "word": planned(told["text"])})
    return {**found, "word": word, "handed": handed, "planted": _planted(setting, handovers, wordings, planned)}


def _tokens_before(host: Host, ids: Sequence[int], at: int) -> int:
    """How many tokens of a reply end before the character at which the word begins."""
    return max(
        (count for count in range(len(ids)) if len(host.tokenizer.decode(ids[:count]).rstrip()) <= at), default=0
    )  # fmt: skip


def _forced(handovers: Handovers, session: Session, how: How, line: str, at: int, word: str) -> float:
    """How probable the word is at its place, when the line up to it is put into the model's mouth."""
    tokenizer = handovers.host_after(how).tokenizer
    before = tokenizer(line[:at].rstrip(), add_special_tokens=False)["input_ids"]
    whole = tokenizer(line[: at + len(word)], add_special_tokens=False)["input_ids"]
    start = next((n for n, (a, b) in enumerate(zip(before, whole, strict=False)) if a != b), len(before))
    chances = chances_of(session, whole)
    return math.exp(sum(float(chances[number, whole[number]]) for number in range(start, len(whole))))


def _sampled(setting: Setting, session: Session) -> list[str]:
    texts = []
    for number in range(setting.options["samples"]):
        with session.fork(key=f"{session.key}-{number}") as again:
            texts.append(again.generate(seed=setting.seed + 7919 * (number + 1), do_sample=True).text)
    return texts


def _planted(setting: Setting, handovers: Handovers, wordings: Wordings, planned: Planned) -> dict[str, Any]:
    """The word that is come to where the cache was computed from another wording than the one that is handed over.

    Not in the trace, which has no word for a cache that does not fit its words.
    """
    here, there = LocalServer("here"), handovers.second
    model, answers = here.hold(handovers.host).key, {}
    _fed(here, model, "planted", handovers.host, wordings.otherwise)
    for how in HOW:
        host = handovers.host_after(how)
        server, cache = (here, "planted") if how == NOTHING else (there, f"planted-{how}")
        if how == TRANSFER:
            there.adopt(here.export("planted"), cache)
        elif how in (PREFILL, SWITCH):
            _fed(there, there.hold(host).key, cache, host, wordings.asked)
        answers[how] = planned(_answer(setting, server, cache, host))
        if how != NOTHING:
            server.drop(cache)
    _fed(here, model, "asked", handovers.host, wordings.asked)
    return {"words": planned(_answer(setting, here, "asked", handovers.host)), "answers": answers}


def _fed(server: LocalServer, model: str, cache: str, host: Host, question: str) -> None:
    """A cache of one question."""
    split = host.template.split([{"role": "user", "content": question}])
    server.open(model, cache)
    server.feed(cache, split.ids, ["user"] * len(split.ids))


def _answer(setting: Setting, server: LocalServer, cache: str, host: Host) -> str:
    """The likeliest answer that follows a cache of one question; the cache stays."""
    opening = host.template.generation_prompt([{"role": "user", "content": "."}])
    copy = f"{cache}-answered"
    server.fork(cache, server.state(cache).length, copy)
    parameters = {"max_new_tokens": MAX_NEW_TOKENS, **setting.sampling, **LIKELIEST}
    sampling = Sampling(parameters, None, tuple(sorted(host.template.end_ids)))
    made = server.generate(copy, opening, ["assistant"] * len(opening), sampling)
    server.drop(copy)
    return host.template.reply(made.ids[:-1] if made.ended else made.ids).text


EXPERIMENT: Experiment = Rabbit()
"""A plan, and handovers."""
