"""The words of a finding: its sentence, and how formats differ."""

from __future__ import annotations

import math
from collections.abc import Mapping

from sweep.progress import COMPLETE
from sweep.report.diagnosis.cause import OVERALL, Answer, Cause, Effect, Evidence, Question
from sweep.report.diagnosis.run_outcomes import COMMON


def say_finding(cause: Cause, question: Question, answer: Answer, effect: Effect | None, evidence: Evidence) -> str:
    """The sentence of a finding."""
    if effect is None or effect.interval is None:
        return f"{cause.claim}{name_scope(question.scope)}? Cannot tell: {question.reason}."
    return cause.say(question, answer, effect) if cause.say else _say_effect(cause, question, answer, effect, evidence)


def _say_effect(cause: Cause, question: Question, answer: Answer, effect: Effect, evidence: Evidence) -> str:
    name, place = effect.outcome
    low, high = effect.interval or (-math.inf, math.inf)
    runs = [evidence.runs[row] for row in question.rows]
    verb = "loses" if name == "fall" else "ends lower by"
    early = "" if COMMON[place] == COMPLETE else f" in the first {COMMON[place] / COMPLETE:.0%} of the run"
    seen = f"{effect.seen:.3f}" if effect.seen >= 0 else f"{effect.seen:+.3f}"
    loss = f"{question.compared} {verb} {seen} {evidence.metric}{early} ({low:+.3f} to {high:+.3f})"
    stopped = sum(run.reached[place].is_stopped for run in runs)
    censored = f"; {stopped} of the {len(runs)} runs had been stopped before" if stopped else ""
    claim = cause.reverse_claim if cause.reverse_claim and effect.seen < 0 and answer == "supported" else cause.claim
    head = f"{claim}{name_scope(question.scope)}"
    if answer == "supported":
        return f"{head}: {loss}{censored}.{cause.note(evidence, question.rows) if cause.note else ''}"
    if answer == "not supported":
        return f"{head}? Not supported: {loss}, which excludes a loss of {evidence.margin:g}{censored}."
    return f"{head}? Cannot tell: {loss}{censored}."


def say_interaction(answers: Mapping[str, Answer]) -> str:
    """An addition to an overall finding where the cause acts in some formats alone; else nothing."""
    supported = [name for name, answer in answers.items() if answer == "supported"]
    others = [f"{answer} for {name}" for name, answer in answers.items() if answer != "supported"]
    if not supported or not others:
        return ""
    return f" An interaction: supported for {' and '.join(supported)}, {' and '.join(others)}."


def name_scope(scope: str) -> str:
    """A scope at the end of a clause; nothing for overall."""
    return "" if scope == OVERALL else f" for {scope}"
