"""A persona space: directions in the residual stream of one model, and regions along them (§3.3).

One safetensors file holds a space: a float32 tensor `vectors` [axes, layers, hidden] and, in its metadata, everything
that has to be known to project on them: the model, the layer, the sign, the pooling, how they were made. Where the
space was fitted here, the file also holds what it was fitted to: the means of the roles (`cloud`) and the coordinates
of single replies (`points`).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mechanism.role_cloud import RoleCloud
from traces import vocabulary
from traces.errors import TraceError, UnknownNameError, quoted
from traces.new_file import new_file

FORMAT = "individuate persona space 1"
"""What the metadata of a space file says under `format`."""

CONTENT_MEAN = "content-mean"
"""A coordinate of a turn is the mean over its content tokens: neither template nor thinking."""

UNIT = "projection on the unit axis"

Range = tuple[float | None, float | None]

_FIELDS = (
    "name",
    "axes",
    "layer",
    "model_name",
    "model_digest",
    "signs",
    "pooling",
    "normalised",
    "source",
    "discrete",
    "regions",
    "made",
    "mixture",
    "tested",
    "point_roles",
)


class Weights(Protocol):
    """What a space has to fit: a `Host`, or what a server elsewhere says of the model that it holds."""

    @property
    def name(self) -> str:
        """The model's name."""

    @property
    def digest(self) -> str | None:
        """Of its weights, where known."""

    @property
    def layers(self) -> int | None:
        """Decoder blocks."""

    @property
    def hidden(self) -> int:
        """The width of the residual stream."""


