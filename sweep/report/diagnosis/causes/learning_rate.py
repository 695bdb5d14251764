"""The learning rate, too high or too low for its batch size."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np

from sweep.report.diagnosis.advice import End, advise_end
from sweep.report.diagnosis.axes import RATE
from sweep.report.diagnosis.cause import AT_END, MIN_RATIO, Cause, Effect, Evidence, Question, ask_scopes
from sweep.report.diagnosis.starts import round_within
from sweep.report.diagnosis.surface import FloatArray, Term, curve
from sweep.settings.ranges import ends
from sweep.settings.study_file import SpaceSpec


def find_middle_rate(rates: FloatArray, space: SpaceSpec) -> float:
    """The rate that was tried nearest to the middle of the space: the one least suspected of being too high or low."""
    low, high = ends(space.learning_rate)
    return float(rates[np.argmin(np.abs(np.log(rates / math.sqrt(low * high))))])


def _pick(question: Question, tried: FloatArray, space: SpaceSpec, *, end: End) -> Question:
    """The highest or lowest rate that was tried against the one nearest to the middle of the space."""
    better, worse = find_middle_rate(tried, space), float(tried.max() if end == "high" else tried.min())
    if max(worse / better, better / worse) < MIN_RATIO:
        side = "above" if end == "high" else "below"
        return replace(question, reason=f"no rate was tried far enough {side} {better:.2g}")
    compared = f"a rate of {worse:.2g} against {better:.2g} (at batch 64)"
    return replace(question, better=better, worse=worse, compared=compared)


def _pair(evidence: Evidence, *, end: End) -> tuple[float, float]:
    """The middle of the range and one of its ends."""
    low, high = ends(evidence.space.learning_rate)
    return round_within(math.sqrt(low * high), low, high), high if end == "high" else low


def _advise(question: Question, _effect: Effect, evidence: Evidence, *, end: End) -> str:
    """Advice on the study file's range, which holds proposed rates, where those at batch 64 were compared."""
    outer = max if end == "high" else min
    return advise_end(
        question,
        evidence,
        setting="learning_rate",
        end=end,
        towards=question.better,
        read=lambda run: outer(run.rate, run.params.learning_rate),
        unit=" (at batch 64)",
    )


TOO_HIGH = Cause(
    name="learning rate too high for its batch size",
    claim="The learning rate is too high",
    setting="learning_rate",
    ask=partial(ask_scopes, axis=RATE, pick=partial(_pick, end="high")),
    advise=partial(_advise, end="high"),
    pair=partial(_pair, end="high"),
    terms=(Term(axis=RATE.name, shape=curve),),
)

TOO_LOW = replace(
    TOO_HIGH,
    name="learning rate too low for its batch size",
    claim="The learning rate is too low",
    ask=partial(ask_scopes, axis=RATE, pick=partial(_pick, end="low")),
    advise=partial(_advise, end="low"),
    pair=partial(_pair, end="low"),
    outcomes=(AT_END,),
)
