"""InlineLauncher: jobs as threads of this process, for debugging a trial's body with breakpoints and prints."""

from __future__ import annotations

import contextlib
import threading
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait

from sweep.job_process import PipeChannel, run_job
from sweep.launch.launcher import Died, Message
from sweep.launch.machine import OnThisMachine
from sweep.messages import Done, Failure, Job


class InlineLauncher(OnThisMachine):
    """Runs jobs as threads of this process.

    They see this process's devices and share its output. A thread cannot be killed: the messages of a killed job are
    ignored, and it ends at its next step.
    """

    def __init__(self) -> None:
        self._jobs: dict[str, tuple[Connection, int]] = {}  # with the attempt
        self._killed: list[Message] = []

    def start(self, job: Job) -> None:
        """Starts a thread for a job."""
        if job.name in self._jobs:
            raise ValueError(f"a job named {job.name!r} is running")
        ours, theirs = Pipe()
        self._jobs[job.name] = (ours, job.attempt)
        threading.Thread(target=_run, args=(theirs, job), daemon=True, name=f"sweep {job.name}").start()

    def wait(self, timeout_s: float) -> list[Message]:
        """Messages of jobs since the last call."""
        if self._killed:
            killed, self._killed = self._killed, []
            return killed
        names = {connection: name for name, (connection, _) in self._jobs.items()}
        return [self._receive(names[ready]) for ready in wait(list(names), timeout_s) if isinstance(ready, Connection)]

    def kill(self, job: str) -> None:
        """Stops listening to a job."""
        connection, attempt = self._jobs.pop(job)
        connection.close()
        self._killed.append(Message(job, Died("killed"), attempt))

    def close(self) -> None:
        """Stops listening to every job."""
        for connection, _ in self._jobs.values():
            connection.close()
        self._jobs.clear()

    def _connection(self, job: str) -> Connection | None:
        return self._jobs[job][0] if job in self._jobs else None

    def _receive(self, job: str) -> Message:
        connection, attempt = self._jobs[job]
        try:
            sender, payload = connection.recv()
        except (EOFError, OSError):
            del self._jobs[job]
            connection.close()
            return Message(job, Died("its thread ended without a result"), attempt)
        if isinstance(payload, (Done, Failure)):
            del self._jobs[job]
            connection.close()
        return Message(job, payload, sender)


def _run(connection: Connection, job: Job) -> None:
    with contextlib.suppress(OSError):  # the other end is closed
        run_job(job, PipeChannel(connection, on_orphaned=lambda: None, attempt=job.attempt), warm=True)
