"""The table ``sweep_runs``: where and when each process of a trial ran."""

from __future__ import annotations

import time
from dataclasses import dataclass

import sqlalchemy
from sqlalchemy import func, select

from sweep.storage.retry import retried, retry
from sweep.storage.schema import RUNS, has_columns
from sweep.storage.transaction import reading, writing


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """A process of a trial.

    Attributes:
        trial: The trial's number.
        run: Number of the trial's earlier processes.
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


class RunTable:
    """The processes of a study's trials, in a database whose tables `sweep.storage.schema.open_schema` has made."""

    def __init__(self, engine: sqlalchemy.Engine) -> None:
        self._engine = engine

    def begin_run(self, trial: int, *, slot: str, device: str, began: float) -> None:
        """Records that a process of a trial begins; the time identifies it should this be called again."""
        its_runs = select(func.count()).where(RUNS.c.trial == trial)

        def insert() -> None:
            with writing(self._engine) as connection:
                if connection.execute(its_runs.where(RUNS.c.began == began)).scalar_one():
                    return  # it was committed and its answer lost
                before = connection.execute(its_runs).scalar_one()
                connection.execute(RUNS.insert().values(trial=trial, run=before, slot=slot, device=device, began=began))

        retry(insert)

    @retried
    def end_run(self, trial: int) -> None:
        """Records that the last process of a trial has ended."""
        last = select(func.max(RUNS.c.run)).where(RUNS.c.trial == trial).scalar_subquery()
        with writing(self._engine) as connection:
            connection.execute(RUNS.update().where(RUNS.c.trial == trial, RUNS.c.run == last).values(ended=time.time()))

    @retried
    def runs(self) -> list[RunRow]:
        """Every process of every trial, by trial and in the order they began."""
        if not has_columns(self._engine, RUNS):
            return []
        with reading(self._engine) as connection:
            rows = connection.execute(select(RUNS).order_by(RUNS.c.trial, RUNS.c.run)).mappings().all()
        return [RunRow(**row) for row in rows]
