from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep import open_study
from sweep.coordinator.events import Event, SweepView
from sweep.coordinator.run import run_study
from sweep.errors import StorageError, StudyEndedError
from sweep.launch import InlineLauncher
from sweep.plan import plan_study
from sweep.run_folder import RunFolder
from sweep.settings.dimensions import DIMENSIONS
from sweep.signals import StopSignal
from sweep.status import describe_study
from sweep.storage.database import open_storage_read_only
from sweep.storage.evaluations import UNTRAINED, EvaluationTable
from sweep.storage.location import locate_study
from sweep.storage.lock import StudyLock
from sweep.storage.records import load_record
from sweep.testing import write_toy_study

STUDY = {
    "version",
    "study",
    "metric",
    "generated_queries",
    "state",
    "budget",
    "baseline",
    "coordinator",
    "benchmarks",
    "trials",
    "best",
    "recommendation",
    "confirmed",
    "confirmed_gain",
    "saved",
}
RECOMMENDATION = {"use", "number", "reason", "checkpoint"}
TRIAL = {
    "number",
    "state",
    "value",
    "peak",
    "peak_progress",
    "retention",
    "stop_reason",
    "error",
    "params",
    "effective_learning_rate",
    "steps",
    "micro_batch",
    "seed",
    "device",
    "node",
    "progress",
    "curve",
    "seconds",
    "evaluation_seconds",
    "interruptions",
    "equal_to",
    "promoted",
    "confirms",
    "longer_than",
    "retrained_examples",
    "paused",
    "benchmarks",
}
PARAMS = {"length", *(dimension.name for dimension in DIMENSIONS)}
BEST = {"number", "value", "test", "params", "checkpoint"}
"""The contract of JSON: a key that is here stays here."""

HOT = {"learning_rate": 6e-4, "data_format": "title-content"}
"""Settings under which a scripted trial falls from its peak."""


class PowerCutError(BaseException):
    """Ends a coordinator without a chance to tidy up."""


class Watcher:
    """Says nothing, and lets the coordinator crash at the first evaluation of a trial."""

    def __init__(self, crash_in: int | None) -> None:
        self._crash_in = crash_in

    def show(self, event: Event) -> None:
        if event.kind == "evaluate" and event.trial == self._crash_in:
            raise PowerCutError("power cut")

    def refresh(self, sweep: SweepView) -> None: ...


def run_scripted(file: Path, *, crash_in: int | None = None) -> None:
    with StopSignal() as stop:
        run_study(
            plan_study(locate_study(file)),
            watcher=Watcher(crash_in),
            stop=stop,
            jobs="sweep.testing",
            launcher=InlineLauncher(),
        )


