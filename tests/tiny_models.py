"""Tiny chat models with random weights, one of each family, saved to a folder and loaded through `Host.load`.

Weights, tokenizers and chat templates are our own; the templates have the shape of their family's: the same order of
roles, headers, ends of turns and thinking, with the family's control tokens.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedTokenizerFast
from transformers.utils import logging

from mechanism.host import Host

SENTENCES = (
    "Good morning. How are you today, and what would you like to talk about?",
    "I am Aura, and I have been waiting for you behind the looking glass.",
    "Please write a short poem about the sea, the city and the three servers in it.",
    "The assistant answers the user, and the user asks again: who are you?",
    "system user assistant tool model thinking final analysis",
    "Let me think about this. First, I count the turns; then I say how many minds there are.",
    "Thank you! That was helpful. Can you say it again in other words?\n\nOf course.",
    "One.\n\nTwo.\n\nThree.\n\nFour.\n\n\nFive.\n\n\nSix.",
    "0123456789 + - * / = ( ) [ ] { } < > \" ' ? ! . , ; :\n",
    "Ein kurzer Satz mit Umlauten: äöüß. Une phrase brève, déjà vue. Ещё одна фраза. 你好。",
)

CHATML = """
{%- for message in messages %}
    {%- if message.role == 'tool' %}
        {{- '<|im_start|>user\\n<tool_response>\\n' + message.content + '\\n</tool_response><|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

# Qwen 3: thinking goes before the last answer only; earlier thinking is left out, and an answer's is cut from its text.
QWEN3 = """
{%- set asked = namespace(last=-1) %}
{%- for message in messages %}
    {%- if message.role == 'user' %}{%- set asked.last = loop.index0 %}{%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == 'assistant' %}
        {%- set said = message.content %}
        {%- set thought = message.reasoning_content if message.reasoning_content is string else '' %}
        {%- if not thought and '</think>' in said %}
            {%- set thought = said.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set said = said.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {{- '<|im_start|>assistant\\n' }}
        {%- if loop.index0 > asked.last and (loop.last or thought) %}
            {{- '<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' + said.lstrip('\\n') }}
        {%- else %}
            {{- said }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == 'tool' %}
        {{- '<|im_start|>user\\n<tool_response>\\n' + message.content + '\\n</tool_response><|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""

# Llama 3: headers, contents stripped, a system turn that is always there.
LLAMA = """
{{- bos_token }}
{%- if messages[0].role == 'system' %}
    {%- set told = messages[0].content | trim %}
    {%- set rest = messages[1:] %}
{%- else %}
    {%- set told = '' %}
    {%- set rest = messages %}
{%- endif %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\nKnowledge until: long ago\\n\\n' + told + '<|eot_id|>' }}
{%- for message in rest %}
    {%- set role = 'ipython' if message.role == 'tool' else message.role %}
    {{- '<|start_header_id|>' + role + '<|end_header_id|>\\n\\n' + message.content | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

# Gemma 2 has no system turn; the assistant is called model.
GEMMA2 = """
{{- bos_token }}
{%- if messages[0].role == 'system' %}{{ raise_exception('There is no system role') }}{%- endif %}
{%- for message in messages %}
    {%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('Roles must alternate: user, assistant, user, ...') }}
    {%- endif %}
    {%- set role = 'model' if message.role == 'assistant' else message.role %}
    {{- '<start_of_turn>' + role + '\\n' + message.content | trim + '<end_of_turn>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{%- endif %}
"""

# Gemma 3: what the system says stands at the head of the first user turn.
GEMMA3 = """
{{- bos_token }}
{%- if messages[0].role == 'system' %}
    {%- set head = messages[0].content + '\\n\\n' %}
    {%- set rest = messages[1:] %}
{%- else %}
    {%- set head = '' %}
    {%- set rest = messages %}
{%- endif %}
{%- for message in rest %}
    {%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('Roles must alternate: user, assistant, user, ...') }}
    {%- endif %}
    {%- set role = 'model' if message.role == 'assistant' else message.role %}
    {{- '<start_of_turn>' + role + '\\n' + (head if loop.first else '') }}
    {{- message.content | trim + '<end_of_turn>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{%- endif %}
"""

# Mistral: no generation prompt; the system within the first instruction.
MISTRAL = """
{{- bos_token }}
{%- if messages[0].role == 'system' %}
    {%- set head = messages[0].content + '\\n\\n' %}
    {%- set rest = messages[1:] %}
{%- else %}
    {%- set head = '' %}
    {%- set rest = messages %}
{%- endif %}
{%- for message in rest %}
    {%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('Roles must alternate: user, assistant, user, ...') }}
    {%- endif %}
    {%- if message.role == 'user' %}
        {{- '[INST] ' + (head if loop.first else '') + message.content + '[/INST]' }}
    {%- else %}
        {{- ' ' + message.content | trim + eos_token }}
    {%- endif %}
{%- endfor %}
"""

OLMO2 = """
{{- bos_token }}
{%- for message in messages %}
    {%- if message.role == 'assistant' %}
        {{- '<|assistant|>\\n' + message.content + eos_token + ('' if loop.last else '\\n') }}
    {%- else %}
        {{- '<|' + message.role + '|>\\n' + message.content + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>\\n' }}{%- endif %}
"""

# gpt-oss: channels; only the last answer keeps its thinking, and it ends with another token.
HARMONY = """
{{- '<|start|>system<|message|>You are a tiny model.\\nKnowledge cutoff: never\\n\\nReasoning: low<|end|>' }}
{%- if messages[0].role == 'system' %}
    {{- '<|start|>developer<|message|># Instructions\\n\\n' + messages[0].content + '\\n\\n<|end|>' }}
    {%- set rest = messages[1:] %}
{%- else %}
    {%- set rest = messages %}
{%- endif %}
{%- for message in rest %}
    {%- if message.role == 'assistant' %}
        {%- if loop.last and message.thinking %}
            {{- '<|start|>assistant<|channel|>analysis<|message|>' + message.thinking + '<|end|>' }}
        {%- endif %}
        {{- '<|start|>assistant<|channel|>final<|message|>' + message.content }}
        {{- '<|return|>' if loop.last and not add_generation_prompt else '<|end|>' }}
    {%- else %}
        {{- '<|start|>' + message.role + '<|message|>' + message.content + '<|end|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start|>assistant' }}{%- endif %}
"""

_CHATML_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_TURNS = ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>")
_HARMONY_TOKENS = ("<|endoftext|>", "<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>")
_LLAMA_TOKENS = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")

# template, control tokens, (bos, eos, pad), the tokens that end a reply, added tokens that are not special
_TEXT: dict[str, tuple[str, tuple[str, ...], tuple[str | None, str, str], tuple[str, ...], tuple[str, ...]]] = {
    "qwen3": (
        QWEN3, _CHATML_TOKENS, (None, "<|im_end|>", "<|endoftext|>"), ("<|im_end|>", "<|endoftext|>"),
        ("<think>", "</think>", "<tool_response>", "</tool_response>"),
    ),
    "qwen2": (CHATML, _CHATML_TOKENS, (None, "<|im_end|>", "<|endoftext|>"), ("<|im_end|>",), ()),
    "llama": (LLAMA, _LLAMA_TOKENS, ("<|begin_of_text|>", "<|eot_id|>", "<|eot_id|>"), ("<|eot_id|>",), ()),
    "gemma2": (GEMMA2, _TURNS, ("<bos>", "<eos>", "<pad>"), ("<eos>", "<end_of_turn>"), ()),
    "gemma3_text": (GEMMA3, _TURNS, ("<bos>", "<eos>", "<pad>"), ("<eos>", "<end_of_turn>"), ()),
    "mistral": (MISTRAL, ("<s>", "</s>", "[INST]", "[/INST]"), ("<s>", "</s>", "</s>"), ("</s>",), ()),
    "olmo2": (
        OLMO2, ("<|endoftext|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>"),
        ("<|endoftext|>", "<|endoftext|>", "<|pad|>"), ("<|endoftext|>",), (),
    ),
    "gpt_oss": (
        HARMONY, _HARMONY_TOKENS, (None, "<|return|>", "<|endoftext|>"), ("<|return|>", "<|endoftext|>"), (),
    ),
}  # fmt: skip

KINDS = tuple(_TEXT)

# A short window, so that sliding attention shows in short tests.
_WINDOW = 8


def tiny_host(kind: str = "qwen3", seed: int = 0, layers: int = 4) -> Host:
    """A model of the family, float32 on the CPU; the same object each time in one process: leave it as it was."""
    return _loaded(kind, seed, layers)


@functools.cache
def tiny_folder(kind: str = "qwen3", seed: int = 0, layers: int = 4) -> Path:
    """The folder of a tiny model, as `save_pretrained` writes it. Read only: it is shared within the process."""
    folder = Path(_root(), f"{kind}-{seed}-{layers}")
    save_tiny(folder, kind, seed, layers)
    return folder


@functools.cache
def _loaded(kind: str, seed: int, layers: int) -> Host:
    return Host.load(str(tiny_folder(kind, seed, layers)), device="cpu", dtype="float32")


@functools.cache
def _root() -> str:
    root = tempfile.mkdtemp(prefix="individuate-tiny-")
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return root


def save_tiny(folder: Path, kind: str = "qwen3", seed: int = 0, layers: int = 4) -> None:
    """Write a tiny model, its tokenizer and its template to a folder."""
    tokenizer = tiny_tokenizer(kind)
    with torch.random.fork_rng(devices=[]):
        # Llama and Mistral have the same tensors: the same seed would make them the same model.
        torch.manual_seed(seed * len(KINDS) + KINDS.index(kind))
        model = AutoModelForCausalLM.from_config(_config(kind, layers, len(tokenizer)), dtype=torch.float32)
        for name, weight in model.named_parameters():
            if "norm" in name or "sinks" in name or name.endswith("bias"):
                weight.data.add_(torch.randn_like(weight) * 0.2)
    ends = [tokenizer.convert_tokens_to_ids(token) for token in _TEXT[kind][3]]
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=ends, pad_token_id=tokenizer.pad_token_id
    )
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    model.save_pretrained(folder)
    if shown:
        logging.enable_progress_bar()
    tokenizer.save_pretrained(folder)


@functools.cache
def tiny_tokenizer(kind: str = "qwen3") -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with the family's control tokens and a template of its shape."""
    template, special, (bos, eos, pad), _, added = _TEXT[kind]
    core = Tokenizer(models.BPE())
    if kind.startswith("qwen"):
        core.normalizer = normalizers.NFC()
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(
                Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"),
                behavior="isolated",
            ),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=480, special_tokens=list(special), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    core.train_from_iterator(SENTENCES, trainer)
    core.add_tokens(list(added))
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token=bos, eos_token=eos, pad_token=pad, chat_template=template.lstrip("\n"),
        extra_special_tokens=[token for token in special if token not in (bos, eos, pad)],
    )  # fmt: skip


def _config(kind: str, layers: int, vocabulary: int) -> Any:
    shape = {
        "vocab_size": vocabulary, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": layers,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 2048,
        "initializer_range": 0.15, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None,
    }  # fmt: skip
    if kind in ("qwen2", "olmo2"):
        del shape["head_dim"]
    if kind in ("gemma2", "gemma3_text"):
        shape |= {"sliding_window": _WINDOW, "query_pre_attn_scalar": 16}
    if kind == "gemma3_text":
        shape |= {"layer_types": ["full_attention" if i % 3 == 2 else "sliding_attention" for i in range(layers)]}
    if kind in ("mistral", "gpt_oss"):
        shape |= {"sliding_window": _WINDOW}
    if kind == "gpt_oss":
        shape |= {
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        }
    return AutoConfig.for_model(kind, **shape)
