"""Studies that are interrupted in every way: nothing is lost, nothing is done twice, nobody is left behind."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import signal
import sqlite3
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from processes import end_group
from runs import Start, check_gone, read_until, workers
from scripted import JOBS, Recorder, check_finished, open_study, points, rewrite, run, set_script

from sweep.coordinator.events import Event
from sweep.coordinator.run import run_study
from sweep.errors import StorageError
from sweep.launch import InlineLauncher
from sweep.messages import Cosines, Evaluation, Job, Report
from sweep.plan import plan_study
from sweep.run_folder import RunFolder
from sweep.signals import StopSignal
from sweep.storage.database import open_storage
from sweep.storage.evaluations import EvaluationTable
from sweep.storage.location import locate_study
from sweep.storage.records import StudyRecord
from sweep.testing import write_toy_study


def finish(start: Start, file: Path) -> StudyRecord:
    """Runs a study to its end."""
    process = start(file)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, (out, (file.parent.parent / "errors.txt").read_text())
    check_gone(process)
    return check_finished(file)


def write_study(tmp_path: Path, *, step_s: float = 0.02, trials: int = 4, **tables: Any) -> Path:
    script = {"step_s": step_s}
    return write_toy_study(tmp_path / "a 'study'", script=script, budget={"trials": trials}, **tables)


@pytest.mark.parametrize(("victim", "seed"), [("coordinator", 1), ("coordinator", 2), ("everybody", 1)])
def test_a_study_whose_coordinator_is_killed_again_and_again_ends_whole(
    tmp_path: Path, start: Start, victim: str, seed: int
) -> None:
    file = write_study(tmp_path)
    moments = random.Random(f"{victim} {seed}")
    for kill in range(4):
        process = start(file)
        if kill % 2:  # at any moment of its start, and then at any moment of a trial that has got somewhere
            read_until(process, "evaluate")
            time.sleep(moments.uniform(0.0, 0.7))
        else:
            time.sleep(moments.uniform(0.1, 1.6))
        if victim == "coordinator":
            process.kill()
        else:
            end_group(process.pid)
        process.wait()
        check_gone(process)
        if RunFolder.beside(file).database.exists() and kill % 2:
            open_study(file)
    record = finish(start, file)
    assert len(record.trials) == 4
    assert all(trial.state != "fail" for trial in record.trials)


def test_a_study_whose_workers_are_killed_again_and_again_ends_whole(tmp_path: Path, start: Start) -> None:
    file = write_study(tmp_path, stopping={"drop_off": False})
    moments = random.Random(0)
    process = start(file)
    read_until(process, "start")
    for _ in range(6):
        read_until(process, "evaluate")
        time.sleep(moments.uniform(0.0, 0.2))
        for worker in workers(process.pid)[:1]:
            os.kill(worker, signal.SIGKILL)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    check_gone(process)
    record = check_finished(file)
    assert len(record.trials) == 4
    assert all(trial.state == "complete" for trial in record.trials)
    assert sum(trial.attributes.get("interruptions", 0) for trial in record.trials) >= 1


@pytest.mark.parametrize(
    ("number", "status", "to_all"),
    [
        (signal.SIGINT, 130, True),
        (signal.SIGTERM, 143, False),
        (signal.SIGTERM, 143, True),
        (signal.SIGHUP, 129, True),
        (signal.SIGUSR1, 138, True),
        (signal.SIGUSR2, 140, False),
        (signal.SIGXCPU, 152, True),
    ],
)
def test_a_run_that_is_asked_to_stop_saves_and_goes_on(
    tmp_path: Path, start: Start, number: int, status: int, to_all: bool
) -> None:
    file = write_study(tmp_path, trials=2, space={"batch_size": 8}, stopping={"drop_off": False})
    process = start(file)
    read_until(process, "evaluate")
    (os.killpg if to_all else os.kill)(process.pid, number)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == status, out
    assert "error None interrupted; run the same command again to go on" in out
    assert "saved at step" in out
    check_gone(process)
    [trial] = open_study(file)[2].trials
    assert trial.state == "running"
    set_script(file)
    _, recorder = run(file)
    [text] = recorder.texts("adopt")
    assert text.endswith("(it was paused)")
    assert "from step 0 " not in text
    record = check_finished(file)
    assert [trial.attributes.get("interruptions", 0) for trial in record.trials] == [0, 0]
    assert (tmp_path / "errors.txt").read_text() == ""


def test_a_second_signal_ends_everything_at_once_and_is_no_interruption(tmp_path: Path, start: Start) -> None:
    file = write_study(tmp_path, step_s=0.05, trials=2)
    process = start(file)
    read_until(process, "evaluate")
    set_script(file, step_s=600)
    os.killpg(process.pid, signal.SIGINT)  # the trial that runs has read its script, so it pauses
    process.communicate(timeout=60)
    for _ in range(3):  # more often than a trial may be interrupted without progress
        process = start(file)
        read_until(process, "start")
        os.killpg(process.pid, signal.SIGINT)
        read_until(process, "pause")
        os.killpg(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "ended before it could save; its last checkpoint counts" in out
        check_gone(process)
    set_script(file)
    run(file)
    assert check_finished(file).trials[0].attributes.get("interruptions", 0) == 0
    assert (tmp_path / "errors.txt").read_text() == ""


def test_a_signal_while_the_study_is_prepared_leaves_nothing(tmp_path: Path, start: Start) -> None:
    file = write_study(tmp_path)
    process = start(file)
    read_until(process, "prepare")
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=60)
    check_gone(process)
    if process.returncode == 143 and not RunFolder.beside(file).database.exists():
        assert not RunFolder.beside(file).path.exists()
    set_script(file)
    run(file)
    check_finished(file)


class FullDisk(InlineLauncher):
    """A launcher under which the coordinator finds its disk full once a trial runs."""

    def start(self, job: Job) -> None:
        super().start(job)
        if job.name.startswith("trial"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class CutOffError(BaseException):
    """Ends a run as a kill would: nobody is prepared for it."""


class CutOff(Recorder):
    """A watcher that cuts the run off at an event of a kind, the first or a later one."""

    def __init__(self, kind: str, *, after: int = 0) -> None:
        super().__init__()
        self._kind, self._left = kind, after

    def show(self, event: Event) -> None:
        if event.kind == self._kind:
            self._left -= 1
            if self._left < 0:
                raise CutOffError("cut off")


def test_a_trial_is_not_at_fault_where_its_run_was_cut_off_before_it_had_a_process(tmp_path: Path) -> None:
    file = write_study(tmp_path, trials=1, step_s=0.0)
    for kind in ("start", "adopt", "adopt", "adopt"):
        with pytest.raises(CutOffError, match="cut off"), StopSignal() as stop:
            run_study(
                plan_study(locate_study(file)), watcher=CutOff(kind), stop=stop, jobs=JOBS, launcher=InlineLauncher()
            )
    run(file)
    assert check_finished(file).trials[0].attributes["interruptions"] == 1


def cut_off(file: Path, *, after_s: float, running: int = 1) -> None:
    """Runs a study whose coordinator dies once as many trials have run for so long."""
    set_script(file, step_s=600)
    with pytest.raises(CutOffError, match="cut off"), StopSignal() as stop:
        run_study(
            plan_study(locate_study(file)),
            watcher=CutOff("start", after=running - 1),
            stop=stop,
            jobs=JOBS,
            launcher=InlineLauncher(),
        )
    then = time.time() + after_s
    os.utime(RunFolder.beside(file).unfinished, (then, then))


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A finished study of two trials whose budget was raised to four."""
    file = write_study(tmp_path, step_s=0.0, trials=2, stopping={"drop_off": False})
    run(file)
    rewrite(file, "trials = 2", "trials = 4")
    return file


