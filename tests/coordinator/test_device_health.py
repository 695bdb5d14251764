"""Which devices are found sick, as a table of what happens on them."""

from __future__ import annotations

import pytest

from sweep.coordinator.device_health import DeviceHealth
from sweep.launch import Slot

SLOTS = {name: Slot(name, name, place=name) for name in "abcd"}


def play(events: str, *, devices: int) -> DeviceHealth:
    """Plays events such as ``a- b+ a. a-``: a failure on a, a good end on b, a measurement on a, a failure."""
    health = DeviceHealth(list(SLOTS)[:devices])
    notes = {"-": lambda slot: health.note_failure(slot, 7), "+": health.note_end, ".": health.note_report}
    for place, what in events.split():
        notes[what](SLOTS[place])
    return health


@pytest.mark.parametrize(
    ("events", "devices", "sick"),
    [
        ("a- a- b.", 2, "a"),
        ("a- b. a-", 2, "a"),
        ("a- a. a- b+", 2, "a"),  # that it gets somewhere first makes it no better
        ("b. a- a-", 2, None),  # the others' news is from before
        ("a- b.", 2, None),
        ("a- a+ a- b.", 2, None),
        ("a- a- b- b.", 2, None),  # most fail: it is not the device
        ("a- a- b- c.", 3, None),
        ("a- a- b- b- c. d.", 4, "a"),
        ("a- a- a.", 1, None),
    ],
)
def test_a_device_is_sick_where_its_trials_fail_and_those_of_others_do_not(
    events: str, devices: int, sick: str | None
) -> None:
    health = play(events, devices=devices)
    retired = health.retire_sick()
    assert (retired[0] if retired else None) == sick
    if retired:
        assert set(retired[1]) == {7}
        assert health.is_barred(SLOTS[retired[0]], busy=())


@pytest.mark.parametrize(
    ("events", "busy", "barred"),
    [
        ("a- a-", "b", True),
        ("a- a-", "", False),  # nobody is there to wait for
        ("a- a-", "a", False),
        ("a-", "b", False),
        ("a- a- b-", "b", False),
    ],
)
def test_a_device_that_may_be_sick_waits_for_what_becomes_of_others(events: str, busy: str, barred: bool) -> None:
    assert play(events, devices=2).is_barred(SLOTS["a"], busy=busy) == barred
