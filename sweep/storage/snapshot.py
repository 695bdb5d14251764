"""Snapshot: a copy of a SQLite file for readers, which delay its writer only while it is made.

With a rollback journal a writer cannot commit while anybody reads, and a dashboard or a report may read for seconds.
They read a copy, which SQLite's backup makes in one go.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import sqlite3
import tempfile
import threading
import time
import weakref
from pathlib import Path

TICK_NS = 50_000_000
"""Resolution of a file system's clock: two commits within it can leave a file with the same time and size."""

REST = 20.0
"""Pause before the next copy, in durations of the last one: copying takes at most a twentieth of the time."""


class Snapshot:
    """The newest copy of a SQLite file, in a private folder that is deleted with this object.

    Args:
        url: The file, as a ``file:`` address for SQLite; it is opened for reading alone.
        file: The file.
        refresh_s: Seconds after which a file that has changed is copied again; never, where infinite.
        timeout_s: Seconds for which a writer in the middle of its commit is waited for.
    """

    def __init__(self, url: str, file: Path, *, refresh_s: float = math.inf, timeout_s: float) -> None:
        self._url = url
        self._file = file
        self._refresh_s = refresh_s
        self._timeout_s = timeout_s
        self._folder = Path(tempfile.mkdtemp(prefix="sweep-"))
        self._finalizer = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._guard = threading.Lock()
        self._copies = 0
        self._taken = -math.inf
        self._rest_s = 0.0
        self._seen: tuple[int, int] | None = None
        self._copy()

    def connect(self) -> sqlite3.Connection:
        """A connection to a copy that is recent enough, for reading alone."""
        with self._guard:
            due = self._taken + max(self._refresh_s, self._rest_s)
            if time.monotonic() >= due and self._look() != self._seen:
                self._copy()
            address = f"{self._newest.as_uri()}?mode=ro&immutable=1"
            return sqlite3.connect(address, uri=True, check_same_thread=False)

    def close(self) -> None:
        """Removes the copies."""
        self._finalizer()

    @property
    def _newest(self) -> Path:
        return self._folder / f"{self._copies}.db"

    def _look(self) -> tuple[int, int]:
        """Time and size of the file, which change with every commit."""
        status = self._file.stat()
        return status.st_mtime_ns, status.st_size

    def _copy(self) -> None:
        before = self._newest
        began = time.monotonic()
        seen = self._look()  # before the copy: what is committed meanwhile is copied the next time
        is_old = time.time_ns() - seen[0] > TICK_NS
        source = sqlite3.connect(self._url, uri=True, timeout=self._timeout_s, check_same_thread=False)
        target = self._folder / f"{self._copies + 1}.db"
        with contextlib.closing(source), contextlib.closing(sqlite3.connect(target)) as copy:
            copy.execute("PRAGMA synchronous = OFF")  # a copy that a crash damages goes with its reader
            source.backup(copy)
        self._copies += 1
        self._seen = seen if is_old else None
        self._taken = time.monotonic()
        self._rest_s = REST * (self._taken - began)
        before.unlink(missing_ok=True)  # a reader that has it open reads on
