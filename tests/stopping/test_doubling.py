"""What a search leaves of its total, divided among longer trials."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sweep.measures.score import Score
from sweep.stopping.doubling import carry_rate, has_paid, plan_lengths


@pytest.mark.parametrize(
    ("left", "most", "planned"),
    [
        (1399.0, 9, [2, 4]),  # 200 + 400 leave 799
        (1400.0, 9, [2, 4, 8]),
        (199.0, 9, []),
        (200.0, 9, [2]),
        (5000.0, 2, [2, 4]),
        (math.inf, 3, [2, 4, 8]),
        (5000.0, 0, []),
    ],
)
def test_lengths_double_for_as_long_as_a_trial_fits(left: float, most: int, planned: list[int]) -> None:
    assert list(plan_lengths(left, 100, most=most)) == planned


def test_a_doubling_has_paid_or_has_not_where_the_interval_tells() -> None:
    random = np.random.default_rng(0)
    shorter = Score(random.uniform(0.4, 0.8, 200))
    other = random.normal(0.0, 0.1, 200)
    other -= other.mean()
    for gain, paid in ((0.05, True), (0.02, True), (0.01, None), (0.0, None), (-0.01, None), (-0.02, False)):
        assert has_paid(Score(shorter.per_query + other + gain), shorter) is paid  # the interval is 0.014 to each side


def test_a_run_that_fell_hands_on_twice_the_rate_that_it_had_spent_at_its_peak() -> None:
    random = np.random.default_rng(1)
    peak = Score(random.uniform(0.4, 0.8, 200))
    noise = random.normal(0.0, 0.1, 200)
    noise -= noise.mean()
    for fall, rate in ((0.0, 1e-4), (0.01, 1e-4), (0.02, 3e-5)):  # the interval is 0.014 to each side
        end = Score(peak.per_query + noise - fall)
        assert carry_rate(1e-4, at_peak=peak, at_end=end, spent=0.3) == pytest.approx(rate)
