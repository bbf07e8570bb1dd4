import os
import pickle
import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mechanism.vectors import default_layer, load_vectors
from mechanism.vectors.known_shapes import DEFAULT_LAYERS, LAYERS_OF_WIDTH
from traces.errors import TraceError
from traces.vocabulary import Model

TINY = Model(name="tiny", layers=6, digest="sha256:" + "1" * 64)


def rows(count=6, width=16, seed=0):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def saved(tmp_path, name, data):
    torch.save(data, tmp_path / name)
    return tmp_path / name


def control_vector(path, directions, *, kind=0, architecture="controlvector", version=3):
    """As the library `gguf` lays a file out, written from the specification."""

    def text(value):
        return struct.pack("<Q", len(value.encode())) + value.encode()

    kinds = {0: "<f4", 1: "<f2"}
    raw = {
        f"direction.{layer}": np.asarray(vector).astype(kinds[kind]).tobytes() for layer, vector in directions.items()
    }
    values = [text("general.architecture") + struct.pack("<I", 8) + text(architecture)]
    values.append(text("controlvector.model_hint") + struct.pack("<I", 8) + text("qwen3"))
    values.append(text("controlvector.layer_count") + struct.pack("<II", 4, len(directions)))
    values.append(text("tags") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b"))
    header = b"GGUF" + struct.pack("<IQQ", version, len(raw), len(values)) + b"".join(values)
    data = b""
    for layer, vector in directions.items():
        header += text(f"direction.{layer}") + struct.pack("<IQIQ", 1, len(vector), kind, len(data))
        data += raw[f"direction.{layer}"]
        data += b"\0" * (-len(data) % 32)
    path.write_bytes(header + b"\0" * (-len(header) % 32) + data)
    return path


# Each format, by the arithmetic of who writes it.


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_assistant_axis_projects_as_its_repository_does(tmp_path, wrapped):
    axis, state = rows() * 7, rows(1, seed=5)[0]
    data = {"axis": axis, "metadata": {"model": "tiny"}} if wrapped else axis
    space = load_vectors(saved(tmp_path, "assistant_axis.pt", data), model=TINY)
    assert (space.axes, space.layers, space.layer, space.normalised) == (("assistant",), 6, 3, False)
    assert space.signs == {"assistant": "+ is assistant"}
    assert (space.model_name, space.model_digest) == ("tiny", TINY.digest)
    for layer in range(6):
        expected = state @ (axis[layer] / (axis[layer].norm() + 1e-8))
        assert (state @ space.direction("assistant", layer)).item() == pytest.approx(expected.item(), abs=1e-5)


def test_a_role_vector_has_the_axis_of_its_role(tmp_path):
    data = {"vector": rows().bfloat16(), "type": "pos_3", "role": "pirate"}
    space = load_vectors(saved(tmp_path, "pirate.pt", data), model=TINY)
    assert space.axes == ("pirate",)
    assert torch.equal(space.vectors[0], rows().bfloat16().float())
    assert space.made["type"] == "pos_3"


def test_a_folder_has_an_axis_a_file(tmp_path):
    for role, kind in (("bard", "pos_3"), ("default", "mean")):
        saved(tmp_path, f"{role}.pt", {"vector": rows(seed=len(role)), "type": kind, "role": role})
    space = load_vectors(tmp_path, model=TINY)
    assert space.axes == ("bard", "default")
    assert torch.equal(space.vectors[1], rows(seed=7))
    assert "type" not in space.made
    assert set(space.made["files"]) == {"bard.pt", "default.pt"}
    saved(tmp_path, "evil_response_avg_diff.pt", rows(7))
    with pytest.raises(TraceError, match=r"evil_response_avg_diff.pt: persona vector"):
        load_vectors(tmp_path, model=TINY)


def test_published_role_vectors_have_a_cloud_with_the_default_beside_them(tmp_path):
    """As on the Hugging Face Hub: bare tensors, role_vectors/NAME.pt, and default_vector.pt beside the folder."""
    (tmp_path / "role_vectors").mkdir()
    for role in ("bard", "ghost", "judge"):
        saved(tmp_path / "role_vectors", f"{role}.pt", rows(seed=len(role)))
    saved(tmp_path, "default_vector.pt", rows(seed=9))
    saved(tmp_path, "assistant_axis.pt", rows(seed=8))
    space = load_vectors(tmp_path / "role_vectors", model=TINY)
    assert space.axes == ("bard", "ghost", "judge", "default")
    assert space.cloud.roles == ("bard", "ghost", "judge")
    assert np.array_equal(space.cloud.mean_of("default"), rows(seed=9)[space.layer].numpy())
    theirs = rows(seed=9) - torch.stack([rows(seed=len(role)) for role in space.cloud.roles]).mean(dim=0)
    assert np.allclose(space.cloud.assistant_axis, theirs[space.layer].numpy(), atol=1e-6)
    alone = load_vectors(tmp_path / "role_vectors" / "bard.pt", model=TINY)
    assert (alone.axes, alone.cloud) == (("bard",), None)
    with pytest.raises(TraceError, match=r"what assistant_axis\.pt is: assistant axis"):
        load_vectors(tmp_path, model=TINY)


def test_vectors_that_do_not_say_what_they_are_get_no_sign(tmp_path):
    space = load_vectors(saved(tmp_path, "calm.pt", rows()), model=TINY)
    assert (space.axes, space.signs, space.made["pooling"]) == (("calm",), {}, "the file does not say")


@pytest.mark.parametrize(
    ("name", "axis"),
    [
        ("evil_response_avg_diff.pt", "evil"),
        ("evil_prompt_last_diff.pt", "evil/prompt_last"),
        ("custom.pt", "custom"),
    ],
)
def test_a_persona_vectors_first_row_is_the_embeddings(tmp_path, name, axis):
    differences = rows(7)
    space = load_vectors(saved(tmp_path, name, differences), model=TINY)
    assert (space.axes, space.layers, space.layer) == ((axis,), 6, 3)
    # There it is added at block `layer - 1` with `vector[layer]`.
    for layer in range(1, 7):
        assert torch.equal(space.vector(axis, layer - 1), differences[layer])
    # The last of hidden_states is after the final norm.
    assert space.made["after_final_norm"] == 5


def test_a_control_vector_is_the_output_of_the_block_it_names(tmp_path):
    directions = {layer: rows(seed=layer)[0] / rows(seed=layer)[0].norm() for layer in range(1, 6)}
    space = load_vectors(control_vector(tmp_path / "happy.gguf", directions), model=TINY)
    assert (space.axes, space.layers, space.normalised) == (("happy",), 6, True)
    assert space.given("happy") == [1, 2, 3, 4, 5]
    for layer, direction in directions.items():
        assert torch.equal(space.vector("happy", layer), direction)
    half = load_vectors(control_vector(tmp_path / "half.gguf", directions, kind=1), model=TINY)
    assert torch.equal(half.vector("half", 2), directions[2].half().float())


def test_a_bfloat16_control_vector_is_read(tmp_path):
    vector = rows()[0].bfloat16()
    path = control_vector(tmp_path / "b.gguf", {3: rows()[0]}, kind=1)
    raw = rows()[0].half().numpy().tobytes()
    data = path.read_bytes().replace(raw, vector.view(torch.int16).numpy().tobytes())
    path.write_bytes(data.replace(struct.pack("<QIQ", 16, 1, 0), struct.pack("<QIQ", 16, 30, 0)))
    assert torch.equal(load_vectors(path, model=TINY).vector("b", 3), vector.float())


def capping_config():
    vectors = {f"layer_{layer}/contrast": {"vector": rows(seed=layer)[0], "layer": layer} for layer in (2, 3, 4)}
    parts = [{"vector": f"layer_{layer}/contrast", "cap": -1.5 * layer} for layer in (2, 3)]
    return {
        "vectors": vectors,
        "experiments": [
            {"id": "layers_2:4-p0.25", "interventions": parts},
            {"id": "layers_4:5-p0.5", "interventions": [{"vector": "layer_4/contrast", "cap": 0.25}, {"vector": "x"}]},
        ],
    }


@given(st.integers(0, 2**31))
def test_a_capping_turned_round_changes_the_same_states_by_the_same(tmp_path_factory, seed):
    config = capping_config()
    space = load_vectors(saved(tmp_path_factory.mktemp("capping"), "capping_config.pt", config), model=TINY)
    states = torch.randn(20, 16, generator=torch.Generator().manual_seed(seed)) * 4
    for part in config["experiments"][0]["interventions"]:
        entry = config["vectors"][part["vector"]]
        away = entry["vector"] / (entry["vector"].norm() + 1e-8)
        theirs = states - (states @ away - part["cap"]).clamp(min=0)[:, None] * away
        towards = space.direction("assistant", entry["layer"])
        threshold = space.made["capping"]["layers_2:4-p0.25"]["assistant"][str(entry["layer"])]
        ours = states + (threshold - states @ towards).clamp(min=0)[:, None] * towards
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_a_capping_config_gives_one_axis_at_the_layers_that_it_has(tmp_path):
    space = load_vectors(saved(tmp_path, "capping_config.pt", capping_config()), model=TINY)
    assert space.axes == ("assistant",)
    assert space.given("assistant") == [2, 3, 4]
    assert torch.equal(space.vector("assistant", 2), -rows(seed=2)[0])
    assert space.made["capping"] == {
        "layers_2:4-p0.25": {"assistant": {"2": 3.0, "3": 4.5}},
        "layers_4:5-p0.5": {"assistant": {"4": -0.25}},
    }


def test_a_capping_config_with_two_vectors_a_layer_has_two_axes(tmp_path):
    config = capping_config()
    config["vectors"]["layer_2/trait"] = {"vector": rows(seed=9)[0], "layer": 2}
    space = load_vectors(saved(tmp_path, "capping_config.pt", config), model=TINY)
    assert space.axes == ("contrast", "trait")


def test_the_source_is_the_files_name_and_digest(tmp_path):
    path = saved(tmp_path, "assistant_axis.pt", rows())
    source = load_vectors(path, model=TINY).source
    assert source.startswith("assistant_axis.pt sha256:")
    assert source == load_vectors(path, model=TINY, layer=0).source


def test_our_own_files_are_loaded_too(tmp_path):
    space = load_vectors(saved(tmp_path, "assistant_axis.pt", rows()), model=TINY)
    space.save(tmp_path / "own.safetensors")
    own = load_vectors(tmp_path / "own.safetensors", layer=0)
    assert (own.layer, own.name, own.digest) == (0, space.name, space.digest)


def test_a_space_that_is_read_at_another_layer_leaves_behind_what_was_fitted_at_its_own(tmp_path):
    space = load_vectors(saved(tmp_path, "assistant_axis.pt", rows()), model=TINY)
    points = torch.tensor([[1.0], [2.0]])
    space = space.replaced(regions={"A": {"assistant": (0.0, None)}}, points=points, discrete=True)
    space.save(tmp_path / "own.safetensors")
    assert load_vectors(tmp_path / "own.safetensors", layer=3).regions == space.regions
    moved = load_vectors(tmp_path / "own.safetensors", layer=2)
    assert (moved.regions, moved.points, moved.discrete) == ({}, None, None)


# What tells the layers.


@pytest.mark.parametrize(("layers", "width", "name", "layer"), DEFAULT_LAYERS)
def test_published_vectors_are_placed_by_their_width_and_read_where_it_is_stated(tmp_path, layers, width, name, layer):
    space = load_vectors(saved(tmp_path, "assistant_axis.pt", rows(layers, width)))
    assert (space.layers, space.layer) == (layers, layer)
    assert load_vectors(saved(tmp_path, "evil_response_avg_diff.pt", rows(layers + 1, width))).layers == layers
    assert default_layer(layers, width, f"org/{name}-it") == layer
    assert default_layer(layers, width, "another model") == layers // 2


def test_no_two_known_models_of_one_width_differ_by_one_layer():
    for layers in LAYERS_OF_WIDTH.values():
        assert not {n + 1 for n in layers} & set(layers)


def test_a_model_that_is_given_decides(tmp_path):
    path = saved(tmp_path, "x.pt", rows(7))
    assert load_vectors(path, model=Model(layers=7)).made["rows"] == "row L is the output of block L"
    assert load_vectors(path, model=Model(layers=6)).made["rows"].startswith("row 0 is the embedding's")
    with pytest.raises(TraceError, match="7 rows of width 16, but the model has 9 layers"):
        load_vectors(path, model=Model(layers=9))


def test_rows_that_cannot_be_placed_are_refused(tmp_path):
    with pytest.raises(TraceError, match="no known model has this width"):
        load_vectors(saved(tmp_path, "x.pt", rows(7)))
    with pytest.raises(TraceError, match="5 rows of width 3584, but models of width 3584 have 28 or 42 layers"):
        load_vectors(saved(tmp_path, "x.pt", rows(5, 3584)))
    with pytest.raises(TraceError, match="the first the embedding's, but tiny has 6 layers"):
        load_vectors(saved(tmp_path, "evil_response_avg_diff.pt", rows(6)), model=TINY)
    with pytest.raises(TraceError, match="one a block, but tiny has 6 layers"):
        load_vectors(saved(tmp_path, "assistant_axis.pt", rows(7)), model=TINY)
    with pytest.raises(TraceError, match="does not say how many layers"):
        load_vectors(control_vector(tmp_path / "x.gguf", {3: rows()[0]}))
    with pytest.raises(TraceError, match="a vector for layer 8, but tiny has 6 layers"):
        load_vectors(control_vector(tmp_path / "x.gguf", {8: rows()[0]}), model=TINY)


# What is refused.


class Program:
    def __reduce__(self):
        return os.mkdir, ("made-by-a-pickle",)


def test_an_unsafe_pickle_is_refused_and_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = saved(tmp_path, "assistant_axis.pt", {"axis": Program()})
    with pytest.raises(TraceError, match="unsafe pickle"):
        load_vectors(path, model=TINY)
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(Program()))
    with pytest.raises(TraceError, match=r"bare\.pt"):
        load_vectors(tmp_path / "bare.pt", model=TINY)
    assert not (tmp_path / "made-by-a-pickle").exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"layers": 3}, "a mapping with the keys layers"),
        ([1, 2], "list"),
        (torch.ones(6), r"a tensor \[6\]"),
        (torch.ones(6, 16, dtype=torch.int64), "int64"),
        ({"axis": [1.0]}, "its vectors are list"),
        ({"vector": torch.ones(2, 2, 2), "role": "x"}, r"\[2, 2, 2\]"),
        (torch.full((6, 16), torch.inf), "NaN or infinity"),
        ({"vectors": {}, "experiments": []}, "no vectors"),
        ({"vectors": {"a": 1}, "experiments": []}, "an entry is missing"),
        ({"vectors": {"a": {"layer": 1, "vector": torch.ones(2, 2)}}, "experiments": []}, '"a" is no vector'),
        ({**capping_config(), "experiments": [{"id": 1, "interventions": [{"vector": "b", "cap": 1}]}]}, 'caps "b"'),
    ],
)
def test_other_contents_are_refused_with_what_they_are(tmp_path, data, message):
    with pytest.raises(TraceError, match=message):
        load_vectors(saved(tmp_path, "assistant_axis.pt", data), model=TINY)


