"""The grid of progress at which every trial is evaluated, and comparison at equal progress.

Progress is counted in thousandths of a trial's budget of training examples, so that trials of batch 64 and of batch
8192 can be compared. An evaluation is stored under the last grid point that its optimizer step has reached.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass

COMPLETE = 1000
"""The progress of a finished trial, in thousandths."""

DEFAULT_GRID = (20, 50, 100, 150, 250, 350, 500, 700, 1000)
"""Thousandths at which a trial is evaluated: dense in the first 15 %, where retrieval peaks.

On the recorded runs, those from 5 % on lose 0.0003 of a run's peak on average and 0.0053 at most against all 15 looks,
none of which lies between 5 and 10 %. The default stopping uses 80 % of the examples in place of 76 with 13 looks,
stops 13.4 in place of 13.8 of 14 fallen runs, and gives up no more; with rungs both use 39 %
(`make bench-stopping ARGS="--parts grids"`, tests/bench/results/looks-2026-11-26.md).
"""

ROUNDING = 1e-9
"""Excess over a whole number of steps that is a float's rounding and no step."""

MIN_STEPS = 20
"""Fewest optimizer steps of a trial: below it there is no early part to look at."""


@dataclass(frozen=True)
class PlannedEvaluation:
    """One evaluation of a trial: the optimizer step after which it is made, from 1, and its grid point."""

    step: int
    progress: int


def count_steps(examples: int, batch_size: int) -> int:
    """Optimizer steps of a trial: its budget of examples in full batches, rounded to the nearest, at least 1."""
    return max(1, (examples + batch_size // 2) // batch_size)


def plan_evaluations(grid: Sequence[int], steps: int) -> tuple[PlannedEvaluation, ...]:
    """The evaluations of a trial of ``steps`` optimizer steps, in order.

    A grid point is due after the first step that reaches it. Where one step reaches several points, it is measured
    once and stored under the last of them; the points that it passes over stay empty.

    Args:
        grid: Thousandths in (0, 1000], ascending, without the untrained point.
        steps: Optimizer steps of the complete trial, at least 1.

    Returns:
        One evaluation for each step that reaches a new grid point; a grid that ends at 1000 ends at step ``steps``.
    """
    last_point = {-(-point * steps // COMPLETE): point for point in grid}
    return tuple(PlannedEvaluation(step, point) for step, point in sorted(last_point.items()))


def count_warmup_steps(warmup_ratio: float, steps: int) -> int:
    """Optimizer steps over which the learning rate rises: the share of all steps, rounded up as the trainer does."""
    return math.ceil(warmup_ratio * steps - ROUNDING)


def warmup_end(warmup_ratio: float, steps: int) -> float:
    """Progress in [0, 1] at which the warm-up of a trial ends."""
    return count_warmup_steps(warmup_ratio, steps) / steps


def value_at(curve: Sequence[tuple[int, float]], progress: int) -> float | None:
    """The last value of a curve at or before ``progress``, None where it begins later; compares at equal progress.

    Args:
        curve: (progress in thousandths, value) pairs, ascending.
        progress: Thousandths.
    """
    index = bisect.bisect_right(curve, progress, key=lambda point: point[0])
    return curve[index - 1][1] if index else None
