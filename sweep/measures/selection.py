"""Selection: how much too good the best of many measurements looks, since it was chosen by the figure that it shows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 400

_SEED = 0


def estimate_overstatement(per_query: NDArray[np.floating], weights: NDArray[np.float64] | None = None) -> float:
    """By how much the highest mean over queries is expected to lie above the true mean of the model that has it.

    The bootstrap over queries (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 17): on queries
    that are drawn again the best is chosen as it was, and its mean on these is compared with that on all of them.

    Args:
        per_query: (M, Q) values of M measurements that the best was chosen from, all on the same queries.
        weights: (Q,) weight of each query; None where all count the same.

    Raises:
        ValueError: If there is no measurement or no query.
    """
    if per_query.ndim != 2 or not per_query.size:
        raise ValueError(f"per_query must be (M, Q) with a measurement and a query, got shape {per_query.shape}")
    values = np.where(np.isfinite(per_query), per_query, 0.0).astype(np.float64)
    queries = values.shape[1]
    shares = np.full(queries, 1.0 / queries) if weights is None else weights / np.sum(weights)
    counts = np.random.default_rng(_SEED).multinomial(queries, np.full(queries, 1.0 / queries), size=RESAMPLES)
    resampled = counts * shares  # (R, Q)
    resampled /= resampled.sum(axis=1, keepdims=True)
    means = values @ resampled.T  # (M, R)
    chosen = means.argmax(axis=0)
    return float(np.mean(means[chosen, np.arange(RESAMPLES)] - (values @ shares)[chosen]))
