"""Several writes of a study as one transaction, Optuna's and ours: on the disk together, or not at all.

::

    write_together(storage, lambda: [storage.set_trial_user_attr(3, "device", "cuda:0"), table.add([(3, report)])])

Each commit waits for the disk, so what belongs together is cheaper together; and a crash finds no half of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

import sqlalchemy
from optuna.storages import RDBStorage

from sweep.storage.retry import retry, taking_part

R = TypeVar("R")


@dataclass(frozen=True)
class _Transaction:
    """The transaction that is under way, and on which database."""

    engine: sqlalchemy.Engine
    connection: sqlalchemy.Connection


_under_way: ContextVar[_Transaction | None] = ContextVar("_under_way", default=None)


def write_together(storage: RDBStorage, call: Callable[[], R], *, before_again: Callable[[], None] | None = None) -> R:
    """Makes a call whose writes become one transaction, or part of the one that is under way.

    Where the connection is lost, the whole of it is made again, so a call must do nothing but read and write.

    Args:
        storage: The study's database, opened for its writer; the call writes through it, or through our tables.
        call: Reads and writes.
        before_again: Called, in no transaction, before the call is made again.

    Returns:
        What the call returned.
    """
    if _find(storage.engine) is not None:
        return call()

    def again() -> R:
        if before_again is not None:
            before_again()
        return _write(storage, call, again=True)

    return retry(lambda: _write(storage, call, again=False), again=again)


@contextlib.contextmanager
def reading(engine: sqlalchemy.Engine) -> Iterator[sqlalchemy.Connection]:
    """A connection to read on: that of the transaction which is under way, or one of its own."""
    connection = _find(engine)
    if connection is not None:
        yield connection
    else:
        with engine.connect() as connection:
            yield connection


@contextlib.contextmanager
def writing(engine: sqlalchemy.Engine) -> Iterator[sqlalchemy.Connection]:
    """A connection in a transaction: the one that is under way, or one that ends with the block."""
    connection = _find(engine)
    if connection is not None:
        yield connection
    else:
        with engine.begin() as connection:
            yield connection


def _find(engine: sqlalchemy.Engine) -> sqlalchemy.Connection | None:
    found = _under_way.get()
    return found.connection if found is not None and found.engine is engine else None


def _write(storage: RDBStorage, call: Callable[[], R], *, again: bool) -> R:
    sessions = storage.scoped_session
    with storage.engine.begin() as connection:
        mark = _under_way.set(_Transaction(storage.engine, connection))
        sessions.remove()
        sessions.configure(bind=connection, join_transaction_mode="rollback_only")
        try:
            with taking_part(again=again):
                return call()
        finally:
            sessions.remove()
            sessions.configure(bind=storage.engine, join_transaction_mode="conditional_savepoint")
            _under_way.reset(mark)
