"""The validation loss of in-batch negatives, in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


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
