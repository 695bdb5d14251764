"""Which slot a trial gets: never a device that is still held, never more memory than there is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from scripted import Recorder, check_finished, most_at_once

from sweep.coordinator.events import tell_to
from sweep.coordinator.placement import Placement, check_room, find_need, fits
from sweep.coordinator.run import run_study
from sweep.errors import DeviceError
from sweep.launch import LocalLauncher, Slot
from sweep.plan import plan_study
from sweep.settings.study_file import WorkersSpec
from sweep.signals import StopSignal
from sweep.storage.location import locate_study
from sweep.testing import write_toy_study

EIGHT = list(range(8))


class EightDevices(LocalLauncher):
    """A launcher on a machine with eight CUDA devices, whose driver says nothing of their memory."""

    list_devices = "pretended:list_eight"

    def used_gib(self, slot: Slot) -> float | None:  # noqa: ARG002
        return None


class BusyDevices(EightDevices):
    """The same, with 1 GiB in use before the first trial, 1.3 after it for three looks, and then 1.2."""

    def __init__(self) -> None:
        super().__init__(("sweep.testing",))
        self.asked: list[str] = []

    def used_gib(self, slot: Slot) -> float:
        self.asked.extend(slot.uuids)
        return 1.3 if 2 <= len(self.asked) <= 4 else 1.0 if len(self.asked) == 1 else 1.2


def run_on_eight(file: Path, launcher: LocalLauncher | None = None) -> Recorder:
    recorder = Recorder()
    with StopSignal() as stop:
        run_study(
            plan_study(locate_study(file)),
            watcher=recorder,
            stop=stop,
            jobs="eight_devices",
            launcher=launcher or EightDevices(("sweep.testing",)),
        )
    return recorder


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
@pytest.mark.parametrize("trials_per_device", [1, 2])
def test_each_of_eight_devices_is_seen_by_its_trials_alone_and_free_when_their_process_is_gone(
    tmp_path: Path, trials_per_device: int
) -> None:
    history = tmp_path / "history.jsonl"
    file = write_toy_study(
        tmp_path,
        script={"step_s": 0.02, "history": str(history), "memory_gib": 1.0, "together": 8},
        budget={"trials": 20, "examples": 80},
        space={"batch_size": 4, "data_format": "query-document"},
        workers={"devices": EIGHT, "trials_per_device": trials_per_device},
    )
    run_on_eight(file)
    check_finished(file)
    met = [path.read_text().split() for path in (tmp_path / "met").iterdir()]
    assert len(met) == 20
    assert {device for device, _ in met} == {str(place) for place in EIGHT}
    assert max(int(others) for _, others in met) <= trials_per_device - 1
    assert most_at_once(history) >= 8


def test_trials_on_a_shared_cpu_do_not_wait_for_one_another_to_be_measured(tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    file = write_toy_study(
        tmp_path,
        script={"history": str(history), "memory_gib": 0.01, "together": 2},
        budget={"trials": 4, "examples": 160},
        space={"batch_size": 8, "data_format": "query-document"},
        workers={"devices": "cpu:2"},
    )
    run_on_eight(file)
    check_finished(file)
    assert most_at_once(history) == 2


def test_a_device_is_given_to_the_next_trial_when_its_memory_has_returned(tmp_path: Path) -> None:
    file = write_toy_study(tmp_path, script={"together": 1}, budget={"trials": 2}, workers={"devices": [0]})
    launcher = BusyDevices()
    recorder = run_on_eight(file, launcher)
    check_finished(file)
    assert set(launcher.asked) == {"GPU-0"}
    assert len(launcher.asked) >= 5
    assert recorder.warnings == []


class FixedUse(EightDevices):
    """Eight devices of which so much memory is in use as is set."""

    used = 1.0

    def used_gib(self, slot: Slot) -> float:  # noqa: ARG002
        return self.used


def test_a_quarter_of_a_gib_may_stay_in_use_on_a_device_that_is_free_again() -> None:
    launcher, recorder = FixedUse(), Recorder()
    slot = Slot("cuda:0", "a card", "cuda", place="cuda:0", uuids=("GPU-0",), memory_gib=80.0)
    placement = Placement([slot], WorkersSpec(), launcher=launcher, limits=None, tell=tell_to(recorder))  # type: ignore[arg-type]
    placement.take(slot, [])
    placement.leave(slot)
    for used, free in [(9.0, []), (1.26, []), (1.25, [slot]), (9.0, [slot])]:  # once free, it is no longer asked for
        launcher.used = used
        assert placement.find_free([]) == free
    assert recorder.events == []


def test_a_sick_device_that_is_gone_from_its_cluster_is_retired_by_its_name() -> None:
    gone, well = Slot("a/gpu:0", "H100", "cuda", place="a/gpu:0"), Slot("b/gpu:0", "H100", "cuda", place="b/gpu:0")
    recorder = Recorder()
    placement = Placement([gone, well], WorkersSpec(), launcher=FixedUse(), limits=None, tell=tell_to(recorder))  # type: ignore[arg-type]
    for trial in (3, 4):
        placement.health.note_failure(gone, trial)
    placement.health.note_end(well)
    placement.slots = [well]
    assert placement.retire_sick() == [3, 4]
    assert recorder.warnings[0].startswith("a/gpu:0 (gone by now): trials 3, 4 failed on it")


@pytest.mark.parametrize(
    ("needed", "others", "memory", "used", "expected"),
    [
        (None, [], 80.0, 0.0, True),  # alone: what was never measured is measured
        (200.0, [], 80.0, 0.0, True),
        (None, [10.0], 80.0, 0.0, False),
        (10.0, [None], 80.0, 0.0, False),
        (10.0, [10.0], 23.0, 0.0, True),  # 1.15 x 20
        (10.0, [10.0], 22.9, 0.0, False),
        (10.0, [10.0], 23.0, 0.1, False),
        (0.0, [0.0, 0.0], 1.0, 0.5, True),
    ],
)
def test_a_trial_joins_others_where_what_its_like_has_used_fits(
    needed: float | None, others: list[float | None], memory: float, used: float, expected: bool
) -> None:
    assert fits(needed, others, memory_gib=memory, used_gib=used) is expected


@pytest.mark.parametrize(
    ("batch", "micro", "expected"),
    [
        (64, 16, 4.0),
        (32, 16, 4.0),  # at most what a larger batch used
        (32, 8, 3.0),
        (64, None, 5.0),
        (32, None, 9.0),
        (256, 16, None),
        (16, 64, 9.0),
    ],
)
def test_what_a_trial_needs_is_what_its_like_or_a_larger_one_has_used(
    batch: int, micro: int | None, expected: float | None
) -> None:
    measured = [(64, 16, 4.0), (64, 32, 5.0), (128, 64, 9.0), (64, 8, 3.0)]
    assert find_need(measured, batch_size=batch, micro_batch=micro) == expected


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
