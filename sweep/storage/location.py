"""StudyLocation: where a study is, its file and its database (SQLite beside the file, or a PostgreSQL server)."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from optuna.storages import RDBStorage

from sweep.errors import StorageError, StudyFileError, SweepError
from sweep.run_folder import RunFolder
from sweep.settings.study_file import StudySpec, load_study
from sweep.storage.database import open_storage, open_storage_read_only
from sweep.storage.journal import Journal
from sweep.storage.lock import LockOwner, StudyLock, find_owner

if TYPE_CHECKING:
    from sweep.storage.postgresql import Connector, PostgresAddress

STORAGE_VARIABLE = "SWEEP_STORAGE"
"""Environment variable that names a PostgreSQL database; the one for an address with a password."""


def _say_nothing(_: str) -> None:
    """Nobody wants to know."""


def _never() -> bool:
    return False


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """How a server that is gone is waited for.

    Attributes:
        tell: Told, in a line, that it is gone and that it is back.
        is_ended: Asked meanwhile: whether nobody wants to wait any longer.
    """

    tell: Callable[[str], None] = _say_nothing
    is_ended: Callable[[], bool] = _never


class Lock(Protocol):
    """A lock that this process has on a study."""

    def check(self) -> None:
        """Raises StudyLockedError where it has it no longer."""


class DatabaseLocation(Protocol):
    """Where a study's database is. Its text is what may be shown of it."""

    def exists(self) -> bool:
        """Whether a study's tables are there; raises StorageError where that cannot be told."""

    def lock(self, waiting: Waiting) -> contextlib.AbstractContextManager[Lock]:
        """Holds the study for the life of a ``with`` block; raises StudyLockedError where another coordinator does."""

    def open(self, lock: Lock, waiting: Waiting) -> RDBStorage:
        """Opens it for the coordinator that has the lock, its only writer, and makes it if it is not there."""

    def open_read_only(self, *, refresh_s: float = math.inf) -> RDBStorage:
        """Opens it for reading alone; a reader that stays on sees what is at most ``refresh_s`` old."""

    def find_owner(self) -> LockOwner | None:
        """The coordinator that holds the study now, or None."""


@dataclass(frozen=True)
class SqliteLocation:
    """A SQLite file in the run folder.

    Attributes:
        folder: The run folder.
        journal: The file's journal; None for the one that this machine's SQLite is sound with.
    """

    folder: RunFolder
    journal: Journal | None = None

    def __str__(self) -> str:
        """The file."""
        return str(self.folder.database)

    def exists(self) -> bool:
        """Whether the file is there."""
        return self.folder.database.exists()

    def lock(self, waiting: Waiting) -> StudyLock:  # noqa: ARG002 - a file is never gone
        """The kernel's lock on a file beside the database."""
        return StudyLock(self.folder.lock)

    def open(self, lock: Lock, waiting: Waiting) -> RDBStorage:  # noqa: ARG002 - the kernel's lock holds
        """Opens the file for its writer."""
        return open_storage(self.folder.database, journal=self.journal)

    def open_read_only(self, *, refresh_s: float = math.inf) -> RDBStorage:
        """Opens the file for reading alone."""
        return open_storage_read_only(self.folder.database, refresh_s=refresh_s)

    def find_owner(self) -> LockOwner | None:
        """Who holds the lock."""
        return find_owner(self.folder.lock)


@dataclass(frozen=True)
class PostgresLocation:
    """A schema of its own on a PostgreSQL server.

    Attributes:
        address: The server's database.
        study: The study's name, which says which schema it is.
        folder: The run folder, where models, checkpoints and logs lie all the same.
    """

    address: PostgresAddress
    study: str
    folder: RunFolder = field(repr=False)

    def __str__(self) -> str:
        """The address, without a password, and the study."""
        return f"{self.address} (study {self.study!r})"

    @property
    def schema(self) -> str:
        """The schema that holds the study's tables."""
        from sweep.storage.postgresql import name_schema

        return name_schema(self.study)

    def exists(self) -> bool:
        """Whether the study's tables are there."""
        from sweep.storage.postgresql import has_study

        return has_study(self._connector(read_only=True), where=self)

    @contextlib.contextmanager
    def lock(self, waiting: Waiting) -> Iterator[Lock]:
        """The server's advisory lock, and the kernel's for the run folder, which two studies could share."""
        from sweep.storage.advisory import AdvisoryLock

        connect = self._connector(read_only=False, waiting=waiting)
        with AdvisoryLock(connect, schema=self.schema, where=self) as held, StudyLock(self.folder.lock):
            yield held

    def open(self, lock: Lock, waiting: Waiting) -> RDBStorage:
        """Opens the study for its writer, which makes sure before every transaction that it still holds it."""
        from sweep.storage.postgresql import open_postgres

        return open_postgres(self._connector(read_only=False, waiting=waiting), where=self, guard=lock.check)

    def open_read_only(self, *, refresh_s: float = math.inf) -> RDBStorage:  # noqa: ARG002 - always what is there now
        """Opens the study for reading alone."""
        from sweep.storage.postgresql import open_postgres_read_only

        return open_postgres_read_only(self._connector(read_only=True), where=self)

    def find_owner(self) -> LockOwner | None:
        """Who holds the advisory lock."""
        from sweep.storage.advisory import find_advisory_owner

        return find_advisory_owner(self._connector(read_only=True), schema=self.schema)

    def _connector(self, *, read_only: bool, waiting: Waiting | None = None) -> Connector:
        from sweep.storage.postgresql import Connector

        waiting = waiting or Waiting()
        return Connector(
            self.address, schema=self.schema, read_only=read_only, tell=waiting.tell, is_ended=waiting.is_ended
        )


