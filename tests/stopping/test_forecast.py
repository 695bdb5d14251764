from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sweep.stopping.forecast import Forecast, RecoveryForecast, spent_rate
from sweep.stopping.rules import summarize

QUERIES = 400
SPREAD = np.cumsum(np.random.default_rng(0).normal(0.0, 0.03, (20, QUERIES)), axis=0)
SPREAD -= SPREAD.mean(axis=1, keepdims=True)


def measure(*means: float) -> tuple[np.ndarray, np.ndarray]:
    """Progress (T,) up to 60 % and NDCG per query (T, Q) of a run with these means, whose noise wanders."""
    progress = np.linspace(0.0, 0.6, len(means))
    return progress, np.array([mean + SPREAD[place] for place, mean in enumerate(means)])


def explain(
    forecast: Forecast,
    progress: np.ndarray,
    per_query: np.ndarray,
    *,
    not_before: float = 0.0,
    scheduler: str = "linear",
) -> RecoveryForecast:
    means, covariance, _ = summarize(progress, per_query)
    return forecast.assess(progress, means, covariance, spent_rate(progress, not_before, scheduler), not_before)


@pytest.mark.parametrize(
    ("means", "cannot_recover"),
    [
        pytest.param([0.58, 0.6, 0.6, 0.58, 0.57, 0.56], True, id="falls"),
        pytest.param([0.595, 0.6, 0.602, 0.601, 0.601, 0.6], True, id="a plateau past its peak"),
        pytest.param([0.5, 0.52, 0.54, 0.56, 0.58, 0.6], False, id="rises: at its peak"),
        pytest.param([0.5, 0.52, 0.54, 0.56, 0.58, 0.579], False, id="rises, and only looks worse by noise"),
        pytest.param([0.6, 0.5, 0.52, 0.54, 0.56, 0.59], False, id="comes back fast enough"),
        pytest.param([0.6, 0.4, 0.4, 0.41, 0.41, 0.42], True, id="comes back too slowly"),
        pytest.param([0.5, 0.7, 0.69, 0.68, 0.67, 0.66], False, id="falls, but rose fast once, and may again"),
        pytest.param([0.5, 0.7, 0.6, 0.5, 0.4, 0.3], True, id="has fallen too far for that"),
        pytest.param([0.6, 0.5], False, id="too few measurements"),
    ],
)
def test_a_run_cannot_recover_when_it_has_no_way_left_to_a_new_peak(means: list[float], cannot_recover: bool) -> None:
    progress, per_query = measure(*means)
    assert explain(Forecast(grace=0.0), progress, per_query).cannot_recover is cannot_recover


def test_the_same_curve_has_further_to_go_where_more_of_the_rate_is_left() -> None:
    progress, per_query = measure(0.6, 0.5, 0.51, 0.52, 0.53, 0.55)
    linear = explain(Forecast(), progress, per_query, scheduler="linear")
    constant = explain(Forecast(), progress, per_query, scheduler="constant")
    assert linear.expected < constant.expected
    assert linear.highest < constant.highest


def test_the_gain_of_now_is_that_over_the_last_quarter_of_the_spent_rate() -> None:
    progress = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    per_query = np.repeat([[0.6], [0.5], [0.5], [0.5], [0.51], [0.52]], 4, axis=1)  # no noise at all
    recovery = explain(Forecast(grace=0.0), progress, per_query, scheduler="constant")
    # a quarter before 0.5 lies behind 0.2, where it stood at 0.5: 0.02 in 0.3, and half of the rate is left
    assert recovery.expected == pytest.approx(0.52 + 0.02 / 0.3 * 0.5)
    assert recovery.highest == pytest.approx(recovery.expected)
    assert recovery.needed == pytest.approx(0.61)
    assert recovery.cannot_recover


