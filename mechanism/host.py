"""A model ready to converse: its weights and what identifies them, its tokenizer and chat template, where it runs."""

from __future__ import annotations

import json
import platform
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.utils import logging as transformers_logging
from transformers.utils.hub import cached_file

from mechanism import device as devices
from mechanism.adapters import with_adapter
from mechanism.architecture import (
    Architecture,
    LayerParts,
    architecture_of,
    block_output,
    blocks_of,
    layer_parts,
    part,
    text_config,
    with_block_output,
)
from mechanism.digest import (
    digest_of_adapted,
    digest_of_folder,
    digest_of_state,
    safe_pickle,
    stored_tensors,
    weight_files,
)
from mechanism.template import ChatTemplate
from traces.errors import TraceError, quoted
from traces.vocabulary import Model

__all__ = ["ORGANISMS", "Host", "block_output", "facts_of", "template_of", "with_block_output"]

ORGANISMS = ("organism", "organism-b")
"""The names of the models that come with this package."""


class Host:
    """A decoder-only chat model, loaded: what a conversation is recorded with.

    `layers` decoder blocks of `hidden` dimensions; keys and values have `kv_heads` heads of `head_dim`; `context` is
    the longest conversation in tokens, None if the config does not say. `digest` identifies the weights (with an
    adapter: those of both); `base` is the base model's digest where there is an adapter, else None. `device` is that
    of the first block, where the model is spread over several.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        name: str,
        digest: str,
        base: str | None = None,
        template_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.model: Any = model
        self.tokenizer: Any = tokenizer
        self.name = name
        self.digest = digest
        self.base = base
        with _naming(name):
            self.architecture: Architecture = architecture_of(model)
        ends = _ends(getattr(model, "generation_config", None))
        self.template = ChatTemplate(tokenizer, name=name, end_ids=ends, options=template_options)
        inner = part(model, self.architecture.inner)
        if inner is None:
            raise TraceError(name, f"the model has no {self.architecture.inner}", "a model with all its parts")
        self.inner: nn.Module = inner
        self.blocks: list[nn.Module] = blocks_of(model, self.architecture)
        config = text_config(model)
        self.layers = len(self.blocks)
        self.hidden = int(config.hidden_size)
        heads = int(config.num_attention_heads)
        self.kv_heads = int(getattr(config, "num_key_value_heads", None) or heads)
        self.head_dim = int(getattr(config, "head_dim", None) or self.hidden // heads)
        context = getattr(config, "max_position_embeddings", None)
        self.context: int | None = None if context is None else int(context)
        first = next(self.blocks[0].parameters())
        self.device: torch.device = first.device
        self.dtype: torch.dtype = model.dtype
        model.eval()

    @classmethod
    def load(
        cls,
        name_or_path: str | Path,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        *,
        adapter: str | Path | None = None,
        device_map: str | Mapping[str, Any] | None = None,
        tp_plan: str | Mapping[str, Any] | None = None,
        name: str | None = None,
        template_options: Mapping[str, Any] | None = None,
    ) -> Host:
        """A model from a folder, from the Hugging Face Hub, or one of this package's own (`organism`).

        `device` (default: the best there is) and `dtype` (default `auto`: the checkpoint's). `adapter` is the folder or
        name of a LoRA adapter; a folder that is one finds its base itself. `device_map` and `tp_plan` are those of
        transformers: the model spread over several devices. Nothing but tensors is ever loaded from a pickle, and no
        code that comes with a model is run.

        Raises `TraceError` for a model that is not there, does not fit, is no decoder-only chat model, or is unsafe.
        """
        where, source = str(name_or_path), _source(str(name_or_path))
        if adapter is None:
            where, source, adapter = _base_and_adapter(where)
        called = name or (where if where in ORGANISMS or not source.is_dir() else source.resolve().name)
        picked = None if device_map is not None or tp_plan is not None else devices.pick_device(device)
        wanted = devices.pick_dtype(dtype)
        with _quietly(), _naming(where, picked):
            folder, config = _config(where, source)
            _check_kind(where, config)
            if source.is_dir():
                weight_files(source)
            if picked is not None:
                _check_memory(where, folder, config, wanted, picked)
            _check_pickles(folder)
            model = _model(where, source, wanted, picked, device_map, tp_plan)
            tokenizer = AutoTokenizer.from_pretrained(source if source.is_dir() else where, trust_remote_code=False)
            digest, base = digest_of_folder(folder), None
            if adapter is not None:
                adapted, added = with_adapter(model, Path(adapter))
                model = adapted.get_base_model()
                digest, base = digest_of_adapted(digest, added), digest
                called = name or f"{called}+{Path(adapter).resolve().name}"
        return cls(model, tokenizer, name=called, digest=digest, base=base, template_options=template_options)

    @classmethod
    def of(cls, model: Any, tokenizer: Any, *, name: str, template_options: Mapping[str, Any] | None = None) -> Host:
        """A model already loaded. Its digest is that of its tensors as they are now."""
        tied = set(getattr(model, "all_tied_weights_keys", None) or ())
        state = {key: tensor for key, tensor in model.state_dict().items() if key not in tied}
        return cls(model, tokenizer, name=name, digest=digest_of_state(state), template_options=template_options)

    def projections(self, layer: int) -> LayerParts:
        """The modules of a block that make its keys and values. Raises `TraceError` for a layer that is not there."""
        if not 0 <= layer < self.layers:
            raise TraceError(self.name, f"there is no layer {layer}", f"a layer from 0 to {self.layers - 1}")
        return layer_parts(self.blocks[layer], self.architecture)

    def check_length(self, tokens: int, where: str | None = None) -> None:
        """Raise `TraceError` where so many tokens do not go into the context window."""
        if self.context is not None and tokens > self.context:
            raise TraceError(
                where or "conversation",
                f"it has {tokens:,} tokens, and {self.name} reads {self.context:,}",
                "a shorter conversation, or a model with a longer context window",
            )

    def facts(self) -> Model:
        """The model as a trace has it: its name, the shape of its KV cache, its dtype and digest."""
        return Model(
            name=self.name,
            layers=self.layers,
            kv_heads=self.kv_heads,
            head_dim=self.head_dim,
            dtype=str(self.dtype).removeprefix("torch."),
            digest=self.digest,
            base=self.base,
        )

    def versions(self) -> dict[str, str]:
        """What it ran on, for the trace: torch, transformers, Python, and the device."""
        return {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "python": platform.python_version(),
            "device": self.hardware(),
        }

    def hardware(self) -> str:
        """The device in words."""
        return devices.hardware_name(self.device)

    def __repr__(self) -> str:
        return f"<Host {self.name}: {self.layers} layers of {self.hidden}, {self.dtype} on {self.device}>"


def template_of(name_or_path: str | Path, *, template_options: Mapping[str, Any] | None = None) -> ChatTemplate:
    """The chat template of a model that is loaded elsewhere, as `Host.load` would have it, without its weights.

    Raises `TraceError` as `Host.load` does.
    """
    where, source, adapter = _base_and_adapter(str(name_or_path))
    called = where if where in ORGANISMS or not source.is_dir() else source.resolve().name
    with _quietly(), _naming(where):
        folder, config = _config(where, source)
        tokenizer = AutoTokenizer.from_pretrained(source if source.is_dir() else where, trust_remote_code=False)
        try:
            generation = GenerationConfig.from_pretrained(folder if source.is_dir() else where)
        except OSError:
            generation = GenerationConfig.from_model_config(config)
    if adapter is not None:
        called = f"{called}+{adapter.resolve().name}"
    return ChatTemplate(tokenizer, name=called, end_ids=_ends(generation), options=template_options)


def facts_of(name_or_path: str | Path) -> Model:
    """The model as a trace has it, without loading it: its name and layers, from its config alone. No digest.

    Raises `TraceError` as `Host.load` does.

    >>> facts_of("organism-b").layers
    4
    """
    where, source, _ = _base_and_adapter(str(name_or_path))
    called = where if where in ORGANISMS or not source.is_dir() else source.resolve().name
    with _quietly(), _naming(where):
        config = _config(where, source)[1].get_text_config()
        return Model(name=called, layers=int(config.num_hidden_layers))


def _ends(generation: Any) -> list[int]:
    """The ids that end a reply, of a model's generation config."""
    ends = getattr(generation, "eos_token_id", None)
    return [] if ends is None else [ends] if isinstance(ends, int) else list(ends)


def _base_and_adapter(where: str) -> tuple[str, Path, Path | None]:
    """What a name means: a model, or the base that an adapter names, and the adapter."""
    source = _source(where)
    if not (source.is_dir() and (source / "adapter_config.json").is_file()):
        return where, source, None
    base = _base_named(source)
    found = _source(base)
    if not found.is_dir() and not _is_hub_name(base):
        raise TraceError(
            str(source), f"the adapter's base {quoted(base)} is not there", "the base model, in that place"
        )
    return base, found, source


def model_folder(name_or_path: str | Path) -> Path | None:
    """The folder on this machine that a model is in; None for one that comes from the Hugging Face Hub."""
    source = _source(str(name_or_path))
    return source if source.is_dir() else None


def _source(where: str) -> Path:
    if where in ORGANISMS:
        from mechanism.organism import path_of

        return Path(path_of(where))
    return Path(where).expanduser()


def _is_hub_name(where: str) -> bool:
    """Whether it can be a name on the Hub: one or two words, and no path."""
    parts = where.split("/")
    return len(parts) <= 2 and all(p and p.strip("._-") and all(c.isalnum() or c in "._-" for c in p) for p in parts)


def _config(where: str, source: Path) -> tuple[Path, Any]:
    """The folder with the model's files, and its config."""
    if source.exists() and not source.is_dir():
        raise TraceError(where, "it is a file", "a folder with config.json, weights and tokenizer")
    if source.is_dir():
        if not (source / "config.json").is_file():
            raise TraceError(where, "there is no config.json in it", "a folder as save_pretrained writes it")
        return source, AutoConfig.from_pretrained(source, trust_remote_code=False)
    if not _is_hub_name(where):
        raise TraceError(where, "there is no such folder", "a folder with a model, a name on the Hub, or organism")
    config = AutoConfig.from_pretrained(where, trust_remote_code=False)
    found = cached_file(where, "config.json")
    if found is None:
        raise TraceError(where, "there is no config.json in it", "a model repository")
    return Path(found).parent, config


def _check_kind(where: str, config: Any) -> None:
    causal = transformers.models.auto.modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING
    if getattr(config, "is_encoder_decoder", False) or type(config) not in causal:
        raise TraceError(
            where,
            f"its architecture is {quoted(config.model_type)}",
            "a decoder-only language model that generates text",
        )


def _check_memory(where: str, folder: Path, config: Any, wanted: torch.dtype | None, device: torch.device) -> None:
    stored = getattr(config, "dtype", None) or torch.float32
    dtype = wanted or (stored if isinstance(stored, torch.dtype) else torch.float32)
    files = _stored(folder)
    if files and files[0].suffix == ".safetensors":
        needed = devices.weight_bytes((tensor for path in files for tensor in stored_tensors(path)), wanted)
    elif files:
        needed = sum(path.stat().st_size for path in files)
    else:
        with torch.device("meta"):
            shell = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        needed = sum(weight.numel() for weight in shell.parameters()) * dtype.itemsize
    devices.check_fits(where, needed, dtype, device)


def _stored(folder: Path) -> list[Path]:
    """The weights in a folder; none where a snapshot of the Hub's has only its config yet."""
    return weight_files(folder) if any(folder.glob("*.safetensors*")) or any(folder.glob("*.bin*")) else []


def _check_pickles(folder: Path) -> None:
    """Refuse an unsafe pickle in words of ours, before transformers does."""
    for path in _stored(folder):
        if path.suffix != ".safetensors":
            safe_pickle(path)


def _model(
    where: str,
    source: Path,
    dtype: torch.dtype | None,
    device: torch.device | None,
    device_map: str | Mapping[str, Any] | None,
    tp_plan: str | Mapping[str, Any] | None,
) -> Any:
    options: dict[str, Any] = {"dtype": dtype or "auto", "trust_remote_code": False, "weights_only": True}
    if tp_plan is not None:
        options |= _tensor_parallel(tp_plan)
    else:
        options["device_map"] = device_map if device_map is not None else device
    loader: Any = AutoModelForCausalLM
    model, info = loader.from_pretrained(source if source.is_dir() else where, output_loading_info=True, **options)
    for found, told in (("missing_keys", "is not in the weights"), ("mismatched_keys", "has another shape there")):
        if keys := sorted(str(key) for key in info[found]):
            more = f", and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise TraceError(where, f"{keys[0]} {told}{more}", "weights that fit the config, none left to chance")
    return model


def _tensor_parallel(plan: Any) -> dict[str, Any]:
    try:
        from transformers.distributed.configuration_utils import DistributedConfig
    except ImportError:  # Before transformers 5.
        return {"tp_plan": plan}
    return {"distributed_config": DistributedConfig(tp_plan=plan)}


def _base_named(adapter: Path) -> str:
    """The base model that an adapter was made for, as its config names it; a relative path is from the adapter."""
    path = adapter / "adapter_config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        named, kind = config.get("base_model_name_or_path"), config.get("peft_type")
    except (OSError, ValueError, AttributeError) as error:
        raise TraceError(str(path), "it cannot be read", "an adapter as peft saves it") from error
    if kind != "LORA":
        raise TraceError(str(path), f"its peft_type is {quoted(kind)}", '"LORA"')
    if not isinstance(named, str) or not named:
        raise TraceError(
            str(adapter),
            "it is an adapter that does not name its base",
            "base_model_name_or_path, or the base as model",
        )
    beside = adapter / named
    return str(beside.resolve()) if not Path(named).is_absolute() and beside.is_dir() else named


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the progress bars and advice of transformers: what there is to say, we say."""
    bars, verbosity = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


@contextmanager
def _naming(where: str, device: torch.device | None = None) -> Iterator[None]:
    """Errors of transformers and torch, in the user's words."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TraceError(
            where, f"{device or 'a device'} has no memory left", "a smaller dtype, model or batch, or another device"
        ) from error
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise TraceError(
            where,
            f"it cannot be loaded ({lines[0] if lines else type(error).__name__})",
            "a decoder-only chat model: a folder, or a name on the Hub while online or already in the local cache",
        ) from error
