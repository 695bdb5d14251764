"""Trials that wait and are equal to others: one whose curve is known ends with it, one whose curve is to come waits."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sweep.coordinator.proposal_stock import ProposalStock
from sweep.coordinator.running import RunningTrial
from sweep.storage.records import TrialRecord


def find_known(
    waiting: Sequence[RunningTrial], ended: Sequence[TrialRecord], proposals: ProposalStock
) -> tuple[RunningTrial, TrialRecord] | None:
    """A trial of which no process has begun, and an equal one that has ended with a curve; None without such a pair.

    Args:
        waiting: The trials without a slot.
        ended: The study's trials by number, as far as they are recorded.
        proposals: Knows which are equal.
    """
    for trial in waiting:
        for number in proposals.equals(trial.number) if trial.is_untouched else ():
            if number < len(ended) and ended[number].is_counted and ended[number].rows:
                return trial, ended[number]
    return None


def list_ready(
    waiting: Sequence[RunningTrial],
    running: Sequence[RunningTrial],
    proposals: ProposalStock,
    *,
    paused: Collection[int] = (),
) -> list[RunningTrial]:
    """The waiting trials that may be trained now: not those whose curve is to come from an equal one before them.

    Trials that are paused at rungs are given by their numbers.
    """
    begun = {trial.number for trial in [*running, *waiting] if not trial.is_untouched} | set(paused)
    ready = []
    for trial in waiting:
        if not trial.is_untouched or begun.isdisjoint(proposals.equals(trial.number)):
            ready.append(trial)
            begun.add(trial.number)
    return ready
