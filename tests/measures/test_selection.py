from __future__ import annotations

import numpy as np
import pytest

from sweep.measures.selection import estimate_overstatement


@pytest.mark.parametrize(("models", "queries"), [(4, 50), (24, 50), (24, 400)])
def test_the_estimate_is_about_what_the_best_loses_on_other_queries(models, queries):
    """Models that are all equally good: the best one's lead is luck alone."""
    random = np.random.default_rng(3)
    lost, estimated = [], []
    for _ in range(200 if queries < 400 else 60):
        values = 0.7 + 0.3 * random.standard_normal(queries) + 0.15 * random.standard_normal((models, queries))
        lost.append(values.mean(axis=1).max() - 0.7)
        estimated.append(estimate_overstatement(values))
    assert 0.4 * np.mean(lost) < np.mean(estimated) < 1.2 * np.mean(lost)  # the bootstrap says too little rather


def test_nothing_is_lost_where_one_model_is_far_ahead():
    values = np.random.default_rng(0).random((3, 4000)) * 0.1
    values[1] += 0.5
    assert abs(estimate_overstatement(values)) < 0.002


def test_weights_count_and_the_estimate_is_always_the_same():
    random = np.random.default_rng(1)
    values = random.random((5, 60))
    weights = np.where(np.arange(60) < 10, 100.0, 1e-6)
    assert estimate_overstatement(values, weights) > estimate_overstatement(values)
    assert estimate_overstatement(values) == estimate_overstatement(values)


def test_what_is_not_finite_is_not_chosen():
    values = np.stack([np.full(9, np.nan), np.full(9, 0.5)])
    assert estimate_overstatement(values) == pytest.approx(0.0)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (5,)])
def test_a_choice_among_nothing_is_refused(shape):
    with pytest.raises(ValueError, match="with a measurement and a query"):
        estimate_overstatement(np.zeros(shape))
