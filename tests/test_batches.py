"""Rows share a pass as far as memory goes, and no further."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import tiny_host

from mechanism.batches import TOGETHER, fitting, kv_bytes, rows_together
from mechanism.cache import copies_of

BYTES = st.integers(0, 2**45)


@given(BYTES, st.integers(1, 2**40), st.integers(1, 100))
def test_rows_take_half_of_what_is_free_and_are_one_at_least(free, row, most):
    rows = fitting(free, row, most)
    assert 1 <= rows <= most
    assert rows == 1 or rows * row * 2 <= free
    assert rows == most or (rows + 1) * row * 2 > free


@given(BYTES, BYTES, st.integers(1, 2**40), st.integers(1, 2**40))
def test_more_memory_and_smaller_rows_make_no_fewer(free, more, row, larger):
    assert fitting(free + more, row) >= fitting(free, row) >= fitting(free, row + larger)


def test_where_free_memory_is_not_known_all_go_together():
    assert fitting(None, 2**60) == TOGETHER


@pytest.mark.parametrize("kind", ["qwen3", "gemma2"])
def test_keys_and_values_take_as_many_bytes_as_are_reckoned(kind):
    host = tiny_host(kind)
    with torch.inference_mode():
        cache = host.model(input_ids=torch.tensor([[1, 2, 3, 4, 5]]), use_cache=True).past_key_values
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in copies_of(cache, 3).layers)
    assert held == 3 * kv_bytes(host.layers, host.kv_heads, host.head_dim, host.dtype.itemsize, 5)


def test_a_batch_is_cut_to_memory(monkeypatch):
    host = tiny_host("qwen3")
    found = []
    for free in (0, 2**22, 2**24, 2**26, 2**40):
        monkeypatch.setattr("mechanism.device.free_bytes", lambda _device, free=free: free)
        found.append(rows_together(host, 1000, 100))
        assert rows_together(host, 2000, 100) <= found[-1]
        assert rows_together(host, 1000, 1000) <= found[-1]
        assert rows_together(host, 1000, 100, 3) == min(3, found[-1])
    assert found == sorted(found)
    assert (found[0], found[-1]) == (1, TOGETHER)
    assert 1 < found[2] < TOGETHER
