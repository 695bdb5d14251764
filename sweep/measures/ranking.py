"""Rankings: the best documents of each query with ties as in trec_eval, and the gain of their grades."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def rank_top_k(scores: NDArray[np.floating[Any]], k: int) -> NDArray[np.int64]:
    """(Q, min(k, D)) column indices of the ``k`` highest scores of each row, best first.

    Ties go to the earlier column, so the ranking is deterministic. trec_eval breaks ties in favour of the later
    document id: order the columns by document id, descending, and the two agree.

    Args:
        scores: (Q, D) scores, higher is better; none is NaN.
        k: Depth of the ranking.

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


def discounted_gain(grades: FloatArray) -> FloatArray:
    """(Q, D) grades in rank order -> (Q,) sum of the gains, each over the discount of its rank.

    The gain of a grade is the grade, and that of a grade below 0 is 0; the discount of rank ``r`` (from 1) is
    ``log2(r + 1)``: as in trec_eval and BEIR.
    """
    ranks = np.arange(1, grades.shape[1] + 1)
    return np.maximum(grades, 0.0) @ (1.0 / np.log2(ranks + 1.0))


def is_relevant(grades: FloatArray) -> NDArray[np.bool_]:
    """The grades that are relevant where a measure knows only relevant or not: those above 0, as in trec_eval."""
    return grades > 0


def count_relevant(judged: FloatArray) -> FloatArray:
    """(Q, J) judged grades -> (Q,) relevant documents of each query, at least 1 so that shares of them are defined."""
    counts: FloatArray = np.maximum(np.count_nonzero(is_relevant(judged), axis=1), 1).astype(np.float64)
    return counts
