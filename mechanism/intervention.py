"""What is done to a model's internals while it runs, and taken back for certain: steering, capping, ablation.

A class each (`mechanism.steering`, `.capping`, `.ablation`), all on the output of decoder blocks, the residual stream;
`mechanism.cache_edit` edits keys and values that are there already. What several do to one block happens in the order
in which they were entered, and before anything else that hangs on the block: a probe reads what came of it.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache

from mechanism.architecture import block_output, with_block_output
from traces import vocabulary
from traces.errors import TraceError, one_of, quoted

if TYPE_CHECKING:
    from mechanism.host import Host

Where = Callable[[int, int], Tensor | None]
"""Which positions are touched: given the first position that a forward pass processes and how many, a bool mask
[count], or None for all of them."""

Wire = tuple[dict[str, Any], dict[str, Tensor]]
"""What JSON can hold, and tensors by name: what goes to another process."""

_Act = Callable[[Tensor], Tensor]


def from_position(first: int) -> Where:
    """The positions from a first one on.

    >>> from_position(3)(2, 3)
    tensor([False,  True,  True])
    """
    return lambda at, count: torch.arange(at, at + count) >= first


class Intervention(ABC):
    """One intervention: a direction in the residual stream, at which blocks, for which tokens.

    `vector` is [hidden], or [layers of the model, hidden] with row L for the output of block L; it is kept in float32.
    `layers` are block indices. `positions` says which tokens are meant ("all", "assistant", "user" or a text of one's
    own): who enters the intervention says which these are (`on`). `source` says where the vector comes from.

    Raises `TraceError` for a vector or layers that cannot be meant.
    """

    kind: ClassVar[vocabulary.InterventionKind]
    _kinds: ClassVar[dict[str, type[Intervention]]] = {}

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        Intervention._kinds[cls.kind] = cls

    def __init__(
        self, vector: Tensor, layers: Sequence[int], positions: str = "all", source: str | None = None
    ) -> None:
        self.vector = torch.as_tensor(vector).detach().to("cpu", torch.float32).contiguous()
        self.layers = tuple(int(layer) for layer in layers)
        self.positions = positions
        self.source = source
        if self.vector.ndim not in (1, 2):
            raise self._wrong(f"its vector has the shape {list(self.vector.shape)}", "[hidden] or [layers, hidden]")
        if not self.vector.isfinite().all():
            raise self._wrong("its vector holds NaN or infinity", "finite numbers")
        if not self.layers or len(set(self.layers)) < len(self.layers) or min(self.layers) < 0:
            raise self._wrong(f"its layers are {list(self.layers)}", "block indices from 0 on, at least one, each once")

        if self.vector.ndim == 2 and max(self.layers) >= len(self.vector):
            raise self._wrong(f"layer {max(self.layers)} is meant", f"a layer with a row, below {len(self.vector)}")

    def direction(self, layer: int) -> Tensor:
        """The vector at a layer, float32 [hidden], as it was given."""
        return self.vector if self.vector.ndim == 1 else self.vector[layer]

    def unit(self, layer: int) -> Tensor:
        """The vector at a layer at length 1. Raises `TraceError` where it is zero."""
        direction = self.direction(layer)
        length: Tensor = torch.linalg.vector_norm(direction)
        if length == 0:
            raise self._wrong(f"its vector is zero at layer {layer}", "a vector that points somewhere")
        return direction / length

    def check_fits(self, host: Host) -> None:
        """Raise `TraceError` unless width and layers are those of a model."""
        if self.vector.shape[-1] != host.hidden:
            found = f"its vector has {self.vector.shape[-1]} numbers"
            raise self._wrong(found, f"{host.hidden}, the width of {host.name}")
        if self.vector.ndim == 2 and len(self.vector) != host.layers:
            found = f"its vector has {len(self.vector)} rows"
            raise self._wrong(found, f"{host.layers}, one for each layer of {host.name}")
        if max(self.layers) >= host.layers:
            raise self._wrong(f"layer {max(self.layers)} is meant", f"a layer below {host.layers} of {host.name}")

    @abstractmethod
    def acting(self, layer: int, device: torch.device) -> _Act | None:
        """What is done at a layer: from a residual stream [batch, positions, hidden] to a new one; None: nothing."""

    @contextmanager
    def on(self, host: Host, where: Where | None = None) -> Iterator[None]:
        """In force on every forward pass of the host until the block ends, however it ends.

        `where` says which of the positions that a pass processes are touched, in pre-fill and in decoding; None: all.
        The first position is the length of the KV cache before the pass. Raises `TraceError` where the vector or the
        layers do not fit the model.
        """
        self.check_fits(host)
        with ExitStack() as stack:
            touched: Callable[[Tensor], Tensor | None] | None = None
            if where is not None:
                current = _Pass(where)
                stack.callback(host.inner.register_forward_pre_hook(current.begin, with_kwargs=True).remove)
                touched = current.mask
            for layer in self.layers:
                block = host.blocks[layer]
                act = self.acting(layer, next(block.parameters()).device)
                if act is not None:
                    stack.enter_context(_hanging(block, act if touched is None else _only(act, touched)))
            yield

    @property
    def digest(self) -> str:
        """`sha256:` of the vector's bytes (little-endian float32)."""
        return f"sha256:{hashlib.sha256(self.vector.numpy().astype('<f4').tobytes()).hexdigest()}"

    def spec(self, name: str) -> vocabulary.Intervention:
        """The intervention as a trace has it; `name` names the vector."""
        return vocabulary.Intervention(
            kind=self.kind,
            vector=name,
            digest=self.digest,
            layers=self.layers,
            positions=self.positions,
            source=self.source,
            **self._strength(),
        )

    def to_wire(self) -> Wire:
        """What another process needs to make the same intervention: what JSON can hold, and tensors."""
        arguments = {"layers": list(self.layers), "positions": self.positions, "source": self.source}
        return {"kind": self.kind, **arguments, **self._arguments()}, {"vector": self.vector}

    @staticmethod
    def from_wire(facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Intervention:
        """The intervention that `to_wire` wrote. Raises `TraceError` for one of an unknown kind."""
        # Each of them imports this module.
        from mechanism import ablation, cache_edit, capping, steering  # noqa: F401

        arguments = dict(facts)
        kind = arguments.pop("kind", None)
        if kind not in Intervention._kinds:
            raise TraceError("an intervention", f"its kind is {quoted(kind)}", one_of(Intervention._kinds, "kind"))
        return Intervention._kinds[kind](vector=tensors["vector"], **arguments)

    @abstractmethod
    def _strength(self) -> dict[str, Any]:
        """What a trace says beyond vector, layers and positions."""

    @abstractmethod
    def _arguments(self) -> dict[str, Any]:
        """Arguments of its own, of a kind that JSON can hold."""

    def _number(self, name: str, value: float) -> float:
        if not math.isfinite(value):
            raise self._wrong(f"its {name} is {value}", "a finite number")
        return float(value)

    def _wrong(self, found: str, expected: str) -> TraceError:
        return TraceError(f"the {self.kind}", found, expected)


class _Pass:
    """The forward pass that is going on: where it begins, and which of its positions are touched."""

    def __init__(self, where: Where) -> None:
        self._where = where
        self._first = 0
        self._masks: dict[tuple[int, torch.device], Tensor | None] = {}

    def begin(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        given = named.get("past_key_values")
        cache = next((each for each in (given, *inputs) if isinstance(each, Cache)), None)
        self._first = 0 if cache is None else int(cache.get_seq_length())
        self._masks.clear()

    def mask(self, states: Tensor) -> Tensor | None:
        """Bool [positions, 1] on the device of the states; asked for once a pass and device."""
        count = states.shape[-2]
        key = (count, states.device)
        if key not in self._masks:
            mask = self._where(self._first, count)
            if mask is not None:
                if mask.shape != (count,) or mask.dtype != torch.bool:
                    found = f"the mask of an intervention is {mask.dtype} {list(mask.shape)}"
                    raise TraceError(f"positions {self._first} to {self._first + count}", found, f"bool [{count}]")
                mask = mask.to(states.device)[:, None]
            self._masks[key] = mask
        return self._masks[key]


def _only(act: _Act, touched: Callable[[Tensor], Tensor | None]) -> _Act:
    def act_there(states: Tensor) -> Tensor:
        mask = touched(states)
        return act(states) if mask is None else torch.where(mask, act(states), states)

    return act_there


class _Acting:
    """The hook of a block, and what it does: one hook for all interventions, for torch would run a second one before
    or after everything else that hangs there."""

    def __init__(self, block: nn.Module) -> None:
        self.acts: list[_Act] = []
        self._handle = block.register_forward_hook(self._hook, prepend=True)

    def _hook(self, block: nn.Module, inputs: Any, output: Any) -> Any:
        states = block_output(output)
        for act in self.acts:
            states = act(states)
        return with_block_output(output, states)

    def remove(self) -> None:
        self._handle.remove()


_HANGING: WeakKeyDictionary[nn.Module, _Acting] = WeakKeyDictionary()


@contextmanager
def _hanging(block: nn.Module, act: _Act) -> Iterator[None]:
    """An action on the output of a block, after those that hang there already."""
    acting = _HANGING.get(block)
    if acting is None:
        acting = _HANGING[block] = _Acting(block)
    acting.acts.append(act)
    try:
        yield
    finally:
        acting.acts.remove(act)
        if not acting.acts:
            acting.remove()
            del _HANGING[block]
