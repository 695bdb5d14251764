"""StopSignal: the signals that ask a run to end, noted while it goes on, so that it ends in order."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, Self

from sweep.errors import SweepError

ORDERS = (signal.SIGINT, signal.SIGTERM)
"""Signals of somebody who wants a run to end; the second of them ends it at once."""

WARNINGS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)
"""Signals of a terminal that is gone, and of batch systems before they kill: one event may send several of them."""


def find_heeded() -> list[signal.Signals]:
    """The signals that ask this process to end: all, except warnings that it was started to ignore, as by nohup."""
    return [*ORDERS, *(number for number in WARNINGS if signal.getsignal(number) is not signal.SIG_IGN)]


class StopSignal:
    """Notes the signals that ask a run to end, for the life of a ``with`` block, in place of their usual effect.

    Attributes:
        signal: The first that came, or None.
        count: Number of orders that came; warnings come in numbers, and are not counted.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.count = 0
        self._before: dict[int, Any] = {}
        self._at_once = False

    def __enter__(self) -> Self:
        """Takes the signals over: SIGINT also where a shell ignores it for a script's background jobs."""
        for number in find_heeded():
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
        """Lets a signal end a ``with`` block at once, where nothing has to be saved.

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
        self.count += number in ORDERS
        self.signal = self.signal or signal.Signals(number)
        if self._at_once:
            raise InterruptedRunError(number)


class InterruptedRunError(SweepError):
    """A run was ended by a signal; the study goes on with the next run.

    Args:
        signal_number: The signal.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__("interrupted; run the same command again to go on")
        self.exit_code = 128 + signal_number