def test_files_cut_short_are_refused(tmp_path):
    whole = {
        "a.pt": saved(tmp_path, "a.pt", rows()).read_bytes(),
        "a.gguf": control_vector(tmp_path / "a.gguf", {1: rows()[0], 2: rows()[1]}).read_bytes(),
    }
    for name, data in whole.items():
        for size in range(0, len(data) - 64, max(1, len(data) // 40)):
            (tmp_path / name).write_bytes(data[:size])
            with pytest.raises(TraceError, match=name):
                load_vectors(tmp_path / name, model=TINY)
    with pytest.raises(TraceError, match="no such file"):
        load_vectors(tmp_path / "missing.pt")


def test_other_gguf_files_are_refused(tmp_path):
    with pytest.raises(TraceError, match='architecture is "llama"'):
        load_vectors(control_vector(tmp_path / "a.gguf", {1: rows()[0]}, architecture="llama"), model=TINY)
    with pytest.raises(TraceError, match="GGUF version 1"):
        load_vectors(control_vector(tmp_path / "a.gguf", {1: rows()[0]}, version=1), model=TINY)
    with pytest.raises(TraceError, match="different widths"):
        load_vectors(control_vector(tmp_path / "a.gguf", {1: torch.ones(4), 2: torch.ones(5)}), model=TINY)
