"""The scale of the loss (1 / temperature), too high or too low."""

from __future__ import annotations

from collections.abc import Iterator

from sweep.report.diagnosis.advice import End, advise_end
from sweep.report.diagnosis.axes import SCALE
from sweep.report.diagnosis.cause import MIN_RATIO, Cause, Effect, Evidence, Pick, Question, ask_scopes
from sweep.report.diagnosis.surface import FloatArray, Term, line
from sweep.settings.ranges import ends


def _ask(evidence: Evidence) -> Iterator[Question]:
    """The highest scale that was tried against the lowest."""
    return ask_scopes(evidence, SCALE, pick=_pick)


def _pick(tried: FloatArray) -> Pick:
    low, high = float(tried.min()), float(tried.max())
    return Pick(
        better=low,
        worse=high,
        compared=f"a scale of {high:.3g} against {low:.3g}",
        reason="" if high / low >= MIN_RATIO else f"every scale that was tried is about {low:.3g}",
    )


def _pair(evidence: Evidence) -> tuple[float, float] | None:
    low, high = ends(evidence.space.scale)
    return (low, high) if high > low else None


def _advise(question: Question, effect: Effect, evidence: Evidence) -> str:
    towards = question.worse if effect.seen < 0 else question.better
    end: End = "low" if effect.seen < 0 else "high"
    return advise_end(question, evidence, setting="scale", end=end, towards=towards, read=SCALE.read)


LOSS_SCALE = Cause(
    name="loss scale",
    claim="The loss scale makes runs fall",
    reverse_claim="A low loss scale makes runs fall",
    setting="scale",
    ask=_ask,
    advise=_advise,
    pair=_pair,
    terms=(Term(axis=SCALE.name, shape=line),),
)
