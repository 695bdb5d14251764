"""run_worker: the body of a job's process, which receives a task and verdicts, sends reports, and handles signals.

The process talks to its coordinator over one pipe. It ends with its coordinator: a closed pipe means that nobody waits
for it any more, and where it is too busy to notice, the kernel ends it together with the fork server. Ctrl-C reaches
every process of a terminal, so only the coordinator answers it; any other signal that ends a run in order, such as
SIGTERM or SIGHUP, asks a trial to save and stop where it comes to its process alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import faulthandler
import gc
import importlib
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path

from sweep.attempts import hold_attempt
from sweep.errors import DeviceMemoryError, SweepError, reason_of
from sweep.logs import open_log, rotate
from sweep.messages import LONG_CALL_S, Alive, Done, Failure, Job, JobMessage, Report, Started, Verdict
from sweep.signals import ORDERS, WARNINGS, find_heeded

ORPHANED = 70
"""Exit status of a process whose coordinator is gone."""

BEAT_S = 0.5
"""Seconds after which a job sends its next sign of life: well below the shortest sensible limit on silence."""

LOG_CHECK_S = 10.0
"""Seconds between two looks at the size of a process's log."""

_PR_SET_PDEATHSIG = 1
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ESTALE, errno.ENOTCONN}
"""What a write fails with on a disk that is full or fails, or on a shared one that is out of reach."""


