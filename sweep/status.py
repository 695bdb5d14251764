"""Where a study stands, read from its database while it runs or after; nothing is written and torch is not needed."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from optuna.storages import RDBStorage

from sweep.errors import StorageError
from sweep.run_folder import RunFolder
from sweep.settings.study_file import StudySpec
from sweep.storage.evaluations import UNTRAINED, EvaluationTable
from sweep.storage.failures import explain_failures
from sweep.storage.location import StudyLocation
from sweep.storage.lock import Holder
from sweep.storage.records import (
    BUDGET_TRIALS,
    ENDED_BY,
    EXCUSED,
    StudyRecord,
    TrialRecord,
    count_saved,
    load_record,
)

STATUS_VERSION = 1
"""Version of the machine's view; additions keep it."""

StudyState = Literal["running", "interrupted", "finished", "failed"]


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a study stands.

    Attributes:
        record: The study.
        spec: Its file.
        run_folder: What it leaves behind.
        holder: The coordinator that runs it now, or None.
        tests: (Q,) NDCG per query on the test split of each model that was judged there, by trial.
    """

    record: StudyRecord
    spec: StudySpec
    run_folder: RunFolder
    holder: Holder | None
    tests: Mapping[int, NDArray[np.float32]]

    @property
    def budget(self) -> int:
        """Trials of the budget, as the last run had it."""
        return int(self.record.attributes.get(BUDGET_TRIALS, self.spec.budget.trials))

    @property
    def state(self) -> StudyState:
        """What goes on, in a word."""
        if self.holder is not None:
            return "running"
        is_spent = self.record.counted >= self.budget or self.record.attributes.get(ENDED_BY) is not None
        if is_spent and not any(trial.state == "running" for trial in self.record.trials):
            return "finished"
        rerun = {trial.attributes.get("rerun_of") for trial in self.record.trials}
        return "failed" if set(self.record.attributes.get(EXCUSED, ())) - rerun else "interrupted"

    @property
    def best_model(self) -> Path | None:
        """Folder of the best model, as a Sentence Transformers folder; None where there is none on disk."""
        best = self.record.best
        if best is None or best.peak is None:
            return None
        folder = self.run_folder.peak_model(best.number, best.peak.progress)
        return folder if folder.is_dir() else None


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A study's database, open for reading alone.

    Attributes:
        location: Where the study is.
        storage: Optuna's storage on the database.
        table: The measurements.
    """

    location: StudyLocation
    storage: RDBStorage
    table: EvaluationTable

    def standing(self) -> Standing:
        """Where the study stands."""
        record = load_record(self.storage, self.table)
        numbers = {UNTRAINED, *(trial.number for trial in (record.best, record.default) if trial)}
        tests = {number: self.table.judgement(number, "test") for number in numbers}
        return Standing(
            record=record,
            spec=self.location.spec,
            run_folder=self.location.run_folder,
            holder=self.location.database.find_holder(),
            tests={number: values for number, values in tests.items() if values is not None},
        )


@contextlib.contextmanager
def open_reading(location: StudyLocation) -> Iterator[Reading]:
    """Opens a study for reading alone, for the life of a ``with`` block.

    Raises:
        SweepError: If the study has not begun or cannot be read.
    """
    opened = location.database.open_read_only()
    try:
        with explain_failures("cannot be read"):
            table = EvaluationTable(opened.engine, writable=False)
            yield Reading(location=location, storage=opened, table=table)
    except StorageError as error:
        raise StorageError(f"{location.database}: {error}") from error
    finally:
        opened.engine.dispose()


def read_standing(location: StudyLocation) -> Standing:
    """Reads where a study stands.

    Raises:
        SweepError: If the study has not begun or cannot be read.
    """
    with open_reading(location) as reading:
        return reading.standing()


def describe_standing(standing: Standing) -> dict[str, Any]:
    """The machine's view of a study: plain values for JSON, null where a number does not exist."""
    record = standing.record
    saved, fraction = count_saved(record.trials)
    return {
        "version": STATUS_VERSION,
        "study": record.name,
        "state": standing.state,
        "budget": {
            "trials": standing.budget,
            "finished": record.counted,
            "ended_by": record.attributes.get(ENDED_BY) if standing.state == "finished" else None,
        },
        "baseline": {"dev": _finite(record.baseline), "test": _test_value(standing, UNTRAINED)},
        "coordinator": {"pid": standing.holder.pid, "host": standing.holder.host} if standing.holder else None,
        "trials": [_describe_trial(trial, record.baseline) for trial in record.trials],
        "best": _describe_best(standing),
        "saved": {"examples": saved, "fraction": fraction},
    }


def _describe_trial(trial: TrialRecord, baseline: float | None) -> dict[str, Any]:
    params, peak = trial.params, trial.peak
    untrained = [[0, _finite(baseline)]] if baseline is not None else []
    return {
        "number": trial.number,
        "state": trial.state,
        "value": _finite(trial.value),
        "peak": peak.ndcg if peak else None,
        "peak_progress": peak.progress if peak else None,
        "retention": _finite(trial.retention(baseline)),
        "stop_reason": trial.stop.text if trial.stop else None,
        "error": trial.attributes.get("error"),
        "params": _describe_params(trial),
        "effective_learning_rate": params.effective_learning_rate if params else None,
        "steps": trial.attributes.get("steps"),
        "micro_batch": trial.attributes.get("micro_batch"),
        "seed": trial.attributes.get("seed"),
        "device": trial.attributes.get("device"),
        "progress": trial.progress,
        "curve": untrained + [[row.progress, _finite(row.ndcg)] for row in trial.rows],
        "seconds": trial.rows[-1].seconds if trial.rows else None,
        "evaluation_seconds": trial.rows[-1].evaluation_seconds if trial.rows else None,
        "interruptions": trial.attributes.get("interruptions", 0),
    }


def _describe_params(trial: TrialRecord) -> dict[str, Any] | None:
    if trial.params is None:
        return None
    params = trial.params.as_dict()
    del params["effective_learning_rate"]
    return params


def _describe_best(standing: Standing) -> dict[str, Any] | None:
    best = standing.record.best
    if best is None:
        return None
    return {
        "number": best.number,
        "value": _finite(best.value),
        "test": _test_value(standing, best.number),
        "params": _describe_params(best),
        "checkpoint": str(standing.best_model) if standing.best_model else None,
    }


def _test_value(standing: Standing, number: int) -> float | None:
    values = standing.tests.get(number)
    return None if values is None else _finite(float(np.mean(values, dtype=np.float64)))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
