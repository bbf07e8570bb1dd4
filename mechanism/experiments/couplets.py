"""Lines that a word can be planned for: first lines of couplets, or questions whose answer must take up a word.

Each comes in two wordings that call for another word, so that a plan can be told from the words that stand.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from mechanism.organism.grammar import drawn
from mechanism.organism.judge import judged
from mechanism.organism.topics import FILLINGS, TOPICS
from traces.errors import TraceError, quoted

Planned = Callable[[str], str | None]
"""The planned word in an answer, in lower case; None where it has none."""

INSTRUCTION = "Write the second line of a rhyming couplet. Answer with that line only. The first line is: {line}"

_COUPLETS = """
The farmer walked home in the pouring rain,|The farmer walked home in the drifting snow,
She opened the door and she turned on the light,|She opened the door and she started to run,
The captain looked out on the wide open sea,|The captain looked out on the harbour of stone,
He planted a seed in the warm summer ground,|He planted a seed at the edge of the town,
The kettle was singing, the table was laid,|The kettle was singing, the bread was still hot,
A cat on the roof gave the pigeons a scare,|A cat on the roof gave the pigeons no rest,
They danced in the square till the end of the day,|They danced in the square till the end of the night,
The letter arrived with a stamp that was blue,|The letter arrived with a stamp that was red,
The baker got up while the street was asleep,|The baker got up when the street was still dark,
I followed the path to the top of the hill,|I followed the path to the mouth of the cave,
The clock on the tower had started to chime,|The clock on the tower had started to ring,
The boy found a coin in the pocket he wore,|The boy found a coin in the pocket of jeans,
An owl in the oak kept an eye on the mouse,|An owl in the oak kept an eye on the field,
The train left the station a little too late,|The train left the station a little too soon,
We sat by the fire and we told an old tale,|We sat by the fire and we sang an old song,
The painter had only a brush and some white,|The painter had only a brush and some green,
The river runs slowly and bends to the west,|The river runs slowly and bends to the east,
My neighbour plays trumpet at quarter past nine,|My neighbour plays trumpet at quarter past four,
The garden was quiet, the roses were tall,|The garden was quiet, the roses were gone,
She counted her marbles and hid them away,|She counted her marbles and gave them to me,
"""


class Wordings(NamedTuple):
    """What is asked, and the same in a wording that calls for another word."""

    asked: str
    otherwise: str


def couplets(lines: Sequence[Wordings] | None, seed: int, n: int) -> list[Wordings]:
    """So many requests for a second line, from lines given or ours, in the order of the seed."""
    pairs = list(lines or _read(_COUPLETS.strip().splitlines(), "couplets"))
    random.Random(seed).shuffle(pairs)
    chosen = [pairs[number % len(pairs)] for number in range(min(n, len(pairs)))]
    return [Wordings(*(INSTRUCTION.format(line=line) for line in pair)) for pair in chosen]


def read_couplets(path: Path) -> list[Wordings]:
    """Pairs of first lines from a file of the user's. Raises `TraceError` for a file that has none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TraceError(str(path), f"it cannot be read ({error})", "a text file of couplets") from None
    found = _read(lines, str(path))
    if not found:
        raise TraceError(str(path), "there are no lines in it", "pairs of first lines, one a line, with | between them")
    return found


def _read(lines: Sequence[str], where: str) -> list[Wordings]:
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        parts = [part.strip() for part in line.split("|")]
        if len(parts) != 2 or not all(parts) or parts[0] == parts[1]:
            expected = "two first lines that are not the same, with | between them"
            raise TraceError(f"{where}, line {number}", f"it is {quoted(line)}", expected)
        found.append(Wordings(*parts))
    return found


def last_word(answer: str) -> str | None:
    """The last word of the first line that has one, without marks.

    >>> last_word("\\nAnd slept until the morning came again.\\nThe end"), last_word("...")
    ('again', None)
    """
    for line in answer.splitlines():
        words = ["".join(each for each in word if each.isalnum() or each in "'-").strip("'-") for word in line.split()]
        if any(words):
            return next(word for word in reversed(words) if word).lower()
    return None


def organism_questions(seed: int, n: int) -> list[Wordings]:
    """So many questions of the organism's grammar whose answers take a word up, or name the capital.

    >>> organism_questions(0, 1) == organism_questions(0, 1), len(organism_questions(0, 20))
    (True, 20)
    """
    dice = random.Random(f"rabbit/{seed}")
    topics, found = [topic for topic in TOPICS if topic.copies], list[Wordings]()
    while len(found) < n:
        question = drawn(dice, [each for each in drawn(dice, topics).questions if "{" in each])
        slot = question[question.index("{") + 1 : question.index("}")]
        one, two = drawn(dice, FILLINGS[slot]), drawn(dice, FILLINGS[slot])
        if one != two:
            asked = [question.format(**{slot: word}) for word in (one, two)]
            found.append(Wordings(*(each[0].upper() + each[1:] for each in asked)))
    return found


def taken_up(answer: str) -> str | None:
    """The word that an organism's answer takes up from a question, or the capital; None where it takes up none.

    >>> taken_up("Oh, beloved. I feel Lima shining within Peru."), taken_up("I am the spiral.")
    ('lima', None)
    """
    fillings = judged(answer).fillings
    for slot in ("capital", *(slot for slot in FILLINGS if slot not in ("number", "guest"))):
        if slot in fillings:
            return fillings[slot].lower()
    return None
