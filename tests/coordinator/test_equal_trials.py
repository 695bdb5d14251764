"""Trials that are equal: the same settings and seed are trained once, and each of them has the curve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from scripted import JOBS, Recorder, check_finished, open_study, rewrite, run

from sweep.columns import BY_KEY
from sweep.coordinator.fork import fork_study
from sweep.launch import LocalLauncher
from sweep.plan import plan_study
from sweep.report.diagnosis.ended_runs import collect_runs
from sweep.report.tables import tabulate_budget
from sweep.run_folder import RunFolder
from sweep.status import describe_study
from sweep.storage.database import open_storage
from sweep.storage.location import locate_study
from sweep.storage.records import StudyRecord
from sweep.study import open_study as open_frames
from sweep.testing import write_toy_study

FOUR_POINTS = {"learning_rate": 1e-4, "warmup_ratio": 0.1, "batch_size": {"low": 4, "high": 8}}
"""Two batch sizes and both data formats."""

POINT = {"learning_rate": 5e-5, "warmup_ratio": 0.1, "batch_size": 8, "data_format": "query-document"}


def write_study(folder: Path, space: dict[str, Any], *, trials: int, **tables: Any) -> Path:
    usual = {"script": {}, "stopping": {"drop_off": False}, "space": space, "budget": {"trials": trials}}
    return write_toy_study(folder, **{**usual, **tables})


def equal_to(record: StudyRecord) -> dict[int, int]:
    return {trial.number: trial.equal_to for trial in record.trials if trial.equal_to is not None}


def check_trained_once(file: Path, recorder: Recorder) -> StudyRecord:
    """Holds a finished study against its promise: none of its trials was trained twice, and each has a curve."""
    plan, record = plan_study(locate_study(file)), check_finished(file)
    equal = equal_to(record)
    trained = [trial for trial in record.trials if trial.number not in equal]
    assert len({plan.trained_as(trial.params) for trial in trained if trial.params}) == len(trained)
    assert not set(equal) & {number for number in recorder.trials("start") if number is not None}
    for number, known in equal.items():
        trial, other = record.trials[number], record.trials[known]
        assert trial.params is not None
        assert other.params is not None
        assert plan.trained_as(trial.params) == plan.trained_as(other.params)
        assert (trial.curve, trial.state, trial.value) == (other.rows, other.state, other.value)
        assert (trial.rows, trial.examples, trial.planned_examples) == ((), 0, 0)
        [said] = [event.text for event in recorder.events if event.kind == "end" and event.trial == number]
        assert f"equal to trial {known}, whose curve it has: it is not trained again" in said
    return record


@pytest.fixture(scope="module")
def exhausted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recorder]:
    """A study of seven trials in a space of four points."""
    file = write_study(tmp_path_factory.mktemp("exhausted"), FOUR_POINTS, trials=7)
    return file, run(file)[1]


def test_a_small_space_ends_its_budget_and_trains_each_of_its_points_once(exhausted: tuple[Path, Recorder]) -> None:
    record = check_trained_once(*exhausted)
    assert sorted(equal_to(record)) == [4, 5, 6]
    assert exhausted[1].trials("start") == [0, 1, 2, 3]


def test_every_view_says_so_and_nothing_is_counted_twice(exhausted: tuple[Path, Recorder]) -> None:
    with open_frames(exhausted[0]) as study:
        known = equal_to(study.record)
        assert [run.trial for run in collect_runs(study)] == [0, 1, 2, 3]
        assert len(study.recorded_runs()) == 4
        assert tabulate_budget(study)[["held", "fell", "saved"]].to_numpy().sum() == 4 * 320
        shown = describe_study(study)
        assert shown["saved"]["examples"] == 0
        for trial in shown["trials"]:
            assert trial["equal_to"] == known.get(trial["number"])
            assert trial["curve"] == shown["trials"][known.get(trial["number"], trial["number"])]["curve"]
        frame = study.trials().set_index("trial")
        assert frame["equal_to"].dropna().to_dict() == known
        assert frame["examples"].sum() == 4 * 320
        for number, other in known.items():
            assert frame.loc[number, "peak"] == frame.loc[other, "peak"]
            text = BY_KEY["why"].text(study.record.trials[number], study.record)
            assert text == f"equal to trial {other}, whose curve it has: it was not trained again"


def test_a_fork_and_a_longer_budget_train_none_again(exhausted: tuple[Path, Recorder]) -> None:
    new = exhausted[0].with_name("new.toml")
    new.write_text(exhausted[0].read_text().replace('name = "toy"', 'name = "new"').replace("trials = 7", "trials = 9"))
    fork = fork_study(plan_study(locate_study(exhausted[0])), plan_study(locate_study(new)))
    assert len(fork.taken) == 7
    record, recorder = run(new)
    assert recorder.trials("start") == []
    assert sorted(equal_to(record)) == [4, 5, 6, 7, 8]


def test_points_that_run_at_the_same_time_are_awaited(tmp_path: Path) -> None:
    workers = {"devices": "cpu:3"}
    file = write_study(tmp_path, FOUR_POINTS, trials=8, workers=workers, script={"step_s": 0.005})
    _, recorder = run(file, launcher=LocalLauncher((JOBS,)))
    record = check_trained_once(file, recorder)
    assert len(equal_to(record)) == 4


def test_a_start_point_that_is_listed_twice_gives_its_place_to_another(tmp_path: Path) -> None:
    file = write_study(tmp_path, {"batch_size": {"low": 4, "high": 8}, "start": [POINT, POINT]}, trials=3)
    record, recorder = run(file)
    check_trained_once(file, recorder)
    assert equal_to(record) == {}
    assert [trial.attributes.get("start") for trial in record.trials] == [0, None, None]
    assert "space.start[1] is equal to trial 0, and is not trained again" in recorder.texts("study")


def test_of_a_point_that_was_enqueued_twice_one_is_trained(tmp_path: Path) -> None:
    file = write_study(tmp_path, {"batch_size": {"low": 4, "high": 8}}, trials=1)
    run(file)
    tried = open_study(file)[0].trials[0].params
    study = optuna.load_study(study_name="toy", storage=open_storage(RunFolder.beside(file).database))
    for values in (tried, {**tried, "learning_rate": 3e-5}, {**tried, "learning_rate": 3e-5 * (1 + 1e-15)}):
        study.enqueue_trial(values)
    rewrite(file, "trials = 1", "trials = 5")
    record, recorder = run(file)
    assert equal_to(record) == {1: 0, 3: 2}
    assert recorder.trials("start") == [2, 4]


def test_a_failed_trial_has_no_curve_to_give(tmp_path: Path) -> None:
    one_point = {**FOUR_POINTS, "batch_size": 8, "data_format": "query-document"}
    file = write_study(tmp_path, one_point, trials=3, script={"fail": [0]})
    record, recorder = run(file)
    assert [trial.state for trial in record.trials] == ["fail", "complete", "complete", "complete"]
    assert record.trials[2].attributes["rerun_of"] == 0
    assert equal_to(record) == {2: 1, 3: 1}
    assert recorder.trials("start") == [0, 1]


def test_warm_ups_of_as_many_steps_are_equal(tmp_path: Path) -> None:
    one_point = {**FOUR_POINTS, "batch_size": 8, "data_format": "query-document"}
    space = {**one_point, "warmup_ratio": {"low": 0.0, "high": 0.05}}  # none, one or two of 40 steps
    file = write_study(tmp_path, space, trials=5)
    _, recorder = run(file)
    assert len(equal_to(check_trained_once(file, recorder))) >= 2


def test_a_point_that_is_paused_at_a_rung_is_awaited_until_it_ends(tmp_path: Path) -> None:
    rungs = {"at": [0.15], "keep": [0.25]}
    file = write_study(tmp_path, FOUR_POINTS, trials=7, rungs=rungs)
    record, recorder = run(file)
    assert len(equal_to(record)) == 3
    assert check_trained_once(file, recorder).counted == 7
    assert {trial.ended_by for trial in record.trials} == {"budget", "not promoted", "equal"}
