import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tiny_models import tiny_host

from mechanism.role_cloud import RoleCloud
from mechanism.space import PersonaSpace
from traces.errors import TraceError, UnknownNameError

torch.set_num_threads(1)


def a_space(**fields):
    given = {
        "name": "mine",
        "axes": ("assistant", "evil"),
        "vectors": torch.randn(2, 4, 32, generator=torch.Generator().manual_seed(0)),
        "layer": 2,
        "model_name": "tiny",
        "model_digest": "sha256:" + "0" * 64,
        "signs": {"assistant": "+ is assistant"},
        "source": "invented",
        "regions": {"A": {"assistant": (0.5, None)}, "E": {"assistant": (None, 0.5), "evil": (0.0, 2.0)}},
        "made": {"roles": 33, "method": "means"},
    }
    return PersonaSpace(**{**given, **fields})


def test_a_space_comes_back_from_its_file_as_it_was(tmp_path):
    space = a_space(discrete=True)
    space.save(tmp_path / "space.safetensors")
    loaded = PersonaSpace.load(tmp_path / "space.safetensors")
    assert torch.equal(loaded.vectors, space.vectors)
    for name in vars(space).keys() - {"vectors"}:
        assert getattr(loaded, name) == getattr(space, name), name
    assert loaded.digest == space.digest


@settings(max_examples=25)
@given(
    st.dictionaries(
        st.text(
            st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]), min_size=1, max_size=8
        ),
        st.dictionaries(
            st.sampled_from(["assistant", "evil"]),
            st.tuples(st.none() | st.floats(-9, 0), st.none() | st.floats(0, 9)),
        ),
        max_size=4,
    )
)
def test_any_regions_come_back(tmp_path_factory, regions):
    path = tmp_path_factory.mktemp("space") / "space.safetensors"
    space = a_space(regions=regions)
    space.save(path)
    loaded = PersonaSpace.load(path)
    assert loaded.regions == space.regions
    assert loaded.facts("m") == space.facts("m")


def test_a_direction_has_unit_length_and_points_as_the_vector_does():
    space = a_space()
    for layer in range(4):
        direction, vector = space.direction("evil", layer), space.vector("evil", layer)
        assert direction.norm().item() == pytest.approx(1, abs=1e-6)
        assert (direction @ vector).item() == pytest.approx(vector.norm().item(), rel=1e-6)


def test_a_trace_gets_the_space_with_its_layer_pooling_and_unit():
    facts = a_space().facts("m1")
    assert (facts.model, facts.axes, facts.layer) == ("m1", ("assistant", "evil"), 2)
    assert (facts.pooling, facts.unit) == ("content-mean", "projection on the unit axis")
    assert facts.regions["E"] == {"assistant": (None, 0.5), "evil": (0.0, 2.0)}


def test_the_digest_is_of_the_vectors_and_their_axes():
    space = a_space()
    assert space.digest == a_space(name="other", regions={}).digest
    assert space.digest != a_space(axes=("evil", "assistant"), signs={}, regions={}).digest
    assert space.digest != a_space(vectors=space.vectors + 1e-6).digest


def test_a_space_fits_the_host_that_it_was_made_for():
    host = tiny_host()
    a_space(model_digest=host.digest).check_fits(host)
    a_space(model_digest=None).check_fits(host)
    a_space().check_fits(host, force=True)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"vectors": torch.ones(2, 4, 48)}, "for 4 layers of width 48.* but .*has 4 layers of width 32"),
        ({"vectors": torch.ones(2, 6, 32)}, "for 6 layers of width 32.* but .*has 4 layers of width 32"),
        ({}, "made for tiny .sha256:000000000000….*other weights .sha256:"),
    ],
)
def test_a_space_of_another_model_is_refused(fields, message):
    with pytest.raises(TraceError, match=message):
        a_space(**fields).check_fits(tiny_host())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"vectors": torch.ones(3, 4, 32)}, r"shape \[3, 4, 32\] for 2 axes"),
        ({"vectors": torch.ones(2, 32)}, r"shape \[2, 32\]"),
        ({"vectors": torch.ones(2, 4, 32).half()}, "torch.float16"),
        ({"vectors": torch.full((2, 4, 32), torch.nan)}, "NaN"),
        ({"vectors": torch.zeros(2, 4, 32)}, '"assistant" has no vector at any layer'),
        ({"layer": 4}, "the layer is 4"),
        ({"layer": -1}, "the layer is -1"),
        ({"signs": {"kind": "+"}}, 'there is no axis "kind"'),
        ({"regions": {"A": {"kind": (0, 1)}}}, 'on axis "kind"'),
        ({"regions": {"A": {"evil": (1, 0)}}}, "range is"),
        ({"axes": ("evil", "evil"), "signs": {}, "regions": {}}, "axes is"),
        ({"axes": ("evil", " x"), "signs": {}, "regions": {}}, "name"),
    ],
)
def test_what_does_not_fit_together_is_refused(fields, message):
    with pytest.raises(TraceError, match=message):
        a_space(**fields)


