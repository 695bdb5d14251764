"""Opening a study's SQLite file: the settings under which no acknowledged write is lost."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from sqlalchemy.pool import NullPool, Pool, QueuePool

from sweep.errors import StorageError
from sweep.storage.damage import refuse_damaged
from sweep.storage.failures import explain_failures
from sweep.storage.file_systems import refuse_network_file_system
from sweep.storage.journal import Journal, plan_journal, read_journal
from sweep.storage.opening import open_optuna_storage
from sweep.storage.snapshot import Snapshot

BUSY_TIMEOUT_S = 60.0


def open_storage(file: Path, *, journal: Journal | None = None) -> RDBStorage:
    """Opens a study's SQLite file for its coordinator, the only writer; makes it if it is not there.

    Every transaction takes the write lock at its beginning, so that none fails half-way for a lock, and is on the disk
    when it is acknowledged (synchronous FULL). The file must lie on a local disk.

    A new file is made under another name and gets its own once its tables and indexes are complete: without its unique
    index, Optuna would begin a study anew beside the one that is there.

    Args:
        file: The SQLite file; its folder must be there.
        journal: Its journal; left out, the one that `plan_journal` names.

    Returns:
        Optuna's storage on it; our own tables use its engine.

    Raises:
        StorageError: If the file cannot be opened, is no SQLite database, is damaged, or lies on a network file system.
    """
    refuse_network_file_system(file.parent)
    if file.exists():
        _undo_half_done(file)
        with _explain(file):
            refuse_damaged(file, address(file, mode="ro"))
    else:
        _make(file)
    storage = _open(file, functools.partial(_connect, address(file, mode="rw")), QueuePool)
    sqlalchemy.event.listen(storage.engine, "connect", _configure_writer)
    sqlalchemy.event.listen(storage.engine, "begin", _begin_immediate)
    storage.engine.dispose()  # connections made before the listeners
    _set_journal(file, journal or plan_journal())
    return storage


def open_storage_read_only(file: Path, *, refresh_s: float = math.inf) -> RDBStorage:
    """Opens a study's SQLite file for reading alone, without keeping its writer waiting.

    A file with a write-ahead log is read as it is; one with a rollback journal through a copy, which gives way to a
    newer one after ``refresh_s`` seconds. Nothing is written, except that SQLite undoes what a killed writer left half
    done, and makes the two files that go with a write-ahead log.

    Raises:
        StorageError: If there is no such file, or it is no study.
    """
    if not file.is_file():
        raise StorageError(f"{file}: there is no study here yet; start it with `sweep run`")
    with _explain(file):
        _undo_half_done(file)
        url = address(file, mode="ro")
        is_logged = read_journal(file) == "wal"
        snapshot = None if is_logged else Snapshot(url, file, refresh_s=refresh_s, timeout_s=BUSY_TIMEOUT_S)
        connect = snapshot.connect if snapshot else functools.partial(_connect, url)
    # a connection a session: each session sees the newest copy, and no connection is handed from thread to thread
    storage = _open(file, connect, NullPool, skip_table_creation=True)
    if snapshot is not None:
        sqlalchemy.event.listen(storage.engine, "engine_disposed", lambda _: snapshot.close())
    return storage


def find_study_name(file: Path) -> str | None:
    """The name of the study in a SQLite file; None where there is no such file, or it cannot be read."""
    if not file.is_file():
        return None
    with contextlib.suppress(StorageError):  # a damaged file is described by the command that needs it
        storage = open_storage_read_only(file)
        try:
            with explain_failures(file):
                names = [study.study_name for study in storage.get_all_studies()]
        finally:
            storage.engine.dispose()
        return names[0] if len(names) == 1 else None
    return None


def address(file: Path, *, mode: str) -> str:
    """The ``file:`` address of a SQLite file whose name is taken literally; mode ``rwc`` makes it if it is missing."""
    return f"file:{quote(str(file.absolute()))}?mode={mode}"


def _connect(url: str) -> sqlite3.Connection:
    return sqlite3.connect(url, uri=True, timeout=BUSY_TIMEOUT_S, check_same_thread=False)


def _make(file: Path) -> None:
    partial = file.with_name(file.name + ".partial")
    try:
        partial.unlink(missing_ok=True)
        _open(file, functools.partial(_connect, address(partial, mode="rwc")), QueuePool, is_new=True).engine.dispose()
        for path, flags in ((partial, os.O_RDONLY), (file.parent, os.O_RDONLY | os.O_DIRECTORY)):
            descriptor = os.open(path, flags)
            os.fsync(descriptor)
            os.close(descriptor)
        partial.rename(file)
    except OSError as error:
        raise StorageError(f"{file}: cannot be made: {error.strerror}") from error


def _undo_half_done(file: Path) -> None:
    """Has SQLite roll back what a killed writer left, which it does for none that reads alone."""
    if file.with_name(file.name + "-journal").exists():  # the journal of a writer that is alive is left alone
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(file.resolve())) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()


def _set_journal(file: Path, journal: Journal) -> None:
    """Changes a file's journal, which needs the file for itself; else the rollback journal will do as well."""
    if read_journal(file) == journal:
        return
    with contextlib.closing(_connect(address(file, mode="rw"))) as connection:
        try:
            connection.execute(f"PRAGMA journal_mode = {journal}").fetchone()
        except sqlite3.OperationalError as error:
            if journal == "delete":
                raise StorageError(
                    f"{file}: has a write-ahead log, with which this version of SQLite ({sqlite3.sqlite_version}) can"
                    " lose what it commits, and is open in another process; end that one, and this one changes the log"
                ) from error


def _open(
    file: Path,
    connect: Callable[[], sqlite3.Connection],
    pool: type[Pool],
    *,
    skip_table_creation: bool = False,
    is_new: bool = False,
) -> RDBStorage:
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # a line a trial of its own would tear a live view
    try:
        with explain_failures(f"{file}: cannot be opened as a study's database"):
            return open_optuna_storage(
                "sqlite://",
                engine_kwargs={"creator": connect, "poolclass": pool},
                skip_table_creation=skip_table_creation,
                skip_compatibility_check=is_new,
            )
    except RuntimeError as error:  # raised by Optuna for a database of another version
        raise StorageError(f"{file}: {str(error).splitlines()[0]}") from error


@contextlib.contextmanager
def _explain(file: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StorageError(f"{file}: cannot be opened as a study's database: {error}") from error


def _configure_writer(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # transactions begin where SQLAlchemy says so, not at the first write
    connection.execute("PRAGMA synchronous = FULL")


def _begin_immediate(connection: sqlalchemy.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
