"""serve_jobs: jobs of a coordinator elsewhere, run on this machine and relayed.

A slot on another machine is a process there that runs the very launcher of this machine: jobs are forked warm, die
alone and are ended with it, and their messages go home unchanged.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sweep.errors import SweepError
from sweep.launch.launcher import Message
from sweep.launch.local import LocalLauncher
from sweep.launch.shared import Mark
from sweep.messages import Failure, Job, Pause, Verdict
from sweep.signals import StopSignal

LOOK_S = 1.0
"""Seconds between two looks at signals; whatever else happens ends a wait at once."""


@dataclass(frozen=True)
class Setup:
    """What a worker is to do before its first job.

    Attributes:
        preload: Modules that its fork server is to import.
        mark: File of a folder that it must share with the coordinator, or None.
    """

    preload: Sequence[str]
    mark: Mark | None = None


@dataclass(frozen=True)
class Ready:
    """A worker's answer to its setup: it waits for jobs, or the problem for which none can run there."""

    problem: str | None = None


@dataclass(frozen=True)
class Kill:
    """The coordinator's request that a job be ended at once."""


@dataclass(frozen=True)
class Order:
    """What a coordinator has to say to a running job, by the job's name."""

    job: str
    content: Verdict | Pause | Kill


class Orders(Protocol):
    """The way on which a coordinator's orders come."""

    def fileno(self) -> int:
        """Descriptor that is readable once there is an order."""

    def receive(self) -> list[Job | Order]:
        """Orders that have come, or none; raises EOFError once the coordinator is gone."""


def serve_jobs(orders: Orders, send: Callable[[Message], None], launcher: LocalLauncher, *, stop: StopSignal) -> None:
    """Runs jobs as they are ordered and sends their messages; after a signal they are asked to pause, and it returns.

    Raises:
        EOFError: Once the coordinator is gone.
        OSError: If a message cannot be sent, since the coordinator is gone.
    """
    is_pausing = False
    while launcher.jobs or not is_pausing:
        if stop.signal is not None and not is_pausing:
            is_pausing = True
            for job in launcher.jobs:
                launcher.pause(job)
        messages, is_ordered = launcher.wait_for(LOOK_S, waker=orders.fileno())
        for message in messages:
            send(message)
        for order in orders.receive() if is_ordered else ():
            refused = obey(order, launcher)
            if refused is not None:
                send(refused)


def obey(order: Job | Order, launcher: LocalLauncher) -> Message | None:
    """Does what an order says; returns what comes of a job that cannot be started. A job may be gone by now."""
    if isinstance(order, Job):
        try:
            launcher.start(order)
        except SweepError as error:
            return Message(order.name, Failure(cause=str(error), traceback="", actionable=True), order.attempt)
        return None
    with contextlib.suppress(KeyError):
        match order.content:
            case Verdict():
                launcher.answer(order.job, order.content)
            case Pause():
                launcher.pause(order.job)
            case Kill():
                launcher.kill(order.job)
    return None
