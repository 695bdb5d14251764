"""The geometry of embeddings: cosines in bins, alignment and uniformity."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

COSINE_BINS = np.linspace(-1.0, 1.0, 41)
"""Edges of the bins in which cosines are counted: the same ones in every study, so that histograms can be compared."""

ROUNDING = 5e-7
"""Range of cosines that is rounding and nothing else: 4 units of float32 at 1."""

COLLAPSED_RANGE = 1e-5
"""Range of cosines within which rankings hang on the rounding, which differs with the size of a batch."""

COLLAPSED = "embeddings have collapsed: all cosines are equal to rounding, and rankings hang on that"


def has_collapsed(*ends: float) -> bool:
    """Whether cosines are equal to rounding, by percentiles of theirs; never where one is NaN."""
    return max(ends) - min(ends) <= COLLAPSED_RANGE and all(end == end for end in ends)


def count_cosines(cosines: NDArray[np.floating[Any]]) -> tuple[int, ...]:
    """(40,) how many cosines lie in each bin of `COSINE_BINS`; rounding beyond -1 and 1 is counted at the ends."""
    counts, _ = np.histogram(np.clip(cosines, -1.0, 1.0), bins=COSINE_BINS)
    return tuple(counts.tolist())


def alignment(cosines: NDArray[np.floating[Any]]) -> float:
    """(N,) cosines of positive pairs, of length 1 -> their mean squared distance in [0, 4], 0 where partners coincide.

    Wang and Isola, arXiv 2005.10242, alpha 2. NaN for no pair.
    """
    return 2.0 - 2.0 * float(np.mean(cosines, dtype=np.float64)) if len(cosines) else float("nan")


def uniformity(embeddings: NDArray[np.floating[Any]]) -> float:
    """(N, H) embeddings of length 1 -> logarithm of the mean Gaussian potential of all pairs of texts, in [-8, 0].

    The lower, the more evenly the texts lie on the sphere (Wang and Isola, arXiv 2005.10242, t 2). NaN for fewer than
    two texts.
    """
    if len(embeddings) < 2:
        return float("nan")
    cosines = embeddings @ embeddings.T
    above = cosines[np.triu_indices(len(embeddings), k=1)].astype(np.float64)
    return float(np.log(np.mean(np.exp(-2.0 * (2.0 - 2.0 * above)))))
