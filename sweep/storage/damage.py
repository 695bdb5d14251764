"""Detection of a damaged SQLite file, and of what is intact in it; nothing is written to it."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from sweep.errors import StorageError


def refuse_damaged(file: Path, url: str) -> None:
    """Reads a SQLite file from end to end, by its read-only ``file:`` address, before anything is written to it.

    Raises:
        StorageError: If it is empty or damaged; the line says what can still be read.
        sqlite3.DatabaseError: If it is no SQLite file.
    """
    if file.stat().st_size == 0:
        raise StorageError(
            f"{file}: is empty, so the study that was in it is lost; nothing was overwritten: restore a copy of it, or"
            " delete it to begin the study anew"
        )
    with contextlib.closing(sqlite3.connect(url, uri=True, timeout=60.0)) as connection:
        try:
            problem = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
                raise  # it may never have been one
            problem = str(error)
        if problem == "ok":
            return
        intact = _describe_intact(connection)
    raise StorageError(
        f"{file}: is damaged ({' '.join(problem.split())}); intact: {intact}, and every model on disk; nothing was"
        " overwritten: restore a copy of it, or move it away to begin the study anew"
    )


def _describe_intact(connection: sqlite3.Connection) -> str:
    ended = "lower(state) IN ('complete', 'pruned', 'fail')"
    # studies from before version 4 of our schema have their trials in Optuna's table alone
    trials = max(_count(connection, table, ended) for table in ("study_trials", "trials"))
    measurements = _count(connection, "evaluations", "split = 'dev' AND trial >= 0")
    return f"{trials} finished trials and {measurements} measurements"


def _count(connection: sqlite3.Connection, table: str, condition: str) -> int:
    """Rows that can be read: from the front up to the damage, and from the back down to it."""
    readable: set[int] = set()
    for order in ("ASC", "DESC"):
        with contextlib.suppress(sqlite3.DatabaseError):
            query = f"SELECT rowid FROM {table} NOT INDEXED WHERE {condition} ORDER BY rowid {order}"
            for (row,) in connection.execute(query):
                readable.add(row)
    return len(readable)
