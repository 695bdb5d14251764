from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.progress import (
    COMPLETE,
    DEFAULT_GRID,
    PlannedEvaluation,
    count_steps,
    count_warmup_steps,
    plan_evaluations,
    value_at,
    warmup_end,
)

grids = st.sets(st.integers(1, COMPLETE - 1), max_size=30).map(lambda points: (*sorted(points), COMPLETE))


@pytest.mark.parametrize(
    ("examples", "batch_size", "steps"),
    [(1920, 64, 30), (1919, 64, 30), (1951, 64, 30), (1952, 64, 31), (1, 64, 1), (320, 16, 20), (7, 2, 4)],
)
def test_steps_are_whole_batches_rounded_to_the_nearest(examples: int, batch_size: int, steps: int) -> None:
    assert count_steps(examples, batch_size) == steps


@given(examples=st.integers(1, 10**7), exponent=st.integers(1, 13))
def test_the_examples_of_a_trial_are_within_half_a_batch_of_the_budget(examples: int, exponent: int) -> None:
    batch_size = 2**exponent
    steps = count_steps(examples, batch_size)
    assert steps == 1 or abs(steps * batch_size - examples) <= batch_size // 2


def test_points_that_one_step_reaches_are_measured_once_under_the_last_of_them() -> None:
    planned = plan_evaluations((10, 20, 35, 50, 75, 100, 500, 1000), 20)
    assert planned == (
        PlannedEvaluation(1, 50),
        PlannedEvaluation(2, 100),
        PlannedEvaluation(10, 500),
        PlannedEvaluation(20, 1000),
    )


def test_long_trials_are_measured_at_every_point_of_the_grid() -> None:
    planned = plan_evaluations(DEFAULT_GRID, 1000)
    assert [(point.step, point.progress) for point in planned] == [(point, point) for point in DEFAULT_GRID]


@given(grid=grids, steps=st.integers(1, 20_000))
def test_evaluations_ascend_to_the_last_step_each_under_the_last_point_it_has_reached(
    grid: tuple[int, ...], steps: int
) -> None:
    planned = plan_evaluations(grid, steps)
    taken = [point.step for point in planned]
    assert taken == sorted(set(taken))
    assert taken[0] >= 1
    assert planned[-1] == PlannedEvaluation(steps, COMPLETE)
    for point in planned:
        reached = [progress for progress in grid if Fraction(progress, COMPLETE) <= Fraction(point.step, steps)]
        assert point.progress == reached[-1]
    for progress in grid:  # none is due later than the first step that reaches it
        first = next(step for step in taken if step * COMPLETE >= progress * steps)
        assert (first - 1) * COMPLETE < progress * steps or first == 1


@pytest.mark.parametrize(("progress", "value"), [(0, 0.5), (99, 0.5), (100, 0.6), (399, 0.6), (400, 0.4), (1000, 0.4)])
def test_a_value_is_carried_forward(progress: int, value: float) -> None:
    assert value_at([(0, 0.5), (100, 0.6), (400, 0.4)], progress) == value


@pytest.mark.parametrize("curve", [[], [(100, 0.6)]])
def test_there_is_no_value_before_a_curve_begins(curve: list[tuple[int, float]]) -> None:
    assert value_at(curve, 99) is None


@pytest.mark.parametrize(("ratio", "steps", "warmup"), [(0.07, 100, 7), (0.28, 25, 7), (0.071, 100, 8), (0.0, 20, 0)])
def test_a_step_that_is_a_floats_rounding_error_is_no_step_of_the_warmup(ratio: float, steps: int, warmup: int) -> None:
    assert count_warmup_steps(ratio, steps) == warmup  # 0.07 * 100 is 7.000000000000001


@pytest.mark.parametrize("steps", [20, 23, 30, 120, 1000])
@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.15, 0.2, 0.29, 0.3, 1 / 3])
def test_warmup_has_as_many_steps_as_the_trainer_gives_it(ratio: float, steps: int) -> None:
    from transformers import TrainingArguments

    theirs = TrainingArguments(output_dir="unused", warmup_steps=ratio, use_cpu=True).get_warmup_steps(steps)
    exact = math.ceil(Fraction(ratio).limit_denominator(1000) * steps)
    assert theirs - exact in (0, 1)  # a float's error in 0.29 * 100 is a step to them
    assert count_warmup_steps(ratio, steps) == exact
    assert warmup_end(ratio, steps) == exact / steps
    told = TrainingArguments(output_dir="unused", warmup_steps=count_warmup_steps(ratio, steps), use_cpu=True)
    assert told.get_warmup_steps(steps) == exact
