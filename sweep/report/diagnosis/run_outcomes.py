"""RunOutcome: a run that has ended, in the plain values that the diagnosis goes by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sweep.measures.score import Score
from sweep.progress import COMPLETE, value_at
from sweep.settings.dimensions import Params

STILL = 0.5
"""Smallest noise of a run's fall, as a share of the standard error of its distance from the untrained model, so that
a run which ended at its peak is no measurement without noise."""

MIN_NOISE = 0.001
"""Smallest standard error of an outcome: a run that changed no query's value was still measured only once."""

COMMON = (150, 300, 600, COMPLETE)
"""Progress in thousandths at which runs are compared: on the way, where fewer have been stopped yet, and at the end."""

Stop = Literal["fallen", "cannot_recover", "outclassed"]
"""Reason of a stop: the run had fallen, would not beat its peak by the margin, or others went before it."""


@dataclass(frozen=True, kw_only=True)
class Reached:
    """The state of a run at a common progress; the last value is carried forward where it was stopped before.

    Attributes:
        peak: Highest value so far, the untrained model's included.
        peak_progress: Progress of that in thousandths; 0 for the untrained model.
        held: Value last measured.
        held_noise: Standard error over queries of its difference from the untrained model.
        fall_noise: Standard error over queries of its difference from the peak.
        max_held: Highest value that it can have held at the common progress: the measured one if it was not stopped
            before or had fallen; the margin above its peak if it would not beat that; and the other run's value if it
            would not beat another run.
        is_stopped: Whether the run had been stopped before.
    """

    peak: float
    peak_progress: int
    held: float
    held_noise: float
    fall_noise: float
    max_held: float
    is_stopped: bool = False

    @property
    def fall(self) -> float:
        """Value lost since the peak, at least 0."""
        return self.peak - self.held

    @property
    def min_fall(self) -> float:
        """Smallest value that it can have lost at the common progress, at least 0."""
        return max(0.0, self.peak - self.max_held)


@dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """A run that has ended.

    Attributes:
        trial: Its number.
        params: Its settings.
        warmup_end: Progress in [0, 1] at which its warm-up ended.
        share: Share of its anchors with a false negative in their batch, or None where it was not recorded.
        reached: Its state at each progress of `COMMON`.
        losses: (loss at the peak, loss at the end) on held-out pairs of its own format; None where not measured.
    """

    trial: int
    params: Params
    warmup_end: float
    share: float | None
    reached: tuple[Reached, ...]
    losses: tuple[float, float] | None = None

    @property
    def end(self) -> Reached:
        """Its state at the end."""
        return self.reached[-1]

    @property
    def rate(self) -> float:
        """The effective learning rate at batch 64 that fits its batch as well, by the square-root rule."""
        return self.params.effective_learning_rate * math.sqrt(64 / self.params.batch_size)


def measure_run(
    trial: int,
    params: Params,
    *,
    progress: Sequence[int],
    per_query: NDArray[np.floating],
    warmup_end: float,
    stop: Stop | None,
    margin: float = 0.0,
    incumbent: float = math.inf,
    share: float | None = None,
    losses: Sequence[float | None] = (),
    weights: NDArray[np.float64] | None = None,
) -> RunOutcome | None:
    """The outcome of a run, or None where nothing was measured after the untrained model.

    Args:
        trial: Its number.
        params: Its settings.
        progress: (T,) thousandths, ascending, 0 for the untrained model first.
        per_query: (T, Q) value of each query; rows that are not finite (the run diverged) are left out, and the last
            finite one is carried forward.
        warmup_end: Progress in [0, 1] at which its warm-up ended.
        stop: Reason of its stop before its budget was spent; None where it was not stopped.
        margin: Gain over its peak still possible for a run that was stopped as one that cannot recover.
        incumbent: Value that it would not have beaten, where others went before it; infinite where that is not known.
        share: Share of anchors with a false negative in their batch.
        losses: (T,) validation loss in its own format, None where there is none.
        weights: (Q,) weight of each query; None where all count the same.
    """
    finite = np.isfinite(per_query).all(axis=1)
    values = per_query[finite].astype(np.float64)
    points = [point for point, kept in zip(progress, finite, strict=True) if kept]
    if len(points) < 2:
        return None
    means = Score(values, weights).means
    ceilings = {"fallen": float(means[-1]), "cannot_recover": float(means.max()) + margin, "outclassed": incumbent}
    ceiling = ceilings[stop] if stop else None
    reached = tuple(_reach(points, values, common, ceiling=ceiling, weights=weights) for common in COMMON)
    own = [loss for loss, kept in zip(losses, finite, strict=True) if kept] if losses else []
    first = max(points.index(reached[-1].peak_progress), 1)  # the untrained model's loss is not measured
    at_peak, at_end = (own[first], own[-1]) if own else (None, None)
    return RunOutcome(
        trial=trial,
        params=params,
        warmup_end=warmup_end,
        share=share,
        reached=reached,
        losses=None if at_peak is None or at_end is None else (at_peak, at_end),
    )


def _reach(
    points: Sequence[int],
    values: NDArray[np.float64],
    common: int,
    *,
    ceiling: float | None,
    weights: NDArray[np.float64] | None,
) -> Reached:
    """The state at a common progress, from (T,) thousandths and (T, Q) values; a ceiling where the run was stopped."""
    last = value_at([(point, place) for place, point in enumerate(points)], common)
    end = 0 if last is None else int(last)
    means = Score(values[: end + 1], weights).means
    top = int(np.argmax(means))
    moved = _paired_error(values[0], values[end], weights)
    is_stopped = ceiling is not None and points[-1] < common
    held = float(means[end])
    return Reached(
        peak=float(means[top]),
        peak_progress=points[top],
        held=held,
        held_noise=max(moved, MIN_NOISE),
        fall_noise=max(math.hypot(_paired_error(values[top], values[end], weights), STILL * moved), MIN_NOISE),
        max_held=held if ceiling is None or not is_stopped else ceiling,
        is_stopped=is_stopped,
    )


def _paired_error(one: NDArray[np.float64], other: NDArray[np.float64], weights: NDArray[np.float64] | None) -> float:
    """Standard error over queries of the mean difference; 0 for a single query."""
    return Score(one, weights).minus(Score(other, weights)).standard_error if len(one) > 1 else 0.0
