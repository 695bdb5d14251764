"""LocalLauncher: a process of its own for every job, forked warm on this machine.

The processes are forked from a server that has the heavy imports behind it and has never touched CUDA (the standard
library's forkserver), so a start costs a fork, and a crash, a leak or a lack of memory ends with its job.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import time
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from tempfile import TemporaryDirectory

from sweep.errors import SweepError
from sweep.job_process import run_worker
from sweep.launch.jobs import explain_unpicklable
from sweep.launch.launcher import Died, Message
from sweep.launch.machine import OnThisMachine
from sweep.launch.rank_processes import Rank, RankProcesses, count_oom_kills, describe_rank
from sweep.messages import Done, Failure, Job
from sweep.signals import ORDERS, WARNINGS


class LocalLauncher(OnThisMachine):
    """Runs each job in a process of its own on this machine, or in several.

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
        self._jobs: dict[str, RankProcesses] = {}

    def start(self, job: Job) -> None:
        """Forks the processes of a job.

        Raises:
            ValueError: If a job of that name is running, or its task cannot be sent to a process.
            SweepError: If no process can be started.
        """
        if job.name in self._jobs:
            raise ValueError(f"a job named {job.name!r} is running")
        meeting = None if job.processes == 1 else TemporaryDirectory(prefix="sweep-", ignore_cleanup_errors=True)
        oom_kills, ranks = count_oom_kills(), []
        try:
            for number in range(job.processes):
                file = Path(meeting.name if meeting else os.devnull) / "meeting"
                ranks.append(self._start_rank(job, number, describe_rank(number, job.processes, file)))
        except (ValueError, SweepError):
            for rank in ranks:
                rank.process.kill()
                rank.connection.close()
            if meeting is not None:
                meeting.cleanup()
            raise
        self._jobs[job.name] = RankProcesses(job.name, job.attempt, ranks, oom_kills, meeting)

    def _start_rank(self, job: Job, number: int, environment: Mapping[str, str]) -> Rank:
        ours, theirs = self._context.Pipe()
        arguments = (theirs, job, self._preload, number, environment)
        process = self._context.Process(target=run_worker, args=arguments, name=f"sweep {job.name}")
        try:
            self._fork(process, job)
        except (ValueError, SweepError):
            ours.close()
            raise
        finally:
            theirs.close()  # so that the pipe closes with the process
        return Rank(number, process, ours)

    def wait(self, timeout_s: float) -> list[Message]:
        """Messages of jobs since the last call."""
        return self.wait_for(timeout_s)[0]

    def wait_for(self, timeout_s: float, *, waker: int | None = None) -> tuple[list[Message], bool]:
        """Messages of jobs, and whether a descriptor that ends the wait as well can be read."""
        until = time.monotonic() + timeout_s
        wakers = [] if waker is None else [waker]
        while True:
            sources = {
                source: (running, rank) for running in self._jobs.values() for source, rank in running.awaited.items()
            }
            due = min((running.kill_at for running in self._jobs.values()), default=math.inf)
            ready = wait([*sources, *wakers], max(0.0, min(until, due) - time.monotonic()))
            heard = [self._receive(*sources[source]) for source in ready if source in sources]
            messages = [message for message in heard if message is not None]
            self._kill_late()
            is_woken = waker in ready
            if messages or is_woken or time.monotonic() >= until:
                return messages, is_woken

    def kill(self, job: str) -> None:
        """Kills a job's processes."""
        self._jobs[job].kill()

    def close(self) -> None:
        """Kills every job's processes and waits until they are gone."""
        for running in self._jobs.values():
            running.kill()
        while self._jobs:
            self._jobs.popitem()[1].reap()

    @property
    def jobs(self) -> list[str]:
        """Names of the jobs that run."""
        return list(self._jobs)

    def process_ids(self, job: str) -> list[int | None]:
        """Process ids of a running job, by rank."""
        return [rank.process.pid for rank in self._jobs[job].ranks]

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
        return self._jobs[job].first.connection if job in self._jobs else None

    def _receive(self, running: RankProcesses, rank: Rank) -> Message | None:
        message = running.receive(rank)
        if message is not None and isinstance(message.payload, (Done, Failure, Died)):
            del self._jobs[running.job]
        return message

    def _kill_late(self) -> None:
        """Kills the processes that do not exit after their final message."""
        now = time.monotonic()
        for running in self._jobs.values():
            running.kill_late(now)


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
