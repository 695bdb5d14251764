from __future__ import annotations

import contextlib
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scripted import run

import sweep
from sweep import open_study
from sweep.cli.report import write_report
from sweep.errors import SweepError
from sweep.run_folder import RunFolder
from sweep.storage.database import open_storage
from sweep.storage.evaluations import UNTRAINED
from sweep.study import TRIAL_COLUMNS, Study
from sweep.testing import write_toy_study

START = [
    {"learning_rate": 6e-4, "warmup_ratio": 0.1, "data_format": "query-document", "batch_size": 4},
    {"learning_rate": 6e-4, "warmup_ratio": 0.1, "data_format": "title-content", "batch_size": 4},
    {"learning_rate": 5e-6, "warmup_ratio": 0.1, "data_format": "title-content", "batch_size": 8},
    {"learning_rate": 5e-6, "warmup_ratio": 0.1, "data_format": "title-content", "batch_size": 16},
]
"""The first rises to its end, the second falls and is stopped, the third fails, the fourth diverges."""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A finished scripted study of four trials; to be read, not written."""
    folder = tmp_path_factory.mktemp("study")
    file = write_toy_study(folder, script={"fail": [2], "diverge": [3]}, space={"start": START})
    run(file)
    return open_study(file)


def test_the_package_offers_open_study_and_is_light_itself() -> None:
    code = "import sys, sweep; print(sorted(sweep.__all__), sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    public, _, modules = done.stdout.partition("] [")
    assert public == "['open_study'"
    assert not {"'pandas'", "'numpy'", "'optuna'", "'pydantic'", "'torch'"} & set(modules.strip("]\n").split(", "))


def test_a_name_that_the_package_does_not_have_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'sweep' has no attribute 'close_study'"):
        sweep.close_study  # noqa: B018 - the access is what is tested


def test_a_study_is_opened_without_torch_and_without_plotly(study: Study) -> None:
    code = f"import sys; from sweep import open_study; open_study({str(study.file)!r}).trials(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "plotly", "sentence_transformers", "transformers"} & set(done.stdout.split())


def test_every_trial_is_a_row_with_how_it_went_and_how_it_ended(study: Study) -> None:
    frame = study.trials()
    assert list(frame.columns) == list(TRIAL_COLUMNS)
    assert frame["trial"].tolist() == [0, 1, 2, 3]
    assert frame["state"].tolist() == ["complete", "pruned", "fail", "pruned"]
    assert frame["ended_by"].tolist() == ["budget", "drop-off", "error", "diverged"]
    assert frame["data_format"].tolist() == [start["data_format"] for start in START]
    assert frame["learning_rate"].tolist() == [start["learning_rate"] for start in START]
    assert frame["batch_size"].tolist() == [4, 4, 8, 16]
    assert frame["is_best"].tolist() == [True, False, False, False]
    assert frame["warmup_end"].tolist() == pytest.approx([0.1, 0.1, 0.1, 0.1])
    assert frame["restarts"].tolist() == [0, 0, 0, 0]
    assert frame["false_negatives"].tolist() == pytest.approx([0.004, 0.004, math.nan, 0.016], nan_ok=True)
    whole, stopped, failed, _ = frame.itertuples()
    assert whole.value == whole.peak == whole.last == pytest.approx(0.8, abs=0.01)
    assert (whole.retention, whole.progress, whole.examples) == (1.0, 1000, 320)
    assert stopped.last < stopped.peak
    assert stopped.retention == pytest.approx(stopped.last / stopped.peak)
    assert stopped.examples < stopped.planned_examples == 320
    assert math.isnan(failed.peak)
    assert failed.error == "RuntimeError: scripted failure"


def test_the_numbers_behind_a_stop_are_with_its_trial(study: Study) -> None:
    frame = study.trials().set_index("trial")
    numbers = frame.loc[1, "stop_numbers"]
    assert numbers["peak"] == pytest.approx(frame.loc[1, "peak"])
    assert numbers["now"] == pytest.approx(frame.loc[1, "last"])
    assert frame.loc[0, "stop_numbers"] == {}


def test_every_evaluation_is_a_row(study: Study) -> None:
    frame = study.evaluations()
    record = study.record
    assert len(frame) == sum(len(trial.rows) for trial in record.trials)
    assert frame["trial"].dtype == frame["progress"].dtype == np.dtype("int64")
    for number, rows in frame.groupby("trial"):
        trial = record.trials[int(number)]
        assert rows["progress"].tolist() == [row.progress for row in trial.rows]
        assert rows["ndcg"].tolist() == pytest.approx([row.value for row in trial.rows], nan_ok=True)
        assert rows["loss"].tolist() == pytest.approx([1.0 / row.step for row in trial.rows])
    assert math.isnan(frame[frame["trial"] == 3]["ndcg"].iloc[-1])


def test_the_untrained_model_stands_by_itself(study: Study) -> None:
    assert study.untrained is not None
    assert study.untrained["ndcg"] == pytest.approx(0.5)
    assert UNTRAINED not in set(study.evaluations()["trial"])


def test_the_values_of_each_query_belong_to_the_rows(study: Study) -> None:
    assert set(study.per_query) == {UNTRAINED, 0, 1, 3}
    points, values = study.per_query[1]
    rows = study.evaluations().query("trial == 1")
    assert list(points) == rows["progress"].tolist()
    assert values.mean(axis=1) == pytest.approx(rows["ndcg"].to_numpy())


def test_every_process_is_a_run_that_has_ended(study: Study) -> None:
    assert [(run.trial, run.run, run.slot) for run in study.runs] == [(trial, 0, "cpu") for trial in range(4)]
    assert all(run.ended is not None and run.ended >= run.began for run in study.runs)


def test_reading_changes_nothing(study: Study) -> None:
    database = RunFolder.beside(study.file).database
    before = database.read_bytes()
    opened = open_study(study.file)
    changed = opened.trials()
    changed["peak"] = 0.0
    assert opened.trials().equals(study.trials())
    assert set(opened.per_query) == set(study.per_query)
    assert database.read_bytes() == before


def test_of_a_trial_that_begins_while_the_study_is_read_nothing_is_seen(tmp_path: Path) -> None:
    file = write_toy_study(tmp_path, script={}, budget={"trials": 2}, space={"start": START[:2]})
    run(file)
    before = open_study(file)
    later = 2  # Optuna's trials were read before it was asked for, our tables after it was measured
    with contextlib.closing(open_storage(RunFolder.beside(file).database).engine.raw_connection()) as connection:
        for table in ("evaluations", "sweep_runs"):
            found = connection.execute(f"SELECT * FROM {table} WHERE trial = 1")
            names = [column[0] for column in found.description]
            copied = ", ".join(str(later) if name == "trial" else name for name in names if name != "id")
            into = ", ".join(name for name in names if name != "id")
            connection.execute(f"INSERT INTO {table} ({into}) SELECT {copied} FROM {table} WHERE trial = 1")
        connection.commit()
    study = open_study(file)
    assert study.trials().equals(before.trials())
    assert study.evaluations().equals(before.evaluations())
    assert study.runs == before.runs
    assert "trial 1" in write_report(study, []).read_text(encoding="utf-8")


def test_why_trials_stopped_that_ended_under_version_3_is_read_from_its_text_and_table(tmp_path: Path) -> None:
    file = write_toy_study(tmp_path, script={}, budget={"trials": 2}, space={"start": START[:2]})
    run(file)
    study = open_study(file)
    before = study.trials()
    with open_storage(RunFolder.beside(file).database).engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM trial_user_attributes WHERE key IN ('stop_kind', 'stop_numbers')")
        for trial in study.record.trials:
            assert trial.params is not None
            connection.exec_driver_sql(
                "INSERT INTO trial_user_attributes (trial_id, key, value_json)"
                " SELECT trial_id, 'params', ? FROM trials WHERE number = ?",
                (json.dumps(trial.params.as_dict()), trial.number),
            )
        connection.exec_driver_sql("CREATE TABLE sweep_trials (trial INTEGER PRIMARY KEY, stop_numbers JSON)")
        numbers = json.dumps(before.loc[1, "stop_numbers"] | {"rival": 0.9})
        connection.exec_driver_sql("INSERT INTO sweep_trials VALUES (0, '{}'), (1, ?)", (numbers,))
        for name in ("study_trials", "study_attributes"):  # Optuna's tables alone held the study then
            connection.exec_driver_sql(f"DROP TABLE {name}")
        connection.exec_driver_sql("ALTER TABLE evaluations DROP COLUMN value")
        connection.exec_driver_sql("UPDATE sweep_schema SET version = 3")
    found = open_study(file).trials()
    pd.testing.assert_frame_equal(found.drop(columns="stop_numbers"), before.drop(columns="stop_numbers"))
    assert found.loc[0, "stop_numbers"] == {}
    assert found.loc[1, "stop_numbers"] == before.loc[1, "stop_numbers"] | {"incumbent": 0.9}
    write_toy_study(tmp_path, script={}, budget={"trials": 3}, space={"start": START[:2]})
    run(file)
    assert open_study(file).trials().loc[:1, "stop_numbers"].equals(found["stop_numbers"])


def test_a_study_of_the_version_before_opens_with_what_it_has(tmp_path: Path) -> None:
    file = write_toy_study(tmp_path, script={}, budget={"trials": 2}, space={"start": START[:2]})
    run(file)
    with open_storage(RunFolder.beside(file).database).engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE sweep_runs")
        for name in ("recall_10", "positive_histogram"):
            connection.exec_driver_sql(f"ALTER TABLE evaluations DROP COLUMN {name}")
        connection.exec_driver_sql("UPDATE sweep_schema SET version = 1")
    study = open_study(file)
    assert study.trials()["ended_by"].tolist() == ["budget", "drop-off"]
    assert study.evaluations()["recall_10"].isna().all()
    assert study.evaluations()["positive_histogram"].tolist() == [None] * len(study.evaluations())
    assert study.runs == []


def test_a_study_without_a_trial_has_frames_without_a_row(tmp_path: Path) -> None:
    file = write_toy_study(tmp_path, script={"fail": [0, 1, 2]}, budget={"trials": 3})
    with pytest.raises(SweepError, match="failed in a row"):
        run(file)
    with open_storage(RunFolder.beside(file).database).engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM study_trials")
    study = open_study(file)
    assert study.trials().empty
    assert study.evaluations().empty
    types = study.trials().dtypes.astype(str).to_dict()
    assert types["peak"] == "float64"
    assert types["trial"] == "Int64"


def test_a_study_that_has_not_begun_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match="there is no study here yet; start it with `sweep run`"):
        open_study(write_toy_study(tmp_path, script={}))


def test_what_a_trial_lacks_is_missing_and_not_the_word_none(study: Study) -> None:
    frame = study.trials()
    assert pd.isna(frame["error"].iloc[0])
    assert pd.isna(frame["stop_reason"].iloc[0])
    assert pd.isna(frame["peak"].iloc[2])
    assert pd.isna(frame["device"]).sum() == 0
