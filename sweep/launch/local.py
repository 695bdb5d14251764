"""LocalLauncher: a process of its own for every job, forked warm on this machine.

The processes are forked from a server that has the heavy imports behind it and has never touched CUDA (the standard
library's forkserver), so a start costs a fork, and a crash, a leak or a lack of memory ends with its job.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from sweep.errors import SweepError
from sweep.job_process import ORPHANED, run_worker
from sweep.launch.jobs import explain_unpicklable
from sweep.launch.launcher import Died, Message
from sweep.launch.machine import OnThisMachine
from sweep.messages import Done, Failure, Job
from sweep.signals import ORDERS, WARNINGS

EXIT_S = 10.0
"""Seconds that a process gets to exit after its final message."""

LOST_STATUS = 255
"""Exit status by the standard library of a process whose fork server is gone."""

_KERNEL_COUNTS = Path("/proc/vmstat")


def _count_oom_kills() -> int:
    """Number of processes that the kernel has ended out of memory since it started; 0 where it does not say."""
    with contextlib.suppress(OSError):
        for line in _KERNEL_COUNTS.read_text(encoding="ascii").splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return 0


@dataclass
class _Running:
    """A job that runs, or is about to be gone.

    Attributes:
        process: Its process.
        connection: This end of its pipe.
        attempt: Its attempt.
        oom_kills: The kernel's count before it.
        final_message: Its result, held back until its process is gone; None while it runs.
        deadline: Time at which it is killed if it has not exited after its final message.
    """

    process: ForkServerProcess
    connection: Connection
    attempt: int
    oom_kills: int = field(default_factory=_count_oom_kills)
    final_message: Message | None = None
    deadline: float = math.inf

    @property
    def awaited(self) -> Connection | int:
        """Object that is ready once there is news of it: its pipe, or its process's end after the final message."""
        return self.connection if math.isinf(self.deadline) else self.process.sentinel


class LocalLauncher(OnThisMachine):
    """Runs each job in a process of its own on this machine.

    Args:
        preload: Modules that the fork server imports once, before the first job.
    """

    def __init__(self, preload: Sequence[str] = ()) -> None:
        self._preload = tuple(preload)
        # joblib, which comes along with scikit-learn, makes a semaphore when it is imported, and the fork server would
        # leave it behind with a complaint at exit; nothing in a trial runs joblib's processes
        os.environ.setdefault("JOBLIB_MULTIPROCESSING", "0")
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(self._preload))
        self._jobs: dict[str, _Running] = {}

    def start(self, job: Job) -> None:
        """Forks a process for a job.

        Raises:
            ValueError: If a job of that name is running, or its task cannot be sent to a process.
            SweepError: If no process can be started.
        """
        if job.name in self._jobs:
            raise ValueError(f"a job named {job.name!r} is running")
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=run_worker, args=(theirs, job, self._preload), name=f"sweep {job.name}")
        try:
            self._fork(process, job)
        except (ValueError, SweepError):
            ours.close()
            raise
        finally:
            theirs.close()  # so that the pipe closes with the process
        self._jobs[job.name] = _Running(process, ours, job.attempt)

    def wait(self, timeout_s: float) -> list[Message]:
        """Messages of jobs since the last call."""
        return self.wait_for(timeout_s)[0]

    def wait_for(self, timeout_s: float, *, waker: int | None = None) -> tuple[list[Message], bool]:
        """Messages of jobs, and whether a descriptor that ends the wait as well can be read."""
        until = time.monotonic() + timeout_s
        wakers = [] if waker is None else [waker]
        while True:
            names = {running.awaited: name for name, running in self._jobs.items()}
            due = min((running.deadline for running in self._jobs.values()), default=math.inf)
            ready = wait([*names, *wakers], max(0.0, min(until, due) - time.monotonic()))
            heard = [self._receive(names[source]) for source in ready if source in names]
            messages = [message for message in heard if message is not None]
            self._kill_late()
            is_woken = waker in ready
            if messages or is_woken or time.monotonic() >= until:
                return messages, is_woken

    def kill(self, job: str) -> None:
        """Kills a job's process."""
        self._jobs[job].process.kill()

    def close(self) -> None:
        """Kills every job's process and waits until it is gone."""
        for running in self._jobs.values():
            running.process.kill()
        for job in list(self._jobs):
            self._reap(job)

    @property
    def jobs(self) -> list[str]:
        """Names of the jobs that run."""
        return list(self._jobs)

    def process_id(self, job: str) -> int | None:
        """Process id of a running job."""
        return self._jobs[job].process.pid

    def _fork(self, process: ForkServerProcess, job: Job) -> None:
        try:
            _start_fork_server()
            with explain_unpicklable(job):
                process.start()
        except (EOFError, OSError) as error:
            raise SweepError(
                f"no process can be started: the fork server, which imports {', '.join(self._preload) or 'nothing'},"
                " ended; see its output above"
            ) from error

    def _connection(self, job: str) -> Connection | None:
        return self._jobs[job].connection if job in self._jobs else None

    def _receive(self, job: str) -> Message | None:
        """A job's message; the final one, or its death, only once its process is gone."""
        running = self._jobs[job]
        if not math.isinf(running.deadline):
            return self._reap(job)
        try:
            attempt, payload = running.connection.recv()
        except (EOFError, OSError):
            running.deadline = time.monotonic() + EXIT_S
            return None
        message = Message(job, payload, attempt)
        if not isinstance(payload, (Done, Failure)):
            return message
        running.final_message, running.deadline = message, time.monotonic() + EXIT_S
        return None

    def _kill_late(self) -> None:
        """Kills the processes that do not exit after their final message."""
        now = time.monotonic()
        for running in self._jobs.values():
            if now >= running.deadline:
                running.process.kill()
                running.deadline = now + EXIT_S

    def _reap(self, job: str) -> Message:
        """Joins a process that is gone or about to be; returns its final message, or its death."""
        running = self._jobs.pop(job)
        running.connection.close()
        running.process.join()
        code = running.process.exitcode
        running.process.close()
        is_out_of_memory = _count_oom_kills() > running.oom_kills
        died = Message(job, Died(_describe_exit(code, is_out_of_memory=is_out_of_memory)), running.attempt)
        return running.final_message or died


def _start_fork_server() -> None:
    """Starts the fork server where it is not running, with what ends a run blocked in it and in all that it forks.

    Each such signal can reach every process of a run: Ctrl-C in a terminal, SIGHUP when that is closed, SIGTERM to a
    group of processes. The fork server must outlive its processes, and one that was just forked has not had the time to
    prepare for any.
    """
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, WARNINGS)
    try:
        resource_tracker.ensure_running()  # it unblocks SIGINT and SIGTERM again, and ignores them
        signal.pthread_sigmask(signal.SIG_BLOCK, ORDERS)
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _describe_exit(code: int | None, *, is_out_of_memory: bool) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        by_kernel = " (the kernel ended a process out of memory)" if is_out_of_memory and name == "SIGKILL" else ""
        return f"killed by {name}{by_kernel}"
    if code == LOST_STATUS:
        return "ended with the fork server"
    return "its coordinator was gone" if code == ORPHANED else f"exited with status {code}"
