"""Failures of a database in one line, without statements and without passwords."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DBAPIError, PendingRollbackError

from sweep.errors import StorageError

DATABASE_ERRORS = (DBAPIError, StorageInternalError)
"""Errors of SQLAlchemy and Optuna where a database fails; the cause of Optuna's own is the database's."""


@contextlib.contextmanager
def explain_failures(where: object, *, ending: str = "") -> Iterator[None]:
    """Turns a failure of the database within a ``with`` block into a StorageError: place, reason and ``ending``."""
    try:
        yield
    except DATABASE_ERRORS as error:
        raise StorageError(f"{where}: {find_reason(error)}{ending}") from error


def find_reason(error: BaseException) -> str:
    """The database's own message, on one line."""
    cause = _find_database_error(error)
    text = str(getattr(cause, "orig", None) or cause or error)
    return " ".join(text.split()) or type(error).__name__


def is_connection_lost(error: BaseException) -> bool:
    """Whether a statement failed because its connection went away, so that it may or may not be committed."""
    cause = _find_database_error(error)
    if cause is not None:
        return cause.connection_invalidated
    return isinstance(error.__cause__, PendingRollbackError)  # a part of a transaction that had lost it before


def _find_database_error(error: BaseException) -> DBAPIError | None:
    cause = error if isinstance(error, DBAPIError) else error.__cause__
    return cause if isinstance(cause, DBAPIError) else None
