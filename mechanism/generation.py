"""How replies are sampled: transformers' configuration for it, and its randomness from a seed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import GenerationConfig

from mechanism.host import Host
from mechanism.server import Sampling
from traces.errors import TraceError, UnknownNameError, quoted


@contextmanager
def seeded(seed: int | None, device: torch.device) -> Iterator[None]:
    """Sampling from a seed, without touching the caller's own randomness."""
    if seed is None:
        yield
        return
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def generation_config(host: Host, sampling: Sampling) -> GenerationConfig:
    """Transformers' configuration, from what the model ships and what is asked for.

    Raises `TraceError` for parameters that `generate` does not take, or that do not make replies token by token.
    """
    config: GenerationConfig = GenerationConfig.from_model_config(host.model.config)
    shipped: Any = getattr(host.model, "generation_config", None)
    if shipped is not None:
        config = GenerationConfig(**shipped.to_dict())
    for name, value in sampling.parameters.items():
        if name in _ONE_SEQUENCE and value not in (None, _ONE_SEQUENCE[name]):
            found = f"{name} is {quoted(value)}"
            raise TraceError("sampling", found, "what makes one reply, token by token, on a cache that is kept")
    try:
        unused = config.update(**dict(sampling.parameters))
    except ValueError as error:
        raise refused(error) from None
    if unused:
        raise UnknownNameError("sampling", "parameter", next(iter(unused)), _PARAMETERS)
    if sampling.end_ids:
        config.eos_token_id = list(sampling.end_ids)
    # Models just trained are saved without: every token would be processed again for each new one.
    config.use_cache = True
    if config.pad_token_id is None:
        config.pad_token_id = host.tokenizer.pad_token_id if host.tokenizer.pad_token_id is not None else 0
    return config


_ONE_SEQUENCE: dict[str, Any] = {
    "num_beams": 1, "num_return_sequences": 1, "return_dict_in_generate": False, "use_cache": True,
    "prompt_lookup_num_tokens": None, "cache_implementation": None, "eos_token_id": None, "assistant_early_exit": None,
}  # fmt: skip
"""What has one value here, in a session as in a recording of it."""


def refused(error: ValueError) -> TraceError:
    """The error for what transformers refuses."""
    said = " ".join(str(error).split()).rstrip(".")
    return TraceError("sampling", f"transformers refuses it: {said}", "parameters that `generate` takes")


def parameters_of(config: GenerationConfig) -> dict[str, Any]:
    """What a reply was sampled with, where it says more than that nothing was done."""
    told = {name: getattr(config, name, None) for name in _PARAMETERS}
    greedy = not config.do_sample
    return {
        name: value
        for name, value in told.items()
        if value is not None and not (greedy and name in ("temperature", "top_k", "top_p", "min_p"))
    }


_PARAMETERS = ("max_new_tokens", "do_sample", "temperature", "top_k", "top_p", "min_p", "repetition_penalty")
