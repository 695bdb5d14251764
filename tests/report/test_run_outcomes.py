from __future__ import annotations

import math

import numpy as np
import pytest

from sweep.report.diagnosis.run_outcomes import COMMON, MIN_NOISE, STILL, RunOutcome, Stop, measure_run
from sweep.settings.dimensions import Params

PARAMS = Params(
    learning_rate=1e-4,
    effective_learning_rate=1e-4,
    warmup_ratio=0.1,
    batch_size=256,
    data_format="title-content",
    scale=20.0,
    scheduler="linear",
)


def run_of(
    means: list[float],
    *,
    stop: Stop | None = None,
    incumbent: float = math.inf,
    losses: list[float | None] | None = None,
) -> RunOutcome | None:
    """A run of four queries whose NDCG has these means at 0, 10 %, 20 % and so on."""
    spread = np.array([-0.1, 0.1, -0.05, 0.05])
    values = np.array([mean + spread * place for place, mean in enumerate(means)])
    return measure_run(
        3,
        PARAMS,
        progress=[100 * place for place in range(len(means))],
        per_query=values,
        warmup_end=0.1,
        stop=stop,
        margin=0.01,
        incumbent=incumbent,
        losses=losses or [],
    )


def test_a_stopped_run_holds_its_last_value_at_the_common_progress() -> None:
    run = run_of([0.5, 0.6, 0.55], stop="fallen")
    assert run is not None
    assert (run.end.peak, run.end.peak_progress) == (pytest.approx(0.6), 100)
    assert run.end.held == pytest.approx(0.55)
    assert run.end.fall == pytest.approx(0.05)
    assert run.end.is_stopped


def test_a_run_is_whole_at_a_progress_before_its_stop() -> None:
    run = run_of([0.5, 0.6, 0.55, 0.5, 0.45], stop="fallen")
    assert run is not None
    assert COMMON == (150, 300, 600, 1000)
    assert [one.is_stopped for one in run.reached] == [False, False, True, True]
    assert [one.held for one in run.reached] == pytest.approx([0.6, 0.5, 0.45, 0.45])


def test_a_run_that_had_fallen_is_taken_to_have_stayed_down_and_one_that_would_not_rise_not() -> None:
    fallen, settled = run_of([0.5, 0.6, 0.55], stop="fallen"), run_of([0.5, 0.6, 0.55], stop="cannot_recover")
    assert fallen is not None
    assert settled is not None
    assert (fallen.end.max_held, fallen.end.min_fall) == (pytest.approx(0.55), pytest.approx(0.05))
    assert (settled.end.max_held, settled.end.min_fall) == (pytest.approx(0.61), 0.0)
    assert settled.reached[0].max_held == pytest.approx(0.6)  # measured, not guessed


def test_a_run_that_was_outclassed_may_have_come_up_to_the_one_it_would_not_beat() -> None:
    run = run_of([0.5, 0.6, 0.59], stop="outclassed", incumbent=0.8)
    assert run is not None
    assert (run.end.max_held, run.end.min_fall) == (0.8, 0.0)


def test_what_is_measured_between_two_points_is_carried_forward_to_the_second() -> None:
    values = np.array([[0.5, 0.5], [0.6, 0.6], [0.4, 0.4]])
    run = measure_run(0, PARAMS, progress=[0, 250, 1000], per_query=values, warmup_end=0.1, stop=None)
    assert run is not None
    assert [one.held for one in run.reached] == pytest.approx([0.5, 0.6, 0.6, 0.4])


def test_the_untrained_model_counts_as_a_peak() -> None:
    run = run_of([0.5, 0.4, 0.45])
    assert run is not None
    assert (run.end.peak, run.end.peak_progress) == (0.5, 0)
    assert run.end.fall == pytest.approx(0.05)
    assert not run.end.is_stopped


def test_the_noise_is_that_of_paired_differences() -> None:
    run = run_of([0.5, 0.6, 0.55])
    assert run is not None
    step = np.std([-0.1, 0.1, -0.05, 0.05], ddof=1) / 2  # the spread grows by this from one evaluation to the next
    assert run.end.held_noise == pytest.approx(2 * step)
    assert run.end.fall_noise == pytest.approx(math.hypot(step, STILL * 2 * step))


def test_a_run_that_changed_nothing_is_not_without_noise() -> None:
    values = np.full((3, 4), 0.5)
    run = measure_run(0, PARAMS, progress=[0, 500, 1000], per_query=values, warmup_end=0.1, stop=None)
    assert run is not None
    assert (run.end.held_noise, run.end.fall_noise) == (MIN_NOISE, MIN_NOISE)


def test_a_run_that_diverged_stands_at_its_last_finite_value() -> None:
    run = run_of([0.5, 0.6, 0.55, math.nan], stop="fallen")
    assert run is not None
    assert run.end.held == pytest.approx(0.55)


def test_a_run_that_was_never_measured_is_no_outcome() -> None:
    assert run_of([0.5]) is None
    assert run_of([0.5, math.nan], stop="fallen") is None


def test_losses_are_those_at_the_peak_and_at_the_end() -> None:
    run = run_of([0.5, 0.6, 0.55, 0.52], losses=[None, 2.0, 1.5, 1.8])
    assert run is not None
    assert run.losses == (2.0, 1.8)


def test_a_run_that_never_rose_is_compared_from_its_first_loss() -> None:
    run = run_of([0.5, 0.45, 0.4], losses=[None, 2.0, 1.5])
    assert run is not None
    assert run.losses == (2.0, 1.5)


def test_losses_that_were_not_measured_are_none() -> None:
    run = run_of([0.5, 0.6, 0.55], losses=[None, None, 1.5])
    assert run is not None
    assert run.losses is None


def test_the_rate_is_that_which_fits_batch_64_as_well() -> None:
    run = run_of([0.5, 0.6])
    assert run is not None
    assert run.rate == pytest.approx(5e-5)
