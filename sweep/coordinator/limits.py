"""DeviceLimits: what each kind of device was found to hold, remembered with the study.

A study has one model and one length of text, so what is remembered of a device is remembered for those.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sweep.coordinator.ledger import Ledger

MEMORY_PEAKS = "memory_peaks"
"""Study attribute: for each kind of device, [batch, micro-batch, GiB] of the most memory that such trials have used."""

LARGEST_BATCH = "largest_batch"
"""Study attribute: the largest batch that each kind of device can hold, where that was found out."""

LARGEST_MICRO_BATCH = "largest_micro_batch"
"""Study attribute: the largest micro-batch that each kind of device can hold, where that was found out."""


RISE = 1.02
"""A peak is written down anew where it rises by more than this: each is a write, and the headroom covers the rest."""


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
    """What devices can hold; a device is known by its label.

    Args:
        ledger: The study's writer.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: dict[str, dict[str, Any]] = {
            name: ledger.study.user_attrs.get(name, {}) for name in (LARGEST_BATCH, LARGEST_MICRO_BATCH, MEMORY_PEAKS)
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
        """Remembers what a trial was measured to use, where that is more than was known of its like."""
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
