"""Plain overfitting: whether the validation loss rises while a run falls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from sweep.report.diagnosis.runs import RunOutcome

MATTERS = 0.01
"""Share of the loss by which it has to rise from the run's peak to its end."""

LEAST_RUNS = 3


@dataclass(frozen=True, kw_only=True)
class Rise:
    """By how much the validation loss rose in the runs that fell.

    Attributes:
        effect: Mean logarithm of the loss at the end over that at the peak; None where no run tells.
        interval: Its interval, or None where fewer than three runs tell.
        trials: The runs that fell and whose loss was measured.
        reason: Why there is no interval.
    """

    effect: float | None
    interval: tuple[float, float] | None
    trials: tuple[int, ...]
    reason: str = ""


def measure_rise(runs: Sequence[RunOutcome], *, fallen_by: float, alpha: float) -> Rise:
    """How the loss on held-out pairs of their own format moved in the runs that fell, from their peak to their end.

    A run is compared with itself, so neither its format nor its scale matters, and a t-interval over runs holds
    whichever settings the sampler chose for them. Where the loss goes on falling while retrieval falls, overfitting is
    not what made them fall.

    Args:
        runs: Runs that have ended.
        fallen_by: NDCG@10 that a run must have lost to count as fallen.
        alpha: Chance that the interval misses the mean, in (0, 1).
    """
    fallen = [run for run in runs if run.end.fall >= fallen_by]
    told = {run.trial: run.losses for run in fallen if run.losses is not None and min(run.losses) > 0}
    trials = tuple(told)
    rises = np.array([math.log(at_end / at_peak) for at_peak, at_end in told.values()])
    effect = float(rises.mean()) if len(rises) else None
    if len(rises) < LEAST_RUNS:
        if not fallen:
            reason = f"no run lost {fallen_by:g} or more from its peak, so there is no fall to explain"
        elif len(told) < len(fallen):
            reason = f"the validation loss was measured in {len(told)} of the {len(fallen)} runs that fell"
        else:
            reason = f"only {len(told)} of at least {LEAST_RUNS} runs fell"
        return Rise(effect=effect, interval=None, trials=trials, reason=reason)
    error = float(rises.std(ddof=1)) / math.sqrt(len(rises))
    reach = float(stdtrit(len(rises) - 1, 1.0 - alpha / 2.0)) * error
    mean = float(rises.mean())
    return Rise(effect=mean, interval=(mean - reach, mean + reach), trials=trials)
