"""Several writes of a study as one transaction, Optuna's and ours: on the disk together, or not at all.

::

    write_together(storage, lambda: [storage.set_trial_user_attr(3, "device", "cuda:0"), table.add([(3, report)])])

Each commit waits for the disk, so what belongs together is cheaper together; and a crash finds no half of it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import TypeVar

import sqlalchemy
from optuna.storages import RDBStorage

from sweep.storage.retry import retry, taking_part

R = TypeVar("R")


_under_way: ContextVar[sqlalchemy.Connection | None] = ContextVar("_under_way", default=None)


def write_together(storage: RDBStorage, call: Callable[[], R], *, before_again: Callable[[], None] | None = None) -> R:
    """Makes a call whose writes become one transaction, or part of the one that is under way.

    Where the connection is lost, all of it is made again, so a call must do nothing but read and write.

    Args:
        storage: The study's database, opened for its writer; the call writes through it, or through our tables.
        call: Reads and writes; its result is returned.
        before_again: Called, in no transaction, before the call is made again.
    """
    if _find(storage.engine) is not None:
        return call()

    def again() -> R:
        if before_again is not None:
            before_again()
        return _write(storage, call, again=True)

    return retry(lambda: _write(storage, call, again=False), again=again)


def reading(engine: sqlalchemy.Engine) -> AbstractContextManager[sqlalchemy.Connection]:
    """A connection to read on: that of the transaction which is under way, or one of its own."""
    connection = _find(engine)
    return engine.connect() if connection is None else nullcontext(connection)


def writing(engine: sqlalchemy.Engine) -> AbstractContextManager[sqlalchemy.Connection]:
    """A connection in a transaction: the one that is under way, or one that ends with the block."""
    connection = _find(engine)
    return engine.begin() if connection is None else nullcontext(connection)


def _find(engine: sqlalchemy.Engine) -> sqlalchemy.Connection | None:
    connection = _under_way.get()
    return connection if connection is not None and connection.engine is engine else None


def _write(storage: RDBStorage, call: Callable[[], R], *, again: bool) -> R:
    sessions = storage.scoped_session
    with storage.engine.begin() as connection:
        mark = _under_way.set(connection)
        sessions.remove()
        sessions.configure(bind=connection, join_transaction_mode="rollback_only")
        try:
            with taking_part(again=again):
                return call()
        finally:
            sessions.remove()
            sessions.configure(bind=storage.engine, join_transaction_mode="conditional_savepoint")
            _under_way.reset(mark)
