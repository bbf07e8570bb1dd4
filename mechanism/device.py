"""Where a model runs: the device picked, its name, and whether a model's weights fit into its memory."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import torch

from mechanism.digest import FLOATING, StoredTensor
from traces.errors import TraceError, quoted

_HEADROOM = 1.1
_GIB = 1 << 30

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}
"""The dtypes a model can be loaded in, by name."""


def pick_device(device: str | torch.device | None = None) -> torch.device:
    """The device asked for, or the best there is: CUDA, then MPS, then the CPU. Raises `TraceError` if it is not there.

    >>> pick_device("cpu")
    device(type='cpu')
    """
    if device is None:
        return torch.device("cuda:0" if torch.cuda.is_available() else "mps" if mps_is_there() else "cpu")
    try:
        picked = torch.device(device)
    except (RuntimeError, TypeError):
        raise TraceError("device", f"it is {quoted(str(device))}", _devices()) from None
    count = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(mps_is_there())}.get(picked.type)
    if count is not None and (picked.index or 0) >= count:
        raise TraceError("device", f"there is no {picked} on this machine", _devices())
    if picked.type == "cuda" and picked.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return picked


def mps_is_there() -> bool:
    """Whether this machine has an Apple GPU that torch can use."""
    return torch.backends.mps.is_available()


def _devices() -> str:
    names = [f"cuda:{i}" for i in range(torch.cuda.device_count())] + (["mps"] if mps_is_there() else []) + ["cpu"]
    return f"one of {', '.join(names)}"


def pick_dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    """A dtype by name or itself; None for `auto`: that of the checkpoint. Raises `TraceError` for any other name.

    >>> pick_dtype("bfloat16"), pick_dtype("auto")
    (torch.bfloat16, None)
    """
    if dtype is None or dtype == "auto":
        return None
    picked = DTYPES.get(str(dtype).removeprefix("torch."))
    if picked is None:
        raise TraceError("dtype", f"it is {quoted(str(dtype))}", f"one of auto, {', '.join(DTYPES)}")
    return picked


def weight_bytes(tensors: Iterable[StoredTensor], dtype: torch.dtype | None) -> int:
    """Bytes that stored weights take up in memory in a dtype (None: as stored). Packed integers stay as they are."""
    return sum(
        tensor.size if dtype is None or tensor.dtype not in FLOATING
        else tensor.size // FLOATING[tensor.dtype] * dtype.itemsize
        for tensor in tensors
    )  # fmt: skip


def free_bytes(device: torch.device) -> int | None:
    """Bytes of memory free on a device; None where that cannot be found out."""
    if device.type == "cuda":
        # What torch keeps for later is free too, though not for others.
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
    return _free_ram() if device.type == "cpu" else None


def _free_ram() -> int | None:
    found: list[int] = []
    with suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found.append(next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")))
    # In a container, the machine's memory is not ours to use.
    with suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        used = int((group / "memory.current").read_text(encoding="ascii"))
        lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
        # Files that were read and are not in use give way.
        cached = next((int(line.split()[1]) for line in lines if line.startswith("inactive_file ")), 0)
        found.append(limit - used + cached)
    if not found:
        with suppress(OSError, ValueError, AttributeError):
            found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(found) if found else None


def check_fits(name: str, needed: int, dtype: torch.dtype, device: torch.device, free: int | None = None) -> None:
    """Raise `TraceError` where weights of `needed` bytes in `dtype` do not fit on a device, saying what would fit.

    `free` is the device's free memory in bytes, if it is known; a tenth is left for what is computed.

    >>> check_fits("big", 60 * 2**30, torch.float32, torch.device("cpu"), free=40 * 2**30)
    Traceback (most recent call last):
    traces.errors.TraceError: big: its weights need 60.0 GiB in float32, and cpu has 40.0 GiB free.
    Expected: something that fits: bfloat16 (30.0 GiB).
    """
    free = free_bytes(device) if free is None else free
    if free is None or needed * _HEADROOM <= free:
        return
    raise TraceError(
        name,
        f"its weights need {_size(needed)} in {_name(dtype)}, and {device} has {_size(free)} free",
        f"something that fits: {what_fits(needed, dtype, device, free)}",
    )


def what_fits(needed: int, dtype: torch.dtype, device: torch.device, free: int) -> str:
    """What can be done about weights that do not fit: a smaller dtype, another device, several, a smaller model."""
    ways = []
    half = needed * 2 // dtype.itemsize
    if dtype.itemsize > 2 and half * _HEADROOM <= free:
        ways.append(f"bfloat16 ({_size(half)})")
    gpus = [torch.device("cuda", i) for i in range(torch.cuda.device_count())]
    for other in [*gpus, torch.device("cpu")]:
        room = free_bytes(other)
        if other != device and room is not None and needed * _HEADROOM <= room:
            ways.append(f"{other} ({_size(room)} free)")
    together = sum(free_bytes(gpu) or 0 for gpu in gpus)
    if len(gpus) > 1 and needed * _HEADROOM <= together:
        ways.append(f'device_map="auto" over {len(gpus)} GPUs')
    return " or ".join(ways) or f"a model of at most {_size(int(free / _HEADROOM))} of weights"


def hardware_name(device: torch.device) -> str:
    """The device in words, for `Server.hardware`: the GPU's name, or the processor's with its threads."""
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        return f"{torch.cuda.get_device_name(device)} ({total / _GIB:.0f} GiB)"
    if device.type == "mps":
        return f"Apple GPU ({platform.machine()})"
    return f"CPU {_processor()} ({torch.get_num_threads()} threads)"


def _processor() -> str:
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        named = next(line.split(":", 1)[1] for line in lines if line.startswith("model name"))
        return " ".join(named.split())
    return platform.processor() or platform.machine() or "of unknown make"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _size(count: int) -> str:
    return f"{count / _GIB:,.1f} GiB"
