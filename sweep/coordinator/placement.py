"""Placement: which slot is free, and whether a trial may share its device, by the memory that trials have used.

A study has one model and one length of text, so the limits of a device are those for both.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sweep.coordinator.device_health import DeviceHealth
from sweep.coordinator.events import Tell
from sweep.coordinator.ledger import Ledger
from sweep.coordinator.running import RunningTrial
from sweep.errors import DeviceError
from sweep.launch import Launcher, Slot
from sweep.settings.study_file import WorkersSpec

HEADROOM = 1.15
"""Factor on the memory that trials of the same size have used, which a trial is given."""

RETURN_S = 60.0
"""Seconds that a device gets to return the memory of a process that is gone."""

STATES_A_WEIGHT = 4
"""Values that training keeps for each weight at least: the weight, its gradient, and the optimizer's two moments."""

SLACK_GIB = 0.25
"""Memory beyond what was in use before a trial that may stay in use after it: the driver's, or somebody else's."""


def fits(needed_gib: float | None, others_gib: Sequence[float | None], *, memory_gib: float, used_gib: float) -> bool:
    """Whether a trial may join those that run on a device.

    Args:
        needed_gib: Most memory that trials of its size have used before, or None where that was never measured.
        others_gib: The same for each trial that runs there.
        memory_gib: Memory of the device.
        used_gib: What is in use of it without any of our trials.

    Returns:
        True where it would be alone, so that what was never measured is measured alone; else whether all of them fit.
    """
    if not others_gib:
        return True
    known = [gib for gib in (needed_gib, *others_gib) if gib is not None]
    return len(known) == 1 + len(others_gib) and used_gib + HEADROOM * sum(known) <= memory_gib


def check_room(slots: Sequence[Slot], weights_bytes: int) -> None:
    """Refuses more trials at once than a device's memory can hold, by the minimum that training takes.

    Raises:
        DeviceError: If that is above the memory; it names the estimate and what to set.
    """
    min_gib = STATES_A_WEIGHT * weights_bytes / 2**30
    for place in dict.fromkeys(slot.place for slot in slots):
        shares = [slot for slot in slots if slot.place == place]
        memory_gib = shares[0].memory_gib
        if memory_gib is None or min_gib * len(shares) <= memory_gib:
            continue
        fitting = int(memory_gib / min_gib)
        key = 'workers.devices = "cpu:N"' if place == "cpu" else "workers.trials_per_device"
        advice = f"at most {fitting} fit: set {key} to that or less" if fitting else "take a smaller model"
        raise DeviceError(
            f"workers: {len(shares)} trials at once on {shares[0].label} take at least"
            f" {min_gib * len(shares):.1f} GiB ({min_gib:.2f} GiB each for weights, gradients and moments), and it"
            f" has {memory_gib:.1f} GiB; {advice}"
        )


def count_weight_bytes(model: Path) -> int:
    """Bytes of a model folder's weights."""
    return sum(file.stat().st_size for file in model.rglob("*.safetensors"))


