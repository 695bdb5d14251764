"""Launcher: the promise of everything that runs jobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sweep.messages import Failure, Report, Verdict
from sweep.worker import Alive, Done, Job, Started


@dataclass(frozen=True)
class Died:
    """A job ended without a word: killed, crashed, or out of the machine's memory.

    Attributes:
        reason: What is known, such as ``killed by SIGKILL``.
    """

    reason: str


@dataclass(frozen=True)
class Message:
    """Something that a job said, or its death.

    Attributes:
        job: The job's name.
        payload: What it said. Done, Failure and Died end the job, each exactly one.
        attempt: Which process of the trial said it; whoever hears an older one than the last that was started must not
            heed it.
    """

    job: str
    payload: Started | Alive | Report | Done | Failure | Died
    attempt: int = 1


class Launcher(Protocol):
    """Runs jobs side by side, each apart from the others.

    A job sends Started, then any number of Reports, each of which waits for its answer, then one of Done, Failure and
    Died, after which its name is free again and its process, if it had one, is gone. One that asks at each step whether
    to pause says now and then, unasked, that it is Alive.
    """

    def start(self, job: Job) -> None:
        """Starts a job and returns at once.

        Raises:
            ValueError: If a job of that name is running.
        """
        ...

    def wait(self, timeout_s: float) -> list[Message]:
        """What jobs have said since the last call; waits up to ``timeout_s`` seconds for the first word."""
        ...

    def answer(self, job: str, verdict: Verdict) -> None:
        """Answers a job's report. A job that is gone by now is no error: its death is on its way."""
        ...

    def pause(self, job: str) -> None:
        """Asks a job to stop at its next step, to go on later; as with an answer, it may be gone."""
        ...

    def kill(self, job: str) -> None:
        """Ends a job at once, where it can be ended; its Died follows."""
        ...

    def close(self) -> None:
        """Ends every job and gives back what the launcher holds."""
        ...
