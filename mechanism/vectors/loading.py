"""Which format a file of persona vectors is in, and the space that it holds."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from mechanism.role_cloud import RoleCloud
from mechanism.roles import DEFAULT
from mechanism.space import PersonaSpace
from mechanism.vectors.capping_config import capping_space
from mechanism.vectors.gguf import MAGIC, read_control_vector
from mechanism.vectors.known_shapes import DEFAULT_LAYERS
from mechanism.vectors.placing import Placed, blocks_of_rows, layers_of
from traces.errors import TraceError, quoted
from traces.vocabulary import Model

FORMATS = (
    "assistant_axis.pt [layers, width], a role vector, capping_config.pt, *_diff.pt [layers + 1, width], "
    "a GGUF control vector, or a space file of our own"
)

ASSISTANT = "+ is assistant"

_ROLE_VECTORS, _DEFAULT_VECTOR = "role_vectors", "default_vector"


def load_vectors(
    path: str | Path, *, model: Model | None = None, layer: int | None = None, name: str | None = None
) -> PersonaSpace:
    """A persona space from a file in a format of others, or of our own (safetensors); from a folder: an axis a file.

    `model` (`Host.facts()`) says whose vectors they are; its layers decide whether the first row is the embedding's.
    Without it this is told from the width of known models, or by the format alone where that is enough. `layer`: the
    space's own (default: as published for the model, else half depth, else the nearest that has a vector).

    Published role vectors (a folder `role_vectors`, with `default_vector.pt` beside it) come with their role cloud.

    Vectors are kept at the length that the file has; so is the sign, except in a capping configuration, whose vectors
    point away from the assistant and are turned round. Nothing but tensors is ever unpickled.

    Raises `TraceError` for an unsafe pickle, for a format that is none of these, and where rows cannot be placed.
    """
    path = Path(path)
    if path.is_dir():
        return _folder(path, model, layer, name)
    if not path.is_file():
        raise TraceError(str(path), "there is no such file", FORMATS)
    if path.suffix == ".safetensors":
        space = PersonaSpace.load(path)
        there = space if layer in (None, space.layer) else space.at_layer(int(layer or 0))
        return there.replaced(name=name or space.name)
    return _space(path, _placed(path, model), model, layer, name or path.stem)


def default_layer(layers: int, hidden: int, model_name: str | None = None) -> int:
    """The layer at which projections on published axes are read: as stated for the model, else half depth.

    >>> default_layer(46, 4608, "google/gemma-2-27b-it"), default_layer(28, 3584)
    (22, 14)
    """
    for known_layers, width, known, stated in DEFAULT_LAYERS:
        named = model_name is None or known in model_name.lower().replace(" ", "-")
        if (layers, hidden) == (known_layers, width) and named:
            return stated
    return layers // 2


def _placed(path: Path, model: Model | None) -> Placed:
    with path.open("rb") as file:
        magic = file.read(4)
    if magic == MAGIC:
        return _control_vector(path, model)
    data = _tensors(path)
    if isinstance(data, Mapping) and {"vectors", "experiments"} <= set(data):
        return capping_space(str(path), data, model)
    if isinstance(data, Mapping) and {"vector", "role"} <= set(data):
        return _role_vector(path, data["vector"], str(data["role"]), str(data.get("type")), model)
    if isinstance(data, Mapping) and "axis" in data:
        return _assistant_axis(path, data["axis"], model)
    if isinstance(data, Tensor):
        return _bare(path, data, model)
    keys = f"a mapping with the keys {', '.join(sorted(map(str, data)))}" if isinstance(data, Mapping) else type(data)
    raise TraceError(str(path), f"it holds {keys}", FORMATS)


def _space(path: Path, placed: Placed, model: Model | None, layer: int | None, name: str) -> PersonaSpace:
    layers, hidden = placed.vectors.shape[1:]
    own = default_layer(layers, hidden, model.name if model else None) if layer is None else layer
    given = torch.nonzero(placed.vectors.any(dim=-1).all(dim=0)).flatten().tolist()
    readable = [at for at in given if at != placed.made.get("after_final_norm")]
    if layer is None and readable and own not in readable:
        own = min(readable, key=lambda at: (abs(at - own), at))
    return PersonaSpace(
        name=name,
        axes=placed.axes,
        vectors=placed.vectors,
        layer=own,
        model_name=model.name if model else None,
        model_digest=model.digest if model else None,
        signs=placed.signs,
        normalised=placed.normalised,
        source=f"{path.name} {_digest(path)}" if path.is_file() else path.name,
        made=placed.made,
    )


def _folder(folder: Path, model: Model | None, layer: int | None, name: str | None) -> PersonaSpace:
    files = sorted(path for path in folder.iterdir() if path.suffix in (".pt", ".gguf"))
    if not files:
        raise TraceError(str(folder), "there are no vectors in it (*.pt, *.gguf)", FORMATS)
    beside = folder.parent / f"{_DEFAULT_VECTOR}.pt"
    if folder.name == _ROLE_VECTORS and beside.is_file():
        files.append(beside)
    parts = [_placed(path, model) for path in files]
    first = parts[0]
    for path, part in zip(files, parts, strict=True):
        if part.vectors.shape[1:] != first.vectors.shape[1:] or part.made["format"] != first.made["format"]:
            found = f"{part.made['format']} {list(part.vectors.shape[1:])}"
            expected = f"what {files[0].name} is: {first.made['format']} {list(first.vectors.shape[1:])}"
            raise TraceError(str(path), found, expected)
    axes = tuple(axis for part in parts for axis in part.axes)
    if len(set(axes)) < len(axes):
        twice = next(axis for axis in axes if axes.count(axis) > 1)
        raise TraceError(str(folder), f"two files have the axis {quoted(twice)}", "an axis a file")
    joined = Placed(
        axes,
        torch.cat([part.vectors for part in parts]),
        {axis: sign for part in parts for axis, sign in part.signs.items()},
        all(part.normalised for part in parts),
        {key: value for key, value in first.made.items() if all(part.made.get(key) == value for part in parts)}
        | {"files": {path.name: _digest(path) for path in files}},
    )
    space = _space(folder, joined, model, layer, name or folder.name)
    if joined.made["format"] != "role vector" or len(axes) < 2:
        return space
    default = DEFAULT if DEFAULT in axes else None
    means = joined.vectors[:, space.layer]
    return space.replaced(cloud=RoleCloud(axes, means.numpy(), default))


def _pickled(path: Path) -> bool:
    """Whether a file begins as torch's do: a zip archive, or a bare pickle."""
    with path.open("rb") as file:
        return file.read(2)[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def _tensors(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            # An unusual pickle protocol is no news to a user: it is read, or refused below.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        if not _pickled(path):
            raise TraceError(str(path), "it is no file of vectors", FORMATS) from None
        found = (
            "it is an unsafe pickle: loading it could run any program"
            if "Weights only" in str(error)
            else "it is damaged"
        )
        raise TraceError(str(path), found, f"a file with nothing but tensors: {FORMATS}") from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, AttributeError, TypeError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise TraceError(str(path), f"it cannot be read ({first})", FORMATS) from None


def _assistant_axis(path: Path, axis: object, model: Model | None) -> Placed:
    where = str(path)
    rows = _rows(where, axis)
    blocks_of_rows(where, rows, model, embedding=False)
    made = {"format": "assistant axis", "rows": "row L is the output of block L", "pooling": "mean of response tokens"}
    return Placed(("assistant",), rows[None], {"assistant": ASSISTANT}, False, made)


def _role_vector(path: Path, vector: object, role: str, kind: str, model: Model | None) -> Placed:
    where = str(path)
    rows = _rows(where, vector)
    blocks_of_rows(where, rows, model, embedding=False)
    made = {
        "format": "role vector",
        "rows": "row L is the output of block L",
        "pooling": "mean of response tokens",
        "type": kind,
    }
    return Placed((role,), rows[None], {role: f"+ is {role} (a mean activation, no contrast)"}, False, made)


_DIFF = re.compile(r"^(?P<trait>.+?)_(?P<how>prompt_avg|prompt_last|response_avg)_diff$")


def _bare(path: Path, data: Tensor, model: Model | None) -> Placed:
    where = str(path)
    rows = _rows(where, data)
    named = _DIFF.match(path.stem)
    expects = True if named else False if "axis" in path.stem else None
    layers, embedding = blocks_of_rows(where, rows, model, embedding=expects)
    if not embedding and "axis" in path.stem:
        return _assistant_axis(path, data, model)
    if not embedding and (path.parent.name == _ROLE_VECTORS or path.stem == _DEFAULT_VECTOR):
        # As published: a tensor a role, and the default beside the folder of the roles.
        role = DEFAULT if path.stem == _DEFAULT_VECTOR else path.stem
        return _role_vector(path, data, role, "mean", model)
    if not embedding:
        made: dict[str, Any] = {
            "format": "vectors",
            "rows": "row L is the output of block L",
            "pooling": "the file does not say",
        }
        return Placed((path.stem,), rows[None], {}, False, made)
    trait, how = (named["trait"], named["how"]) if named else (path.stem.removesuffix("_diff"), "response_avg")
    axis = trait if how == "response_avg" else f"{trait}/{how}"
    made = {
        "format": "persona vector",
        "rows": "row 0 is the embedding's, row L + 1 the output of block L",
        "pooling": {"prompt_avg": "mean of prompt tokens", "prompt_last": "last prompt token"}.get(
            how, "mean of response tokens"
        ),
        "after_final_norm": layers - 1,
    }
    return Placed((axis,), rows[None, 1:], {axis: f"+ is {trait}"}, False, made)


def _control_vector(path: Path, model: Model | None) -> Placed:
    read = read_control_vector(path)
    hidden = len(next(iter(read.directions.values())))
    layers = layers_of(str(path), max(read.directions) + 1, hidden, model)
    vectors = torch.zeros(1, layers, hidden)
    for layer, direction in read.directions.items():
        vectors[0, layer] = torch.from_numpy(direction.copy())
    lengths = torch.linalg.vector_norm(vectors[0, sorted(read.directions)], dim=-1)
    trait = path.stem
    made = {
        "format": "GGUF control vector",
        "rows": "direction.L is the output of block L",
        "pooling": "last token",
        "model_hint": str(read.values.get("controlvector.model_hint")),
        "after_final_norm": layers - 1,
    }
    unit = bool(((lengths - 1).abs() < 1e-3).all())
    return Placed((trait,), vectors, {trait: f"+ is {trait}"}, unit, made)


def _rows(where: str, data: object) -> Tensor:
    if not isinstance(data, Tensor) or data.ndim != 2 or not data.is_floating_point() or 0 in data.shape:
        shape = f"a tensor {list(data.shape)} of {data.dtype}" if isinstance(data, Tensor) else f"{type(data).__name__}"
        raise TraceError(where, f"its vectors are {shape}", "one row a layer: floating point [layers, width]")
    return data.detach().float().contiguous()


def _digest(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
