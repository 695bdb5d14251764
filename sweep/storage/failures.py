"""What a database that fails is said to have failed of: one line, without statements and without passwords."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DBAPIError, PendingRollbackError

from sweep.errors import StorageError

DATABASE_ERRORS = (DBAPIError, StorageInternalError)
"""What SQLAlchemy and Optuna raise where a database fails; Optuna's own error has the database's for its cause."""


@contextlib.contextmanager
def explain_failures(where: object, *, ending: str = "") -> Iterator[None]:
    """Turns what a database fails of, within a ``with`` block, into one line.

    Args:
        where: The database, as it is shown.
        ending: What follows for the user.

    Raises:
        StorageError: If the database failed.
    """
    try:
        yield
    except DATABASE_ERRORS as error:
        raise StorageError(f"{where}: {find_reason(error)}{ending}") from error


def find_reason(error: BaseException) -> str:
    """What a database said, in its own words, on one line."""
    found = _find_database_error(error)
    text = str(getattr(found, "orig", None) or found or error)
    return " ".join(text.split()) or type(error).__name__


def is_connection_lost(error: BaseException) -> bool:
    """Whether a statement failed because its connection went away, so that nobody knows whether it was committed."""
    found = _find_database_error(error)
    if found is not None:
        return found.connection_invalidated
    return isinstance(error.__cause__, PendingRollbackError)  # a part of a transaction that had lost it before


def _find_database_error(error: BaseException) -> DBAPIError | None:
    cause = error if isinstance(error, DBAPIError) else error.__cause__
    return cause if isinstance(cause, DBAPIError) else None
