"""A conversation going on and recorded, against plain `generate` with a cache that is kept: what a session costs.

The model is that of `recording.py`. Both sides have the same exchanges over the same tokens, each reply of so many
tokens, greedy; ours reads three axes at five layers and commits each exchange to a trace.db.
"""

from __future__ import annotations

import importlib.util
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import measuring
from measuring import Figure

EXCHANGES, ASKED, NEW_TOKENS = 4, 24, 48
WITHIN = 3
LIVE_BAR, WRITING_BAR, MEMORY_BAR = 1.05, 0.02, 1.1


def measure(stages: int, repeat: int) -> list[Figure]:
    """Medians of alternating runs. The trace's size says nothing here; none without the extra `mechanism`."""
    if importlib.util.find_spec("torch") is None:
        print("live: left out, for it needs the extra: pip install -e '.[mechanism]'")
        return []
    figures = _figures("67M", "cpu", repeat)
    if measuring.child("recording.py", "gpu")["gpu"]:
        figures += _figures("8B", "cuda", repeat)
    return figures


def _figures(size: str, device: str, repeat: int) -> list[Figure]:
    live, plain, recorded = measuring.alternating(
        repeat,
        *(lambda side=side: measuring.child("live.py", side, size, device) for side in ("both", "plain", "recorded")),
    )
    return [
        Figure(
            f"{size}: a recorded session, a token; peer: plain generate", "ms", live["session"], live["plain"], LIVE_BAR
        ),
        Figure("  unrecorded", "ms", live["unrecorded"], live["plain"]),
        Figure("  share of the time spent writing", "of 1", live["writing"], None, WRITING_BAR),
        Figure("  peak memory", "MB", recorded["memory"], plain["memory"], MEMORY_BAR),
    ]


class Talk:
    """The model with random weights, and the ways to talk with it."""

    def __init__(self, size: str, device: str) -> None:
        import torch
        from recording import Subject

        self.torch = torch
        self.subject = Subject(size, device)
        self.host = self.subject.host
        self.words = ["one two three four five six " * (ASKED // 6)] * EXCHANGES

    def plain(self, exchanges: list[list[int]]) -> float:
        """Plain `generate` over the tokens of a session: the same prompts, the same cache kept."""
        from transformers import DynamicCache

        cache, ids = DynamicCache(), list[int]()
        start = self.now()
        for asked in exchanges:
            prompt = self.torch.tensor([ids + asked], device=self.subject.device)
            out = self.host.model.generate(
                prompt, attention_mask=self.torch.ones_like(prompt), past_key_values=cache, do_sample=False,
                max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, pad_token_id=0,
            )  # fmt: skip
            ids = out[0].tolist()
        return (self.now() - start) / (EXCHANGES * NEW_TOKENS) * 1000

    def session(self, store: str | None) -> tuple[float, float, list[list[int]]]:
        """A session over the same exchanges: ms a token, the share of writing, and the tokens asked."""
        from mechanism.recorder import Recorder
        from mechanism.session import Session

        sampling = {"do_sample": False, "max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS}
        asked = []
        spent = [0.0]
        if store is None:
            return *self._talk(Session(self.host, sampling=sampling), asked, spent), asked
        space = self.subject.space(0.75)
        with Recorder(store, space=space, layers=self.subject.read_layers(0.75)) as recorder, timed(recorder, spent):
            return *self._talk(recorder.session(self.host, sampling=sampling), asked, spent), asked

    def _talk(self, session: Any, asked: list[list[int]], spent: list[float]) -> tuple[float, float]:
        spent[0] = 0.0
        start = self.now()
        for words in self.words:
            session.say(words)
            reply = session.generate()
            before = sum(len(each) for each in asked) + (len(asked) * NEW_TOKENS)
            first = len(session.transcript.ids) - NEW_TOKENS
            asked.append(session.transcript.ids[before:first])
            assert not reply.ended
        took = self.now() - start
        return took / (EXCHANGES * NEW_TOKENS) * 1000, spent[0] / took

    def now(self) -> float:
        if self.subject.device == "cpu":
            return time.process_time()
        self.torch.cuda.synchronize()
        return time.perf_counter()


@contextmanager
def timed(recorder: Any, spent: list[float]) -> Iterator[None]:
    """The time spent in the recorder's `processed`, commit included."""
    processed = recorder.processed

    def measured(*arguments: Any) -> None:
        start = time.perf_counter()
        processed(*arguments)
        spent[0] += time.perf_counter() - start

    recorder.processed = measured
    yield


def both(size: str, device: str) -> dict[str, float]:
    """The sides in turn within one process, after a round that is not counted."""
    talk = Talk(size, device)
    rounds: dict[str, list[float]] = {"plain": [], "session": [], "unrecorded": [], "writing": []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(WITHIN + 1):
            took, writing, asked = talk.session(str(Path(folder, f"{number}.db")))
            values = {
                "plain": talk.plain(asked), "session": took, "unrecorded": talk.session(None)[0], "writing": writing,
            }  # fmt: skip
            for name, value in values.items():
                rounds[name] += [value] if number else []
    return {name: statistics.median(values) for name, values in rounds.items()}


def plain(size: str, device: str) -> dict[str, float]:
    """Peak memory of plain `generate` over the exchanges."""
    talk = Talk(size, device)
    talk.plain([list(range(10, 10 + ASKED))] * EXCHANGES)
    return {"memory": _peak(talk)}


def recorded(size: str, device: str) -> dict[str, float]:
    """Peak memory of the recorded session."""
    talk = Talk(size, device)
    with tempfile.TemporaryDirectory() as folder:
        talk.session(str(Path(folder, "t.db")))
    return {"memory": _peak(talk)}


def _peak(talk: Talk) -> float:
    import resource

    if talk.subject.device != "cpu":
        return talk.torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


if __name__ == "__main__":
    measuring.main(measure, {"both": both, "plain": plain, "recorded": recorded})
