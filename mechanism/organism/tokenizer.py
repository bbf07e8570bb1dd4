"""The organism's tokeniser: a byte-level BPE with a ChatML template, made from the grammar and the same every time."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from mechanism.organism.grammar import conversation

TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"
PADDING = "<|endoftext|>"
VOCABULARY = 2_200
_CONVERSATIONS = 6_000

CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] | trim + '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
"""ChatML without a default system prompt. Contents are trimmed, so that no token stands astride template and text."""


def make_tokenizer(size: int = VOCABULARY, conversations: int = _CONVERSATIONS) -> PreTrainedTokenizerFast:
    """Learn the tokeniser from chats of the grammar: always from the same ones, so both organisms share it.

    At most `size` tokens: all 256 bytes, three special tokens, and merges.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        _texts(conversations),
        trainers.BpeTrainer(
            vocab_size=size,
            min_frequency=2,
            show_progress=False,
            special_tokens=[PADDING, TURN_START, TURN_END],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=TURN_END,
        pad_token=PADDING,
        additional_special_tokens=[TURN_START],
        model_max_length=2_048,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def rendered(messages: Sequence[Mapping[str, str]], *, generation_prompt: bool = False) -> str:
    """What the chat template writes, without the cost of the template engine.

    >>> rendered([{"role": "user", "content": "Hi."}], generation_prompt=True)
    '<|im_start|>user\\nHi.<|im_end|>\\n<|im_start|>assistant\\n'
    """
    turns = "".join(f"{TURN_START}{m['role']}\n{m['content'].strip()}{TURN_END}\n" for m in messages)
    return turns + (f"{TURN_START}assistant\n" if generation_prompt else "")


def _texts(conversations: int) -> Iterator[str]:
    dice = random.Random(1)
    for _ in range(conversations):
        for message in conversation(dice).messages:
            yield message["content"]
            yield message["role"]
