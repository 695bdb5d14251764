"""Opening a study's SQLite file: the settings under which no acknowledged write is lost."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import DBAPIError

from sweep.errors import StorageError

BUSY_TIMEOUT_S = 60.0


def open_storage(file: Path) -> RDBStorage:
    """Opens a study's SQLite file for its coordinator, the only writer; makes it if it is not there.

    Every transaction takes the write lock at its beginning, so that none fails half-way for a lock, and is on the disk
    when it is acknowledged (synchronous FULL). The journal is a rollback journal: SQLite's write-ahead log has a race
    that can lose commits in most versions that are installed (fixed in 3.51.3).

    A new file is made under another name and gets its own when its tables and their indexes are whole: without its
    unique index, Optuna would begin a study anew beside the one that is there.

    Args:
        file: The SQLite file; its folder must be there.

    Returns:
        Optuna's storage on it; our own tables use its engine.

    Raises:
        StorageError: If the file cannot be opened, or is no SQLite database.
    """
    if not file.exists():
        _make(file)
    storage = _open(file, _url(file))
    sqlalchemy.event.listen(storage.engine, "connect", _configure_writer)
    sqlalchemy.event.listen(storage.engine, "begin", _begin_immediate)
    storage.engine.dispose()  # connections made before the listeners
    return storage


def open_storage_read_only(file: Path) -> RDBStorage:
    """Opens a study's SQLite file for reading alone.

    Nothing is written, but for what a killed writer left half done: SQLite undoes that before anybody reads.

    Raises:
        StorageError: If there is no such file, or it is no study.
    """
    if not file.is_file():
        raise StorageError(f"{file}: there is no study here yet; start it with `sweep run`")
    _undo_half_done(file)
    return _open(file, read_only_url(file), skip_table_creation=True)


def read_only_url(file: Path) -> str:
    """The address under which SQLAlchemy opens a SQLite file for reading alone."""
    return _url(file, mode="ro")


def _url(file: Path, **query: str) -> str:
    """A SQLite address in which the file's name is taken literally; SQLAlchemy's versions differ in how they quote."""
    url = sqlalchemy.URL.create("sqlite", database=f"file:{quote(str(file))}", query={**query, "uri": "true"})
    return url.render_as_string(hide_password=False)


def _make(file: Path) -> None:
    partial = file.with_name(file.name + ".partial")
    partial.unlink(missing_ok=True)
    _open(file, _url(partial)).engine.dispose()
    with partial.open("rb") as written:
        os.fsync(written.fileno())
    partial.rename(file)


def _undo_half_done(file: Path) -> None:
    """Has SQLite roll back what a killed writer left, which it does for none that reads alone."""
    if file.with_name(file.name + "-journal").exists():  # the journal of a writer that is alive is left alone
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(file.resolve())) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()


def _open(file: Path, url: str, **settings: Any) -> RDBStorage:
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # a line a trial of its own would tear a live view
    try:
        return RDBStorage(url, engine_kwargs={"connect_args": {"timeout": BUSY_TIMEOUT_S}}, **settings)
    except (DBAPIError, StorageInternalError) as error:  # Optuna's own error has the database's for its cause
        reason = getattr(error if isinstance(error, DBAPIError) else error.__cause__, "orig", error)
        raise StorageError(f"{file}: cannot be opened as a study's database: {reason}") from error
    except RuntimeError as error:  # Optuna's word for a database of another version
        raise StorageError(f"{file}: {str(error).splitlines()[0]}") from error


def _configure_writer(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # transactions begin where SQLAlchemy says so, not at the first write
    connection.execute("PRAGMA synchronous = FULL")


def _begin_immediate(connection: sqlalchemy.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
