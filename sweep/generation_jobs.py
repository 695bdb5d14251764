"""run_answer_jobs: jobs that answer for documents with a model, one on each device, watched until they end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from sweep.launch import Launcher, Slot
from sweep.launch.jobs import JobFailedError
from sweep.launch.launcher import Died
from sweep.messages import AnswerTask, Done, Failure, Job
from sweep.signals import InterruptedRunError, StopSignal

LOOK_S = 0.5
"""Seconds between two looks at how far the jobs have got."""


def run_answer_jobs(
    tasks: Sequence[tuple[Slot, AnswerTask]],
    *,
    body: str,
    launcher: Launcher,
    stop: StopSignal,
    log: Path,
    show: Callable[[int], None],
) -> None:
    """Runs jobs side by side to their ends, and tells how many documents have been answered for.

    Args:
        tasks: The task of each job, and where it runs; all append to one file.
        body: ``module:function`` of the jobs.
        launcher: Runs them.
        stop: Signals that end them; what was answered stays.
        log: Output of the jobs.
        show: Is told the number of answers since the beginning.

    Raises:
        JobFailedError: If one fails; the others are ended.
        InterruptedRunError: If a signal came.
    """
    answers = tasks[0][1].answers
    count = _LineCount(answers)
    running = set()
    for place, (slot, task) in enumerate(tasks):
        name = f"answer-{place}"
        launcher.start(Job(name=name, body=body, task=task, log=log, environment=slot.environment))
        running.add(name)
    while running:
        for message in launcher.wait(LOOK_S):
            payload = message.payload
            if isinstance(payload, Failure):
                raise JobFailedError(payload.cause, actionable=payload.actionable, log=log)
            if isinstance(payload, Died):
                raise JobFailedError(payload.reason, actionable=False, log=log)
            if isinstance(payload, Done):
                running.discard(message.job)
        show(count.grow())
        if stop.signal is not None:
            raise InterruptedRunError(stop.signal)


class _LineCount:
    """The lines that a file has grown by."""

    def __init__(self, path: Path) -> None:
        self._path, self._lines = path, 0
        self._read = path.stat().st_size

    def grow(self) -> int:
        """The lines since it was made."""
        with self._path.open("rb") as file:
            file.seek(self._read)
            more = file.read()
        self._read += len(more)
        self._lines += more.count(b"\n")
        return self._lines
