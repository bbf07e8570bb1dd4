"""Control vectors in GGUF files, as repeng and llama.cpp write them: a tensor `direction.L` for the output of block L.

A reader of what such a file has: header, key-values, plain float tensors (GGUF versions 2 and 3, little-endian).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traces.errors import TraceError, quoted

MAGIC = b"GGUF"

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_F32, _F16, _BF16 = 0, 1, 30
_BYTES = {_F32: 4, _F16: 2, _BF16: 2}
_MOST = 1_000_000


@dataclass(frozen=True)
class ControlVector:
    """What a file holds: its key-values, and a direction (float32 [hidden]) by layer."""

    values: dict[str, Any]
    directions: dict[int, NDArray[np.float32]]


def read_control_vector(path: Path) -> ControlVector:
    """Read a GGUF control vector. Raises `TraceError` for other GGUF files, and for what is cut short or damaged."""
    where, expected = str(path), "a GGUF control vector as repeng writes it"
    data = path.read_bytes()
    try:
        values, tensors, start = _header(data)
        if values.get("general.architecture") != "controlvector":
            found = f"its architecture is {quoted(values.get('general.architecture'))}"
            raise TraceError(where, found, f'{expected}: "controlvector"')
        directions = {}
        for name, (shape, kind, offset) in tensors.items():
            word, _, layer = name.partition(".")
            if word != "direction" or not (layer.isascii() and layer.isdecimal()) or len(shape) != 1:
                raise TraceError(
                    where, f"it has a tensor {quoted(name)} {list(shape)}", "direction.L [width] and no other"
                )
            directions[int(layer)] = _tensor(data, prod(shape), kind, start + offset)
    except (struct.error, ValueError, IndexError, KeyError, RecursionError) as error:
        raise TraceError(where, f"it is cut short or damaged ({error})", expected) from None
    if len({len(direction) for direction in directions.values()}) != 1:
        raise TraceError(where, "its directions have different widths, or there is none", expected)
    return ControlVector(values, directions)


def _header(data: bytes) -> tuple[dict[str, Any], dict[str, tuple[tuple[int, ...], int, int]], int]:
    cursor = _Cursor(data)
    if cursor.take(4) != MAGIC:
        raise ValueError("no GGUF")
    version, count, keys = cursor.number("I"), cursor.number("Q"), cursor.number("Q")
    if version not in (2, 3):
        raise ValueError(f"GGUF version {version}")
    if max(count, keys) > _MOST:
        raise ValueError(f"{max(count, keys)} entries")
    values = {}
    for _ in range(keys):
        name = cursor.string()
        values[name] = cursor.value(cursor.number("I"))
    tensors = {}
    for _ in range(count):
        name = cursor.string()
        # GGUF has the fastest dimension first; a direction has only one.
        shape = tuple(cursor.number("Q") for _ in range(cursor.number("I")))
        tensors[name] = (shape, cursor.number("I"), cursor.number("Q"))
    aligned = int(values.get("general.alignment", 32))
    return values, tensors, -(-cursor.at // aligned) * aligned


def _tensor(data: bytes, size: int, kind: int, at: int) -> NDArray[np.float32]:
    if kind not in _BYTES:
        raise ValueError(f"tensor type {kind}, which is not F32, F16 or BF16")
    raw = data[at : at + size * _BYTES[kind]]
    if len(raw) < size * _BYTES[kind]:
        raise ValueError("tensor data ends early")
    if kind == _BF16:
        return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(raw, "<f4" if kind == _F32 else "<f2").astype(np.float32)


class _Cursor:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, size: int) -> bytes:
        taken = self.data[self.at : self.at + size]
        if len(taken) < size:
            raise ValueError("it ends early")
        self.at += size
        return taken

    def number(self, code: str) -> Any:
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]

    def string(self) -> str:
        return self.take(self.number("Q")).decode("utf-8", errors="replace")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            of, count = self.number("I"), self.number("Q")
            if count > _MOST:
                raise ValueError(f"an array of {count}")
            return [self.value(of) for _ in range(count)]
        return self.number(_SCALARS[kind])
