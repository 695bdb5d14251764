"""Score: a measure over queries, with the only mean over queries and the only covariance of such means."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweep.measures.ranking import FloatArray


@dataclass(frozen=True, eq=False)
class Score:
    """A measure of a model over queries, at one look or at several.

    A weight says for how many queries of the population a query stands. The covariance is that of a weighted mean of
    queries which were drawn one by one with chances that go as the inverse of their weights (Hansen and Hurwitz, Annals
    of Mathematical Statistics 14, 1943, as a ratio to the sum of the weights). Where they were drawn by strata, or
    without replacement from a small population, it is too large rather than too small.

    Args:
        per_query: (Q,) values of one look or (T, Q) of T looks, of the same queries in the same order.
        weights: (Q,) finite weights above 0, on any scale; None where all queries count the same.

    Raises:
        ValueError: If there is no query, or the weights do not fit.
    """

    per_query: NDArray[np.floating[Any]]
    weights: NDArray[np.floating[Any]] | None = None

    def __post_init__(self) -> None:
        if self.per_query.ndim not in (1, 2) or not self.per_query.size:
            raise ValueError(f"per_query must be (Q,) or (T, Q) with a query, got shape {self.per_query.shape}")
        if self.weights is None:
            return
        if self.weights.shape != (self.queries,):
            raise ValueError(f"weights must be ({self.queries},), got shape {self.weights.shape}")
        if not (np.isfinite(self.weights).all() and (self.weights > 0).all()):
            raise ValueError("weights must be finite and above 0")

    @property
    def queries(self) -> int:
        """Number of queries, Q."""
        return int(self.per_query.shape[-1])

    @property
    def mean(self) -> float:
        """Mean over queries at the last look; NaN if the value of any query is NaN."""
        return float(self.means[-1])

    @cached_property
    def means(self) -> FloatArray:
        """(T,) mean over queries of each look."""
        values = self._values
        if self._shares is None:
            return np.asarray(np.mean(values, axis=1))
        return values @ self._shares

    @cached_property
    def covariance(self) -> FloatArray:
        """(T, T) covariance of the means, by how the queries differ; 0 for a single query, which tells nothing."""
        rest = self._values - self.means[:, None]
        others = max(1, self.queries - 1)
        if self._shares is None:
            return rest @ rest.T / (self.queries * others)
        rest = rest * self._shares
        return rest @ rest.T * (self.queries / others)

    @property
    def standard_error(self) -> float:
        """Of the mean at the last look; infinite for a single query."""
        return float(np.sqrt(self.covariance[-1, -1])) if self.queries > 1 else float("inf")

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the covariance: queries less one, of as many of equal weight as tell as much (Kish)."""
        return (self.queries if self._shares is None else 1.0 / float(np.sum(self._shares**2))) - 1.0

    def minus(self, other: Score) -> Score:
        """The paired difference, query by query, from another score of the same queries.

        Raises:
            ValueError: If the two are not of the same looks, queries and weights.
        """
        if self.per_query.shape != other.per_query.shape or not _are_equal(self.weights, other.weights):
            raise ValueError(
                f"both scores must hold the same queries with the same weights, got shapes {self.per_query.shape} and"
                f" {other.per_query.shape}"
            )
        return Score(self.per_query.astype(np.float64) - other.per_query, self.weights)

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Ends of the interval of the mean at the last look, by the normal approximation; infinite for a single query.

        Raises:
            ValueError: If ``confidence`` is not in (0, 1).
        """
        if not 0.0 < confidence < 1.0:
            raise ValueError(f"confidence must lie in (0, 1), got {confidence}")
        half = NormalDist().inv_cdf(0.5 + confidence / 2) * self.standard_error
        return self.mean - half, self.mean + half

    @cached_property
    def _values(self) -> FloatArray:
        """(T, Q)."""
        return np.atleast_2d(self.per_query).astype(np.float64)

    @cached_property
    def _shares(self) -> FloatArray | None:
        """(Q,) weights that sum to 1."""
        return None if self.weights is None else self.weights / np.sum(self.weights, dtype=np.float64)


def _are_equal(first: NDArray[Any] | None, second: NDArray[Any] | None) -> bool:
    if first is None or second is None:
        return first is second
    return np.array_equal(first, second)
