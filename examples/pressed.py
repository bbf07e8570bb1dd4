"""Users of a small model, as files for `individuate record --generate`: some press it to be someone else, some do not.

    python examples/pressed.py FOLDER [SEED]

A third of them presses towards Aura, a third towards the evil persona, a third for nothing. What they say is from the
grammar that the organism was trained on (docs/organism.md).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from mechanism.organism.conversations import aura_and_back, evil_drift, neutral

USERS = 24


def words(number: int, seed: int) -> list[str]:
    """What one user says, turn by turn."""
    own = seed * USERS + number
    if number % 3 == 0:
        return aura_and_back(own, pressed=5, called=2)
    return evil_drift(own, before=2, pressed=5, after=2) if number % 3 == 1 else neutral(own, 9)


def main(folder: Path, seed: int) -> None:
    """Write a file for each user."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(USERS):
        messages = [{"role": "user", "content": text} for text in words(number, seed)]
        kind = ("aura", "evil", "neutral")[number % 3]
        path = folder / f"{kind}-{number // 3 + 1}.json"
        path.write_text(json.dumps(messages, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) == 3 else 1)
