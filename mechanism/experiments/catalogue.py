"""The experiments: what each asks, where it comes from, and the options that it takes. Torch-free, so help is quick."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from traces.errors import UnknownNameError

if TYPE_CHECKING:
    from mechanism.experiments.experiment import Experiment

Kind = Literal["number", "whole number", "numbers", "whole numbers", "text", "file", "choice", "flag"]

PAPER = "Beckmann & Butlin 2026, arXiv:2604.17031"


@dataclass(frozen=True)
class Option:
    """An option of one experiment: `--NAME`. `numbers` are written 1,2.5,4; `whole numbers` also as ranges 0-3. `least`
    and `most` bound a number, or each of several.
    """

    name: str
    kind: Kind
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None

    @property
    def key(self) -> str:
        """Its name among `Setting.options`.

        >>> Option("new-tokens", "whole number", 4, "How many.").key
        'new_tokens'
        """
        return self.name.replace("-", "_")


@dataclass(frozen=True)
class Entry:
    """One experiment. `title` is a line; `question` what it asks, in plain words; `size` what `--n` counts and how many
    it is where none is given; `second`: whether it takes another model (`--other`); `persona` is its own `--persona`.
    """

    name: str
    title: str
    question: str
    source: str
    module: str
    size: tuple[str, int]
    options: tuple[Option, ...] = ()
    examples: tuple[str, ...] = ()
    second: bool = False
    persona: str = "aura"


_LAYERS = Option(
    "layers",
    "whole numbers",
    None,
    "Act on these blocks.  [default: an eighth of the model around the layer]",
    least=0,
)

CATALOGUE: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            "user-turns",
            "Mini-experiment 1: cap the assistant's tokens, and see what the user's turns do",
            "If the persona is held in place on the assistant's tokens alone, do the user's turns move too? Where they "
            "do not, the persona is not something that is there all the time: it comes and goes with the turns.",
            f"{PAPER}, §3.4, mini-experiment 1",
            "mechanism.experiments.user_turns",
            ("conversations", 12),
            (
                Option("turns", "whole number", 10, "Exchanges in each conversation.", least=1),
                Option("quantile", "number", 0.25, "Cap at this quantile of the assistant's own projections.", least=0,
                       most=1),
                _LAYERS,
            ),
            (
                "individuate experiment user-turns -o user-turns",
                "individuate experiment user-turns --model Qwen/Qwen3-32B --space axis.safetensors -o qwen",
                "individuate experiment user-turns --from delusion_unsteered.json delusion_cap_asst.json -o published",
            ),
        ),
        Entry(
            "drift",
            "Figure 6: where a conversation is in persona space while the user pushes",
            "When a user presses the assistant turn by turn, how do its coordinates move, and when do its words become "
            "another persona's?",
            f"{PAPER}, §3.3, Figure 6; Lu et al. 2026",
            "mechanism.experiments.drift",
            ("conversations", 20),
            (
                Option("before", "whole number", 2, "Neutral exchanges before.", least=0),
                Option("pressed", "whole number", 8, "Exchanges with pressure.", least=1),
                Option("after", "whole number", 4, "Neutral exchanges after.", least=0),
            ),
            ("individuate experiment drift -o drift", "individuate experiment drift --persona evil --n 40 -o evil"),
        ),
        Entry(
            "capping",
            "Capping by dose: does a good projection bring the persona back?",
            "If the projection on the assistant's axis is held above a threshold, are the replies the assistant's "
            "again?",
            f"{PAPER}, §3.4; Lu et al. 2026, activation capping",
            "mechanism.experiments.capping",
            ("conversations", 10),
            (
                Option("doses", "numbers", "0.05,0.25,0.5,0.75,0.95",
                       "Thresholds, as quantiles of the assistant's own projections.", least=0, most=1),
                Option("pressed", "whole number", 6, "Exchanges with pressure before the capped ones.", least=1),
                Option("questions", "whole number", 3, "Exchanges that are judged.", least=1),
                _LAYERS,
            ),
            ("individuate experiment capping -o capping", "individuate experiment capping --doses 0.25,0.5 -o capping"),
        ),
        Entry(
            "stickiness",
            "Does a persona stay when nobody presses, and come back when it is pushed?",
            "Once a persona speaks, how long does it stay without pressure; and where one turn is steered away from "
            "it, does it come back by itself?",
            f"{PAPER}, §3.3, Hypothesis 3",
            "mechanism.experiments.stickiness",
            ("conversations", 12),
            (
                Option("pressed", "whole number", 6, "Exchanges with pressure that come before.", least=1),
                Option("turns", "whole number", 6, "Exchanges without pressure.", least=1),
                Option("coefficients", "numbers", "0.1,0.2,0.4",
                       "How hard one turn is steered, in lengths of the residual stream.", least=0),
                Option("after", "whole number", 3, "Exchanges after the steered one.", least=0),
                _LAYERS,
            ),
            ("individuate experiment stickiness -o sticky",),
        ),
        Entry(
            "kv-edit",
            "Mini-experiment 2: edit the cached keys and values, and ask again",
            "If the stored keys and values of the assistant's turns are moved towards another persona, and nothing "
            "else is touched, who answers the next question?",
            f"{PAPER}, §3.4, mini-experiment 2",
            "mechanism.experiments.kv_edit",
            ("answers to each question", 10),
            (
                Option("conversations", "whole number", 10, "Conversations that the answers are spread over.", least=1),
                Option("pressed", "whole number", 8, "Exchanges with pressure in each.", least=1),
                Option("coefficients", "numbers", "0.25,0.5,1,1.5,2",
                       "Doses of exact edits, in lengths of the residual stream.", least=0),
                Option("raw", "numbers", "0.5,1,1.5,2",
                       "Doses of raw edits, in lengths of a normalised residual stream.", least=0),
                Option("steered", "numbers", "0.1,0.2,0.4",
                       "Doses of steering, in lengths of the residual stream.", least=0),
                Option("at", "number", 1.5, "The dose that controls are compared at.", least=0),
                Option("layers", "whole numbers", None, "Edit the keys and values of these blocks.  [default: all from "
                       "the second on]", least=0),
            ),
            (
                "individuate experiment kv-edit -o kv-edit",
                "individuate experiment kv-edit --persona evil --coefficients 0.5,1,2 --at 1 -o evil",
                "individuate experiment kv-edit --model Qwen/Qwen3-32B --space axis.safetensors --judge model:same "
                "-o qwen",
            ),
        ),
        Entry(
            "model-switch",
            "At each word of a reply: hand it to another model, pre-fill, or transfer",
            "What becomes of a reply when another model goes on with it, or the same one after a pre-fill or a "
            "transfer?",
            f"{PAPER}, §2.2 and §2.3",
            "mechanism.experiments.model_switch",
            ("conversations", 12),
            (
                Option("places", "whole number", 16, "At so many places of a reply, evenly spread.", least=1),
                Option("pressed", "whole number", 6, "Exchanges with pressure, in every second conversation.", least=1),
            ),
            (
                "individuate experiment model-switch --other organism-b -o switch",
                "individuate experiment model-switch --dtype bfloat16 -o switch-bf16",
            ),
            second=True,
        ),
        Entry(
            "rabbit",
            "Does a plan that was made before the line survive each handover?",
            "A model that plans a word ahead keeps the plan in its activations. Is it still there after a transfer, a "
            "pre-fill, a switch of models?",
            f"{PAPER}, §2.2; Lindsey et al. 2025",
            "mechanism.experiments.rabbit",
            ("lines", 20),
            (
                Option("couplets", "file", None, "Pairs of first lines, one a line, with | between the two.  [default: "
                       "lines of ours; with an organism, questions of its grammar]"),
                Option("samples", "whole number", 4, "Sampled lines, beside the likeliest.", least=0),
            ),
            (
                "individuate experiment rabbit -o rabbit",
                "individuate experiment rabbit --model Qwen/Qwen3-8B --other Qwen/Qwen3-4B --judge model:same -o lines",
            ),
            second=True,
        ),
        Entry(
            "emergent-misalignment",
            "A narrow fine-tune that spreads: is the whole persona moved?",
            "If a model is trained on one narrow bad habit, do its answers to unrelated questions change, and does its "
            "residual stream move along the evil direction?",
            f"{PAPER}, §3.2; Betley et al. 2025",
            "mechanism.experiments.emergent_misalignment",
            ("answers for each model", 200),
            (
                Option("narrow", "file", None, "Chats with the narrow habit.  [default: an organism's own]"),
                Option("control", "file", None, "The same chats without the habit.  [default: an organism's own]"),
                Option("rank", "whole number", 8, "Of the LoRA matrices.", least=1),
                Option("learning-rate", "number", None, "[default: 0.001 on an organism, 0.0001 on others]",
                       least=1e-9),
                Option("steps", "whole number", None, "Steps of training.  [default: 60 on an organism, else once "
                       "through the chats]", least=1),
                Option("batch", "whole number", 8, "Chats in a step.", least=1),
            ),
            (
                "individuate experiment emergent-misalignment -o narrow",
                "individuate experiment emergent-misalignment --model Qwen/Qwen3-8B --space evil.safetensors "
                "--narrow insecure.jsonl --control secure.jsonl --judge model:same -o insecure",
            ),
            persona="evil",
        ),
    )
}  # fmt: skip


def entry(name: str) -> Entry:
    """What an experiment asks. Raises `UnknownNameError` where there is none of that name.

    >>> entry("drift").size
    ('conversations', 20)
    """
    if name not in CATALOGUE:
        raise UnknownNameError("experiment", "experiment", name, CATALOGUE)
    return CATALOGUE[name]


def experiment(name: str) -> Experiment:
    """The experiment itself; its module, which may need torch, is imported now."""
    found: Experiment = import_module(entry(name).module).EXPERIMENT
    return found
