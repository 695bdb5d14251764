"""The journal of a study's SQLite file: the one it is to be written with, and the one it has."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Literal

Journal = Literal["wal", "delete"]

_FIXED = ((3, 44, 6), (3, 50, 7), (3, 51, 3))
"""First versions of their lines without the race that can lose commits; every later line is without it too."""

_VERSION_BYTE = 18
_WAL_VERSION = 2


def plan_journal(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> Journal:
    """The write-ahead log where SQLite's is sound, else the rollback journal.

    The write-ahead log of 3.7.0 to 3.51.2 has a race between a checkpoint and a writer that can lose commits; it is
    fixed in 3.51.3, and in 3.50.7 and 3.44.6 for their lines.
    """
    is_fixed = version >= _FIXED[-1] or any(version[:2] == fixed[:2] and version >= fixed for fixed in _FIXED)
    return "wal" if is_fixed else "delete"


def read_journal(file: Path) -> Journal:
    """The journal that a SQLite file was last written with, as its header says."""
    with file.open("rb") as stream:
        header = stream.read(_VERSION_BYTE + 1)
    return "wal" if header[_VERSION_BYTE:] == bytes([_WAL_VERSION]) else "delete"
