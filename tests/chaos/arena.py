"""A sweep in processes of its own that is started, ends in any way, and is started again; held to its promises."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from history import read_history
from looks import find_running
from places import Local
from postgres import PostgresServer
from processes import wait_until

RUN = """
import sys
import optuna
from sweep.cli.output import open_output, unread_output
from sweep.signals import StopSignal
from sweep.coordinator.run import run_study
from sweep.errors import SweepError
from sweep.plan import plan_study
from sweep.storage.location import locate_study

class Printer:
    def show(self, event):
        print(event.kind, event.trial, event.text, flush=True)
    def refresh(self, sweep):
        pass

if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    open_output()
    status = 0
    with unread_output(), StopSignal() as stop:  # around the last words, which are then said whatever signal comes
        try:
            run_study(plan_study(locate_study(sys.argv[1])), watcher=Printer(), stop=stop, jobs=sys.argv[2])
            print("ended None", flush=True)
        except SweepError as error:
            status = error.exit_code
            print("error", None, error, flush=True)
    sys.exit(status)
"""

OUTPUTS = ("pipe", "terminal", "detached")
"""What starts print to, in turns: a pipe; a terminal of their own, which hangs up when it is closed; or one that is not
their own, which does not."""

LAST_WORDS = ("ended None", "error None ")
"""How the last line begins of a coordinator that came to its end; a signal may kill it after that."""

PROMISED_S = 5.0
"""Seconds within which a start has a process for every running trial, and an end has left none behind."""

USUAL_START_S = 2.0
"""Seconds until a coordinator's first line on an idle machine; one on which it takes longer is that much slower."""

LOOK_S = 0.2
START_S = 240.0

USUAL_ENDS = frozenset({0, 1})
"""Exit statuses of a coordinator that nothing was done to: the end of the study, and trials that kept failing."""


@dataclass
class Arena:
    """A study that is run, attacked and run again.

    Attributes:
        file: The study file.
        jobs: Module that holds the bodies of its jobs.
        place: Where its trials run.
        history: File to which its trials append.
        server: The PostgreSQL server that its database is on, if it is.
        violations: What did not hold while it ran.
        kills: Processes that were killed, hang-ups, and terminals and readers that were taken away.
        starts: How often a coordinator was started.
        said: Every line that coordinators printed, with the time.
        expected: Exit statuses of the coordinator that runs now that are no surprise.
    """

    file: Path
    jobs: str
    place: Local
    history: Path
    server: PostgresServer | None = None
    violations: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    starts: int = 0
    said: list[str] = field(default_factory=list)
    expected: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.start()

    def start(self, *, waits: bool = True) -> None:
        """Starts a coordinator.

        Args:
            waits: Whether the first trial's process is waited for, to see that no other trial lacks one.
        """
        self.starts += 1
        self.expected = set(USUAL_ENDS)
        self._final_messages = ""
        self._began = time.monotonic()
        self._slowness = 1.0
        self.output = OUTPUTS[(self.starts - 1) % len(OUTPUTS)]
        self._deaf = threading.Event()
        ours, theirs = os.pipe() if self.output == "pipe" else pty.openpty()
        storage = {"SWEEP_STORAGE": self.server.url} if self.server else {}
        command = [sys.executable, "-c", RUN, str(self.file), self.jobs]
        if self.output == "terminal":  # the first terminal that the leader of a session opens is its own
            command = ["sh", "-c", f'exec "$@" > {os.ttyname(theirs)} 2>&1', "sh", *command]
        self.process = subprocess.Popen(
            command,
            cwd=self.file.parent,
            env={**os.environ, **self.place.environment, **storage},
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self._listener = threading.Thread(target=self._listen, args=(ours, self._deaf), daemon=True)
        self._listener.start()
        if not waits:
            return
        # the imports take as long as the machine is busy; from the first process on, it is seconds
        wait_until(lambda: self.has_ended() or bool(self.workers()), within_s=START_S)
        self._check_manned()

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def go_on(self, *, waits: bool = True) -> bool:
        """Waits for the coordinator's end and starts the next one; whether the study goes on."""
        code = self.process.wait()
        self._listener.join()
        self._check_gone()
        self.kills += code == -signal.SIGKILL
        if code == 0:
            return False
        is_heard = code != -signal.SIGKILL and not self._deaf.is_set()
        if code not in self.expected or (is_heard and not self._final_messages.startswith(LAST_WORDS)):
            self.violations[f"coordinators that ended with {code} by themselves: {self._final_messages}"] += 1
        self.start(waits=waits)
        return True

    def close(self) -> None:
        self.place.end(self.process.pid)
        self.process.wait()

    def take_reader_away(self) -> bool:
        """Closes what the coordinator prints to, so that nobody reads it any more; whether anybody did till then."""
        if self._deaf.is_set():
            return False
        self._deaf.set()
        self._listener.join()
        self.kills += 1
        return True

    def workers(self) -> dict[int, int]:
        """Process ids of the trials that run now, by trial."""
        last = {line["trial"]: line["pid"] for line in read_history(self.history) if line["event"] == "begin"}
        alive = self.place.living(self.process.pid)
        return {trial: pid for trial, pid in last.items() if pid in alive}

    def note(self, text: str) -> None:
        """Adds a line to what was said."""
        self.said.append(f"{time.time():.2f} {text}")

    def _listen(self, output: int, deaf: threading.Event) -> None:
        begun = b""
        while not deaf.is_set():
            if not select.select([output], [], [], 0.05)[0]:
                continue
            try:
                read = os.read(output, 65536)
            except OSError:  # a terminal that nobody has open any more
                break
            if not read:
                break
            *lines, begun = (begun + read).split(b"\n")
            for line in lines:
                self._hear(line.decode().rstrip())
        os.close(output)

    def _hear(self, line: str) -> None:
        if not self._final_messages:
            self._slowness = max(1.0, (time.monotonic() - self._began) / USUAL_START_S)
        self._final_messages = line
        self.note(line)

    def _check_gone(self) -> None:
        group = self.process.pid
        if not wait_until(lambda: not self.place.living(group), within_s=PROMISED_S):
            left = self.place.living(group)
            self.violations["processes left behind"] += len(left)
            self.note(f"left behind: {left}")
            self.place.end(group)

    def _check_manned(self) -> None:
        """Counts trials that are called running and had no process at any look over at least 5 s.

        A trial is without a process for a moment at its end, until that is written. On a machine that is so busy that a
        look takes seconds two looks may come within that moment, so the looks go on until they span the 5 s; and the
        moment takes longer there, so the 5 s are stretched by how much longer this very start took.
        """
        stuck, first = self._find_unmanned(), time.monotonic()
        while stuck and not self.has_ended():
            time.sleep(LOOK_S)
            began = time.monotonic()
            stuck &= self._find_unmanned()
            if began - first >= PROMISED_S * self._slowness:
                break
        if stuck and not self.has_ended():
            self.violations["trials running without a process 5 s after a start"] += len(stuck)
            self.note(f"running without a process: {sorted(stuck)}; processes: {self.workers()}")

    def _find_unmanned(self) -> set[int]:
        """Trials that are running before and after a look at the processes, and have none."""
        before = find_running(self.file, self.server)
        workers = self.workers()
        return (before & find_running(self.file, self.server)) - workers.keys()
