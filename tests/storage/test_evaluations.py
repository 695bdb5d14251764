from __future__ import annotations

import contextlib
import dataclasses
import math
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from sweep.messages import Cosines, Evaluation, Report
from sweep.storage.database import open_storage, open_storage_read_only
from sweep.storage.evaluations import UNTRAINED, EvaluationTable, curves

FINITE = Cosines(mean=0.5, p5=0.1, p95=0.9)


@pytest.fixture
def table(tmp_path: Path) -> EvaluationTable:
    return EvaluationTable(open_storage(tmp_path / "study.db").engine, writable=True)


def make_evaluation(per_query: object = (0.25, 0.75), *, cosines: Cosines = FINITE) -> Evaluation:
    values = np.array(per_query, dtype=np.float32)
    return Evaluation(per_query=values, positives=cosines, negatives=cosines, seconds=0.25)


def make_report(progress: int, per_query: object = (0.25, 0.75), **changes: object) -> Report:
    report = Report(
        progress=progress,
        step=progress // 10,
        examples=progress * 4,
        evaluation=make_evaluation(per_query),
        seconds=1.5,
        evaluation_seconds=0.25,
        micro_batch=4,
        loss=0.125,
    )
    return dataclasses.replace(report, **changes)  # type: ignore[arg-type]


def test_a_measurement_comes_back_as_it_was_committed(table: EvaluationTable) -> None:
    table.add([(3, make_report(100))])
    [row] = table.rows()
    assert (row.trial, row.progress, row.step, row.examples) == (3, 100, 10, 400)
    assert (row.value, row.seconds, row.evaluation_seconds) == (0.5, 1.5, 0.25)


@given(values=npst.arrays(np.float32, st.integers(1, 30), elements=st.floats(0, 1, width=32) | st.just(math.nan)))
def test_the_values_of_each_query_come_back_to_the_bit(values: np.ndarray) -> None:
    import sqlalchemy

    engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.pool.StaticPool)
    table = EvaluationTable(engine, writable=True)
    table.add([(0, make_report(100, values))])
    points, per_query = table.per_query(0)
    engine.dispose()
    assert points == [100]
    assert per_query.dtype == np.float32
    assert per_query[0].tobytes() == values.tobytes()


def test_a_measurement_that_is_not_finite_comes_back_as_nan(table: EvaluationTable) -> None:
    nan = Cosines(mean=math.nan, p5=math.nan, p95=math.nan)
    evaluation = make_evaluation([math.nan, 0.5], cosines=nan)
    table.add([(0, make_report(100, loss=None, evaluation=evaluation))])
    assert math.isnan(table.rows()[0].value)
    assert np.isnan(table.per_query(0)[1][0]).tolist() == [True, False]


def test_a_second_measurement_at_one_progress_is_refused_and_the_first_stands(table: EvaluationTable) -> None:
    table.add([(1, make_report(100, [0.25]))])
    with pytest.raises(ValueError, match="trial 1 has a measurement at 100"):
        table.add([(1, make_report(100, [0.75]))])
    table.add([(2, make_report(100, [0.75]))])
    assert [(row.trial, row.value) for row in table.rows()] == [(1, 0.25), (2, 0.75)]


def test_rows_come_by_trial_and_progress_whatever_the_order_they_were_committed_in(table: EvaluationTable) -> None:
    for trial, progress in [(2, 1000), (1, 200), (2, 50), (1, 100)]:
        table.add([(trial, make_report(progress))])
    assert [(row.trial, row.progress) for row in table.rows()] == [(1, 100), (1, 200), (2, 50), (2, 1000)]
    assert [row.progress for row in table.rows(2)] == [50, 1000]
    assert table.per_query(1)[0] == [100, 200]
    assert {trial: len(rows) for trial, rows in curves(table.rows()).items()} == {1: 2, 2: 2}


def test_judgements_are_no_rows_of_trials(table: EvaluationTable) -> None:
    table.add_model(UNTRAINED, "dev", make_evaluation([0.5]))
    table.add_model(UNTRAINED, "test", make_evaluation([0.25]))
    table.add_model(4, "test", make_evaluation([0.75]))
    assert table.rows() == []
    assert table.rows(4) == []
    assert [row.value for row in table.rows(UNTRAINED)] == [0.5]
    judged = table.model_values(4, "test")
    assert judged is not None
    assert judged.tolist() == [0.75]
    assert table.model_values(5, "test") is None


