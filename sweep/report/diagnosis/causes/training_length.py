"""Training for too long: more pairs, with a schedule of that length, than a configuration bears."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

from sweep.report.diagnosis.advice import find_best_runs, name_run
from sweep.report.diagnosis.axes import Axis
from sweep.report.diagnosis.cause import Cause, Effect, Evidence, Question, ask_scopes
from sweep.report.diagnosis.surface import FloatArray, Term
from sweep.settings.study_file import SpaceSpec

LENGTH = Axis(name="length", read=lambda run: math.log2(run.params.length))
"""Doublings of a run's training pairs over those of a trial that searches."""

DEVIATION = 0.1
"""Prior standard deviation of the effect of a doubling."""


def _rise_from_none(one: FloatArray, other: FloatArray) -> FloatArray:
    """The covariance of a straight line that begins at 0: trials of the search differ in nothing by their length."""
    return one * other


def _pick(question: Question, tried: FloatArray, _space: SpaceSpec) -> Question:
    """The longest length that was tried against the shortest."""
    low, high = float(tried.min()), float(tried.max())
    if low == high:
        settle = "Set budget.total_examples: the best configurations are then trained for longer."
        return replace(question, reason="every run was to be trained for as long as the others", settle=settle)
    compared = f"{2**high:g} times budget.examples against {2**low:g}"
    return replace(question, better=low, worse=high, compared=compared)


def _advise(question: Question, _effect: Effect, evidence: Evidence) -> str:
    """Fewer doublings, but not fewer than those of the best runs, whose peak models are kept."""
    best = find_best_runs(evidence.runs)
    longest = max(best, key=LENGTH.read, default=None)
    fewest = int(question.better if longest is None else max(question.better, LENGTH.read(longest)))
    if longest is not None and fewest >= question.worse:
        kept = name_run(longest, best, read=lambda run: run.params.length)
        return f"Leave budget.doublings, because of {kept} times the length: its peak is what is kept of it."
    return f"Set budget.doublings to {fewest}: longer trials end lower, and none of the best runs is longer."


TRAINING_LENGTH = Cause(
    name="trained too long",
    claim="Training for longer makes runs fall",
    setting="length",
    ask=partial(ask_scopes, axis=LENGTH, pick=_pick),
    advise=_advise,
    pair=lambda _: None,
    propose=lambda _question, _evidence: [],
    terms=(Term(axis=LENGTH.name, shape=_rise_from_none, deviation=DEVIATION),),
    axes=(LENGTH,),
)
