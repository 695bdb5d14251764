from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import pytest

from sweep.storage.database import open_storage, open_storage_read_only
from sweep.storage.evaluations import EvaluationTable
from sweep.storage.trials import TrialRow, TrialTable, find_end

STOPPED = TrialRow(
    trial=3,
    state="pruned",
    ended_by="drop-off",
    stop_reason="drop-off: it fell",
    stop_numbers={"peak": 0.75, "looks": 4},
    peak=0.75,
    peak_progress=100,
    retention=0.9,
    device="CPU",
    micro_batch=16,
    restarts=2,
)


@pytest.fixture
def table(tmp_path: Path) -> TrialTable:
    engine = open_storage(tmp_path / "study.db").engine
    EvaluationTable(engine, writable=True)
    return TrialTable(engine)


def test_how_a_trial_ended_comes_back_as_it_was_written(table: TrialTable) -> None:
    failed = TrialRow(trial=1, state="fail", ended_by="error", error="RuntimeError: 'x'\n<b>")
    for row in (STOPPED, failed):
        table.end(row)
    assert table.rows() == [failed, STOPPED]


def test_a_trial_that_ends_once_more_after_a_crash_has_one_row_the_last(table: TrialTable) -> None:
    table.end(TrialRow(trial=3, state="complete", ended_by="budget"))
    table.end(STOPPED)
    assert table.rows() == [STOPPED]


def test_numbers_of_numpy_and_numbers_that_are_not_finite_are_written_as_json_has_them(table: TrialTable) -> None:
    numbers = {"a": np.float32(0.5), "b": np.int64(3), "c": math.inf, "d": math.nan, "e": None, "f": np.bool_(True)}
    table.end(TrialRow(trial=0, state="pruned", ended_by="drop-off", stop_numbers=numbers))
    assert table.rows()[0].stop_numbers == {"a": 0.5, "b": 3, "c": None, "d": None, "e": None, "f": True}


def test_every_process_of_a_trial_is_a_run_with_its_beginning_and_its_end(table: TrialTable) -> None:
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


def test_a_study_from_before_these_tables_has_no_row_in_them(tmp_path: Path) -> None:
    file = tmp_path / "study.db"
    engine = open_storage(file).engine
    EvaluationTable(engine, writable=True)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE sweep_trials")
        connection.exec_driver_sql("DROP TABLE sweep_runs")
        connection.exec_driver_sql("UPDATE sweep_schema SET version = 2")
    reader = open_storage_read_only(file).engine
    EvaluationTable(reader, writable=False)
    assert TrialTable(reader).rows() == []
    assert TrialTable(reader).runs() == []
    EvaluationTable(open_storage(file).engine, writable=True)
    TrialTable(open_storage(file).engine).end(STOPPED)
    assert TrialTable(open_storage_read_only(file).engine).rows() == [STOPPED]


@pytest.mark.parametrize(
    ("state", "stop_reason", "expected"),
    [
        ("running", None, None),
        ("waiting", None, None),
        ("complete", None, "budget"),
        ("complete", "drop-off: it fell", "drop-off"),
        ("pruned", "diverged: not finite", "diverged"),
        ("fail", None, "error"),
        ("fail", "drop-off: it fell", "error"),
    ],
)
def test_what_ended_a_trial_in_a_word(state: str, stop_reason: str | None, expected: str | None) -> None:
    assert find_end(state, stop_reason) == expected