def test_a_trial_that_takes_its_coordinator_with_it_five_times_fails_and_goes_on_at_the_next_start(
    begun: Path,
) -> None:
    for _ in range(5):
        cut_off(begun, after_s=60.0)
    set_script(begun)
    run(begun)
    record = check_finished(begun)
    assert [trial.state for trial in record.trials] == ["complete", "complete", "fail", "complete"]
    assert record.trials[2].attributes["error"] == "its coordinator died while it ran alone, 5 times without progress"
    run(begun)
    assert [trial.state for trial in check_finished(begun).trials] == ["complete"] * 4


@pytest.mark.parametrize(("after_s", "at_once"), [(-1.0, 1), (60.0, 2)], ids=["before its first step", "not alone"])
def test_the_coordinators_own_deaths_are_no_fault_of_a_trial(begun: Path, after_s: float, at_once: int) -> None:
    rewrite(begun, 'devices = "cpu"', f'devices = "cpu:{at_once}"')
    for _ in range(6):
        cut_off(begun, after_s=after_s, running=at_once)
    set_script(begun)
    run(begun)
    record = check_finished(begun)
    assert [trial.state for trial in record.trials] == ["complete"] * 4
    assert all(trial.attributes.get("suspected", 0) == 0 for trial in record.trials)
    assert record.trials[2].attributes["interruptions"] >= 3


def test_a_trial_is_not_at_fault_where_its_coordinator_was_ended_by_a_full_disk(tmp_path: Path) -> None:
    file = write_study(tmp_path, trials=2, step_s=0.0)
    for _ in range(4):  # more often than a trial may be interrupted without progress
        with pytest.raises(StorageError, match="No space left on device"):
            run(file, launcher=FullDisk())
    run(file)
    record = check_finished(file)
    assert [trial.attributes.get("interruptions", 0) for trial in record.trials] == [0, 0]


# ---- what a crash between two writes leaves


