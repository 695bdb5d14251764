"""run_job: one job, run to its end while nothing else runs; and errors of jobs."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sweep.errors import SweepError
from sweep.launch.launcher import Died, Launcher
from sweep.messages import Done, Failure, Job
from sweep.signals import InterruptedRunError, StopSignal


class JobFailedError(SweepError):
    """A job that the study depends on failed.

    Args:
        cause: Cause of the failure.
        actionable: Whether the cause alone tells a user what to do.
        log: Output of the job; the error has it where its message names it, else None.
    """

    def __init__(self, cause: str, *, actionable: bool, log: Path) -> None:
        super().__init__(cause if actionable else f"{cause}; see {log}")
        self.cause = cause
        self.log = None if actionable else log
        if not actionable:
            self.exit_code = 1


@contextlib.contextmanager
def explain_unpicklable(job: Job) -> Iterator[None]:
    """Names the job whose task cannot be sent to another process, where pickling it in the block fails.

    Raises:
        ValueError: If it cannot be pickled.
    """
    try:
        yield
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(f"the task of job {job.name!r} must be picklable, got {job.task!r}: {error}") from error


def run_job(launcher: Launcher, job: Job, *, stop: StopSignal) -> Any:
    """Runs one job to its end while nothing else runs, and returns its result.

    Raises:
        JobFailedError: If the job fails.
        InterruptedRunError: If a signal came.
    """
    launcher.start(job)
    while True:
        for message in launcher.wait(0.2):
            if isinstance(message.payload, Done):
                return message.payload.result
            if isinstance(message.payload, Failure):
                raise JobFailedError(message.payload.cause, actionable=message.payload.actionable, log=job.log)
            if isinstance(message.payload, Died):
                raise JobFailedError(message.payload.reason, actionable=False, log=job.log)
        if stop.signal is not None:
            launcher.kill(job.name)
            raise InterruptedRunError(stop.signal)
