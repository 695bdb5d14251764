"""DropOff: whether a run has fallen from its own peak, by the value of each query.

A run is compared with itself alone. Each query is measured at every look, so the noise of every difference between two
looks is known and a threshold need not be guessed. The question at a look is whether the run's true mean now is more
than a margin below its true best so far. Three things make it hard, and each has its answer here:

- The peak is chosen because it is high, so its measured value is too high. Every earlier look is therefore compared
  with the last one, and the chance of a false stop is shared out among these comparisons.
- The comparisons hang together: they share the last look, and a model's answers to the queries wander, so that looks
  that lie close together differ little. What they amount to is counted by the eigenvalues of their correlations
  (Galwey, Genetic Epidemiology 33, 2009), which the queries tell.
- A run is looked at many times, and how many looks are still to come is not known. The chance is therefore spent along
  the run's progress (alpha spending; Lan and DeMets, Biometrika 70, 1983), in proportion to its square root: sooner
  rather than later, since an early stop saves more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from sweep.measures.score import Score

FloatArray = NDArray[np.floating]
Float64Array = NDArray[np.float64]

ROUNDING = 1e-9
"""Difference of two means that is rounding and no fall: vectors are recorded in single precision."""


@dataclass(frozen=True, kw_only=True)
class Fall:
    """The numbers behind whether a run has fallen.

    The difference, its standard error and its interval are those of the comparison that says most against the run.

    Attributes:
        peak: Highest mean so far.
        peak_progress: Progress in [0, 1] at which it was measured.
        now: Mean of the last measurement.
        against: Progress of the earlier measurement that the last one is compared with.
        difference: Mean there less that of now.
        standard_error: Of that paired difference over queries.
        interval: Of that difference, at the level of this look: all comparisons of all looks hold together.
        threshold: Standard errors by which the difference has to exceed the margin.
        excess: Standard errors by which it does.
        level: The smallest alpha at which that is enough.
        looks: Measurements so far, this one included.
        can_stop: Whether the warm-up and the grace are over.
    """

    peak: float
    peak_progress: float
    now: float
    against: float
    difference: float
    standard_error: float
    interval: tuple[float, float]
    threshold: float
    excess: float
    level: float
    looks: int
    can_stop: bool

    @property
    def fallen(self) -> bool:
        """Whether the fall is beyond the margin and the noise, and the run may be stopped."""
        return self.can_stop and self.excess > self.threshold


@dataclass(frozen=True, kw_only=True)
class CurveRule:
    """The settings of a rule on a run's own curve.

    Attributes:
        margin: Fall or gain in the mean that does not matter, in [0, 1).
        alpha: Chance of the rule's error, in (0, 0.5).
        grace: Progress after the warm-up during which measurements set the peak but cannot stop, in [0, 1].
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


