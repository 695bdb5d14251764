"""diagnose: which of the suspected causes made the runs of a study fall, with effect, interval and what to do next.

All verdicts of a study stand on bounds that hold for all of them at once, so that the chance of any wrong "supported"
is at most 5 % a study, however many causes, formats and scopes it has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sweep.progress import warmup_end
from sweep.report.diagnosis import words
from sweep.report.diagnosis.causes import (
    FALLS,
    OUTCOMES,
    OVERALL,
    OVERFITTING,
    SCALE,
    Question,
    Surface,
    ask_all,
    collect_outcomes,
    plan_scaling,
    scale_settings,
)
from sweep.report.diagnosis.overfitting import MATTERS, Rise, measure_rise
from sweep.report.diagnosis.runs import RunOutcome, Stop, measure_run
from sweep.report.diagnosis.surface import FloatArray, bound, draw_effects, estimate_effects
from sweep.settings.study_file import DropOffSpec, SpaceSpec
from sweep.stopping.stop import StopKind
from sweep.storage.evaluations import UNTRAINED
from sweep.study import Study

Answer = Literal["supported", "not supported", "cannot tell"]

ALPHA = 0.05
"""Chance that any verdict of a study is a wrong "supported"."""

ALPHA_OVERFITTING = 0.01
"""The part of it that goes to overfitting, which is judged by other numbers than the rest."""

FIRST_WEIGHT = 3.0
"""How much more of the chance of an error goes to the first outcome of a cause than to each of its others."""

STOPS: Mapping[StopKind, Stop] = {"forecast": "settled", "outclassed": "outclassed"}
"""Why a run was stopped, by the kind of its stop; for any other reason it had fallen."""

MARGIN = 0.01
"""Effect on NDCG@10 that matters, where the study stops no run and so names no margin."""


@dataclass(frozen=True)
class Verdict:
    """What a study says of one suspected cause.

    Attributes:
        cause: The cause, in words.
        scope: ``overall``, or the name of the data format within which it is judged.
        verdict: ``supported`` where the interval lies above 0 and the effect matters; ``not supported`` where the
            interval excludes an effect that matters; else ``cannot tell``.
        effect: NDCG@10 that the cause costs; for overfitting the rise of the validation loss, as its logarithm. None
            where nothing was measured.
        interval: Its bounds, each at 95 %; the lower ones of all verdicts of a study hold together, and the upper ones.
        trials: Numbers of the trials it rests on.
        sentence: The verdict in a sentence, with what was compared.
        next_steps: What to do next; where more trials would settle it, with their ``[[space.start]]`` tables.
    """

    cause: str
    scope: str
    verdict: Answer
    effect: float | None
    interval: tuple[float, float] | None
    trials: tuple[int, ...]
    sentence: str
    next_steps: str


def diagnose(study: Study) -> list[Verdict]:
    """The verdict on every suspected cause, of the runs that have ended; a run that goes on or failed is left out."""
    runs = collect_runs(study)
    return diagnose_runs(runs, space=study.spec.space, margin=_find_margin(study) or MARGIN)


def _find_margin(study: Study) -> float:
    """The margin of the study's drop-off rule."""
    rule = study.spec.stopping.drop_off
    return rule.margin if isinstance(rule, DropOffSpec) else MARGIN


def diagnose_runs(runs: Sequence[RunOutcome], *, space: SpaceSpec, margin: float = MARGIN) -> list[Verdict]:
    """The verdict on every suspected cause.

    Args:
        runs: Runs that have ended.
        space: The search space, in which further trials are proposed.
        margin: Effect on NDCG@10 that matters, above 0.

    Returns:
        One verdict for each cause and scope, in the order of the causes; none where no run has ended.
    """
    if not runs:
        return []
    questions = ask_all(runs, plan_scaling(runs, space), space)
    answers = _answer(questions, runs, space)
    verdicts = [
        _judge(question, found, runs, space=space, margin=margin)
        for question, found in zip(questions, answers, strict=True)
    ]
    verdicts = [_name_interaction(verdict, verdicts) for verdict in verdicts]
    rise = measure_rise(runs, fallen_by=margin, alpha=ALPHA_OVERFITTING)
    return [*verdicts, _judge_rise(rise, runs, space=space)]


def collect_runs(study: Study) -> list[RunOutcome]:
    """The runs of a study that have ended and were measured, by number."""
    frame = study.evaluations()
    found = []
    for trial in study.record.trials:
        if trial.state not in ("complete", "pruned") or trial.params is None or not trial.rows:
            continue
        points, per_query = study.per_query[trial.number]
        untrained = study.per_query[UNTRAINED][1]
        own = frame.loc[frame["trial"] == trial.number, "validation_loss"]
        losses = [None, *(None if np.isnan(loss) else float(loss) for loss in own)]
        steps = int(trial.attributes.get("steps", 0))
        run = measure_run(
            trial.number,
            trial.params,
            progress=[0, *points],
            per_query=np.concatenate([untrained[:1], per_query]),
            warmup_end=warmup_end(trial.params.warmup_ratio, steps) if steps else trial.params.warmup_ratio,
            stop=STOPS.get(trial.stop.kind, "fallen") if trial.stop else None,
            margin=_find_margin(study),
            rival=trial.stop.numbers.get("incumbent", math.inf) if trial.stop else math.inf,
            share=trial.attributes.get("false_negatives"),
            losses=losses,
        )
        if run is not None:
            found.append(run)
    return found


