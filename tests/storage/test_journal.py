from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from sweep.storage.journal import plan_journal, read_journal


@pytest.mark.parametrize(
    ("version", "journal"),
    [
        ((3, 6, 23), "delete"),
        ((3, 40, 1), "delete"),
        ((3, 44, 5), "delete"),
        ((3, 44, 6), "wal"),
        ((3, 45, 0), "delete"),
        ((3, 50, 6), "delete"),
        ((3, 50, 7), "wal"),
        ((3, 51, 2), "delete"),
        ((3, 51, 3), "wal"),
        ((3, 52, 0), "wal"),
        ((3, 53, 0), "wal"),
        ((4, 0, 0), "wal"),
    ],
)
def test_the_write_ahead_log_is_used_where_it_loses_nothing(version: tuple[int, ...], journal: str) -> None:
    assert plan_journal(version) == journal


@pytest.mark.parametrize("journal", ["delete", "wal", "truncate"])
def test_a_file_says_which_journal_it_was_written_with(tmp_path: Path, journal: str) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "some.db")) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal}")
        connection.execute("CREATE TABLE t (x)")
    assert read_journal(tmp_path / "some.db") == ("wal" if journal == "wal" else "delete")


def test_an_empty_file_has_no_write_ahead_log(tmp_path: Path) -> None:
    (tmp_path / "some.db").touch()
    assert read_journal(tmp_path / "some.db") == "delete"
