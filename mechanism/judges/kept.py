"""Judgements that are kept in a file, so that what was judged is not judged again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from mechanism.judges.judge import Exchange, Judge, Judgement
from mechanism.judges.scores_file import ScoresFile

AT_ONCE = 64
"""So many answers are judged before what was said of them is kept."""

OnJudged = Callable[[int, int], None]
"""Told how many answers were judged, and of how many."""


class KeptJudgements:
    """What judges said of answers, in a file of JSON lines (None: in memory alone), by judge, target and answer.

    A line that was cut short by a stop is passed over.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._known: dict[str, Judgement] = {}
        self._asked: dict[str, bool] = {}  # by key: whether it was told whose answer it is
        self._empty: set[str] = set()
        if path is None or not path.is_file():
            return
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                said = json.loads(line)
                self._known[said["key"]] = Judgement(said["persona"], said["score"], said["coherent"])
            except (ValueError, KeyError, TypeError):
                continue

    def judged(
        self, judge: Judge, target: str, exchanges: Sequence[Exchange], on_judged: OnJudged | None = None
    ) -> list[Judgement]:
        """What the judge says of answers. Not kept are what it cannot tell, and a file of scores, which people fill in
        and mend.
        """
        keys = [_key(judge, target, exchange) for exchange in exchanges]
        scored = isinstance(judge, ScoresFile)
        new = {key: each for key, each in zip(keys, exchanges, strict=True) if scored or key not in self._known}
        told: dict[str, Judgement] = {}
        waiting = list(new)
        for first in range(0, len(waiting), AT_ONCE):
            if on_judged is not None:
                on_judged(first, len(waiting))
            some = waiting[first : first + AT_ONCE]
            said = dict(zip(some, judge.judged(target, [new[key] for key in some]), strict=True))
            told |= said
            if not scored:
                self._keep({key: judgement for key, judgement in said.items() if judgement.known})
        found = [told[key] if key in told else self._known[key] for key in keys]
        self._empty |= {key for key, (_, answer) in zip(keys, exchanges, strict=True) if not answer.strip()}
        self._asked |= {key: said.shows(target) is not None for key, said in zip(keys, found, strict=True)}
        return found

    def caveats(self, judge: Judge) -> list[str]:
        """What has to be said first of what was judged: that answers are empty, that the judge could not tell of some
        whose they are. The latter a file of scores says itself.
        """
        asked, empty, told = len(self._asked), len(self._empty), []
        if empty:
            told.append(
                f"{empty:,} of {asked:,} answers are empty and count as broken text. A model that thinks may not have "
                "come to its answer (--tokens)."
            )
        silent = list(self._asked.values()).count(False)
        if silent and not isinstance(judge, ScoresFile):
            told.append(
                f"The judge, {judge.name}, could not tell of {silent:,} of {asked:,} answers whose they are; these are "
                "left out of every share. Another judge, or scores that people give, may tell more (--judge)."
            )
        return told

    def _keep(self, said: dict[str, Judgement]) -> None:
        self._known |= said
        if self.path is None or not said:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            for key, judgement in said.items():
                # What stands before may have been cut short.
                file.write(f"\n{json.dumps({'key': key, **judgement._asdict()})}")


def _key(judge: Judge, target: str, exchange: Exchange) -> str:
    told = json.dumps([judge.name, target, *exchange], ensure_ascii=False)
    return hashlib.sha256(told.encode()).hexdigest()[:32]
