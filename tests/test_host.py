"""Models as they are loaded: architecture, identity, device, and what is refused."""

from __future__ import annotations

import json
import pickle
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import KINDS, save_tiny, tiny_folder, tiny_host, tiny_tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

from individuation.experiments.running import load_host
from mechanism import digest as digests
from mechanism.architecture import ARCHITECTURES, architecture_of
from mechanism.device import check_fits, pick_device, pick_dtype, what_fits
from mechanism.digest import digest_of_folder, weight_files
from mechanism.host import Host, block_output, with_block_output
from traces.errors import TraceError

# peft 0.21 asks transformers in a way that is deprecated, and cannot find a base on the Hub while offline.
PEFT_WARNS = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
EACH_KIND = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def _cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("INDIVIDUATE_CACHE", str(tmp_path / "cache"))


def copy_of(folder, to):
    shutil.copytree(folder, to)
    return to


@EACH_KIND
def test_a_model_of_each_family_says_what_it_is(kind):
    host = tiny_host(kind)
    assert len(host.blocks) == host.layers == 4
    assert (host.hidden, host.kv_heads, host.context) == (32, 2, 2048)
    facts = host.facts()
    assert facts.attention_streams(5) == (4 * 2 * 5, host.head_dim)
    assert (facts.digest, facts.base, facts.dtype) == (host.digest, None, "float32")
    assert not host.model.training
    assert set(host.versions()) == {"torch", "transformers", "python", "device"}


@EACH_KIND
def test_the_cache_has_the_shape_that_the_host_says(kind):
    host = tiny_host(kind)
    with torch.inference_mode():
        cache = host.inner(torch.tensor([[1, 2, 3]]), use_cache=True).past_key_values
    assert cache.layers[0].keys.shape == (1, host.kv_heads, 3, host.head_dim)


@EACH_KIND
def test_blocks_give_the_residual_stream(kind):
    host = tiny_host(kind)
    seen = []
    hook = host.blocks[1].register_forward_hook(lambda module, args, output: seen.append(output))
    with torch.inference_mode():
        states = host.inner(torch.tensor([[1, 2, 3]]), output_hidden_states=True).hidden_states
    hook.remove()
    assert torch.equal(block_output(seen[0]), states[2])
    changed = with_block_output(seen[0], states[0])
    assert type(changed) is type(seen[0])
    assert block_output(changed) is states[0]


@EACH_KIND
def test_the_parts_of_a_block_make_its_keys_and_values(kind):
    host = tiny_host(kind)
    layer = 2
    norm, k_proj, v_proj, k_norm, _ = host.projections(layer)
    with torch.inference_mode():
        ids = torch.tensor([[1, 2, 3]])
        out = host.inner(ids, use_cache=True, output_hidden_states=True)
        stream = out.hidden_states[layer]
        normed = stream if norm is None else norm(stream)
        values = v_proj(normed).view(1, 3, host.kv_heads, host.head_dim).transpose(1, 2)
        assert torch.allclose(values, out.past_key_values.layers[layer].values, atol=1e-5)
        keys = k_proj(normed)
        if k_norm is not None and not host.architecture.key_norm_per_head:
            keys = k_norm(keys)
        keys = keys.view(1, 3, host.kv_heads, host.head_dim)
        if k_norm is not None and host.architecture.key_norm_per_head:
            keys = k_norm(keys)
        # The rotary embedding turns keys, and leaves those at position 0 as they are.
        assert torch.allclose(keys[:, 0], out.past_key_values.layers[layer].keys[:, :, 0], atol=1e-5)
    with pytest.raises(TraceError, match="there is no layer 4"):
        host.projections(4)


def test_the_text_part_of_a_model_that_also_sees_is_found(tmp_path):
    text = json.loads((tiny_folder("gemma3_text") / "config.json").read_text())
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
              "image_size": 28, "patch_size": 14}  # fmt: skip
    config = AutoConfig.for_model("gemma3", text_config=text, vision_config=vision, mm_tokens_per_image=4)
    AutoModelForImageTextToText.from_config(config, dtype=torch.float32).save_pretrained(tmp_path / "sees")
    tiny_tokenizer("gemma3_text").save_pretrained(tmp_path / "sees")
    host = Host.load(tmp_path / "sees", device="cpu")
    assert (host.architecture.model_type, host.layers, host.hidden, host.kv_heads) == ("gemma3", 4, 32, 2)
    with torch.inference_mode():
        made = host.model.generate(torch.tensor([[2, 5, 6]]), max_new_tokens=2, do_sample=False)
    assert made.shape[0] == 1


