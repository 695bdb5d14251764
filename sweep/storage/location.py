"""StudyLocation: a study's file and its database (SQLite in a local folder, or a PostgreSQL server)."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from optuna.storages import RDBStorage

from sweep.errors import StorageError, StudyChangedError, StudyFileError, SweepError
from sweep.run_folder import RunFolder, read_study_name
from sweep.settings.study_file import StudySpec, load_study
from sweep.storage.database import find_study_name, open_storage, open_storage_read_only
from sweep.storage.database_folder import DatabaseFolder, find_database_folder, refuse_unmoved
from sweep.storage.failures import explain_failures
from sweep.storage.file_systems import refuse_network_file_system
from sweep.storage.journal import Journal
from sweep.storage.lock import LockOwner, StudyLock, find_owner
from sweep.storage.study_tables import read_content

if TYPE_CHECKING:
    from sweep.storage.postgresql import Connector, PostgresAddress

STORAGE_VARIABLE = "SWEEP_STORAGE"
"""Environment variable that names a PostgreSQL database; the one for an address with a password."""


def _say_nothing(_: str) -> None:
    """Says nothing; unlike a lambda it can be pickled, as a storage is that holds it."""


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """Waiting for a server that is gone.

    Attributes:
        tell: Called with a line when it is gone and when it is back.
        is_ended: Called meanwhile; whether to wait no longer.
    """

    tell: Callable[[str], None] = _say_nothing
    is_ended: Callable[[], bool] = bool


class Lock(Protocol):
    """This process's lock on a study."""

    def check(self) -> None:
        """Raises StudyLockedError where the lock is lost."""


class DatabaseLocation(Protocol):
    """The place of a study's database. Its text may be shown: it holds no password."""

    def exists(self) -> bool:
        """Whether a study's tables are there; raises StorageError where the server cannot be asked."""

    def check(self) -> None:
        """Raises StorageError where a run could not have the study there."""

    def lock(self, waiting: Waiting) -> contextlib.AbstractContextManager[Lock]:
        """Holds the study for the life of a ``with`` block; raises StudyLockedError where another coordinator does."""

    def open(self, lock: Lock, waiting: Waiting) -> RDBStorage:
        """Opens it, or makes it, for the coordinator that has the lock: its only writer."""

    def open_read_only(self, *, refresh_s: float = math.inf) -> RDBStorage:
        """Opens it for reading alone; what a long-lived reader sees is at most ``refresh_s`` old."""

    def find_owner(self) -> LockOwner | None:
        """The coordinator that holds the study now, or None."""

    def discard(self) -> None:
        """Deletes what lies outside the run folder of a study that came to nothing; a server's tables stay."""


@dataclass(frozen=True)
class SqliteLocation:
    """A SQLite file in the run folder, or in a folder of its own.

    Attributes:
        folder: The run folder.
        journal: The journal; None is the one that this machine's SQLite is sound with.
        own_folder: The database's folder, where that is not the run folder.
        named: The folder under which the study file wants it, or None.
    """

    folder: RunFolder
    journal: Journal | None = None
    own_folder: DatabaseFolder | None = None
    named: Path | None = None

    def __str__(self) -> str:
        return str(self.file)

    @property
    def file(self) -> Path:
        """The SQLite file."""
        return (self.own_folder or self.folder).database

    def exists(self) -> bool:
        """Whether the file exists; raises StorageError where it lies on another machine or is gone."""
        if self.own_folder:
            self.own_folder.check()
        return self.file.exists()

    def check(self) -> None:
        """Raises StorageError where the study file names another folder than the database's, or a useless one."""
        refuse_unmoved(self.folder, self.file, self.named)
        refuse_network_file_system(self.file.parent)
        if self.own_folder:
            self.own_folder.check()
            self.own_folder.check_place()

    @contextlib.contextmanager
    def lock(self, waiting: Waiting) -> Iterator[Lock]:  # noqa: ARG002 - a file is never gone
        """The kernel's lock on a file beside the database."""
        self.check()
        with self.own_folder.claim() if self.own_folder else StudyLock(self.folder.lock) as held:
            yield held

    def open(self, lock: Lock, waiting: Waiting) -> RDBStorage:  # noqa: ARG002 - the kernel's lock holds
        """Opens the file for its writer."""
        return open_storage(self.file, journal=self.journal)

    def open_read_only(self, *, refresh_s: float = math.inf) -> RDBStorage:
        """Opens the file for reading alone."""
        self.exists()  # or says where it is
        return open_storage_read_only(self.file, refresh_s=refresh_s)

    def find_owner(self) -> LockOwner | None:
        """The owner of the kernel's lock."""
        return find_owner((self.own_folder or self.folder).lock)

    def discard(self) -> None:
        """Deletes the database's own folder, where it has one."""
        if self.own_folder:
            self.own_folder.discard()


@dataclass(frozen=True)
class PostgresLocation:
    """A schema, named after the study, in a PostgreSQL server's database; models and logs lie in the run folder."""

    address: PostgresAddress
    study: str
    folder: RunFolder = field(repr=False)

    def __str__(self) -> str:
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

    def check(self) -> None:
        """Raises StorageError where the server cannot be asked."""
        self.exists()

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
        """The owner of the advisory lock."""
        from sweep.storage.advisory import find_advisory_owner

        return find_advisory_owner(self._connector(read_only=True), schema=self.schema)

    def discard(self) -> None:
        """Nothing: what is on a server stays there."""

    def _connector(self, *, read_only: bool, waiting: Waiting | None = None) -> Connector:
        from sweep.storage.postgresql import Connector

        waiting = waiting or Waiting()
        return Connector(
            self.address, schema=self.schema, read_only=read_only, tell=waiting.tell, is_ended=waiting.is_ended
        )