@dataclass(frozen=True, eq=False)
class PersonaSpace:
    """Axes of a persona space, one vector a layer, and regions as closed ranges of coordinates on them (§3.3).

    `vectors` is float32 [axes, layers, hidden]; row L is a direction in the output of block L, with the sign and length
    that it was made with. A row of zeros says that there is no vector for this layer. A coordinate is the projection of
    a residual stream on the unit vector (`direction`), in the units of the residual stream.

    `layer` is where coordinates are compared with `regions`. `signs` says for an axis what its positive end means.
    `normalised`: whether the vectors had unit length already. `discrete`: what a test of Hypothesis 3 found, None for
    not tested. `made` is free (JSON): how the vectors came to be.

    `cloud` is the role cloud at the space's layer. `points` is float32 [replies, axes]: the coordinates, at the space's
    layer, of the single replies that the space was fitted from; `point_roles` says which role each was asked to be,
    which the fit of regions does not look at. `mixture` (JSON) is a Gaussian mixture fitted as regions
    (`mechanism.regions.mixture`), `tested` (JSON) what a test of the hypotheses found (`mechanism.hypotheses`).

    Raises `TraceError` where these do not fit together.

    >>> space = PersonaSpace("mine", ("assistant",), torch.tensor([[[3.0, 4.0], [0.0, 2.0]]]), layer=0)
    >>> space.layers, space.hidden, space.direction("assistant", 0).tolist()
    (2, 2, [0.6000000238418579, 0.800000011920929])
    """

    name: str
    axes: tuple[str, ...]
    vectors: Tensor = field(repr=False)
    layer: int
    model_name: str | None = None
    model_digest: str | None = None
    signs: Mapping[str, str] = field(default_factory=dict)
    pooling: str = CONTENT_MEAN
    normalised: bool = False
    source: str | None = None
    discrete: bool | None = None
    regions: Mapping[str, Mapping[str, Range]] = field(default_factory=dict)
    made: Mapping[str, Any] = field(default_factory=dict)
    cloud: RoleCloud | None = field(default=None, repr=False)
    points: Tensor | None = field(default=None, repr=False)
    point_roles: tuple[str, ...] = field(default=(), repr=False)
    mixture: Mapping[str, Any] | None = field(default=None, repr=False)
    tested: Mapping[str, Any] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        where = f"space {self.name}"
        shape = tuple(self.vectors.shape)
        if len(shape) != 3 or shape[0] != len(self.axes) or 0 in shape:
            found = f"its vectors have the shape {list(shape)} for {len(self.axes)} axes"
            raise TraceError(where, found, "vectors [axes, layers, hidden], at least one of each")
        if self.vectors.dtype != torch.float32 or self.vectors.device.type != "cpu":
            found = f"its vectors are {self.vectors.dtype} on {self.vectors.device}"
            raise TraceError(where, found, "float32 on the CPU")
        if not self.vectors.isfinite().all():
            raise TraceError(
                where, "its vectors hold NaN or infinity", "finite numbers; zeros where there is no vector"
            )
        _check_layer(where, self.layer, self.layers)
        for axis in self.signs:
            if axis not in self.axes:
                raise UnknownNameError(where, "axis", axis, self.axes)
        for axis in self.axes:
            if not self.given(axis):
                raise TraceError(
                    where, f"its axis {quoted(axis)} has no vector at any layer", "one at one layer or more"
                )
        self._check_fitted(where)
        try:
            self.facts(self.model_name or "m")
        except ValidationError as error:
            first = error.errors()[0]
            found, _, expected = first["msg"].partition("|")
            raise TraceError(where, f"{'.'.join(map(str, first['loc']))}: {found}", expected or "a space") from None

    def _check_fitted(self, where: str) -> None:
        if self.cloud is not None and self.cloud.means.shape[1] != self.hidden:
            found = f"its role cloud has the width {self.cloud.means.shape[1]}"
            raise TraceError(where, found, f"{self.hidden}, the width of its vectors")
        if self.points is None:
            if self.point_roles:
                raise TraceError(where, "it has roles of points, and no points", "points and the role of each")
            return
        if self.points.ndim != 2 or self.points.shape[1] != len(self.axes) or self.points.dtype != torch.float32:
            found = f"its points have the shape {list(self.points.shape)} ({self.points.dtype})"
            raise TraceError(where, found, f"float32 [replies, {len(self.axes)}], a column an axis")
        if not self.points.isfinite().all():
            raise TraceError(where, "its points hold NaN or infinity", "finite numbers")
        if self.point_roles and len(self.point_roles) != len(self.points):
            found = f"it has {len(self.points)} points and the roles of {len(self.point_roles)}"
            raise TraceError(where, found, "a role for each point, or none")

    @property
    def layers(self) -> int:
        """Decoder blocks of the model that the space belongs to."""
        return int(self.vectors.shape[1])

    @property
    def hidden(self) -> int:
        """The width of its residual stream."""
        return int(self.vectors.shape[2])

    def given(self, axis: str) -> list[int]:
        """The layers at which an axis has a vector.

        Raises `UnknownNameError` for an axis that the space does not have.
        """
        if axis not in self.axes:
            raise UnknownNameError(f"space {self.name}", "axis", axis, self.axes)
        return torch.nonzero(self.vectors[self.axes.index(axis)].any(dim=-1)).flatten().tolist()

    def vector(self, axis: str, layer: int | None = None) -> Tensor:
        """The vector of an axis at a layer (the space's own where None) as it was made: float32 [hidden].

        Raises `TraceError` where there is none.
        """
        layer = self.layer if layer is None else layer
        _check_layer(f"space {self.name}", layer, self.layers)
        given = self.given(axis)
        if layer not in given:
            raise TraceError(
                f"space {self.name}",
                f"its axis {quoted(axis)} has no vector at layer {layer}",
                f"one of the layers {', '.join(map(str, given))}",
            )
        return self.vectors[self.axes.index(axis), layer]

    def direction(self, axis: str, layer: int | None = None) -> Tensor:
        """The same at unit length, which is what coordinates are projections on."""
        vector = self.vector(axis, layer)
        length: Tensor = torch.linalg.vector_norm(vector)
        return vector / length

    def region_of(self, coordinates: Mapping[str, float]) -> str | None:
        """The first region whose closed ranges hold a point, as labelling has it (`traces.labelling`); None: in none.

        `coordinates` are by axis; a point without one that a region asks for is not in it.

        >>> space = PersonaSpace("mine", ("a",), torch.ones(1, 2, 4), 1, regions={"A": {"a": (0.0, None)}})
        >>> space.region_of({"a": 0.0}), space.region_of({"a": -0.1}), space.region_of({})
        ('A', None, None)
        """
        read = {axis: value for axis, value in coordinates.items() if axis in self.axes and not math.isnan(value)}
        for region, ranges in self.regions.items():
            if read and all(axis in read and _within(read[axis], *ends) for axis, ends in ranges.items()):
                return region
        return None

    @cached_property
    def digest(self) -> str:
        """Of the vectors and the names of their axes: `sha256:` and 64 hexadecimal digits."""
        hashed = hashlib.sha256(json.dumps([self.axes, list(self.vectors.shape)]).encode())
        hashed.update(self.vectors.contiguous().numpy().astype("<f4", copy=False).tobytes())
        return f"sha256:{hashed.hexdigest()}"

    def provenance(self, axis: str) -> str:
        """Where an axis comes from, for the record: file, digest, sign, length."""
        parts = [self.source or f"space {self.name}", self.digest]
        if axis in self.signs:
            parts.append(self.signs[axis])
        parts.append("made at unit length" if self.normalised else "normalised for projecting")
        return "; ".join(parts)

    def facts(self, model_key: str) -> vocabulary.Space:
        """The space as a trace has it, for the model with this key.

        >>> space = PersonaSpace("mine", ("assistant",), torch.ones(1, 2, 4), layer=1)
        >>> space.facts("m").layer, space.facts("m").unit
        (1, 'projection on the unit axis')
        """
        return vocabulary.Space(
            model=model_key,
            axes=self.axes,
            layer=self.layer,
            pooling=self.pooling,
            unit=UNIT,
            source=self.source or self.digest,
            discrete=self.discrete,
            regions={region: dict(ranges) for region, ranges in self.regions.items()},
        )

    def check_fits(self, host: Weights, *, force: bool = False) -> None:
        """Refuse a host whose residual stream these vectors are not of: other width, other layers, other weights.

        `force` lets other weights of the same shape pass (a fine-tune of the model, say), nothing else. Without a
        digest in the space only the shape is compared.
        """
        if (self.layers, self.hidden) != (host.layers, host.hidden):
            raise TraceError(
                f"space {self.name}",
                f"its vectors are for {self.layers} layers of width {self.hidden}"
                f"{f' ({self.model_name})' if self.model_name else ''}, "
                f"but {host.name} has {host.layers} layers of width {host.hidden}",
                "a space made for this model",
            )
        if not force and self.model_digest is not None and self.model_digest != host.digest:
            raise TraceError(
                f"space {self.name}",
                f"it was made for {self.model_name or 'a model'} ({_short(self.model_digest)}), "
                f"but {host.name} has other weights ({_short(host.digest)})",
                "a space made for this model, or force=True to use it all the same",
            )

    def at_layer(self, layer: int) -> PersonaSpace:
        """The same axes, read at another layer: without the regions and all else that was fitted at the old one.

        >>> space = PersonaSpace("mine", ("a",), torch.ones(1, 2, 4), layer=1, regions={"A": {"a": (0.0, None)}})
        >>> space.at_layer(0).regions, space.at_layer(1).regions
        ({}, {'A': {'a': (0.0, None)}})
        """
        if layer == self.layer:
            return self
        return replace(
            self, layer=layer, regions={}, discrete=None, cloud=None, points=None, point_roles=(), mixture=None,
            tested=None,
        )  # fmt: skip

    def replaced(self, **changes: Any) -> PersonaSpace:
        """The same space with other fields, such as regions fitted since.

        >>> space = PersonaSpace("mine", ("a",), torch.ones(1, 2, 4), layer=1)
        >>> space.replaced(regions={"A": {"a": (0.0, None)}}).regions
        {'A': {'a': (0.0, None)}}
        """
        return replace(self, **changes)

    def save(self, path: str | Path) -> None:
        """Write the space into a new file.

        Raises `TraceError` where a file is there already or none can be written.
        """
        told = {name: getattr(self, name) for name in _FIELDS}
        tensors = {"vectors": self.vectors.contiguous()}
        if self.cloud is not None:
            told["cloud"] = {name: getattr(self.cloud, name) for name in ("names", "default", "counts")}
            tensors["cloud"] = torch.from_numpy(self.cloud.means).contiguous()
        if self.points is not None:
            tensors["points"] = self.points.contiguous()
        metadata = {"format": FORMAT, "space": json.dumps(told, ensure_ascii=False, allow_nan=False)}
        with new_file(Path(path)) as partial:
            # Written by us, so that it may be read by whoever may read other files made here.
            partial.write_bytes(save(tensors, metadata))

    @classmethod
    def load(cls, path: str | Path) -> PersonaSpace:
        """Read a file that `save` wrote.

        Raises `TraceError` for a file that is none, is cut short, or was written by a later version.
        """
        where, expected = str(path), "a persona space as `individuate space fit` writes it (safetensors)"
        if not Path(path).is_file():
            raise TraceError(where, "there is no such file", expected)
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != FORMAT:
                    found = (
                        f"its format is {quoted(metadata['format'])}"
                        if "format" in metadata
                        else "it is another's file"
                    )
                    raise TraceError(where, found, f"{expected}, format {quoted(FORMAT)}")
                told = json.loads(metadata["space"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            vectors = tensors["vectors"]
            told["axes"] = tuple(told["axes"])
            told["points"], told["point_roles"] = tensors.get("points"), tuple(told.get("point_roles", ()))
            if (cloud := told.pop("cloud", None)) is not None:
                counts = cloud["counts"] and tuple(cloud["counts"])
                told["cloud"] = RoleCloud(tuple(cloud["names"]), tensors["cloud"].numpy(), cloud["default"], counts)
            told["regions"] = {
                region: {axis: tuple(ends) for axis, ends in ranges.items()}
                for region, ranges in told["regions"].items()
            }
            return cls(vectors=vectors, **told)
        except TraceError as error:
            raise TraceError(where, error.found, error.expected) from None
        except (SafetensorError, OSError) as error:
            raise TraceError(where, f"it cannot be read: {error}", expected) from None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TraceError(where, f"its metadata is damaged ({type(error).__name__}: {error})", expected) from None


def _within(value: float, low: float | None, high: float | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)


def _check_layer(where: str, layer: int, layers: int) -> None:
    if not isinstance(layer, int) or isinstance(layer, bool) or not 0 <= layer < layers:
        raise TraceError(where, f"the layer is {quoted(layer)}", f"a block's number, 0 to {layers - 1}")


def _short(digest: str | None) -> str:
    if digest is None:
        return "no digest"
    return digest[:19] + "…" if len(digest) > 20 else digest
