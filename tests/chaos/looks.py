"""What a study's database says while its coordinator runs: asked in plain SQL, so that a look takes milliseconds."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from postgres import PostgresServer

from sweep.run_folder import RunFolder

SCHEMA = "sweep_toy"
"""The PostgreSQL schema of the study that is attacked."""

LOCK_S = 60.0
"""Seconds for which a lock on the SQLite file is waited for."""


RUNNING = (
    "SELECT number FROM {schema}trials AS one WHERE state = 'RUNNING' AND NOT EXISTS (SELECT 1 FROM"
    " {schema}trial_user_attributes AS noted WHERE noted.trial_id = one.trial_id AND noted.key = 'paused_at'"
    " AND noted.value_json <> 'null')"
)
"""Trials that run: Optuna has those that are paused at a rung running as well."""


def find_running(file: Path, server: PostgresServer | None) -> set[int]:
    """The trials of a study that its database says are running, and not paused at a rung.

    Args:
        file: The study file.
        server: The PostgreSQL server that its database is on, or None for the SQLite file beside it.
    """
    if server is not None:
        tables = server.execute(f"SELECT to_regclass('{SCHEMA}.trials')")
        rows = server.execute(RUNNING.format(schema=f"{SCHEMA}.")) if tables[0][0] else []
        return {number for (number,) in rows}
    database = RunFolder.beside(file).database
    if not database.exists():
        return set()
    with contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=LOCK_S)) as connection:
        return {number for (number,) in connection.execute(RUNNING.format(schema=""))}
