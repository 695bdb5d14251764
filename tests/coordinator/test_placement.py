"""Which slot a trial gets: never a device that is still held, never more memory than there is."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from scripted import Recorder, check_finished

from sweep.coordinator.jobs import StopSignal
from sweep.coordinator.limits import find_need
from sweep.coordinator.placement import fits
from sweep.coordinator.run import run_study
from sweep.launch import LocalLauncher
from sweep.plan import plan_study
from sweep.storage.location import locate_study
from sweep.testing import write_toy_study

EIGHT = list(range(8))


def run_on_eight(file: Path, *, read_used_gib=lambda _: None) -> Recorder:
    recorder = Recorder()
    with StopSignal() as stop:
        run_study(
            plan_study(locate_study(file)),
            watcher=recorder,
            stop=stop,
            jobs="eight_devices",
            launcher=LocalLauncher(("sweep.testing",)),
            read_used_gib=read_used_gib,
        )
    return recorder


def most_at_once(history: Path) -> int:
    """The most trials that were between their begin and their end at one time."""
    events = sorted((json.loads(line) for line in history.read_text().splitlines()), key=lambda event: event["time"])
    running, most = 0, 0
    for event in events:
        running += {"begin": 1, "end": -1}.get(event["event"], 0)
        most = max(most, running)
    return most


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
    asked: list[str] = []

    def read_used_gib(uuid: str) -> float:
        """Before the first trial 1 GiB is in use, after it 30 for three looks, and then 1.1."""
        asked.append(uuid)
        return 30.0 if 2 <= len(asked) <= 4 else 1.0 if len(asked) == 1 else 1.1

    recorder = run_on_eight(file, read_used_gib=read_used_gib)
    check_finished(file)
    assert set(asked) == {"GPU-0"}
    assert len(asked) >= 5
    assert recorder.texts("warning") == []


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
