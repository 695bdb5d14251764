from __future__ import annotations

import contextlib
import gc
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import wait_until

from sweep.storage.database import address
from sweep.storage.snapshot import Snapshot


@pytest.fixture
def source(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(tmp_path / "some.db", isolation_level=None, check_same_thread=False, timeout=60.0)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("CREATE TABLE numbers (x)")
    yield connection
    connection.close()


def take(tmp_path: Path, **settings: float) -> Snapshot:
    file = tmp_path / "some.db"
    return Snapshot(address(file, mode="ro"), file, timeout_s=60.0, **settings)


def fill(source: sqlite3.Connection) -> None:
    source.execute("BEGIN")
    source.executemany("INSERT INTO numbers VALUES (?)", [(number,) for number in range(1000)])
    source.execute("COMMIT")


def read(snapshot: Snapshot) -> list[int]:
    with contextlib.closing(snapshot.connect()) as connection:
        return [x for (x,) in connection.execute("SELECT x FROM numbers ORDER BY x")]


def test_a_snapshot_stays_as_the_file_was(tmp_path: Path, source: sqlite3.Connection) -> None:
    source.execute("INSERT INTO numbers VALUES (1)")
    snapshot = take(tmp_path)
    source.execute("INSERT INTO numbers VALUES (2)")
    assert read(snapshot) == [1]
    snapshot.close()


def test_a_snapshot_that_is_refreshed_follows_the_file(tmp_path: Path, source: sqlite3.Connection) -> None:
    snapshot = take(tmp_path, refresh_s=0.0)
    for number in range(3):
        source.execute("INSERT INTO numbers VALUES (?)", (number,))
        deadline = time.monotonic() + 60.0
        while read(snapshot) != list(range(number + 1)):  # a copy rests for twenty times as long as it took
            assert time.monotonic() < deadline
    snapshot.close()


def test_a_commit_that_leaves_the_time_and_the_size_of_the_file_as_they_were_is_seen(
    tmp_path: Path, source: sqlite3.Connection
) -> None:
    tick = time.time_ns() + 3600 * 10**9  # as long as this test may take
    source.execute("INSERT INTO numbers VALUES (1)")
    os.utime(tmp_path / "some.db", ns=(tick, tick))
    before = (tmp_path / "some.db").stat()
    snapshot = take(tmp_path, refresh_s=0.0)
    source.execute("INSERT INTO numbers VALUES (2)")
    os.utime(tmp_path / "some.db", ns=(tick, tick))
    after = (tmp_path / "some.db").stat()
    assert (after.st_mtime_ns, after.st_size) == (before.st_mtime_ns, before.st_size)
    assert wait_until(lambda: read(snapshot) == [1, 2])
    snapshot.close()


def test_who_reads_an_older_copy_reads_on(tmp_path: Path, source: sqlite3.Connection) -> None:
    fill(source)
    snapshot = take(tmp_path, refresh_s=0.0)
    with contextlib.closing(snapshot.connect()) as older:
        cursor = older.execute("SELECT x FROM numbers ORDER BY x")
        assert cursor.fetchone() == (0,)
        source.execute("DELETE FROM numbers WHERE x > 0")
        deadline = time.monotonic() + 60.0
        while read(snapshot) != [0]:
            assert time.monotonic() < deadline
        assert len(cursor.fetchall()) == 999
    snapshot.close()


def test_a_writer_commits_while_a_copy_is_being_read(tmp_path: Path, source: sqlite3.Connection) -> None:
    fill(source)
    snapshot = take(tmp_path)
    source.execute("PRAGMA busy_timeout = 0")
    with contextlib.closing(snapshot.connect()) as reader:
        assert reader.execute("SELECT x FROM numbers").fetchone() is not None
        source.execute("INSERT INTO numbers VALUES (-1)")
    snapshot.close()


def test_a_writer_waits_for_a_copy_that_is_being_made_and_never_fails(
    tmp_path: Path, source: sqlite3.Connection
) -> None:
    snapshot = take(tmp_path, refresh_s=0.0)
    done = threading.Event()

    def copy() -> None:
        while not done.is_set():
            snapshot._copy()

    copying = threading.Thread(target=copy)
    copying.start()
    try:
        for number in range(100):
            source.execute("BEGIN IMMEDIATE")
            source.execute("INSERT INTO numbers VALUES (?)", (number,))
            source.execute("COMMIT")
    finally:
        done.set()
        copying.join()
    snapshot.close()
    assert source.execute("SELECT count(*) FROM numbers").fetchone() == (100,)


def test_a_copy_is_for_this_user_alone_and_goes_with_its_reader(
    tmp_path: Path, source: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.execute("INSERT INTO numbers VALUES (1)")
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    snapshot = take(tmp_path)
    (folder,) = place.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len(os.listdir(folder)) == 1
    assert read(snapshot) == [1]
    del snapshot
    gc.collect()
    assert list(place.iterdir()) == []


def test_a_copy_cannot_be_written_to(tmp_path: Path, source: sqlite3.Connection) -> None:
    source.execute("INSERT INTO numbers VALUES (1)")
    snapshot = take(tmp_path)
    with (
        contextlib.closing(snapshot.connect()) as connection,
        pytest.raises(sqlite3.OperationalError, match="readonly database"),
    ):
        connection.execute("INSERT INTO numbers VALUES (2)")
    snapshot.close()