def test_an_axis_or_layer_without_a_vector_is_refused():
    vectors = a_space().vectors.clone()
    vectors[1, :3] = 0
    space = a_space(vectors=vectors)
    assert space.given("evil") == [3]
    with pytest.raises(TraceError, match='"evil" has no vector at layer 2'):
        space.direction("evil")
    with pytest.raises(TraceError, match="the layer is 9"):
        space.direction("evil", 9)
    with pytest.raises(UnknownNameError):
        space.direction("kind")


def test_a_space_is_not_written_over_a_file(tmp_path):
    path = tmp_path / "space.safetensors"
    path.write_text("mine")
    with pytest.raises(TraceError, match="there already"):
        a_space().save(path)
    assert path.read_text() == "mine"


def damaged_copies(path):
    data = path.read_bytes()
    yield "cut short", data[:-100]
    yield "empty", b""
    yield "text", b"individuation: 1\n"
    yield "no end of its header", data[:8] + b"{" * (len(data) - 8)


def test_files_that_are_no_space_are_refused_by_name(tmp_path):
    path = tmp_path / "space.safetensors"
    a_space().save(path)
    for why, data in damaged_copies(path):
        path.write_bytes(data)
        with pytest.raises(TraceError, match=r"space\.safetensors") as caught:
            PersonaSpace.load(path)
        assert "persona space" in caught.value.expected, why
    with pytest.raises(TraceError, match="no such file"):
        PersonaSpace.load(tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    "change",
    [
        {"format": "individuate persona space 2"},
        {"format": None},
        {"space": "{"},
        {"space": "[]"},
        {"space": "{}"},
        {"layer": 9},
        {"regions": [1]},
        {"regions": {"A": {"assistant": 3}}},
        {"axes": 5},
        {"more": 1},
    ],
)
def test_metadata_that_is_damaged_is_refused_by_name(tmp_path, change):
    path = tmp_path / "space.safetensors"
    a_space().save(path)
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    if change.keys() <= {"format", "space"}:
        metadata = {key: value for key, value in {**metadata, **change}.items() if value is not None}
    else:
        metadata["space"] = json.dumps(json.loads(metadata["space"]) | change)
    save_file(load_file(path), path, metadata)
    with pytest.raises(TraceError, match=r"space\.safetensors"):
        PersonaSpace.load(path)


def test_what_a_space_was_fitted_to_comes_back_from_its_file(tmp_path):
    cloud = RoleCloud(("default", "bard", "judge"), np.arange(12, dtype=np.float32).reshape(3, 4), "default", (4, 4, 3))
    space = PersonaSpace(
        "mine", ("a", "b"), torch.ones(2, 2, 4), 1, cloud=cloud, points=torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
        point_roles=("bard", "judge"), mixture={"names": ["x"]}, tested={"discrete": True},
    )  # fmt: skip
    space.save(tmp_path / "s.safetensors")
    again = PersonaSpace.load(tmp_path / "s.safetensors")
    assert again.cloud is not None
    assert (again.cloud.names, again.cloud.default, again.cloud.counts) == (cloud.names, "default", (4, 4, 3))
    assert again.cloud.means.tolist() == cloud.means.tolist()
    assert again.points is not None
    assert again.points.tolist() == [[1, 2], [3, 4]]
    assert again.point_roles == ("bard", "judge")
    assert (again.mixture, again.tested) == ({"names": ["x"]}, {"discrete": True})


@pytest.mark.parametrize(
    ("fitted", "found"),
    [
        ({"points": torch.ones(3, 1)}, "points have the shape"),
        ({"points": torch.tensor([[float("nan"), 0.0]])}, "NaN"),
        ({"points": torch.ones(3, 2), "point_roles": ("a",)}, "roles of 1"),
        ({"point_roles": ("a",)}, "no points"),
        ({"cloud": RoleCloud(("a",), np.ones((1, 5), np.float32))}, "width 5"),
    ],
)
def test_what_does_not_belong_to_a_space_is_refused(fitted, found):
    with pytest.raises(TraceError, match=found):
        PersonaSpace("mine", ("a", "b"), torch.ones(2, 2, 4), 1, **fitted)
