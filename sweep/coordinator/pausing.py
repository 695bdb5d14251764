"""Pausing: every trial finishes its step and saves, because a signal came or the study's budget is spent."""

from __future__ import annotations

import time
from collections.abc import Iterable

from sweep.coordinator.events import Tell
from sweep.coordinator.running import RunningTrial
from sweep.launch import Launcher
from sweep.signals import StopSignal

PAUSE_S = 20.0
"""Seconds that a trial gets to finish its step; after that its last checkpoint counts."""


class Pausing:
    """Brings the trials that run to rest.

    Args:
        launcher: Runs the trials.
        stop: The signals that end the run.
        pause_s: Seconds that a trial gets to finish its step.
        tell: Tells of what happened.
    """

    def __init__(self, launcher: Launcher, stop: StopSignal, *, pause_s: float, tell: Tell) -> None:
        self._launcher = launcher
        self._stop = stop
        self._pause_s = pause_s
        self._tell = tell
        self._since: float | None = None

    @property
    def is_on(self) -> bool:
        """Whether trials are being brought to rest, so that none begins."""
        return self._since is not None or self._stop.signal is not None

    @property
    def is_interrupted(self) -> bool:
        """Whether a signal ends the run."""
        return self._stop.signal is not None

    def begin(self, running: Iterable[RunningTrial]) -> None:
        """Asks every trial to finish its step and to save."""
        if self._since is None:
            self._since = time.monotonic()
            for trial in running:
                self._launcher.pause(trial.job)

    def look_after(self, running: Iterable[RunningTrial]) -> None:
        """Obeys a signal; the second ends everything at once, and so does a step that takes too long."""
        trials = list(running)
        if self._stop.signal is not None and self._since is None:
            self._tell(
                "pause", f"{self._stop.signal.name}: every trial finishes its step and saves; once more ends at once"
            )
            self.begin(trials)
        if self._since is None:
            return
        if self._stop.count > 1 or time.monotonic() - self._since > self._pause_s:
            for trial in trials:
                if trial.killed_for is None:
                    trial.killed_for = "its step took too long to be waited for"
                    self._launcher.kill(trial.job)
