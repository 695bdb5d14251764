"""A study on a PostgreSQL server: its schema there, and connections that outlive a restart of the server."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
import psycopg
import sqlalchemy
from optuna.storages import RDBStorage
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from sweep.errors import StorageError
from sweep.storage.failures import explain_failures
from sweep.storage.opening import open_optuna_storage
from sweep.storage.retry import retry

DRIVER = "postgresql+psycopg://"
"""The only address that SQLAlchemy gets; host and password stay in the function that connects."""

PATIENCE_S = 90.0
"""Seconds for which a server that was reached before is waited for: a restart of a minute, and some more."""

POLL_S = 0.5

_ALIVE = {
    "connect_timeout": "10",
    "keepalives": "1",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
"""libpq's settings under which a server that went away without a word is noticed within half a minute."""


@dataclass(frozen=True)
class PostgresAddress:
    """A database on a PostgreSQL server, by libpq's connection parameters; never shown: they may hold a password."""

    parameters: Mapping[str, str] = field(repr=False)

    def __str__(self) -> str:
        given = self.parameters
        user = f"{given['user']}@" if "user" in given else ""
        port = f":{given['port']}" if "port" in given else ""
        return f"postgresql://{user}{given.get('host', '')}{port}/{given.get('dbname', '')}"

    @property
    def has_password(self) -> bool:
        """Whether the address itself holds a password."""
        return "password" in self.parameters


def parse_address(url: str) -> PostgresAddress | None:
    """A ``postgresql://`` address, or None for anything else: no error shows a part that may be the password."""
    scheme, separator, rest = url.strip().partition("://")
    if not separator or scheme not in ("postgresql", "postgres", "postgresql+psycopg"):
        return None
    try:
        parameters = {name: str(value) for name, value in conninfo_to_dict(f"postgresql://{rest}").items()}
    except psycopg.ProgrammingError:
        return None
    # a special character that was not written as %XX can have made a piece of the password into a host or a port
    if "@" in parameters.get("host", "") or not re.fullmatch(r"[\d,]*", parameters.get("port", "")):
        return None
    return PostgresAddress(parameters)


def name_schema(study: str) -> str:
    """The PostgreSQL schema of a study's tables, so that one database holds many studies; at most 63 letters."""
    plain = re.sub(r"[^a-z0-9]+", "_", study.lower()).strip("_")[:40]
    digest = hashlib.sha256(study.encode()).hexdigest()[:8]
    return f"sweep_{plain}" if plain == study else f"sweep_{plain}_{digest}"


class Connector:
    """Makes connections to one study's schema; a server that was reached once is waited for when it is gone.

    Args:
        address: The database.
        schema: Schema of the study.
        read_only: Whether the server shall refuse every write.
        tell: Called with a line when the server is gone and when it is back.
        is_ended: Called while waiting; whether to wait no longer.
        patience_s: Seconds for which a server that was reached before is waited for.
    """

    def __init__(
        self,
        address: PostgresAddress,
        *,
        schema: str,
        read_only: bool,
        tell: Callable[[str], None],
        is_ended: Callable[[], bool],
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._address = address
        self._schema = schema
        self._read_only = read_only
        self._tell = tell
        self._patience_s = patience_s
        self._is_ended = is_ended
        self._was_reached = False

    def __call__(self) -> psycopg.Connection:
        """A connection that is ready for use.

        Raises:
            StorageError: If the server refuses, or cannot be reached, for longer than it is waited for.
        """
        began = time.monotonic()
        deadline = began + (self._patience_s if self._was_reached else 0.0)
        waited = False
        while True:
            try:
                connection = self._connect()
                break
            except psycopg.OperationalError as error:
                if time.monotonic() >= deadline or self._is_ended():
                    raise self._unreachable(error, time.monotonic() - began) from error
                if not waited:
                    waited = True
                    self._tell(f"{self._address} is gone; waiting for it, up to {self._patience_s:.0f} s")
            time.sleep(POLL_S)
        self._was_reached = True
        if waited:
            self._tell(f"{self._address} is back after {time.monotonic() - began:.0f} s")
        return connection

    def _connect(self) -> psycopg.Connection:
        """Connects and configures; a server that dies in the middle of it counts as one that was not reached."""
        name = f"sweep {os.getpid()} {socket.gethostname()}"[:63]  # in the server's list of its connections
        text = make_conninfo("", **{**_ALIVE, **self._address.parameters, "application_name": name})
        connection = psycopg.connect(text, autocommit=True)
        try:
            connection.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(self._schema)))
            # what is acknowledged is on the disk, whatever the server's own setting
            connection.execute("SET synchronous_commit TO on")
            if self._read_only:
                connection.execute("SET default_transaction_read_only TO on")
        except psycopg.Error:
            connection.close()
            raise
        connection.autocommit = False
        return connection

    def _unreachable(self, error: psycopg.OperationalError, seconds: float) -> StorageError:
        reason = " ".join(str(error).split())
        password = self._address.parameters.get("password")
        if password:
            reason = reason.replace(password, "***")
        after = f" for {seconds:.0f} s; what was committed stands, and the same command goes on" if seconds >= 1 else ""
        return StorageError(f"{self._address}: cannot be reached{after}: {reason}")