def decide(effect: float, interval: tuple[float, float], *, matters: float, either_way: bool = False) -> Answer:
    """The verdict that an effect and its interval allow.

    Args:
        effect: The effect; positive is harm.
        interval: Its bounds.
        matters: The smallest effect that matters.
        either_way: Whether an effect of the other sign supports the cause as well.
    """
    if either_way and effect < 0:
        effect, interval = -effect, (-interval[1], -interval[0])
    if interval[0] > 0 and effect >= matters:
        return "supported"
    if interval[1] < matters and not (either_way and interval[0] <= -matters):
        return "not supported"
    return "cannot tell"


@dataclass(frozen=True)
class _Effect:
    """An effect on an outcome as it was seen, and its bounds."""

    surface: Surface
    seen: float
    low: float
    high: float


def _answer(questions: Sequence[Question], runs: Sequence[RunOutcome], space: SpaceSpec) -> list[list[_Effect]]:
    """The effects of every question on its outcomes, with bounds that hold together; none for what cannot be told."""
    asked: list[tuple[int, Surface]] = []  # of each column
    draws: list[FloatArray] = []
    seen: list[FloatArray] = []
    settings = scale_settings(runs, plan_scaling(runs, space))
    for surface in FALLS:
        chosen = {
            number: question.contrast
            for number, question in enumerate(questions)
            if question.contrast is not None and surface in OUTCOMES[question.cause]
        }
        if chosen:
            outcomes, contrasts = collect_outcomes(runs, surface), list(chosen.values())
            draws.append(_shuffled(draw_effects(settings, outcomes, contrasts, seed=len(draws)), len(draws)))
            seen.append(estimate_effects(settings, outcomes, contrasts))
            asked += [(number, surface) for number in chosen]
    answers: list[list[_Effect]] = [[] for _ in questions]
    if draws:
        count = min(len(piece) for piece in draws)
        either_way = np.array([questions[number].cause == SCALE for number, _ in asked])
        first = np.array([surface == OUTCOMES[questions[number].cause][0] for number, surface in asked])
        weights = np.where(first, FIRST_WEIGHT, 1.0)
        lower, upper = _bound_both(np.concatenate([piece[:count] for piece in draws], axis=1), either_way, weights)
        effects = np.clip(np.concatenate(seen), lower, upper)
        for (number, surface), *numbers in zip(asked, effects.tolist(), lower.tolist(), upper.tolist(), strict=True):
            answers[number].append(_Effect(surface, *numbers))
    return answers


def _bound_both(draws: FloatArray, either_way: NDArray[np.bool_], weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Lower and upper bounds of every column, the lower ones holding together and the upper ones too.

    A "supported" rests on a lower bound alone, but for causes that act either way: of those the upper bounds belong to
    the lower ones of all.

    Args:
        draws: (M, K) joint draws.
        either_way: (K,) which columns support their cause with either sign.
        weights: (K,) share of the chance of an error that each column gets, in proportion.
    """
    alpha = ALPHA - ALPHA_OVERFITTING
    columns = draws.shape[1]
    both, shares = np.concatenate([draws, -draws[:, either_way]], axis=1), np.append(weights, weights[either_way])
    lower = bound(both, alpha=alpha, weights=shares)
    upper = -bound(-draws, alpha=alpha, weights=weights)
    upper[either_way] = -lower[columns:]
    return lower[:columns], upper


def _shuffled(draws: FloatArray, seed: int) -> FloatArray:
    """The draws in another order: they come sorted by the noise that they were drawn with."""
    return draws[np.random.default_rng(seed).permutation(len(draws))]


def _judge(
    question: Question, effects: Sequence[_Effect], runs: Sequence[RunOutcome], *, space: SpaceSpec, margin: float
) -> Verdict:
    within = [runs[row] for row in question.rows]
    verdict = Verdict(
        cause=question.cause,
        scope=question.scope,
        verdict="cannot tell",
        effect=None,
        interval=None,
        trials=tuple(run.trial for run in within),
        sentence=words.say_unknown(question),
        next_steps=words.advise(question, "cannot tell", runs, space=space),
    )
    if not effects:
        return verdict
    either_way = question.cause == SCALE
    answers = [decide(one.seen, (one.low, one.high), matters=margin, either_way=either_way) for one in effects]
    place = answers.index("supported") if "supported" in answers else 0  # the first, unless another tells more
    answer, effect = answers[place], effects[place]
    interval = (effect.low, effect.high)
    return replace(
        verdict,
        verdict=answer,
        effect=effect.seen,
        interval=interval,
        sentence=words.say_effect(
            question, answer, effect.seen, interval, within, margin=margin, surface=effect.surface
        ),
        next_steps=words.advise(question, answer, runs, space=space, effect=effect.seen),
    )


def _name_interaction(verdict: Verdict, verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict on a cause overall with the formats in which it acts, where it acts in some alone."""
    if verdict.scope != OVERALL:
        return verdict
    within = {one.scope: one.verdict for one in verdicts if one.cause == verdict.cause and one.scope != OVERALL}
    return replace(verdict, sentence=verdict.sentence + words.say_interaction(within))


def _judge_rise(rise: Rise, runs: Sequence[RunOutcome], *, space: SpaceSpec) -> Verdict:
    answer: Answer = "cannot tell"
    if rise.effect is not None and rise.interval is not None:
        answer = decide(rise.effect, rise.interval, matters=MATTERS)
    return Verdict(
        cause=OVERFITTING,
        scope=OVERALL,
        verdict=answer,
        effect=rise.effect,
        interval=rise.interval,
        trials=rise.trials,
        sentence=words.say_rise(rise, answer),
        next_steps=words.advise_rise(rise, answer, runs, space=space),
    )
