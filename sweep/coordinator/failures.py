"""FailureStreak: trials that failed one after the other, and whether that ends the study."""

from __future__ import annotations

from collections.abc import Sequence

from sweep.storage.records import TrialRecord

MAX_FAILURES = 3


class FailureStreak:
    """The failures since a trial last ended well."""

    def __init__(self) -> None:
        self._failures: list[tuple[int, str]] = []  # trial, cause

    def add(self, trial: int, cause: str) -> None:
        """Takes in that a trial failed."""
        self._failures.append((trial, cause))

    def clear(self) -> None:
        """Takes in that a trial ended well."""
        self._failures.clear()

    def ending(self, ended: Sequence[TrialRecord]) -> list[int]:
        """The failed trials that together end the study, or none.

        Args:
            ended: Every trial that has ended and counts.

        Returns:
            The study's first two trials where both failed before their first evaluation, or the last three where they
            failed in a row for one cause.
        """
        if len(ended) == 2 and all(trial.state == "fail" and not trial.rows for trial in ended):
            return [trial.number for trial in ended]
        last = self._failures[-MAX_FAILURES:]
        in_a_row = len(last) == MAX_FAILURES and len({cause for _, cause in last}) == 1
        return [trial for trial, _ in last] if in_a_row else []
