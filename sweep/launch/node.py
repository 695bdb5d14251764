"""Node: what a machine says of itself before it is given work, and what speaks against giving it any."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from sweep.launch.memory import read_device_memories, read_machine_gib

DISTRIBUTION = "retrieval-sweep"
"""Name under which this package is installed."""

LIBRARIES = ("torch", "transformers", "sentence-transformers")
"""Packages in whose versions every worker of a study must agree: what they compute is what trials are compared by."""

DEVICE_FILES = Path("/dev")
"""Folder in which the system lists NVIDIA devices."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """A machine on which a worker runs.

    Attributes:
        name: Its host name.
        versions: Versions of this program and of the libraries that compute, by name.
        cores: CPU cores that the worker may use.
        memory_gib: Memory of the machine, or of the worker's container.
        nvidia: NVIDIA devices that the system lists.
        devices_gib: Memory of each NVIDIA device that the driver lists.
    """

    name: str
    versions: Mapping[str, str]
    cores: int
    memory_gib: float
    nvidia: tuple[str, ...] = ()
    devices_gib: tuple[float, ...] = ()


def describe_node() -> Node:
    """The machine of this process; torch is not imported for it."""
    return Node(
        name=os.uname().nodename,
        versions={
            "sweep": f"{_version(DISTRIBUTION)} ({hash_sources()})",
            **{name: _version(name) for name in LIBRARIES},
        },
        cores=count_cores(),
        memory_gib=read_machine_gib(),
        nvidia=list_nvidia(DEVICE_FILES),
        devices_gib=read_device_memories(),
    )


def describe_hardware(*, gpus: int, cores: int, memory_gib: float, kind: str = "") -> str:
    """What a machine has, with the kind of its GPUs where that is known."""
    return f"{gpus} GPUs{f' ({kind})' if kind else ''}, {cores} cores, {memory_gib:.0f} GiB"


def find_mismatch(node: Node, expected: Node) -> str | None:
    """What differs between the versions of a worker's machine and those of the coordinator's, or None."""
    for name, version in expected.versions.items():
        theirs = node.versions.get(name, "none")
        if theirs != version:
            return f"the worker on {node.name} has {name} {theirs}, and the coordinator {version}: install the same"
    return None


def count_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def list_nvidia(folder: Path) -> tuple[str, ...]:
    """NVIDIA devices whose files lie in a folder."""
    return tuple(sorted(file.name for file in folder.glob("nvidia*") if file.name[6:].isdecimal()))


@cache
def hash_sources() -> str:
    """The first digits of a hash over all modules of this package, which tells two versions of one number apart."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        digest.update(f"{file.relative_to(root)}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _version(package: str) -> str:
    """Version of an installed package without its local part: builds for other devices compute the same."""
    try:
        return metadata.version(package).partition("+")[0]
    except metadata.PackageNotFoundError:
        return "none"
