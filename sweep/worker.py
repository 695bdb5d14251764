"""run_worker: the body of a job's process. A task in, reports out, verdicts obeyed, signals handled.

The process talks to its coordinator over one pipe. It ends with its coordinator: a closed pipe means that nobody waits
for it any more. Ctrl-C reaches the whole terminal, so it is left to the coordinator to answer; a SIGTERM of its own
asks a trial to save and stop.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from sweep.errors import DeviceMemoryError, SweepError
from sweep.messages import Failure, Report, Verdict

ORPHANED = 70
"""Exit status of a process whose coordinator is gone."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a launcher is asked to run.

    Attributes:
        name: The job's name among those that run now.
        body: ``module:function`` of ``function(task, channel)``; what it returns is the job's result.
        task: The body's first argument.
        log: File that takes what the process prints.
        environment: Variables set before the body starts, such as the devices it may see.
    """

    name: str
    body: str
    task: Any
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Started:
    """A job's process is up; ``warm`` if all of its heavy imports were there before it started."""

    warm: bool


@dataclass(frozen=True)
class Done:
    """A job returned."""

    result: Any


class PipeChannel:
    """A job's line to the coordinator, over a pipe.

    Args:
        connection: This end of the pipe.
        on_orphaned: Called, in a thread, once the other end is closed.
    """

    def __init__(self, connection: Connection, *, on_orphaned: Callable[[], object]) -> None:
        self._connection = connection
        self._on_orphaned = on_orphaned
        self._verdicts: queue.SimpleQueue[Verdict] = queue.SimpleQueue()
        self._pausing = threading.Event()
        threading.Thread(target=self._listen, daemon=True, name="verdicts").start()

    def report(self, report: Report) -> Verdict:
        """Sends a report and waits until it is committed and answered."""
        self.send(report)
        return self._verdicts.get()

    def is_pausing(self) -> bool:
        """Whether the job has been asked to stop at the next step, to go on later."""
        return self._pausing.is_set()

    def pause(self) -> None:
        """Asks the job to stop at the next step, to go on later."""
        self._pausing.set()

    def send(self, message: object) -> None:
        """Sends a message to the coordinator."""
        self._connection.send(message)

    def _listen(self) -> None:
        try:
            while True:
                message = self._connection.recv()
                if isinstance(message, Verdict):
                    self._verdicts.put(message)
                else:
                    self._pausing.set()
        except (EOFError, OSError):
            self._on_orphaned()
            self._pausing.set()
            self._verdicts.put(Verdict(stop=True, reason="the coordinator is gone"))
            self._connection.close()


def run_worker(connection: Connection, job: Job, preload: Sequence[str]) -> None:
    """Runs one job in this process, which a launcher has just started, and sends home how it ended.

    Args:
        connection: The pipe to the coordinator.
        job: What to run.
        preload: Modules that the launcher meant to have imported before this process began.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _redirect_output(job.log)
    os.environ.update(job.environment)
    warm = all(module in sys.modules for module in preload)
    channel = PipeChannel(connection, on_orphaned=lambda: os._exit(ORPHANED))
    signal.signal(signal.SIGTERM, lambda *_: channel.pause())
    run_job(job, channel, warm=warm)


def run_job(job: Job, channel: PipeChannel, *, warm: bool) -> None:
    """Runs a job's body and sends home that it started, and its result or its failure."""
    channel.send(Started(warm=warm))
    try:
        module, _, function = job.body.partition(":")
        channel.send(Done(getattr(importlib.import_module(module), function)(job.task, channel)))
    except Exception as error:  # noqa: BLE001 - the process's boundary: whatever went wrong comes home with its traceback
        traceback.print_exc()
        channel.send(_describe(error))


def _describe(error: Exception) -> Failure:
    first_line = (str(error).strip().splitlines() or [""])[0]
    return Failure(
        cause=first_line if isinstance(error, SweepError) else f"{type(error).__name__}: {first_line}".rstrip(": "),
        traceback="".join(traceback.format_exception(error)),
        actionable=isinstance(error, SweepError),
        exhausted_micro_batch=error.micro_batch if isinstance(error, DeviceMemoryError) else None,
    )


def _redirect_output(log: Path) -> None:
    """Sends what this process and its libraries print to the log, past Python too, and tracebacks of crashes."""
    log.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(ValueError, OSError):
            stream.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    sys.stdout = open(1, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    faulthandler.enable(sys.stderr)
