"""Starts that come to nothing leave nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from scripted import NoDevice, check_finished, rewrite, run, set_script

from sweep.coordinator.run import run_study
from sweep.data.compiled import IDENTITY, identify_compiled
from sweep.errors import DeviceError, ModelError, StorageError, StudyLockedError, SweepError
from sweep.launch import InlineLauncher
from sweep.launch.jobs import JobFailedError
from sweep.plan import plan_study
from sweep.run_folder import RunFolder
from sweep.signals import StopSignal
from sweep.storage.location import locate_study
from sweep.storage.lock import StudyLock
from sweep.testing import write_toy_study
from sweep.training.checkpoint import publish, verify


def test_a_run_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    file = write_toy_study(tmp_path, script={})
    (tmp_path / "toy").write_text("a file in the way")
    with pytest.raises(StorageError, match=r"\A.*toy.*\Z") as refused:
        run(file)
    assert refused.value.exit_code == 2
    assert (tmp_path / "toy").read_text() == "a file in the way"


def test_a_trial_that_finds_the_disk_full_ends_the_run_and_goes_on_once_there_is_room(tmp_path: Path) -> None:
    file = write_toy_study(tmp_path, script={}, budget={"trials": 2})
    run(file)
    rewrite(file, "trials = 2", "trials = 4")
    set_script(file, full=True)
    with pytest.raises(
        StorageError, match=r"trial 2 could not write: OSError: \[Errno 28\] No space .*; nothing is lost: make room"
    ) as stopped:
        run(file)
    assert stopped.value.exit_code == 2
    set_script(file)
    run(file)
    record = check_finished(file)
    assert len(record.trials) == 4
    assert record.trials[2].attributes.get("interruptions", 0) == 0


def test_a_study_on_a_device_that_is_not_there_leaves_nothing(tmp_path: Path) -> None:
    file = write_toy_study(tmp_path, script={}, workers={"devices": [0]})
    with pytest.raises(DeviceError, match="there is no CUDA device 0"):
        run(file, launcher=NoDevice())
    assert not RunFolder.beside(file).path.exists()


def start_without_model(file: Path) -> None:
    """Starts a study whose base model goes away after it was planned."""
    plan = plan_study(locate_study(file))
    shutil.rmtree(file.parent / "model")
    with StopSignal() as stop:
        from scripted import Recorder

        run_study(plan, watcher=Recorder(), stop=stop, jobs="sweep.testing", launcher=InlineLauncher())


def test_a_study_whose_base_model_cannot_be_loaded_leaves_nothing(tmp_path: Path) -> None:
    file = write_toy_study(tmp_path, script={})
    with pytest.raises(JobFailedError, match=r"\Amodel\.base: there is no folder .*model") as error:
        start_without_model(file)
    assert error.value.exit_code == ModelError.exit_code == 2
    assert not (tmp_path / "toy").exists()


def test_a_folder_that_was_there_before_is_never_deleted(tmp_path: Path) -> None:
    file = write_toy_study(tmp_path, script={})
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "notes.txt").write_text("mine")
    with pytest.raises(SweepError, match=r"model\.base"):
        start_without_model(file)
    assert (tmp_path / "toy" / "notes.txt").read_text() == "mine"


def test_a_crash_while_the_study_is_prepared_names_a_log_that_is_there(tmp_path: Path) -> None:
    file = write_toy_study(tmp_path, script={})
    with pytest.raises(JobFailedError, match="RuntimeError: scripted crash; see ") as error:
        run(file, jobs="broken_jobs")
    assert error.value.exit_code == 1
    assert str(error.value).endswith(str(RunFolder.beside(file).log(None)))
    run(file)
    check_finished(file)


def test_a_study_that_another_coordinator_runs_is_left_alone(tmp_path: Path) -> None:
    file = write_toy_study(tmp_path, script={}, budget={"trials": 1})
    run(file)
    rewrite(file, "trials = 1", "trials = 2")
    folder = RunFolder.beside(file)
    before = folder.database.read_bytes()
    with StudyLock(folder.lock), pytest.raises(StudyLockedError, match="this study is being run by process"):
        run(file)
    assert folder.database.read_bytes() == before
    run(file)
    check_finished(file)


@pytest.mark.parametrize("damage", ["none", "missing", "damaged", "of other texts"])
def test_the_collection_is_compiled_once_and_again_where_that_is_lost(tmp_path: Path, damage: str) -> None:
    file = write_toy_study(tmp_path, script={}, budget={"trials": 1})
    run(file)
    compiled = RunFolder.beside(file).compiled
    verify(compiled)
    rewrite(file, "trials = 1", "trials = 2")
    if damage == "missing":
        shutil.rmtree(compiled)
    elif damage == "damaged":
        (compiled / IDENTITY).write_text('"another"')
    elif damage == "of other texts":
        (compiled / IDENTITY).write_text('"another"')
        compiled.rename(tmp_path / "other.partial")
        publish(tmp_path / "other.partial", compiled)  # complete, but made of something else
    _, recorder = run(file)
    assert recorder.texts("prepare") == ([] if damage == "none" else ["compiling the collection"])
    verify(compiled)
    plan = plan_study(locate_study(file))
    identity = identify_compiled(plan.spec, base=plan.revision, content=plan.collection.content_hash)
    assert json.loads((compiled / IDENTITY).read_text()) == identity
    check_finished(file)