def describe(file: Path) -> dict[str, Any]:
    """JSON as a machine reads it, after a look at what holds in every state."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    text = json.dumps(describe_study(open_study(file)))
    view: dict[str, Any] = json.loads(text, parse_constant=refuse)
    assert set(view) == STUDY
    assert (view["version"], view["study"], view["metric"]) == (1, "toy", "ndcg@10")
    assert set(view["budget"]) == {"trials", "finished", "ended_by"}
    assert set(view["baseline"]) == {"dev", "test"}
    assert set(view["saved"]) == {"examples", "fraction"}
    assert set(view["recommendation"]) == RECOMMENDATION
    assert view["baseline"]["dev"] == pytest.approx(0.5)
    assert [trial["number"] for trial in view["trials"]] == list(range(len(view["trials"])))
    for trial in view["trials"]:
        assert set(trial) == TRIAL
        assert trial["params"] is None or set(trial["params"]) == PARAMS
        assert trial["curve"][0] == [0, pytest.approx(0.5)]
        assert trial["curve"][-1][0] == trial["progress"]
    if view["best"] is not None:
        assert set(view["best"]) == BEST
    return view


def check_against_database(file: Path, view: dict[str, Any]) -> None:
    storage = open_storage_read_only(RunFolder.beside(file).database)
    table = EvaluationTable(storage.engine, writable=False)
    record = load_record(storage, table)
    for trial in view["trials"]:
        progress, per_query = table.per_query(trial["number"])
        means = [float(np.mean(values, dtype=np.float64)) for values in per_query]
        finite = [(mean, -point) for point, mean in zip(progress, means, strict=True) if np.isfinite(mean)]
        assert [point for point, _ in trial["curve"][1:]] == progress
        assert [value for _, value in trial["curve"][1:]] == [
            pytest.approx(mean) if np.isfinite(mean) else None for mean in means
        ]
        assert (trial["peak"], -(trial["peak_progress"] or 0)) == pytest.approx(max(finite)) if finite else (None, 0)
    complete = [trial for trial in view["trials"] if trial["state"] == "complete"]
    assert view["budget"]["finished"] == record.counted
    if view["best"] is not None:
        assert view["best"]["value"] == max(trial["value"] for trial in complete)
        test = table.model_values(view["best"]["number"], "test")
        assert view["best"]["test"] == (None if test is None else pytest.approx(float(np.mean(test))))
    untrained = table.model_values(UNTRAINED, "test")
    assert view["baseline"]["test"] == (None if untrained is None else pytest.approx(float(np.mean(untrained))))
    stopped = [trial for trial in view["trials"] if trial["state"] in ("complete", "pruned") and trial["stop_reason"]]
    spared = sum(
        round(trial["steps"] * trial["params"]["batch_size"] * (1 - trial["progress"] / 1000)) for trial in stopped
    )
    assert view["saved"]["examples"] == pytest.approx(spared, abs=16 * len(stopped))
    storage.engine.dispose()


def test_a_finished_study_has_its_figures(tmp_path: Path) -> None:
    start = [{**HOT, "batch_size": 4}, {"learning_rate": 6e-4, "data_format": "query-document", "batch_size": 4}]
    file = write_toy_study(tmp_path, script={}, budget={"trials": 3}, space={"start": start})
    run_scripted(file)
    view = describe(file)
    check_against_database(file, view)
    assert view["state"] == "finished"
    assert view["budget"] == {"trials": 3, "finished": 3, "ended_by": "trials"}
    assert view["coordinator"] is None
    assert view["best"]["number"] == 1
    assert (view["best"]["value"], view["best"]["test"]) == pytest.approx((0.8, 0.8), abs=0.01)
    assert view["best"]["params"] == view["trials"][1]["params"]
    checkpoint = Path(view["best"]["checkpoint"])
    assert checkpoint == RunFolder.beside(file).peak_model(1, 1000)
    assert checkpoint.is_dir()
    fallen = view["trials"][0]
    assert fallen["stop_reason"].startswith("drop-off: ")
    assert fallen["progress"] < 1000
    assert 0.0 < fallen["retention"] < 1.0
    assert view["saved"]["examples"] > 0
    assert view["trials"][1]["retention"] == 1.0


def test_a_diverged_trial_has_null_where_a_number_does_not_exist(tmp_path: Path) -> None:
    file = write_toy_study(tmp_path, script={"diverge": [0]}, budget={"trials": 2})
    run_scripted(file)
    view = describe(file)
    check_against_database(file, view)
    diverged = view["trials"][0]
    assert diverged["state"] == "pruned"
    assert diverged["stop_reason"].startswith("diverged")
    assert diverged["curve"][-1][1] is None
    assert diverged["retention"] is None
    assert view["best"]["number"] == 1


def test_a_study_whose_trials_keep_failing_has_failed(tmp_path: Path) -> None:
    file = write_toy_study(tmp_path, script={"fail": [0, 1]})
    with pytest.raises(StudyEndedError, match="scripted failure"):
        run_scripted(file)
    view = describe(file)
    check_against_database(file, view)
    assert view["state"] == "failed"
    assert view["budget"] == {"trials": 4, "finished": 0, "ended_by": None}
    assert (view["best"], view["coordinator"], view["baseline"]["test"]) == (None, None, None)
    for trial in view["trials"]:
        assert trial["state"] == "fail"
        assert "scripted failure" in trial["error"]
        assert (trial["value"], trial["peak"], trial["peak_progress"], trial["seconds"]) == (None,) * 4


def test_a_study_that_nobody_runs_before_its_end_is_interrupted(tmp_path: Path) -> None:
    file = write_toy_study(tmp_path, script={})
    with pytest.raises(PowerCutError, match="power cut"):
        run_scripted(file, crash_in=1)
    view = describe(file)
    check_against_database(file, view)
    assert view["state"] == "interrupted"
    assert view["budget"] == {"trials": 4, "finished": 1, "ended_by": None}
    assert [trial["state"] for trial in view["trials"]] == ["complete", "running"]
    assert (view["best"]["number"], view["best"]["test"]) == (0, None)
    assert view["coordinator"] is None


def test_a_study_that_a_coordinator_holds_is_running(tmp_path: Path) -> None:
    file = write_toy_study(tmp_path, script={})
    with pytest.raises(PowerCutError, match="power cut"):
        run_scripted(file, crash_in=0)
    with StudyLock(RunFolder.beside(file).lock):
        view = describe(file)
    assert view["state"] == "running"
    assert view["coordinator"] == {"pid": os.getpid(), "host": os.uname().nodename}
    assert view["best"] is None
    assert view["trials"][0]["state"] == "running"
    assert describe(file)["state"] == "interrupted"


def test_a_best_model_that_is_gone_is_not_named(tmp_path: Path) -> None:
    file = write_toy_study(tmp_path, script={}, budget={"trials": 1})
    run_scripted(file)
    folder = open_study(file).best_model
    assert folder is not None
    folder.rename(tmp_path / "taken")
    view = describe(file)
    assert view["best"]["number"] == 0
    assert view["best"]["checkpoint"] is None


def test_a_budget_of_the_command_line_is_the_budget(tmp_path: Path) -> None:
    file = write_toy_study(tmp_path, script={})
    with StopSignal() as stop:
        plan = plan_study(locate_study(file), trials=1)
        run_study(plan, watcher=Watcher(None), stop=stop, jobs="sweep.testing", launcher=InlineLauncher())
    view = describe(file)
    assert (view["state"], view["budget"]["trials"]) == ("finished", 1)


def test_a_study_that_has_not_begun_cannot_be_described(tmp_path: Path) -> None:
    file = write_toy_study(tmp_path, script={})
    with pytest.raises(StorageError, match="there is no study here yet"):
        open_study(file)


def test_what_is_no_database_cannot_be_described(tmp_path: Path) -> None:
    file = write_toy_study(tmp_path, script={})
    folder = RunFolder.beside(file)
    folder.path.mkdir()
    folder.database.write_bytes(b"no database at all" * 100)
    with pytest.raises(StorageError, match=r"study\.db: cannot be opened as a study's database"):
        open_study(file)
