"""The scale of the loss (1 / temperature), too high or too low."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from sweep.report.diagnosis.advice import End, advise_end
from sweep.report.diagnosis.axes import SCALE
from sweep.report.diagnosis.cause import MIN_RATIO, Cause, Effect, Evidence, Question, ask_scopes
from sweep.report.diagnosis.surface import FloatArray, Term, line
from sweep.settings.study_file import SpaceSpec


def _pick(question: Question, tried: FloatArray, _space: SpaceSpec) -> Question:
    """The highest scale that was tried against the lowest."""
    low, high = float(tried.min()), float(tried.max())
    if high / low < MIN_RATIO:
        return replace(question, reason=f"every scale that was tried is about {low:.3g}")
    return replace(question, better=low, worse=high, compared=f"a scale of {high:.3g} against {low:.3g}")


def _advise(question: Question, effect: Effect, evidence: Evidence) -> str:
    end: End = "low" if effect.seen < 0 else "high"
    towards = question.worse if end == "low" else question.better
    return advise_end(question, evidence, setting="scale", end=end, towards=towards, read=SCALE.read)


LOSS_SCALE = Cause(
    name="loss scale",
    claim="The loss scale makes runs fall",
    reverse_claim="A low loss scale makes runs fall",
    setting="scale",
    ask=partial(ask_scopes, axis=SCALE, pick=_pick),
    advise=_advise,
    terms=(Term(axis=SCALE.name, shape=line),),
)
