"""Retrieval metrics on ranked relevance grades: NumPy in, NumPy out, no model."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def ndcg_at_k(ranked: FloatArray, judged: FloatArray, k: int = 10) -> FloatArray:
    """Normalised discounted cumulative gain of each query's first ``k`` documents.

    Gains are linear and the discount of rank ``r`` (from 1) is ``1 / log2(r + 1)``,
    as in trec_eval and BEIR; a grade of 2 is worth twice a grade of 1. Sentence
    Transformers' own evaluator knows only relevant or not, so the two differ on
    graded judgements.

    Args:
        ranked: (Q, D) grade of the document each query ranks at each place, best
            place first; 0 where the document is not judged.
        judged: (Q, J) every grade judged for the query, in any order, padded with 0.
        k: Depth of the cut-off, in documents.

    Returns:
        (Q,) scores in [0, 1]. A query with nothing relevant scores 0.

    Raises:
        ValueError: If ``k`` is below 1, or the two arrays disagree on Q.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if ranked.shape[0] != judged.shape[0]:
        raise ValueError(f"ranked has {ranked.shape[0]} queries but judged has {judged.shape[0]}")
    gained = _dcg(ranked[:, :k])
    ideal = _dcg(-np.sort(-judged, axis=1)[:, :k])
    return np.divide(gained, ideal, out=np.zeros_like(gained), where=ideal > 0)


def rank_top_k(scores: NDArray[np.floating[Any]], k: int) -> NDArray[np.int64]:
    """Columns of the ``k`` highest scores of each row, best first.

    Ties go to the earlier column, so the ranking is deterministic. trec_eval breaks ties in favour of the later
    document id: order the columns by document id, descending, and the two agree.

    Args:
        scores: (Q, D) finite scores, higher is better.
        k: Depth of the ranking; D where D is smaller.

    Returns:
        (Q, min(k, D)) column indices.

    Raises:
        ValueError: If ``k`` is below 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    queries, documents = scores.shape
    k = min(k, documents)
    thresholds = np.partition(scores, documents - k, axis=1)[:, documents - k]  # (Q,) the k-th highest score
    top = np.empty((queries, k), dtype=np.int64)
    for row, threshold in enumerate(thresholds):
        candidates = np.flatnonzero(scores[row] >= threshold)  # ties with the threshold included
        top[row] = candidates[np.argsort(-scores[row, candidates], kind="stable")[:k]]
    return top


def paired_interval(
    first: NDArray[np.floating[Any]], second: NDArray[np.floating[Any]], confidence: float = 0.95
) -> tuple[float, float, float]:
    """Mean difference of two models on the same queries, with its interval.

    The interval is the normal approximation to the paired difference over queries.

    Args:
        first: (Q,) a metric of the first model.
        second: (Q,) the same of the second, in the same order.
        confidence: Coverage of the interval, in (0, 1).

    Returns:
        The mean of ``second - first``, and the interval's low and high end; infinite for a single query.

    Raises:
        ValueError: If the shapes differ or hold no query, or ``confidence`` is out of range.
    """
    if first.shape != second.shape or not first.size:
        raise ValueError(f"first and second must hold the same queries, got shapes {first.shape} and {second.shape}")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must lie in (0, 1), got {confidence}")
    difference = second.astype(np.float64) - first
    error = float(np.std(difference, ddof=1)) / len(difference) ** 0.5 if len(difference) > 1 else float("inf")
    mean, half = float(difference.mean()), NormalDist().inv_cdf(0.5 + confidence / 2) * error
    return mean, mean - half, mean + half


def _dcg(grades: FloatArray) -> FloatArray:
    """(Q, D) grades in rank order -> (Q,) discounted sum."""
    ranks = np.arange(1, grades.shape[1] + 1)
    return grades @ (1.0 / np.log2(ranks + 1.0))
