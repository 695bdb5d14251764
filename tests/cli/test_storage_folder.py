"""A study whose SQLite file lies in a folder of its own, which every command finds from the run folder."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil
import pytest
from processes import end_group, start_script
from runs import RUN, read_until
from scripted import Recorder, check_finished, run

from sweep.cli import main
from sweep.coordinator.run import run_study
from sweep.dashboard import open_dashboard
from sweep.errors import StorageError, StudyLockedError, SweepError
from sweep.launch import InlineLauncher
from sweep.plan import plan_study
from sweep.run_folder import RunFolder
from sweep.signals import StopSignal
from sweep.storage.location import SqliteLocation, Waiting, locate_study, lock_study
from sweep.testing import write_toy_study

BUDGET = {"trials": 2, "examples": 80}


def write(folder: Path, disk: Path | str | None, name: str = "toy") -> Path:
    """A study file of two short trials, whose database is to lie under a folder, or beside it."""
    tables: dict[str, Mapping[str, object]] = {
        "budget": BUDGET,
        "space": {"batch_size": 4},
        "stopping": {"drop_off": False},
    }
    if disk is not None:
        tables["storage"] = {"folder": str(disk)}
    file = write_toy_study(folder, script={}, **tables)
    return file.rename(file.with_name(f"{name}.toml"))


def rewrite(file: Path, disk: Path | None) -> None:
    """Has a study file name another folder, or none."""
    text = re.sub(r"\[storage\]\nfolder = .*\n", "", file.read_text())
    file.write_text(text if disk is None else f'{text}\n[storage]\nfolder = "{disk}"\n')


def database(file: Path) -> Path:
    location = locate_study(file, environment={}).database
    assert isinstance(location, SqliteLocation)
    return location.file


def entries(*folders: Path) -> dict[Path, int]:
    """Everything below some folders, with the time of its last change."""
    return {path: path.lstat().st_mtime_ns for folder in folders for path in folder.rglob("*")}


def refuse(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line with which a command refuses."""
    capsys.readouterr()
    assert main(list(words)) == 2
    said = capsys.readouterr()
    assert (said.out, len(said.err.splitlines())) == ("", 1)
    return said.err


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A local disk."""
    (tmp_path / "local disk").mkdir(exist_ok=True)
    return tmp_path / "local disk"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study of two trials in a folder ``studies``, its database under ``local disk`` beside that."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "local disk").mkdir()
    file = write(folder / "studies", "../local disk")
    run(file)
    return file


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change, with its database, at paths of its own."""
    shutil.copytree(finished.parent.parent, tmp_path, dirs_exist_ok=True)
    (old,) = (tmp_path / "local disk").iterdir()
    for link in (tmp_path / "studies" / "toy" / "study.database", old / "study.folder"):
        link.write_text(link.read_text().replace(str(finished.parent.parent), str(tmp_path)))
    return tmp_path / "studies" / finished.name


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[Path], subprocess.Popen[str]]]:
    """Starts a run in a process group of its own."""
    started = []

    def start(file: Path) -> subprocess.Popen[str]:
        process = start_script(RUN, [str(file), "30"], folder=tmp_path, errors=tmp_path / "errors.txt")
        started.append(process)
        return process

    yield start
    for process in started:
        end_group(process.pid)
        process.communicate()


def test_a_killed_run_goes_on_where_its_database_is_though_the_file_names_it_no_more(
    disk: Path, tmp_path: Path, start: Callable[[Path], subprocess.Popen[str]]
) -> None:
    file = write(tmp_path / "studies", disk)
    process = start(file)
    read_until(process, "end")
    end_group(process.pid)
    rewrite(file, None)
    run(file)
    assert database(file).is_relative_to(disk)
    assert not RunFolder.beside(file).database.exists()
    record = check_finished(file)
    assert len(record.trials) == BUDGET["trials"]


SAYS = {
    ("run", "STUDY", "--log", "json"): "^$",
    ("status", "STUDY"): "toy: 2 of 2 trials, finished",
    ("status", "STUDY", "--json"): '"state": "finished"',
    ("diagnose", "STUDY"): "why runs fell",
    ("replay", "STUDY", "--orders", "2", "--queries", "20"): "2 complete runs",
    ("report", "STUDY"): "The report lies at .*report.html",
    ("fork", "STUDY", "NEW"): "takes over 2 trials",
}


