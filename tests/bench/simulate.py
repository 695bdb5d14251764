"""Curves whose truth is known: what a stopping rule is held against, and what tells how small a fall can be seen.

A query's NDCG@10 is that of one relevant document: it follows from a rank, and the rank from a hidden score. So values
are tied and heaped at 0 and 1 as real ones are, many queries stay there all along, and the true mean of every look can
be set exactly. The hidden score has a part of the query's own that all looks share, a part of each look's own, and a
part that wanders with progress, as it was found in recorded runs: a model's answers drift while it trains, so that
looks close together differ little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Float64Array = NDArray[np.float64]

RANKS = np.arange(1, 11)
GAINS = 1.0 / np.log2(RANKS + 1.0)
"""NDCG@10 of a query whose one relevant document has rank 1 to 10."""

STEPS = -0.35 * np.log2(RANKS)
"""Hidden score above which the document has at most that rank; with it the values spread as in recorded runs."""

SHAPES: Mapping[str, Sequence[tuple[float, float]]] = {
    "flat": [(0.0, 0.0)],
    "rise": [(0.0, 0.0), (0.1, 0.5), (0.25, 0.8), (0.5, 0.95), (1.0, 1.0)],
    "slow rise": [(0.0, 0.0), (1.0, 1.0)],
    "dip, then rise": [(0.0, 0.0), (0.05, -1.0), (0.1, 0.0), (0.4, 0.8), (1.0, 1.0)],
    "plateau": [(0.0, 0.0), (0.2, 1.0), (1.0, 1.0)],
    "slow fall": [(0.0, 0.0), (0.1, 0.0), (1.0, -1.0)],
    "hard fall": [(0.0, 0.0), (0.3, 0.0), (0.35, -1.0), (1.0, -1.0)],
    "collapse": [(0.0, 0.0), (0.3, 0.0), (0.35, -6.0), (1.0, -6.0)],
    "fall and recovery": [(0.0, 0.0), (0.3, 0.0), (0.4, -1.0), (0.6, -1.0), (0.7, 0.0), (1.0, 0.0)],
}
"""What happens in a run, as (progress, height) with straight lines between; the dip is over before 0.1."""

_SCORES = np.linspace(-8.0, 12.0, 4001)


@dataclass(frozen=True, kw_only=True)
class Noise:
    """The variance of the hidden score, which adds up to 1 at the end of a run.

    Attributes:
        shared: Of a query's own part, the same at all looks.
        look: Of each look's own part, independent of all others.
        wander: Of the part that wanders, at the end of the run; it grows in proportion to progress.
    """

    shared: float
    look: float
    wander: float = 0.0

    def __post_init__(self) -> None:
        if min(self.shared, self.look, self.wander) < 0.0 or not np.isclose(self.shared + self.look + self.wander, 1.0):
            raise ValueError(f"the parts must be at least 0 and add up to 1, got {self}")


def correlated(correlation: float) -> Noise:
    """Noise with a given correlation of the hidden score between any two looks."""
    return Noise(shared=correlation, look=1.0 - correlation)


def simulate_run(
    truth: Float64Array, progress: Float64Array, *, queries: int, noise: Noise, random: np.random.Generator
) -> Float64Array:
    """One run.

    Args:
        truth: (T,) true mean NDCG@10 of each look, in (0, 1).
        progress: (T,) progress of each look in [0, 1].
        queries: Queries, Q.
        noise: The parts of the hidden score.
        random: Where the noise comes from.

    Returns:
        (T, Q) NDCG@10 of each query; over draws of queries its mean is the truth.
    """
    looks = len(truth)
    spread = np.sqrt(noise.shared + noise.look + noise.wander * progress)  # (T,)
    scores = np.sqrt(noise.shared) * random.standard_normal(queries)
    scores = scores + np.sqrt(noise.look) * random.standard_normal((looks, queries))
    if noise.wander:
        steps = np.sqrt(noise.wander * np.diff(progress, prepend=0.0))
        scores = scores + np.cumsum(steps[:, None] * random.standard_normal((looks, queries)), axis=0)
    scores += _find_level(truth, spread)[:, None]
    ranked_within = np.searchsorted(-STEPS, -scores, side="right")  # 0: rank 1; 10: not among the first ten
    values: Float64Array = np.append(GAINS, 0.0)[ranked_within]
    return values


def _find_level(truth: Float64Array, spread: Float64Array) -> Float64Array:
    """(T,) level of the hidden score at which the mean NDCG is the truth."""
    levels = np.empty_like(truth)
    for value in np.unique(spread):
        means = mean_ndcg(_SCORES, value)
        here = spread == value
        levels[here] = np.interp(truth[here], means, _SCORES)
    return levels


def mean_ndcg(level: Float64Array, spread: float) -> Float64Array:
    """Mean NDCG@10 where the hidden score is normal about ``level`` with standard deviation ``spread``."""
    drops = -np.diff(GAINS, append=0.0)  # what a query loses from one rank to the next
    reached = ndtr((level[:, None] - STEPS) / spread)  # (L, 10) chance of at most each rank
    means: Float64Array = reached @ drops
    return means


def true_means(shape: str, progress: Float64Array, *, base: float = 0.7, size: float = 0.1) -> Float64Array:
    """(T,) true mean NDCG@10 of a run of a shape.

    Args:
        shape: A name in `SHAPES`.
        progress: (T,) progress in [0, 1].
        base: NDCG@10 of the untrained model.
        size: NDCG@10 by which the run rises, dips or falls.
    """
    knots, heights = zip(*SHAPES[shape], strict=True)
    means: Float64Array = base + size * np.interp(progress, knots, heights)
    return means
