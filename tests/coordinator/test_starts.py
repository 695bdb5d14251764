"""Where trials run, and starts that come to nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from scripted import check_finished, rewrite, run, set_script

from sweep.coordinator.jobs import JobFailedError, StopSignal
from sweep.coordinator.run import run_study
from sweep.coordinator.slots import Slot, check_room, find_slots
from sweep.errors import DeviceError, ModelError, StorageError, StudyLockedError, SweepError
from sweep.launch import InlineLauncher, LocalLauncher
from sweep.plan import plan_study
from sweep.run_folder import RunFolder
from sweep.settings.study_file import WorkersSpec
from sweep.storage.location import locate_study
from sweep.storage.lock import StudyLock
from sweep.testing import write_toy_study


@pytest.fixture(autouse=True)
def _no_device_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.fixture
def launcher() -> Iterator[InlineLauncher]:
    launcher = InlineLauncher()
    yield launcher
    launcher.close()


def slots(
    launcher: InlineLauncher, device_files: Path, *, jobs: str = "sweep.testing", **workers: object
) -> list[Slot]:
    return find_slots(
        WorkersSpec.model_validate(workers),
        launcher,
        stop=StopSignal(),
        body=f"{jobs}:list_devices",
        device_files=device_files,
    )


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
    [slot] = slots(launcher, nvidia, devices="cpu", jobs="no.such.module")
    assert slot.name == "cpu"
    assert slot.environment == {"CUDA_VISIBLE_DEVICES": ""}


def test_every_device_that_torch_can_use_is_a_slot_that_sees_no_other(launcher: InlineLauncher, nvidia: Path) -> None:
    found = slots(launcher, nvidia, jobs="three_devices")
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
    found = slots(launcher, nvidia, jobs="three_devices", devices=[2, 1])
    assert [slot.label for slot in found] == ["three, 80 GiB", "two, 80 GiB"]
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in found] == ["7", "GPU-abc"]


def test_a_device_that_is_not_there_is_an_error_that_names_those_that_are(
    launcher: InlineLauncher, tmp_path: Path
) -> None:
    with pytest.raises(
        DeviceError, match=r"there is no CUDA device 3 for torch .*; there are: 0 \(one, 80 GiB\), 1 \(two, 80 GiB\)"
    ):
        slots(launcher, tmp_path, devices=[0, 3], jobs="three_devices")
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
    found = slots(launcher, nvidia, jobs="three_devices", trials_per_device=2)
    assert [slot.name for slot in found] == ["cuda:0/1", "cuda:1/1", "cuda:2/1", "cuda:0/2", "cuda:1/2", "cuda:2/2"]
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in found] == ["0", "1", "2", "0", "1", "2"]
    assert {slot.share for slot in found} == {0.5}


def test_each_mig_instance_is_asked_for_alone_since_one_process_can_use_but_one(
    nvidia: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-a,MIG-b")
    launcher = LocalLauncher(("sweep.testing",))
    try:
        found = find_slots(
            WorkersSpec(), launcher, stop=StopSignal(), body="mig_devices:list_devices", device_files=nvidia
        )
    finally:
        launcher.close()
    assert [(slot.name, slot.label, slot.uuid) for slot in found] == [
        ("cuda:0", "instance MIG-a, 10 GiB", "MIG-a"),
        ("cuda:1", "instance MIG-b, 10 GiB", "MIG-b"),
    ]
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in found] == ["MIG-a", "MIG-b"]


def test_more_trials_at_once_than_memory_can_hold_are_refused_with_the_estimate() -> None:
    shares = [Slot(f"cpu/{share}", "CPU, 2 cores", memory_gib=7.9) for share in range(2)]
    check_room(shares[:1], 2**30)
    with pytest.raises(
        DeviceError,
        match=r"2 trials at once on CPU, 2 cores take at least 8\.0 GiB \(4\.00 GiB each .*\), and it has 7\.9 GiB; at"
        r' most 1 fit: set workers\.devices = "cpu:N" to that or less',
    ) as refused:
        check_room(shares, 2**30)
    assert refused.value.exit_code == 2
    check_room([Slot("cuda:0", "a card of unknown memory", place="cuda:0")], 2**40)


# ---- bad starts leave nothing


def test_a_run_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    file = write_toy_study(tmp_path, script={})
    (tmp_path / "toy").write_text("a file in the way")
    with pytest.raises(StorageError, match=r"\A.*toy.*\Z") as refused:
        run(file)
    assert refused.value.exit_code == 2
    assert (tmp_path / "toy").read_text() == "a file in the way"


def test_a_trial_that_finds_the_disk_full_ends_the_run_and_goes_on_once_there_is_room(tmp_path: Path) -> None:
    file = write_toy_study(tmp_path, script={}, budget={"trials": 2})
    run(file)
    rewrite(file, "trials = 2", "trials = 4")
    set_script(file, full=True)
    with pytest.raises(
        StorageError, match=r"trial 2 could not write: OSError: \[Errno 28\] No space .*; nothing is lost: make room"
    ) as stopped:
        run(file)
    assert stopped.value.exit_code == 2
    set_script(file)
    run(file)
    record = check_finished(file)
    assert len(record.trials) == 4
    assert record.trials[2].attributes.get("interruptions", 0) == 0


def test_a_study_on_a_device_that_is_not_there_leaves_nothing(tmp_path: Path) -> None:
    file = write_toy_study(tmp_path, script={}, workers={"devices": [0]})
    with pytest.raises(DeviceError, match="there is no CUDA device 0"):
        run(file)
    assert not RunFolder.beside(file).path.exists()


def start_without_model(file: Path) -> None:
    """Starts a study whose base model goes away after it was planned."""
    plan = plan_study(locate_study(file))
    shutil.rmtree(file.parent / "model")
    with StopSignal() as stop:
        from scripted import Recorder

        run_study(plan, watcher=Recorder(), stop=stop, jobs="sweep.testing", launcher=InlineLauncher())


def test_a_study_whose_base_model_cannot_be_loaded_leaves_nothing(tmp_path: Path) -> None:
    file = write_toy_study(tmp_path, script={})
    with pytest.raises(JobFailedError, match=r"\Amodel\.base: there is no folder .*model") as error:
        start_without_model(file)
    assert error.value.exit_code == ModelError.exit_code == 2
    assert not (tmp_path / "toy").exists()


def test_a_folder_that_was_there_before_is_never_deleted(tmp_path: Path) -> None:
    file = write_toy_study(tmp_path, script={})
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "notes.txt").write_text("mine")
    with pytest.raises(SweepError, match=r"model\.base"):
        start_without_model(file)
    assert (tmp_path / "toy" / "notes.txt").read_text() == "mine"


def test_a_crash_while_the_study_is_prepared_names_a_log_that_is_there(tmp_path: Path) -> None:
    file = write_toy_study(tmp_path, script={})
    with pytest.raises(JobFailedError, match="RuntimeError: scripted crash; see ") as error:
        run(file, jobs="broken_jobs")
    assert error.value.exit_code == 1
    assert str(error.value).endswith(str(RunFolder.beside(file).log(None)))
    run(file)
    check_finished(file)


def test_a_study_that_another_coordinator_runs_is_left_alone(tmp_path: Path) -> None:
    file = write_toy_study(tmp_path, script={}, budget={"trials": 1})
    run(file)
    rewrite(file, "trials = 1", "trials = 2")
    folder = RunFolder.beside(file)
    before = folder.database.read_bytes()
    with StudyLock(folder.lock), pytest.raises(StudyLockedError, match="this study is being run by process"):
        run(file)
    assert folder.database.read_bytes() == before
    run(file)
    check_finished(file)
