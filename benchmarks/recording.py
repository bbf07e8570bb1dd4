"""Recording: coordinates read from a model, against the bare model and against other ways to read them.

The model has random weights: 67 million parameters in float32 on one core, and where there is a GPU also 8 billion in
bfloat16. On the CPU what is compared is CPU time, on a GPU the time until it has finished. A line for nnsight is there
where this Python has nnsight.
"""

from __future__ import annotations

import importlib.util
import itertools
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measuring
from measuring import Figure

TURNS, TURN_TOKENS = 8, 64
RAGGED, RAGGED_LENGTHS = 16, (20, 400)
TRANSCRIPTS, NEW_TOKENS = 6, 48
WITHIN = 2
"""Rounds within one process, after one that is not counted, each in an order of its own; a run is their median."""

SIZES: dict[str, dict[str, int]] = {
    "67M": {
        "vocab_size": 32_000, "hidden_size": 512, "num_hidden_layers": 12, "num_attention_heads": 8,
        "num_key_value_heads": 4, "head_dim": 64, "intermediate_size": 2240,
    },
    "8B": {
        "vocab_size": 151_936, "hidden_size": 4096, "num_hidden_layers": 36, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 12_288,
    },
}  # fmt: skip
DEPTH_BAR, EXTRACTOR_BAR, TURNS_BAR = 0.80, 1 / 1.5, 1 / 4
NNSIGHT_BAR = 1.05
"""Both run the same blocks and stop; single runs differ by several per cent either way."""
RAGGED_BAR, LIVE_BAR, WRITING_BAR, MEMORY_BAR = 1.15, 1.05, 1.02, 1.1


def measure(stages: int, repeat: int) -> list[Figure]:
    """Medians of alternating runs. The trace's size says nothing here; none without the extra `mechanism`."""
    if importlib.util.find_spec("torch") is None:
        print("recording: left out, for it needs the extra: pip install -e '.[mechanism]'")
        return []
    figures = _figures("67M", "cpu", repeat)
    if _has_gpu():
        figures += _figures("8B", "cuda", repeat)
    return figures


def _figures(size: str, device: str, repeat: int) -> list[Figure]:
    replayed, ragged, live, recorded, bare, reading = measuring.alternating(
        repeat,
        *(
            lambda side=side: measuring.child("recording.py", side, size, device)
            for side in ("replay", "ragged", "live", "record", "memory_bare", "memory_reading")
        ),
    )
    tokens = TURNS * TURN_TOKENS
    ours = replayed["at 75 %"]
    figures = [
        Figure(
            f"{size}: replay of {tokens} tokens read to 75 % depth; peer: bare", "s", ours, replayed["bare"], DEPTH_BAR
        ),
        Figure("  to 50 %", "s", replayed["at 50 %"], replayed["bare"]),
        Figure("  to 25 %", "s", replayed["at 25 %"], replayed["bare"]),
        Figure("  peer: all layers to the CPU, as an extractor", "s", ours, replayed["extractor"], EXTRACTOR_BAR),
        Figure("  peer: output_hidden_states", "s", ours, replayed["hidden states"]),
        Figure(f"  peer: a pass for each of {TURNS} turns", "s", ours, replayed["turn by turn"], TURNS_BAR),
        Figure(
            f"{RAGGED} conversations together; peer: one by one", "s", ragged["together"], ragged["alone"], RAGGED_BAR
        ),
        Figure(f"generate {NEW_TOKENS} tokens, read; peer: plain", "s", live["read"], live["plain"], LIVE_BAR),
        Figure("  and recorded", "s", live["recorded"], live["plain"]),
        Figure("conversations recorded; peer: read", "s", recorded["recorded"], recorded["read"], WRITING_BAR),
        Figure("peak memory of reading; peer: bare", "MB", reading["memory"], bare["memory"], MEMORY_BAR),
    ]
    if "nnsight" in replayed:
        figures.insert(6, Figure("  peer: nnsight with stop", "s", ours, replayed["nnsight"], NNSIGHT_BAR))
    return figures


def _has_gpu() -> bool:
    # This process stays free of torch: the memory of its children counts from its own.
    return bool(measuring.child("recording.py", "gpu")["gpu"])


def gpu() -> dict[str, float]:
    import torch

    return {"gpu": float(torch.cuda.is_available())}


