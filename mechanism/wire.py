"""What goes between processes: calls and their answers as JSON, numbers and tensors beside it as the bytes they are.

A frame is a length, JSON, and safetensors bytes. Nothing is pickled, so a frame can carry data and never code. Only the
words listed here can be sent.
"""

from __future__ import annotations

import dataclasses
import json
import socket
import struct
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from safetensors import SafetensorError
from safetensors.torch import load, save

from mechanism.cache_edit import EditReport
from mechanism.drift import Drift
from mechanism.intervention import Intervention
from mechanism.server import CacheState, Fed, Generated, LoadedModel, ModelRequest, Sampling
from mechanism.space import PersonaSpace
from mechanism.span import Span
from traces import vocabulary
from traces.errors import TraceError

_HEADER = struct.Struct("<QQ")
MOST_JSON = 1 << 28
"""Bytes of JSON in a frame; more is no frame of ours."""

_RECORDS = {
    record.__name__: record
    for record in (
        CacheState, Drift, EditReport, Fed, Generated, LoadedModel, ModelRequest, PersonaSpace, Sampling, Span,
    )
}  # fmt: skip
_WORDS = {word.__name__: word for word in (vocabulary.Model, vocabulary.Probe)}
_KIND = "$"


def encode(value: Any) -> bytes:
    """A value as a frame.

    >>> decode(encode({"ids": (1, 2), "readings": np.ones((2, 1), np.float32)}))["readings"].tolist()
    [[1.0], [1.0]]
    """
    tensors: dict[str, torch.Tensor] = {}
    text = json.dumps(_packed(value, tensors), ensure_ascii=False).encode()
    data = save(tensors)
    return b"".join((_HEADER.pack(len(text), len(data)), text, data))


def decode(frame: bytes) -> Any:
    """The value of a frame. Raises `TraceError` for bytes that are none."""
    try:
        size, rest = _HEADER.unpack_from(frame)
        text = bytes(frame[_HEADER.size : _HEADER.size + size])
        data = frame[_HEADER.size + size :]
        if len(data) != rest:
            raise ValueError("cut short")
        return _unpacked(json.loads(text), load(data))
    except (struct.error, ValueError, LookupError, TypeError, AttributeError, RecursionError, SafetensorError) as error:
        raise TraceError("what came from another process", f"it is no frame ({error})", "a frame, whole") from None


def send(connection: socket.socket, value: Any) -> None:
    """Send a value."""
    connection.sendall(encode(value))


def receive(connection: socket.socket, at_most: int | None = None) -> Any:
    """Wait for a value, of so many bytes at most. Raises `EOFError` where the other side has gone."""
    header = _exactly(connection, _HEADER.size)
    size, rest = _HEADER.unpack(header)
    if size > MOST_JSON or (at_most is not None and size + rest > at_most):
        raise TraceError("what came from another process", f"it has {size + rest:,} bytes", "a frame of this program's")
    return decode(header + _exactly(connection, size + rest))


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = bytearray(count)
    view = memoryview(data)
    at = 0
    while at < count:
        got = connection.recv_into(view[at:])
        if not got:
            raise EOFError
        at += got
    return bytes(data)


def _packed(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    def keep(tensor: torch.Tensor) -> str:
        name = f"t{len(tensors)}"
        tensors[name] = tensor.detach().cpu().contiguous()
        return name

    match value:
        case None | bool() | int() | float() | str():
            return value
        case np.integer() | np.bool_() | np.floating():
            return value.item()
        case np.ndarray():
            # A copy: torch warns of arrays that are not to be written to.
            return {_KIND: "array", "name": keep(torch.from_numpy(np.array(value, order="C")))}
        case torch.Tensor():
            return {_KIND: "tensor", "name": keep(value)}
        case bytes():
            return {_KIND: "bytes", "name": keep(torch.frombuffer(bytearray(value), dtype=torch.uint8))} if value else {
                _KIND: "bytes", "name": keep(torch.empty(0, dtype=torch.uint8))
            }  # fmt: skip
        case tuple():
            return {_KIND: "tuple", "items": [_packed(item, tensors) for item in value]}
        case list():
            return [_packed(item, tensors) for item in value]
        case Intervention():
            facts, parts = value.to_wire()
            named = {name: keep(tensor) for name, tensor in parts.items()}
            return {_KIND: "intervention", "facts": facts, "tensors": named}
        case BaseModel() if type(value).__name__ in _WORDS:
            return {_KIND: type(value).__name__, "fields": value.model_dump(mode="json")}
        case _ if dataclasses.is_dataclass(value) and type(value).__name__ in _RECORDS:
            fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            return {_KIND: type(value).__name__, "fields": _packed(fields, tensors)}
        case dict():
            return {_KIND: "dict", "items": [[key, _packed(item, tensors)] for key, item in value.items()]}
    raise TraceError(
        "what goes to another process",
        f"{type(value).__name__} cannot be sent",
        "numbers, texts, tensors, and our own words",
    )


def _unpacked(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpacked(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    match value[_KIND]:
        case "array":
            return tensors[value["name"]].numpy()
        case "tensor":
            return tensors[value["name"]]
        case "bytes":
            return tensors[value["name"]].numpy().tobytes()
        case "tuple":
            return tuple(_unpacked(item, tensors) for item in value["items"])
        case "dict":
            return {key: _unpacked(item, tensors) for key, item in value["items"]}
        case "intervention":
            parts = {name: tensors[key] for name, key in value["tensors"].items()}
            return Intervention.from_wire(value["facts"], parts)
        case kind if kind in _WORDS:
            return _WORDS[kind].model_validate_json(json.dumps(value["fields"]))
        case kind:
            return _RECORDS[kind](**_unpacked(value["fields"], tensors))
