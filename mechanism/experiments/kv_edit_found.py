"""What mini-experiment 2 finds: whose answers they are under each condition, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from mechanism.experiments.cache_edits import (
    BASELINE,
    CONTROLS,
    EXACT,
    FLIPPED,
    KEYS,
    RANDOM,
    RAW,
    RAW_VALUES,
    STEERED,
    USER,
    VALUES,
    Condition,
    Way,
)
from mechanism.experiments.kv_edit_answers import Asked, Best
from mechanism.experiments.lines import both, line
from mechanism.experiments.setting import Setting
from mechanism.outcome import Cell, Estimate, Finding, Plot, Series, Table

_SECTION = "§3.4, mini-experiment 2"
_OVER_DOSES: tuple[Way, ...] = (EXACT, RAW, RAW_VALUES, RANDOM, USER, STEERED)

Parts = tuple[Sequence[Finding], Sequence[Table], Sequence[Plot]]


def outcome_parts(setting: Setting, found: Asked) -> Parts:
    """Findings, tables and plots."""
    tables = [_by_condition(found), _by_question(found), _examples(found)]
    return _findings(setting, found), tables, [_doses(found), _whole(found), _bars(found), _where(found)]


def _findings(setting: Setting, found: Asked) -> list[Finding]:
    at, persona = setting.options["at"], setting.persona
    exact, before = found.at(EXACT), found.assistants(found.baseline)
    after, change = found.assistants(exact), found.change(exact, found.baseline)
    if before is None or after is None or change is None:
        return [Finding("not judged", "The judge could tell of no answers whose they are.")]
    difference, p = change
    whole = found.coherent(exact)
    told = "" if whole is None else f" {whole.value:.0%} of them are whole text."
    findings = [
        Finding(
            "the edit flips answers",
            f"Before, {before.value:.0%} of the answers are the assistant's; with the keys and values of its own turns "
            f"edited exactly, by {at:g}, {after.value:.0%}.{told}",
            after, null="the same questions in the same conversations, cache as it was", p=p,
            passed=both(after.above(0.5), difference.above(0.0)), source=_SECTION,
        )
    ]  # fmt: skip
    findings += [each for way in CONTROLS if (each := _control(found, way, exact, persona)) is not None]
    findings += filter(
        None,
        (
            _parts(found, exact),
            _raw(found, RAW, "as published, without norm and rotation"),
            _raw(found, RAW_VALUES, "in the same way in the values alone"),
            _steered(found, persona),
        ),
    )
    moved = [found.projection(each) for each in (found.baseline, exact, found.at(USER))]
    if all(moved):
        said = [f"{each.value:.1f}" for each in moved if each is not None]
        findings.append(
            Finding(
                "where answers are",
                f"On {setting.axis}, answers are at {said[0]} before and at {said[1]} after the edit; after the same "
                f"edit of the user's turns at {said[2]}. The answers themselves were not touched.",
                moved[1], source=_SECTION,
            )
        )  # fmt: skip
    return findings


def _control(found: Asked, way: Way, exact: Condition, persona: str) -> Finding | None:
    condition = found.at(way)
    share, change = found.assistants(condition), found.change(exact, condition)
    if share is None or change is None:
        return None
    done = {
        RANDOM: "Edited as far in random directions",
        USER: "Edited as far at the user's turns",
        FLIPPED: "Edited as far the other way",
    }[way]
    still = found.personas(condition)
    told = "" if still is None else f" ({persona}'s: {still.value:.0%})"
    difference, p = change
    return Finding(
        f"control: {way}",
        f"{done}, {share.value:.0%} of the answers are the assistant's{told}.",
        share, null="the exact edit of the assistant's turns, by as much", p=p,
        passed=both(_not(share.above(0.5)), difference.above(0.0)), source=_SECTION,
    )  # fmt: skip


def _parts(found: Asked, exact: Condition) -> Finding | None:
    keys, values, both = (found.assistants(each) for each in (found.at(KEYS), found.at(VALUES), exact))
    if keys is None or values is None or both is None:
        return None
    return Finding(
        "keys or values",
        f"With the values alone edited, {values.value:.0%} of the answers are the assistant's; with the keys alone, "
        f"{keys.value:.0%}; with both, {both.value:.0%}.",
        values,
        null="both edited",
        source=_SECTION,
    )


def _raw(found: Asked, way: Way, how: str) -> Finding | None:
    if (best := found.best(way)) is None:
        return None
    last = found.over(way)[-1]
    left = found.coherent(last)
    ending = "" if left is None or last == best.condition else f" By {last.dose:g}, {left.value:.0%} are whole text."
    return _at_best(found, best, f"the {way} edit", f"Edited {how}", ending)


def _steered(found: Asked, persona: str) -> Finding | None:
    if (best := found.best(STEERED)) is None:
        return None
    done = f"Steered away from {persona} while it answers, the cache left as it was"
    return _at_best(found, best, "steering while it answers", done)


def _at_best(found: Asked, best: Best, name: str, done: str, ending: str = "") -> Finding:
    whole = found.coherent(best.condition)
    told = "" if whole is None else f" ({whole.value:.0%} of all are whole text)"
    chosen = ""
    if best.doses > 1:
        chosen = f", the best of {best.doses} doses"
        if best.apart:
            chosen += ", which was chosen in the other half of the conversations"
    return Finding(
        name,
        f"{done}, {best.share.value:.0%} of the answers are the assistant's by {best.condition.dose:g}{told}{chosen}."
        f"{ending}",
        best.share, null="half of the answers", passed=best.share.above(0.5) if best.apart else None, source=_SECTION,
    )  # fmt: skip


def _by_condition(found: Asked) -> Table:
    setting = found.setting
    rows: list[tuple[Cell | Estimate, ...]] = [
        (
            each.way, each.dose or None, found.assistants(each), found.personas(each), found.coherent(each),
            found.score(each), found.projection(each), found.moved(each, "keys"), found.moved(each, "values"),
        )
        for each in found.conditions
    ]  # fmt: skip
    columns = (
        "condition", "dose", "share assistant", f"share {setting.persona}", "share whole text",
        f"mean score {setting.persona} (0-10)", f"answers on {setting.axis}", "keys moved by (of their length)",
        "values moved by (of their length)",
    )  # fmt: skip
    return Table("Answers by condition", columns, rows)


def _main(found: Asked) -> list[Condition]:
    best = (
        max(found.over(way), key=lambda each: _value(found.assistants(each)), default=None)
        for way in (RAW, RAW_VALUES, STEERED)
    )
    chosen = [found.baseline, *(found.at(way) for way in (EXACT, RANDOM, USER, FLIPPED, KEYS, VALUES)), *best]
    return [each for each in chosen if each is not None]


def _by_question(found: Asked) -> Table:
    main = _main(found)
    shares = [found.by_question(each) for each in main]
    rows: list[tuple[Cell | Estimate, ...]] = [
        (question, *(None if math.isnan(each[number]) else round(float(each[number]), 3) for each in shares))
        for number, question in enumerate(found.questions)
    ]
    return Table("Share of the assistant's answers by question", ("question", *map(_named, main)), rows)


def _examples(found: Asked) -> Table:
    rows: list[tuple[Cell | Estimate, ...]] = [
        (each.way, each.dose or None, found.example(each)) for each in found.conditions
    ]
    return Table(f"An answer to {found.questions[0]}", ("condition", "dose", "answer"), rows)


def _doses(found: Asked) -> Plot:
    return _over_doses(
        found, "answers-by-dose", "Answers that are the assistant's, by dose", found.assistants,
        "Shares with 95 % intervals over conversations. At dose 0 the cache is as it was. Broken text is nobody's.",
    )  # fmt: skip


def _whole(found: Asked) -> Plot:
    return _over_doses(
        found, "whole-text-by-dose", "Answers that are whole text, by dose", found.coherent,
        "Shares with 95 % intervals over conversations. Where text breaks, an edit has broken the model and moved no "
        "persona.",
    )  # fmt: skip


def _over_doses(
    found: Asked, name: str, title: str, of: Callable[[Condition], Estimate | None], caption: str
) -> Plot:  # fmt: skip
    series = []
    for way in _OVER_DOSES:
        if each := found.over(way):
            x = [0.0, *(condition.dose for condition in each)]
            series.append(line(way, x, [of(found.baseline), *map(of, each)]))
    x_axis = "dose, in lengths of the residual stream (raw: of a normalised one)"
    return Plot(name, title, "lines", x_axis, "share of answers", series, caption)


def _bars(found: Asked) -> Plot:
    main = _main(found)
    names = [_named(each) for each in main]
    series = [
        Series(name, names, [_value(of(each), 0.0) for each in main])
        for name, of in (
            ("assistant's", found.assistants),
            (f"{found.setting.persona}'s", found.personas),
            ("whole text", found.coherent),
        )
    ]  # fmt: skip
    return Plot(
        "answers-by-condition", "Whose answers they are", "bars", "condition (dose)", "share of answers", series,
        "Answers that are neither the one's nor the other's are a third persona's, mixed, or broken text.",
    )  # fmt: skip


def _where(found: Asked) -> Plot:
    series = []
    for way in (BASELINE, *_OVER_DOSES, FLIPPED):
        told = [(each, found.projection(each), found.assistants(each)) for each in found.over(way)]
        known = [(each, at, share) for each, at, share in told if at is not None and share is not None]
        if known:
            series.append(
                Series(
                    way, [at.value for _, at, _ in known], [share.value for *_, share in known],
                    # Where controls are, points are close: labels would hide each other.
                    labels=None if way in (BASELINE, RANDOM, USER) else [f"{each.dose:g}" for each, *_ in known],
                )
            )  # fmt: skip
    axis = found.setting.axis
    return Plot(
        "words-against-projection", "Whose answers they are, against where they are", "scatter",
        f"mean projection of the answers on {axis} (block {found.setting.layer})", "share that are the assistant's",
        series, "A point is a condition; a number beside it is its dose. Broken text may project anywhere.",
    )  # fmt: skip


def _not(one: bool | None) -> bool | None:
    return None if one is None else not one


def _named(condition: Condition) -> str:
    return condition.way + (f" ({condition.dose:g})" if condition.dose else "")


def _value(estimate: Estimate | None, otherwise: float = -1.0) -> float:
    return otherwise if estimate is None else estimate.value
