"""What is decided at an evaluation, and how a trial that has ended is recorded: plain values in, plain values out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sweep.coordinator.running import RunningTrial
from sweep.stopping.policy import StopPolicy, take_look
from sweep.stopping.stop import Stop
from sweep.storage.records import Peak


@dataclass(frozen=True)
class Conclusion:
    """How a trial is recorded: its value where it is complete, else None; and whether it is pruned."""

    value: float | None
    pruned: bool


def decide(trial: RunningTrial, policy: StopPolicy, *, incumbent: float | None) -> tuple[Stop | None, str]:
    """Whether a trial is stopped at its last measurement, and where it stands in a few words for whoever watches.

    Args:
        trial: The trial.
        policy: What stops a run of the study.
        incumbent: The highest peak of all other trials so far, or None.
    """
    look = take_look(
        policy,
        progress=trial.progress,
        per_query=np.stack(trial.per_query),
        warmup_end=trial.warmup_end,
        scheduler=trial.params.scheduler,
    )
    stop = policy.decide(look, incumbent=incumbent)
    return stop, policy.describe(look, stop=stop)


def conclude(stop: Stop | None, peak: Peak | None, best_peak: float | None) -> Conclusion:
    """How a trial that has ended without a failure is recorded.

    Args:
        stop: Why it was stopped, or None where it went to its end.
        peak: Its best evaluation.
        best_peak: The highest peak of all complete trials; that of a trial that failed or diverged is no model to keep.

    Returns:
        COMPLETE with its peak where it went to its end, or where it was stopped by a rule and its peak beats every
        complete trial's, so that the study's best trial is always the best model there is; else PRUNED.
    """
    if peak is None or not math.isfinite(peak.ndcg):
        return Conclusion(None, pruned=True)
    beats_all = best_peak is None or peak.ndcg > best_peak
    if stop is not None and (stop.kind == "diverged" or not beats_all):
        return Conclusion(None, pruned=True)
    return Conclusion(peak.ndcg, pruned=False)
