"""Memory of devices and of the machine, asked of the driver and the kernel: CUDA is never started here."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import pynvml

_CGROUP_USES = (
    (Path("/sys/fs/cgroup/memory.current"), "inactive_file"),
    (Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"), "total_inactive_file"),
)
"""Files with the memory that a container uses, its file cache with it, and how its statistics name that."""

_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def read_used_gib(uuid: str) -> float | None:
    """Memory in GiB that is in use on an NVIDIA device or MIG instance; None where the driver does not say."""
    with contextlib.suppress(pynvml.NVMLError):
        pynvml.nvmlInit()  # the driver counts the calls, and does its work at the first
        return float(pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByUUID(uuid)).used) / 2**30
    return None


@dataclass(frozen=True)
class Usage:
    """Memory in use on a machine, by whatever process.

    Attributes:
        machine_gib: GiB of the machine, or of its container.
        devices: GiB of each NVIDIA device, by the driver's name for it.
    """

    machine_gib: float
    devices: Mapping[str, float]


def read_usage() -> Usage:
    """The memory that is in use on this machine now."""
    return Usage(read_used_machine_gib(), {uuid: used for uuid, (used, _) in _read_devices().items()})


def read_used_machine_gib() -> float:
    """Memory in GiB that is in use on this machine, or in its container where that may take less than there is."""
    if read_machine_gib() < _count_bytes() / 2**30:
        for file, droppable in _CGROUP_USES:
            with contextlib.suppress(OSError, ValueError, KeyError):
                lines = file.with_name("memory.stat").read_text(encoding="ascii").splitlines()
                said = dict(line.split() for line in lines)
                return (int(file.read_text(encoding="ascii")) - int(said[droppable])) / 2**30
    memory = psutil.virtual_memory()
    return float(memory.total - memory.available) / 2**30


def read_device_memories() -> tuple[float, ...]:
    """Memory in GiB that each NVIDIA device of this machine has; none where there is no driver."""
    return tuple(total for _, total in _read_devices().values())


def find_devices(visible: str | None) -> tuple[str, ...]:
    """The driver's names for devices, by a value of CUDA_VISIBLE_DEVICES; those that it does not know are left out."""
    uuids = list(_read_devices())
    if visible is None:
        return tuple(uuids)
    words = [word.strip() for word in visible.split(",")]
    numbered = {str(number): uuid for number, uuid in enumerate(uuids)}
    return tuple(numbered.get(word, word) for word in words if word in numbered or word in uuids)


def _read_devices() -> dict[str, tuple[float, float]]:
    """GiB in use and in all of each NVIDIA device, by its name, in the driver's order."""
    devices: dict[str, tuple[float, float]] = {}
    with contextlib.suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        for number in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(number)
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            devices[str(pynvml.nvmlDeviceGetUUID(handle))] = memory.used / 2**30, memory.total / 2**30
    return devices


def _count_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def read_machine_gib() -> float:
    """Memory in GiB that this machine has, or that its container may take, whichever is less."""
    limits = [_count_bytes()]
    for file in _CGROUP_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # ValueError: "max", which is no limit
            limits.append(int(file.read_text(encoding="ascii")))
    return min(limits) / 2**30