class PipeChannel:
    """A job's connection to the coordinator: a pipe that takes pairs of the attempt and a message.

    Args:
        connection: This end of the pipe.
        on_orphaned: Called, in a thread, once the other end is closed.
        attempt: Number that every message carries.
        on_idle: Called, in a thread, every few seconds.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        on_orphaned: Callable[[], object],
        attempt: int = 1,
        on_idle: Callable[[], object] = lambda: None,
    ) -> None:
        self._connection = connection
        self._on_orphaned = on_orphaned
        self._attempt = attempt
        self._on_idle = on_idle
        self._sent = time.monotonic()
        self._in_long_call = False  # as the coordinator has been told
        self._verdicts: queue.SimpleQueue[Verdict] = queue.SimpleQueue()
        self._pausing = threading.Event()
        threading.Thread(target=self._listen, daemon=True, name="verdicts").start()

    def report(self, report: Report) -> Verdict:
        """Sends a report and waits until it is committed and answered."""
        self.send(report)
        return self._verdicts.get()

    def is_pausing(self) -> bool:
        """Whether the job has been asked to stop at the next step, to go on later; asked at each step."""
        self.sign()
        return self._pausing.is_set()

    def sign(self, *, long_call: bool = False) -> None:
        """Gives a sign of life: sends it where the last message is a while ago, or a long call begins or is over."""
        if long_call != self._in_long_call or time.monotonic() - self._sent > BEAT_S:
            self.send(Alive(LONG_CALL_S if long_call else 0.0))

    def pause(self) -> None:
        """Asks the job to stop at the next step, to go on later."""
        self._pausing.set()

    def send(self, message: JobMessage) -> None:
        """Sends a message to the coordinator."""
        self._connection.send((self._attempt, message))
        self._sent = time.monotonic()
        self._in_long_call = isinstance(message, Alive) and message.allowance_s > 0

    def _listen(self) -> None:
        try:
            while True:
                while not self._connection.poll(LOG_CHECK_S):
                    self._on_idle()
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


def run_worker(
    connection: Connection, job: Job, preload: Sequence[str], rank: int, environment: Mapping[str, str]
) -> None:
    """Runs one job in this process, which a launcher has just started, and sends its result to the coordinator.

    Args:
        connection: The pipe to the coordinator.
        job: The job.
        preload: Modules that the fork server was to import before this process began.
        rank: Number of this process among those of the job, from 0; each has a log of its own, and the first the lock.
        environment: Variables of this process besides the job's.
    """
    log = job.log if rank == 0 else name_log(job.log, rank)
    gc.freeze()  # a collection would look through all that the fork server imported, and copy it into this process
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_fork_server()
    _redirect_output(log)
    os.environ.update({**job.environment, **environment})
    warm = all(module in sys.modules for module in preload)
    channel = PipeChannel(
        connection,
        on_orphaned=lambda: os._exit(ORPHANED),
        attempt=job.attempt,
        on_idle=lambda: _rotate_output(log),
    )
    for number in find_heeded():
        if number != signal.SIGINT:
            signal.signal(number, lambda *_: channel.pause())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {*ORDERS, *WARNINGS})  # the fork server blocks them
    run_job(job, channel, warm=warm, lock=job.lock if rank == 0 else None)


def run_job(job: Job, channel: PipeChannel, *, warm: bool, lock: Path | None = None) -> None:
    """Runs a job's body; sends that it has started, then its result or its failure.

    Args:
        job: The job.
        channel: Its connection to the coordinator.
        warm: Whether its imports had been made before it started.
        lock: File to lock from now until this process ends.
    """
    channel.send(Started(warm=warm))
    try:
        if lock is not None:
            hold_attempt(lock, job.attempt)
        module, _, function = job.body.partition(":")
        channel.send(Done(getattr(importlib.import_module(module), function)(job.task, channel)))
    except Exception as error:  # noqa: BLE001 - the process's boundary: whatever went wrong is sent with its traceback
        with contextlib.suppress(OSError):  # a full disk may be what went wrong, and the log lies on it too
            traceback.print_exc()
        channel.send(_describe(error, folder=job.lock.parent if job.lock else None))


def _describe(error: Exception, *, folder: Path | None) -> Failure:
    """A failure for the coordinator; where the trial's folder is gone, it is the disk's, whatever the error says."""
    name, reason = type(error).__name__, reason_of(error)
    return Failure(
        cause=reason if isinstance(error, SweepError) or reason == name else f"{name}: {reason}",
        traceback="".join(traceback.format_exception(error)),
        actionable=isinstance(error, SweepError),
        exhausted_micro_batch=error.micro_batch if isinstance(error, DeviceMemoryError) else None,
        disk_failed=any(_is_disk_error(cause) for cause in _chain(error))
        or (folder is not None and not folder.is_dir()),
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and what it was raised from or during."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_disk_error(error: BaseException) -> bool:
    """Whether a disk was full or could not be written; libraries in Rust say so in their message alone."""
    known = isinstance(error, OSError) and error.errno in _DISK_ERRORS
    return known or any(f"(os error {number})" in str(error) for number in _DISK_ERRORS)


def _end_with_fork_server() -> None:
    """Has the kernel kill this process once its parent is gone, the fork server, which goes with its coordinator.

    That ends a process that is stopped, or stuck in a step that lets no thread run. Each process that the fork server
    makes is handed an end of the pipe that keeps the fork server alive; it is given back here, so that the coordinator
    alone has one.
    """
    server = vars(forkserver._forkserver)  # there is no public way to give it back
    handed_over = server.get("_forkserver_alive_fd")
    if handed_over is not None:
        server["_forkserver_alive_fd"] = None
        os.close(handed_over)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def name_log(log: Path, rank: int) -> Path:
    """The log of another process than the first of a job."""
    return log.with_name(f"{log.stem}.rank-{rank}{log.suffix}") if log.suffix else log


def _redirect_output(log: Path) -> None:
    """Sends the output of this process and its libraries, native ones too, and tracebacks of crashes to the log."""
    rotate(log)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(ValueError, OSError):
            stream.flush()
    _append_output(log)
    sys.stdout = open(1, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    faulthandler.enable(sys.stderr)


def _rotate_output(log: Path) -> None:
    """Begins a new log where the old one has grown too large."""
    if rotate(log):
        _append_output(log)


def _append_output(log: Path) -> None:
    """Points the descriptors of standard output and standard error to a log."""
    try:
        descriptor = open_log(log)
    except OSError:  # a full or read-only disk: the trial goes on, and what it prints is lost
        descriptor = os.open(os.devnull, os.O_WRONLY)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
