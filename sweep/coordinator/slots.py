"""Slots: the devices on which trials run, one trial at a time each."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sweep.coordinator.jobs import StopSignal, run_job
from sweep.errors import DeviceError
from sweep.launch import Launcher
from sweep.spec import WorkersSpec
from sweep.worker import Job

DRIVER_VERSION = Path("/proc/driver/nvidia/version")
DEVICE_FILES = Path("/dev")


@dataclass(frozen=True)
class Slot:
    """A place where one trial runs at a time.

    Attributes:
        name: ``cpu``, or ``cuda:N`` with the device's number among the visible ones.
        label: The device's name for a person.
        device: The device as a trial's process calls it: it sees no other.
        environment: What makes it so.
    """

    name: str
    label: str
    device: str = "cpu"
    environment: Mapping[str, str] = field(default_factory=dict)


def find_slots(
    workers: WorkersSpec, launcher: Launcher, *, stop: StopSignal, body: str, device_files: Path = DEVICE_FILES
) -> list[Slot]:
    """The slots that a study file asks for.

    CUDA is never started in this process: a job of its own asks torch for the devices.

    Args:
        workers: What the study file says.
        launcher: Runs the job that asks.
        stop: Ends the asking early.
        body: What that job runs.
        device_files: Where the system lists NVIDIA devices.

    Returns:
        One slot for each CUDA device, or one for the whole CPU.

    Raises:
        DeviceError: If a device that is asked for does not exist, or the machine has an NVIDIA device that torch cannot
            use; a CPU is never taken silently in its place.
    """
    cpu = Slot("cpu", f"CPU, {os.cpu_count()} cores", environment={"CUDA_VISIBLE_DEVICES": ""})
    present = sorted(file.name for file in device_files.glob("nvidia*") if re.fullmatch(r"nvidia\d+", file.name))
    if workers.devices == "cpu" or (workers.devices == "auto" and not present):
        return [cpu]
    build, names = _ask_torch(launcher, stop, body)
    if workers.devices == "auto":
        if not names:
            raise DeviceError(_unusable(build, present))
        wanted: tuple[int, ...] = tuple(range(len(names)))
    else:
        wanted = workers.devices
        for index in wanted:
            if index >= len(names):
                known = ", ".join(f"{place} ({name})" for place, name in enumerate(names)) or "none"
                raise DeviceError(
                    f"workers.devices: there is no CUDA device {index} for torch {build}; there are: {known}"
                )
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    handles = visible.split(",") if visible else [str(index) for index in range(len(names))]
    return [Slot(f"cuda:{i}", names[i], "cuda", {"CUDA_VISIBLE_DEVICES": handles[i].strip()}) for i in wanted]


def _ask_torch(launcher: Launcher, stop: StopSignal, body: str) -> tuple[str, list[str]]:
    """torch's build and the names of the devices that it can use."""
    job = Job(name="devices", body=body, task=None, log=Path(os.devnull))
    build, names = run_job(launcher, job, stop=stop)
    return build, names


def _unusable(build: str, present: list[str]) -> str:
    driver = "unknown"
    if DRIVER_VERSION.is_file():
        found = re.search(r"Kernel Module\D*([\d.]+)", DRIVER_VERSION.read_text(errors="replace"))
        driver = found.group(1) if found else driver
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None and hidden.strip() in ("", "-1"):
        advice = "CUDA_VISIBLE_DEVICES hides it: unset that"
    else:
        advice = (
            "install a CUDA build of torch that this driver runs (make clean; make setup TORCH_INDEX=...; see README)"
        )
    return (
        f"this machine has an NVIDIA device ({', '.join(present)}; driver {driver}) that torch {build} cannot use:"
        f' {advice}, or set devices = "cpu" under [workers] to train on the CPU'
    )