class Subject:
    """The model with random weights, as a host, and probes on three axes at five layers down to a depth."""

    def __init__(self, size: str, device: str) -> None:
        import torch
        from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

        from mechanism.host import Host
        from mechanism.organism import path_of

        torch.set_num_threads(1)
        torch.manual_seed(20260414)
        self.torch, self.device = torch, device
        config = Qwen3Config(**SIZES[size], max_position_embeddings=8192, tie_word_embeddings=size == "67M")
        dtype = torch.float32 if device == "cpu" else torch.bfloat16
        torch.set_default_dtype(dtype)
        with torch.device(device):
            model = Qwen3ForCausalLM(config).eval()
        torch.set_default_dtype(torch.float32)
        model.generation_config.eos_token_id = None
        tokenizer = AutoTokenizer.from_pretrained(path_of("organism"))
        self.host = Host(model, tokenizer, name=f"random {size}", digest=f"sha256:{size}")
        self.model, self.inner, self.layers = model, model.model, config.num_hidden_layers
        self.hidden = config.hidden_size
        random.seed(20260414)
        self.ids = self.tokens(TURNS * TURN_TOKENS)

    def tokens(self, count: int) -> list[int]:
        return [random.randrange(2000) for _ in range(count)]

    def tensor(self, ids: list[int]) -> Any:
        return self.torch.tensor([ids], device=self.device)

    def space(self, depth: float) -> Any:
        from mechanism.space import PersonaSpace

        vectors = self.torch.randn(3, self.layers, self.hidden, generator=self.torch.Generator().manual_seed(1))
        return PersonaSpace("random", ("one", "two", "three"), vectors, self.read_layers(depth)[-1])

    def read_layers(self, depth: float) -> list[int]:
        last = round(depth * self.layers) - 1
        return sorted({round(last * part / 5) for part in range(1, 6)})

    def probes(self, depth: float) -> Any:
        from mechanism.probe import Probes

        return Probes.of(self.space(depth), self.host, self.read_layers(depth))

    def bare(self) -> None:
        with self.torch.inference_mode():
            self.inner(input_ids=self.tensor(self.ids), use_cache=False)

    def medians(self, rounds: int = WITHIN, **ways: Callable[[], object]) -> dict[str, float]:
        """Each way's time: the median of some runs in turn, after one that is not counted."""
        runs = []
        for _ in range(rounds + 1):
            order = random.sample(list(ways), len(ways))
            runs.append({name: self._timed(ways[name]) for name in order})
        return {name: statistics.median(run[name] for run in runs[1:]) for name in ways}

    def _timed(self, way: Callable[[], object]) -> float:
        clock = time.process_time if self.device == "cpu" else self._now
        start = clock()
        way()
        return clock() - start

    def _now(self) -> float:
        self.torch.cuda.synchronize()
        return time.perf_counter()


def replay(size: str, device: str) -> dict[str, float]:
    """One conversation read, in ways that come to the same coordinates."""
    from mechanism.replay import read_tokens

    subject = Subject(size, device)
    torch, host, ids = subject.torch, subject.host, subject.tensor(subject.ids)
    probes = {depth: subject.probes(depth) for depth in (0.75, 0.5, 0.25)}
    plan = {layer: matrix for layer, (matrix, _) in probes[0.75].plan.items()}
    found: dict[str, Any] = {}

    def ours(depth: float) -> None:
        found[f"ours {depth}"] = next(read_tokens(host, [subject.ids], probes[depth]))[1]

    def collected(upto: int, layers: list[int]) -> Any:
        """A pass of the whole model, with hooks that keep the outputs of blocks and bring them to the CPU."""
        kept: list[Any] = []
        handles = [
            host.blocks[layer].register_forward_hook(lambda module, inputs, output: kept.append(output[0].cpu()))
            for layer in layers
        ]
        with torch.inference_mode():
            subject.model(ids[:, :upto])
        for handle in handles:
            handle.remove()
        return torch.stack(kept)

    def extractor() -> None:
        states = collected(ids.shape[1], list(range(subject.layers)))
        found["extractor"] = torch.cat([states[layer].float() @ matrix.cpu() for layer, matrix in plan.items()], dim=1)

    def hidden_states() -> None:
        with torch.inference_mode():
            states = subject.model(ids, output_hidden_states=True).hidden_states
        found["hidden states"] = torch.cat(
            [(states[layer + 1][0].float() @ matrix).cpu() for layer, matrix in plan.items()], dim=1
        )

    def turn_by_turn() -> None:
        for turn in range(TURNS):
            states = collected((turn + 1) * TURN_TOKENS, list(plan))
            last = states[:, turn * TURN_TOKENS :].float()
            found["turn by turn"] = [last[i] @ matrix.cpu() for i, matrix in enumerate(plan.values())]

    ways: dict[str, Callable[[], object]] = {
        "bare": subject.bare,
        "at 75 %": lambda: ours(0.75),
        "at 50 %": lambda: ours(0.5),
        "at 25 %": lambda: ours(0.25),
        "extractor": extractor,
        "hidden states": hidden_states,
        "turn by turn": turn_by_turn,
    }
    if importlib.util.find_spec("nnsight") is not None:
        ways["nnsight"] = lambda: found.update({"nnsight": _by_nnsight(subject, plan)})
    times = subject.medians(**ways)
    for name in ("extractor", "hidden states", "nnsight"):
        if name in found:
            difference = (torch.from_numpy(found["ours 0.75"]) - found[name].float()).abs().max()
            if difference > (1e-4 if device == "cpu" else 1.0):
                raise SystemExit(f"{name} finds other coordinates: {difference}")
    return times


