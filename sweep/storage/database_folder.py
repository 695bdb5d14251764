"""DatabaseFolder: a folder outside the run folder, on a local disk, for a study's SQLite file and its lock.

The run folder and this one name each other: ``study.database`` in the run folder holds the database's path and host, by
which every command finds it, and ``study.folder`` beside the database the run folder's. A key that both hold tells the
database of a study from one that another study has left at the same path, on this machine or another.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shlex
import shutil
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from sweep.errors import StorageError
from sweep.run_folder import DatabaseFiles, RunFolder, claim_folder
from sweep.storage.lock import StudyLock

_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
"""Errors of a file system that has no locks."""


@dataclass(frozen=True)
class Reference:
    """What a run folder and the folder of its database know of each other.

    Attributes:
        path: The database, as the run folder names it; the run folder, as the other one does.
        host: The machine on which the database lies.
        key: The same in both.
    """

    path: str
    host: str
    key: str


@dataclass(frozen=True)
class DatabaseFolder(DatabaseFiles):
    """The folder of a study's database, of a name that no other run folder's database has in the same place.

    Attributes:
        path: The folder.
        run_folder: The study's output.
    """

    run_folder: RunFolder

    @property
    def owner(self) -> Path:
        """The file that names the run folder."""
        return self.path / "study.folder"

    def check(self) -> None:
        """Makes sure that what lies here is the study's; there may be nothing yet.

        Raises:
            StorageError: If the study's database lies on another machine or is gone, or another study's is here.
        """
        reference, owner = read_reference(self.run_folder.database_reference), read_reference(self.owner)
        if reference is None:
            if owner is not None and self.database.exists():
                raise StorageError(
                    f"{self.path}: holds the database of a study whose folder {owner.path} was deleted or emptied:"
                    f" restore that folder, or delete {self.path} to begin the study anew"
                )
        elif not self.database.exists():
            if owner is None or owner.key != reference.key or self.run_folder.study_name.exists():
                raise StorageError(self._describe_missing(reference))
        elif owner is not None and owner.key != reference.key:
            raise StorageError(
                f"{self.database}: is the database of another study ({owner.path}); that of {self.run_folder.path}"
                f" began on {reference.host}: run this there, or restore its database here"
            )

    @contextlib.contextmanager
    def claim(self) -> Iterator[StudyLock]:
        """Makes the folder, and holds the study for the life of a ``with`` block, at whose end the folder stays.

        To be checked before: see `check` and `check_place`.

        The run folder is locked as well, where its file system has locks: a study that is kept elsewhere may share it.

        Raises:
            StudyLockedError: If another coordinator holds the study.
            StorageError: If the folder cannot be made, is none for a database, or is another study's.
        """
        claim_folder(self.path)
        with StudyLock(self.lock) as held, _lock_where_possible(self.run_folder.lock):
            self._sign()
            yield held

    def discard(self) -> None:
        """Deletes the folder of a study that came to nothing."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.run_folder.database_reference.unlink(missing_ok=True)

    def _describe_missing(self, reference: Reference) -> str:
        here = socket.gethostname()
        where = f"lies at {self.database} on {reference.host}, and is not there"
        way = "mount its disk, or restore a copy of it"
        if reference.host != here:
            where, way = f"{where} on this machine ({here})", f"run this on {reference.host}, or restore a copy of it"
        file = self.run_folder.database_reference
        return f"{file}: the study's database {where}: {way}; to begin the study anew, delete {file}"

    def check_place(self) -> None:
        """Makes sure that the folder is here, or can be made.

        Raises:
            StorageError: If not.
        """
        folder, here = self.path.parent, socket.gethostname()
        if not folder.is_dir():
            raise StorageError(
                f"storage.folder: {folder}: there is no such folder on this machine ({here}): make it, or name another"
            )
        if self.path.is_symlink():
            raise StorageError(f"{self.path}: is a symbolic link, and nothing is written through it: remove it")
        if not self.path.exists() and not os.access(folder, os.W_OK | os.X_OK):
            raise StorageError(
                f"storage.folder: {folder}: cannot be written to on this machine ({here}): fix its permissions, or name"
                " another"
            )

    def _sign(self) -> None:
        """Has both folders name each other, unless they do.

        Raises:
            StorageError: If the run folder is a copy of another one, or its study has begun elsewhere by now.
        """
        known, owner = read_reference(self.run_folder.database_reference), read_reference(self.owner)
        key = known.key if known else secrets.token_hex(8)
        here, folder = socket.gethostname(), str(self.run_folder.path.resolve())
        if known is not None and owner is not None and self._is_copy_of(owner):
            raise StorageError(
                f"{self.run_folder.path}: is a copy of {owner.path}, whose study is in {self.database}: run that one;"
                " `sweep fork` makes a new study of its trials"
            )
        if owner != Reference(folder, here, key):
            _write(self.owner, Reference(folder, here, key))
        if known != Reference(str(self.database), here, key):
            self._write_reference(Reference(str(self.database), here, key), is_new=known is None)

    def _is_copy_of(self, owner: Reference) -> bool:
        """Whether the run folder that the database knows is there as well, beside this one."""
        with contextlib.suppress(OSError, StorageError):
            other = RunFolder(Path(owner.path))
            named = read_reference(other.database_reference)
            return named is not None and named.key == owner.key and not other.path.samefile(self.run_folder.path)
        return False

    def _write_reference(self, reference: Reference, *, is_new: bool) -> None:
        """Names the database in the run folder; of two machines that begin a study at once, one does."""
        file = self.run_folder.database_reference
        try:
            _write(file, reference, is_new=is_new)
        except FileExistsError:
            began = read_reference(file)
            where = f"{began.path} on {began.host}" if began else "elsewhere"
            raise StorageError(f"{file}: the study has begun in {where} by now; run this there") from None


