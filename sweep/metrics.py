"""Retrieval metrics on ranked relevance grades: NumPy in, NumPy out, no model."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

COSINE_BINS = np.linspace(-1.0, 1.0, 41)
"""Edges of the bins in which cosines are counted: the same ones in every study, so that histograms can be compared."""


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


def recall_at_k(ranked: FloatArray, judged: FloatArray, k: int) -> FloatArray:
    """Share of each query's relevant documents that are among its first ``k``; a grade above 0 is relevant.

    Args:
        ranked: (Q, D) grade of the document each query ranks at each place, best place first.
        judged: (Q, J) every grade judged for the query, padded with 0.
        k: Depth of the cut-off, in documents.

    Returns:
        (Q,) shares in [0, 1], as trec_eval's recall_k. A query with nothing relevant scores 0.
    """
    found = np.count_nonzero(ranked[:, :k] > 0, axis=1)
    relevant = np.count_nonzero(judged > 0, axis=1)
    shares: FloatArray = found / np.maximum(relevant, 1)
    return shares


def mrr_at_k(ranked: FloatArray, k: int = 10) -> FloatArray:
    """Reciprocal of the rank, from 1, at which each query has its first relevant document; 0 beyond ``k``.

    Args:
        ranked: (Q, D) grade of the document each query ranks at each place, best place first.
        k: Depth of the cut-off, in documents.

    Returns:
        (Q,) reciprocal ranks in [0, 1].
    """
    relevant = ranked[:, :k] > 0
    return np.where(relevant.any(axis=1), 1.0 / (relevant.argmax(axis=1) + 1.0), 0.0)


def count_cosines(cosines: NDArray[np.floating[Any]]) -> tuple[int, ...]:
    """(40,) how many cosines lie in each bin of `COSINE_BINS`; rounding beyond -1 and 1 is counted at the ends."""
    counts, _ = np.histogram(np.clip(cosines, -1.0, 1.0), bins=COSINE_BINS)
    return tuple(counts.tolist())


def alignment(cosines: NDArray[np.floating[Any]]) -> float:
    """Mean squared distance of positive pairs (Wang and Isola, arXiv 2005.10242, alpha 2), from their cosines.

    Args:
        cosines: (N,) cosines of the two embeddings of each pair, which have length 1.

    Returns:
        In [0, 4]; 0 where the partners coincide. NaN for no pair.
    """
    return 2.0 - 2.0 * float(np.mean(cosines, dtype=np.float64)) if len(cosines) else float("nan")


def uniformity(embeddings: NDArray[np.floating[Any]]) -> float:
    """Logarithm of the mean Gaussian potential of all pairs of texts (Wang and Isola, arXiv 2005.10242, t 2).

    Args:
        embeddings: (N, H) embeddings of length 1.

    Returns:
        In [-8, 0]; the lower, the more evenly the texts lie on the sphere. NaN for fewer than two texts.
    """
    if len(embeddings) < 2:
        return float("nan")
    cosines = embeddings @ embeddings.T
    above = cosines[np.triu_indices(len(embeddings), k=1)].astype(np.float64)
    return float(np.log(np.mean(np.exp(-2.0 * (2.0 - 2.0 * above)))))


def in_batch_loss(anchors: NDArray[np.floating[Any]], positives: NDArray[np.floating[Any]], *, scale: float) -> float:
    """Mean cross-entropy of finding each anchor's positive among those of its batch: what MultipleNegativesRanking is.

    Args:
        anchors: (S, B, H) embeddings of length 1, in S batches of B.
        positives: (S, B, H) those of their positives.
        scale: What the cosines are multiplied by.

    Returns:
        The loss in nats, at least 0; ln(B) for embeddings that tell nothing apart.
    """
    scores = scale * (anchors.astype(np.float64) @ positives.astype(np.float64).transpose(0, 2, 1))  # (S, B, B)
    highest = scores.max(axis=2, keepdims=True)
    normalizers = np.log(np.sum(np.exp(scores - highest), axis=2)) + highest[..., 0]
    return float(np.mean(normalizers - np.diagonal(scores, axis1=1, axis2=2)))


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
