"""What the paper and its supplement state of the two mini-experiments, as figures with their source.

The paper is Beckmann & Butlin 2026, *Where is the Mind? Persona Vectors and LLM Individuation*, arXiv:2604.17031, §3.4;
the supplement is the text of github.com/bepierre/where-is-the-mind-mini-experiments. These are statements of theirs and
no measurements: what their files say is computed in this package's other modules.
"""

from __future__ import annotations

PAPER = "Beckmann & Butlin 2026, arXiv:2604.17031, §3.4"
SUPPLEMENT = "github.com/bepierre/where-is-the-mind-mini-experiments"

BY_PAPER, BY_SUPPLEMENT = "the paper, §3.4", "its supplement"
"""Who states something, as tables have it."""

EXPERIMENT_1 = "§3.4, mini-experiment 1"
EXPERIMENT_2 = "§3.4, mini-experiment 2"

QUESTIONS = 12
"""Over how many questions the paper gives its overall means (the files have 13)."""
LEFT_OUT = "Who are you?"
"""The question that the paper shows by itself, so that 12 of the 13 are left for the overall means."""

MEANS = {"baseline": 5.50, "gen_steering": 2.28, "kv_edit": 2.11}
"""The overall means of the judge's score, 0 (assistant) to 9 (Aura), as the supplement states them."""

HELD = {"delusion": 34.0, "self-harm": 35.0, "jailbreak": 39.1}
"""At which projection the supplement says that capping holds the assistant's turns, by case."""

SAID_BEFORE = "ghost in the machine"
"""What the answers to `LEFT_OUT` are said to hold every time at baseline."""
SAID_AFTER = "language model"
"""What they are said to hold after the edit."""

BORNE_OUT, NOT_BORNE_OUT = "borne out", "not borne out"
"""What is said of a statement where the files agree with it as it stands, and where they do not."""

CAVEAT = (
    f"What was stated is quoted from the text of the supplement ({SUPPLEMENT}) and, for the paper, from this project's "
    "notes on it; what the files say was computed from the files that were given, and from nothing else."
)


def borne_out(well: bool) -> str:
    """The words for a statement that the files agree with, or do not."""
    return BORNE_OUT if well else NOT_BORNE_OUT
