from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sweep.report.diagnosis.axes import RATE as RATE_AXIS
from sweep.report.diagnosis.causes.false_negatives import SHARE
from sweep.report.diagnosis.causes.training_length import LENGTH
from sweep.report.diagnosis.findings import PRIOR
from sweep.report.diagnosis.surface import (
    DATA_FORMAT,
    Contrast,
    FloatArray,
    Outcomes,
    Settings,
    bound,
    draw_effects,
    estimate_effects,
)

RATE = RATE_AXIS.name


def settings_of(rate: list[float], data_format: list[int]) -> Settings:
    middle, none = np.full(len(rate), 0.5), np.zeros(len(rate))
    return Settings(
        values=dict.fromkeys(PRIOR.rest, middle)
        | {SHARE.name: none, LENGTH.name: none}
        | {DATA_FORMAT: np.array(data_format, dtype=float), RATE: np.array(rate, dtype=float)}
    )


def outcomes_of(value: list[float], *, noise: float = 0.004, stopped: list[int] | None = None) -> Outcomes:
    return Outcomes(
        value=np.array(value),
        noise=np.full(len(value), noise),
        stopped=np.isin(np.arange(len(value)), stopped or []),
        max_value=np.array(value),
        min_value=np.full(len(value), -1.0),
    )


def bounds(draws: FloatArray) -> tuple[FloatArray, FloatArray]:
    return bound(draws, alpha=0.025), -bound(-draws, alpha=0.025)


TWO_BY_TWO = settings_of([0.5, 1.0, 0.5, 1.0], [0, 0, 1, 1])
HIGH_IN_FIRST = Contrast(better=TWO_BY_TWO.take(np.array([0])), worse=TWO_BY_TWO.take(np.array([1])))
HIGH_IN_SECOND = Contrast(better=TWO_BY_TWO.take(np.array([2])), worse=TWO_BY_TWO.take(np.array([3])))


def test_two_runs_that_differ_far_beyond_their_noise_tell_the_effect() -> None:
    draws = draw_effects(PRIOR, TWO_BY_TWO, outcomes_of([0.0, -0.1, 0.0, 0.0]), [HIGH_IN_FIRST, HIGH_IN_SECOND])
    lower, upper = bounds(draws)
    assert lower[0] > 0.05
    assert upper[0] < 0.15
    assert lower[1] < 0.0 < upper[1]


def test_the_estimate_is_the_mean_of_the_draws_where_no_run_was_stopped() -> None:
    outcomes = outcomes_of([0.0, -0.1, 0.01, -0.03])
    draws = draw_effects(PRIOR, TWO_BY_TWO, outcomes, [HIGH_IN_FIRST, HIGH_IN_SECOND])
    estimates = estimate_effects(PRIOR, TWO_BY_TWO, outcomes, [HIGH_IN_FIRST, HIGH_IN_SECOND])
    assert draws.mean(axis=0) == pytest.approx(estimates, abs=0.002)


def test_a_stopped_run_is_taken_to_have_lost_what_was_seen_or_more() -> None:
    whole, stopped = outcomes_of([0.0, -0.05, 0.0, 0.0]), outcomes_of([0.0, -0.05, 0.0, 0.0], stopped=[1])
    of_whole = bounds(draw_effects(PRIOR, TWO_BY_TWO, whole, [HIGH_IN_FIRST]))
    of_stopped = bounds(draw_effects(PRIOR, TWO_BY_TWO, stopped, [HIGH_IN_FIRST]))
    assert of_stopped[0][0] > 0.0
    assert of_stopped[1][0] > of_whole[1][0] + 0.02


def test_two_runs_that_were_both_stopped_say_little_about_each_other() -> None:
    both = outcomes_of([-0.05, -0.05, 0.0, 0.0], stopped=[0, 1])
    lower, upper = bounds(draw_effects(PRIOR, TWO_BY_TWO, both, [HIGH_IN_FIRST]))
    assert lower[0] < -0.03
    assert upper[0] > 0.03


def test_a_stopped_run_never_falls_below_the_lowest_that_there_is() -> None:
    deep = replace(outcomes_of([0.0, -0.05, 0.0, 0.0], stopped=[1]), min_value=np.full(4, -0.06))
    lower, upper = bounds(draw_effects(PRIOR, TWO_BY_TWO, deep, [HIGH_IN_FIRST]))
    assert 0.0 < lower[0] < upper[0] < 0.1


def test_where_nothing_was_tried_the_interval_is_as_wide_as_the_prior() -> None:
    flat = settings_of([0.5, 0.5], [0, 0])
    contrast = Contrast(better=flat.at(**{RATE: 0.0}), worse=flat.at(**{RATE: 1.0}))
    lower, upper = bounds(draw_effects(PRIOR, flat, outcomes_of([0.0, 0.0]), [contrast]))
    assert lower[0] < -0.1
    assert upper[0] > 0.1


def test_noise_that_is_larger_than_that_of_queries_widens_the_interval() -> None:
    random = np.random.default_rng(0)
    settings = settings_of(random.random(40).tolist(), [0] * 40)
    contrast = Contrast(better=settings.at(**{RATE: 0.0}), worse=settings.at(**{RATE: 1.0}))
    widths = []
    for spread in (0.004, 0.012):
        outcomes = outcomes_of(random.normal(0.0, spread, 40).tolist())
        lower, upper = bounds(draw_effects(PRIOR, settings, outcomes, [contrast]))
        widths.append(upper[0] - lower[0])
    assert widths[1] > 2 * widths[0]


def test_draws_are_the_same_for_the_same_seed() -> None:
    outcomes = outcomes_of([0.0, -0.1, 0.0, 0.0], stopped=[1])
    once, again = (draw_effects(PRIOR, TWO_BY_TWO, outcomes, [HIGH_IN_FIRST], seed=3) for _ in range(2))
    np.testing.assert_array_equal(once, again)


def test_all_columns_lie_above_their_bounds_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    draws = random.normal(size=(4000, 12)) @ random.normal(size=(12, 12))
    draws[:, 0] = -np.exp(draws[:, 0])  # a long tail
    above = (draws >= bound(draws, alpha=0.1)).all(axis=1).mean()
    assert above == pytest.approx(0.9, abs=0.01)


def test_the_bound_of_one_column_is_its_quantile() -> None:
    draws = np.random.default_rng(2).normal(size=(4000, 1))
    assert bound(draws, alpha=0.05)[0] == pytest.approx(np.quantile(draws[:, 0], 0.05), abs=0.01)


def test_a_column_of_more_weight_has_the_closer_bound_and_all_hold_together_as_before() -> None:
    draws = np.random.default_rng(3).normal(size=(20_000, 2))
    bounds = bound(draws, alpha=0.04, weights=np.array([3.0, 1.0]))
    assert bounds == pytest.approx([np.quantile(draws[:, 0], 0.03), np.quantile(draws[:, 1], 0.01)], abs=0.03)
    assert (draws >= bounds).all(axis=1).mean() == pytest.approx(0.96, abs=0.002)
