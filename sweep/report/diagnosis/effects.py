"""The effects of all questions of a study, with bounds that hold for all of them at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sweep.report.diagnosis.cause import Cause, Effect, Evidence, Outcome, Question
from sweep.report.diagnosis.run_outcomes import RunOutcome
from sweep.report.diagnosis.surface import FloatArray, Outcomes, Prior, bound, draw_effects, estimate_effects

ALPHA = 0.04
"""Chance that any finding from the surface is a false "supported"."""

FIRST_WEIGHT = 3.0
"""Weight, in the chance of an error, of a cause's first outcome over each of its others."""


def answer_all(asked: Sequence[tuple[Cause, Question]], evidence: Evidence, prior: Prior) -> list[list[Effect]]:
    """The effects of every question on the outcomes of its cause; none where the surface cannot tell."""
    columns: list[tuple[int, Outcome]] = []
    draws: list[FloatArray] = []
    seen: list[FloatArray] = []
    for outcome in dict.fromkeys(outcome for cause, _ in asked for outcome in cause.outcomes):
        contrasts = {
            place: question.contrast
            for place, (cause, question) in enumerate(asked)
            if question.contrast is not None and outcome in cause.outcomes
        }
        if contrasts:
            case = (prior, evidence.settings, collect_outcomes(evidence.runs, outcome), list(contrasts.values()))
            draws.append(_shuffled(draw_effects(*case, seed=len(draws)), len(draws)))
            seen.append(estimate_effects(*case))
            columns += [(place, outcome) for place in contrasts]
    effects: list[list[Effect]] = [[] for _ in asked]
    if columns:
        either_way = np.array([bool(asked[place][0].reverse_claim) for place, _ in columns])
        first = np.array([outcome == asked[place][0].outcomes[0] for place, outcome in columns])
        lower, upper = _bound_both(_join(draws), either_way, weights=np.where(first, FIRST_WEIGHT, 1.0))
        means = np.clip(np.concatenate(seen), lower, upper)
        for (place, outcome), mean, *ends in zip(columns, means.tolist(), lower.tolist(), upper.tolist(), strict=True):
            effects[place].append(Effect(seen=mean, interval=(ends[0], ends[1]), outcome=outcome))
    return effects


def collect_outcomes(runs: Sequence[RunOutcome], outcome: Outcome) -> Outcomes:
    """One outcome of every run; higher is better."""
    name, place = outcome
    reached = [run.reached[place] for run in runs]
    is_fall = name == "fall"
    return Outcomes(
        value=np.array([-each.fall if is_fall else each.held for each in reached]),
        noise=np.array([each.fall_noise if is_fall else each.held_noise for each in reached]),
        stopped=np.array([each.is_stopped for each in reached]),
        max_value=np.array([-each.min_fall if is_fall else each.max_held for each in reached]),
        min_value=np.array([-each.peak if is_fall else 0.0 for each in reached]),
    )


def _join(draws: Sequence[FloatArray]) -> FloatArray:
    """The columns of all draws side by side, as many rows as the fewest have."""
    count = min(len(piece) for piece in draws)
    return np.concatenate([piece[:count] for piece in draws], axis=1)


def _bound_both(
    draws: FloatArray, either_way: NDArray[np.bool_], *, weights: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Lower and upper bounds of the columns of (M, K) joint draws, each side valid for all at once.

    A "supported" rests on a lower bound alone, except for causes that act either way: their upper bounds are bounded
    together with the lower ones.

    Args:
        draws: (M, K) joint draws.
        either_way: (K,) which columns support their cause with either sign.
        weights: (K,) share of the chance of an error that each column gets, in proportion.
    """
    columns = draws.shape[1]
    both, shares = np.concatenate([draws, -draws[:, either_way]], axis=1), np.append(weights, weights[either_way])
    lower = bound(both, alpha=ALPHA, weights=shares)
    upper = -bound(-draws, alpha=ALPHA, weights=weights)
    upper[either_way] = -lower[columns:]
    return lower[:columns], upper


def _shuffled(draws: FloatArray, seed: int) -> FloatArray:
    """The draws in random order; they come sorted by the noise that they were drawn with."""
    return draws[np.random.default_rng(seed).permutation(len(draws))]
