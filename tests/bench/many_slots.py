"""ManySlots: a thousand slots of scripted trials in one process beside the coordinator, each trial a thread of it.

A process a trial would measure how this machine shares two cores among a thousand of them. Trials write their models
and checkpoints as ever; reports and verdicts of all go through one pipe. A study's other jobs run in the coordinator.
"""

from __future__ import annotations

import multiprocessing
import queue
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from sweep.job_process import run_job
from sweep.launch import InlineLauncher
from sweep.launch.launcher import Died, Message, Slot
from sweep.messages import Assignment, Channel, Done, Failure, Job, JobMessage, Pause, Report, Verdict
from sweep.settings.study_file import WorkersSpec
from sweep.signals import StopSignal


class ManySlots(InlineLauncher):
    """Runs trials as threads of one other process, and other jobs as threads of this one.

    Args:
        slots: How many trials at once.
    """

    def __init__(self, slots: int) -> None:
        super().__init__()
        self._count = slots
        self._ours, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        self._trials: set[str] = set()

    def find_slots(self, workers: WorkersSpec, *, stop: StopSignal) -> list[Slot]:  # noqa: ARG002
        """As many as were asked for."""
        return [Slot(name=f"cpu/{number}", label="CPU", place=f"cpu/{number}") for number in range(self._count)]

    def start(self, job: Job) -> None:
        """Starts a thread for a job, over there for a trial."""
        if not isinstance(job.task, Assignment):
            super().start(job)
            return
        self._trials.add(job.name)
        self._ours.send(job)

    def wait(self, timeout_s: float) -> list[Message]:
        """Messages of jobs since the last call."""
        heard = super().wait(0.0 if self._trials else timeout_s)
        if heard or not self._ours.poll(timeout_s if self._trials else 0.0):
            return heard
        while self._ours.poll():
            message = self._ours.recv()
            if message.job in self._trials:
                heard.append(message)
            if isinstance(message.payload, (Done, Failure)):
                self._trials.discard(message.job)
        return heard

    def answer(self, job: str, verdict: Verdict) -> None:
        """Answers a job's report."""
        if job in self._trials:
            self._ours.send((job, verdict))
        else:
            super().answer(job, verdict)

    def pause(self, job: str) -> None:
        """Asks a job to stop at its next step."""
        if job in self._trials:
            self._ours.send((job, Pause()))
        else:
            super().pause(job)

    def kill(self, job: str) -> None:
        """Listens to a job no longer."""
        if job in self._trials:
            self._trials.remove(job)
            self._killed.append(Message(job, Died("killed")))
        else:
            super().kill(job)

    def close(self) -> None:
        """Ends the other process."""
        super().close()
        self._process.kill()
        self._process.join()


class _SharedChannel(Channel):
    """A trial's end of the pipe that all share."""

    def __init__(self, job: Job, send: Callable[[Any], None]) -> None:
        self._job, self._send = job, send
        self.verdicts: queue.SimpleQueue[Verdict] = queue.SimpleQueue()
        self._pausing = threading.Event()

    def report(self, report: Report) -> Verdict:
        self.send(report)
        return self.verdicts.get()

    def is_pausing(self) -> bool:
        return self._pausing.is_set()

    def sign(self, *, long_call: bool = False) -> None:
        """Gives none: a step may take as long as it likes here."""

    def pause(self) -> None:
        self._pausing.set()

    def send(self, message: JobMessage) -> None:
        self._send(Message(self._job.name, message, self._job.attempt))


def _serve(connection: Connection) -> None:
    """The other process: starts threads, and hands verdicts to them."""
    threading.stack_size(256 * 1024)
    lock, channels = threading.Lock(), {}

    def send(message: Message) -> None:
        with lock:
            connection.send(message)

    while True:
        order = connection.recv()
        if isinstance(order, Job):
            channel = channels[order.name] = _SharedChannel(order, send)
            threading.Thread(target=run_job, args=(order, channel), kwargs={"warm": True}, daemon=True).start()
        elif isinstance(order[1], Verdict):
            channels[order[0]].verdicts.put(order[1])
        else:
            channels[order[0]].pause()
