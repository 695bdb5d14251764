"""What is done to a running sweep, and when: planned from a seed, so that a run can be repeated."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["worker", "coordinator", "both", "terminate", "freeze", "thaw", "lock", "server", "disk"]

WEIGHTS: dict[Kind, float] = {
    "worker": 20.0,  # kill -9 of a trial's process
    "coordinator": 3.0,  # kill -9 of the coordinator alone
    "both": 3.0,  # kill -9 of everything at once
    "terminate": 1.0,  # SIGTERM to the coordinator alone
    "freeze": 1.0,  # SIGSTOP to a trial's process or the coordinator for a while, then SIGCONT
    "thaw": 1.0,  # a trial's process is stopped, its coordinator killed, and it goes on under the next one
    "lock": 0.5,  # somebody else holds a lock on the database
    "server": 1.0,  # the PostgreSQL server is killed and started again
    "disk": 0.5,  # the disk is full for a while
}
KILLS: dict[Kind, int] = {"worker": 1, "coordinator": 1, "both": 2, "thaw": 1, "server": 1}
"""Processes that each attack kills."""


@dataclass(frozen=True)
class Attack:
    """One attack.

    Attributes:
        kind: What is done.
        wait_s: Seconds before it.
        duration_s: Seconds for which it lasts, where it lasts.
        choice: A number in [0, 1) by which its victim is chosen.
    """

    kind: Kind
    wait_s: float
    duration_s: float
    choice: float


def plan_attacks(seed: int, *, kinds: frozenset[Kind], pace_s: float, longest_s: float) -> Iterator[Attack]:
    """Attacks without an end.

    Args:
        seed: Seed.
        kinds: What can be done where the sweep runs.
        pace_s: Seconds between attacks, in the mean.
        longest_s: Longest time that an attack lasts; one in ten of those that last takes as long.
    """
    chosen = random.Random(seed)
    names = sorted(kinds)
    while True:
        (kind,) = chosen.choices(names, [WEIGHTS[name] for name in names])
        duration_s = longest_s if chosen.random() < 0.1 else chosen.uniform(0.2, min(3.0, longest_s))
        yield Attack(kind, chosen.expovariate(1.0 / pace_s), duration_s, chosen.random())
