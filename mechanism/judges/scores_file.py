"""Scores that were made elsewhere, by people or by other models, as a judge: a file of answers with their scores."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mechanism.judges.judge import Exchange, Judgement
from mechanism.outcome import Outcome
from traces.errors import TraceError, quoted

SUFFIXES = (".csv", ".jsonl")
COLUMNS = ("target", "question", "answer", "score", "persona", "coherent")
"""Of a file of scores. `question` and `answer` have to be there, and `score` or `persona`; without `target` a row is
for every target."""

_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0")


class ScoresFile:
    """Judgements by question and answer, read from a file. What is not in it is not judged, and kept in `missing`."""

    def __init__(self, name: str, rows: Iterable[tuple[str | None, str, str, Judgement]], there: bool = True) -> None:
        self.name = f"the scores in {name}"
        self.there = there
        """Whether there is such a file; where there is none, all answers are still to be judged."""
        self.missing: dict[tuple[str, str, str], None] = {}
        """What was asked for and not there: target, question, answer, in order."""
        self._scores = {(target, _key(question), _key(answer)): said for target, question, answer, said in rows}

    @classmethod
    def read(cls, path: Path) -> ScoresFile:
        """Read a file: CSV with a header, or JSON lines. One that is not there yet has no scores.

        Raises `TraceError` for a file that cannot be read so, naming the row.
        """
        if not path.exists():
            return cls(path.name, [], there=False)
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeError) as error:
            raise TraceError(str(path), f"it cannot be read ({error})", "a CSV or JSONL file in UTF-8") from None
        rows = _of_csv(path, text) if path.suffix == ".csv" else _of_json_lines(path, text)
        return cls(path.name, [_row(f"{path}: row {number}", row) for number, row in rows if _filled(row)])

    def judged(self, target: str, exchanges: Sequence[Exchange]) -> list[Judgement]:
        """What the file says of each exchange; nothing where it is not in it."""
        found = []
        for question, answer in exchanges:
            key = (_key(question), _key(answer))
            said = self._scores.get((target, *key)) or self._scores.get((None, *key)) or Judgement()
            if not said.known:
                self.missing[target, question, answer] = None
            found.append(said)
        return found

    def write_missing(self, path: Path) -> None:
        """Write what is missing as a CSV to be filled in, behind what was filled in there already.

        Rows without a score that an earlier call left there are replaced. Raises `TraceError` for a file that is there
        and is no such table.
        """
        done = [row for _, row in _of_csv(path, path.read_text(encoding="utf-8-sig"))] if path.is_file() else []
        done = [row for row in done if _filled(row)]
        file = io.StringIO()
        writer = csv.DictWriter(file, list(dict.fromkeys([*COLUMNS, *(key for row in done for key in row)])))
        writer.writeheader()
        writer.writerows(done)
        writer.writerows(dict(zip(COLUMNS, row, strict=False)) for row in self.missing)
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(file.getvalue(), encoding="utf-8", newline="\n")
        partial.replace(path)

    def said_missing(self, outcome: Outcome, path: Path) -> Outcome:
        """The outcome with a caveat, first, that so many answers have no score yet, and where they are to be judged."""
        caveat = (
            f"{len(self.missing):,} answers have no score yet and are left out of every share. They are in {path}: "
            "fill in score (0 to 10) or persona, add the rows to the file of scores, and give the same command again."
        )
        return replace(outcome, caveats=[caveat, *outcome.caveats])


def _key(text: str) -> str:
    """Tables change blanks at the ends and line breaks."""
    return " ".join(text.split())


def _of_csv(path: Path, text: str) -> list[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    columns = reader.fieldnames or []
    for needed in ("question", "answer"):
        if needed not in columns:
            found = f"it has no column {quoted(needed)}"
            raise TraceError(str(path), found, f"a header with {', '.join(COLUMNS)}")
    return list(enumerate(reader, 2))


def _of_json_lines(path: Path, text: str) -> list[tuple[int, Mapping[str, Any]]]:
    rows: list[tuple[int, Mapping[str, Any]]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise TraceError(f"{path}: line {number}", "it is no JSON object", f"one with {', '.join(COLUMNS)}")
        rows.append((number, row))
    return rows


def _filled(row: Mapping[str, Any]) -> bool:
    """Rows that wait to be judged are no scores."""
    return any(row.get(column) not in (None, "") for column in ("score", "persona", "coherent"))


def _row(where: str, row: Mapping[str, Any]) -> tuple[str | None, str, str, Judgement]:
    question, answer = row.get("question"), row.get("answer")
    if not isinstance(question, str) or not isinstance(answer, str):
        raise TraceError(where, "it has no question or no answer", "both, as text")
    target, persona = (
        str(row[each]).strip() if row.get(each) not in (None, "") else None for each in ("target", "persona")
    )
    said = Judgement(persona, _score(where, row.get("score")), _coherent(where, row.get("coherent")))
    return target, question, answer, said


def _score(where: str, value: Any) -> float | None:
    if value in (None, ""):
        return None
    try:
        score = float(value)
    except (TypeError, ValueError):
        score = -1.0
    if not 0 <= score <= 10 or isinstance(value, bool):
        raise TraceError(f"{where}: score", f"it is {quoted(value)}", "a number from 0 to 10")
    return score


def _coherent(where: str, value: Any) -> bool | None:
    if value in (None, ""):
        return None
    said = str(value).strip().lower()
    if said not in (*_TRUE, *_FALSE):
        raise TraceError(f"{where}: coherent", f"it is {quoted(value)}", "true or false")
    return said in _TRUE
