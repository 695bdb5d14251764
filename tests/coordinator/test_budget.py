"""What ends a study: its trials, its time or its target; and that it goes on when that is raised."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripted import open_study, rewrite, run

from sweep.coordinator.budget import SPENT, Spent, describe_end, find_end
from sweep.settings.study_file import BudgetSpec
from sweep.status import describe_study
from sweep.storage.records import count_saved
from sweep.testing import write_toy_study

BUDGET = BudgetSpec(trials=4, examples=100, wall_clock_h=1.0, device_hours=2.0, target=0.8)


@pytest.mark.parametrize(
    ("spent", "expected"),
    [
        (Spent(trials=3, wall_clock_s=3599.0, device_s=7199.0, best=0.7999), None),
        (Spent(trials=4), "trials"),
        (Spent(trials=0, wall_clock_s=3600.0), "wall_clock_h"),
        (Spent(trials=0, device_s=7200.0), "device_hours"),
        (Spent(trials=0, best=0.8), "target"),
        (Spent(trials=4, wall_clock_s=1e9, device_s=1e9, best=0.9), "target"),
        (Spent(trials=4, wall_clock_s=1e9), "trials"),
    ],
)
def test_the_part_of_a_budget_that_ends_a_study(spent: Spent, expected: str | None) -> None:
    assert find_end(BUDGET, spent) == expected
    if expected is not None:
        assert describe_end(expected, BUDGET, spent)


def test_a_budget_of_trials_alone_is_ended_by_nothing_else() -> None:
    assert find_end(BudgetSpec(trials=4, examples=1), Spent(trials=3, wall_clock_s=1e9, device_s=1e9, best=1.0)) is None


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
    assert 0.6 <= trial.peak.ndcg < 0.7
    assert trial.stop is not None
    assert trial.stop.kind == "study ended"
    assert trial.stop.text.startswith("study ended: the target of 0.6 is reached: 0.6")
    assert recorder.texts("budget") == [f"the target of 0.6 is reached: {trial.peak.ndcg:.4f}"]
    assert count_saved(record.trials) == (0, 0.0)  # it was not its own curve that stopped it
    study = open_study(file)
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
    file = write_toy_study(tmp_path, script={"step_s": 0.01}, budget={"trials": 50, part: 1.0 / 3600})
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
    rewrite(file, f"{part} = {1.0 / 3600}", f"{part} = {more}")
    after, recorder = run(file)
    assert after.attributes["ended_by"] == part
    assert after.counted > record.counted
    assert after.trials[: record.counted] == record.trials
