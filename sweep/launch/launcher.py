"""Launcher: the interface of everything that runs jobs and knows the machines on which they run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from sweep.messages import Job, JobMessage, Verdict
from sweep.settings.study_file import WorkersSpec
from sweep.signals import StopSignal

MOST_NAMED = 8
"""Slots that are named one by one."""


@dataclass(frozen=True)
class Slot:
    """A place for one trial at a time, as names and numbers that only the launcher interprets.

    Attributes:
        name: ``cpu``, or ``cuda:N`` with the device's number, ``cuda:N+M`` with those of several; with ``/1``, ``/2``
            ... where several trials share it.
        label: The device's name for a person.
        device: The device as a trial's process calls it: it sees no other.
        environment: Variables that hide all other devices.
        place: The device that the slot is on; slots that share a device have the same.
        uuids: The driver's names for the slot's devices, where they are known.
        memory_gib: Memory of the device, of the smallest where the slot has several.
        share: Share of the device that the slot may plan with.
        threads: Threads that each process of its trial may compute with; None leaves it to torch.
        processes: Processes of its trial, one on each device of the slot.
    """

    name: str
    label: str
    device: str = "cpu"
    environment: Mapping[str, str] = field(default_factory=dict)
    place: str = "cpu"
    uuids: tuple[str, ...] = ()
    memory_gib: float | None = None
    share: float = 1.0
    threads: int | None = None
    processes: int = 1


def describe_slots(slots: Sequence[Slot]) -> list[str]:
    """Each slot with its device, or where they are many, how many there are of each device."""
    if len(slots) <= MOST_NAMED:
        return [f"{slot.name} ({slot.label})" for slot in slots]
    return [f"{count} x {label}" for label, count in Counter(slot.label for slot in slots).items()]


@dataclass(frozen=True)
class Died:
    """A job ended without a result, for a reason such as ``killed by SIGKILL``."""

    reason: str


@dataclass(frozen=True)
class Message:
    """A message of a job, or its death.

    Attributes:
        job: The job's name.
        payload: Content of the message. Exactly one Done, Failure or Died ends a job.
        attempt: Number of the trial's process that sent it; one of an older process must be dropped.
    """

    job: str
    payload: JobMessage | Died
    attempt: int = 1


class Launcher(Protocol):
    """Runs jobs side by side, each apart from the others, and knows the machines on which they run.

    A coordinator knows slots as names and numbers: it hands a slot's ``environment`` on to its jobs, and asks here for
    everything else about the machine.

    A job sends Started, then any number of Reports, each of which waits for its answer, then one of Done, Failure and
    Died, after which its name is free again and its process, if it had one, is gone. One that gives signs of life, or
    asks at each step whether to pause, also sends Alive now and then.
    """

    def find_slots(self, workers: WorkersSpec, *, stop: StopSignal) -> list[Slot]:
        """The slots that a study file asks for, at least one, with unique names; ``stop`` ends the search early.

        Raises:
            DeviceError: If there are no such slots.
            InterruptedRunError: If a signal came.
        """

    def follow(self) -> tuple[list[Slot], list[str]] | None:
        """The slots as they are now and what has changed since the last call, a line each; None where they stay."""
        return None

    def used_gib(self, slot: Slot) -> float | None:
        """Memory in GiB that any process uses on a slot's device; None where it is unknown."""

    def end_older_attempt(self, lock: Path) -> int | None:
        """Ends the process of an earlier run that holds a trial's lock, waits, and returns its id; None without one.

        Raises:
            AttemptHeldError: If it cannot be ended.
        """

    def start(self, job: Job) -> None:
        """Starts a job and returns at once.

        Raises:
            ValueError: If a job of that name is running.
        """

    def wait(self, timeout_s: float) -> list[Message]:
        """Messages of jobs since the last call; waits up to ``timeout_s`` seconds for the first one."""

    def answer(self, job: str, verdict: Verdict) -> None:
        """Answers a job's report. A job that is gone by now is no error: its death is on its way."""

    def pause(self, job: str) -> None:
        """Asks a job to stop at its next step, to go on later; it may be gone, as with an answer."""

    def node_of(self, job: str) -> str | None:  # noqa: ARG002 - of those that know other machines
        """Name of the machine on which a job runs, where that may be another one and is known."""
        return None

    def describe_nodes(self) -> list[str]:
        """The machines that were found with the slots, and those that were left out, a line each; none for this one."""
        return []

    def kill(self, job: str) -> None:
        """Ends a job at once, where it can be ended; its Died follows."""

    def close(self) -> None:
        """Ends every job and releases the launcher's resources."""
