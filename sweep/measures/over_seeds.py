"""Means over trainings and queries: the interval of a configuration's value that holds the luck of both."""

from __future__ import annotations

import math
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
    training have between them is in both, so it is a little too large rather than too small. Each part reaches as far
    as its own degrees of freedom say, and the squares of the two reaches are added (Graybill and Wang, Journal of the
    American Statistical Association 75, 1980): with one number of degrees for both (Satterthwaite, 1946), three
    trainings of which one was chosen for its luck held the truth in 91 % of studies where seeds differ most.

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
    of_queries = float(stdtrit(queries.freedom, 0.975)) * queries.standard_error
    of_seeds = float(stdtrit(len(means) - 1, 0.975)) * float(np.std(means, ddof=1)) / math.sqrt(len(means))
    half = math.hypot(of_queries, of_seeds)
    return SeedMean(queries.mean, queries.mean - half, queries.mean + half)
