"""AdvisoryLock: one coordinator a study on a PostgreSQL server, by a lock that ends with its owner's connection."""

from __future__ import annotations

import contextlib
import hashlib
import json
import select
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Self

import psycopg
from psycopg import sql

from sweep.errors import StudyLockedError
from sweep.storage.lock import LockOwner, describe_owner, name_owner
from sweep.storage.postgresql import explain_psycopg

PATIENCE_S = 45.0
"""Seconds for which a lost lock is tried again: until the server, too, has noticed that its connection is gone."""

POLL_S = 0.5

Connect = Callable[[], psycopg.Connection]


class AdvisoryLock:
    """Holds a study on a PostgreSQL server for the life of a ``with`` block.

    The lock is the server's, on a connection of its own, and ends with that connection: with its process, and with a
    restart of the server. After a restart it is taken again before anything is written, unless another coordinator
    held the study in the meantime, which the mark shows that every owner leaves on the study's schema.

    Args:
        connect: Makes connections to the study's schema, and waits for a server that is gone.
        schema: The schema, which is made if it is not there.
        where: The study, as it is shown.
    """

    def __init__(self, connect: Connect, *, schema: str, where: object) -> None:
        self._connect = connect
        self._schema = schema
        self._where = where
        self._connection: psycopg.Connection | None = None
        self._mark = ""

    def __enter__(self) -> Self:
        """Takes the lock.

        Raises:
            StudyLockedError: If another coordinator holds it.
            StorageError: If the server cannot be reached, or lets this user make no schema.
        """
        with explain_psycopg(self._where), self._opening() as connection:
            if not _try_lock(connection, self._schema):
                raise StudyLockedError(describe_owner(self._where, _read_owner(connection, self._schema)))
            self._leave_mark(connection)
        return self

    def __exit__(self, *_: object) -> None:
        """Releases the lock."""
        if self._connection is not None:
            # the server notices a closed connection a while later, and would refuse the next coordinator until then
            with contextlib.suppress(psycopg.Error):
                self._connection.execute("SELECT pg_advisory_unlock(%s)", (_key(self._schema),))
            self._connection.close()
            self._connection = None

    def check(self) -> None:
        """Makes sure that the lock is held, and takes it again where its connection was lost.

        Raises:
            StudyLockedError: If another coordinator holds it now, or held it since.
            StorageError: If the server cannot be reached any more.
        """
        while self._connection is None or not _is_alive(self._connection):
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            with contextlib.suppress(psycopg.OperationalError):  # gone once more: from the beginning
                self._retake()

    def _retake(self) -> None:
        with self._opening() as connection:
            deadline = time.monotonic() + PATIENCE_S
            while not _try_lock(connection, self._schema):
                if time.monotonic() >= deadline:
                    raise StudyLockedError(describe_owner(self._where, _read_owner(connection, self._schema)))
                time.sleep(POLL_S)
            if _read_mark(connection, self._schema) != self._mark:
                raise StudyLockedError(
                    f"{self._where}: another coordinator ran this study while the server was gone, so this one ends;"
                    " look at it with `sweep status`"
                )

    @contextlib.contextmanager
    def _opening(self) -> Iterator[psycopg.Connection]:
        """A new connection, which becomes the lock's own at the end of the block, or is closed where that fails."""
        connection = self._connect()
        try:
            connection.autocommit = True
            yield connection
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def _leave_mark(self, connection: psycopg.Connection) -> None:
        name = sql.Identifier(self._schema)
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(name))
        # within half a minute the server notices that an owner's machine is gone, and the lock is free
        for setting in ("tcp_keepalives_idle TO 10", "tcp_keepalives_interval TO 5", "tcp_keepalives_count TO 3"):
            with contextlib.suppress(psycopg.errors.InvalidParameterValue):
                connection.execute(sql.SQL("SET " + setting))
        self._mark = json.dumps({**asdict(name_owner()), "token": uuid.uuid4().hex})
        connection.execute(sql.SQL("COMMENT ON SCHEMA {} IS {}").format(name, sql.Literal(self._mark)))


def find_advisory_owner(connect: Connect, *, schema: str) -> LockOwner | None:
    """The coordinator that holds a study on a PostgreSQL server now, or None."""
    with contextlib.closing(connect()) as connection:
        connection.autocommit = True
        is_held = connection.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            " AND (classid::bigint << 32) | objid::bigint = %s",
            (_key(schema),),
        ).fetchone()
        if not is_held or not is_held[0]:
            return None
        return _read_owner(connection, schema) or LockOwner(0, "unknown", "unknown")


def _key(schema: str) -> int:
    """The number of a study's advisory lock, positive and below 2**63."""
    return int.from_bytes(hashlib.sha256(f"sweep {schema}".encode()).digest()[:8]) >> 1


def _try_lock(connection: psycopg.Connection, schema: str) -> bool:
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", (_key(schema),)).fetchone()
    return row is not None and bool(row[0])


def _read_mark(connection: psycopg.Connection, schema: str) -> str | None:
    row = connection.execute(
        "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = %s", (schema,)
    ).fetchone()
    return None if row is None else row[0]


def _read_owner(connection: psycopg.Connection, schema: str) -> LockOwner | None:
    with contextlib.suppress(ValueError, TypeError, KeyError):
        mark = json.loads(_read_mark(connection, schema) or "")
        return LockOwner(mark["pid"], mark["host"], mark["since"])
    return None


def _is_alive(connection: psycopg.Connection) -> bool:
    """Whether a connection that is not waiting for an answer is open: one that ended has an end of file to read."""
    if connection.closed:
        return False
    readable, _, _ = select.select([connection.fileno()], [], [], 0)
    if not readable:
        return True
    try:  # there is something to read: a notice of a living server, or its end
        connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True