def test_the_gain_of_now_is_taken_over_three_measurements_at_least_however_far_apart_they_are() -> None:
    progress = np.array([0.0, 0.1, 0.2, 0.3, 0.6, 0.9])
    per_query = np.repeat([[0.6], [0.5], [0.4], [0.46], [0.5], [0.53]], 4, axis=1)
    recovery = explain(Forecast(grace=0.0), progress, per_query, scheduler="constant")
    # a quarter before 0.9 lies behind 0.6, one measurement back; three back is 0.2, where it stood at 0.4
    assert recovery.expected == pytest.approx(0.53 + 0.13 / 0.7 * 0.1)


def test_noise_raises_the_gain_of_now_and_half_of_it_may_wander() -> None:
    spent = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    recovery = Forecast().assess(spent, np.full(6, 0.5), 0.0001 * np.eye(6), spent, 0.0)
    # a flat curve, whose difference over the last 0.3 has a standard error of sqrt(0.0002) = 0.014142; at the level of
    # 95 % that is 0.023262, so the gain over the half that is left may be 0.023262 / 0.3 * 0.5 = 0.038769; and half of
    # the noise, 0.011631, wanders with the square root of 0.5 / 0.3: 0.015016
    assert recovery.expected == pytest.approx(0.5)
    assert recovery.highest == pytest.approx(0.5 + 0.038769 + 0.015016, abs=1e-6)


def test_the_fastest_gain_so_far_may_come_again() -> None:
    progress = np.array([0.0, 0.05, 0.2, 0.3, 0.4, 0.5])
    per_query = np.repeat([[0.5], [0.52], [0.53], [0.53], [0.52], [0.51]], 4, axis=1)
    recovery = explain(Forecast(grace=0.0), progress, per_query, scheduler="constant")
    # 0.02 in the first 0.05, which counts for 0.1: 0.2 for the whole rate, of which half is left
    assert recovery.highest == pytest.approx(0.51 + 0.2 * 0.5)


@pytest.mark.parametrize(("now", "cannot_recover"), [(0.6, True), (0.3, False)])
def test_warmup_and_grace_cannot_stop(now: float, cannot_recover: bool) -> None:
    _, per_query = measure(0.58, 0.6, 0.5, 0.45, 0.4)
    progress = np.linspace(0.0, now, 5)
    assert explain(Forecast(grace=0.02), progress, per_query, not_before=0.3).cannot_recover is cannot_recover


@pytest.mark.parametrize("scheduler", ["linear", "cosine", "constant", "cosine-with-floor"])
@pytest.mark.parametrize("warmup_end", [0.0, 0.1, 0.5])
def test_the_spent_rate_is_the_sum_of_the_rates_of_the_steps(scheduler: str, warmup_end: float) -> None:
    steps = 100_000
    middle = (np.arange(steps) + 0.5) / steps
    after = np.clip((middle - warmup_end) / (1.0 - warmup_end), 0.0, 1.0)
    wave = 0.5 * (1.0 + np.cos(np.pi * after))
    course = {
        "linear": 1.0 - after,
        "cosine": wave,
        "constant": np.ones(steps),
        "cosine-with-floor": 0.1 + 0.9 * wave,
    }[scheduler]
    rates = np.where(middle < warmup_end, middle / max(warmup_end, 1e-9), course)
    summed = np.concatenate([[0.0], np.cumsum(rates)]) / rates.sum()
    points = np.linspace(0.0, 1.0, 11)
    np.testing.assert_allclose(spent_rate(points, warmup_end, scheduler), summed[:: steps // 10], atol=1e-6)


def test_an_unknown_scheduler_is_refused() -> None:
    with pytest.raises(ValueError, match=r"scheduler must be one of linear, cosine, .*, got 'step'"):
        explain(Forecast(), *measure(0.5, 0.6), scheduler="step")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"margin": -0.01}, r"margin must lie in \[0, 1\), got -0\.01"),
        ({"alpha": 0.5}, r"alpha must lie in \(0, 0\.5\), got 0\.5"),
        ({"grace": 1.1}, r"grace must lie in \[0, 1\], got 1\.1"),
    ],
)
def test_a_forecast_that_does_not_stand_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Forecast(**settings)