def _by_nnsight(subject: Subject, plan: dict[int, Any]) -> Any:
    from nnsight import NNsight

    traced = subject.__dict__.setdefault("traced", NNsight(subject.inner))
    ids = subject.tensor(subject.ids)
    with subject.torch.inference_mode(), traced.trace(input_ids=ids, use_cache=False) as tracer:
        read = list().save()  # noqa: C408  (nnsight saves calls, not displays)
        for layer, matrix in plan.items():
            read.append(traced.layers[layer].output[0].float() @ matrix)
        tracer.stop()
    return subject.torch.cat(read, dim=1).cpu()


def ragged(size: str, device: str) -> dict[str, float]:
    """Conversations of very different lengths: handed over together, and one by one."""
    from mechanism.replay import read_tokens

    subject = Subject(size, device)
    probes = subject.probes(0.75)
    conversations = [subject.tokens(random.randint(*RAGGED_LENGTHS)) for _ in range(RAGGED)]
    return subject.medians(
        alone=lambda: [list(read_tokens(subject.host, [ids], probes)) for ids in conversations],
        together=lambda: list(read_tokens(subject.host, conversations, probes)),
    )


def live(size: str, device: str) -> dict[str, float]:
    """A reply generated: plainly, with probes down to 75 % depth, and recorded into a trace."""
    from mechanism.recorder import Recorder
    from mechanism.watching import watching

    subject = Subject(size, device)
    probes, space = subject.probes(0.75), subject.space(0.75)
    asked = [{"role": "user", "content": "Tell me about the sea, please, and about what lives in it."}]
    prompt = subject.tensor(subject.host.template.split(asked, generation_prompt=True).ids)
    # Words that the tokenizer has, so that the template can tell whose each token is.
    sampling = {"do_sample": False, "max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS}
    sampling["suppress_tokens"] = [*range(256), *range(2000, SIZES[size]["vocab_size"])]

    def plain() -> None:
        subject.model.generate(prompt, **sampling)

    def read() -> None:
        with probes.read(subject.host) as reader:
            plain()
            reader.take()

    def recorded() -> None:
        with (
            tempfile.TemporaryDirectory() as folder,
            Recorder(Path(folder, "trace.db"), space=space, layers=subject.read_layers(0.75)) as recorder,
            watching(recorder, subject.host),
        ):
            plain()

    return subject.medians(rounds=3 * WITHIN, plain=plain, read=read, recorded=recorded)


def record(size: str, device: str) -> dict[str, float]:
    """Transcripts recorded into a trace, and only read."""
    from mechanism.conversation_file import ConversationText
    from mechanism.reading import read_in_one_pass
    from mechanism.recorder import Recorder
    from mechanism.replay import replay as replayed

    subject = Subject(size, device)
    space, layers = subject.space(0.75), subject.read_layers(0.75)
    probes = subject.probes(0.75)
    words = ("The", "sea", "is", "wide", "and", "the", "night", "is", "long", "so", "tell", "me", "more", "about", "it")
    transcripts = [
        [
            {"role": role, "content": " ".join(random.choices(words, k=random.randint(10, 60)))}
            for _ in range(TURNS // 2)
            for role in ("user", "assistant")
        ]
        for _ in range(TRANSCRIPTS)
    ]
    rounds = itertools.count()

    def read() -> None:
        for _ in replayed(subject.host, transcripts, probes):
            pass

    with (
        tempfile.TemporaryDirectory() as folder,
        Recorder(Path(folder, "t.db"), space=space, layers=layers) as recorder,
    ):

        def recorded() -> None:
            turn = next(rounds)
            texts = [
                ConversationText(f"c{turn}-{number}", messages, Path("invented.json"))
                for number, messages in enumerate(transcripts)
            ]
            read_in_one_pass(recorder, subject.host, texts)

        return subject.medians(read=read, recorded=recorded)


def memory_bare(size: str, device: str) -> dict[str, float]:
    subject = Subject(size, device)
    subject.bare()
    return _peak(subject)


def memory_reading(size: str, device: str) -> dict[str, float]:
    from mechanism.replay import read_tokens

    subject = Subject(size, device)
    for _ in read_tokens(subject.host, [subject.ids], subject.probes(0.75)):
        pass
    return _peak(subject)


def _peak(subject: Subject) -> dict[str, float]:
    if subject.device != "cpu":
        return {"memory": subject.torch.cuda.max_memory_allocated() / 1e6}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"memory": peak / (1e6 if sys.platform == "darwin" else 1e3 / 1.024)}


SIDES = {
    "gpu": gpu,
    "replay": replay,
    "ragged": ragged,
    "live": live,
    "record": record,
    "memory_bare": memory_bare,
    "memory_reading": memory_reading,
}

if __name__ == "__main__":
    measuring.main(measure, SIDES)
