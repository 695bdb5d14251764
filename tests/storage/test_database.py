from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from processes import start_script, wait_until

from sweep.errors import StorageError
from sweep.storage.database import address, open_storage, open_storage_read_only
from sweep.storage.evaluations import EvaluationTable
from sweep.storage.journal import Journal, plan_journal, read_journal
from sweep.storage.schema import SCHEMA_VERSION

ODD_NAMES = [
    "with spaces",
    'it\'s "quoted"',
    "what?mode=memory",
    "a#fragment",
    "100%41",
    "größe 検索",
    "{SCHEMA_VERSION} {braces",
    "semi;colon&amp=",
    "back\\slash",
    "new\nline",
]


BOTH_JOURNALS = pytest.mark.parametrize("journal", ["delete", "wal"])


def begin_study(file: Path, journal: Journal = "delete") -> optuna.Study:
    storage = open_storage(file, journal=journal)
    EvaluationTable(storage.engine, writable=True)
    return optuna.create_study(study_name="toy", storage=storage, direction="maximize")


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_of_a_folder_will_do(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    begin_study(folder / "study.db").enqueue_trial({"x": 1})
    assert [entry.name for entry in folder.iterdir()] == ["study.db"]
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    storage = open_storage_read_only(folder / "study.db")
    assert len(optuna.load_study(study_name="toy", storage=storage).trials) == 1
    EvaluationTable(storage.engine, writable=False)


@BOTH_JOURNALS
def test_every_acknowledged_write_is_on_the_disk(tmp_path: Path, journal: Journal) -> None:
    storage = open_storage(tmp_path / "study.db", journal=journal)
    with storage.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == journal
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 60_000


@BOTH_JOURNALS
def test_a_study_gets_the_journal_that_this_sqlite_is_sound_with(tmp_path: Path, journal: Journal) -> None:
    open_storage(tmp_path / "study.db", journal=journal).engine.dispose()
    assert read_journal(tmp_path / "study.db") == journal
    open_storage(tmp_path / "study.db").engine.dispose()
    assert read_journal(tmp_path / "study.db") == plan_journal()


def test_a_log_that_can_lose_commits_is_refused_while_it_cannot_be_changed(tmp_path: Path) -> None:
    study = begin_study(tmp_path / "study.db", "wal")
    with pytest.raises(StorageError, match=r"\A.*study\.db: has a write-ahead log, with which .*; end that one.*\Z"):
        open_storage(tmp_path / "study.db", journal="delete")
    assert study.user_attrs == {}


def test_a_rollback_journal_will_do_while_it_cannot_be_changed(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "study.db", journal="delete")
    with storage.engine.connect() as connection:
        connection.exec_driver_sql("SELECT * FROM version_info").all()
        open_storage(tmp_path / "study.db", journal="wal")
    assert read_journal(tmp_path / "study.db") == "delete"


@BOTH_JOURNALS
def test_a_writer_has_the_lock_from_the_beginning_of_its_transaction(tmp_path: Path, journal: Journal) -> None:
    storage = open_storage(tmp_path / "study.db", journal=journal)
    other = sqlite3.connect(tmp_path / "study.db", timeout=0)
    with storage.engine.begin() as connection:
        connection.exec_driver_sql("SELECT 1")
        with pytest.raises(sqlite3.OperationalError, match="database is locked"):
            other.execute("BEGIN IMMEDIATE")
    other.execute("BEGIN IMMEDIATE")
    other.close()


@BOTH_JOURNALS
def test_reading_alone_works_beside_an_open_writer_and_sees_what_it_writes(tmp_path: Path, journal: Journal) -> None:
    study = begin_study(tmp_path / "study.db", journal)
    reader = optuna.load_study(study_name="toy", storage=open_storage_read_only(tmp_path / "study.db", refresh_s=0.0))
    for number in range(3):
        study.tell(study.ask(), float(number))
        values = [float(value) for value in range(number + 1)]  # a copy rests for twenty times as long as it took
        assert wait_until(lambda: [trial.value for trial in reader.get_trials()] == values)  # noqa: B023


@BOTH_JOURNALS
def test_reading_alone_leaves_every_byte_as_it_is(tmp_path: Path, journal: Journal) -> None:
    study = begin_study(tmp_path / "study.db", journal)
    study.tell(study.ask(), 0.5)
    study._storage._backend.engine.dispose()  # type: ignore[attr-defined]  # as when its process has ended
    before = hashlib.sha256((tmp_path / "study.db").read_bytes()).digest()
    storage = open_storage_read_only(tmp_path / "study.db")
    assert optuna.load_study(study_name="toy", storage=storage).best_value == 0.5
    EvaluationTable(storage.engine, writable=False).rows()
    assert hashlib.sha256((tmp_path / "study.db").read_bytes()).digest() == before
    made = {"study.db-wal", "study.db-shm"} if journal == "wal" else set()
    assert {entry.name for entry in tmp_path.iterdir()} - made == {"study.db"}


WRITE_HALF = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE studies SET study_name = 'half done'")
connection.execute("CREATE TABLE filler (text)")
connection.executemany("INSERT INTO filler VALUES (hex(randomblob(50)))", [()] * 20000)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_left_half_done_is_undone_for_who_reads_alone(tmp_path: Path) -> None:
    file = tmp_path / "study.db"
    begin_study(file).enqueue_trial({"x": 1})
    process = start_script(WRITE_HALF, [str(file)], folder=tmp_path, errors=tmp_path / "errors.txt")
    process.communicate(timeout=60)
    assert (tmp_path / "study.db-journal").stat().st_size > 0
    study = optuna.load_study(study_name="toy", storage=open_storage_read_only(file))
    assert len(study.trials) == 1
    assert not (tmp_path / "study.db-journal").exists()


def test_reading_alone_leaves_the_transaction_of_a_living_writer_alone(tmp_path: Path) -> None:
    begin_study(tmp_path / "study.db")
    writer = sqlite3.connect(tmp_path / "study.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE studies SET study_name = 'other'")
    assert (tmp_path / "study.db-journal").exists()
    assert optuna.get_all_study_names(open_storage_read_only(tmp_path / "study.db")) == ["toy"]
    writer.execute("COMMIT")
    writer.close()
    assert optuna.get_all_study_names(open_storage_read_only(tmp_path / "study.db")) == ["other"]


@BOTH_JOURNALS
def test_reading_alone_cannot_write(tmp_path: Path, journal: Journal) -> None:
    study = begin_study(tmp_path / "study.db", journal)
    reader = optuna.load_study(study_name="toy", storage=open_storage_read_only(tmp_path / "study.db"))
    with pytest.raises(StorageInternalError, match="exception is raised during the commit"):
        reader.set_user_attr("key", "value")
    connection = sqlite3.connect(address(tmp_path / "study.db", mode="ro"), uri=True)
    with pytest.raises(sqlite3.OperationalError, match="readonly database"):
        connection.execute("CREATE TABLE other (x)")
    connection.close()
    assert study.user_attrs == {}


def test_a_missing_file_is_no_study_and_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"study\.db: there is no study here yet; start it with `sweep run`$"):
        open_storage_read_only(tmp_path / "study.db")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"\A.*none/study\.db: cannot be opened as a study's database: .*\Z"):
        open_storage(tmp_path / "none" / "study.db")


