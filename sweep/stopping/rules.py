"""DropOff: whether a run has fallen from its own peak, judged by the NDCG of each query.

A run is compared with itself alone. Each query is measured at the peak and now, so the noise of their difference is
known and a threshold need not be guessed: the run is stopped when the fall exceeds a margin by more than that noise
allows, with the chance of a false stop shared out over all the looks at the run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class Fall:
    """The numbers behind a verdict.

    Attributes:
        peak: Highest mean NDCG so far.
        now: Mean NDCG of the last measurement.
        standard_error: Of the paired difference over queries.
        threshold: Standard errors by which the fall has to exceed the margin.
        excess: Standard errors by which it does.
    """

    peak: float
    now: float
    standard_error: float
    threshold: float
    excess: float

    @property
    def fallen(self) -> bool:
        """Whether the fall is beyond the margin and the noise."""
        return self.excess > self.threshold


@dataclass(frozen=True, kw_only=True)
class DropOff:
    """The drop-off rule.

    The run is stopped when mean(peak - now) - margin exceeds z(1 - alpha / looks) standard errors of the paired
    difference, where looks is how often the run is measured in all (Bonferroni).

    Attributes:
        margin: Fall in mean NDCG that does not matter, in [0, 1).
        alpha: Chance of stopping a run that has not fallen by more than the margin, over all looks, in (0, 0.5).
        grace: Progress after the warm-up during which measurements set the peak but cannot stop.
    """

    margin: float = 0.01
    alpha: float = 0.05
    grace: float = 0.02

    def __post_init__(self) -> None:
        if not 0.0 <= self.margin < 1.0:
            raise ValueError(f"margin must lie in [0, 1), got {self.margin}")
        if not 0.0 < self.alpha < 0.5:
            raise ValueError(f"alpha must lie in (0, 0.5), got {self.alpha}")
        if not 0.0 <= self.grace <= 1.0:
            raise ValueError(f"grace must lie in [0, 1], got {self.grace}")

    def explain(
        self, progress: FloatArray, per_query: FloatArray, *, looks: int, not_before: float = 0.0
    ) -> Fall | None:
        """The numbers behind the verdict on the last measurement, or None where it cannot stop the run.

        Args:
            progress: (T,) progress in [0, 1], ascending.
            per_query: (T, Q) finite NDCG of each query at each measurement, the untrained model's first.
            looks: How often the run is measured in all.
            not_before: Progress at which the warm-up ends; the grace follows it.

        Returns:
            The fall; None for a single measurement, within warm-up and grace, or where the last one is the peak.

        Raises:
            ValueError: If the shapes disagree, ``looks`` is below 1, or a value is not finite.
        """
        if per_query.ndim != 2 or len(progress) != len(per_query) or not per_query.size:
            raise ValueError(f"per_query must be (T, Q) with T = {len(progress)}, got shape {per_query.shape}")
        if looks < 1:
            raise ValueError(f"looks must be at least 1, got {looks}")
        if not np.isfinite(per_query).all():
            raise ValueError("per_query must be finite; a run that is not has diverged")
        means = per_query.mean(axis=1, dtype=np.float64)
        peak = int(np.argmax(means))
        if progress[-1] < not_before + self.grace or peak == len(means) - 1:
            return None
        difference = per_query[peak].astype(np.float64) - per_query[-1]  # (Q,)
        queries = len(difference)
        error = float(np.std(difference, ddof=1) / math.sqrt(queries)) if queries > 1 else math.inf
        beyond = float(np.mean(difference)) - self.margin
        return Fall(
            peak=float(means[peak]),
            now=float(means[-1]),
            standard_error=error,
            threshold=NormalDist().inv_cdf(1.0 - self.alpha / looks),
            excess=beyond / error if error > 0.0 else math.inf if beyond > 0.0 else -math.inf,
        )