class LockedStudy:
    """A study that this process holds: its one writer, opened when it is first asked for.

    Args:
        database: Where its database is.
        lock: The lock on it.
        waiting: How a server that is gone is waited for.
    """

    def __init__(self, database: DatabaseLocation, lock: Lock, waiting: Waiting) -> None:
        self._database = database
        self._lock = lock
        self._waiting = waiting

    @functools.cached_property
    def storage(self) -> RDBStorage:
        """Its database, made if it is not there."""
        return self._database.open(self._lock, self._waiting)

    def close(self) -> None:
        """Closes the database, where it was opened."""
        if "storage" in self.__dict__:
            self.storage.engine.dispose()


@contextlib.contextmanager
def lock_study(database: DatabaseLocation, *, waiting: Waiting) -> Iterator[LockedStudy]:
    """Holds a study for the life of a ``with`` block.

    Raises:
        StudyLockedError: If another coordinator holds it.
        StorageError: If its database, or its folder, cannot be reached.
    """
    with database.lock(waiting) as lock, contextlib.closing(LockedStudy(database, lock, waiting)) as held:
        yield held


@dataclass(frozen=True, kw_only=True)
class StudyLocation:
    """Where a study is, and what its file says; made once, and everything that reads or writes the study takes it.

    Attributes:
        file: The study file, as it was named.
        spec: What the file says.
        run_folder: What the study leaves behind.
        database: Where its database is.
        option: The address that a command was given with ``--storage``, which holds no password.
    """

    file: Path
    spec: StudySpec = field(repr=False)
    run_folder: RunFolder
    database: DatabaseLocation
    option: str | None = None

    @property
    def arguments(self) -> str:
        """The words that name the study to another command, as a shell takes them."""
        return shlex.join([str(self.file), *(("--storage", self.option) if self.option else ())])


def locate_study(
    file: Path | str, *, storage: str | None = None, environment: Mapping[str, str] = os.environ
) -> StudyLocation:
    """Where a study is, whose database is as the command says, else the environment, else its file, else beside it.

    Args:
        file: The study file.
        storage: What the command was given with ``--storage``.
        environment: The environment.

    Raises:
        SweepError: If the file does not hold, or an address is no PostgreSQL address, or stands with its password where
            others can read it.
    """
    spec, folder = load_study(file), RunFolder.beside(file)
    address = _find_address(file, spec, storage, environment)
    database = SqliteLocation(folder) if address is None else PostgresLocation(address, spec.name, folder)
    return StudyLocation(file=Path(file), spec=spec, run_folder=folder, database=database, option=storage)


def _find_address(
    file: Path | str, spec: StudySpec, storage: str | None, environment: Mapping[str, str]
) -> PostgresAddress | None:
    given = environment.get(STORAGE_VARIABLE) or None
    if storage is not None:
        address = _parse(storage, "--storage", StorageError)
        if address.has_password:
            raise StorageError(
                "--storage: holds a password, which every user of this machine can read in the list of processes; give"
                f" the address in {STORAGE_VARIABLE}, or the password in PGPASSWORD or ~/.pgpass"
            )
        return address
    if given is not None:
        return _parse(given, STORAGE_VARIABLE, StorageError)
    if spec.storage.url is None:
        return None
    address = _parse(spec.storage.url, "storage.url", lambda line: StudyFileError(file, line))
    if address.has_password:
        raise StudyFileError(
            file,
            f"holds a password, which does not belong in a file that is shared; give the address in"
            f" {STORAGE_VARIABLE}, or the password in PGPASSWORD or ~/.pgpass",
            key="storage.url",
        )
    return address


def _parse(url: str, source: str, make_error: Callable[[str], SweepError]) -> PostgresAddress:
    from sweep.storage.postgresql import parse_address

    address = parse_address(url)
    if address is None:
        raise make_error(
            f"{source}: must be an address such as postgresql://USER@HOST:5432/DATABASE, with every odd sign in it"
            " as %XX; without one, a study is kept in a SQLite file beside its study file"
        )
    return address
