from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from ledgers import begin_study, begin_trial, make_report
from optuna.storages import RDBStorage

from sweep.coordinator.ledger import Ledger, Measurement
from sweep.storage.database import open_storage, open_storage_read_only
from sweep.storage.evaluations import EvaluationTable
from sweep.storage.study_storage import StudyStorage
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
    """What another process reads of a trial: Optuna's values, and how many rows our table has of it."""
    storage = open_storage_read_only(folder / "study.db")
    trial = optuna.load_study(study_name="toy", storage=storage).trials[number]
    rows = EvaluationTable(storage.engine, writable=False).rows(number)
    storage.engine.dispose()
    return trial.intermediate_values, len(rows)


def test_writes_that_belong_together_stand_together(storage: RDBStorage, ledger: Ledger, tmp_path: Path) -> None:
    number = begin_trial(ledger)

    def write() -> str:
        ledger.commit([Measurement(number, make_report(100, 0.75))])
        ledger.commit([Measurement(number, make_report(200, 0.25))])
        assert read(tmp_path, number) == ({0: 0.5}, 0)
        assert len(ledger.table.rows(number)) == 2
        return "written"

    assert write_together(storage, write) == "written"
    assert read(tmp_path, number) == ({0: 0.5, 100: 0.75, 200: 0.25}, 2)


def test_of_writes_of_which_one_fails_none_stands(storage: RDBStorage, ledger: Ledger, tmp_path: Path) -> None:
    number = begin_trial(ledger)

    def fail() -> None:
        ledger.commit([Measurement(number, make_report(100, 0.75))])
        raise RuntimeError("in the midst of it")

    with pytest.raises(RuntimeError, match="in the midst of it"):
        write_together(storage, fail)
    assert read(tmp_path, number) == ({0: 0.5}, 0)
    ledger.commit([Measurement(number, make_report(100, 0.25))])
    assert read(tmp_path, number) == ({0: 0.5, 100: 0.25}, 1)


def test_of_reports_of_which_one_is_committed_already_none_stands(ledger: Ledger, tmp_path: Path) -> None:
    number = begin_trial(ledger)
    ledger.commit([Measurement(number, make_report(100, 0.75))])
    with pytest.raises(ValueError, match="trial 0 has a measurement at 100"):
        ledger.commit([Measurement(number, make_report(progress, 0.25)) for progress in (50, 100)])
    assert read(tmp_path, number) == ({0: 0.5, 100: 0.75}, 1)


class SmallPieces(StudyStorage):
    piece = 2


@pytest.mark.parametrize("trials", [0, 1, 2, 5])
def test_a_study_that_is_loaded_in_pieces_is_the_same(tmp_path: Path, trials: int) -> None:
    storages = [kind(f"sqlite:///{tmp_path / 'study.db'}") for kind in (RDBStorage, SmallPieces)]
    study = optuna.create_study(study_name="toy", storage=storages[0])
    for number in range(trials):
        trial = study.ask()
        trial.suggest_float("x", 0, 1)
        trial.report(number, 1)
        study.tell(trial, number)
    whole, pieces = (optuna.load_study(study_name="toy", storage=storage).trials for storage in storages)
    assert len(whole) == trials
    assert pieces == whole
    for storage in storages:
        storage.engine.dispose()
