"""LoRA adapters on a model (Hu et al. 2021), as peft saves them: put into its layers, for good or for a while."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers.utils.hub import cached_file

from mechanism.digest import digest_of_adapted, digest_of_folder, safe_pickle, stored_tensors, weight_files
from traces.errors import TraceError, quoted

if TYPE_CHECKING:
    from mechanism.host import Host

CONFIG = "adapter_config.json"

_SCALING = ("alpha_pattern", "lora_alpha", "r", "rank_pattern", "use_dora", "use_rslora")


def with_adapter(model: Any, adapter: Path) -> tuple[Any, str]:
    """A peft model: the model with a LoRA adapter put into its layers, in place. And what tells the adapter apart.

    Raises `TraceError` for what is no LoRA adapter, is unsafe, or does not fit.
    """
    import peft

    if not (adapter / CONFIG).is_file():
        found = cached_file(str(adapter), CONFIG) if not adapter.exists() else None
        if found is None:
            raise TraceError(str(adapter), f"there is no {CONFIG} in it", "a LoRA adapter as peft saves it")
        adapter = Path(found).parent
    config = json.loads((adapter / CONFIG).read_text(encoding="utf-8"))
    if config.get("peft_type") != "LORA":
        raise TraceError(str(adapter), f"its peft_type is {quoted(config.get('peft_type'))}", '"LORA"')
    for path in weight_files(adapter):
        if path.suffix != ".safetensors":
            safe_pickle(path)
    digest = digest_of_folder(adapter)
    # What changes a LoRA's effect beside its tensors: rank is in their shapes, the scaling is not.
    scaling = json.dumps({key: config.get(key) for key in _SCALING}, sort_keys=True)
    try:
        with warnings.catch_warnings():
            # What peft and transformers say to each other's authors.
            warnings.simplefilter("ignore")
            adapted = peft.PeftModel.from_pretrained(model, str(adapter))
            placed = set(peft.get_peft_model_state_dict(adapted))
    except (RuntimeError, ValueError, KeyError) as error:
        raise TraceError(str(adapter), "it does not fit the base model", "the base that it was trained on") from error
    # peft leaves out, without a word, what finds no place in the model.
    if astray := sorted(_names_of_tensors(adapter) - placed):
        expected = "the base that it was trained on"
        raise TraceError(str(adapter), f"it does not fit the base model, which has no place for {astray[0]}", expected)
    return adapted, f"{digest} {scaling}"


@contextmanager
def adapted(host: Host, adapter: Path) -> Iterator[Host]:
    """The host with an adapter in its layers, for as long as the context lasts; the base is not loaded twice.

    Meanwhile the host itself is not to be used. The digest is that of the same adapter loaded with `Host.load`.

    Raises `TraceError` as `with_adapter` does.
    """
    from mechanism.host import Host

    changed, added = with_adapter(host.model, adapter)
    try:
        yield Host(
            changed.get_base_model(),
            host.tokenizer,
            name=f"{host.name}+{adapter.resolve().name}",
            digest=digest_of_adapted(host.digest, added),
            base=host.digest,
            template_options=host.template.options,
        )
    finally:
        changed.unload()


def _names_of_tensors(folder: Path) -> set[str]:
    names: set[str] = set()
    for path in weight_files(folder):
        names |= (
            {tensor.name for tensor in stored_tensors(path)}
            if path.suffix == ".safetensors"
            else set(safe_pickle(path))
        )
    return names
