"""What is read off a study's records: peaks, the best trial, how much of a peak is left, and what stopping saved."""

from __future__ import annotations

import math
from typing import Any

import pytest
from trial_records import make_trial

from sweep.storage.records import StudyRecord, TrialRecord, count_saved


def make_record(*trials: TrialRecord) -> StudyRecord:
    return StudyRecord(name="toy", attributes={}, trials=trials, baseline=0.5)


@pytest.mark.parametrize(
    ("values", "baseline", "expected"),
    [
        ([0.6, 0.8, 0.4], 0.5, 0.5),
        ([0.4, 0.3], 0.6, 0.5),  # it never was above the untrained model, which is what it has lost
        ([0.6, 0.8], 0.5, 1.0),
        ([0.6, 0.3], None, 0.5),
        ([0.6, math.nan], 0.5, None),
        ([math.nan, 0.4], 0.5, 0.8),
        ([0.0, 0.0], 0.0, None),
        ([], 0.5, None),
    ],
)
def test_what_is_left_of_a_peak_counts_the_untrained_model_as_one(
    values: list[float], baseline: float | None, expected: float | None
) -> None:
    assert make_trial(0, *values).retention(baseline) == (None if expected is None else pytest.approx(expected))


def test_of_equal_peaks_the_earliest_is_the_peak() -> None:
    peak = make_trial(0, 0.5, 0.7, math.nan, 0.7, 0.6).peak
    assert peak is not None
    assert (peak.progress, peak.value) == (200, 0.7)
    assert make_trial(0, math.nan).peak is None


def test_of_equal_trials_the_earlier_is_the_best_and_stands_higher() -> None:
    trials = [make_trial(0, 0.6), make_trial(1, 0.7), make_trial(2, 0.7), make_trial(3, 0.7)]
    record = make_record(*trials)
    assert record.best is trials[1]
    assert [trial.number for trial in record.leaderboard()] == [1, 2, 3, 0]


def test_the_best_is_a_trial_that_came_to_its_end_with_a_value() -> None:
    trials = [
        make_trial(0, 0.6),
        make_trial(1, 0.9, state="pruned", value=None),
        make_trial(2, 0.9, state="running", value=None),
        make_trial(3, 0.9, state="fail", value=None),
    ]
    assert make_record(*trials).best is trials[0]
    assert make_record(*trials[1:]).best is None


def test_the_default_is_the_first_start_point_however_it_ended_but_for_a_failure() -> None:
    def start(index: int) -> dict[str, Any]:
        return {"attributes": {"start": index}}

    second, first = make_trial(0, 0.7, **start(1)), make_trial(1, 0.6, state="pruned", **start(0))
    assert make_record(second, first).default is first
    failed = make_trial(0, 0.6, state="fail", **start(0))
    assert make_record(failed).default is None
    assert make_record(failed, second, first).default is first
    assert make_record(second).default is None


def test_saved_is_what_stopped_trials_left_of_what_all_that_ended_would_have_seen() -> None:
    trials = [
        make_trial(0, *[0.6] * 10),  # 100 pairs, all seen
        make_trial(1, *[0.6] * 4, kind="drop-off", state="pruned"),  # 60 of its 100 are saved
        make_trial(2, *[0.6] * 7, kind="forecast"),  # 30, though it is the best
        make_trial(3, *[0.6] * 2, kind="study ended"),  # it was not its own curve
        make_trial(4, *[0.6] * 3, state="running"),
        make_trial(5, *[0.6] * 3, state="fail"),
        make_trial(6, kind="diverged", state="pruned"),
    ]
    assert count_saved(trials) == (90, pytest.approx(0.3))
    assert count_saved([]) == (0, 0.0)
    assert count_saved(trials[3:]) == (0, 0.0)
