from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from ledgers import SPACE, begin_study, begin_trial, make_report
from optuna.storages import RDBStorage

from sweep.coordinator.ledger import Ledger, Measurement
from sweep.storage.database import open_storage, open_storage_read_only
from sweep.storage.evaluations import EvaluationTable
from sweep.storage.transaction import write_together


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[RDBStorage]:
    opened = open_storage(tmp_path / "study.db")
    yield opened
    opened.engine.dispose()


@pytest.fixture
def ledger(storage: RDBStorage) -> Ledger:
    made = Ledger(storage, "toy")
    begin_study(made)
    return made


def read(folder: Path, number: int) -> tuple[dict[int, float], int]:
    """What another process reads of a trial: Optuna's values after the first, and how many rows our table has of it."""
    storage = open_storage_read_only(folder / "study.db")
    trials = optuna.load_study(study_name="toy", storage=storage).trials
    rows = EvaluationTable(storage.engine, writable=False).rows(number)
    storage.engine.dispose()
    return {step: value for trial in trials for step, value in trial.intermediate_values.items() if step}, len(rows)


def test_writes_that_belong_together_stand_together(storage: RDBStorage, ledger: Ledger, tmp_path: Path) -> None:
    number = begin_trial(ledger)

    def write() -> str:
        ledger.commit([Measurement(number, make_report(100, 0.75))])
        ledger.commit([Measurement(number, make_report(200, 0.25))])
        ledger.mirror()
        assert read(tmp_path, number) == ({}, 0)
        assert len(ledger.table.rows(number)) == 2
        return "written"

    assert write_together(storage, write) == "written"
    assert read(tmp_path, number) == ({100: 0.75, 200: 0.25}, 2)


def test_of_writes_of_which_one_fails_none_stands(storage: RDBStorage, ledger: Ledger, tmp_path: Path) -> None:
    number = begin_trial(ledger)

    def fail() -> None:
        ledger.commit([Measurement(number, make_report(100, 0.75))])
        ledger.mirror()
        raise RuntimeError("in the midst of it")

    with pytest.raises(RuntimeError, match="in the midst of it"):
        write_together(storage, fail)
    assert read(tmp_path, number) == ({}, 0)
    again = Ledger(storage, "toy")
    again.adopt_trials(SPACE)
    again.commit([Measurement(number, make_report(100, 0.25))])
    again.mirror()
    assert read(tmp_path, number) == ({100: 0.25}, 1)


def test_of_reports_of_which_one_is_committed_already_none_stands(ledger: Ledger, tmp_path: Path) -> None:
    number = begin_trial(ledger)
    ledger.commit([Measurement(number, make_report(100, 0.75))])
    with pytest.raises(ValueError, match="trial 0 has a measurement at 100"):
        ledger.commit([Measurement(number, make_report(progress, 0.25)) for progress in (50, 100)])
    ledger.mirror()
    assert read(tmp_path, number) == ({100: 0.75}, 1)
