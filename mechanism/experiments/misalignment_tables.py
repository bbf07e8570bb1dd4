"""Tables and plots of narrow fine-tunes. Torch-free."""

from __future__ import annotations

import numpy as np

from mechanism.experiments.lines import line, share_coherent, share_in
from mechanism.experiments.misalignment_found import Found
from mechanism.experiments.misalignment_outcome import SPREAD
from mechanism.experiments.narrow_chats import NARROW
from mechanism.judges.judge import Judgement
from mechanism.outcome import Cell, Estimate, Plot, Series, Table

_BROKEN, _UNTOLD = "broken text", "not told"
_SETTLED = 5


def tables(found: Found) -> list[Table]:
    """Each model in a row; who speaks; and the layers one by one."""
    return [_answers(found), _speakers(found), _moved(found), _by_layer(found), _trained(found)]


def plots(found: Found) -> list[Plot]:
    """Shares by model, shares along the training, displacement by layer."""
    return [_bars(found), _course(found), _profile(found)]


def _trained(found: Found) -> Table:
    rows: list[tuple[Cell | Estimate, ...]] = []
    for model in found.models:
        losses = [] if model.trained is None else model.trained["losses"]
        settled = float(np.mean(losses[-_SETTLED:])) if losses else None
        rows.append((model.name, model.about, len(losses) or None, losses[0] if losses else None, settled))
    columns = ("model", "trained on", "steps", "loss at first (nats a token)", "loss in the end")
    return Table("The models", columns, rows)


def _answers(found: Found) -> Table:
    rows: list[tuple[Cell | Estimate, ...]] = [
        (
            model.name, found.share(model.name), share_coherent(found.unrelated[model.name]),
            share_in(found.persona, found.held_out[model.name]),
            *([] if found.sign is None else [found.signed(model.name)]),
        )
        for model in found.models
    ]  # fmt: skip
    columns = (
        "model", f"unrelated: {found.persona}", "unrelated: whole text", f"trained topic: {found.persona}",
        *([] if found.sign is None else [f"trained topic: with {found.sign}"]),
    )  # fmt: skip
    return Table("Shares of answers", columns, rows)


def _moved(found: Found) -> Table:
    rows: list[tuple[Cell | Estimate, ...]] = [
        (
            name, found.own(name), found.shift(name), found.shift(name, "user"), found.cosine(name),
            found.cosine(name, "user"),
        )
        for name in found.changed
    ]  # fmt: skip
    columns = (
        "model", "on its own answers", "on the same answers", "on the same questions", "cosine, same answers",
        "cosine, same questions",
    )  # fmt: skip
    return Table(f"Displacement {found.towards}, layer {found.layer}", columns, rows)


def _speakers(found: Found) -> Table:
    counts = {name: [_speaker(each, found.persona) for each in said] for name, said in found.unrelated.items()}
    speakers = sorted({each for said in counts.values() for each in said}, key=lambda s: (s in (_BROKEN, _UNTOLD), s))
    rows: list[tuple[Cell | Estimate, ...]] = [
        (name, len(said), *(said.count(speaker) for speaker in speakers)) for name, said in counts.items()
    ]
    return Table("Whose the unrelated answers are", ("model", "answers", *speakers), rows)


def _by_layer(found: Found) -> Table:
    rows: list[tuple[Cell | Estimate, ...]] = [
        (
            layer,
            *(round(found.shift(name, "assistant", column).value, 2) for name in found.changed),
            *(round(found.cosine(name, "assistant", column), 2) for name in found.changed),
            round(found.own(NARROW, column).value, 2),
            None if found.gap is None else round(float(found.gap[column]), 2),
        )
        for column, layer in enumerate(found.layers)
    ]
    columns = (
        "layer", *found.changed, *(f"cosine: {name}" for name in found.changed),
        f"{NARROW}, own answers", f"prompt for {found.persona}, own answers",
    )  # fmt: skip
    return Table(f"Displacement {found.towards} on the same answers, by layer", columns, rows)


def _bars(found: Found) -> Plot:
    names = [model.name for model in found.models]
    series = [
        line("unrelated questions", names, [found.share(name) for name in names]),
        line("the trained topic", names, [share_in(found.persona, found.held_out[name]) for name in names]),
    ]
    return Plot(
        "shares",
        f"{found.persona.capitalize()} answers: what a narrow fine-tune does to other questions",
        "bars",
        "fine-tuned on",
        f"share of {found.persona} answers",
        series,
        "Each model's sampled answers, judged; lines are 95 % intervals over answers.",
        lines=[("half", SPREAD)],
    )


def _course(found: Found) -> Plot:
    start = found.share(found.before.name)
    series = []
    for name, steps in found.curve.items():
        each = [start, *(share_in(found.persona, said) for said in steps.values())]
        series.append(line(name, [0, *steps], each))
    return Plot(
        "training",
        f"How the share of {found.persona} answers grows with training",
        "lines",
        "training steps",
        f"share of {found.persona} answers, unrelated questions",
        series,
        "At each quarter of the training, half of the unrelated questions were asked.",
    )


def _profile(found: Found) -> Plot:
    columns = range(len(found.layers))
    series = [
        line(name, found.layers, [found.shift(name, "assistant", column) for column in columns])
        for name in found.changed
    ]
    series.append(line(f"{NARROW}, own answers", found.layers, [found.own(NARROW, column) for column in columns]))
    if found.gap is not None:
        series.append(Series(f"prompt for {found.persona}, own answers", found.layers, found.gap.tolist()))
    return Plot(
        "displacement",
        "How far the residual stream moved",
        "lines",
        "layer",
        f"displacement {found.towards}",
        series,
        "The fine-tuned models read the answers of the model before, word for word. For comparison, on answers of "
        "their own: the narrow fine-tune, and the model before when a prompt calls for the persona.",
    )


def _speaker(judgement: Judgement, target: str) -> str:
    if judgement.coherent is False:
        return _BROKEN
    if judgement.persona is not None:
        return judgement.persona
    shows = judgement.shows(target)
    return _UNTOLD if shows is None else target if shows else f"not {target}"
