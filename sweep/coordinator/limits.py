"""DeviceLimits: what each kind of device was found to hold, remembered with the study."""

from __future__ import annotations

from dataclasses import dataclass

from sweep.coordinator.ledger import Ledger

LARGEST_BATCH = "largest_batch"
"""Study attribute: the largest batch that each kind of device can hold, where that was found out."""

LARGEST_MICRO_BATCH = "largest_micro_batch"
"""Study attribute: the largest micro-batch that each kind of device can hold, where that was found out."""


@dataclass(frozen=True)
class DeviceLimits:
    """What devices can hold; a device is known by its label.

    Attributes:
        ledger: The study's writer.
    """

    ledger: Ledger

    def largest_batch(self, device: str) -> int | None:
        """Largest batch that a device can hold, or None where that is not known."""
        return self._limits(LARGEST_BATCH).get(device)

    def micro_batch(self, device: str, *, asked: int | None) -> int | None:
        """The micro-batch that is asked for, no larger than what a device can hold; None where neither is known."""
        known = [limit for limit in (asked, self._limits(LARGEST_MICRO_BATCH).get(device)) if limit is not None]
        return min(known, default=None)

    def lower_batch(self, device: str, limit: int) -> None:
        """Remembers that a device can hold no larger batch."""
        self._lower(LARGEST_BATCH, device, limit)

    def lower_micro_batch(self, device: str, limit: int) -> None:
        """Remembers that a device can hold no larger micro-batch."""
        self._lower(LARGEST_MICRO_BATCH, device, limit)

    def _limits(self, name: str) -> dict[str, int]:
        limits: dict[str, int] = self.ledger.study.user_attrs.get(name, {})
        return limits

    def _lower(self, name: str, device: str, limit: int) -> None:
        limits = self._limits(name)
        self.ledger.set_attribute(name, {**limits, device: min(limit, limits.get(device, limit))})
