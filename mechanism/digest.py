"""The digest of a model's weights, which is its identity (semantics.md §2): the same tensors, the same digest.

SHA-256 over one line a tensor, in the order of names: name, dtype, shape, and the SHA-256 of its bytes. So it does not
depend on how a checkpoint is cut into files, nor on whether they are safetensors or pickles. Files are read in pieces
and never all at once; what was computed for large files is remembered.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from traces.errors import TraceError

_PIECE = 1 << 24
_LONGEST_HEADER = 1 << 28
_REMEMBERED_FROM = 1 << 26
_PREFIX = "sha256:"

# As safetensors names them.
_DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2", torch.int64: "I64", torch.int32: "I32",
    torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
FLOATING = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
"""Bytes an element of the dtypes that a model's dtype replaces."""


class StoredTensor(NamedTuple):
    """One tensor in a safetensors file: where its bytes are, and what they mean."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    path: Path
    start: int
    size: int


def weight_files(folder: Path) -> list[Path]:
    """The files that a model in a folder is loaded from, in the order in which transformers looks for them.

    Raises `TraceError` where there are none, or one of them is missing.
    """
    for whole, index in (
        ("model.safetensors", "model.safetensors.index.json"),
        ("pytorch_model.bin", "pytorch_model.bin.index.json"),
        ("adapter_model.safetensors", None),
        ("adapter_model.bin", None),
    ):
        if (folder / whole).is_file():
            return [folder / whole]
        if index and (folder / index).is_file():
            return _shards(folder, index)
    raise TraceError(
        str(folder),
        "there are no weights in it",
        "model.safetensors, model.safetensors.index.json with its shards, or pytorch_model.bin",
    )


def _shards(folder: Path, index: str) -> list[Path]:
    try:
        names = sorted(set(json.loads((folder / index).read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TraceError(str(folder / index), "it is not an index of weights", 'JSON with a "weight_map"') from error
    for name in names:
        if not (folder / name).is_file():
            raise TraceError(str(folder), f"{name} is missing", f"all {len(names)} files that {index} names")
    return [folder / name for name in names]


def stored_tensors(path: Path) -> list[StoredTensor]:
    """What a safetensors file holds, from its header alone.

    Raises `TraceError` for a file that is truncated or something else.
    """
    wrong = TraceError(str(path), "it is not a whole safetensors file", "the file as it was saved; download it again")
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(size - 8, _LONGEST_HEADER):
            raise wrong
        try:
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            found = [
                StoredTensor(
                    name, entry["dtype"], tuple(entry["shape"]), path, 8 + length + entry["data_offsets"][0],
                    entry["data_offsets"][1] - entry["data_offsets"][0],
                )
                for name, entry in header.items()
            ]  # fmt: skip
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise wrong from error
    if any(tensor.size < 0 or tensor.start + tensor.size > size for tensor in found):
        raise wrong
    return found


def digest_of_folder(folder: Path, *, remember_from: int = _REMEMBERED_FROM) -> str:
    """`sha256:<hex>` of the weights in a folder. From `remember_from` bytes on, it is computed once.

    Raises `TraceError` for weights that are missing, truncated, or a pickle that could run code.
    """
    files = weight_files(folder)
    if sum(path.stat().st_size for path in files) < remember_from:
        return _digest_of_files(files)
    key = [[str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns] for path in files]
    remembered = cache_folder() / "digests" / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()}.json"
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        found = json.loads(remembered.read_text(encoding="utf-8"))
        if found["files"] == key and str(found["digest"]).startswith(_PREFIX):
            return str(found["digest"])
    digest = _digest_of_files(files)
    # A cache that cannot be written costs time, nothing else.
    with contextlib.suppress(OSError):
        remembered.parent.mkdir(parents=True, exist_ok=True)
        written = remembered.with_suffix(f".{os.getpid()}")
        written.write_text(json.dumps({"files": key, "digest": digest}), encoding="utf-8")
        written.replace(remembered)
    return digest


def _digest_of_files(files: list[Path]) -> str:
    if files[0].suffix == ".safetensors":
        tensors = [tensor for path in files for tensor in stored_tensors(path)]
        return _digest_of_parts((each.name, each.dtype, each.shape, _reading(each)) for each in tensors)
    state: dict[str, Tensor] = {}
    for path in files:
        state |= safe_pickle(path)
    return digest_of_state(state)


def digest_of_state(state: Mapping[str, Tensor]) -> str:
    """`sha256:<hex>` of tensors by name.

    >>> digest_of_state({"w": torch.zeros(2)}) == digest_of_state({"w": torch.zeros(2, dtype=torch.float16)})
    False
    """
    return _digest_of_parts(
        (name, _DTYPES.get(tensor.dtype, str(tensor.dtype)), tuple(tensor.shape), _hashing(tensor))
        for name, tensor in state.items()
    )


def digest_of_adapted(base: str, adapter: str) -> str:
    """The digest of a model with an adapter, from the digests of both."""
    return _PREFIX + hashlib.sha256(f"{base}\n{adapter}\n".encode()).hexdigest()


def safe_pickle(path: Path) -> dict[str, Any]:
    """What a PyTorch file holds, by torch's loader that builds tensors only. Raises `TraceError` for anything else."""
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except Exception as error:  # A damaged or hostile pickle can raise anything.
        raise TraceError(
            str(path),
            f"it is a pickle that is damaged or could run code, and was not loaded ({_first_line(error)})",
            "safetensors, or a pickle of tensors only",
        ) from error
    if not isinstance(loaded, dict):
        raise TraceError(str(path), f"it holds a {type(loaded).__name__}", "tensors by name")
    return loaded


def cache_folder() -> Path:
    """Where this program remembers things: `INDIVIDUATE_CACHE`, or `individuate` in the user's cache folder."""
    if named := os.environ.get("INDIVIDUATE_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "individuate"


_Part = tuple[str, str, tuple[int, ...], Callable[[], str]]


def _digest_of_parts(parts: Iterable[_Part]) -> str:
    ordered = sorted(parts, key=lambda part: part[0])
    # hashlib lets other threads run while it works.
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        hashes = list(pool.map(lambda part: part[3](), ordered))
    whole = hashlib.sha256()
    for (name, dtype, shape, _), of_bytes in zip(ordered, hashes, strict=True):
        whole.update(f"{json.dumps([name, dtype, list(shape)])} {of_bytes}\n".encode())
    return _PREFIX + whole.hexdigest()


def _reading(tensor: StoredTensor) -> Callable[[], str]:
    def read() -> str:
        hashed = hashlib.sha256()
        left = tensor.size
        with tensor.path.open("rb") as file:
            file.seek(tensor.start)
            while left and (piece := file.read(min(left, _PIECE))):
                hashed.update(piece)
                left -= len(piece)
        return hashed.hexdigest()

    return read


def _hashing(tensor: Tensor) -> Callable[[], str]:
    def hash_bytes() -> str:
        flat: Any = tensor.detach().to("cpu").contiguous().reshape(-1)
        return hashlib.sha256(flat.view(torch.uint8).numpy()).hexdigest()

    return hash_bytes


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:80]
