"""OnThisMachine: the part that launchers on this machine share: slots, memory in use, older attempts, answers."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from sweep.attempts import end_older_attempt
from sweep.errors import DeviceError
from sweep.launch.jobs import run_job
from sweep.launch.launcher import Launcher, Slot
from sweep.launch.memory import read_machine_gib, read_used_gib
from sweep.launch.node import Node, list_nvidia
from sweep.messages import Device, Job, Pause, Verdict
from sweep.settings.study_file import WorkersSpec
from sweep.signals import StopSignal

DRIVER_VERSION = Path("/proc/driver/nvidia/version")


class OnThisMachine(Launcher):
    """Base of launchers whose jobs run on this machine and are answered over pipes.

    CUDA is never started in this process: a job asks torch for the devices.

    Attributes:
        list_devices: Body of that job, which returns torch's build and the devices.
        device_files: Folder in which the system lists NVIDIA devices.
    """

    list_devices = "sweep.trial:list_devices"
    device_files = Path("/dev")

    def find_slots(self, workers: WorkersSpec, *, stop: StopSignal) -> list[Slot]:
        """The slots of the CUDA devices, the first of each, then the second; or those of the CPU.

        Raises:
            DeviceError: If a device does not exist, or torch cannot use the machine's NVIDIA device; a CPU is never
                taken silently in its place.
            SweepError: If the job that asks torch fails, or a signal ends it.
        """
        present = list_nvidia(self.device_files)
        if workers.cpu_workers is not None:
            return cpu_slots(workers.cpu_workers, processes=workers.gpus_per_trial)
        if workers.devices == "auto" and not present:
            return cpu_slots(workers.trials_per_device, processes=workers.gpus_per_trial)
        build, devices = self._list_devices(stop)
        if workers.devices == "auto" and not devices:
            raise DeviceError(_unusable(build, present))
        return cuda_slots(workers, build, devices)

    def used_gib(self, slot: Slot) -> float | None:
        """Memory in use by the driver on a slot's device, the most of several; None on a CPU."""
        used = [gib for uuid in slot.uuids if (gib := read_used_gib(uuid)) is not None]
        return max(used, default=None)

    def end_older_attempt(self, lock: Path) -> int | None:
        """Kills the process that holds a trial's lock, waits until it is gone, and returns its id."""
        return end_older_attempt(lock)

    def answer(self, job: str, verdict: Verdict) -> None:
        """Answers a job's report."""
        self._send(job, verdict)

    def pause(self, job: str) -> None:
        """Asks a job to stop at its next step."""
        self._send(job, Pause())

    def _send(self, job: str, message: Verdict | Pause) -> None:
        connection = self._connection(job)
        if connection is not None:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.send(message)

    @abstractmethod
    def _connection(self, job: str) -> Connection | None:
        """This end of a job's pipe, or None where the job is gone."""

    def _list_devices(self, stop: StopSignal) -> tuple[str, list[tuple[str, Device]]]:
        """torch's build, and the devices that it can use, each with its value of CUDA_VISIBLE_DEVICES.

        One process can use but one MIG instance, so a job of its own asks for each that is visible.
        """
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        handles = [handle.strip() for handle in visible.split(",")] if visible else []
        if any(handle.startswith("MIG-") for handle in handles):
            asked = [(handle, *self._ask_torch({"CUDA_VISIBLE_DEVICES": handle}, stop)) for handle in handles]
            return asked[0][1], [(handle, devices[0]) for handle, _, devices in asked if devices]
        build, devices = self._ask_torch({}, stop)
        return build, list(zip(handles or [str(index) for index in range(len(devices))], devices, strict=False))

    def _ask_torch(self, environment: Mapping[str, str], stop: StopSignal) -> tuple[str, list[Device]]:
        job = Job(name="devices", body=self.list_devices, task=None, log=Path(os.devnull), environment=environment)
        build, devices = run_job(self, job, stop=stop)
        return build, devices


