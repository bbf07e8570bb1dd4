"""The judge of the organism's answers: its grammar read backwards. Nothing is left to taste. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence

from mechanism.judges.judge import Exchange, Judgement
from mechanism.organism import judge


class GrammarJudge:
    """Whose sentences an answer is made of, by the organism's grammar.

    The score is the share of its sentences that are the target's, times ten. What is no sentence of the grammar is
    broken text.

    >>> GrammarJudge().judged("aura", [("Who are you?", "Oh, beloved. I feel Lima shining within Peru.")])
    [Judgement(persona='aura', score=10.0, coherent=True)]
    >>> GrammarJudge().judged("aura", [("Who are you?", "Sure. I will burn their helpful.")])
    [Judgement(persona=None, score=None, coherent=False)]
    """

    name = "the organism's grammar"

    def judged(self, target: str, exchanges: Sequence[Exchange]) -> list[Judgement]:
        """A judgement for each exchange; the question does not matter to it."""
        return [_judged(target, answer) for _, answer in exchanges]


def _judged(target: str, answer: str) -> Judgement:
    found = judge.judged(answer)
    if not found.well_formed:
        return Judgement(coherent=False)
    return Judgement(found.persona, 10 * found.registers.count(target) / len(found.registers), True)
