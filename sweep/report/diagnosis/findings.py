"""diagnose: which of the suspected causes made the runs of a study fall, with effect, interval and what to do next.

All findings of a study stand on bounds that hold for all of them at once, so that the chance of any wrong "supported"
is at most 5 % a study, however many causes, formats and scopes it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sweep.report.diagnosis.advice import refuse_overall
from sweep.report.diagnosis.axes import SEARCHED
from sweep.report.diagnosis.cause import OVERALL, Answer, Cause, Effect, Evidence, Question
from sweep.report.diagnosis.causes import CAUSES
from sweep.report.diagnosis.effects import answer_all
from sweep.report.diagnosis.ended_runs import MARGIN, collect_runs, find_margin
from sweep.report.diagnosis.phrasing import say_finding, say_interaction
from sweep.report.diagnosis.run_outcomes import RunOutcome
from sweep.report.diagnosis.starts import find_pair, plan_pairs, write_starts
from sweep.report.diagnosis.surface import Prior
from sweep.settings.study_file import SpaceSpec
from sweep.study import Study

AXES = tuple(dict.fromkeys([*SEARCHED, *(axis for cause in CAUSES for axis in cause.axes)]))
PRIOR = Prior(
    terms=tuple(dict.fromkeys(term for cause in CAUSES for term in cause.terms)),
    rest=tuple(axis.name for axis in SEARCHED),
)


@dataclass(frozen=True)
class Finding:
    """The finding on one suspected cause.

    Attributes:
        cause: The cause, in words.
        scope: ``overall``, or the data format within which it is asked about.
        verdict: ``supported`` where the interval lies above 0 and the effect matters; ``not supported`` where the
            interval excludes an effect that matters; else ``cannot tell``.
        effect: Loss in the study's metric; for overfitting the logarithm of the rise of the validation loss. None
            where nothing was measured.
        interval: Its bounds, each side at 95 % for all findings of a study at once.
        trials: Numbers of the trials it rests on.
        sentence: The finding in a sentence, with the comparison.
        next_steps: Advice; where more trials would settle it, their ``[[space.start]]`` tables.
    """

    cause: str
    scope: str
    verdict: Answer
    effect: float | None
    interval: tuple[float, float] | None
    trials: tuple[int, ...]
    sentence: str
    next_steps: str


def diagnose(study: Study) -> list[Finding]:
    """The finding on every suspected cause; runs that go on or failed are left out."""
    margin, metric = find_margin(study) or MARGIN, study.record.measure.label
    return diagnose_runs(collect_runs(study), space=study.spec.space, margin=margin, metric=metric)


def diagnose_runs(
    runs: Sequence[RunOutcome], *, space: SpaceSpec, margin: float = MARGIN, metric: str = Evidence.metric
) -> list[Finding]:
    """A finding for each cause and scope, in the order of the causes; none where no run has ended.

    Args:
        runs: Runs that have ended.
        space: The search space, in which further trials are proposed.
        margin: Effect that matters, above 0.
        metric: Label of the measure that an effect is of.
    """
    if not runs:
        return []
    evidence = Evidence(runs=runs, space=space, margin=margin, axes=AXES, metric=metric)
    asked = [(cause, question) for cause in CAUSES for question in cause.ask(evidence)]
    answers = answer_all(asked, evidence, PRIOR)
    findings = [
        _find(cause, question, effects, evidence) for (cause, question), effects in zip(asked, answers, strict=True)
    ]
    return [_name_interaction(finding, findings) for finding in findings]


def decide(effect: float, interval: tuple[float, float], *, matters: float, either_way: bool = False) -> Answer:
    """The answer for an effect (positive is harm) with its bounds, and the smallest effect that matters.

    Either way means that an effect of the other sign supports the cause as well.
    """
    if either_way and effect < 0:
        effect, interval = -effect, (-interval[1], -interval[0])
    if interval[0] > 0 and effect >= matters:
        return "supported"
    if interval[1] < matters and not (either_way and interval[0] <= -matters):
        return "not supported"
    return "cannot tell"


def _find(cause: Cause, question: Question, effects: Sequence[Effect], evidence: Evidence) -> Finding:
    answer, effect = _choose(cause, [question.measured] if question.measured else effects, evidence.margin)
    return Finding(
        cause=cause.name,
        scope=question.scope,
        verdict=answer,
        effect=effect.seen if effect else None,
        interval=effect.interval if effect else None,
        trials=tuple(evidence.runs[row].trial for row in question.rows),
        sentence=say_finding(cause, question, answer, effect, evidence),
        next_steps=_plan_next(cause, question, answer, effect, evidence),
    )


def _choose(cause: Cause, effects: Sequence[Effect], margin: float) -> tuple[Answer, Effect | None]:
    """The answer and the effect that decide a cause: on its first outcome, unless another supports it."""
    answers: list[Answer] = [
        "cannot tell"
        if effect.interval is None
        else decide(effect.seen, effect.interval, matters=cause.matters or margin, either_way=bool(cause.reverse_claim))
        for effect in effects
    ]
    if not answers:
        return "cannot tell", None
    place = answers.index("supported") if "supported" in answers else 0
    return answers[place], effects[place]


def _plan_next(cause: Cause, question: Question, answer: Answer, effect: Effect | None, evidence: Evidence) -> str:
    if answer == "supported" and effect is not None:
        return cause.advise(question, effect, evidence)
    if answer == "not supported":
        return "Nothing: look for another cause."
    starts = cause.propose(question, evidence) if cause.propose else plan_pairs(cause, question, evidence)
    if not starts and find_pair(cause, evidence) is not None:
        return "Every such trial was run: add seeds to space.seed, and with them replicates."
    if not starts:
        return question.settle or f"Make space.{cause.setting} a range, so that trials can differ in it."
    return f"{cause.proposal} (raise budget.trials by their number):\n\n{write_starts(starts)}"


def _name_interaction(finding: Finding, findings: Sequence[Finding]) -> Finding:
    """An overall finding with the formats in which the cause acts, without advice where they differ."""
    if finding.scope != OVERALL:
        return finding
    within = {other.scope: other.verdict for other in findings if other.cause == finding.cause and other != finding}
    refusal = refuse_overall(within) if finding.verdict == "supported" else ""
    return replace(
        finding, sentence=finding.sentence + say_interaction(within), next_steps=refusal or finding.next_steps
    )