def test_an_architecture_that_nobody_listed_is_tried_as_llama_is_laid_out():
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(
            "stablelm", vocab_size=64, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=2,
        )
    )  # fmt: skip
    assert "stablelm" not in ARCHITECTURES
    assert architecture_of(model).blocks == "model.layers"


def test_an_architecture_laid_out_otherwise_is_refused_by_its_missing_part():
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model("gpt2", vocab_size=64, n_embd=16, n_layer=1, n_head=2)
    )
    with pytest.raises(TraceError, match=r'architecture "gpt2": the model has no model'):
        architecture_of(model)


def test_blocks_are_counted():
    model = AutoModelForCausalLM.from_pretrained(tiny_folder("qwen3"))
    model.config.num_hidden_layers = 5
    with pytest.raises(TraceError, match="has 4 blocks, and the config says 5"):
        architecture_of(model)


# --- identity


def test_the_digest_is_of_the_tensors_and_not_of_the_files(tmp_path):
    folder = tiny_folder("qwen3")
    whole = digest_of_folder(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(weight_files(tmp_path / "shards")) > 1
    state = load_file(folder / "model.safetensors")
    (tmp_path / "bin").mkdir()
    torch.save(state, tmp_path / "bin" / "pytorch_model.bin")
    host = Host.of(model, tiny_tokenizer("qwen3"), name="mine")
    assert whole == digest_of_folder(tmp_path / "shards") == digest_of_folder(tmp_path / "bin") == host.digest
    assert whole == tiny_host("qwen3").digest
    name = min(state)
    state[name].view(-1)[0] += 1e-6
    torch.save(state, tmp_path / "bin" / "pytorch_model.bin")
    assert digest_of_folder(tmp_path / "bin") != whole


@EACH_KIND
def test_the_digest_of_a_model_at_hand_is_that_of_its_folder(kind):
    host = tiny_host(kind)
    assert Host.of(host.model, host.tokenizer, name="again").digest == host.digest


def test_models_of_other_weights_have_other_digests():
    digests_of = {tiny_host(kind).digest for kind in KINDS} | {tiny_host("qwen3", seed=1).digest}
    assert len(digests_of) == len(KINDS) + 1


def test_a_digest_is_computed_once_for_the_same_files(tmp_path, monkeypatch):
    folder = copy_of(tiny_folder("qwen3"), tmp_path / "model")
    first = digest_of_folder(folder, remember_from=0)
    assert len(list((tmp_path / "cache" / "digests").glob("*.json"))) == 1
    computed = []
    real = digests._digest_of_files
    monkeypatch.setattr(digests, "_digest_of_files", lambda files: computed.append(files) or real(files))
    assert digest_of_folder(folder, remember_from=0) == first
    assert not computed
    (folder / "model.safetensors").touch()
    assert digest_of_folder(folder, remember_from=0) == first
    assert len(computed) == 1


def test_a_cache_that_cannot_be_written_or_read_is_done_without(tmp_path, monkeypatch):
    folder = tiny_folder("qwen3")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("INDIVIDUATE_CACHE", str(tmp_path / "file"))
    first = digest_of_folder(folder, remember_from=0)
    monkeypatch.setenv("INDIVIDUATE_CACHE", str(tmp_path / "cache"))
    assert digest_of_folder(folder, remember_from=0) == first
    for remembered in (tmp_path / "cache" / "digests").iterdir():
        remembered.write_text("[]")
    assert digest_of_folder(folder, remember_from=0) == first


# --- adapters


def lora(folder, tmp_path, name="lora", alpha=8, base=None):
    import peft

    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = peft.LoraConfig(r=2, lora_alpha=alpha, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM",
                                 init_lora_weights=False)  # fmt: skip
        adapted = peft.get_peft_model(model, config)
    adapted.save_pretrained(tmp_path / name)
    path = tmp_path / name / "adapter_config.json"
    said = json.loads(path.read_text()) | {"base_model_name_or_path": str(folder) if base is None else base}
    path.write_text(json.dumps(said))
    return tmp_path / name


@PEFT_WARNS
def test_an_adapter_makes_another_model_with_a_base(tmp_path):
    folder = tiny_folder("qwen3")
    plain, adapter = tiny_host("qwen3"), lora(folder, tmp_path)
    host = Host.load(folder, device="cpu", adapter=adapter)
    assert (host.base, host.facts().base) == (plain.digest, plain.digest)
    assert host.digest != plain.digest
    assert host.name.endswith("+lora")
    ids = torch.tensor([[5, 6, 7]])
    with torch.inference_mode():
        assert not torch.allclose(host.model(ids).logits, plain.model(ids).logits)
        host.projections(0).v_proj(torch.zeros(1, 1, host.hidden))
    found = Host.load(adapter, device="cpu")
    assert (found.digest, found.base) == (host.digest, host.base)
    louder = Host.load(folder, device="cpu", adapter=lora(folder, tmp_path, "louder", alpha=16))
    assert louder.digest != host.digest


@PEFT_WARNS
def test_an_adapter_without_its_base_is_refused(tmp_path):
    folder = tiny_folder("qwen3")
    with pytest.raises(TraceError, match=r"base .* is not there"):
        Host.load(lora(folder, tmp_path, base=str(tmp_path / "gone")))
    with pytest.raises(TraceError, match="does not name its base"):
        Host.load(lora(folder, tmp_path, "nameless", base=""))
    with pytest.raises(TraceError, match=r"no adapter_config\.json"):
        Host.load(folder, adapter=folder)
    with pytest.raises(TraceError, match="does not fit the base"):
        Host.load(tiny_folder("llama", layers=2), device="cpu", adapter=lora(tiny_folder("gpt_oss"), tmp_path, "other"))
    other = lora(folder, tmp_path, "prompt")
    (other / "adapter_config.json").write_text(
        json.dumps({"peft_type": "PROMPT_TUNING", "base_model_name_or_path": "x"})
    )
    with pytest.raises(TraceError, match="PROMPT_TUNING"):
        Host.load(other)


# --- what is refused


class Malice:
    def __reduce__(self):
        import builtins

        return builtins.exec, ("import os; os.environ['INDIVIDUATE_MALICE'] = 'done'",)


def as_pickle(folder, content):
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    with (folder / "pytorch_model.bin").open("wb") as file:
        torch.save(state, file) if content is None else file.write(pickle.dumps(content))
    return folder


def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path):
    import os

    folder = as_pickle(copy_of(tiny_folder("qwen3"), tmp_path / "model"), {"w": Malice()})
    with pytest.raises(TraceError, match="could run code, and was not loaded"):
        Host.load(folder, device="cpu")
    assert "INDIVIDUATE_MALICE" not in os.environ
    folder = copy_of(tiny_folder("qwen3"), tmp_path / "zipped")
    (folder / "model.safetensors").unlink()
    torch.save({"w": Malice()}, folder / "pytorch_model.bin")
    with pytest.raises(TraceError, match="could run code, and was not loaded"):
        Host.load(folder, device="cpu")
    assert "INDIVIDUATE_MALICE" not in os.environ


