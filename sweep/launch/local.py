"""LocalLauncher: a process of its own for every job, forked warm on this machine.

The processes are forked from a server that has the heavy imports behind it and has never touched CUDA (the standard
library's forkserver), so a start costs a fork, and a crash, a leak or a lack of memory ends with its job.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
from collections.abc import Sequence
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess

from sweep.errors import SweepError
from sweep.launch.launcher import Died, Message
from sweep.messages import Failure, Verdict
from sweep.worker import ORPHANED, Done, Job, run_worker

EXIT_S = 10.0
"""Seconds that a process gets to exit after its last word."""


class LocalLauncher:
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
        self._jobs: dict[str, tuple[ForkServerProcess, Connection]] = {}

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
        self._jobs[job.name] = (process, ours)

    def wait(self, timeout_s: float) -> list[Message]:
        """What jobs have said since the last call."""
        names = {connection: name for name, (_, connection) in self._jobs.items()}
        return [self._receive(names[ready]) for ready in wait(list(names), timeout_s) if isinstance(ready, Connection)]

    def answer(self, job: str, verdict: Verdict) -> None:
        """Answers a job's report."""
        self._send(job, verdict)

    def pause(self, job: str) -> None:
        """Asks a job to stop at its next step."""
        self._send(job, None)

    def kill(self, job: str) -> None:
        """Kills a job's process."""
        self._jobs[job][0].kill()

    def close(self) -> None:
        """Kills every job's process and waits until it is gone."""
        for process, _ in self._jobs.values():
            process.kill()
        for job in list(self._jobs):
            self._reap(job)

    def process_id(self, job: str) -> int | None:
        """Process id of a running job."""
        return self._jobs[job][0].pid

    def _fork(self, process: ForkServerProcess, job: Job) -> None:
        try:
            _start_fork_server()
            process.start()
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ValueError(f"the task of job {job.name!r} must be picklable, got {job.task!r}: {error}") from error
        except (EOFError, OSError) as error:
            raise SweepError(
                f"no process can be started: the fork server, which imports {', '.join(self._preload) or 'nothing'},"
                " ended; its last words stand above"
            ) from error

    def _send(self, job: str, message: object) -> None:
        if job in self._jobs:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._jobs[job][1].send(message)

    def _receive(self, job: str) -> Message:
        try:
            payload = self._jobs[job][1].recv()
        except (EOFError, OSError):
            return Message(job, Died(self._reap(job)))
        if isinstance(payload, (Done, Failure)):
            self._reap(job)
        return Message(job, payload)

    def _reap(self, job: str) -> str:
        """Waits until a job's process is gone, and says how it ended."""
        process, connection = self._jobs.pop(job)
        connection.close()
        process.join(EXIT_S)
        if process.is_alive():
            process.kill()
            process.join()
        code = process.exitcode
        process.close()
        return _describe_exit(code)


def _start_fork_server() -> None:
    """Starts the fork server where it is not running, with Ctrl-C blocked in it and in all that it forks.

    Ctrl-C reaches the whole terminal, and a process that was just forked has not had the time to ignore it.
    """
    resource_tracker.ensure_running()  # by itself, since it unblocks the signal again
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _describe_exit(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return "its coordinator was gone" if code == ORPHANED else f"exited with status {code}"
