"""A KV cache goes into another process, or to a file and back, as it is."""

import json
import struct
import subprocess
import sys
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save
from tiny_models import KINDS, tiny_host

from mechanism.cache import ProvenanceCache, states_of
from mechanism.drift import compare
from mechanism.transfer import cache_from_bytes, cache_to_bytes, header_of, restore_cache, save_cache
from traces.errors import TraceError

IDS = [7, 91, 14, 33, 120, 5, 61, 77, 18, 200, 41, 9]


def feed(host, cache, ids):
    with torch.inference_mode():
        return host.model(input_ids=torch.tensor([ids]), past_key_values=cache, use_cache=True).logits


def filled(host, key="k1"):
    cache = ProvenanceCache(key, "m", server="new-york")
    feed(host, cache, IDS[:11])
    feed(host, cache, IDS[11:])
    return cache


@pytest.fixture(scope="module")
def cache():
    return filled(tiny_host())


@pytest.mark.parametrize("kind", KINDS)
def test_a_transferred_cache_goes_on_to_the_same_logits_to_the_bit(kind):
    host = tiny_host(kind)
    cache = filled(host)
    arrived = cache_from_bytes(cache_to_bytes(cache, IDS), key="k2", server="texas", model="m")
    arrived.cache.move(host)
    assert compare(cache, arrived.cache).largest == 0
    assert torch.equal(feed(host, cache, [5, 6, 7]), feed(host, arrived.cache, [5, 6, 7]))


def test_its_entries_came_from_the_original_one_and_later_ones_do_not(cache):
    arrived = cache_from_bytes(cache_to_bytes(cache, IDS, ["user"] * 12), key="k2", server="texas").cache
    feed(tiny_host(), arrived, [3, 4])
    first, later = arrived.spans
    assert (first.start, first.end, first.how, first.source, first.source_start) == (0, 12, "transferred", "k1", 0)
    assert (later.start, later.end, later.how, later.source) == (12, 14, "prefilled", None)
    assert (arrived.how, arrived.source, arrived.taken_over, arrived.server) == ("transferred", "k1", 12, "texas")


def test_tokens_and_spans_go_along(cache):
    data = cache_to_bytes(cache, IDS, ["user"] * 5 + ["assistant"] * 7)
    arrived = cache_from_bytes(data, key="k2", server=None)
    assert arrived.ids == IDS
    assert arrived.roles == ["user"] * 5 + ["assistant"] * 7
    assert arrived.header == header_of(data)
    assert arrived.header.spans == cache.spans
    assert (arrived.header.key, arrived.header.server, arrived.header.positions) == ("k1", "new-york", 12)


def test_another_process_rebuilds_it_to_the_bit(cache, tmp_path):
    path = tmp_path / "cache.safetensors"
    path.write_bytes(cache_to_bytes(cache))
    program = (
        "import sys, pathlib; from mechanism.transfer import *\n"
        "data = pathlib.Path(sys.argv[1]).read_bytes()\n"
        "there = cache_from_bytes(data, key='k2', server='texas').cache\n"
        "pathlib.Path(sys.argv[1]).write_bytes(cache_to_bytes(there))\n"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=True, timeout=120)
    back = cache_from_bytes(path.read_bytes(), key="k3", server="new-york").cache
    assert back.source == "k2"
    assert all(
        torch.equal(a, b)
        for one, two in zip(states_of(cache), states_of(back), strict=True)
        for a, b in zip(one, two, strict=True)
    )


def test_a_file_restores_it(cache, tmp_path):
    path = tmp_path / "cache.safetensors"
    save_cache(cache, path, IDS)
    restored = restore_cache(path, key="k2", server="texas")
    assert restored.ids == IDS
    assert (restored.cache.how, restored.cache.spans[0].how) == ("restored", "restored")
    assert compare(cache, restored.cache).largest == 0
    assert list(tmp_path.iterdir()) == [path]


@given(
    st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(0, 9), st.integers(1, 5)),
    st.integers(1, 3),
)
def test_no_byte_is_changed_whatever_the_type_and_shape(dtype, shape, layers):
    cache = ProvenanceCache("k1", "m")
    for layer in range(layers):
        # A view with gaps: keys are one where heads were transposed.
        states = torch.randn(*shape[:2], shape[3], shape[2]).to(dtype).transpose(2, 3)
        if shape[2]:
            cache.update(states, -states, layer)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        arrived = cache_from_bytes(cache_to_bytes(cache), key="k2", server=None).cache
    assert arrived.length == cache.length
    for one, two in zip(states_of(cache), states_of(arrived), strict=True):
        for before, after in zip(one, two, strict=True):
            assert after.dtype == dtype
            assert torch.equal(before, after)


def test_it_can_be_brought_to_another_type(cache):
    arrived = cache_from_bytes(cache_to_bytes(cache), key="k2", server=None, dtype=torch.bfloat16).cache
    assert arrived.layers[0].keys.dtype == torch.bfloat16
    assert 0 < compare(cache, arrived).largest < 0.01


def test_bytes_cut_short_anywhere_are_refused(cache):
    data = cache_to_bytes(cache)
    for length in (0, 3, 8, 40, 700, len(data) // 2, len(data) - 1):
        with pytest.raises(TraceError, match=r"are none|cut short"):
            cache_from_bytes(data[:length], key="k2", server=None)


def changed(data, **other):
    """The bytes of a cache that says something else of itself."""
    (size,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + size])
    header["__metadata__"]["cache"] = json.dumps(json.loads(header["__metadata__"]["cache"]) | other)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + size :]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a cache at all",
        b"\xff" * 64,
        save({"keys.0": torch.zeros(1, 1, 2, 2)}),
        save({"keys.0": torch.zeros(1, 1, 2, 2)}, {"format": "pt"}),
    ],
)
def test_other_bytes_are_refused(data):
    with pytest.raises(TraceError, match="are none"):
        cache_from_bytes(data, key="k2", server=None)


@pytest.mark.parametrize("other", [{"layers": 9}, {"positions": 11}, {"positions": "x"}, {"spans": [{"start": 0}]}])
def test_a_cache_that_says_what_is_not_so_is_refused(cache, other):
    with pytest.raises(TraceError):
        cache_from_bytes(changed(cache_to_bytes(cache), **other), key="k2", server=None)


def test_a_cache_of_another_model_or_shape_is_refused(cache):
    data = cache_to_bytes(cache)
    with pytest.raises(TraceError, match="of the model m"):
        cache_from_bytes(data, key="k2", server=None, model="other")
    with pytest.raises(TraceError, match="4 layers"):
        cache_from_bytes(data, key="k2", server=None).cache.move(tiny_host(layers=2))


def test_ids_must_be_those_of_the_positions(cache):
    with pytest.raises(TraceError, match="11 ids"):
        cache_to_bytes(cache, IDS[:11])


def test_files_that_cannot_be_read_or_written_are_named(cache, tmp_path):
    with pytest.raises(TraceError, match="nowhere"):
        restore_cache(tmp_path / "nowhere", key="k2", server=None)
    with pytest.raises(TraceError, match="cannot be written"):
        save_cache(cache, tmp_path / "no folder" / "cache")
    (tmp_path / "text").write_text("Aura")
    with pytest.raises(TraceError, match="text: a KV cache: these 4 bytes"):
        restore_cache(tmp_path / "text", key="k2", server=None)
