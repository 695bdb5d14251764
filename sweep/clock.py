"""Clock: time in which this process was awake."""

from __future__ import annotations

MAX_AWAKE_S = 5.0
"""Longest time between two looks that counts: where the coordinator itself was stopped, nobody else was silent."""


class Clock:
    """Seconds that the coordinator has been awake: time in which it was stopped itself does not count.

    Args:
        now: The time from which it counts.
    """

    def __init__(self, now: float) -> None:
        self._last = now
        self.now = 0.0

    def tick(self, now: float) -> float:
        """Advances to the time ``now``, and returns the seconds awake so far."""
        self.now += min(max(0.0, now - self._last), MAX_AWAKE_S)
        self._last = now
        return self.now
