"""Forecast: whether a run that is past its peak will beat it again, from its own curve and its rate schedule.

A fall need not be proved where a run has no way left to a new peak; and a proved fall is no reason to stop a run that
has one: runs at a high rate were seen to fall by 0.05 after their warm-up, far beyond the noise, and to rise far above
their old peak as the rate came down. What a run can still gain is bounded by how fast it gains and by how much training
is left, and training is measured by the learning rate that is spent: a run's value moves in proportion to it, and
wanders with its square root. So a run is taken to gain over the rate that is left as fast as it gains now, with the
noise of that over queries, or as fast as it ever did, whichever is more.

Tried on the first 26 recorded runs and given up: the gain of now alone (it stopped two runs that recovered by 0.09);
half and a quarter of the fastest gain (at 100 queries they stop runs that beat their peak); windows of 0.15 and 0.4;
all or nothing of the wandering noise. `make bench-stopping` holds it against all recorded runs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from sweep.stopping.rules import CurveRule, Float64Array

WINDOW = 0.25
"""Share of the whole spent rate over which a gain is taken."""

SHORTEST = 0.1
"""Share of it that a gain counts for at least: what the first steps gain says little of how fast a run can."""

MIN_LOOKS = 3
"""Measurements that the gain of now is taken over at least."""

WANDER = 0.5
"""Share of the noise that is allowed for what a run may wander from its line."""

FLOOR = 0.1
"""The learning rate at the end of a cosine with a floor, as a share of its peak."""


@dataclass(frozen=True, kw_only=True)
class RecoveryForecast:
    """The numbers behind a forecast.

    Attributes:
        peak: Highest mean so far.
        peak_progress: Progress in [0, 1] at which it was measured.
        now: Mean of the last measurement.
        expected: Where the gain of now leads to at the end of the run.
        highest: What the run will reach at most, at the forecast's level.
        needed: What it would have to reach: the peak and the margin.
        looks: Measurements so far, this one included.
        can_stop: Whether the warm-up and the grace are over, and there is enough of the curve to go by.
    """

    peak: float
    peak_progress: float
    now: float
    expected: float
    highest: float
    needed: float
    looks: int
    can_stop: bool

    @property
    def cannot_recover(self) -> bool:
        """Whether the run is past its peak and will not beat it by more than the margin."""
        return self.can_stop and self.now < self.peak and self.highest < self.needed


@dataclass(frozen=True, kw_only=True)
class Forecast(CurveRule):
    """The forecast: whether a run will not beat its peak again.

    Its margin is a gain that does not matter; its alpha the share of the stopped runs, at most, that would later have
    beaten their peak by more.
    """

    def assess(
        self,
        progress: Float64Array,
        means: Float64Array,
        covariance: Float64Array,
        spent: Float64Array,
        not_before: float,
    ) -> RecoveryForecast:
        """The forecast at the last measurement of a run.

        Args:
            progress: (T,) progress in [0, 1], ascending.
            means: (T,) mean of each measurement.
            covariance: (T, T) covariance of the means.
            spent: (T,) share of the run's learning rate that is spent at each, in [0, 1], by `spent_rate`.
            not_before: Progress at which the warm-up ends.
        """
        looks, now, peak = len(means), float(means[-1]), int(np.argmax(means))
        left = max(0.0, 1.0 - float(spent[-1]))
        expected = highest = math.inf
        if looks > 2:
            start = max(0, min(int(_window_starts(spent)[-1]), looks - 1 - MIN_LOOKS))
            width = float(spent[-1] - spent[start])
            variance = covariance[start, start] + covariance[-1, -1] - 2.0 * covariance[start, -1]
            error = math.sqrt(max(0.0, float(variance)))
            slope, level = (now - float(means[start])) / width, float(ndtri(1.0 - self.alpha))
            steepest = max(0.0, slope + level * error / width, _fastest_gain(means, spent))
            expected = now + slope * left
            highest = now + steepest * left + WANDER * level * error * math.sqrt(left / width)
        return RecoveryForecast(
            peak=float(means[peak]),
            peak_progress=float(progress[peak]),
            now=now,
            expected=expected,
            highest=highest,
            needed=float(means[peak]) + self.margin,
            looks=looks,
            can_stop=looks > 2 and bool(progress[-1] >= not_before + self.grace),
        )


def _window_starts(spent: Float64Array) -> NDArray[np.int64]:
    """(T,) for each measurement, the last one at least a window before it; the first where there is none."""
    starts: NDArray[np.int64] = np.maximum(0, np.searchsorted(spent, spent - WINDOW, side="right") - 1)
    return starts


def _fastest_gain(means: Float64Array, spent: Float64Array) -> float:
    """The largest gain over a window so far, for the whole rate."""
    starts = np.minimum(_window_starts(spent)[1:], np.arange(len(means) - 1))
    return float(np.max((means[1:] - means[starts]) / np.maximum(spent[1:] - spent[starts], SHORTEST)))


def spent_rate(progress: Float64Array, warmup_end: float, scheduler: str) -> Float64Array:
    """Share of a run's whole learning rate, summed over its steps, that is spent at each progress.

    Args:
        progress: (T,) progress in [0, 1].
        warmup_end: Progress at which the rate has risen, linearly from 0; in [0, 1].
        scheduler: Course of the rate after that: linear, cosine, constant or cosine-with-floor.

    Raises:
        ValueError: If there is no such scheduler.
    """
    return _area(progress, warmup_end, scheduler) / float(_area(np.ones(1), warmup_end, scheduler)[0])


def _area(progress: Float64Array, warmup_end: float, scheduler: str) -> Float64Array:
    rising = np.minimum(progress, warmup_end)
    risen = rising**2 / (2.0 * warmup_end) if warmup_end > 0.0 else np.zeros_like(progress)
    after = np.clip((progress - warmup_end) / max(1.0 - warmup_end, 1e-12), 0.0, 1.0)
    cosine = after / 2.0 + np.sin(np.pi * after) / (2.0 * np.pi)
    courses = {
        "linear": after - after**2 / 2.0,
        "cosine": cosine,
        "constant": after,
        "cosine-with-floor": FLOOR * after + (1.0 - FLOOR) * cosine,
    }
    if scheduler not in courses:
        raise ValueError(f"scheduler must be one of {', '.join(courses)}, got {scheduler!r}")
    area: Float64Array = risen + (1.0 - warmup_end) * courses[scheduler]
    return area
