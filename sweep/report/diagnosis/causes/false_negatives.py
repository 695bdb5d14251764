"""False negatives: near-equals of an anchor's positive among the negatives of its batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from sweep.report.diagnosis.advice import find_best_runs
from sweep.report.diagnosis.axes import Axis
from sweep.report.diagnosis.cause import OVERALL, Cause, Effect, Evidence, Question
from sweep.report.diagnosis.surface import Contrast, FloatArray, Term

SHARE = Axis(name="share", read=lambda run: run.share or 0.0)
"""Share of anchors with a false negative in their batch; 0 where it is not known."""

MIN_SHARE = 0.01
"""Shares that differ by less are compared with none."""

DEVIATION = 0.3
"""Prior standard deviation of the effect of a share of 1."""


def _rise_from_none(one: FloatArray, other: FloatArray) -> FloatArray:
    """The covariance of a straight line that begins at 0: no false negatives, no effect."""
    return DEVIATION**2 * one * other


def _ask(evidence: Evidence) -> Iterator[Question]:
    """The largest share of false negatives against the smallest, or against none where every run has about as many."""
    rows = np.flatnonzero([run.share is not None for run in evidence.runs])
    question = Question(scope=OVERALL, rows=rows)
    if len(rows) < len(evidence.runs):
        settle = "Run further trials: their share of false negatives is recorded."
        yield replace(question, reason="their share was not recorded for every run", settle=settle)
        return
    shares = evidence.settings.values[SHARE.name]
    low, high = float(shares.min()), float(shares.max())
    low = low if high - low >= MIN_SHARE else 0.0
    points = evidence.choose_points(rows)
    yield replace(
        question,
        better=low,
        worse=high,
        compared=f"a share of {high:.2%} against {f'{low:.2%}' if low else 'none'}",
        contrast=Contrast(better=points.at(**{SHARE.name: low}), worse=points.at(**{SHARE.name: high})),
    )


def _pair(evidence: Evidence) -> tuple[int, int] | None:
    sizes, is_recorded = evidence.space.batch_sizes, evidence.runs[0].share is not None
    return (sizes[0], sizes[-1]) if len(sizes) > 1 and is_recorded else None


def _advise(_question: Question, _effect: Effect, evidence: Evidence) -> str:
    """A smaller batch, which holds fewer of them, but not smaller than those of the best runs."""
    largest = max((run.params.batch_size for run in find_best_runs(evidence.runs)), default=0)
    remove = "Remove near-equal positives from the collection"
    if largest >= evidence.space.batch_sizes[-1]:
        return f"{remove}; leave space.batch_size, of which the best runs use the upper end."
    kept = f", down to {largest}, which the best runs use" if largest else ""
    return f"{remove}, or lower space.batch_size{kept}: a smaller batch holds fewer."


FALSE_NEGATIVES = Cause(
    name="in-batch false negatives",
    claim="In-batch false negatives make runs fall",
    setting="batch_size",
    ask=_ask,
    advise=_advise,
    pair=_pair,
    terms=(Term(axis=SHARE.name, shape=_rise_from_none, deviation=1.0, by_format=False),),
    axes=(SHARE,),
)
