"""The end of a short warm-up."""

from __future__ import annotations

from collections.abc import Iterator

from sweep.progress import COMPLETE
from sweep.report.diagnosis.advice import advise_end
from sweep.report.diagnosis.axes import WARMUP
from sweep.report.diagnosis.cause import Cause, Effect, Evidence, Pick, Question, ask_scopes
from sweep.report.diagnosis.surface import FloatArray, IntArray, Term, line
from sweep.settings.ranges import ends

MIN_DIFFERENCE = 0.05
"""Warm-up ratios that differ by less tell nothing."""

NEAR = 0.05
"""Share of the budget within which a peak lies at the end of the warm-up."""


def _ask(evidence: Evidence) -> Iterator[Question]:
    """The shortest warm-up that was tried against the longest."""
    return ask_scopes(evidence, WARMUP, pick=_pick)


def _pick(tried: FloatArray) -> Pick:
    low, high = float(tried.min()), float(tried.max())
    apart = high - low >= MIN_DIFFERENCE
    return Pick(
        better=high,
        worse=low,
        compared=f"a warm-up of {low:.0%} against {high:.0%}",
        reason="" if apart else f"every warm-up that was tried is about {low:.2g} of the steps",
    )


def _pair(evidence: Evidence) -> tuple[float, float] | None:
    low, high = ends(evidence.space.warmup_ratio)
    return (low, high) if high > low else None


def _remark(evidence: Evidence, rows: IntArray) -> str:
    """Where the peaks of the runs that fell lie, seen from the end of their warm-up."""
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
    ask=_ask,
    advise=_advise,
    pair=_pair,
    beside="learning_rate",
    terms=(Term(axis=WARMUP.name, shape=line),),
    remark=_remark,
)
