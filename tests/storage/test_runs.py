from __future__ import annotations

import time
from pathlib import Path

import pytest

from sweep.storage.database import open_storage, open_storage_read_only
from sweep.storage.evaluations import EvaluationTable
from sweep.storage.runs import RunTable


@pytest.fixture
def table(tmp_path: Path) -> RunTable:
    engine = open_storage(tmp_path / "study.db").engine
    EvaluationTable(engine, writable=True)
    return RunTable(engine)


def test_every_process_of_a_trial_is_a_run_with_its_beginning_and_its_end(table: RunTable) -> None:
    before = time.time()
    table.begin_run(1, slot="cuda:0", device="A", began=before)
    table.end_run(1)
    table.begin_run(0, slot="cuda:1", device="B", began=time.time())
    table.begin_run(1, slot="cuda:1", device="B", began=time.time())
    runs = table.runs()
    assert [(run.trial, run.run, run.slot, run.device) for run in runs] == [
        (0, 0, "cuda:1", "B"),
        (1, 0, "cuda:0", "A"),
        (1, 1, "cuda:1", "B"),
    ]
    assert [run.ended is None for run in runs] == [True, False, True]
    assert runs[1].ended is not None
    assert before <= runs[1].began <= runs[1].ended <= time.time()


def test_a_study_from_before_this_table_has_no_row_in_it(tmp_path: Path) -> None:
    file = tmp_path / "study.db"
    engine = open_storage(file).engine
    EvaluationTable(engine, writable=True)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE sweep_runs")
        connection.exec_driver_sql("UPDATE sweep_schema SET version = 2")
    reader = open_storage_read_only(file).engine
    EvaluationTable(reader, writable=False)
    assert RunTable(reader).runs() == []
    EvaluationTable(open_storage(file).engine, writable=True)
    RunTable(open_storage(file).engine).begin_run(0, slot="cpu", device="CPU", began=1.0)
    assert [run.trial for run in RunTable(open_storage_read_only(file).engine).runs()] == [0]
