"""A sweep in processes of its own, and everything that can be done to it."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from checker import read_history
from nemesis import Attack
from postgres import PostgresServer
from processes import TESTS, end_group, living, wait_until
from real_jobs import HISTORY

from sweep.errors import StorageError
from sweep.run_folder import RunFolder
from sweep.status import read_standing
from sweep.storage.postgresql import name_schema

RUN = """
import sys
import optuna
from sweep.coordinator.jobs import StopSignal
from sweep.coordinator.run import run_study
from sweep.errors import SweepError
from sweep.launch import LocalLauncher
from sweep.plan import plan_study

class Printer:
    def show(self, event):
        print(event.kind, event.trial, event.text, flush=True)
    def refresh(self, sweep):
        pass

if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with StopSignal() as stop:
            run_study(
                plan_study(sys.argv[1]), watcher=Printer(), stop=stop, jobs=sys.argv[2],
                launcher=LocalLauncher((sys.argv[2],)),
            )
    except SweepError as error:
        print("error", None, error, flush=True)
        sys.exit(error.exit_code)
"""

AFTER_START_S = 5.0
GRACE_S = 30.0
START_S = 240.0


@dataclass
class Arena:
    """A study that is run, attacked and run again.

    Attributes:
        file: The study file.
        jobs: Module that holds the bodies of its jobs.
        history: File to which its trials append.
        server: The PostgreSQL server that its database is on, if it is.
        violations: What did not hold while it ran.
        starts: How often a coordinator was started.
        said: Every line that coordinators printed.
    """

    file: Path
    jobs: str
    history: Path
    server: PostgresServer | None = None
    violations: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, [TESTS.parent, TESTS, TESTS / "chaos"])),
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": "1",
            HISTORY: str(self.history),
        }
        if self.server is not None:
            self._environment["SWEEP_STORAGE"] = self.server.url
        self.start()

    # ---- the sweep

    def start(self) -> None:
        """Starts a coordinator, and waits until it starts or adopts trials, or has nothing to do."""
        self.starts += 1
        self._is_up = threading.Event()
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(self.file), self.jobs],
            cwd=self.file.parent,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        threading.Thread(target=self._listen, args=(self.process,), daemon=True).start()
        self._is_up.wait(START_S)
        # the fork server's imports take as long as the machine is busy; from the first process on, it is seconds
        wait_until(lambda: self.has_ended() or bool(self.workers()), within_s=START_S)
        deadline, stuck = time.monotonic() + AFTER_START_S, self._without_process()
        while stuck and not self.has_ended() and time.monotonic() < deadline:
            stuck &= self._without_process()  # a process is gone for a moment before its trial's end is written
        if stuck and not self.has_ended():
            self.violations["trials running without a process 5 s after a start"] += len(stuck)
            self.said.append(f"running without a process: {sorted(stuck)}; processes: {self.workers()}")

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def go_on(self, *allowed: int) -> bool:
        """Starts the next coordinator where one has ended; whether the study goes on.

        Args:
            allowed: Exit statuses that are no surprise, besides 0, and 1 for trials that kept failing.
        """
        code = self.process.wait()
        self._check_gone()
        if code == 0:
            return False
        if code not in (1, *allowed):
            self.violations[f"coordinators that ended with {code} by themselves: {self.said[-1:]}"] += 1
        self.start()
        return True

    def close(self) -> None:
        end_group(self.process.pid)
        self.process.wait()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.said.append(line.rstrip())
            if line.split(" ", 1)[0] == "start":
                self._is_up.set()
        self._is_up.set()

    def _check_gone(self) -> None:
        group = self.process.pid
        if not wait_until(lambda: not living(group), within_s=AFTER_START_S):
            self.violations["processes left behind"] += len(living(group))
            end_group(group)

    def workers(self) -> dict[int, int]:
        """Process ids of the trials that run now, by trial."""
        last = {line["trial"]: line["pid"] for line in read_history(self.history) if line["event"] == "begin"}
        alive = {int(line.split()[0]) for line in living(self.process.pid)}
        return {trial: pid for trial, pid in last.items() if pid in alive}

    def _without_process(self) -> set[int]:
        """Trials that are running before and after a look at the processes, and have none."""
        before = self._running()
        workers = self.workers()
        return (before & self._running()) - workers.keys()

    def _running(self) -> set[int]:
        try:
            with self._in_environment():
                record = read_standing(self.file).record
        except StorageError:
            return set()  # the study has not begun
        return {trial.number for trial in record.trials if trial.state == "running"}

    @contextlib.contextmanager
    def _in_environment(self) -> Iterator[None]:
        if self.server is not None:
            os.environ["SWEEP_STORAGE"] = self.server.url
        try:
            yield
        finally:
            os.environ.pop("SWEEP_STORAGE", None)

    # ---- what is done to it

    def attack(self, attack: Attack) -> bool:
        """Does one thing to the sweep; whether the study goes on after it."""
        time.sleep(attack.wait_s)
        if self.has_ended():
            return self.go_on()
        return bool(getattr(self, f"_{attack.kind}")(attack))

    def _victim(self, attack: Attack) -> int | None:
        workers = sorted(self.workers().values())
        return workers[int(attack.choice * len(workers))] if workers else None

    def _worker(self, attack: Attack) -> bool:
        self._signal(self._victim(attack), signal.SIGKILL)
        return True

    def _coordinator(self, _: Attack) -> bool:
        self._signal(self.process.pid, signal.SIGKILL)
        return self.go_on(-signal.SIGKILL)

    def _both(self, _: Attack) -> bool:
        end_group(self.process.pid)
        return self.go_on(-signal.SIGKILL)

    def _terminate(self, _: Attack) -> bool:
        self._signal(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self.violations["coordinators that took more than 30 s to end"] += 1
            end_group(self.process.pid)
        return self.go_on(128 + signal.SIGTERM, -signal.SIGKILL)

    def _freeze(self, attack: Attack) -> bool:
        victim = self._victim(attack) if attack.choice < 0.7 else self.process.pid
        self._signal(victim, signal.SIGSTOP)
        time.sleep(attack.duration_s)
        self._signal(victim, signal.SIGCONT)
        return True

    def _thaw(self, attack: Attack) -> bool:
        victim = self._victim(attack)
        self._signal(victim, signal.SIGSTOP)
        self._signal(self.process.pid, signal.SIGKILL)
        goes_on = self.go_on(-signal.SIGKILL)
        self._signal(victim, signal.SIGCONT)
        return goes_on

    def _lock(self, attack: Attack) -> bool:
        if self.server is not None:
            schema = name_schema("toy")
            with psycopg.connect(self.server.url) as connection, contextlib.suppress(psycopg.Error):
                tables = f"{schema}.evaluations, {schema}.trials"
                connection.execute(f"LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE".encode())
                time.sleep(attack.duration_s)
            return True
        with contextlib.closing(sqlite3.connect(RunFolder.beside(self.file).database, timeout=20.0)) as connection:
            with contextlib.suppress(sqlite3.OperationalError):
                connection.execute("BEGIN EXCLUSIVE")
                time.sleep(attack.duration_s)
            connection.rollback()
        return True

    def _server(self, attack: Attack) -> bool:
        assert self.server is not None
        self.server.kill()
        time.sleep(attack.duration_s)
        self.server.start()
        return True

    def _disk(self, attack: Attack) -> bool:
        filler = self.history.parent / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as stream:
            while True:
                stream.write(bytes(1 << 16))
        time.sleep(attack.duration_s)
        filler.unlink()
        if wait_until(self.has_ended, within_s=1.0):
            return self.go_on(2)  # one line that says that the disk is full
        return True

    def _signal(self, process: int | None, number: signal.Signals) -> None:
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)
