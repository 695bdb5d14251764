"""Whole studies of scripted jobs: how they are run, and what holds of every one that is finished."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest

from sweep.coordinator.events import Event, SweepView
from sweep.coordinator.run import run_study
from sweep.launch import InlineLauncher, Launcher, LocalLauncher
from sweep.plan import StudyPlan, plan_study
from sweep.signals import StopSignal
from sweep.storage.evaluations import UNTRAINED, EvaluationTable
from sweep.storage.location import locate_study
from sweep.storage.records import StudyRecord, TrialRecord, load_record
from sweep.testing import SCRIPT, scripted_ndcg

JOBS = "sweep.testing"
BASELINE = 0.5
"""NDCG@10 of the scripted untrained model."""


class NoDevice(InlineLauncher):
    """A launcher on a machine without a CUDA device, whatever this one has."""

    list_devices = "pretended:list_none"


class ThreeDevices(LocalLauncher):
    """A launcher on a machine with three CUDA devices."""

    list_devices = "pretended:list_three"


class Recorder:
    """A watcher that keeps what it was told."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.views: list[SweepView] = []

    def show(self, event: Event) -> None:
        self.events.append(event)

    def refresh(self, sweep: SweepView) -> None:
        self.views.append(sweep)

    def texts(self, kind: str) -> list[str]:
        return [event.text for event in self.events if event.kind == kind]

    def trials(self, kind: str) -> list[int | None]:
        return [event.trial for event in self.events if event.kind == kind]

    @property
    def warnings(self) -> list[str]:
        """All warnings but that of cold starts: tests of a process share a fork server and its imports."""
        return [text for text in self.texts("warning") if not text.startswith("the fork server's imports failed")]


def run(
    file: Path,
    *,
    launcher: Launcher | None = None,
    jobs: str = JOBS,
    watcher: Recorder | None = None,
    finish: Sequence[int] = (),
    confirm: Mapping[str, int] | None = None,
) -> tuple[StudyRecord, Recorder]:
    """Runs a study of scripted jobs as threads of this process, or on ``launcher``."""
    recorder = watcher or Recorder()
    with StopSignal() as stop:
        record = run_study(
            plan_study(locate_study(file), confirm=confirm),
            watcher=recorder,
            stop=stop,
            jobs=jobs,
            launcher=launcher or InlineLauncher(),
            finish=finish,
        )
    return record, recorder


def rewrite(file: Path, old: str, new: str) -> None:
    """Changes a study file."""
    text = file.read_text()
    assert text.count(old) == 1, (old, text)
    file.write_text(text.replace(old, new))


def set_script(file: Path, **script: Any) -> None:
    """Gives the scripted jobs of a study another script."""
    (file.parent / "model" / SCRIPT).write_text(json.dumps(script))


def open_study(file: Path) -> tuple[optuna.Study, EvaluationTable, StudyRecord]:
    """A study's three views, to be read."""
    storage = locate_study(file).database.open_read_only()
    table = EvaluationTable(storage.engine, writable=False)
    return optuna.load_study(study_name="toy", storage=storage), table, load_record(storage, table)


def points(trial: TrialRecord) -> list[int]:
    return [row.progress for row in trial.rows]


def check_finished(file: Path) -> StudyRecord:
    """Holds a finished study against its promises, whatever happened to it on the way."""
    plan = plan_study(locate_study(file))
    study, table, record = open_study(file)
    assert record.counted == plan.spec.budget.trials
    assert {trial.state for trial in record.trials} <= {"complete", "pruned", "fail"}
    assert record.baseline == pytest.approx(BASELINE)
    assert record.attributes["ended_by"] == "trials"
    for trial in record.trials:
        check_trial(plan, trial)
        values = study.trials[trial.number].intermediate_values
        assert values == pytest.approx({0: BASELINE} | {row.progress: row.value for row in trial.rows}, nan_ok=True)
    complete = [trial for trial in record.trials if trial.state == "complete"]
    assert record.best is not None
    assert study.best_trial.number == record.best.number
    assert study.best_value == max(trial.peak.value for trial in complete if trial.peak)
    check_files(plan, record)
    assert table.model_values(UNTRAINED, "test") is not None
    assert table.model_values(record.best.number, "test") is not None
    return record


def check_trial(plan: StudyPlan, trial: TrialRecord) -> None:
    """Every point of its curve that the plan asks for, once, with the value that the script gives it."""
    assert trial.params is not None
    planned = [(point.progress, point.step) for point in plan.evaluations(trial.params.batch_size)]
    measured = [(row.progress, row.step) for row in trial.curve]
    is_complete = trial.state != "fail" and trial.stop is None and trial.equal_to is None
    assert measured == (planned if is_complete else planned[: len(measured)])
    if trial.stop is None or trial.stop.kind != "diverged":
        for row in trial.rows:
            assert row.value == pytest.approx(scripted_ndcg(trial.params, row.progress), abs=1e-6)
            assert row.examples == row.step * trial.params.batch_size
    seconds = [row.seconds for row in trial.rows]
    assert seconds == sorted(seconds)
    if trial.state == "complete":
        assert trial.peak is not None
        assert trial.value == trial.attributes["peak"] == trial.peak.value


def check_files(plan: StudyPlan, record: StudyRecord) -> None:
    """The best model and the default's are there, and no other, and checkpoints only of what may be promoted yet."""
    best = record.best
    assert best is not None
    assert best.peak is not None
    kept = plan.run_folder.peak_model(best.number, best.peak.progress)
    default = record.default
    models = {plan.run_folder.peak_model(one.number, one.peak.progress) for one in (best, default) if one and one.peak}
    paused = [plan.run_folder.trial(trial.number) for trial in record.trials if trial.may_be_promoted]
    stored = {entry for entry in plan.run_folder.checkpoints.glob("*/*") if entry.is_dir()}
    assert {entry for entry in stored if entry.parent not in paused} == models
    assert json.loads((kept / "ndcg.json").read_text()) == pytest.approx(best.value)


def most_at_once(history: Path, *, first: int = 0) -> int:
    """The most trials, of those from a number on, that were between their begin and their end at one time."""
    events = sorted((json.loads(line) for line in history.read_text().splitlines()), key=lambda event: event["time"])
    running, most = 0, 0
    for event in (event for event in events if event["trial"] >= first):
        running += {"begin": 1, "end": -1}.get(event["event"], 0)
        most = max(most, running)
    return most
