"""The tables ``sweep_trials`` and ``sweep_runs``: how each trial ended with the numbers behind it, and where it ran."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy
from sqlalchemy import func, select

from sweep.storage.repetition import repeat, repeated
from sweep.storage.schema import RUNS, TRIALS, has_columns
from sweep.storage.transaction import reading, writing

TO_ITS_END = "budget"
"""What ended a trial that was neither stopped nor failed."""


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    """How a trial ended.

    Attributes:
        trial: Its number.
        state: ``complete``, ``pruned`` or ``fail``.
        ended_by: What ended it, in a word; see `find_end`.
        stop_reason: Why it was stopped, in words.
        stop_numbers: The numbers behind that, by name.
        error: Why it failed.
        peak: Its best NDCG@10 after at least one optimizer step.
        peak_progress: Where that was, in thousandths.
        retention: Last NDCG@10 over the highest so far, the untrained model's included.
        device: The device on which it ran last.
        micro_batch: Pairs that went through the model at once.
        restarts: Processes of it that died.
    """

    trial: int
    state: str
    ended_by: str | None
    stop_reason: str | None = None
    stop_numbers: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None
    peak: float | None = None
    peak_progress: int | None = None
    retention: float | None = None
    device: str | None = None
    micro_batch: int | None = None
    restarts: int = 0


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """A process of a trial.

    Attributes:
        trial: The trial's number.
        run: How many processes the trial had before.
        slot: Where it ran: ``cpu`` or ``cuda:N``.
        device: The device's name for a person.
        began: When it was started, in seconds since 1970.
        ended: When it ended; None while it runs, and where its coordinator was killed with it.
    """

    trial: int
    run: int
    slot: str
    device: str
    began: float
    ended: float | None


class TrialTable:
    """How the trials of a study ended, and where they ran.

    Args:
        engine: The engine of the study's database, whose tables are there (`sweep.storage.schema.open_schema`).
    """

    def __init__(self, engine: sqlalchemy.Engine) -> None:
        self._engine = engine

    @repeated
    def end(self, row: TrialRow) -> None:
        """Writes down how a trial ended, in place of what an interrupted end left."""
        values = {**row.__dict__, "stop_numbers": {name: _plain(found) for name, found in row.stop_numbers.items()}}
        with writing(self._engine) as connection:
            connection.execute(TRIALS.delete().where(TRIALS.c.trial == row.trial))
            connection.execute(TRIALS.insert().values(**values))

    def begin_run(self, trial: int, *, slot: str, device: str, began: float) -> None:
        """Writes down that a process of a trial begins, at a time by which it is known should this be called again."""
        its_runs = select(func.count()).where(RUNS.c.trial == trial)

        def insert() -> None:
            with writing(self._engine) as connection:
                if connection.execute(its_runs.where(RUNS.c.began == began)).scalar_one():
                    return  # it was committed and its answer lost
                before = connection.execute(its_runs).scalar_one()
                connection.execute(RUNS.insert().values(trial=trial, run=before, slot=slot, device=device, began=began))

        repeat(insert)

    @repeated
    def end_run(self, trial: int) -> None:
        """Writes down that the last process of a trial has ended."""
        last = select(func.max(RUNS.c.run)).where(RUNS.c.trial == trial).scalar_subquery()
        with writing(self._engine) as connection:
            connection.execute(RUNS.update().where(RUNS.c.trial == trial, RUNS.c.run == last).values(ended=time.time()))

    @repeated
    def rows(self) -> list[TrialRow]:
        """How each trial ended, by number; none of those from before these tables were there."""
        if not has_columns(self._engine, TRIALS):
            return []
        with reading(self._engine) as connection:
            found = connection.execute(select(TRIALS).order_by(TRIALS.c.trial)).mappings().all()
        return [TrialRow(**row) for row in found]

    @repeated
    def runs(self) -> list[RunRow]:
        """Every process of every trial, by trial and in the order they began."""
        if not has_columns(self._engine, RUNS):
            return []
        with reading(self._engine) as connection:
            found = connection.execute(select(RUNS).order_by(RUNS.c.trial, RUNS.c.run)).mappings().all()
        return [RunRow(**row) for row in found]


def find_end(state: str, stop_reason: str | None) -> str | None:
    """What ended a trial, in a word: the rule that stopped it, ``error``, or ``budget``; None while it goes on."""
    if state in ("running", "waiting"):
        return None
    if state == "fail":
        return "error"
    return stop_reason.partition(":")[0] if stop_reason else TO_ITS_END


def _plain(value: Any) -> Any:
    """A number as JSON has it: NumPy's as Python's, and None for one that is not finite."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
