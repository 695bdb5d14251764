"""Everything that can be done to a running sweep."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psycopg
from arena import Arena
from looks import LOCK_S, SCHEMA
from nemesis import Attack, Kind
from places import Ray
from processes import freeze, wait_until

from sweep.run_folder import RunFolder
from sweep.signals import WARNINGS

GRACE_S = 30.0
"""Seconds within which a run ends that was asked to."""

EARLY_S = 4.0
"""Seconds of a start in which it may be killed: it takes some two to adopt its trials, more on a busy machine."""

HEAD_S = 60.0
"""Seconds within which a run ends whose cluster has lost its head."""

HEAD_FAILED = 2
"""Exit status of a coordinator that says that its cluster is gone."""

DISK_FAILED = 2
"""Exit status of a coordinator that says that a disk is full or cannot be written."""

STRACE = shutil.which("strace")


def can_trace() -> bool:
    """Whether this process may trace one of its own."""
    if STRACE is None:
        return False
    return subprocess.run([STRACE, "-o", os.devnull, "true"], capture_output=True, check=False).returncode == 0


class Attacker:
    """Attacks a sweep.

    Args:
        arena: The sweep.
        disk: A small file system of its own that the study lies on, or None.

    Attributes:
        done: Attacks that hit something, by kind.
    """

    def __init__(self, arena: Arena, *, disk: Path | None) -> None:
        self._arena = arena
        self._disk = disk
        self.done: Counter[str] = Counter()
        self._ways: dict[Kind, Callable[[Attack], bool]] = {
            "worker": self._kill_worker,
            "coordinator": self._kill_coordinator,
            "both": self._kill_both,
            "early": self._kill_early,
            "terminate": self._terminate,
            "hangup": self._hang_up,
            "reader": self._take_reader_away,
            "freeze": self._freeze,
            "thaw": self._thaw,
            "lock": self._lock,
            "server": self._kill_server,
            "full": self._fill_disk,
            "broken": self._break_disk,
            "vanish": self._hide_folder,
            "program": self._kill_program,
            "stall": self._stall,
            "node": self._kill_node,
            "outage": self._freeze_node,
            "visit": self._visit,
            "head": self._kill_head,
        }

    def attack(self, attack: Attack) -> bool:
        """Does one thing to the sweep; whether the study goes on after it."""
        time.sleep(attack.wait_s)
        if not self._arena.has_ended():
            self._arena.note(f"attack: {attack}")
            self.done[attack.kind] += self._ways[attack.kind](attack)
        return not self._arena.has_ended() or self._arena.go_on()

    # ---- kills

    def _kill_worker(self, attack: Attack) -> bool:
        killed = self._signal(self._victim(attack), signal.SIGKILL)
        self._arena.kills += killed
        return killed

    def _kill_coordinator(self, _: Attack) -> bool:
        return self._end_coordinator(lambda: self._arena.process.kill())

    def _kill_both(self, _: Attack) -> bool:
        self._arena.kills += len(self._arena.workers())
        return self._end_coordinator(lambda: self._arena.place.end(self._arena.process.pid))

    def _kill_early(self, attack: Attack) -> bool:
        if self._kill_both(attack) and self._arena.go_on(waits=False):
            time.sleep(attack.choice * EARLY_S)
            return self._kill_both(attack)
        return False

    def _kill_server(self, attack: Attack) -> bool:
        server = self._arena.server
        assert server is not None
        server.kill()
        time.sleep(attack.duration_s)
        server.start()
        self._arena.kills += 1
        return True

    def _end_coordinator(self, end: Callable[[], None]) -> bool:
        self._arena.expected.add(-signal.SIGKILL)
        end()
        return self._arena.process.wait() == -signal.SIGKILL

    # ---- signals

    def _terminate(self, attack: Attack) -> bool:
        return self._ask_to_end(signal.SIGTERM, to_all=attack.choice >= 0.5)

    def _hang_up(self, attack: Attack) -> bool:
        self._arena.kills += 1
        return self._ask_to_end(WARNINGS[int(attack.choice * 8) % len(WARNINGS)], to_all=attack.choice >= 0.5)

    def _ask_to_end(self, number: signal.Signals, *, to_all: bool) -> bool:
        group = self._arena.process.pid
        self._arena.expected |= {128 + number, -number, -signal.SIGKILL}
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if to_all else os.kill)(group, number)
        self._await_end()
        return True

    def _await_end(self, within_s: float = GRACE_S) -> None:
        try:
            self._arena.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self._arena.violations[f"coordinators that took more than {within_s:.0f} s to end"] += 1
            self._arena.place.end(self._arena.process.pid)

    def _take_reader_away(self, _: Attack) -> bool:
        is_hang_up = self._arena.output == "terminal"
        if is_hang_up:
            self._arena.expected |= {128 + signal.SIGHUP, -signal.SIGHUP}
        was_read = self._arena.take_reader_away()
        if was_read and is_hang_up:
            self._await_end()
        return was_read

    def _freeze(self, attack: Attack) -> bool:
        victim = self._victim(attack) if attack.choice < 0.7 else self._arena.process.pid
        frozen = self._signal(victim, signal.SIGSTOP)
        time.sleep(attack.duration_s if frozen else 0.0)
        return self._signal(victim, signal.SIGCONT) and frozen

    def _thaw(self, attack: Attack) -> bool:
        victim = self._victim(attack)
        frozen = self._signal(victim, signal.SIGSTOP)
        if self._kill_coordinator(attack):
            self._arena.go_on()
        self._signal(victim, signal.SIGCONT)
        return frozen

    # ---- the database and the disk

    def _lock(self, attack: Attack) -> bool:
        server = self._arena.server
        try:
            if server is not None:
                with psycopg.connect(server.url) as connection:
                    tables = f"{SCHEMA}.evaluations, {SCHEMA}.trials"
                    connection.execute(f"LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE".encode())
                    time.sleep(attack.duration_s)
            else:
                file = RunFolder.beside(self._arena.file).database
                with contextlib.closing(sqlite3.connect(file, timeout=LOCK_S)) as owner:
                    owner.execute("BEGIN EXCLUSIVE")
                    time.sleep(attack.duration_s)
                    owner.rollback()
        except (psycopg.Error, sqlite3.OperationalError):
            return False
        return True

    def _fill_disk(self, attack: Attack) -> bool:
        assert self._disk is not None
        self._arena.expected.add(DISK_FAILED)
        filler = self._disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as stream:
            while True:
                stream.write(bytes(1 << 16))
        wait_until(self._arena.has_ended, within_s=attack.duration_s)
        filler.unlink()
        return True

    def _break_disk(self, attack: Attack) -> bool:
        """Has the kernel answer EIO to what a process writes, through strace, which takes its system calls over.

        For the coordinator it is what goes to its SQLite file; for a trial's process every file that it flushes or
        renames, as it does with each file of a model or a checkpoint. Pipes and logs are left alone.
        """
        database = RunFolder.beside(self._arena.file).database
        if attack.choice < 0.5 and self._arena.server is None:
            victim: int | None = self._arena.process.pid
            calls = "write,pwrite64,fsync,fdatasync"
            files = [option for end in ("", "-journal", "-wal") for option in ("-P", f"{database}{end}")]
        else:
            victim, calls, files = self._victim(attack), "fsync,?rename,?renameat,?renameat2", []
        if victim is None:
            return False
        self._arena.expected.add(DISK_FAILED)
        answer = f"inject={calls}:error=EIO"
        trace = self._arena.history.with_suffix(".strace")
        trace.unlink(missing_ok=True)
        command = [str(STRACE), "-f", "-o", str(trace), "-p", str(victim), *files, "-e", f"trace={calls}", "-e", answer]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as tracer:
            wait_until(self._arena.has_ended, within_s=attack.duration_s)
            tracer.send_signal(signal.SIGINT)
        return trace.exists() and "(INJECTED)" in trace.read_text()

    def _hide_folder(self, attack: Attack) -> bool:
        folder = self._arena.file.parent
        away = folder.with_suffix(".away")
        self._arena.expected.add(DISK_FAILED)
        folder.rename(away)
        wait_until(self._arena.has_ended, within_s=attack.duration_s)
        shutil.rmtree(folder, ignore_errors=True)  # what was written below a mount point lies under the mount again
        away.rename(folder)
        return True

    # ---- programs and nodes elsewhere

    def _kill_program(self, attack: Attack) -> bool:
        killed = self._signal(self._program(attack), signal.SIGKILL)
        self._arena.kills += killed
        return killed

    def _stall(self, attack: Attack) -> bool:
        victim = self._program(attack)
        if victim is None:
            return False
        with freeze(victim):
            time.sleep(attack.duration_s)
        return True

    def _kill_node(self, _: Attack) -> bool:
        self._cluster.kill_node()
        self._arena.kills += 1
        return True

    def _freeze_node(self, attack: Attack) -> bool:
        self._cluster.freeze_node(lambda: time.sleep(attack.duration_s))
        return True

    def _visit(self, attack: Attack) -> bool:
        self._cluster.visit(lambda: time.sleep(attack.duration_s))
        self._arena.kills += 1
        return True

    def _kill_head(self, _: Attack) -> bool:
        self._arena.expected.add(HEAD_FAILED)
        self._cluster.kill_head()
        self._await_end(HEAD_S)
        self._cluster.start_again()
        self._arena.kills += 1
        return True

    @property
    def _cluster(self) -> Ray:
        assert isinstance(self._arena.place, Ray)
        return self._arena.place

    # ---- victims

    def _program(self, attack: Attack) -> int | None:
        programs = self._arena.place.programs()
        return programs[int(attack.choice * len(programs))] if programs else None

    def _victim(self, attack: Attack) -> int | None:
        workers = sorted(self._arena.workers().values())
        return workers[int(attack.choice * len(workers))] if workers else None

    def _signal(self, process: int | None, number: signal.Signals) -> bool:
        """Whether there was a process to send a signal to."""
        if process is None:
            return False
        try:
            os.kill(process, number)
        except ProcessLookupError:
            return False
        return True
