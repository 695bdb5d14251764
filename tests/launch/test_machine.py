"""The slots of a machine: its CUDA devices, its MIG instances, or its CPU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweep.errors import DeviceError, StudyFileError
from sweep.launch import InlineLauncher, LocalLauncher, Slot
from sweep.launch.machine import OnThisMachine, cpu_slots, cuda_slots
from sweep.messages import Device
from sweep.plan import plan_study
from sweep.settings.study_file import WorkersSpec
from sweep.signals import StopSignal
from sweep.storage.location import locate_study
from sweep.testing import write_toy_study


@pytest.fixture(autouse=True)
def _no_device_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.fixture
def launcher() -> Iterator[InlineLauncher]:
    launcher = InlineLauncher()
    yield launcher
    launcher.close()


def slots(launcher: OnThisMachine, device_files: Path, *, listed: str = "list_none", **workers: object) -> list[Slot]:
    launcher.list_devices, launcher.device_files = f"pretended:{listed}", device_files
    return launcher.find_slots(WorkersSpec.model_validate(workers), stop=StopSignal())


@pytest.fixture
def nvidia(tmp_path: Path) -> Path:
    """A folder of device files as a machine with an NVIDIA device has it."""
    for name in ("nvidia0", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    return tmp_path


def test_a_machine_without_an_nvidia_device_has_one_slot_of_all_cores(launcher: InlineLauncher, tmp_path: Path) -> None:
    (tmp_path / "nvidiactl").touch()
    [slot] = slots(launcher, tmp_path)
    assert (slot.name, slot.device) == ("cpu", "cpu")
    assert slot.label.startswith("CPU, ")


def test_an_nvidia_device_that_torch_cannot_use_stops_the_study(launcher: InlineLauncher, nvidia: Path) -> None:
    message = (
        r"\Athis machine has an NVIDIA device \(nvidia0; driver .+\) that torch scripted cannot use: install"
        r' a CUDA build .*, or set devices = "cpu" under \[workers\] to train on the CPU\Z'
    )
    with pytest.raises(DeviceError, match=message):
        slots(launcher, nvidia, devices="auto")


def test_an_nvidia_device_that_is_hidden_is_said_to_be_hidden(
    launcher: InlineLauncher, nvidia: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(DeviceError, match="CUDA_VISIBLE_DEVICES hides it: unset that"):
        slots(launcher, nvidia)


def test_the_cpu_may_be_chosen_beside_an_nvidia_device(launcher: InlineLauncher, nvidia: Path) -> None:
    [slot] = slots(launcher, nvidia, devices="cpu", listed="no_such_body")
    assert slot.name == "cpu"
    assert slot.environment == {"CUDA_VISIBLE_DEVICES": ""}


def test_every_device_that_torch_can_use_is_a_slot_that_sees_no_other(launcher: InlineLauncher, nvidia: Path) -> None:
    found = slots(launcher, nvidia, listed="list_three")
    assert [(slot.name, slot.label, slot.device) for slot in found] == [
        ("cuda:0", "one, 80 GiB", "cuda"),
        ("cuda:1", "two, 80 GiB", "cuda"),
        ("cuda:2", "three, 80 GiB", "cuda"),
    ]
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in found] == ["0", "1", "2"]


def test_devices_are_counted_among_the_visible_ones(
    launcher: InlineLauncher, nvidia: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, GPU-abc,7")
    found = slots(launcher, nvidia, listed="list_three", devices=[2, 1])
    assert [slot.label for slot in found] == ["three, 80 GiB", "two, 80 GiB"]
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in found] == ["7", "GPU-abc"]


def test_a_device_that_is_not_there_is_an_error_that_names_those_that_are(
    launcher: InlineLauncher, tmp_path: Path
) -> None:
    with pytest.raises(
        DeviceError, match=r"there is no CUDA device 3 for torch .*; there are: 0 \(one, 80 GiB\), 1 \(two, 80 GiB\)"
    ):
        slots(launcher, tmp_path, devices=[0, 3], listed="list_three")
    with pytest.raises(DeviceError, match=r"workers\.devices: there is no CUDA device 0 for torch scripted; .*: none"):
        slots(launcher, tmp_path, devices=[0])


def test_the_cpu_can_take_several_trials_with_a_share_of_its_threads_each(
    launcher: InlineLauncher, tmp_path: Path
) -> None:
    found = slots(launcher, tmp_path, devices="cpu:2")
    assert [slot.name for slot in found] == ["cpu/1", "cpu/2"]
    assert {(slot.place, slot.share) for slot in found} == {("cpu", 0.5)}
    assert {slot.threads for slot in found} == {max(1, (os.cpu_count() or 1) // 2)}
    assert len(slots(launcher, tmp_path, devices="cpu", trials_per_device=3)) == 3
    assert [slot.threads for slot in slots(launcher, tmp_path, devices="cpu")] == [None]


def test_several_trials_a_device_take_every_device_once_before_any_twice(
    launcher: InlineLauncher, nvidia: Path
) -> None:
    found = slots(launcher, nvidia, listed="list_three", trials_per_device=2)
    assert [slot.name for slot in found] == ["cuda:0/1", "cuda:1/1", "cuda:2/1", "cuda:0/2", "cuda:1/2", "cuda:2/2"]
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in found] == ["0", "1", "2", "0", "1", "2"]
    assert {slot.share for slot in found} == {0.5}


def test_each_mig_instance_is_asked_for_alone_since_one_process_can_use_but_one(
    nvidia: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-a,MIG-b")
    launcher = LocalLauncher(("sweep.testing",))
    try:
        found = slots(launcher, nvidia, listed="list_instances")
    finally:
        launcher.close()
    assert [(slot.name, slot.label, slot.uuids) for slot in found] == [
        ("cuda:0", "instance MIG-a, 10 GiB", ("MIG-a",)),
        ("cuda:1", "instance MIG-b, 10 GiB", ("MIG-b",)),
    ]
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in found] == ["MIG-a", "MIG-b"]


def group(count: int, **workers: object) -> list[Slot]:
    """The slots of a machine with some devices."""
    devices = [
        (str(index), Device(name="a card", memory_gib=80.0 - index, uuid=f"GPU-{index}")) for index in range(count)
    ]
    return cuda_slots(WorkersSpec.model_validate(workers), "2.13", devices)


def test_devices_are_grouped_for_trials_of_several() -> None:
    found = group(5, gpus_per_trial=2)
    assert [(slot.name, slot.label, slot.uuids, slot.memory_gib, slot.processes) for slot in found] == [
        ("cuda:0+1", "2 x a card, 79 GiB", ("GPU-0", "GPU-1"), 79.0, 2),
        ("cuda:2+3", "2 x a card, 77 GiB", ("GPU-2", "GPU-3"), 77.0, 2),
    ]
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in found] == ["0,1", "2,3"]
    assert [slot.name for slot in group(4, gpus_per_trial=2, devices=[3, 1])] == ["cuda:3+1"]


@pytest.mark.parametrize(("count", "workers"), [(1, {}), (3, {"devices": [0, 1, 2]})])
def test_gpus_that_do_not_go_into_the_devices_are_refused(count: int, workers: dict[str, object]) -> None:
    with pytest.raises(DeviceError, match=rf"workers\.gpus_per_trial: 2 do not go into {count} CUDA devices"):
        group(count, gpus_per_trial=2, **workers)


def test_mig_instances_cannot_be_spanned() -> None:
    devices = [(f"MIG-{index}", Device(name="an instance", memory_gib=10.0)) for index in range(2)]
    with pytest.raises(DeviceError, match=r"workers\.gpus_per_trial: a process can use but one MIG instance"):
        cuda_slots(WorkersSpec(gpus_per_trial=2), "2.13", devices)


def test_processes_of_a_trial_on_a_cpu_share_its_threads() -> None:
    [slot] = cpu_slots(1, cores=8, processes=4)
    assert (slot.threads, slot.processes) == (2, 4)
    assert [slot.threads for slot in cpu_slots(2, cores=8, processes=2)] == [2, 2]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"workers": {"gpus_per_trial": 3}}, r"gpus_per_trial: 16 pairs cannot be shared evenly by 3 GPUs"),
        ({"workers": {"gpus_per_trial": 2, "trials_per_device": 2}}, "trials have parts of a GPU or several GPUs"),
    ],
)
def test_a_table_of_workers_whose_trials_cannot_be_shared_out_is_refused(
    tmp_path: Path, settings: dict[str, object], problem: str
) -> None:
    file = write_toy_study(tmp_path, script={}, space={"batch_size": 16}, **settings)
    with pytest.raises(StudyFileError, match=problem):
        plan_study(locate_study(file))
