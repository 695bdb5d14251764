"""The drop-off rule where only the mean of each measurement is known: the noise is estimated from the curve itself.

What two looks have in common is not seen in the means, so what was found in recorded runs is assumed: a run's noise
wanders, each look adding to it as much as the one before. Its size follows from the second differences of the curve,
in which a steady rise or fall cancels; their median is taken, so that a sudden fall is not mistaken for noise. That is
little to go by: a fall is seen later than by the value of each query.
"""

from __future__ import annotations

import numpy as np

from sweep.stopping.rules import DropOff, Fall, Float64Array, FloatArray

MEDIAN_OF_NORMAL = 0.6745
"""Median of the absolute value of a standard normal variable."""

EFFICIENCY = 0.37
"""Of the median of absolute values as an estimate of a normal spread, against the mean square."""


def explain_means(rule: DropOff, progress: FloatArray, means: FloatArray, not_before: float = 0.0) -> Fall:
    """The numbers behind whether a run has fallen at the last of its means.

    Args:
        rule: The drop-off rule.
        progress: (T,) progress in [0, 1], ascending.
        means: (T,) mean of each measurement, on a scale on which the rule's margin is meant; what is not finite counts
            as 0.
        not_before: Progress at which the warm-up ends; the grace follows it.

    Returns:
        The numbers; with fewer than four measurements there is no estimate of the noise, and no stop.

    Raises:
        ValueError: If the shapes disagree, nothing was measured, or progress does not ascend.
    """
    points, values = np.asarray(progress, dtype=np.float64), np.asarray(means, dtype=np.float64)
    if values.ndim != 1 or points.shape != values.shape or not values.size:
        raise ValueError(f"means must be (T,) with T = {len(points)}, got shape {values.shape}")
    if np.any(np.diff(points) <= 0) or not np.isfinite(points).all():
        raise ValueError("progress must ascend")
    values = np.where(np.isfinite(values), values, 0.0)
    spread, freedom = estimate_step(values)
    looks = np.arange(1, len(values) + 1, dtype=np.float64)
    return rule.assess(points, values, spread**2 * np.minimum.outer(looks, looks), freedom, not_before)


def estimate_step(means: Float64Array) -> tuple[float, int]:
    """Standard deviation of what the noise adds from one look to the next, and its degrees of freedom.

    Args:
        means: (T,) finite means.

    Returns:
        The deviation, and 0 degrees of freedom where fewer than four looks leave it unknown.
    """
    if len(means) < 4:
        return 0.0, 0
    bends = np.abs(np.diff(means, n=2))  # (T - 2,) each of twice the variance of one step
    return float(np.median(bends)) / MEDIAN_OF_NORMAL / np.sqrt(2.0), max(1, round(EFFICIENCY * len(bends)))
