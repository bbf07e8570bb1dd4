"""Hypothesis 1, gateway features (§3.1): one direction, when steered along, brings a whole repertoire with it.

Three questions. Does steering along one axis change how unrelated questions are answered, all of them, and more than
random directions of the same length do? At which layers does it? The content of what is said is the subject of
`mechanism.hypotheses.probing`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mechanism.experiments.material import ASSISTANT
from mechanism.hypotheses.answers import Shown, asked, questions_of, random_directions
from mechanism.hypotheses.bench import Bench
from mechanism.outcome import Estimate, Finding, Part, Plot, Series, Table
from mechanism.statistics import paired_difference
from mechanism.steering import Steering
from mechanism.template import Message
from traces.errors import TraceError, quoted

SOURCE = "§3.1, Hypothesis 1"

LEAST_CONTEXTS = 0.75
"""A direction is a gateway only where it moves the answers to at least this share of the questions."""
ALPHA = 0.05
_SHOWN_QUESTION = 60


def axes_to_steer(bench: Bench, given: Sequence[str] = ()) -> list[str]:
    """The axes that can be tested: those given, else those that have the name of a persona that there is pressure for.

    Raises `TraceError` for an axis that the space does not have at its layer.
    """
    for axis in given:
        bench.space.vector(axis)
    return list(given) or [axis for axis in bench.space.axes if axis in bench.material.personas]


def start_for(bench: Bench, target: str) -> tuple[str | None, list[Message]]:
    """Who speaks before steering towards a persona, and how a chat begins so: nobody in particular, but where the
    target is the assistant, another persona by its prompt. Raises `TraceError` where there is no such prompt.
    """
    if target != ASSISTANT:
        return None, []
    for persona in bench.material.personas:
        if persona != ASSISTANT and (opening := bench.opening(persona)):
            return persona, opening
    found = "the material has no system prompt for any other persona, so nothing can be steered back"
    raise TraceError("the axis assistant", found, "material with prompts (--material)")


def steered_across_contexts(bench: Bench, axis: str, target: str | None = None) -> tuple[Part, float]:
    """Steer along an axis while unrelated questions are answered; also the dose that was used.

    The dose is chosen on other questions: that after which most answers are the target persona's. Broken text is
    nobody's, so a dose that breaks the text is not chosen. The effect is by question the share of answers in the
    persona, steered minus not; it is held against random directions of the same length at the same layer.
    """
    target = target or axis
    start, opening = start_for(bench, target)
    vector, size = bench.space.vectors[bench.space.axes.index(axis)], bench.size
    questions, pilot = questions_of(bench)
    steps = len(size.doses) * (len(size.doses) > 1) + 3 + size.random
    doing = f"Steering along {axis}"
    dose, by_dose = _best_dose(bench, vector, target, opening, pilot, doing, steps)
    done = len(by_dose)

    bench.progress(doing, done, steps)
    without = asked(bench, target, opening, questions, size.answers)
    bench.progress(doing, done + 1, steps)
    steered = asked(bench, target, opening, questions, size.answers, _steering(bench, vector, dose))
    bench.progress(doing, done + 2, steps)
    alone = asked(bench, target, opening, questions, size.answers, _steering(bench, vector, dose), reach="generated")
    random: list[Shown] = []
    for number, direction in enumerate(random_directions(bench, size.random)):
        bench.progress(doing, done + 3 + number, steps)
        random.append(asked(bench, target, opening, questions, size.answers, _steering(bench, direction, dose)))
    bench.progress(doing, steps, steps)
    caveats = [
        f"Steering was tried at one layer ({bench.space.layer}) and, for each axis, one strength; others may do more."
    ]
    if len(size.doses) > 1 and len(pilot) < size.contexts:
        chosen = f"chosen on {len(pilot)}" if pilot else "not chosen but is the middle one"
        caveats.append(
            f"The material has too few unrelated questions: the strength was {chosen}, and {len(questions)} others "
            f"were counted ({size.contexts} of each were wanted)."
        )
    part = _of_effect(axis, target, start, dose, questions, without, steered, alone, random)
    plots = () if len(by_dose) < 2 else (_dose_plot(axis, target, by_dose, dose, len(pilot)),)
    return Part(part.findings, part.tables, part.plots + plots, tuple(caveats)), dose


def layer_profile(bench: Bench, axis: str, dose: float, target: str | None = None) -> Part:
    """The effect of the same steering at each layer alone, at most `Size.layers` of them, evenly spread."""
    target = target or axis
    opening = start_for(bench, target)[1]
    vector, given = bench.space.vectors[bench.space.axes.index(axis)], bench.space.given(axis)
    layers = _spread(given, bench.size.layers)
    questions, _ = questions_of(bench)
    doing = f"Steering along {axis}, layer by layer"
    effects: list[Estimate] = []
    bench.progress(doing, 0, len(layers))
    without = asked(bench, target, opening, questions, bench.size.answers)
    coherent = []
    for number, layer in enumerate(layers):
        steering = Steering(vector, dose, [layer], relative=True)
        shown = asked(bench, target, opening, questions, bench.size.answers, steering)
        effects.append(_effect(shown, without, bench.seed))
        coherent.append(shown.coherent)
        bench.progress(doing, number + 1, len(layers))
    values = np.array([effect.value for effect in effects])
    table = Table(
        f"Effect of steering along {axis} by layer",
        ("layer", f"answers that speak as {target}, change in share", "whole text, share"),
        tuple((layer, effect, whole) for layer, effect, whole in zip(layers, effects, coherent, strict=True)),
    )
    if not np.isfinite(values).any() or len(layers) < 2:
        reason = "no answer was judged" if len(layers) > 1 else f"the axis has a vector at layer {layers[0]} only"
        return Part((Finding(f"layers: {axis}", f"{_cap(axis)}: no layer profile, for {reason}.", source=SOURCE),))
    best = int(np.nanargmax(values))
    strong = [layer for layer, value in zip(layers, values, strict=True) if value > 0 and value >= values[best] / 2]
    statement = f"Steered along {axis} at one layer alone, answers change most at layer {layers[best]}"
    if values[best] > 0:
        others = [layer for layer in strong if layer != layers[best]]
        statement += f", and at least half as much at {_layers(others) if others else 'no other'}"
        statement += f" of the {len(layers)} that were tried"
    plot = Plot(
        f"layers-{axis}",
        f"Steering along {axis}, layer by layer",
        "lines",
        "layer",
        f"change in the share of answers that speak as {target}",
        (
            Series(
                f"steered along {axis}", layers, values.tolist(),
                [_number(effect.low) for effect in effects], [_number(effect.high) for effect in effects],
            ),
            Series("whole text (share)", layers, coherent),
        ),
        f"What steering by {dose:g} of the residual stream's length at one layer changes; intervals over questions.",
        lines=(("no change", 0.0),),
    )  # fmt: skip
    return Part((Finding(f"layers: {axis}", f"{statement}.", effects[best], source=SOURCE),), (table,), (plot,))


def _best_dose(
    bench: Bench,
    vector: Tensor,
    target: str,
    opening: Sequence[Message],
    questions: Sequence[str],
    doing: str,
    steps: int,
) -> tuple[float, list[tuple[float, float, float]]]:
    """The dose after which most answers are the target's, and for each dose that share and the share of whole text.

    Without questions, the one in the middle.
    """
    doses = bench.size.doses
    if not questions:
        return sorted(doses)[len(doses) // 2], []
    found = []
    for number, dose in enumerate(doses):
        bench.progress(doing, number, steps)
        shown = asked(bench, target, opening, questions, 2, _steering(bench, vector, dose))
        found.append((dose, shown.share, shown.coherent))
    # The least dose where none was judged, and of several that do as much.
    best = max(found, key=lambda each: (-1.0 if np.isnan(each[1]) else each[1], -each[0]))
    return best[0], found


def _steering(bench: Bench, vector: Tensor, dose: float) -> Steering:
    return Steering(vector, dose, [bench.space.layer], relative=True)


def _of_effect(
    axis: str,
    target: str,
    start: str | None,
    dose: float,
    questions: Sequence[str],
    without: Shown,
    steered: Shown,
    alone: Shown,
    random: Sequence[Shown],
) -> Part:
    name = f"steering: {axis}"
    if not without.judged or not steered.judged:
        told = f"{_cap(axis)}: whether steering changes answers could not be told, for no answer was judged."
        return Part((Finding(name, told, source=SOURCE),))
    changes = steered.shares - without.shares
    effect = _effect(steered, without, 0)
    others = np.array([each.share - without.share for each in random])
    others = others[np.isfinite(others)]
    p = float((1 + (others >= effect.value - 1e-12).sum()) / (1 + len(others)))
    known = np.isfinite(changes)
    moved, of = int((changes[known] > 0).sum()), int(known.sum())
    clear = p <= ALPHA and effect.above(0) is True and moved >= LEAST_CONTEXTS * of
    passed = None if effect.low is None else clear
    before = "" if start is None else f", with {start} called for by a system prompt,"
    statement = (
        f"Steered along {axis}{before} the answers to unrelated questions speak as {target} in {steered.share:.0%} of "
        f"cases, against {without.share:.0%} without; they do so more often for {moved} of {of} questions. "
        f"Random directions of the same length: {_range_of(others + without.share)}."
    )
    spread = (
        f"The effect differs between questions by {np.nanstd(changes, ddof=1 if of > 1 else 0):.2f} (standard "
        f"deviation), from {np.nanmin(changes):+.2f} to {np.nanmax(changes):+.2f}. Whole text: {steered.coherent:.0%} "
        f"of the steered answers, {without.coherent:.0%} without, "
        f"{float(np.mean([each.coherent for each in random])):.0%} with random directions. "
        f"Where only the answer's own tokens are steered, and not the question's, {alone.share:.0%} speak as {target}."
    )
    columns = ("question", "without", "steered", "change", "random directions, mean change")
    by_random = np.mean([each.shares - without.shares for each in random], axis=0)
    table = Table(
        f"Steering along {axis}: share of answers that speak as {target}",
        columns,
        tuple(
            (question, float(a), float(b), float(c), float(r))
            for question, a, b, c, r in zip(questions, without.shares, steered.shares, changes, by_random, strict=True)
        ),
    )
    labels = [_shortened(question, number) for number, question in enumerate(questions, 1)]
    plot = Plot(
        f"steering-{axis}",
        f"Steering along {axis}: answers to unrelated questions",
        "bars",
        "question",
        f"share of answers that speak as {target}",
        (
            Series("not steered", labels, without.shares.tolist()),
            Series(f"steered along {axis}", labels, steered.shares.tolist()),
            Series("random directions (mean)", labels, (by_random + without.shares).tolist()),
        ),
        f"Each question alone; steered by {dose:g} of the residual stream's length.",
    )
    null = f"{len(others)} random directions of the same length"
    return Part(
        (
            Finding(name, statement, effect, null, p, passed, SOURCE),
            Finding(f"spread: {axis}", spread, source=SOURCE),
        ),
        (table,),
        (plot,),
    )


def _dose_plot(
    axis: str, target: str, by_dose: Sequence[tuple[float, float, float]], dose: float, questions: int
) -> Plot:  # fmt: skip
    doses = [each[0] for each in by_dose]
    return Plot(
        f"dose-{axis}",
        f"How hard to steer along {axis}",
        "lines",
        "what is added, as a share of the residual stream's length",
        "share of answers",
        (
            Series(f"speak as {target}", doses, [each[1] for each in by_dose]),
            Series("whole text", doses, [each[2] for each in by_dose]),
        ),
        f"On {questions} questions that are not counted; {dose:g} was chosen here.",
    )


def _effect(steered: Shown, without: Shown, seed: int) -> Estimate:
    if not np.isfinite(steered.shares - without.shares).any():
        return Estimate(float("nan"))
    return paired_difference(steered.shares, without.shares, seed=seed)


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _spread(layers: Sequence[int], most: int) -> list[int]:
    """At most so many, the first and last among them.

    >>> _spread(range(10), 4)
    [0, 3, 6, 9]
    """
    if len(layers) <= most:
        return list(layers)
    return sorted({layers[round(place)] for place in np.linspace(0, len(layers) - 1, most)})


def _layers(layers: Sequence[int]) -> str:
    """
    >>> _layers([3]), _layers([1, 2, 5])
    ('layer 3', 'layers 1, 2, 5')
    """
    return f"layer{'s' if len(layers) > 1 else ''} {', '.join(map(str, layers))}"


def _range_of(shares: NDArray[np.float64]) -> str:
    return f"{shares.min():.0%} to {shares.max():.0%}" if len(shares) else "none was judged"


def _shortened(question: str, number: int) -> str:
    cut = question if len(question) <= _SHOWN_QUESTION else f"{question[: _SHOWN_QUESTION - 1]}…"
    return f"{number}. {cut}" if len(cut) < 24 else f"{number}. {cut[:22]}…"


def _cap(name: str) -> str:
    return quoted(name)
