"""Plain overfitting: whether the validation loss rises while a run falls."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from sweep.progress import COMPLETE
from sweep.report.diagnosis.advice import find_best_runs
from sweep.report.diagnosis.cause import OVERALL, Answer, Cause, Effect, Evidence, Question, Start
from sweep.report.diagnosis.run_outcomes import RunOutcome
from sweep.report.diagnosis.starts import keep_new, settings_of_run, spread_values

MATTERS = 0.01
"""Share of the loss by which it has to rise from the run's peak to its end."""

MIN_RUNS = 3

ALPHA = 0.01
"""Chance that runs are wrongly said to overfit: its part of the 5 % that all causes share."""


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
        fallen_by: What a run must have lost to count as fallen.
        alpha: Chance that the interval misses the mean, in (0, 1).
    """
    fallen = [run for run in runs if run.end.fall >= fallen_by]
    told = {run.trial: run.losses for run in fallen if run.losses is not None and min(run.losses) > 0}
    trials = tuple(told)
    rises = np.array([math.log(at_end / at_peak) for at_peak, at_end in told.values()])
    effect = float(rises.mean()) if len(rises) else None
    if len(rises) < MIN_RUNS:
        if not fallen:
            reason = f"no run lost {fallen_by:g} or more from its peak, so there is no fall to explain"
        elif len(told) < len(fallen):
            reason = f"the validation loss was measured in {len(told)} of the {len(fallen)} runs that fell"
        else:
            reason = f"only {len(told)} of at least {MIN_RUNS} runs fell"
        return Rise(effect=effect, interval=None, trials=trials, reason=reason)
    error = float(rises.std(ddof=1)) / math.sqrt(len(rises))
    reach = float(stdtrit(len(rises) - 1, 1.0 - alpha / 2.0)) * error
    mean = float(rises.mean())
    return Rise(effect=mean, interval=(mean - reach, mean + reach), trials=trials)


def _ask(evidence: Evidence) -> Iterator[Question]:
    rise = measure_rise(evidence.runs, fallen_by=evidence.margin, alpha=ALPHA)
    yield Question(
        scope=OVERALL,
        rows=np.flatnonzero([run.trial in rise.trials for run in evidence.runs]),
        measured=None if rise.effect is None else Effect(seen=rise.effect, interval=rise.interval),
        reason=rise.reason,
    )


def _say(question: Question, answer: Answer, effect: Effect) -> str:
    low, high = (math.expm1(bound) for bound in effect.interval or (-math.inf, math.inf))
    what = (
        f"in the {len(question.rows)} runs that fell, the validation loss of their own format changed by"
        f" {math.expm1(effect.seen):+.1%} ({low:+.1%} to {high:+.1%}) from the peak to the end"
    )
    return f"Runs overfit: {what}." if answer == "supported" else f"Runs overfit? {answer.capitalize()}: {what}."


def _advise(_question: Question, _effect: Effect, evidence: Evidence) -> str:
    """Fewer examples only where the best runs peaked before their end."""
    is_late = any(run.end.peak_progress >= COMPLETE for run in find_best_runs(evidence.runs))
    fewer = "" if is_late else ", or on fewer examples"
    return f"Train on more or other pairs{fewer}: the peak's model is kept as it is."


def _propose(question: Question, evidence: Evidence) -> list[Start]:
    """Trials like the one that fell most, at other warm-ups."""
    told = [evidence.runs[row] for row in question.rows]
    like = sorted(told or evidence.runs, key=lambda run: -run.end.fall)
    base = settings_of_run(like[0], evidence.space)
    return keep_new(
        [{**base, "warmup_ratio": warmup} for warmup in spread_values(evidence.space.warmup_ratio, 3)], evidence
    )


OVERFITTING = Cause(
    name="plain overfitting",
    claim="Runs overfit",
    setting="warmup_ratio",
    ask=_ask,
    advise=_advise,
    outcomes=(),
    matters=MATTERS,
    say=_say,
    propose=_propose,
    proposal="Run more like the one that fell most",
)
