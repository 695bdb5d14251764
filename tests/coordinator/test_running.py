"""What a trial that runs remembers of its processes and of its curve."""

from __future__ import annotations

import math

from trial_records import make_running, make_values

from sweep.storage.records import Peak


def test_a_process_that_gets_no_further_than_the_one_before_made_no_progress() -> None:
    trial = make_running(0)
    for step, expected in [(0, 1), (0, 2), (3, 1), (3, 2), (2, 3), (4, 1)]:
        trial.interrupt(step)
        assert trial.without_progress == expected
    assert trial.interruptions == 6


def test_a_measurement_is_progress_without_a_checkpoint_too() -> None:
    trial = make_running(0)
    trial.interrupt(0)
    trial.add_point(100, make_values(0.6))
    trial.interrupt(0)
    assert trial.without_progress == 1
    trial.interrupt(0)
    assert trial.without_progress == 2


def test_deaths_of_a_coordinator_count_in_a_row_where_a_trial_is_suspect_and_gets_no_further() -> None:
    trial = make_running(0)
    for step, is_suspect, expected in [(0, True, 1), (0, True, 2), (0, False, 0), (0, True, 1), (3, True, 1)]:
        trial.cut_off(step, is_suspect=is_suspect)
        assert trial.suspected == expected
    assert (trial.interruptions, trial.without_progress) == (5, 0)


def test_the_peak_is_the_earliest_of_the_highest_measurements_after_the_untrained_one() -> None:
    assert make_running(0).peak is None
    trial = make_running(0, 0.25, math.nan, 0.375, 0.375, 0.125)
    assert trial.peak == Peak(300, 0.375)
    assert not trial.is_measured_to_the_end
    trial.add_point(1000, make_values(0.25))
    assert trial.is_measured_to_the_end
