from __future__ import annotations

import pytest

from sweep.training.checkpoint_schedule import CheckpointSchedule, expect_cost

MIB = 2**20


class FakeClock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("every_s", "cost_s", "interval_s"),
    [
        (600.0, 1.0, 20.0),
        (600.0, 30.0, 600.0),
        (600.0, 31.0, 600.0),  # every_s is the longest, whatever a checkpoint costs
        (5.0, 1.0, 5.0),
    ],
)
def test_one_is_due_after_twenty_times_its_cost_and_after_every_s(
    every_s: float, cost_s: float, interval_s: float
) -> None:
    clock = FakeClock()
    schedule = CheckpointSchedule(every_s=every_s, cost_s=cost_s, clock=clock)
    assert schedule.interval_s == interval_s
    clock.now += interval_s - 0.01
    assert not schedule.is_due
    clock.now += 0.02
    assert schedule.is_due


def test_the_next_interval_begins_after_a_checkpoint_and_follows_what_it_took() -> None:
    clock = FakeClock()
    schedule = CheckpointSchedule(every_s=600.0, cost_s=1.0, clock=clock)
    clock.now += 23.0
    schedule.note_saved(3.0)
    assert not schedule.is_due
    clock.now += 59.0
    assert not schedule.is_due
    clock.now += 1.0
    assert schedule.is_due


@pytest.mark.parametrize("cost_s", [0.01, 1.0, 10.0])
def test_checkpoints_take_no_more_than_five_percent_of_a_long_trial(cost_s: float) -> None:
    clock = FakeClock()
    schedule, began, saved_s = CheckpointSchedule(every_s=600.0, cost_s=cost_s, clock=clock), clock.now, 0.0
    while clock.now - began < 10_000.0:
        clock.now += 0.5  # a step
        if schedule.is_due:
            clock.now += cost_s
            saved_s += cost_s
            schedule.note_saved(cost_s)
    assert 0.0 < saved_s / (clock.now - began) < 0.05


def test_the_first_is_expected_to_hold_the_model_and_two_moments() -> None:
    assert expect_cost(50 * MIB) == pytest.approx(1.0)