def find_database_folder(run_folder: RunFolder, named: Path | None) -> DatabaseFolder | None:
    """The folder in which a study's database lies or is to begin; None where that is the run folder.

    A database stays where it began: the study file decides where a new one begins. One that was moved by hand is found
    where the study file now says.

    Args:
        run_folder: The study's output.
        named: The folder that the study file names, absolute and without symbolic links; None where it names none.

    Raises:
        StorageError: If the run folder's reference cannot be read.
    """
    reference = read_reference(run_folder.database_reference)
    if reference is None:
        if named is None or run_folder.database.exists():
            return None
        return DatabaseFolder(named / name_folder(run_folder), run_folder)
    began = Path(reference.path).parent
    if named is not None and not DatabaseFiles(began).database.exists():
        moved = DatabaseFolder(named / began.name, run_folder)
        if moved.database.exists():
            return moved
    return DatabaseFolder(began, run_folder)


def refuse_unmoved(run_folder: RunFolder, database: Path, named: Path | None) -> None:
    """Refuses a study file that names another folder than the one in which the study's database lies.

    Raises:
        StorageError: If it does; the line says how to move the database.
    """
    if named is None or not database.exists():
        return
    if database == run_folder.database:
        target = named / name_folder(run_folder)
        files = f"{shlex.quote(str(database))}*"  # what SQLite has not yet taken over lies beside it
        way = f"mkdir -p {shlex.quote(str(target))} && mv {files} {shlex.quote(str(target))}"
    elif database.parent.parent != named:
        way = shlex.join(["mv", str(database.parent), f"{named}/"])
    else:
        return
    raise StorageError(
        f"storage.folder: {named}: the study's database lies at {database}: move it while nothing runs it ({way}), or"
        " put the old value back"
    )


def name_folder(run_folder: RunFolder) -> str:
    """The name of the folder of a run folder's database, which two study files of one name do not share."""
    path = run_folder.path.resolve()
    return f"{path.name}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}"


def read_reference(file: Path) -> Reference | None:
    """What a folder knows of the other one; None where it knows of none.

    Raises:
        StorageError: If it cannot be read.
    """
    try:
        return Reference(**json.loads(file.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError) as error:
        raise StorageError(f"{file}: cannot be read: {error}; restore it") from error


def _write(file: Path, reference: Reference, *, is_new: bool = False) -> None:
    """Writes a reference, completely or not at all; raises FileExistsError where it is to be new and is not."""
    partial = file.with_name(f"{file.name}.partial-{secrets.token_hex(4)}")
    try:
        with partial.open("x", encoding="utf-8") as stream:
            stream.write(json.dumps(asdict(reference)) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        if not is_new or not _link(partial, file):
            partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def _link(file: Path, name: Path) -> bool:
    """Gives a file a second name, unless that is taken; whether its file system can do that."""
    try:
        name.hardlink_to(file)
    except FileExistsError:
        raise
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _lock_where_possible(file: Path) -> Iterator[None]:
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(StudyLock(file))
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        yield
