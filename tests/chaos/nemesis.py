"""What is done to a running sweep, and when: planned from a seed, so that a run can be retried."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    *("worker", "coordinator", "both", "early", "terminate", "hangup", "reader"),
    *("freeze", "thaw", "lock", "server", "full", "broken", "vanish"),
    *("program", "stall", "node", "outage", "visit", "head"),
]

WEIGHTS: dict[Kind, float] = {
    "worker": 20.0,  # kill -9 of a trial's process
    "coordinator": 3.0,  # kill -9 of the coordinator alone
    "both": 3.0,  # kill -9 of everything at once
    "early": 1.0,  # both, and once more at some moment of the next start
    "terminate": 1.0,  # SIGTERM to the coordinator alone, or to every process
    "hangup": 1.0,  # SIGHUP, or what batch systems send before they kill, likewise
    "reader": 1.0,  # the terminal is closed, or the reader of the pipe is gone
    "freeze": 1.0,  # SIGSTOP to a trial's process or the coordinator for a while, then SIGCONT
    "thaw": 1.0,  # a trial's process is stopped, its coordinator killed, and it goes on under the next one
    "lock": 0.5,  # somebody else holds a lock on the database
    "server": 1.0,  # the PostgreSQL server is killed and started again
    "full": 0.5,  # the disk is full for a while (ENOSPC)
    "broken": 0.5,  # the disk cannot be written for a while (EIO), for a trial's process or the coordinator
    "vanish": 0.5,  # the study's folder is not there for a while
    "program": 5.0,  # kill -9 of a worker that a command has started, or of an actor
    "stall": 1.0,  # SIGSTOP to such a program with its trial for a while, then SIGCONT
    "node": 1.0,  # kill -9 of a node's raylet; another node comes
    "outage": 1.0,  # SIGSTOP to everything on a node for a while, then SIGCONT
    "visit": 1.0,  # a node comes, and goes again
    "head": 0.5,  # kill -9 of the cluster's head; the study goes on with a new cluster
}

PROGRAMS: frozenset[Kind] = frozenset({"program", "stall"})
"""Attacks on the programs in which trials are started elsewhere."""

NODES: frozenset[Kind] = frozenset({"node", "outage", "visit", "head"})
"""Attacks on the nodes of a cluster."""

LONGEST_S: dict[Kind, float] = {
    **{"freeze": 30.0, "lock": 30.0, "server": 60.0, "full": 5.0, "broken": 5.0},
    **{"vanish": 5.0, "stall": 20.0, "outage": 20.0, "visit": 10.0},
}
"""Seconds that each attack lasts at the most, where it lasts."""


@dataclass(frozen=True)
class Attack:
    """One attack.

    Attributes:
        kind: What is done.
        wait_s: Seconds before it.
        duration_s: Seconds for which it lasts; 0 where it is done in a moment.
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
        longest_s: Longest time that any attack lasts; one in five of those that last takes as long as its kind may.
    """
    chosen = random.Random(seed)
    names = sorted(kinds)
    while True:
        (kind,) = chosen.choices(names, [WEIGHTS[name] for name in names])
        longest = min(longest_s, LONGEST_S.get(kind, 0.0))
        duration_s = longest if chosen.random() < 0.2 else chosen.uniform(0.2, 3.0)
        yield Attack(kind, chosen.expovariate(1.0 / pace_s), min(duration_s, longest), chosen.random())
