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
        (600.0, 0.02, 12.0),  # the root of twice the cost times an hour
        (600.0, 2.0, 120.0),
        (600.0, 18.0, 360.0),
        (600.0, 25.0, 500.0),  # twenty times the cost is more
        (600.0, 31.0, 600.0),  # every_s is the longest, whatever a checkpoint costs
        (5.0, 2.0, 5.0),
    ],
)
def test_one_is_due_as_often_as_its_cost_and_kills_ask_for_and_after_every_s(
    every_s: float, cost_s: float, interval_s: float
) -> None:
    clock = FakeClock()
    schedule = CheckpointSchedule(every_s=every_s, cost_s=cost_s, clock=clock)
    assert schedule.interval_s == pytest.approx(interval_s)
    clock.now += interval_s - 0.01
    assert not schedule.is_due
    clock.now += 0.02
    assert schedule.is_due


def test_the_next_interval_begins_after_a_checkpoint_and_follows_what_it_took() -> None:
    clock = FakeClock()
    schedule = CheckpointSchedule(every_s=600.0, cost_s=0.02, clock=clock)
    clock.now += 14.0
    schedule.note_saved(2.0)
    assert not schedule.is_due
    clock.now += 119.0
    assert not schedule.is_due
    clock.now += 1.01
    assert schedule.is_due


@pytest.mark.parametrize("cost_s", [0.01, 1.0, 10.0, 29.0])
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