def open_postgres(connect: Connector, *, where: object, guard: Callable[[], None] | None = None) -> RDBStorage:
    """Opens a study's schema for its coordinator, the only writer; makes its tables if they are not there.

    Args:
        connect: Makes the connections.
        where: The database, as it is shown.
        guard: Called at the beginning of every transaction; raises where this process may not write any more.

    Raises:
        StorageError: If it cannot be opened.
    """
    storage = _open(connect, where)
    if guard is not None:
        sqlalchemy.event.listen(storage.engine, "begin", lambda _: guard())
    return storage


def open_postgres_read_only(connect: Connector, *, where: object) -> RDBStorage:
    """Opens a study's schema for reading alone, each statement by itself.

    Raises:
        StorageError: If there is no study, or it cannot be opened.
    """
    if not has_study(connect, where=where):
        raise StorageError(f"{where}: there is no study here yet; start it with `sweep run`")
    return _open(connect, where, isolation_level="AUTOCOMMIT", skip_table_creation=True)


def has_study(connect: Connector, *, where: object) -> bool:
    """Whether a study's tables are there; raises StorageError where the server cannot be asked."""
    with explain_psycopg(where), contextlib.closing(connect()) as connection:
        tables = connection.execute("SELECT to_regclass('studies'), to_regclass('version_info')").fetchone()
    return tables is not None and None not in tables


class _OpeningConnector:
    """A connector that can close again what it made while a study was opened; Optuna pickles it with a storage."""

    def __init__(self, connect: Connector) -> None:
        self._connect = connect
        self._made: list[psycopg.Connection] | None = []

    def __call__(self) -> psycopg.Connection:
        connection = self._connect()
        if self._made is not None:
            self._made.append(connection)
        return connection

    def keep(self) -> None:
        """The study is open: its pool closes what was made, and what will be."""
        self._made = None

    def close(self) -> None:
        """Closes what was made and not kept."""
        for connection in self._made or ():
            connection.close()


def _open(connect: Connector, where: object, **settings: Any) -> RDBStorage:
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # a line a trial of its own would tear a live view
    skip = settings.pop("skip_table_creation", False)
    opening = _OpeningConnector(connect)
    engine = {"creator": opening, "pool_pre_ping": True, "pool_size": 2}

    def open_once() -> RDBStorage:  # which makes only what is not there yet
        return open_optuna_storage(DRIVER, engine_kwargs={**engine, **settings}, skip_table_creation=skip)

    # Optuna leaves its connections open where it fails half-way
    with contextlib.closing(opening), explain_failures(where):
        try:
            storage = retry(open_once)
        except RuntimeError as error:  # raised by Optuna for a database of another version
            raise StorageError(f"{where}: {str(error).splitlines()[0]}") from error
        opening.keep()
        return storage


@contextlib.contextmanager
def explain_psycopg(where: object) -> Iterator[None]:
    """Turns an error of psycopg within a ``with`` block into a StorageError of one line."""
    try:
        yield
    except psycopg.Error as error:
        raise StorageError(f"{where}: {' '.join(str(error).split())}") from error
