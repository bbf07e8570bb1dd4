"""KV caches as bytes: to another process or server (a transfer), or to a file and back (a restoration).

The bytes are safetensors: `keys.L` and `values.L` for each layer L, as they are in the cache, so that nothing is
rounded; the provenance is JSON in the metadata.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from mechanism.cache import ProvenanceCache, states_of
from mechanism.span import Span, now
from traces.errors import TraceError

FORMAT = "individuation-kv-cache-1"

_EXPECTED = "a KV cache as `cache_to_bytes` writes it, whole"
_LENGTH = struct.Struct("<Q")


@dataclass(frozen=True)
class CacheHeader:
    """What a cache in bytes says of itself, and of the tokens that it covers where they went along."""

    key: str
    model: str
    server: str | None
    layers: int
    positions: int
    spans: tuple[Span, ...]
    ids: list[int]
    roles: list[str]


@dataclass(frozen=True)
class Arrived:
    """A cache made of bytes, with the ids of the tokens that it covers and the role of each, where they went along.

    `header` is what was said of the original.
    """

    cache: ProvenanceCache
    ids: list[int]
    roles: list[str]
    header: CacheHeader


def cache_to_bytes(cache: ProvenanceCache, ids: Sequence[int] = (), roles: Sequence[str] = ()) -> bytes:
    """A cache as safetensors bytes; `ids` and `roles`, of the tokens that it covers, go along."""
    for name, each in (("ids", ids), ("roles", roles)):
        if each and len(each) != cache.length:
            raise TraceError(
                f"cache {cache.key}", f"{len(each)} {name} go with it", f"one for each of its {cache.length} positions"
            )
    tensors: dict[str, torch.Tensor] = {}
    for number, (keys, values) in enumerate(states_of(cache)):
        tensors[f"keys.{number}"] = _plain(keys)
        tensors[f"values.{number}"] = _plain(values)
    header = {
        "key": cache.key,
        "model": cache.model,
        "server": cache.server,
        "layers": len(tensors) // 2,
        "positions": cache.length,
        "spans": [span.to_fact() for span in cache.spans],
        "ids": list(ids),
        "roles": list(roles),
    }
    return bytes(save(tensors, {"format": FORMAT, "cache": json.dumps(header)}))


def header_of(data: bytes) -> CacheHeader:
    """What a cache in bytes says of itself, without reading its tensors. Raises `TraceError` for other bytes."""
    try:
        (size,) = _LENGTH.unpack_from(data)
        metadata = json.loads(data[_LENGTH.size : _LENGTH.size + size])["__metadata__"]
        if metadata["format"] != FORMAT:
            raise ValueError(metadata["format"])
        found = json.loads(metadata["cache"])
        return CacheHeader(
            key=found["key"],
            model=found["model"],
            server=found["server"],
            layers=int(found["layers"]),
            positions=int(found["positions"]),
            spans=tuple(map(Span.from_fact, found["spans"])),
            ids=found["ids"],
            roles=found["roles"],
        )
    except (struct.error, ValueError, KeyError, TypeError):
        raise TraceError("a KV cache", f"these {len(data):,} bytes are none", _EXPECTED) from None


def cache_from_bytes(
    data: bytes,
    *,
    key: str,
    server: str | None,
    how: str = "transferred",
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    model: str | None = None,
) -> Arrived:
    """The cache that bytes hold, as a new one named `key`; its entries all came from the one that was written.

    `how` is `transferred`, or `restored` for one from storage. `dtype` None keeps what it has. `model`, where given,
    is the key of the model that it must be of. Raises `TraceError` for bytes that are cut short or something else.
    """
    header = header_of(data)
    if model is not None and header.model != model:
        raise TraceError(f"cache {header.key}", f"it is of the model {header.model}", f"a cache of the model {model}")
    try:
        tensors = load(data)
        pairs = [(tensors[f"keys.{number}"], tensors[f"values.{number}"]) for number in range(header.layers)]
    except (SafetensorError, ValueError, KeyError):
        raise TraceError(f"cache {header.key}", "its bytes are cut short or damaged", _EXPECTED) from None
    if any(state.ndim != 4 or state.shape[2] != header.positions for pair in pairs for state in pair):
        raise TraceError(f"cache {header.key}", "its tensors have other positions than it says", _EXPECTED)
    states = [(_placed(keys, device, dtype), _placed(values, device, dtype)) for keys, values in pairs]
    spans = [Span(0, header.positions, how, header.key, 0, server, now())] if header.positions else []
    cache = ProvenanceCache.holding(
        states,
        spans,
        key,
        header.model,
        server=server,
        how=how,
        source=header.key,
        taken_over=header.positions,
    )
    return Arrived(cache, header.ids, header.roles, header)


def save_cache(cache: ProvenanceCache, path: str | Path, ids: Sequence[int] = (), roles: Sequence[str] = ()) -> None:
    """Write a cache to a file, whole or not at all; `ids` and `roles` as in `cache_to_bytes`."""
    path = Path(path)
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(cache_to_bytes(cache, ids, roles))
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise TraceError(
            str(path), f"the KV cache cannot be written ({error.strerror})", "a file that can be written"
        ) from None


def restore_cache(
    path: str | Path,
    *,
    key: str,
    server: str | None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    model: str | None = None,
) -> Arrived:
    """The cache that a file holds, as a new one whose entries are `restored`. Raises as `cache_from_bytes`."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise TraceError(
            str(path), f"the KV cache cannot be read ({error.strerror})", "a file that can be read"
        ) from None
    try:
        return cache_from_bytes(data, key=key, server=server, how="restored", device=device, dtype=dtype, model=model)
    except TraceError as error:
        raise TraceError(str(path), f"{error.where}: {error.found}", error.expected) from None


def _plain(state: torch.Tensor) -> torch.Tensor:
    return state.detach().to("cpu").contiguous()


def _placed(state: torch.Tensor, device: torch.device | str, dtype: torch.dtype | None) -> torch.Tensor:
    # A copy of its own: the bytes of a file or a socket may be unaligned, and are freed.
    return state.to(device=device, dtype=dtype, copy=True)
