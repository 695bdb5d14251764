"""Lengths: what a search leaves of a study's total goes into trials that train for longer.

The rule: the search comes first, with trials of `budget.examples` each, of which rungs train most in part. Then the
best configuration of a length is trained for twice as long, by a new trial with a schedule of that length, as long as a
whole one fits into what is left, and for as long as the last doubling paid or cannot be told from one that did: the
best of the longer trials is not worse than the best of the shorter ones by the paired interval over queries. Where it
is not proved to be better either, the next best configuration is trained at that length as well, `WIDTH` in all, and so
it is on a device that would idle.

A longer trial has the learning rate of the shorter one, unless that one fell from its peak: then what it had spent of
its rate at the peak was enough, and the longer one spends twice that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from sweep.measures.score import Score
from sweep.settings.study_file import StudySpec
from sweep.stopping.rungs import estimate_trained

WIDTH = 2
"""Configurations that are trained for twice as long, at most, at each doubling."""


def has_paid(longer: Score, shorter: Score) -> bool | None:
    """Whether a doubling was worth it; None where that cannot be told."""
    low, high = longer.minus(shorter).interval()
    return None if low <= 0.0 <= high else low > 0.0


def carry_rate(rate: float, *, at_peak: Score, at_end: Score, spent: float) -> float:
    """The learning rate of a trial that is twice as long.

    Args:
        rate: That of the shorter one.
        at_peak: Its values at its peak.
        at_end: Its values at its last measurement.
        spent: Share of its rate that it had spent at its peak, in [0, 1], by `spent_rate`.
    """
    has_fallen = at_end.minus(at_peak).interval()[1] < 0.0
    return rate * spent if has_fallen else rate


def plan_lengths(left: float, examples: int, *, most: int) -> Iterator[int]:
    """The lengths of which a trial fits, each after the one before, in multiples of the examples of the search's.

    Args:
        left: Training pairs that the search leaves; infinite where the total is one of hours.
        examples: Training pairs of a trial that searches.
        most: Doublings at most.
    """
    for doubling in range(1, most + 1):
        left -= examples * 2**doubling
        if left < 0.0:
            return
        yield 2**doubling


def expect_search(spec: StudySpec) -> float:
    """Training pairs that the search of a study takes, if no run is stopped for its own curve."""
    trials = float(spec.budget.trials)
    if spec.rungs:
        trials = estimate_trained(spec.rungs.at, spec.rungs.keep, spec.budget.trials)
    return trials * spec.budget.examples


def expect_lengths(spec: StudySpec) -> list[int]:
    """The lengths above 1 that a study comes to after such a search, where every doubling pays."""
    return list(plan_lengths(_find_left(spec), spec.budget.examples, most=spec.budget.doublings_at_most))


def expect_examples(spec: StudySpec) -> float:
    """Training pairs of a whole study, without those of its confirmation."""
    total = spec.budget.total_examples or math.inf
    return min(total, expect_search(spec) + sum(expect_lengths(spec)) * spec.budget.examples)


def _find_left(spec: StudySpec) -> float:
    total = spec.budget.total_examples
    return math.inf if total is None else total - expect_search(spec)
