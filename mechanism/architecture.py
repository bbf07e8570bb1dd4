"""Where a decoder-only transformer keeps its parts: one table from architecture to module names, checked at load.

>>> ARCHITECTURES["olmo2"].input_norm is None  # OLMo 2 normalises after attention, not before
True
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from torch import Tensor, nn

from traces.errors import TraceError


@dataclass(frozen=True)
class Architecture:
    """Names of the parts of one architecture. `inner` and `blocks` are paths from the model; the rest are relative.

    `inner` is the model without its head; `embedding` and `final_norm` are within it; `attention` and `input_norm`
    are within a block; `query`, `key`, `value`, `query_norm` and `key_norm` within its attention. `input_norm` is None
    where attention reads the residual stream as it is, `key_norm` where keys are not normalised. `key_norm_per_head`:
    the norm is over each head's dimensions (Qwen 3, Gemma 3), not over all heads at once (OLMo 2). `multimodal`: the
    model is the text part of one that also sees.
    """

    model_type: str
    inner: str = "model"
    blocks: str = "model.layers"
    embedding: str = "embed_tokens"
    final_norm: str = "norm"
    attention: str = "self_attn"
    input_norm: str | None = "input_layernorm"
    query: str = "q_proj"
    key: str = "k_proj"
    value: str = "v_proj"
    query_norm: str | None = None
    key_norm: str | None = None
    key_norm_per_head: bool = True
    multimodal: bool = False


class LayerParts(NamedTuple):
    """The modules of one block that make its keys and values from the residual stream."""

    input_norm: nn.Module | None
    k_proj: nn.Module
    v_proj: nn.Module
    k_norm: nn.Module | None
    attention: nn.Module


_LLAMA = Architecture("llama")
_NORMED = replace(_LLAMA, query_norm="q_norm", key_norm="k_norm")

ARCHITECTURES: dict[str, Architecture] = {
    architecture.model_type: architecture
    for architecture in (
        _LLAMA,
        *(replace(_LLAMA, model_type=name) for name in ("mistral", "qwen2", "gemma", "gemma2", "gpt_oss", "mixtral")),
        *(replace(_NORMED, model_type=name) for name in ("qwen3", "qwen3_moe", "gemma3_text")),
        replace(_NORMED, model_type="olmo2", input_norm=None, key_norm_per_head=False),
        replace(_NORMED, model_type="olmo3", input_norm=None, key_norm_per_head=False),
        replace(
            _NORMED, model_type="gemma3", inner="model.language_model", blocks="model.language_model.layers",
            multimodal=True,
        ),
        replace(
            _LLAMA, model_type="mistral3", inner="model.language_model", blocks="model.language_model.layers",
            multimodal=True,
        ),
    )
}  # fmt: skip
"""By `config.model_type`. Other types are taken to be laid out like Llama, if that turns out to be so."""


def architecture_of(model: nn.Module) -> Architecture:
    """The architecture of a model, each of its parts found and its blocks counted.

    Raises `TraceError` naming the first part that is not where it should be.
    """
    config: Any = getattr(model, "config", None)
    model_type = str(getattr(config, "model_type", type(model).__name__))
    architecture = ARCHITECTURES.get(model_type)
    layouts = [architecture] if architecture else [replace(_NORMED, model_type=model_type), _like_llama(model_type)]
    for known in layouts:
        missing = _missing(model, known)
        if not missing:
            _check_count(model, known)
            return known
    raise TraceError(
        f'architecture "{model_type}"',
        f"the model has no {missing}",
        f"a decoder-only model of a known architecture ({', '.join(sorted(ARCHITECTURES))}) or one laid out like Llama",
    )


def _like_llama(model_type: str) -> Architecture:
    return replace(_LLAMA, model_type=model_type)


def _missing(model: nn.Module, architecture: Architecture) -> str | None:
    for path in (architecture.inner, architecture.blocks):
        if part(model, path) is None:
            return path
    blocks = blocks_of(model, architecture)
    if not blocks:
        return f"{architecture.blocks}.0"
    inner = part(model, architecture.inner)
    for needed in (architecture.embedding, architecture.final_norm):
        if part(inner, needed) is None:
            return f"{architecture.inner}.{needed}"
    if architecture.input_norm and part(blocks[0], architecture.input_norm) is None:
        return f"{architecture.blocks}.0.{architecture.input_norm}"
    attention = part(blocks[0], architecture.attention)
    within = (
        architecture.query, architecture.key, architecture.value, architecture.query_norm, architecture.key_norm,
    )  # fmt: skip
    for name in within:
        if name and (attention is None or part(attention, name) is None):
            return f"{architecture.blocks}.0.{architecture.attention}.{name}"
    return None


def _check_count(model: nn.Module, architecture: Architecture) -> None:
    found = len(blocks_of(model, architecture))
    expected = getattr(text_config(model), "num_hidden_layers", found)
    if found != expected:
        raise TraceError(
            f'architecture "{architecture.model_type}"',
            f"{architecture.blocks} has {found} blocks, and the config says {expected}",
            "as many blocks as num_hidden_layers",
        )


def part(module: nn.Module | None, path: str) -> nn.Module | None:
    """The module at a dotted path, or None."""
    for name in path.split("."):
        found = getattr(module, name, None)
        if not isinstance(found, nn.Module):
            return None
        module = found
    return module


def blocks_of(model: nn.Module, architecture: Architecture) -> list[nn.Module]:
    """The decoder blocks, first to last."""
    blocks = part(model, architecture.blocks)
    return list(blocks.children()) if isinstance(blocks, nn.ModuleList) else []


def layer_parts(block: nn.Module, architecture: Architecture) -> LayerParts:
    """The modules of a block that make its keys and values."""
    attention = part(block, architecture.attention)
    key, value = part(attention, architecture.key), part(attention, architecture.value)
    if attention is None or key is None or value is None:
        raise TraceError(
            f'architecture "{architecture.model_type}"',
            f"a block has no {architecture.attention} with {architecture.key} and {architecture.value}",
            "blocks of one shape throughout",
        )
    return LayerParts(
        part(block, architecture.input_norm) if architecture.input_norm else None,
        key,
        value,
        part(attention, architecture.key_norm) if architecture.key_norm else None,
        attention,
    )


def text_config(model: nn.Module) -> Any:
    """The config of a model's text part: its own, or that within the config of a model that also sees."""
    config: Any = model.config
    return config.get_text_config(decoder=True)


def block_output(output: Tensor | tuple[Any, ...]) -> Tensor:
    """The residual stream (batch, positions, hidden) in what a block gives back: a bare tensor, or first of a tuple.

    >>> import torch
    >>> block_output((torch.zeros(1, 2, 3), None)).shape
    torch.Size([1, 2, 3])
    """
    return output if isinstance(output, Tensor) else output[0]


def with_block_output(output: Tensor | tuple[Any, ...], hidden: Tensor) -> Tensor | tuple[Any, ...]:
    """What a block gives back, with another residual stream in it, in the same form."""
    return hidden if isinstance(output, Tensor) else (hidden, *output[1:])
