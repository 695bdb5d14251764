"""Slots: the places where trials run, one trial at a time each; several on a device where the study file says so."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sweep.coordinator.jobs import StopSignal, run_job
from sweep.coordinator.memory import machine_memory_gib
from sweep.errors import DeviceError
from sweep.launch import Launcher
from sweep.messages import Device
from sweep.settings.study_file import WorkersSpec
from sweep.worker import Job

DRIVER_VERSION = Path("/proc/driver/nvidia/version")
DEVICE_FILES = Path("/dev")

STATES_A_WEIGHT = 4
"""What training keeps for each weight at the least: the weight, its gradient, and the optimizer's two moments."""

WEIGHT_FILES = "*.safetensors"


@dataclass(frozen=True)
class Slot:
    """A place where one trial runs at a time.

    Attributes:
        name: ``cpu``, or ``cuda:N`` with the device's number among the visible ones; with ``/1``, ``/2`` and so on
            where several trials share it.
        label: The device's name for a person.
        device: The device as a trial's process calls it: it sees no other.
        environment: What makes it so.
        place: The device that the slot is on; slots that share a device have the same.
        uuid: What the driver knows the device by, where that is known.
        memory_gib: Memory of the device.
        share: Share of the device that the slot may plan with.
        threads: Threads that its trial may compute with; None leaves it to torch.
    """

    name: str
    label: str
    device: str = "cpu"
    environment: Mapping[str, str] = field(default_factory=dict)
    place: str = "cpu"
    uuid: str | None = None
    memory_gib: float | None = None
    share: float = 1.0
    threads: int | None = None


def find_slots(
    workers: WorkersSpec, launcher: Launcher, *, stop: StopSignal, body: str, device_files: Path = DEVICE_FILES
) -> list[Slot]:
    """The slots that a study file asks for.

    CUDA is never started in this process: a job of its own asks torch for the devices. One process can use but one MIG
    instance, so where such are visible each is asked for by a job of its own.

    Args:
        workers: What the study file says.
        launcher: Runs the job that asks.
        stop: Ends the asking early.
        body: What that job runs.
        device_files: Where the system lists NVIDIA devices.

    Returns:
        The slots of each CUDA device, or those of the CPU; first one of each device, then its next.

    Raises:
        DeviceError: If a device that is asked for does not exist, or the machine has an NVIDIA device that torch cannot
            use; a CPU is never taken silently in its place.
    """
    present = sorted(file.name for file in device_files.glob("nvidia*") if re.fullmatch(r"nvidia\d+", file.name))
    if workers.cpu_workers is not None:
        return _cpu_slots(workers.cpu_workers)
    if workers.devices == "auto" and not present:
        return _cpu_slots(workers.trials_per_device)
    build, devices = _list_devices(launcher, stop, body)
    if workers.devices == "auto":
        if not devices:
            raise DeviceError(_unusable(build, present))
        wanted: Sequence[int] = range(len(devices))
    else:
        wanted = [int(index) for index in workers.devices]
        for index in wanted:
            if index >= len(devices):
                known = ", ".join(f"{place} ({one.label})" for place, (_, one) in enumerate(devices)) or "none"
                raise DeviceError(
                    f"workers.devices: there is no CUDA device {index} for torch {build}; there are: {known}"
                )
    places = [_cuda_slot(index, *devices[index]) for index in wanted]
    return _shared(places, workers.trials_per_device)


def check_room(slots: Sequence[Slot], weights_bytes: int) -> None:
    """Refuses more trials at once than a device's memory can hold, by the least that training takes.

    Raises:
        DeviceError: If that is above the memory; it names the estimate and what to set.
    """
    least_gib = STATES_A_WEIGHT * weights_bytes / 2**30
    for place in dict.fromkeys(slot.place for slot in slots):
        shares = [slot for slot in slots if slot.place == place]
        memory_gib = shares[0].memory_gib
        if memory_gib is None or least_gib * len(shares) <= memory_gib:
            continue
        fitting = int(memory_gib / least_gib)
        key = 'workers.devices = "cpu:N"' if place == "cpu" else "workers.trials_per_device"
        advice = f"at most {fitting} fit: set {key} to that or less" if fitting else "take a smaller model"
        raise DeviceError(
            f"workers: {len(shares)} trials at once on {shares[0].label} take at least"
            f" {least_gib * len(shares):.1f} GiB ({least_gib:.2f} GiB each for weights, gradients and moments), and it"
            f" has {memory_gib:.1f} GiB; {advice}"
        )


def count_weight_bytes(model: Path) -> int:
    """Bytes of a model folder's weights."""
    return sum(file.stat().st_size for file in model.rglob(WEIGHT_FILES))


def _cpu_slots(count: int) -> list[Slot]:
    cores = os.cpu_count() or 1
    slot = Slot("cpu", f"CPU, {cores} cores", environment={"CUDA_VISIBLE_DEVICES": ""}, memory_gib=machine_memory_gib())
    threads = max(1, cores // count) if count > 1 else None
    return [dataclasses.replace(one, threads=threads) for one in _shared([slot], count)]


def _cuda_slot(index: int, handle: str, device: Device) -> Slot:
    return Slot(
        f"cuda:{index}",
        device.label,
        "cuda",
        {"CUDA_VISIBLE_DEVICES": handle},
        place=f"cuda:{index}",
        uuid=handle if handle.startswith("MIG-") else device.uuid,
        memory_gib=device.memory_gib,
    )


def _shared(places: Sequence[Slot], count: int) -> list[Slot]:
    """Each place ``count`` times: first each once, then each once more, so that trials spread over the devices."""
    if count == 1:
        return list(places)
    return [
        dataclasses.replace(slot, name=f"{slot.name}/{share + 1}", share=1 / count)
        for share in range(count)
        for slot in places
    ]


def _list_devices(launcher: Launcher, stop: StopSignal, body: str) -> tuple[str, list[tuple[str, Device]]]:
    """torch's build, and the devices that it can use, each with what makes it the only visible one."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    handles = [handle.strip() for handle in visible.split(",")] if visible else []
    if any(handle.startswith("MIG-") for handle in handles):
        asked = [(handle, *_ask_torch(launcher, stop, body, {"CUDA_VISIBLE_DEVICES": handle})) for handle in handles]
        return asked[0][1], [(handle, devices[0]) for handle, _, devices in asked if devices]
    build, devices = _ask_torch(launcher, stop, body, {})
    return build, list(zip(handles or [str(index) for index in range(len(devices))], devices, strict=False))


def _ask_torch(
    launcher: Launcher, stop: StopSignal, body: str, environment: Mapping[str, str]
) -> tuple[str, list[Device]]:
    job = Job(name="devices", body=body, task=None, log=Path(os.devnull), environment=environment)
    build, devices = run_job(launcher, job, stop=stop)
    return build, devices


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