class LockedStudy:
    """A study that this process holds: the database's one writer, opened when it is first asked for."""

    def __init__(self, open_database: Callable[[], RDBStorage]) -> None:
        self._open = open_database

    @functools.cached_property
    def storage(self) -> RDBStorage:
        """Its database, made if it is not there."""
        return self._open()


@contextlib.contextmanager
def lock_study(database: DatabaseLocation, *, waiting: Waiting) -> Iterator[LockedStudy]:
    """Holds a study for the life of a ``with`` block, at the end of which its database is closed.

    Raises:
        StudyLockedError: If another coordinator holds it.
        StorageError: If its database, or its folder, cannot be reached.
    """
    with database.lock(waiting) as lock:
        study = LockedStudy(lambda: database.open(lock, waiting))
        try:
            yield study
        finally:
            if "storage" in study.__dict__:  # it was opened
                study.storage.engine.dispose()


def read_attributes(database: DatabaseLocation) -> Mapping[str, Any]:
    """The user attributes of the study in a database; empty where there is none.

    Raises:
        StorageError: If it cannot be read.
    """
    if not database.exists():
        return {}
    storage = database.open_read_only()
    try:
        with explain_failures(database):
            return read_content(storage).attributes
    finally:
        storage.engine.dispose()


@dataclass(frozen=True, kw_only=True)
class StudyLocation:
    """A study's file, content and database; made once, and passed to everything that reads or writes the study.

    Attributes:
        file: The study file, as it was named.
        spec: The file's content.
        run_folder: Paths of the study's output.
        database: The place of its database.
        option: The address that a command was given with ``--storage``, which holds no password.
    """

    file: Path
    spec: StudySpec = field(repr=False)
    run_folder: RunFolder
    database: DatabaseLocation
    option: str | None = None

    @property
    def arguments(self) -> str:
        """Arguments that name the study to another command, quoted for a shell."""
        return shlex.join([str(self.file), *(("--storage", self.option) if self.option else ())])


def locate_study(
    file: Path | str, *, storage: str | None = None, environment: Mapping[str, str] = os.environ
) -> StudyLocation:
    """The location of a study; the address of its database is the command's, else the environment's, else the file's.

    Raises:
        SweepError: If the file is not valid, or has another name than the study in its folder, or an address is no
            PostgreSQL address, or stands with its password where others can read it.
    """
    return locate_spec(file, load_study(file), storage=storage, environment=environment)


def locate_spec(
    file: Path | str, spec: StudySpec, *, storage: str | None = None, environment: Mapping[str, str] = os.environ
) -> StudyLocation:
    """The location of a study whose file, which need not be there, has a known content; see `locate_study`."""
    folder = RunFolder.beside(file)
    began = read_study_name(folder) or find_study_name(folder.database)  # whatever database it is in
    check_name(file, spec, began or spec.name)
    address = _find_address(file, spec, storage, environment)
    database = _locate_file(spec, folder) if address is None else PostgresLocation(address, spec.name, folder)
    return StudyLocation(file=Path(file), spec=spec, run_folder=folder, database=database, option=storage)


def _locate_file(spec: StudySpec, folder: RunFolder) -> SqliteLocation:
    named = None
    if spec.storage.folder is not None:
        named = Path(os.path.realpath(folder.path.parent / os.path.expanduser(spec.storage.folder)))
    return SqliteLocation(folder, own_folder=find_database_folder(folder, named), named=named)


def check_name(file: Path | str, spec: StudySpec, began: str) -> None:
    """Refuses a study file with another name than the study that it began: one file is one study.

    Raises:
        StudyChangedError: If it has.
    """
    if began != spec.name:
        raise StudyChangedError(file, key="name", old=began, new=spec.name, why="its folder holds that study")


def _find_address(
    file: Path | str, spec: StudySpec, storage: str | None, environment: Mapping[str, str]
) -> PostgresAddress | None:
    if storage is not None:
        public = "which every user of this machine can read in the list of processes"
        return _parse(storage, lambda problem: StorageError(f"--storage: {problem}"), public=public)
    if given := environment.get(STORAGE_VARIABLE):
        return _parse(given, lambda problem: StorageError(f"{STORAGE_VARIABLE}: {problem}"))
    if spec.storage.url is None:
        return None
    public = "which does not belong in a file that is shared"
    return _parse(spec.storage.url, lambda problem: StudyFileError(file, problem, key="storage.url"), public=public)


def _parse(url: str, refuse: Callable[[str], SweepError], *, public: str = "") -> PostgresAddress:
    """Reads an address; ``public`` says why it may hold no password there."""
    from sweep.storage.postgresql import parse_address

    address = parse_address(url)
    if address is None:
        raise refuse(
            "must be an address such as postgresql://USER@HOST:5432/DATABASE, with every special character in it as"
            " %XX; without one, a study is kept in a SQLite file"
        )
    if public and address.has_password:
        raise refuse(
            f"holds a password, {public}; give the address in {STORAGE_VARIABLE}, or the password in PGPASSWORD or"
            " ~/.pgpass"
        )
    return address
