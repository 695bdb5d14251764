"""StopSignal: SIGINT and SIGTERM, noted while a run goes on, so that it ends in order."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, Self

from sweep.errors import SweepError


class StopSignal:
    """Counts SIGINT and SIGTERM for the life of a ``with`` block, in place of their usual effect.

    Attributes:
        signal: The first that came, or None.
        count: Number of signals that came.
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
