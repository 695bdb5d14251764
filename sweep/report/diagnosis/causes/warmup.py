"""The end of a short warm-up."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from sweep.progress import COMPLETE
from sweep.report.diagnosis.advice import advise_end
from sweep.report.diagnosis.axes import WARMUP
from sweep.report.diagnosis.cause import Cause, Effect, Evidence, Question, ask_scopes
from sweep.report.diagnosis.surface import FloatArray, IntArray, Term, line
from sweep.settings.study_file import SpaceSpec

MIN_DIFFERENCE = 0.05
"""Warm-up ratios that differ by less tell nothing."""

NEAR = 0.05
"""Share of the budget within which a peak lies at the end of the warm-up."""


def _pick(question: Question, tried: FloatArray, _space: SpaceSpec) -> Question:
    """The shortest warm-up that was tried against the longest."""
    low, high = float(tried.min()), float(tried.max())
    if high - low < MIN_DIFFERENCE:
        return replace(question, reason=f"every warm-up that was tried is about {low:.2g} of the steps")
    return replace(question, better=high, worse=low, compared=f"a warm-up of {low:.0%} against {high:.0%}")


def _note(evidence: Evidence, rows: IntArray) -> str:
    """The number of fallen runs whose peak lies near the end of their warm-up."""
    fallen = [run for run in (evidence.runs[row] for row in rows) if run.end.fall >= evidence.margin]
    near = sum(abs(run.end.peak_progress / COMPLETE - run.warmup_end) <= NEAR for run in fallen)
    if not fallen:
        return ""
    return f" Of {len(fallen)} runs that fell, {near} had their peak within 5 % of the budget from its end."


def _advise(question: Question, _effect: Effect, evidence: Evidence) -> str:
    return advise_end(question, evidence, setting="warmup_ratio", end="low", towards=question.better, read=WARMUP.read)


SHORT_WARMUP = Cause(
    name="end of the warm-up",
    claim="A short warm-up makes runs fall",
    setting="warmup_ratio",
    ask=partial(ask_scopes, axis=WARMUP, pick=_pick),
    advise=_advise,
    beside="learning_rate",
    terms=(Term(axis=WARMUP.name, shape=line),),
    note=_note,
)
