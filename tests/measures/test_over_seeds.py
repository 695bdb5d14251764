from __future__ import annotations

import numpy as np
import pytest

from sweep.measures.over_seeds import mean_over_seeds
from sweep.measures.score import Score


def simulate(random, *, seeds, queries, of_query, of_seed, of_both):
    """(S, Q) values with a true mean of 0.1."""
    by_query, by_seed = of_query * random.standard_normal(queries), of_seed * random.standard_normal(seeds)
    return 0.1 + by_query[None] + by_seed[:, None] + of_both * random.standard_normal((seeds, queries))


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("queries", [50, 1000])
@pytest.mark.parametrize("noise", [(0.3, 0.003, 0.1), (0.3, 0.01, 0.1), (0.2, 0.03, 0.1), (0.3, 0.0, 0.05)])
def test_the_interval_holds_the_truth_as_often_as_it_says(seeds, queries, noise):
    random, runs = np.random.default_rng(5), 1000
    of_query, of_seed, of_both = noise
    held = 0
    for _ in range(runs):
        values = simulate(random, seeds=seeds, queries=queries, of_query=of_query, of_seed=of_seed, of_both=of_both)
        found = mean_over_seeds(values)
        held += found.low <= 0.1 <= found.high
    assert held / runs >= 0.95 - 2 * np.sqrt(0.05 * 0.95 / runs)


def test_equal_trainings_leave_the_interval_of_the_queries():
    values = np.random.default_rng(0).random(2000)
    found, plain = mean_over_seeds(np.stack([values, values, values])), Score(values)
    assert found.mean == pytest.approx(plain.mean)
    assert (found.low, found.high) == pytest.approx(plain.interval(), abs=1e-4)


def test_weights_count():
    values = np.array([[0.0, 1.0], [0.0, 1.0]])
    assert mean_over_seeds(values, np.array([3.0, 1.0])).mean == pytest.approx(0.25)


def test_no_noise_leaves_a_point():
    assert mean_over_seeds(np.full((2, 4), 0.5)) == mean_over_seeds(np.full((3, 9), 0.5))


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (5,)])
def test_a_single_training_or_query_is_refused(shape):
    with pytest.raises(ValueError, match="with S and Q of at least 2"):
        mean_over_seeds(np.zeros(shape))
