"""Training pairs of a format that does not fit the retrieval task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from sweep.report.diagnosis.advice import find_best_runs, name_run
from sweep.report.diagnosis.axes import RATE
from sweep.report.diagnosis.cause import AT_END, OVERALL, Cause, Effect, Evidence, Question
from sweep.report.diagnosis.causes.false_negatives import SHARE
from sweep.report.diagnosis.causes.learning_rate import find_middle_rate
from sweep.report.diagnosis.surface import DATA_FORMAT, Contrast, Term, equal, join_settings
from sweep.settings.dimensions import RETRIEVAL_FORMAT

SHIFT = 0.15
"""Prior standard deviation of the shift of an outcome by a format."""


def _ask(evidence: Evidence) -> Iterator[Question]:
    """The retrieval task's own format against the others, at the same settings and without false negatives.

    They are compared at a middling rate, since harm from a rate that is too high for one format counts against the
    rate.
    """
    question = Question(
        scope=OVERALL,
        rows=np.arange(len(evidence.runs)),
        settle=f"Make space.data_format a list with {RETRIEVAL_FORMAT} and another format.",
    )
    tried = {run.params.data_format for run in evidence.runs}
    others = [name for name in evidence.formats if name in tried and name != RETRIEVAL_FORMAT]
    if RETRIEVAL_FORMAT not in tried or not others:
        yield replace(question, reason=f"only {_names(sorted(tried))} was tried")
        return
    rate = find_middle_rate(np.array([RATE.read(run) for run in evidence.runs]), evidence.space)
    scaled = float(evidence.scale(RATE, [rate])[0])
    points = evidence.choose_points(question.rows).at(**{SHARE.name: 0.0, RATE.name: scaled})
    better, *worse = (points.at(**{DATA_FORMAT: evidence.formats.index(name)}) for name in (RETRIEVAL_FORMAT, *others))
    yield replace(
        question,
        contrast=Contrast(better=better, worse=join_settings(worse)),
        compared=f"{_names(others)} against {RETRIEVAL_FORMAT}, at a rate of {rate:.2g} (at batch 64),",
    )


def _pair(evidence: Evidence) -> tuple[str, str] | None:
    others = [name for name in evidence.space.data_format if name != RETRIEVAL_FORMAT]
    return (RETRIEVAL_FORMAT, others[0]) if RETRIEVAL_FORMAT in evidence.space.data_format and others else None


def _advise(_question: Question, _effect: Effect, evidence: Evidence) -> str:
    best = find_best_runs(evidence.runs)
    others = [run for run in best if run.params.data_format != RETRIEVAL_FORMAT]
    if others:
        kept = name_run(others[0], best, read=RATE.read)
        return f"Train on {RETRIEVAL_FORMAT} pairs as well, and keep the other format too, because of {kept}."
    return f"Train on {RETRIEVAL_FORMAT} pairs; where there are none, make queries for the documents."


def _names(names: Sequence[str]) -> str:
    return " and ".join(names) if names else "nothing"


TRAINING_FORMAT = Cause(
    name="training format",
    claim="The training format does not fit the retrieval task",
    setting="data_format",
    ask=_ask,
    advise=_advise,
    pair=_pair,
    beside="learning_rate",
    outcomes=(AT_END,),
    terms=(Term(axis=DATA_FORMAT, shape=equal, deviation=SHIFT, by_format=False),),
)
