"""CheckpointSchedule: when a trial's next checkpoint is due.

A checkpoint saves time only where a process is killed; a pause writes its own. Written too often it costs more than
kills do, and written too seldom a kill costs more. In between lies the square root of twice what it costs times the
mean time between kills (Young, CACM 17, 1974): 27 s where a checkpoint takes 0.1 s, 85 s for 1 s, 190 s for 5 s. It is
never less than twenty times the cost, so that checkpoints take less than 5 % of a trial, and never more than
`checkpoints.every_s`. A kill costs a trial that interval at most, one step, one evaluation, the write itself and a
start.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

KILLED_EVERY_S = 3600.0
"""Mean time between kills of a process that is assumed. With one in 15 minutes or in 16 hours, intervals are within a
factor of four of the best ones; a checkpoint of 1 s then takes 1.2 % of a trial."""

MIN_INTERVAL = 20.0
"""Seconds between two checkpoints, at least, for each second that the last one took."""

BYTES_A_SECOND = 150 * 2**20
"""Speed that is assumed for the first checkpoint of a process; measured with the quickstart's on a virtual disk."""

MOMENTS = 3
"""A checkpoint in models: the weights and the optimizer's two moments."""


@dataclass
class CheckpointSchedule:
    """The schedule of one process of a trial; its time begins when it is made.

    Attributes:
        every_s: Longest interval in seconds.
        cost_s: Seconds that the last checkpoint took, or that the first is expected to take.
        clock: A clock that never goes back, in seconds.
    """

    every_s: float
    cost_s: float
    clock: Callable[[], float] = time.monotonic
    _since: float = field(init=False)

    def __post_init__(self) -> None:
        self._since = self.clock()

    @property
    def interval_s(self) -> float:
        """Seconds after the last checkpoint at which the next one is due."""
        best_s = math.sqrt(2.0 * self.cost_s * KILLED_EVERY_S)
        return min(self.every_s, max(best_s, MIN_INTERVAL * self.cost_s))

    @property
    def is_due(self) -> bool:
        """Whether a checkpoint is due."""
        return self.clock() - self._since >= self.interval_s

    def note_saved(self, seconds: float) -> None:
        """Begins the next interval, after a checkpoint that took some seconds."""
        self.cost_s, self._since = seconds, self.clock()


def expect_cost(model_bytes: int) -> float:
    """Seconds that the checkpoint of a model of some bytes is expected to take."""
    return MOMENTS * model_bytes / BYTES_A_SECOND
