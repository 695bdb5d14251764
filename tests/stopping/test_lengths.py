"""What a search leaves of its total, divided among longer trials."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sweep.measures.score import Score
from sweep.stopping.lengths import carry_rate, has_paid, plan_lengths


@pytest.mark.parametrize(
    ("left", "most", "planned"),
    [
        (1199.0, 9, [(2, 2), (4, 1)]),  # 400 + 400 leave 399: too little for a third of 400
        (199.0, 9, []),
        (200.0, 9, [(2, 1)]),
        (5000.0, 2, [(2, 2), (4, 2)]),
        (math.inf, 3, [(2, 2), (4, 2), (8, 2)]),
        (5000.0, 0, []),
    ],
)
def test_lengths_double_for_as_long_as_a_trial_fits(left: float, most: int, planned: list[tuple[int, int]]) -> None:
    assert list(plan_lengths(left, 100, most=most)) == planned


def test_a_doubling_has_paid_unless_it_is_proved_to_be_worse() -> None:
    random = np.random.default_rng(0)
    shorter = Score(random.uniform(0.4, 0.8, 200))
    other = random.normal(0.0, 0.1, 200)
    other -= other.mean()
    for gain, paid in ((0.05, True), (0.0, True), (-0.01, True), (-0.02, False), (-0.1, False)):
        assert has_paid(Score(shorter.per_query + other + gain), shorter) is paid  # the interval is 0.014 to each side


def test_a_run_that_fell_hands_on_twice_the_rate_that_it_had_spent_at_its_peak() -> None:
    random = np.random.default_rng(1)
    peak = Score(random.uniform(0.4, 0.8, 200))
    noise = random.normal(0.0, 0.1, 200)
    noise -= noise.mean()
    for fall, rate in ((0.0, 1e-4), (0.01, 1e-4), (0.02, 3e-5)):  # the interval is 0.014 to each side
        end = Score(peak.per_query + noise - fall)
        assert carry_rate(1e-4, at_peak=peak, at_end=end, spent=0.3) == pytest.approx(rate)