VALUES = {
    "learning_rate": 1.5e-5,
    "warmup_ratio": 0.125,
    "log2_batch_size": 3,
    "data_format": "query-document",
    "scale": 20.0,
    "scheduler": "linear",
}


def enqueue(file: Path) -> optuna.Study:
    """The study with a trial in its queue, as the coordinator enqueues it."""
    study = optuna.load_study(study_name="toy", storage=open_storage(RunFolder.beside(file).database))
    params = plan_study(locate_study(file)).space.params(VALUES)
    attributes = {"params": params.as_dict(), "batch_size": 8, "steps": 40, "seed": 0, "start": 0, "start_values": {}}
    study.enqueue_trial(VALUES, user_attrs=attributes)
    return study


def check_adopted(file: Path) -> StudyRecord:
    record = check_finished(file)
    assert len(record.trials) == 4
    assert record.trials[2].params == plan_study(locate_study(file)).space.params(VALUES)
    assert record.trials[2].state == "complete"
    assert open_study(file)[0].trials[2].params == plan_study(locate_study(file)).space.complete(VALUES)
    return record


def test_a_trial_killed_between_its_enqueueing_and_its_start_runs_as_it_was_enqueued(begun: Path) -> None:
    enqueue(begun)
    run(begun)
    check_adopted(begun)


@pytest.mark.parametrize("known", [0, 1, 3, 6])
def test_a_trial_killed_between_its_start_and_its_settings_gets_those_it_was_enqueued_with(
    begun: Path, known: int
) -> None:
    study = enqueue(begun)
    distributions = plan_study(locate_study(begun)).space.distributions
    study.ask({name: distributions[name] for name in list(VALUES)[:known]})
    assert len(open_study(begun)[0].trials[2].params) == known
    run(begun)
    check_adopted(begun)


def test_a_trial_that_was_never_started_keeps_its_settings_when_the_range_is_narrowed(begun: Path) -> None:
    enqueue(begun)
    rewrite(begun, "[space]", "[space]\nlearning_rate = { low = 1e-4, high = 2e-4, log = true }")
    run(begun)
    record = check_adopted(begun)
    assert record.trials[3].params is not None
    assert record.trials[3].params.learning_rate >= 1e-4


def test_a_measurement_that_optuna_never_saw_is_reported_again_and_stands(begun: Path) -> None:
    study = enqueue(begun)
    study.ask(plan_study(locate_study(begun)).space.distributions)
    cosines = Cosines(mean=0.5, p5=0.1, p95=0.9)
    values = [0.5 + index / 1000 for index in range(60)]
    evaluation = Evaluation(
        per_query=np.array(values, dtype=np.float32), positives=cosines, negatives=cosines, seconds=0.1
    )
    report = Report(
        progress=100,
        step=4,
        examples=32,
        evaluation=evaluation,
        seconds=1.0,
        evaluation_seconds=0.1,
        micro_batch=8,
        loss=0.5,
    )
    storage = open_storage(RunFolder.beside(begun).database)
    EvaluationTable(storage.engine, writable=True).add([(2, report)])
    storage.engine.dispose()
    _, recorder = run(begun)
    [text] = recorder.texts("remeasure")
    assert text == "10.0% measured again after an interruption: differs; the first measurement stands"
    study, table, record = open_study(begun)
    assert points(record.trials[2]) == [100, 200, 400, 600, 800, 1000]
    assert table.per_query(2)[1][0].tolist() == evaluation.per_query.tolist()
    assert record.trials[2].rows[0].value == evaluation.value
    assert study.trials[2].intermediate_values[100] == evaluation.value
    assert sorted(study.trials[2].intermediate_values) == [0, *points(record.trials[2])]


def test_what_a_crash_kept_from_being_deleted_is_deleted_at_the_next_start(begun: Path) -> None:
    rewrite(begun, "trials = 4", "trials = 2")  # its last trial has ended, and its models were not judged yet
    with contextlib.closing(sqlite3.connect(RunFolder.beside(begun).database)) as connection, connection:
        connection.execute("DELETE FROM evaluations WHERE split = 'test'")
    folder = RunFolder.beside(begun)
    for left in (folder.checkpoint(0, 4), folder.peak_model(1, 200), folder.trial(0) / "step-00000008.partial"):
        left.mkdir(parents=True, exist_ok=True)
        (left / "weights").write_bytes(b"left behind")
        (left / "manifest.json").write_text(json.dumps({"files": {}}))
    run(begun)
    check_finished(begun)


def test_a_base_model_that_is_no_longer_whole_is_made_again(begun: Path) -> None:
    base = RunFolder.beside(begun).base_model
    (base / "ndcg.json").write_text("0.1")
    _, recorder = run(begun)
    assert len(recorder.texts("prepare")) == 2
    check_finished(begun)
    assert json.loads((base / "ndcg.json").read_text()) == 0.5
