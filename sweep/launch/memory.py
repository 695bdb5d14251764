"""Memory of devices and of the machine, asked of the driver and the kernel: CUDA is never started here."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pynvml

_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def read_used_gib(uuid: str) -> float | None:
    """Memory in GiB that is in use on an NVIDIA device or MIG instance; None where the driver does not say."""
    with contextlib.suppress(pynvml.NVMLError):
        pynvml.nvmlInit()  # the driver counts the calls, and does its work at the first
        return float(pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByUUID(uuid)).used) / 2**30
    return None


def read_machine_gib() -> float:
    """Memory in GiB that this machine has, or that its container may take, whichever is less."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in _CGROUP_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # ValueError: "max", which is no limit
            limits.append(int(file.read_text(encoding="ascii")))
    return min(limits) / 2**30
