"""The learning rate, too high or too low for its batch size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import numpy as np

from sweep.report.diagnosis.advice import End, advise_end
from sweep.report.diagnosis.axes import RATE
from sweep.report.diagnosis.cause import (
    AT_END,
    MIN_RATIO,
    Cause,
    Effect,
    Evidence,
    Pick,
    Question,
    ask_scopes,
)
from sweep.report.diagnosis.starts import round_within
from sweep.report.diagnosis.surface import FloatArray, Term, curve
from sweep.settings.ranges import ends
from sweep.settings.study_file import SpaceSpec


def find_middle_rate(rates: FloatArray, space: SpaceSpec) -> float:
    """The rate that was tried nearest to the middle of the space: the one least suspected of being too high or low."""
    low, high = ends(space.learning_rate)
    return float(rates[np.argmin(np.abs(np.log(rates / math.sqrt(low * high))))])


def _ask(evidence: Evidence, *, end: End) -> Iterator[Question]:
    """The highest or lowest rate that was tried against the one nearest to the middle of the space."""

    def pick(tried: FloatArray) -> Pick:
        better, worse = find_middle_rate(tried, evidence.space), float(tried.max() if end == "high" else tried.min())
        side = "above" if end == "high" else "below"
        is_apart = max(worse / better, better / worse) >= MIN_RATIO
        return Pick(
            better=better,
            worse=worse,
            compared=f"a rate of {worse:.2g} against {better:.2g} (at batch 64)",
            reason="" if is_apart else f"no rate was tried far enough {side} {better:.2g}",
        )

    return ask_scopes(evidence, RATE, pick=pick)


def _pair(evidence: Evidence, *, end: End) -> tuple[float, float] | None:
    """The middle of the range and one of its ends."""
    low, high = ends(evidence.space.learning_rate)
    return (round_within(math.sqrt(low * high), low, high), high if end == "high" else low) if high > low else None


def _advise(question: Question, _effect: Effect, evidence: Evidence, *, end: End) -> str:
    """The range of the study file holds rates as they were proposed; what was compared are those at batch 64."""
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
    ask=partial(_ask, end="high"),
    advise=partial(_advise, end="high"),
    pair=partial(_pair, end="high"),
    terms=(Term(axis=RATE.name, shape=curve),),
)

TOO_LOW = Cause(
    name="learning rate too low for its batch size",
    claim="The learning rate is too low",
    setting="learning_rate",
    ask=partial(_ask, end="low"),
    advise=partial(_advise, end="low"),
    pair=partial(_pair, end="low"),
    outcomes=(AT_END,),
    terms=TOO_HIGH.terms,
)