@dataclass(frozen=True, kw_only=True)
class DropOff(CurveRule):
    """The drop-off rule: whether a run has fallen.

    Its margin is a fall that does not matter; its alpha the chance, over all looks at a run, of stopping one that has
    never been more than the margin below its best.
    """

    def assess(
        self, progress: Float64Array, means: Float64Array, covariance: Float64Array, freedom: float, not_before: float
    ) -> Fall:
        """The rule at the last measurement, by the means of all and their covariance, as `summarize` gives them.

        Args:
            progress: (T,) progress in [0, 1], ascending.
            means: (T,) mean of each measurement.
            covariance: (T, T) covariance of the means.
            freedom: Degrees of freedom that the covariance was estimated with, at least 0.
            not_before: Progress at which the warm-up ends; the grace follows it.
        """
        peak = int(np.argmax(means))
        share = self._spend(progress, not_before)
        differences = means[:-1] - means[-1]  # (T - 1,)
        errors = _standard_errors(covariance)
        excess = _divide(differences - self.margin, errors)
        against = int(np.argmax(excess)) if len(excess) else 0
        strongest = float(excess[against]) if len(excess) else -math.inf
        comparisons = _count_effective(covariance) if len(excess) else 1.0
        threshold, level = math.inf, math.inf
        if freedom and share > 0.0:
            threshold = float(-stdtrit(freedom, self.alpha * share / comparisons))
            level = float(stdtr(freedom, -strongest)) * comparisons / share
        difference = float(differences[against]) if len(excess) else 0.0
        error = float(errors[against]) if len(excess) else math.inf
        width = threshold * error if error > 0.0 else 0.0
        return Fall(
            peak=float(means[peak]),
            peak_progress=float(progress[peak]),
            now=float(means[-1]),
            against=float(progress[against]),
            difference=difference,
            standard_error=error,
            interval=(difference - width, difference + width),
            threshold=threshold,
            excess=strongest,
            level=level,
            looks=len(means),
            can_stop=bool(progress[-1] >= not_before + self.grace),
        )

    def _spend(self, progress: Float64Array, not_before: float) -> float:
        """The share of alpha that the last look may spend: what has come due since the last one that could stop."""
        now, start = float(progress[-1]), not_before + self.grace
        if now < start or not_before >= 1.0:
            return 0.0
        before = float(progress[-2]) if len(progress) > 1 and progress[-2] >= start else not_before
        due = [math.sqrt(min(1.0, max(0.0, (point - not_before) / (1.0 - not_before)))) for point in (before, now)]
        return due[1] - due[0]


def summarize(
    progress: FloatArray, per_query: FloatArray, weights: FloatArray | None = None
) -> tuple[Float64Array, Float64Array, float]:
    """The means of the measurements (T,), the covariance of these (T, T), and its degrees of freedom.

    Args:
        progress: (T,) progress in [0, 1], ascending.
        per_query: (T, Q) value of each query at each measurement, the untrained model's first. What is not finite
            counts as 0: a model whose embeddings are not finite retrieves nothing.
        weights: (Q,) weight of each query; None where all count the same.

    Raises:
        ValueError: If the shapes disagree, nothing was measured, or progress does not ascend.
    """
    values = np.asarray(per_query, dtype=np.float64)
    if values.ndim != 2 or len(progress) != len(values) or not values.size:
        raise ValueError(f"per_query must be (T, Q) with T = {len(progress)}, got shape {values.shape}")
    if np.any(np.diff(progress) <= 0) or not np.isfinite(progress).all():
        raise ValueError("progress must ascend")
    score = Score(np.where(np.isfinite(values), values, 0.0), weights)
    return score.means, score.covariance, score.freedom


def _standard_errors(covariance: Float64Array) -> Float64Array:
    """(T - 1,) standard error of the difference between each earlier mean and the last."""
    variances = np.diagonal(covariance)[:-1] + covariance[-1, -1] - 2.0 * covariance[:-1, -1]
    return np.sqrt(np.where(variances > ROUNDING**2, variances, 0.0))


def _divide(differences: Float64Array, errors: Float64Array) -> Float64Array:
    """Differences in standard errors; infinite where there is no noise."""
    certain = np.where(differences > ROUNDING, np.inf, -np.inf)
    return np.divide(differences, errors, out=certain, where=errors > 0.0)


def _count_effective(covariance: Float64Array) -> float:
    """Number of independent comparisons, at least 1, that those of the last look with each earlier one amount to."""
    joint = covariance[:-1, :-1] - covariance[:-1, -1:] - covariance[-1:, :-1] + covariance[-1, -1]
    scale = np.sqrt(np.maximum(np.diagonal(joint), 0.0))
    known = scale > ROUNDING
    if not known.any():
        return 1.0
    correlation = joint[np.ix_(known, known)] / np.outer(scale[known], scale[known])
    roots = np.sqrt(np.clip(np.linalg.eigvalsh(correlation), 0.0, None))
    return float(max(1.0, roots.sum() ** 2 / np.sum(roots**2)))