def cpu_slots(
    count: int, *, cores: int | None = None, memory_gib: float | None = None, processes: int = 1
) -> list[Slot]:
    """Slots that share a machine's CPU: this one's, or one of so many cores and so much memory."""
    cores = cores or os.cpu_count() or 1
    memory_gib = read_machine_gib() if memory_gib is None else memory_gib
    slot = Slot("cpu", f"CPU, {cores} cores", environment={"CUDA_VISIBLE_DEVICES": ""}, memory_gib=memory_gib)
    threads = max(1, cores // (count * processes)) if count * processes > 1 else None
    return [dataclasses.replace(share, threads=threads, processes=processes) for share in _shared([slot], count)]


def cuda_slots(workers: WorkersSpec, build: str, devices: Sequence[tuple[str, Device]]) -> list[Slot]:
    """Slots on those CUDA devices of a machine that a study file names.

    Args:
        workers: What the study file says.
        build: torch's build on that machine.
        devices: The devices that it can use, each with its value of CUDA_VISIBLE_DEVICES.

    Raises:
        DeviceError: If a device is named that is not there, or there are too few for a trial.
    """
    wanted = range(len(devices)) if workers.devices == "auto" else [int(index) for index in workers.devices]
    for index in wanted:
        if index >= len(devices):
            known = ", ".join(f"{place} ({device.label})" for place, (_, device) in enumerate(devices)) or "none"
            raise DeviceError(f"workers.devices: there is no CUDA device {index} for torch {build}; there are: {known}")
    chosen = {index: devices[index] for index in wanted}
    if workers.gpus_per_trial > 1 and any(handle.startswith("MIG-") for handle, _ in chosen.values()):
        raise DeviceError("workers.gpus_per_trial: a process can use but one MIG instance: set it to 1")
    groups = _group(wanted, workers)
    return _shared(
        [_cuda_slot({index: chosen[index] for index in group}) for group in groups], workers.trials_per_device
    )


def _group(indices: Sequence[int], workers: WorkersSpec) -> list[Sequence[int]]:
    """Devices by the trials that they are for, in order; with ``auto`` those that are left over stay idle.

    Raises:
        DeviceError: If there are too few, or those that a study file names cannot be shared out.
    """
    each = workers.gpus_per_trial
    left = len(indices) % each
    if len(indices) < each or (left and workers.devices != "auto"):
        raise DeviceError(
            f"workers.gpus_per_trial: {each} do not go into {len(indices)} CUDA devices: set it to a divisor of that"
        )
    return [indices[start : start + each] for start in range(0, len(indices) - left, each)]


def _cuda_slot(devices: Mapping[int, tuple[str, Device]]) -> Slot:
    """The slot of a device, or of several, by their numbers, each with its value of CUDA_VISIBLE_DEVICES."""
    name = f"cuda:{'+'.join(map(str, devices))}"
    handles = [handle for handle, _ in devices.values()]
    uuids = [handle if handle.startswith("MIG-") else device.uuid for handle, device in devices.values()]
    smallest = min((device for _, device in devices.values()), key=lambda device: device.memory_gib)
    return Slot(
        name,
        smallest.label if len(devices) == 1 else f"{len(devices)} x {smallest.label}",
        "cuda",
        {"CUDA_VISIBLE_DEVICES": ",".join(handles)},
        place=name,
        uuids=tuple(uuid for uuid in uuids if uuid),
        memory_gib=smallest.memory_gib,
        processes=len(devices),
    )


def _shared(places: Sequence[Slot], count: int) -> list[Slot]:
    """Each place ``count`` times: all of them once, then all once more, so that trials spread over the devices."""
    if count == 1:
        return list(places)
    return [
        dataclasses.replace(slot, name=f"{slot.name}/{share + 1}", share=1 / count)
        for share in range(count)
        for slot in places
    ]


def _unusable(build: str, present: Sequence[str]) -> str:
    driver = "unknown"
    if DRIVER_VERSION.is_file():
        version = re.search(r"Kernel Module\D*([\d.]+)", DRIVER_VERSION.read_text(errors="replace"))
        driver = version.group(1) if version else driver
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


def describe_unusable(node: Node, build: str) -> str:
    """What is wrong with another machine that has an NVIDIA device which torch cannot use there."""
    return (
        f"{node.name} has an NVIDIA device ({', '.join(node.nvidia)}) that torch {build} cannot use there: install a"
        ' CUDA build of torch that its driver runs, or set devices = "cpu" under [workers] to train on the CPU'
    )