@pytest.mark.parametrize("command", SAYS, ids=" ".join)
def test_a_command_finds_the_database_from_the_run_folder_alone(
    command: tuple[str, ...], copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(copied, None)
    new = copied.with_name("new.toml")
    new.write_text(copied.read_text().replace('name = "toy', 'name = "new') + f'\n[storage]\nfolder = "{tmp_path}"\n')
    paths = {"STUDY": str(copied), "NEW": str(new)}
    assert main([paths.get(word, word) for word in command]) == 0
    said = capsys.readouterr()
    assert re.search(SAYS[command], said.out), said.out
    assert said.err == ""
    assert not RunFolder.beside(copied).database.exists()
    assert database(new).exists() == (command[0] == "fork")
    assert not RunFolder.beside(new).database.exists()


def test_so_do_the_dashboard_and_its_notes(copied: Path) -> None:
    rewrite(copied, None)
    for allow_changes in (False, True):
        open_dashboard(locate_study(copied), port=0, allow_changes=allow_changes).server_close()


def test_two_studies_of_one_file_name_have_two_databases_in_one_folder(disk: Path, tmp_path: Path) -> None:
    files = [write(tmp_path / folder, disk) for folder in ("one", "two")]
    for file in files:
        run(file)
    assert len({database(file) for file in files}) == 2
    assert sorted(path.parent for path in map(database, files)) == sorted(disk.iterdir())
    for file in files:
        check_finished(file)


def test_the_database_is_locked_where_it_lies_and_the_run_folder_with_it(copied: Path) -> None:
    location = locate_study(copied).database
    beside = SqliteLocation(RunFolder.beside(copied))
    with lock_study(location, waiting=Waiting()):
        for other in (location, beside):
            with pytest.raises(StudyLockedError, match="is being run by process"), lock_study(other, waiting=Waiting()):
                pass
        owner = location.find_owner()
        assert owner is not None
        assert owner.pid == os.getpid()
    assert location.find_owner() is None


def follow_advice(said: str) -> None:
    """Moves a database as a line says."""
    way = re.search(r"move it while nothing runs it \((.*)\), or", said)
    assert way is not None, said
    subprocess.run(["bash", "-c", way[1]], check=True)


def test_a_database_is_moved_as_the_refusal_says_and_the_study_goes_on(
    tmp_path: Path, disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "studies", None)
    run(file)
    (tmp_path / "other").mkdir()
    for named in (disk, tmp_path / "other"):
        content, before = database(file).read_bytes(), entries(tmp_path / "studies", disk, tmp_path / "other")
        rewrite(file, named)
        before[file] = file.lstat().st_mtime_ns
        said = refuse(capsys, "run", str(file))
        assert said.startswith(f"sweep: storage.folder: {named}: the study's database lies at {database(file)}")
        assert entries(tmp_path / "studies", disk, tmp_path / "other") == before
        assert main(["status", str(file)]) == 0  # who reads goes on where it is
        follow_advice(said)
        assert database(file).is_relative_to(named)
        assert database(file).read_bytes() == content
        run(file)
        rewrite(file, None)
        assert main(["status", str(file)]) == 0  # the run folder says where
    assert not RunFolder.beside(file).database.exists()
    assert not list(disk.iterdir())


def test_another_machine_is_told_on_which_one_the_database_lies(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = RunFolder.beside(copied).database_reference
    reference.write_text(reference.read_text().replace(f'"{socket.gethostname()}"', '"gpu1"'))
    here = database(copied)
    shutil.rmtree(here.parent)
    before = entries(copied.parent, here.parent.parent)
    for command in ("run", "status", "report", "diagnose"):
        said = refuse(capsys, command, str(copied))
        assert f"the study's database lies at {here} on gpu1, and is not there on this machine" in said
        assert "run this on gpu1" in said
    assert entries(copied.parent, here.parent.parent) == before


def test_nor_does_another_machine_take_what_an_older_study_left_at_the_same_path(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = RunFolder.beside(copied).database_reference
    reference.write_text(json.dumps({**json.loads(reference.read_text()), "key": "another", "host": "gpu1"}))
    content = hashlib.sha256(database(copied).read_bytes()).digest()
    for command in ("run", "status"):
        assert re.search(r"is the database of another study .*began on gpu1", refuse(capsys, command, str(copied)))
    assert hashlib.sha256(database(copied).read_bytes()).digest() == content


def test_a_copy_of_a_run_folder_is_refused_and_one_that_was_moved_goes_on(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(copied.parent, tmp_path / "copy")
    file = tmp_path / "copy" / copied.name
    rewrite(file, tmp_path / "local disk")
    said = refuse(capsys, "run", str(file))
    assert f"{tmp_path / 'copy' / 'toy'}: is a copy of {copied.with_suffix('')}, whose study is in" in said
    shutil.rmtree(copied.parent)
    for _ in range(2):
        run(file)


def test_a_run_folder_seen_under_two_names_is_no_copy(copied: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(copied.parent)
    run(tmp_path / "link" / copied.name)


def test_what_is_left_of_a_deleted_run_folder_is_not_taken_for_a_new_study(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(copied.with_suffix(""))
    rewrite(copied, tmp_path / "local disk")
    (left,) = (tmp_path / "local disk").iterdir()
    moved = left.rename(left.with_name(database(copied).parent.name))  # as if it had begun under this path
    for command in ("run", "status"):
        assert re.search(
            r"deleted or emptied: .* delete .* to begin the study anew", refuse(capsys, command, str(copied))
        )
    assert not copied.with_suffix("").exists()
    shutil.rmtree(moved)
    run(copied)
    assert database(copied).is_file()


@pytest.mark.parametrize("kind", ["nowhere", "file", "link", "garbage", "network"])
def test_a_folder_that_will_not_do_is_one_line_and_nothing_is_written(
    kind: str, disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "studies", disk)
    match kind:
        case "nowhere":
            disk.rmdir()
            said = "storage.folder: .*: there is no such folder on this machine"
        case "file":
            disk.rmdir()
            disk.touch()
            said = "storage.folder: .*: there is no such folder on this machine"
        case "link":
            database(file).parent.symlink_to(tmp_path / "studies")
            said = "is a symbolic link"
        case "garbage":
            RunFolder.beside(file).path.mkdir(mode=0o700)
            RunFolder.beside(file).database_reference.write_text("{}")
            said = "study.database: cannot be read"
        case "network":
            (tmp_path / "proc" / "self").mkdir(parents=True)
            (tmp_path / "proc" / "filesystems").write_text("nodev\tnfs4\n")
            where = str(disk).replace(" ", "\\040")
            (tmp_path / "proc" / "self" / "mounts").write_text(f"server:/home {where} nfs4 rw 0 0\n")
            monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path / "proc"))
            said = r"lies on a network file system \(nfs4\), .* name a folder on a local disk .* as storage.folder"
    before = entries(tmp_path)
    for command in ("check", "run"):
        assert re.search(said, refuse(capsys, command, str(file)))
    after = entries(tmp_path)
    after[tmp_path / "studies"] = before[tmp_path / "studies"]  # in which a folder was for a moment
    assert after == before


def test_a_server_and_a_folder_are_refused_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], disk: Path
) -> None:
    file = write_toy_study(tmp_path, script={}, storage={"url": "postgresql://me@server/studies", "folder": str(disk)})
    assert "storage: url names a server and folder a disk" in refuse(capsys, "status", str(file))


def test_a_study_that_cannot_begin_leaves_neither_folder_behind(disk: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "studies", disk)
    plan = plan_study(locate_study(file))
    shutil.rmtree(tmp_path / "studies" / "model")
    with StopSignal() as stop, pytest.raises(SweepError, match=r"model\.base: there is no folder"):
        run_study(plan, watcher=Recorder(), stop=stop, jobs="sweep.testing", launcher=InlineLauncher())
    assert not list(disk.iterdir())
    assert not file.with_suffix("").exists()


def test_nor_does_a_fork_that_is_cut_off(copied: Path, disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = copied.with_name("new.toml")
    new.write_text(copied.read_text().replace('name = "toy', 'name = "new'))
    broken = next(RunFolder.beside(copied).checkpoints.rglob("peak-*/ndcg.json"))
    broken.unlink()
    broken.symlink_to("nowhere")
    before = sorted(disk.iterdir())
    assert "ndcg.json" in refuse(capsys, "fork", str(copied), str(new))
    assert sorted(disk.iterdir()) == before
    assert not new.with_suffix("").exists()


def test_of_two_machines_that_begin_a_study_at_once_one_does(disk: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "studies", disk)
    location, folder = locate_study(file).database, RunFolder.beside(file)
    folder.path.mkdir(mode=0o700)
    elsewhere = {"path": "/scratch/toy/study.db", "host": "gpu2", "key": "theirs"}
    folder.database_reference.write_text(json.dumps(elsewhere))
    with pytest.raises(StorageError, match=r"lies at .* on gpu2"), lock_study(location, waiting=Waiting()):
        pass
    assert json.loads(folder.database_reference.read_text()) == elsewhere