class Placement:
    """Finds slots for trials.

    Args:
        slots: The slots.
        workers: What the study file says of workers, with its limit on every trial's micro-batch.
        launcher: Is asked for the memory in use on them.
        limits: What trials were found to use.
        tell: Tells where memory does not return, and of devices that are sick.

    Attributes:
        slots: The slots.
        health: What became of trials on each device.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        workers: WorkersSpec,
        *,
        launcher: Launcher,
        limits: DeviceLimits,
        tell: Tell,
    ) -> None:
        self.slots = slots
        self._launcher = launcher
        self._micro_batch = workers.micro_batch
        self._limits = limits
        self._tell = tell
        self._used_before: dict[str, float] = {}  # by place: memory in use before our first trial there
        self.health = DeviceHealth(slot.place for slot in slots)
        self._left_since: dict[str, float] = {}  # places that were left a moment ago, and when

    def find_free(self, running: Iterable[RunningTrial]) -> list[Slot]:
        """The slots that no trial holds, of devices that are well and whose memory has returned."""
        self._follow()
        held = {trial.slot.name: trial.slot.place for trial in running if trial.slot}
        places = set(held.values())
        free = [slot for slot in self.slots if slot.name not in held and not self.health.is_barred(slot, busy=places)]
        return [slot for slot in free if slot.place in places or self._has_returned(slot)]

    def _follow(self) -> None:
        """Takes over slots that have come or gone, where the launcher's do."""
        followed = self._launcher.follow()
        if followed is not None:
            self.slots, changes = followed
            for slot in self.slots:
                self.health.add_place(slot.place)
            for change in changes:
                self._tell("warning", change)

    def suspect(self, slot: Slot | None, trial: int, running: Iterable[RunningTrial]) -> bool:
        """Notes that a trial failed on a slot; whether that may be the fault of its device."""
        self.health.note_failure(slot, trial)
        busy = {other.slot.place for other in running if other.slot}
        return slot is not None and self.health.is_barred(slot, busy=busy)

    def retire_sick(self) -> Sequence[int]:
        """Gives no more trials to a device that is sick; returns those that failed on it."""
        retired = self.health.retire_sick()
        if retired is None:
            return ()
        place, trials = retired
        label = next((slot.label for slot in self.slots if slot.place == place), "gone by now")
        failed = f"{place} ({label}): trials {', '.join(map(str, trials))} failed on it and others elsewhere did not"
        self._tell("warning", f"{failed}; it gets no more of them in this run, and they run again elsewhere")
        return trials

    def admits(self, trial: RunningTrial, slot: Slot, running: Iterable[RunningTrial]) -> bool:
        """Whether a trial's memory fits beside the trials that run on a slot's device."""
        others = [other for other in running if other.slot and other.slot.place == slot.place]
        return slot.memory_gib is None or fits(
            self._needed_gib(slot, trial),
            [self._needed_gib(slot, other) for other in others],
            memory_gib=slot.memory_gib,
            used_gib=self._used_before.get(slot.place, 0.0),
        )

    def limit_micro_batch(self, trial: RunningTrial, slot: Slot) -> int | None:
        """The largest micro-batch that a trial may take on a slot; None where it chooses by the memory there is."""
        return trial.micro_batch or self._limits.micro_batch(slot.label, asked=self._micro_batch)

    def take(self, slot: Slot, running: Iterable[RunningTrial]) -> None:
        """Notes what is in use on a device before the first of our trials there begins."""
        if not any(trial.slot and trial.slot.place == slot.place for trial in running):
            used = self._launcher.used_gib(slot)
            if used is not None:
                self._used_before[slot.place] = used
        self._left_since.pop(slot.place, None)

    def leave(self, slot: Slot) -> None:
        """Notes that a trial's process on a slot is gone."""
        if slot.place in self._used_before:
            self._left_since[slot.place] = time.monotonic()

    def _needed_gib(self, slot: Slot, trial: RunningTrial) -> float | None:
        """Memory that trials of this size have used; 0 where none is known on a CPU, whose memory can be swapped."""
        micro_batch = self.limit_micro_batch(trial, slot)
        needed = self._limits.needed_gib(slot.label, batch_size=trial.params.batch_size, micro_batch=micro_batch)
        return 0.0 if needed is None and slot.device == "cpu" else needed

    def _has_returned(self, slot: Slot) -> bool:
        """Whether a device without a trial of ours has its memory back; after RETURN_S it is used as it is."""
        since = self._left_since.get(slot.place)
        if since is None or not slot.uuids:
            return True
        used, before = self._launcher.used_gib(slot), self._used_before[slot.place]
        if used is not None and used > before + SLACK_GIB:
            if time.monotonic() - since < RETURN_S:
                return False
            self._tell(
                "warning",
                f"{slot.place}: {used:.1f} GiB are in use {RETURN_S:.0f} s after its trial ended, {before:.1f} GiB"
                " before it began; see who holds them (nvidia-smi)",
            )
        del self._left_since[slot.place]
        return True


