"""Memory of devices and of the machine, asked of the driver and the kernel: CUDA is never started here."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))

MemoryReader = Callable[[str], float | None]
"""Gives the memory in GiB that is in use on a device of a UUID, by whomever; None where the driver does not say."""


class _MemoryInfo(ctypes.Structure):
    """What NVML says of a device's memory, in bytes (nvmlMemory_t)."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


@cache
def _load_nvml() -> ctypes.CDLL | None:
    """The driver's own library, or None on a machine without an NVIDIA driver."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    return library if library.nvmlInit_v2() == 0 else None


def read_used_gib(uuid: str) -> float | None:
    """Memory in GiB that is in use on an NVIDIA device or MIG instance; None where the driver does not say."""
    library = _load_nvml()
    device, info = ctypes.c_void_p(), _MemoryInfo()
    if library is None or library.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(device)) != 0:
        return None
    if library.nvmlDeviceGetMemoryInfo(device, ctypes.byref(info)) != 0:
        return None
    return float(info.used) / 2**30


def machine_memory_gib() -> float:
    """Memory in GiB that this machine has, or that its container may take, whichever is less."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in _CGROUP_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # ValueError: "max", which is no limit
            limits.append(int(file.read_text(encoding="ascii")))
    return min(limits) / 2**30
