"""Opening a study's SQLite file: the settings under which no acknowledged write is lost."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy
from optuna.storages import RDBStorage
from sqlalchemy.exc import DatabaseError, OperationalError

from sweep.errors import StorageError

BUSY_TIMEOUT_S = 60.0


def open_storage(file: Path) -> RDBStorage:
    """Opens a study's SQLite file for its coordinator, the only writer; makes it if it is not there.

    Every transaction takes the write lock at its beginning, so that none fails half-way for a lock, and is on the disk
    when it is acknowledged (synchronous FULL). The journal is a rollback journal: SQLite's write-ahead log has a race
    that can lose commits in most versions that are installed (fixed in 3.51.3).

    Args:
        file: The SQLite file; its folder must be there.

    Returns:
        Optuna's storage on it; our own tables use its engine.

    Raises:
        StorageError: If the file cannot be opened, or is no SQLite database.
    """
    storage = _open(file, f"sqlite:///file:{quote(str(file))}?uri=true")
    sqlalchemy.event.listen(storage.engine, "connect", _configure_writer)
    sqlalchemy.event.listen(storage.engine, "begin", _begin_immediate)
    storage.engine.dispose()  # connections made before the listeners
    return storage


def open_storage_read_only(file: Path) -> RDBStorage:
    """Opens a study's SQLite file for reading alone.

    Raises:
        StorageError: If there is no such file, or it is no study.
    """
    if not file.is_file():
        raise StorageError(f"{file}: there is no study here yet; start it with `sweep run`")
    return _open(file, read_only_url(file), skip_table_creation=True)


def read_only_url(file: Path) -> str:
    """The address under which SQLAlchemy opens a SQLite file for reading alone."""
    return f"sqlite:///file:{quote(str(file))}?mode=ro&uri=true"


def _open(file: Path, url: str, **settings: Any) -> RDBStorage:
    try:
        return RDBStorage(url, engine_kwargs={"connect_args": {"timeout": BUSY_TIMEOUT_S}}, **settings)
    except (OperationalError, DatabaseError) as error:
        raise StorageError(f"{file}: cannot be opened as a study's database: {error.orig}") from error
    except RuntimeError as error:  # Optuna's word for a database of another version
        raise StorageError(f"{file}: {str(error).splitlines()[0]}") from error


def _configure_writer(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # transactions begin where SQLAlchemy says so, not at the first write
    connection.execute("PRAGMA synchronous = FULL")


def _begin_immediate(connection: sqlalchemy.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