@pytest.mark.parametrize(
    "content", [b"no database at all, but text of some length" * 50, b"SQLite format 3\0" + b"x" * 500]
)
def test_a_file_that_is_no_database_is_one_line_and_stays_as_it_is(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "study.db"
    file.write_bytes(content)
    for open_it in (open_storage, open_storage_read_only):
        with pytest.raises(StorageError, match=r"\A.*study\.db: cannot be opened as a study's database: .*\Z"):
            open_it(file)
    assert file.read_bytes() == content


def test_a_database_that_holds_something_else_is_one_line(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "study.db")
    connection.execute("CREATE TABLE notes (text)")
    connection.close()
    with pytest.raises(StorageError, match=r"\A.*study\.db: .*\Z"):
        open_storage_read_only(tmp_path / "study.db")


def test_a_newer_schema_of_ours_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "study.db")
    EvaluationTable(storage.engine, writable=True)
    with storage.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE sweep_schema SET version = 99")
    for writable in (True, False):
        with pytest.raises(
            StorageError, match=rf"have version 99, and this program knows {SCHEMA_VERSION}: upgrade it$"
        ):
            EvaluationTable(storage.engine, writable=writable)


def test_a_newer_schema_of_optuna_is_one_line(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "study.db")
    with storage.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE version_info SET schema_version = 99")
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'v99.0.0'")
    for open_it in (open_storage, open_storage_read_only):
        with pytest.raises(StorageError, match=r"\A.*study\.db: .*version.*\Z"):
            open_it(tmp_path / "study.db")


def test_a_database_without_our_tables_holds_no_study_for_who_reads_alone(tmp_path: Path) -> None:
    open_storage(tmp_path / "study.db")
    storage = open_storage_read_only(tmp_path / "study.db")
    with pytest.raises(StorageError, match="holds no study of this program"):
        EvaluationTable(storage.engine, writable=False)


def test_our_tables_lie_beside_optunas_in_one_file(tmp_path: Path) -> None:
    begin_study(tmp_path / "study.db")
    connection = sqlite3.connect(tmp_path / "study.db")
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    connection.close()
    assert {"evaluations", "sweep_schema", "trials", "studies"} <= tables


def test_a_database_that_was_never_finished_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "study.db.partial").write_bytes(b"half a database")
    begin_study(tmp_path / "study.db")
    assert [entry.name for entry in tmp_path.iterdir()] == ["study.db"]
    with pytest.raises(optuna.exceptions.DuplicatedStudyError, match="toy"):
        begin_study(tmp_path / "study.db")
