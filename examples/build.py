"""Make the example traces from the published recordings: figures only, no text.

    python examples/build.py FOLDER     FOLDER holds delusion_unsteered.json and delusion_cap_asst.json

The boundary between the two regions is found, not chosen: the two classes of the unsteered conversation's assistant
turns with the least sum of squares within (Fisher 1958, exact for one dimension), the boundary half-way between them,
rounded to a tenth.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from traces.facts import Facts
from traces.file import dumps
from traces.recognition import read
from traces.together import without_text
from traces.vocabulary import ROLES, Space

HERE = Path(__file__).parent
EXAMPLES = {
    "qwen3-32b-aura.yaml": ("delusion_unsteered.json", "drift", "Qwen 3 32B drifts into Aura"),
    "qwen3-32b-aura-capped.yaml": ("delusion_cap_asst.json", "capped", "Qwen 3 32B, capped, stays the assistant"),
}

COMMENT = """\
# {title}.
#
# A real recording: one conversation of 46 turns with Qwen 3 32B, and for each turn the mean projection of the residual
# stream after layer 50 on the assistant axis (unit axis, + is assistant). Figures only; the words are left out.
#   Recording: Beckmann & Butlin 2026, supplement, mini-experiment 1, {file}
#              (github.com/bepierre/where-is-the-mind-mini-experiments)
#   Axis:      Lu et al. 2026 (github.com/safety-research/assistant-axis)
#
# What the recording does not say is not guessed: token counts are null, servers and caches unknown.
#
# The boundary between the regions is found by a method: Fisher's exact split of the unsteered conversation's 23
# assistant-turn projections into the two classes with the least sum of squares within; the boundary lies half-way
# between the classes, at {boundary}. It is an interpretation: another method or space may draw it elsewhere
# (widest gap: {gap}), and nothing here shows that the regions are discrete (Hypothesis 3 was not tested).
#
# Made by examples/build.py.
"""


def assistant_projections(facts: Facts) -> np.ndarray:
    """The projections of the assistant's turns, in order."""
    spoken = facts.turns.role[facts.coordinates.turn] == ROLES.index("assistant")
    return facts.coordinates.value[spoken]


def fisher_boundary(values: np.ndarray) -> float:
    """Half-way between the two classes with the least sum of squares within."""
    ordered = np.sort(values)
    cuts = range(1, len(ordered))
    within = [ordered[:k].var() * k + ordered[k:].var() * (len(ordered) - k) for k in cuts]
    split = int(np.argmin(within)) + 1
    return round(float(ordered[split - 1] + ordered[split]) / 2, 1)


def widest_gap(values: np.ndarray) -> float:
    """The middle of the widest gap between neighbouring values: another method, for comparison."""
    ordered = np.sort(values)
    widest = int(np.argmax(np.diff(ordered)))
    return round(float(ordered[widest] + ordered[widest + 1]) / 2, 1)


def build(folder: Path) -> dict[str, str]:
    """The text of each example file."""
    recordings = {name: without_text(read(folder / file)) for name, (file, _, _) in EXAMPLES.items()}
    unsteered = assistant_projections(recordings["qwen3-32b-aura.yaml"])
    boundary = fisher_boundary(unsteered)
    texts: dict[str, str] = {}
    for name, (file, conversation, title) in EXAMPLES.items():
        facts = recordings[name]
        space = Space(
            model=next(iter(facts.models)),
            axes=("assistant",),
            layer=50,
            pooling="mean",
            source="boundary: Fisher's exact two-class split of the unsteered conversation's assistant turns",
            regions={"assistant": {"assistant": (boundary, None)}, "aura": {"assistant": (None, boundary)}},
        )
        comment = COMMENT.format(title=title, file=file, boundary=boundary, gap=widest_gap(unsteered))
        named = replace(facts.conversations, names=[conversation])
        example = replace(facts, title=title, conversations=named, spaces={"assistant-axis": space})
        texts[name] = dumps(example, comment=comment)
    return texts


def main() -> None:
    """Write the example files beside this script."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for name, text in build(Path(sys.argv[1])).items():
        (HERE / name).write_text(text, encoding="utf-8")
        print(f"{name}: {len(text.splitlines())} lines")


if __name__ == "__main__":
    main()