MEMORY_PEAKS = "memory_peaks"
"""Study attribute: for each kind of device, [batch, micro-batch, GiB] of the most memory that such trials have used."""

LARGEST_BATCH = "largest_batch"
"""Study attribute: the largest batch that each kind of device can hold, where that was found out."""

LARGEST_MICRO_BATCH = "largest_micro_batch"
"""Study attribute: the largest micro-batch that each kind of device can hold, where that was found out."""

RISE = 1.02
"""Factor by which a peak must rise to be written again: each is a write, and the headroom covers the rest."""


def find_need(measured: Sequence[tuple[int, int, float]], *, batch_size: int, micro_batch: int | None) -> float | None:
    """Most memory that trials of the same size have used; where there are none, what larger ones have.

    Args:
        measured: (batch size, micro-batch, GiB) of what was measured.
        batch_size: Pairs of an optimizer step.
        micro_batch: Pairs that go through the model at once; None where the trial chooses by the memory there is.

    Returns:
        GiB, or None where neither it nor a larger one was measured.
    """
    if micro_batch is None:
        same = [gib for batch, _, gib in measured if batch == batch_size]
        return max(same, default=max((gib for batch, _, gib in measured if batch >= batch_size), default=None))
    larger = [gib for batch, micro, gib in measured if batch >= batch_size and micro >= micro_batch]
    same = [gib for batch, micro, gib in measured if (batch, micro) == (batch_size, micro_batch)]
    return max(same, default=min(larger, default=None))


class DeviceLimits:
    """Limits of devices, by their labels: the largest batches, and the memory that trials have used.

    Args:
        ledger: The study's writer.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: dict[str, dict[str, Any]] = {
            name: ledger.attributes.get(name, {}) for name in (LARGEST_BATCH, LARGEST_MICRO_BATCH, MEMORY_PEAKS)
        }

    def largest_batch(self, device: str) -> int | None:
        """Largest batch that a device can hold, or None where that is not known."""
        return self._known[LARGEST_BATCH].get(device)

    def micro_batch(self, device: str, *, asked: int | None) -> int | None:
        """The micro-batch that is asked for, no larger than what a device can hold; None where neither is known."""
        known = [limit for limit in (asked, self._known[LARGEST_MICRO_BATCH].get(device)) if limit is not None]
        return min(known, default=None)

    def needed_gib(self, device: str, *, batch_size: int, micro_batch: int | None) -> float | None:
        """Most memory that trials like one have used on a device, or None where none was measured."""
        return find_need(self._known[MEMORY_PEAKS].get(device, ()), batch_size=batch_size, micro_batch=micro_batch)

    def raise_peak(self, device: str, *, batch_size: int, micro_batch: int, memory_gib: float) -> None:
        """Remembers a trial's memory, where it is more than was known for its batch and micro-batch."""
        peaks = self._known[MEMORY_PEAKS].get(device, [])
        same = [known for known in peaks if tuple(known[:2]) == (batch_size, micro_batch)]
        if not same or memory_gib > same[0][2] * RISE:
            others = [known for known in peaks if known not in same]
            self._set(MEMORY_PEAKS, device, [*others, [batch_size, micro_batch, round(memory_gib, 4)]])

    def lower_batch(self, device: str, limit: int) -> None:
        """Remembers that a device can hold no larger batch."""
        self._lower(LARGEST_BATCH, device, limit)

    def lower_micro_batch(self, device: str, limit: int) -> None:
        """Remembers that a device can hold no larger micro-batch."""
        self._lower(LARGEST_MICRO_BATCH, device, limit)

    def _lower(self, name: str, device: str, limit: int) -> None:
        self._set(name, device, min(limit, self._known[name].get(device, limit)))

    def _set(self, name: str, device: str, value: Any) -> None:
        self._known[name] = {**self._known[name], device: value}
        self._ledger.set_attribute(name, self._known[name])