def test_a_pickle_of_tensors_is_loaded(tmp_path):
    folder = as_pickle(copy_of(tiny_folder("qwen3"), tmp_path / "model"), None)
    assert Host.load(folder, device="cpu").digest == tiny_host("qwen3").digest


def broken(tmp_path, name, change):
    folder = copy_of(tiny_folder("qwen3"), tmp_path / name)
    change(folder)
    return folder


def test_a_model_that_is_not_whole_is_refused(tmp_path):
    def truncated(folder):
        content = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(content[: len(content) // 2])

    def short_of_a_tensor(folder):
        state = load_file(folder / "model.safetensors")
        del state["model.layers.1.mlp.up_proj.weight"]
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})

    def without_weights(folder):
        (folder / "model.safetensors").unlink()

    def without_config(folder):
        (folder / "config.json").unlink()

    def without_template(folder):
        (folder / "chat_template.jinja").unlink()

    def short_of_a_shard(folder):
        (folder / "model.safetensors").unlink()
        index = {"weight_map": {"lm_head.weight": "model-00001-of-00002.safetensors"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    def with_nonsense(folder):
        (folder / "config.json").write_text("{")

    for change, match in (
        (truncated, "not a whole safetensors file"),
        (short_of_a_tensor, r"model\.layers\.1\.mlp\.up_proj\.weight is not in the weights"),
        (without_weights, "there are no weights in it"),
        (without_config, r"no config\.json"),
        (without_template, "has no chat template"),
        (short_of_a_shard, "model-00001-of-00002.safetensors is missing"),
        (with_nonsense, "cannot be loaded"),
    ):
        with pytest.raises(TraceError, match=match):
            Host.load(broken(tmp_path, change.__name__, change), device="cpu")


def test_what_is_no_decoder_only_language_model_is_refused(tmp_path):
    for kind, shape in (("t5", {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2}), ("vit", {})):
        AutoConfig.for_model(kind, **shape).save_pretrained(tmp_path / kind)
        with pytest.raises(TraceError, match=f'its architecture is "{kind}"'):
            Host.load(tmp_path / kind, device="cpu")


def test_a_model_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(TraceError, match="there is no such folder"):
        Host.load(tmp_path / "gone")
    with pytest.raises(TraceError, match="nobody/nothing-here: it cannot be loaded"):
        Host.load("nobody/nothing-here")
    (tmp_path / "file").write_text("")
    with pytest.raises(TraceError, match="it is a file"):
        Host.load(tmp_path / "file")


def test_a_conversation_longer_than_the_context_window_is_refused():
    host = tiny_host()
    host.check_length(2048)
    with pytest.raises(TraceError, match=r"conversation 3: it has 2,049 tokens, and qwen3-0-4 reads 2,048"):
        host.check_length(2049, "conversation 3")


def test_devices_and_dtypes_that_are_not_there_are_refused():
    with pytest.raises(TraceError, match="there is no cuda:99 on this machine"):
        pick_device("cuda:99")
    with pytest.raises(TraceError, match='it is "toaster"'):
        pick_device("toaster")
    with pytest.raises(TraceError, match="one of auto, float32"):
        pick_dtype("float3")
    assert pick_device(None).type in ("cpu", "cuda", "mps")


def test_weights_that_do_not_fit_are_refused_before_loading_with_what_would_fit(monkeypatch):
    gib = 1 << 30
    cpu = torch.device("cpu")
    check_fits("m", 10 * gib, torch.float32, cpu, free=12 * gib)
    with pytest.raises(
        TraceError, match=r"need 16\.0 GiB in float32, and cpu has 12\.0 GiB free.\nExpected: .*bfloat16 \(8\.0 GiB\)"
    ):
        check_fits("m", 16 * gib, torch.float32, cpu, free=12 * gib)
    assert "a model of at most" in what_fits(1000 * gib, torch.bfloat16, cpu, 8 * gib)
    monkeypatch.setattr("mechanism.device.free_bytes", lambda device: 1000)
    with pytest.raises(TraceError, match="its weights need"):
        Host.load(tiny_folder("qwen3"), device="cpu")


def test_loading_prints_nothing_and_leaves_the_bars_as_they_were(capfd):
    from transformers.utils import logging

    before = logging.is_progress_bar_enabled(), logging.get_verbosity()
    Host.load(tiny_folder("qwen3"), device="cpu")
    assert capfd.readouterr() == ("", "")
    assert (logging.is_progress_bar_enabled(), logging.get_verbosity()) == before


def test_a_dtype_is_as_asked_for_or_as_stored(tmp_path):
    save_tiny(tmp_path / "model", "qwen3", 0, 1)
    assert Host.load(tmp_path / "model", device="cpu").dtype == torch.float32
    half = Host.load(tmp_path / "model", device="cpu", dtype="bfloat16")
    assert (half.dtype, half.facts().dtype) == (torch.bfloat16, "bfloat16")
    assert half.digest == digest_of_folder(tmp_path / "model")
    assert Host.load(tmp_path / "model", device_map={"": "cpu"}).device == torch.device("cpu")


def test_experiments_and_spaces_ask_for_replies_without_thinking():
    folder = str(tiny_folder("qwen3"))
    assert load_host(folder, device="cpu").template.options == {"enable_thinking": False}
    assert load_host(folder, device="cpu", thinking=True).template.options == {}
    assert load_host(str(tiny_folder("llama")), device="cpu").template.options == {}
