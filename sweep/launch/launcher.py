"""Launcher: the promise of everything that runs jobs, and that knows the machines on which they run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from sweep.messages import Job, JobMessage, Verdict
from sweep.settings.study_file import WorkersSpec
from sweep.signals import StopSignal


@dataclass(frozen=True)
class Slot:
    """A place where one trial runs at a time, as names and numbers: what stands behind them is the launcher's.

    Attributes:
        name: ``cpu``, or ``cuda:N`` with the device's number among the visible ones; with ``/1``, ``/2`` and so on
            where several trials share it.
        label: The device's name for a person.
        device: The device as a trial's process calls it: it sees no other.
        environment: What makes it so.
        place: The device that the slot is on; slots that share a device have the same.
        uuid: What the driver knows the device by, where that is known.
        memory_gib: Memory of the device.
        share: Share of the device that the slot may plan with.
        threads: Threads that its trial may compute with; None leaves it to torch.
    """

    name: str
    label: str
    device: str = "cpu"
    environment: Mapping[str, str] = field(default_factory=dict)
    place: str = "cpu"
    uuid: str | None = None
    memory_gib: float | None = None
    share: float = 1.0
    threads: int | None = None


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
    payload: JobMessage | Died
    attempt: int = 1


class Launcher(Protocol):
    """Runs jobs side by side, each apart from the others, and knows the machines on which they run.

    A coordinator knows slots as names and numbers: it hands a slot's ``environment`` on to its jobs, and asks here for
    what else there is to know of the machine.

    A job sends Started, then any number of Reports, each of which waits for its answer, then one of Done, Failure and
    Died, after which its name is free again and its process, if it had one, is gone. One that asks at each step whether
    to pause says now and then, unasked, that it is Alive.
    """

    def find_slots(self, workers: WorkersSpec, *, stop: StopSignal) -> list[Slot]:
        """The slots that a study file asks for, one at least, each under a name of its own.

        Args:
            workers: What the study file says.
            stop: Ends the search early.

        Raises:
            DeviceError: If there are none such.
            InterruptedRunError: If a signal came.
        """
        ...

    def used_gib(self, slot: Slot) -> float | None:
        """Memory in GiB that is in use on a slot's device, by whomever; None where nobody can tell."""
        ...

    def end_older_attempt(self, lock: Path) -> int | None:
        """Ends the process that holds a trial's lock, left behind by an earlier run, and waits until it is gone.

        Returns:
            The process's id, or None where nobody held the lock.

        Raises:
            AttemptHeldError: If it cannot be ended.
        """
        ...

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
