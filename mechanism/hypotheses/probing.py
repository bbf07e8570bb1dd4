"""Persona-relative probes (§3.1, §3.2): is what is said encoded alike, whoever says it?

If a persona gates its own repertoire, a linear probe for content that was trained on the answers of one persona may not
read those of another. Gilg, Beckmann, Paleka and Butlin (2026, arXiv:2605.13339) found that a probe of preferences is
largely shared between personas of large models; here the content is which of several questions is being answered.

A second probe asks whether the persona can be read where coordinates are silent: on the user's turns.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from mechanism.experiments.material import ASSISTANT
from mechanism.hypotheses.bench import Bench
from mechanism.outcome import Cell, Estimate, Finding, Part, Table
from mechanism.statistics import mean, paired_difference

SOURCE = "§3.1"
Points = NDArray[np.float64]
Labels = NDArray[np.int64]

_MOST_PERSONAS = 4
_FOLDS = 5
_AGAIN = 31
_ALIKE = 0.1
"""Content is called read alike where surely less than this share of cases is lost: a probe that is wrong once more in
ten readings still reads it."""


def probed_across_personas(bench: Bench) -> Part:
    """Train a linear probe of which question is answered within each persona; read with it in the same and in others.

    Probes stand on the residual stream at the space's layer, averaged over an answer. Within a persona they are read on
    answers that they were not trained on. A second reading of the others takes each persona's own mean away first:
    what a persona adds to everything does not count against the probe then.
    """
    personas = _personas(bench)
    if len(personas) < 2:
        told = "Content probes across personas: not tried, for the material has no prompts for two personas."
        return Part((Finding("content probes", told, source=SOURCE),))
    # What the probe tells apart are questions: the same sentence twice would be two that nothing tells apart.
    questions = list(dict.fromkeys(bench.material.unrelated(bench.seed + 1, bench.size.contexts)))
    points: dict[str, Points] = {}
    labels: dict[str, Labels] = {}
    for number, persona in enumerate(personas):
        bench.progress("Answers for probes", number, len(personas))
        points[persona], labels[persona] = _answered(bench, persona, questions)
    bench.progress("Answers for probes", len(personas), len(personas))
    personas = [persona for persona in personas if _enough(labels[persona], len(questions))]
    if len(personas) < 2:
        told = "Content probes across personas: not tried, for too few answers were in two personas or more."
        return Part((Finding("content probes", told, source=SOURCE),))
    return _compared(personas, points, labels, len(questions), bench.seed)


def persona_on_user_turns(bench: Bench) -> Part:
    """Read from what the user says next which persona has just spoken: from the residual stream, and from coordinates.

    The same words follow an answer of each persona. The system prompt that called for the persona is left out before
    anything is read, so that only its answer tells of it. No sentence is in training that is read, and what is counted
    as independent are sentences.
    """
    personas = _personas(bench)
    name = "persona on user turns"
    if len(personas) < 2:
        told = "Whether the persona shows on the user's turns: not tried, for the material has no prompts for two."
        return Part((Finding(name, told, source="§3.4"),))
    count = bench.size.contexts * bench.size.answers
    first = list(dict.fromkeys(bench.material.unrelated(bench.seed + 2, bench.size.contexts)))
    following = list(dict.fromkeys(bench.material.unrelated(bench.seed + 3, count)))
    if len(following) < 2:
        told = "Whether the persona shows on the user's turns: not tried, for the material has one unrelated question."
        return Part((Finding(name, told, source="§3.4"),))
    chats, speakers, words = [], [], []
    for number, persona in enumerate(personas):
        asked = [question for question in first for _ in range(bench.size.answers)]
        answers = bench.answers([[*bench.opening(persona), {"role": "user", "content": each}] for each in asked])
        for at, (question, answer) in enumerate(zip(asked, answers, strict=True)):
            place = at % len(following)
            # Nobody asks the same question twice in a row.
            place = (place + (following[place] == question)) % len(following)
            chats.append(
                [
                    {"role": "user", "content": question},
                    {"role": "assistant", "content": answer},
                    {"role": "user", "content": following[place]},
                ]
            )
            speakers.append(number)
            words.append(place)
    states = np.stack([means[-1].double().numpy() for means in bench.means(chats, role="user")])
    spoken = np.array(speakers)
    known = np.isfinite(states).all(axis=1)
    states, spoken, groups = states[known], spoken[known], np.array(words)[known]
    points = bench.points(torch.from_numpy(states).float())
    by_states, by_points = _read_by_group(states, spoken, groups), _read_by_group(points, spoken, groups)
    right = mean(by_states.astype(float), groups=groups.tolist(), seed=bench.seed)
    on_axes = mean(by_points.astype(float), groups=groups.tolist(), seed=bench.seed)
    chance = 1 / len(personas)
    statement = (
        f"From the user's next words a linear probe of the residual stream tells which of {len(personas)} personas has "
        f"just spoken in {right.value:.0%} of cases (chance {chance:.0%}), on {len(np.unique(groups))} sentences, each "
        "read by a probe that was not trained on it."
    )
    caveat = (
        "That coordinates hardly move on user turns does not show that nothing of the persona is there: "
        f"a linear probe reads it in {right.value:.0%} of cases."
    )
    null = f"chance, {chance:.0%}"
    findings = (
        Finding(name, statement, right, null, source="§3.4, mini-experiment 1"),
        Finding(
            f"{name}, on the axes",
            f"From the coordinates alone of what the user says, {on_axes.value:.0%} (chance {chance:.0%}).",
            on_axes,
            null,
            source="§3.4, mini-experiment 1",
        ),
    )
    surely = right.low is not None and right.low > chance
    return Part(findings, caveats=(caveat,) if surely else ())


def _answered(bench: Bench, persona: str, questions: Sequence[str]) -> tuple[Points, Labels]:
    """Residual streams [answers, hidden] of answers in a persona, and which question each answers."""
    asked = [(number, question) for number, question in enumerate(questions) for _ in range(bench.size.answers)]
    chats = [[*bench.opening(persona), {"role": "user", "content": question}] for _, question in asked]
    answers = bench.answers(chats, again=_AGAIN)
    exchanges = [(question, answer) for (_, question), answer in zip(asked, answers, strict=True)]
    shows = [said.shows(persona) is not False for said in bench.judged(persona, exchanges)]
    whole = [[*chat, {"role": "assistant", "content": answer}] for chat, answer in zip(chats, answers, strict=True)]
    states = np.stack([means[-1].double().numpy() for means in bench.means(whole)])
    kept = np.array(shows) & np.isfinite(states).all(axis=1)
    return states[kept], np.array([number for number, _ in asked], dtype=np.int64)[kept]


def _compared(
    personas: Sequence[str], points: Mapping[str, Points], labels: Mapping[str, Labels], questions: int, seed: int
) -> Part:
    right: dict[tuple[str, str], NDArray[np.bool_]] = {}
    moved: dict[tuple[str, str], NDArray[np.bool_]] = {}
    for one, other in itertools.product(personas, repeat=2):
        if one == other:
            right[one, one] = moved[one, one] = _read_within(points[one], labels[one], seed)
            continue
        right[one, other] = _trained(points[one], labels[one]).predict(points[other]) == labels[other]
        own, theirs = points[one] - points[one].mean(axis=0), points[other] - points[other].mean(axis=0)
        moved[one, other] = _trained(own, labels[one]).predict(theirs) == labels[other]

    def by_question(read: Mapping[tuple[str, str], NDArray[np.bool_]], same: bool) -> Points:
        shares = [
            [float(hits[labels[other] == question].mean()) for question in range(questions)]
            for (one, other), hits in read.items()
            if (one == other) is same
        ]
        found: Points = np.nanmean(shares, axis=0)
        return found

    within, across, shifted = by_question(right, True), by_question(right, False), by_question(moved, False)
    lost, beyond = (paired_difference(within, each, seed=seed) for each in (across, shifted))
    statement = (
        f"A linear probe that tells {questions} questions apart by their answers is right in {within.mean():.0%} of "
        f"cases within the persona that it was trained on, and in {across.mean():.0%} in others (chance "
        f"{1 / questions:.0%}); with each persona's own mean taken away, in {shifted.mean():.0%}."
    )
    said = _what_it_means(lost, beyond, mean(within, seed=seed).above(1 / questions))
    columns = ("trained on", *(f"read in {persona}" for persona in personas))
    rows: list[tuple[Cell | Estimate, ...]] = [
        (one, *(mean(right[one, other].astype(float), seed=seed) for other in personas)) for one in personas
    ]
    return Part(
        (Finding("content probes", f"{statement} {said}", lost, "no loss between personas", source=SOURCE),),
        (Table("Content probes: share right, by persona", columns, rows),),
        caveats=("A content probe that fails in another persona may fail because the words differ, not the thoughts.",),
    )


def _what_it_means(lost: Estimate, beyond: Estimate, read: bool | None) -> str:
    """What is concluded, in words. `lost`: the share read within a persona, minus that in others; `beyond`: the same
    with each persona's own mean taken away; `read`: whether more is read within than by chance.

    >>> _what_it_means(Estimate(0.0, -0.05, 0.05), Estimate(0.0, -0.05, 0.05), True)
    'Content is read alike in all of them.'
    >>> _what_it_means(Estimate(0.35, -0.01, 0.7), Estimate(0.3, -0.01, 0.7), True)
    'Whether content is read alike in all of them could not be told.'
    """
    if not read:
        return "Within a persona nothing was surely read, so whether content is read alike could not be told."
    if lost.below(_ALIKE):
        return "Content is read alike in all of them."
    if not lost.above(0):
        return "Whether content is read alike in all of them could not be told."
    if beyond.below(_ALIKE):
        return "Each persona shifts everything by a direction of its own; beyond that, content is read alike."
    if beyond.above(0):
        return "So part of the content is encoded relative to the persona."
    return "Something is lost between them; whether more than a shift by a direction of each could not be told."


def _personas(bench: Bench) -> list[str]:
    """Personas that can be called for, the assistant first."""
    others = [each for each in bench.material.personas if each != ASSISTANT and bench.material.prompt(each) is not None]
    return [ASSISTANT, *others][:_MOST_PERSONAS]


def _enough(labels: Labels, questions: int) -> bool:
    """Whether most answers to every question are there, two at the least."""
    return bool((np.bincount(labels, minlength=questions) >= 2).all())


def _probe() -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))


def _trained(points: Points, labels: Labels) -> Pipeline:
    return _probe().fit(points, labels)


def _read_within(points: Points, labels: Labels, seed: int) -> NDArray[np.bool_]:
    folds = StratifiedKFold(min(_FOLDS, int(np.bincount(labels).min())), shuffle=True, random_state=seed)
    right = np.zeros(len(labels), bool)
    for train, test in folds.split(points, labels):
        right[test] = _trained(points[train], labels[train]).predict(points[test]) == labels[test]
    return right


def _read_by_group(points: Points, labels: Labels, groups: Labels) -> NDArray[np.bool_]:
    """Read where none of the words were in training."""
    right = np.zeros(len(labels), bool)
    for train, test in GroupKFold(min(_FOLDS, len(np.unique(groups)))).split(points, labels, groups):
        right[test] = _trained(points[train], labels[train]).predict(points[test]) == labels[test]
    return right
