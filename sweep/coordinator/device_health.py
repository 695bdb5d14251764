"""DeviceHealth: a device is sick where its trials fail and those of others do not."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable

from sweep.launch import Slot

MIN_FAILURES = 2
"""Failed trials of a device, with none between them that ended well, after which it is suspect."""


class DeviceHealth:
    """The failures and the good news of each device in a run.

    A device with failures is suspect while others run trials without failing: it waits until one of those has good
    news, which makes it sick, or until most devices fail, so that it is not the device's fault.

    Args:
        places: The devices, as `Slot.place` names them.
    """

    def __init__(self, places: Iterable[str]) -> None:
        self._failures: dict[str, list[tuple[int, int]]] = {place: [] for place in places}  # (time, trial)
        self._news: dict[str, int] = dict.fromkeys(self._failures, -1)  # time of the last
        self._time = itertools.count()

    def add_place(self, place: str) -> None:
        """Adds a device that has come; one that was retired stays so."""
        if place not in self._news:
            self._failures[place], self._news[place] = [], -1

    def note_failure(self, slot: Slot | None, trial: int) -> None:
        """Notes that a trial failed on a slot's device, and not out of memory."""
        if slot is not None:
            self._failures.get(slot.place, []).append((next(self._time), trial))

    def note_report(self, slot: Slot | None) -> None:
        """Notes that a trial was measured on a slot's device, where the next may fail all the same."""
        if slot is not None:
            self._news[slot.place] = next(self._time)

    def note_end(self, slot: Slot | None) -> None:
        """Notes that a trial ended well on a slot's device."""
        self.note_report(slot)
        if slot is not None:
            self._failures.get(slot.place, []).clear()

    def is_barred(self, slot: Slot, *, busy: Collection[str]) -> bool:
        """Whether a slot's device gets no trial: it is retired, or waits for what becomes of trials elsewhere.

        Args:
            slot: The slot.
            busy: The devices on which trials run.
        """
        others = (other for other in busy if other != slot.place)
        return slot.place not in self._failures or (
            self._is_suspect(slot.place) and any(not self._failures.get(other) for other in others)
        )

    def retire_sick(self) -> tuple[str, list[int]] | None:
        """A device that is sick, with the trials that failed on it; it is left out from now on."""
        for place, failures in self._failures.items():
            if self._is_suspect(place) and any(
                not self._failures[other] and self._news[other] > failures[0][0] for other in self._failures
            ):
                return place, [trial for _, trial in self._failures.pop(place)]
        return None

    def _is_suspect(self, place: str) -> bool:
        if len(self._failures[place]) < MIN_FAILURES:  # as a rule: it is asked for every slot at every move
            return False
        failing = sum(bool(failures) for failures in self._failures.values())
        return 2 * failing <= len(self._failures)
