"""Reading coordinates: the residual stream of every token, projected on the axes of a persona space as it passes.

Hooks on decoder blocks multiply the block's output by the axes where it lies, so that what leaves the device is a few
numbers a token and never a residual stream. They return nothing, so what the model computes is what it would have been.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mechanism.host import Host, block_output
from mechanism.space import UNIT, PersonaSpace
from traces import vocabulary
from traces.errors import TraceError, quoted

Readings = NDArray[np.float32]
"""Coordinates of tokens, [tokens, probes]; a row of NaN is a token that was not read."""


@dataclass(frozen=True, eq=False)
class Probes:
    """What is read at each token: axes of a persona space at some layers of one host.

    The columns of readings go by `keys`: an axis by its name at the space's own layer (`assistant`), by name and layer
    elsewhere (`assistant@12`). All axes of the space are read at each layer.
    """

    keys: tuple[str, ...]
    axes: tuple[str, ...]
    """The axis of each column."""
    layers: tuple[int, ...]
    """The layer of each column: the output of this block, before the final norm."""
    pooling: str
    sources: tuple[str, ...]
    """Where the vector of each column comes from."""
    plan: Mapping[int, tuple[Tensor, tuple[int, ...]]] = field(repr=False)
    """For each layer that is read, in order: unit vectors float32 [hidden, k] on the device of this block, and the
    columns that they give.
    """

    @property
    def last_layer(self) -> int:
        """The last block that is read: a pass that only reads may stop after it."""
        return max(self.plan)

    @classmethod
    def of(cls, space: PersonaSpace, host: Host, layers: Iterable[int] | None = None, *, force: bool = False) -> Probes:
        """Probes for a space on a host, at the space's own layer and at these others.

        Raises `TraceError` where the space is not this host's (`PersonaSpace.check_fits`, which `force` is for), or
        where an axis has no vector at one of the layers.
        """
        space.check_fits(host, force=force)
        where = f"space {space.name}"
        post_norm = space.made.get("after_final_norm")
        wanted = sorted({space.layer, *(() if layers is None else layers)})
        plan: dict[int, tuple[Tensor, tuple[int, ...]]] = {}
        keys: list[str] = []
        axes: list[str] = []
        of_column: list[int] = []
        sources: list[str] = []
        for layer in wanted:
            matrix = torch.stack([space.direction(axis, layer) for axis in space.axes], dim=1)
            if layer == post_norm:
                found = f"its vectors at layer {layer} were taken after the final norm, which no block's output is"
                raise TraceError(where, found, "an earlier layer")
            plan[layer] = (
                matrix.to(_device_of(host.blocks[layer])),
                tuple(range(len(keys), len(keys) + len(space.axes))),
            )
            keys += [axis if layer == space.layer else f"{axis}@{layer}" for axis in space.axes]
            axes += space.axes
            of_column += [layer] * len(space.axes)
            sources += [space.provenance(axis) for axis in space.axes]
        if len(set(keys)) < len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            raise TraceError(where, f"{quoted(twice)} would name two probes", "axes not named like axis@layer")
        return cls(tuple(keys), tuple(axes), tuple(of_column), space.pooling, tuple(sources), plan)

    def __len__(self) -> int:
        return len(self.keys)

    def facts(self, source: str | None = None) -> dict[str, vocabulary.Probe]:
        """The probes as a trace has them, by key; with this source, or where each one's vector comes from."""
        columns = zip(self.keys, self.axes, self.layers, self.sources, strict=True)
        return {
            key: vocabulary.Probe(axis=axis, layer=layer, pooling=self.pooling, unit=UNIT, source=source or own)
            for key, axis, layer, own in columns
        }

    @contextmanager
    def read(self, host: Host, *, batched: bool = False) -> Iterator[Reader]:
        """Read every forward pass of the host until the block ends.

        A block's output is read as it is after the hooks that were there before. Interventions
        (`mechanism.intervention`) put theirs in front, so they show in the readings whichever was entered first.

        `batched`: passes over several sequences at once are read too, one row after the other; otherwise they are a
        `TraceError` when they come, for nobody could tell whose a reading is.
        """
        reader = Reader(self, batched=batched)
        handles = [host.blocks[layer].register_forward_hook(reader.hook(layer)) for layer in self.plan]
        try:
            yield reader
        finally:
            for handle in handles:
                handle.remove()


class Reader:
    """The readings of the forward passes since it was last asked, of one sequence after the other.

    They stay on the device until they are taken; a token costs four bytes a probe.
    """

    def __init__(self, probes: Probes, *, batched: bool = False) -> None:
        self.probes = probes
        self._batched = batched
        self._read: dict[int, list[Tensor]] = {layer: [] for layer in probes.plan}
        self._paused = 0

    def hook(self, layer: int) -> Callable[[nn.Module, Any, Any], None]:
        """A forward hook for the block of this layer."""
        matrix, read = self.probes.plan[layer][0], self._read[layer]

        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if self._paused:
                return
            states = block_output(output).detach()
            if len(states) > 1 and not self._batched:
                found = f"a forward pass over {len(states)} sequences at once"
                raise TraceError("the reading of coordinates", found, "one conversation at a time (no beams, no batch)")
            read.append(states.float().flatten(0, 1) @ matrix)

        return hook

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Forward passes in this block are not read: those that measure something else."""
        self._paused += 1
        try:
            yield
        finally:
            self._paused -= 1

    def clear(self) -> None:
        """Forget what was read and not taken."""
        for read in self._read.values():
            read.clear()

    def take(self) -> Readings:
        """What was read since the last time: float32 [tokens, probes], in the order of the passes.

        One transfer from each device. Raises `TraceError` where a pass broke off, so that layers were read a different
        number of times.
        """
        joined = {layer: torch.cat(read) if read else None for layer, read in self._read.items()}
        self.clear()
        counts = {0 if values is None else len(values) for values in joined.values()}
        if len(counts) > 1:
            found = f"a forward pass broke off: layers were read at {min(counts)} to {max(counts)} tokens"
            raise TraceError("the reading of coordinates", found, "passes that run to their end")
        readings = np.empty((counts.pop(), len(self.probes)), np.float32)
        by_device: dict[torch.device, list[int]] = {}
        for layer, values in joined.items():
            if values is not None:
                by_device.setdefault(values.device, []).append(layer)
        for on_device in by_device.values():
            columns = [column for layer in on_device for column in self.probes.plan[layer][1]]
            values = torch.cat([part for layer in on_device if (part := joined[layer]) is not None], dim=1)
            readings[:, columns] = values.cpu().numpy()
        return readings


def content_mean(readings: Readings, marks: str) -> NDArray[np.float64] | None:
    """The coordinates of a turn: the mean of its content tokens' (float64 [probes]), None where none was read.

    `marks` has one letter a token: `c` content, `t` template, `h` thinking.

    >>> content_mean(np.array([[9.0], [1.0], [3.0], [np.nan]], np.float32), "tccc").tolist()
    [2.0]
    """
    if len(marks) != len(readings):
        raise TraceError("a turn's readings", f"{len(readings)} tokens with {len(marks)} marks", "one mark a token")
    content = np.frombuffer(marks.encode("ascii"), np.uint8) == ord("c")
    content &= ~np.isnan(readings).any(axis=1)
    return readings[content].mean(axis=0, dtype=np.float64) if content.any() else None


def _device_of(block: nn.Module) -> torch.device:
    return next(block.parameters()).device
