"""Outcome: what stopping recorded runs would have saved and cost, counted on the complete runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweep.progress import COMPLETE
from sweep.stopping.recorded import RecordedRun

Stops = list[int]
"""For each run, in the order in which the runs were replayed, the place of its last measurement."""

Legs = list[tuple[int, int]]
"""The training of a study in the order in which it was spent: the place of a run in the list, and the place of the last
measurement of that leg. A run that pauses and goes on has several."""


def train_in_turn(stops: Stops) -> Legs:
    """The legs of runs that are trained one after the other, each to its stop."""
    return list(enumerate(stops))


def find_stops(legs: Legs) -> Stops:
    """The stop of each run: the end of its last leg; every run has one."""
    last = dict(legs)
    return [last[place] for place in range(len(last))]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The effects of a rule on recorded runs.

    Attributes:
        fallen: Runs that end more than the margin below their peak.
        fallen_stopped: How many of them were stopped before their end.
        healthy: All others.
        healthy_stopped: How many of those were stopped before their end.
        wrong: Stopped runs, of either kind, that would later have beaten their peak by more than the margin.
        lost: The most by which a stopped run would have beaten its peak.
        budget: Training pairs used, as a share of those of all runs.
        fallen_budget: The same for the fallen runs alone; NaN where there is none.
        best: Highest peak found.
        best_lost: How much higher the highest peak of the complete runs is.
    """

    fallen: int
    fallen_stopped: int
    healthy: int
    healthy_stopped: int
    wrong: int
    lost: float
    budget: float
    fallen_budget: float
    best: float
    best_lost: float


def has_fallen(run: RecordedRun, *, margin: float) -> bool:
    """Whether a complete run ends more than the margin below its peak."""
    return bool(run.means[-1] < run.means.max() - margin)


def score_stops(runs: Sequence[RecordedRun], stops: Stops, *, truth: Sequence[RecordedRun], margin: float) -> Outcome:
    """Counts what stops saved and cost.

    Args:
        runs: The runs as the rule saw them.
        stops: Where it stopped each.
        truth: The same runs on all queries.
        margin: What does not matter of a fall or a gain.
    """
    fallen = [has_fallen(run, margin=margin) for run in truth]
    stopped = [stop < len(run.progress) - 1 for run, stop in zip(runs, stops, strict=True)]
    gains = [
        float(run.means.max() - run.means[: stop + 1].max()) if early else 0.0
        for run, stop, early in zip(truth, stops, stopped, strict=True)
    ]
    used = np.array([run.progress[stop] / COMPLETE * run.examples for run, stop in zip(runs, stops, strict=True)])
    planned = np.array([run.examples for run in runs], dtype=np.float64)
    is_fallen = np.array(fallen)
    best = max(float(run.means[1 : stop + 1].max()) for run, stop in zip(truth, stops, strict=True))
    return Outcome(
        fallen=int(is_fallen.sum()),
        fallen_stopped=sum(early for early, fell in zip(stopped, fallen, strict=True) if fell),
        healthy=int((~is_fallen).sum()),
        healthy_stopped=sum(early for early, fell in zip(stopped, fallen, strict=True) if not fell),
        wrong=sum(gain > margin for gain in gains),
        lost=max(gains, default=0.0),
        budget=float(used.sum() / planned.sum()),
        fallen_budget=float(used[is_fallen].sum() / planned[is_fallen].sum()) if is_fallen.any() else float("nan"),
        best=best,
        best_lost=max(float(run.means[1:].max()) for run in truth) - best,
    )


def trace_best(runs: Sequence[RecordedRun], legs: Legs) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The best value found against the budget spent, leg by leg.

    Returns:
        (N,) training pairs used after each measurement of each leg, and (N,) the highest peak until then.
    """
    spent, values, before, reached = [], [], 0.0, [0] * len(runs)
    for place, stop in legs:
        run, first = runs[place], reached[place]
        share = (run.progress[first + 1 : stop + 1] - run.progress[first]) / COMPLETE * run.examples
        spent.append(before + share)
        values.append(run.means[first + 1 : stop + 1])
        before += float(share[-1]) if len(share) else 0.0
        reached[place] = stop
    return np.concatenate(spent), np.maximum.accumulate(np.concatenate(values))
