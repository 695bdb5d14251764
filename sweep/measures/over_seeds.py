"""Means over trainings and queries: the interval of a configuration's value that holds the luck of both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from sweep.measures.score import Score


@dataclass(frozen=True)
class SeedMean:
    """A mean over trainings and queries, with its 95 % interval."""

    mean: float
    low: float
    high: float


def mean_over_seeds(per_query: NDArray[np.floating], weights: NDArray[np.float64] | None = None) -> SeedMean:
    """The mean of a value over trainings that differ in their seeds, and over queries.

    Queries and seeds are crossed: each training is measured on every query. The variance of the mean is that of the
    queries' means over trainings, over Q, and that of the trainings' means over queries, over S; what a query and a
    training have between them is in both, so it is a little too large rather than too small. The degrees of freedom are
    those of the sum (Satterthwaite, Biometrics Bulletin 2, 1946).

    Args:
        per_query: (S, Q) value of each query for each of S trainings, at least two; a difference from another model,
            query by query, for the interval of a gain.
        weights: (Q,) weight of each query; None where all count the same.

    Raises:
        ValueError: If there are fewer than two trainings or queries.
    """
    if per_query.ndim != 2 or min(per_query.shape) < 2:
        raise ValueError(f"per_query must be (S, Q) with S and Q of at least 2, got shape {per_query.shape}")
    queries = Score(per_query.mean(axis=0), weights)
    means = Score(per_query, weights).means  # (S,)
    of_queries, of_seeds = queries.standard_error**2, float(np.var(means, ddof=1)) / len(means)
    total = of_queries + of_seeds
    if total == 0.0:
        return SeedMean(queries.mean, queries.mean, queries.mean)
    freedom = total**2 / (of_queries**2 / queries.freedom + of_seeds**2 / (len(means) - 1))
    half = float(stdtrit(freedom, 0.975)) * total**0.5
    return SeedMean(queries.mean, queries.mean - half, queries.mean + half)
