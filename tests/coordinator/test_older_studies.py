"""A study from before a dimension was there: it goes on, is read, forked and replayed, with the value from before."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from scripted import Recorder, check_finished, open_study, rewrite, run

from sweep.coordinator.events import Event
from sweep.coordinator.fork import fork_study
from sweep.coordinator.run import run_study
from sweep.launch import InlineLauncher
from sweep.plan import plan_study
from sweep.run_folder import RunFolder
from sweep.settings.dimensions import DIMENSIONS
from sweep.signals import StopSignal
from sweep.status import describe_study
from sweep.storage.location import locate_study
from sweep.study import open_study as open_frames
from sweep.testing import write_toy_study

NEWER = [one for one in DIMENSIONS if one.before is not None]
CUT_OFF = 3
"""The trial in whose middle the coordinator was cut off."""


class CutOffError(BaseException):
    """Ends a coordinator without a chance to tidy up."""


class CutOff(Recorder):
    def show(self, event: Event) -> None:
        super().show(event)
        if self.trials("evaluate").count(CUT_OFF) == 2:
            raise CutOffError("cut off")


def without(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in {one.name for one in NEWER}}


def make_older(database: Path) -> None:
    """Takes every trace of the newer dimensions out of a database, as a program that knew none of them wrote it."""
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        for number, text in connection.execute("SELECT number, attributes FROM study_trials").fetchall():
            for name, value in json.loads(text).items():
                connection.execute(
                    "INSERT OR IGNORE INTO trial_user_attributes (trial_id, key, value_json)"
                    " SELECT trial_id, ?, ? FROM trials WHERE number = ?",
                    (name, json.dumps(value), number),
                )
        for table in ("study_trials", "study_attributes"):  # all stood in Optuna's
            connection.execute(f"DROP TABLE {table}")
        connection.execute("UPDATE evaluations SET ndcg = value")
        connection.execute("UPDATE sweep_schema SET version = 3")
        for one in NEWER:
            connection.execute("DELETE FROM trial_params WHERE param_name = ?", (one.parameter,))
        for table, key, change in (
            ("trial_user_attributes", "params", without),
            ("study_user_attributes", "spec", lambda spec: spec | {"space": without(spec["space"])}),
            ("study_user_attributes", "spec_now", lambda spec: spec | {"space": without(spec["space"])}),
        ):
            column = f"{table.removesuffix('s')}_id"
            found = connection.execute(f"SELECT {column}, value_json FROM {table} WHERE key = ?", (key,)).fetchall()
            for row, text in found:
                changed = json.dumps(change(json.loads(text)))
                connection.execute(f"UPDATE {table} SET value_json = ? WHERE {column} = ?", (changed, row))


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of six trials that was cut off in the fourth and knows no newer dimension; to be copied."""
    file = write_toy_study(tmp_path_factory.mktemp("begun"), script={}, budget={"trials": 6})
    with pytest.raises(CutOffError, match="cut off"), StopSignal() as stop:
        run_study(
            plan_study(locate_study(file)), watcher=CutOff(), stop=stop, jobs="sweep.testing", launcher=InlineLauncher()
        )
    make_older(RunFolder.beside(file).database)
    for trial in open_study(file)[0].trials:
        assert not {one.parameter for one in NEWER} & trial.params.keys()
    return file


@pytest.fixture
def older(begun: Path, tmp_path: Path) -> Path:
    shutil.copytree(begun.parent, tmp_path / "copy")
    return tmp_path / "copy" / begun.name


def test_it_is_read_with_the_value_from_before(older: Path) -> None:
    study = open_frames(older)
    for one in NEWER:
        values = study.trials()[one.name]
        assert values.isna().all() if one.needs else values.tolist() == [one.before] * 4
    shown = describe_study(study)
    assert [trial["params"]["weight_decay"] for trial in shown["trials"]] == [0.0] * 4
    assert [recorded.params["weight_decay"] for recorded in study.recorded_runs()] == [0.0] * 3


def test_it_goes_on_and_nothing_is_said_to_have_changed(older: Path) -> None:
    _, recorder = run(older)
    assert recorder.texts("change") == []
    assert recorder.trials("adopt") == [CUT_OFF]
    record = check_finished(older)
    assert [trial.params and trial.params.weight_decay for trial in record.trials] == [0.0] * 6


def test_it_goes_on_with_the_new_dimension_searched_and_its_old_trials_as_they_were(older: Path) -> None:
    rewrite(older, "[space]", "[space]\nweight_decay = { low = 0.01, high = 0.1 }")
    _, recorder = run(older)
    assert recorder.texts("change") == ["space.weight_decay: 0.0 is now {'low': 0.01, 'high': 0.1, 'log': False}"]
    decays = [trial.params.weight_decay for trial in check_finished(older).trials if trial.params]
    assert decays[: CUT_OFF + 1] == [0.0] * (CUT_OFF + 1)
    assert all(0.01 <= decay <= 0.1 for decay in decays[CUT_OFF + 1 :])
    assert len({*decays}) == 3


def test_a_fork_takes_its_trials_over_where_the_value_from_before_fits(older: Path) -> None:
    for name, setting, taken in (("same", "0.0", [0, 1, 2]), ("other", "0.05", [])):
        file = older.with_name(f"{name}.toml")
        shutil.copy(older, file)
        rewrite(file, 'name = "toy"', f'name = "{name}"')
        rewrite(file, "[space]", f"[space]\nweight_decay = {setting}")
        fork = fork_study(plan_study(locate_study(older)), plan_study(locate_study(file)))
        assert list(fork.taken) == taken
    forked = open_frames(older.with_name("same.toml"))
    assert forked.trials()["weight_decay"].tolist() == [0.0] * 3
