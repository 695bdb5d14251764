"""Plain overfitting: whether the validation loss rises while a run falls."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from scipy.special import stdtrit

from sweep.progress import COMPLETE
from sweep.report.diagnosis.advice import find_best_runs
from sweep.report.diagnosis.cause import OVERALL, Answer, Cause, Effect, Evidence, Question, Start
from sweep.report.diagnosis.starts import keep_new, settings_of_run, spread_values
from sweep.report.diagnosis.surface import FloatArray

MATTERS = 0.01
"""Smallest rise of the loss, as a share, from the run's peak to its end that matters."""

MIN_RUNS = 3

ALPHA = 0.01
"""Chance of a false finding of overfitting, out of the 5 % that all causes share."""


def measure_rise(rises: FloatArray) -> Effect:
    """The mean of (M,) rises with its t-interval; no interval of fewer than ``MIN_RUNS``."""
    mean = float(rises.mean())
    if len(rises) < MIN_RUNS:
        return Effect(seen=mean, interval=None)
    error = float(rises.std(ddof=1)) / math.sqrt(len(rises))
    reach = float(stdtrit(len(rises) - 1, 1.0 - ALPHA / 2.0)) * error
    return Effect(seen=mean, interval=(mean - reach, mean + reach))


def _ask(evidence: Evidence) -> Iterator[Question]:
    """The change of the loss on held-out pairs of their own format in the runs that fell, from their peak to their end.

    A run is compared with itself, so neither its format nor its scale matters, and a t-interval over runs is valid
    whichever settings the sampler chose for them. Where the loss goes on falling while retrieval falls, overfitting is
    not what made them fall. The effect is the mean logarithm of the loss at the end over that at the peak.
    """
    fallen = [run for run in evidence.runs if run.end.fall >= evidence.margin]
    losses = {run.trial: run.losses for run in fallen if run.losses is not None and min(run.losses) > 0}
    rises = np.array([math.log(at_end / at_peak) for at_peak, at_end in losses.values()])
    if not fallen:
        reason = f"no run lost {evidence.margin:g} or more from its peak, so there is no fall to explain"
    elif len(losses) < len(fallen):
        reason = f"the validation loss was measured in {len(losses)} of the {len(fallen)} runs that fell"
    else:
        reason = f"only {len(losses)} of at least {MIN_RUNS} runs fell"
    yield Question(
        scope=OVERALL,
        rows=np.flatnonzero([run.trial in losses for run in evidence.runs]),
        measured=measure_rise(rises) if losses else None,
        reason=reason,
    )


def _say(question: Question, answer: Answer, effect: Effect) -> str:
    low, high = (math.expm1(bound) for bound in effect.interval or (-math.inf, math.inf))
    change = (
        f"in the {len(question.rows)} runs that fell, the validation loss of their own format changed by"
        f" {math.expm1(effect.seen):+.1%} ({low:+.1%} to {high:+.1%}) from the peak to the end"
    )
    return f"Runs overfit: {change}." if answer == "supported" else f"Runs overfit? {answer.capitalize()}: {change}."


def _advise(_question: Question, _effect: Effect, evidence: Evidence) -> str:
    """Fewer examples only where the best runs peaked before their end."""
    is_late = any(run.end.peak_progress >= COMPLETE for run in find_best_runs(evidence.runs))
    fewer = "" if is_late else ", or on fewer examples"
    return f"Train on more or other pairs{fewer}: the peak's model is kept as it is."


def _propose(question: Question, evidence: Evidence) -> list[Start]:
    """Trials like the one that fell most, at other warm-ups."""
    runs = [evidence.runs[row] for row in question.rows] or evidence.runs
    base = settings_of_run(max(runs, key=lambda run: run.end.fall), evidence.space)
    warmups = spread_values(evidence.space.warmup_ratio, 3)
    return keep_new([{**base, "warmup_ratio": warmup} for warmup in warmups], evidence)


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
