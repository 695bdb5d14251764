"""InlineLauncher: jobs as threads of this process, for debugging a trial's body with breakpoints and prints."""

from __future__ import annotations

import contextlib
import threading
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait

from sweep.launch.launcher import Died, Message
from sweep.launch.machine import OnThisMachine
from sweep.messages import Done, Failure, Job, Pause, Verdict
from sweep.worker import PipeChannel, run_job


class InlineLauncher(OnThisMachine):
    """Runs jobs as threads of this process.

    They see this process's devices and print where it prints. A thread cannot be killed: nobody listens to a killed
    job any more, and it ends at its next step.
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
        """What jobs have said since the last call."""
        if self._killed:
            killed, self._killed = self._killed, []
            return killed
        names = {connection: name for name, (connection, _) in self._jobs.items()}
        return [self._receive(names[ready]) for ready in wait(list(names), timeout_s) if isinstance(ready, Connection)]

    def answer(self, job: str, verdict: Verdict) -> None:
        """Answers a job's report."""
        self._send(job, verdict)

    def pause(self, job: str) -> None:
        """Asks a job to stop at its next step."""
        self._send(job, Pause())

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

    def _send(self, job: str, message: Verdict | Pause) -> None:
        if job in self._jobs:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._jobs[job][0].send(message)

    def _receive(self, job: str) -> Message:
        connection, attempt = self._jobs[job]
        try:
            said_by, payload = connection.recv()
        except (EOFError, OSError):
            del self._jobs[job]
            connection.close()
            return Message(job, Died("its thread ended without a word"), attempt)
        if isinstance(payload, (Done, Failure)):
            del self._jobs[job]
            connection.close()
        return Message(job, payload, said_by)


def _run(connection: Connection, job: Job) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more
        run_job(job, PipeChannel(connection, on_orphaned=lambda: None, attempt=job.attempt), warm=True)