def test_a_model_is_judged_once_on_a_split(table: EvaluationTable) -> None:
    table.add_model(4, "test", make_evaluation())
    with pytest.raises(ValueError, match="trial 4 has a measurement at 0"):
        table.add_model(4, "test", make_evaluation())


def test_a_trial_that_was_never_measured_has_no_points(table: EvaluationTable) -> None:
    points, per_query = table.per_query(0)
    assert points == []
    assert len(per_query) == 0


def test_who_reads_alone_sees_what_was_committed(tmp_path: Path) -> None:
    EvaluationTable(open_storage(tmp_path / "study.db").engine, writable=True).add([(0, make_report(100))])
    reader = EvaluationTable(open_storage_read_only(tmp_path / "study.db").engine, writable=False)
    assert [row.progress for row in reader.rows()] == [100]


def age(table: EvaluationTable) -> list[str]:
    """Takes a table back to version 1; returns the columns that it lost."""
    later = [
        *("recall_10", "recall_100", "mrr_10", "alignment", "uniformity", "positive_histogram", "negative_histogram"),
        *("validation_loss", "validation_loss_retrieval", "learning_rate", "gradient_norm", "memory_gib", "value"),
    ]
    with table._engine.begin() as connection:
        for name in later:
            connection.exec_driver_sql(f"ALTER TABLE evaluations DROP COLUMN {name}")
        connection.exec_driver_sql("DROP TABLE sweep_runs")
        connection.exec_driver_sql("UPDATE sweep_schema SET version = 1")
    return later


def replace_ndcg(evaluation: Evaluation) -> Evaluation:
    """The evaluation as one whose metric is NDCG@10."""
    return dataclasses.replace(evaluation, ndcg_10=evaluation.value)


def columns_of(file: Path) -> dict[str, object]:
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.row_factory = sqlite3.Row
        return dict(connection.execute("SELECT * FROM evaluations ORDER BY progress DESC").fetchone())


def test_a_table_of_an_older_version_is_upgraded_and_keeps_its_measurements(tmp_path: Path) -> None:
    file = tmp_path / "study.db"
    table = EvaluationTable(open_storage(file).engine, writable=True)
    table.add([(0, dataclasses.replace(make_report(100), evaluation=replace_ndcg(make_evaluation())))])
    later = age(table)
    assert set(later).isdisjoint(columns_of(file))

    reader = EvaluationTable(open_storage_read_only(file).engine, writable=False)
    assert [(row.progress, row.value) for row in reader.rows()] == [(100, 0.5)]  # who reads alone upgrades nothing
    assert [(row["value"], row["ndcg"], row["recall_10"]) for row in reader.figures()] == [(0.5, 0.5, None)]

    upgraded = EvaluationTable(open_storage(file).engine, writable=True)
    assert columns_of(file).keys() >= set(later)
    assert columns_of(file)["value"] == 0.5  # the metric was NDCG@10
    assert {columns_of(file)[name] for name in later if name != "value"} == {None}
    upgraded.add([(0, make_report(200))])
    assert [(row.progress, row.value) for row in upgraded.rows()] == [(100, 0.5), (200, 0.5)]


def test_all_figures_of_a_measurement_are_committed(tmp_path: Path) -> None:
    file = tmp_path / "study.db"
    cosines = Cosines(mean=0.5, p5=0.1, p95=0.9, histogram=tuple(range(40)))
    evaluation = dataclasses.replace(
        make_evaluation(cosines=cosines),
        ndcg_10=0.05,
        recall_10=0.1,
        recall_100=0.2,
        mrr_10=0.3,
        alignment=0.4,
        uniformity=-3.5,
        validation_losses={"own": 1.5, "retrieval": 2.5},
    )
    report = make_report(100, evaluation=evaluation, learning_rate=1e-4, gradient_norm=0.75, memory_gib=1.25)
    EvaluationTable(open_storage(file).engine, writable=True).add([(0, report)])
    found = columns_of(file)
    assert [found[name] for name in ("recall_10", "recall_100", "mrr_10", "alignment", "uniformity")] == [
        *(0.1, 0.2, 0.3, 0.4, -3.5)
    ]
    assert (found["value"], found["ndcg"]) == (0.5, 0.05)
    assert (found["validation_loss"], found["validation_loss_retrieval"]) == (1.5, 2.5)
    assert (found["learning_rate"], found["gradient_norm"], found["memory_gib"]) == (1e-4, 0.75, 1.25)
    assert np.frombuffer(found["negative_histogram"], dtype="<u4").tolist() == list(range(40))
