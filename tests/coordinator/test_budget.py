"""What ends a study: its trials, its time or its target; and that it goes on when that is raised."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ledgers import begin_study
from scripted import open_study, rewrite, run
from trial_records import make_running, make_trial

import sweep
from sweep.coordinator.budget import SPENT, BudgetTracker, BudgetUsage, describe_end, find_end
from sweep.coordinator.ledger import Ledger
from sweep.launch import Slot
from sweep.run_folder import RunFolder
from sweep.settings.study_file import BudgetSpec
from sweep.status import describe_study
from sweep.storage.location import SqliteLocation, Waiting, lock_study
from sweep.storage.records import StudyRecord, count_saved
from sweep.testing import write_toy_study

BUDGET = BudgetSpec(trials=4, examples=100, wall_clock_h=1.0, device_hours=2.0, target=0.8)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (BudgetUsage(trials=3, wall_clock_s=3599.0, device_s=7199.0, best=0.7999), None),
        (BudgetUsage(trials=4), "trials"),
        (BudgetUsage(trials=0, wall_clock_s=3600.0), "wall_clock_h"),
        (BudgetUsage(trials=0, device_s=7200.0), "device_hours"),
        (BudgetUsage(trials=0, best=0.8), "target"),
        (BudgetUsage(trials=4, wall_clock_s=1e9, device_s=1e9, best=0.9), "target"),
        (BudgetUsage(trials=4, wall_clock_s=1e9), "trials"),
    ],
)
def test_the_part_of_a_budget_that_ends_a_study(usage: BudgetUsage, expected: str | None) -> None:
    assert find_end(BUDGET, usage) == expected
    if expected is not None:
        assert describe_end(expected, BUDGET, usage)


def test_a_budget_of_trials_alone_is_ended_by_nothing_else() -> None:
    assert (
        find_end(BudgetSpec(trials=4, examples=1), BudgetUsage(trials=3, wall_clock_s=1e9, device_s=1e9, best=1.0))
        is None
    )


LIMIT_S = 6.0
"""Seconds in which some trials of the toy study are measured on a busy machine, and fewer than fifty on any."""

NOTHING = StudyRecord(name="toy", attributes={}, trials=(), baseline=0.5)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """The writer of a study that has begun."""
    with lock_study(SqliteLocation(RunFolder(tmp_path), "delete"), waiting=Waiting()) as held:
        ledger = Ledger(held.storage, "toy")
        begin_study(ledger)
        yield ledger


def hours(seconds: float) -> float:
    return seconds / 3600.0


def test_device_hours_are_those_of_devices_however_many_trials_share_one(ledger: Ledger) -> None:
    meter = BudgetTracker(ledger, BudgetSpec(trials=4, examples=100, device_hours=hours(10.0)), now=100.0)
    first, second = (Slot(f"cuda:0/{share}", "a card", "cuda", place="cuda:0") for share in (1, 2))
    other = Slot("cuda:1", "a card", "cuda", place="cuda:1")
    for now, slots in [(102.0, [first, second]), (104.0, [first, other]), (106.0, []), (109.9, [first])]:
        meter.tick(now, [make_running(0, slot=slot) for slot in slots])
        assert not meter.ends_early(NOTHING, [])
    meter.tick(110.1, [make_running(0, slot=first), make_running(1)])  # one waits for a place
    assert meter.ends_early(NOTHING, [])
    assert meter.ended_by == "device_hours"
    assert not meter.ends_early(NOTHING, [])  # it did before


def test_time_in_which_the_machine_slept_is_not_spent_and_a_later_run_goes_on_counting(ledger: Ledger) -> None:
    budget = BudgetSpec(trials=4, examples=100, wall_clock_h=hours(10.0))
    meter = BudgetTracker(ledger, budget, now=0.0)
    for now in (1.0, 4000.0, 4002.0):  # 1 s, then an hour of which 5 s count, and 2 s
        meter.tick(now, [])
    assert not meter.ends_early(NOTHING, [])
    meter.save(4002.0)
    later = BudgetTracker(ledger, budget, now=9000.0)
    later.tick(9001.9, [])
    assert not later.ends_early(NOTHING, [])
    later.tick(9002.1, [])
    assert later.ends_early(NOTHING, [])
    assert later.describe_end() == "the 0.00277778 h of wall-clock time are spent"


def test_a_target_counts_from_the_moment_a_running_trial_reaches_it(ledger: Ledger) -> None:
    meter = BudgetTracker(ledger, BudgetSpec(trials=4, examples=100, target=0.75), now=0.0)
    record = StudyRecord(name="toy", attributes={}, trials=(make_trial(0, 0.7),), baseline=0.5)
    assert not meter.ends_early(record, [make_running(1, 0.625)])
    assert meter.ends_early(record, [make_running(1, 0.625), make_running(2, 0.75)])
    assert meter.ended_by == "target"


def test_a_target_that_is_reached_ends_the_study_with_what_every_trial_has(tmp_path: Path) -> None:
    start = (
        '[[space.start]]\nlearning_rate = 6e-4\nwarmup_ratio = 0.0\nbatch_size = 8\ndata_format = "query-document"\n'
    )
    file = write_toy_study(tmp_path, script={}, budget={"trials": 6, "target": 0.6})
    file.write_text(file.read_text() + start)
    record, recorder = run(file)
    assert record.counted == len(record.trials) == 1
    [trial] = record.trials
    assert trial.state == "complete"
    assert trial.peak is not None
    assert 0.6 <= trial.peak.value < 0.7
    assert trial.stop is not None
    assert trial.stop.kind == "study ended"
    assert trial.stop.text.startswith("study ended: the target of 0.6 is reached: 0.6")
    assert recorder.texts("budget") == [f"the target of 0.6 is reached: {trial.peak.value:.4f}"]
    assert count_saved(record.trials) == (0, 0.0)  # it was not its own curve that stopped it
    study = sweep.open_study(file)
    assert study.state == "finished"
    assert describe_study(study)["budget"] == {"trials": 6, "finished": 1, "ended_by": "target"}
    before = open_study(file)[2]
    record, recorder = run(file, jobs="no.such.module")  # it is finished: nothing starts
    assert recorder.events == []
    assert record.trials == before.trials
    rewrite(file, "target = 0.6", "target = 1.0")
    record, recorder = run(file)
    assert record.counted == 6
    assert record.attributes["ended_by"] == "trials"
    assert recorder.texts("change") == ["budget.target: 0.6 is now 1.0"]


@pytest.mark.parametrize("part", ["wall_clock_h", "device_hours"])
def test_time_that_is_spent_ends_the_study_over_all_of_its_runs(tmp_path: Path, part: str) -> None:
    file = write_toy_study(tmp_path, script={"step_s": 0.01}, budget={"trials": 50, part: LIMIT_S / 3600})
    record, recorder = run(file)
    assert record.attributes["ended_by"] == part
    assert 0 < record.counted < 50
    assert all(trial.state in ("complete", "pruned") for trial in record.trials)
    assert len(recorder.texts("budget")) == 1
    spent = record.attributes[SPENT]
    assert spent["wall_clock_s"] >= spent["device_s"] > 0
    assert run(file)[1].trials("start") == []
    # on a busy machine the last evaluation alone may have taken it far beyond its second
    more = (spent[{"wall_clock_h": "wall_clock_s", "device_hours": "device_s"}[part]] + 1.0) / 3600
    rewrite(file, f"{part} = {LIMIT_S / 3600}", f"{part} = {more}")
    after, recorder = run(file)
    assert after.attributes["ended_by"] == part
    assert after.counted > record.counted
    assert after.trials[: record.counted] == record.trials
