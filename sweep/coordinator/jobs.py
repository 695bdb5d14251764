"""Jobs that a study rests on, run one at a time; and the signals that end a run."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from sweep.errors import SweepError
from sweep.launch import Launcher
from sweep.launch.launcher import Died
from sweep.messages import Failure
from sweep.worker import Done, Job


class StopSignal:
    """Counts SIGINT and SIGTERM for the life of a ``with`` block, in place of what they do by themselves.

    Attributes:
        signal: The first that came, or None.
        count: How many came.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.count = 0
        self._before: dict[int, Any] = {}
        self._at_once = False

    def __enter__(self) -> Self:
        """Takes the two signals over; workers started from a script in the background get them too."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Gives the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Lets a signal end what is done in a ``with`` block at once: there is nothing to be saved in it.

        Raises:
            InterruptedRunError: If a signal comes, or came before.
        """
        self._at_once = True
        try:
            if self.signal is not None:
                raise InterruptedRunError(self.signal)
            yield
        finally:
            self._at_once = False

    def _note(self, number: int, _: FrameType | None) -> None:
        self.count += 1
        self.signal = self.signal or signal.Signals(number)
        if self._at_once:
            raise InterruptedRunError(number)


class InterruptedRunError(SweepError):
    """A run was ended by a signal; the study goes on with the next run.

    Args:
        signal_number: SIGINT or SIGTERM.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__("interrupted; run the same command again to go on")
        self.exit_code = 128 + signal_number


class JobFailedError(SweepError):
    """A job that the whole study rests on failed.

    Args:
        cause: Why.
        actionable: Whether the cause alone tells a user what to do.
        log: What the job printed.

    Attributes:
        log: The log, where the message names it.
    """

    def __init__(self, cause: str, *, actionable: bool, log: Path) -> None:
        super().__init__(cause if actionable else f"{cause}; see {log}")
        self.log = None if actionable else log
        if not actionable:
            self.exit_code = 1


def run_job(launcher: Launcher, job: Job, *, stop: StopSignal) -> Any:
    """Runs one job to its end while nothing else runs, and gives back its result.

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
