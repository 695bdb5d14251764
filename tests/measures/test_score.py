from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from sweep.measures.score import Score

looks = arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(2, 12)), elements=st.floats(0, 1, width=32))


def brute_force(values, weights):
    """Weighted means and their covariance, query by query: the estimator of Hansen and Hurwitz for a ratio."""
    times, queries = values.shape
    total = sum(weights)
    means = [sum(weights[q] * float(values[t, q]) for q in range(queries)) / total for t in range(times)]
    covariance = np.zeros((times, times))
    for one in range(times):
        for other in range(times):
            for q in range(queries):
                rest = (float(values[one, q]) - means[one]) * (float(values[other, q]) - means[other])
                covariance[one, other] += queries / (queries - 1) * (weights[q] / total) ** 2 * rest
    return means, covariance


@given(looks, st.lists(st.floats(0.1, 10), min_size=12, max_size=12))
def test_weighted_means_and_their_covariance_are_those_of_a_loop_over_queries(values, drawn):
    weights = np.array(drawn[: values.shape[1]])
    means, covariance = brute_force(values, drawn[: values.shape[1]])
    np.testing.assert_allclose(Score(values, weights).means, means, rtol=1e-12)
    np.testing.assert_allclose(Score(values, weights).covariance, covariance, rtol=1e-9, atol=1e-15)


@given(looks)
def test_without_weights_all_queries_count_the_same(values):
    plain, equal = Score(values), Score(values, np.full(values.shape[1], 3.0))
    np.testing.assert_array_equal(plain.means, np.mean(values, axis=1, dtype=np.float64))
    np.testing.assert_allclose(plain.covariance, np.atleast_2d(np.cov(values.astype(np.float64))) / values.shape[1])
    np.testing.assert_allclose(equal.means, plain.means, rtol=1e-12)
    np.testing.assert_allclose(equal.covariance, plain.covariance, rtol=1e-9, atol=1e-15)
    assert equal.freedom == pytest.approx(plain.freedom) == values.shape[1] - 1
    assert plain.mean == plain.means[-1] == Score(values[-1]).mean


def test_the_covariance_is_that_of_weighted_means_over_many_draws_of_queries():
    random = np.random.default_rng(0)
    population = np.stack([random.beta(2, 2, 4000), random.beta(1, 3, 4000)])
    population[1] = (population[0] + population[1]) / 2
    chance = population[0] + 0.2  # queries that are easy are drawn more often, and so count less
    draws = random.choice(4000, size=(3000, 80), p=chance / chance.sum())
    scores = [Score(population[:, rows], 1.0 / chance[rows]) for rows in draws]
    means = np.array([score.means for score in scores])
    np.testing.assert_allclose(means.mean(axis=0), population.mean(axis=1), atol=0.003)
    found = np.mean([score.covariance for score in scores], axis=0)
    np.testing.assert_allclose(found, np.cov(means.T), rtol=0.06)


def test_few_heavy_queries_tell_no_more_than_as_many_equal_ones():
    weights = np.array([1000.0, 1000.0, 1000.0, 0.001, 0.001])
    assert Score(np.arange(5.0), weights).freedom == pytest.approx(2.0, abs=0.01)


def test_the_interval_of_a_paired_difference_is_that_of_scipy():
    random = np.random.default_rng(1)
    first, second = random.random(400).astype(np.float32), random.random(400).astype(np.float32)
    gain = Score(second).minus(Score(first))
    difference = second.astype(np.float64) - first
    theirs = stats.norm.interval(0.9, difference.mean(), stats.sem(difference))
    assert (gain.mean, *gain.interval(0.9)) == pytest.approx((difference.mean(), *theirs))
    assert gain.standard_error == pytest.approx(stats.sem(difference))


def test_a_single_query_tells_nothing_of_the_noise():
    score = Score(np.array([0.5]))
    assert (score.mean, score.standard_error, score.freedom) == (0.5, math.inf, 0)
    assert score.interval() == (-math.inf, math.inf)
    assert score.covariance == 0.0


def test_a_value_that_is_not_a_number_makes_the_mean_none():
    assert math.isnan(Score(np.array([0.5, np.nan], dtype=np.float32)).mean)


def test_what_does_not_fit_is_refused():
    values = np.zeros((2, 3))
    for refused in (np.zeros(()), np.zeros(0), np.zeros((2, 0)), np.zeros((1, 2, 3))):
        with pytest.raises(ValueError, match=r"per_query must be \(Q,\) or \(T, Q\) with a query, got shape"):
            Score(refused)
    with pytest.raises(ValueError, match=r"weights must be \(3,\), got shape \(2,\)"):
        Score(values, np.ones(2))
    for weights in ([1.0, 0.0, 1.0], [1.0, np.inf, 1.0], [1.0, -1.0, 1.0], [np.nan, 1.0, 1.0]):
        with pytest.raises(ValueError, match="weights must be finite and above 0"):
            Score(values, np.array(weights))
    with pytest.raises(ValueError, match="confidence must lie in"):
        Score(values).interval(1.0)
    for other in (Score(values[0]), Score(values, np.ones(3))):
        with pytest.raises(ValueError, match="both scores must hold the same queries with the same weights"):
            Score(values).minus(other)
