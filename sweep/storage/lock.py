"""StudyLock: one coordinator a study, by a lock that the kernel releases when its owner is gone."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from sweep.errors import StorageError, StudyLockedError

PATIENCE_S = 0.5


@dataclass(frozen=True)
class LockOwner:
    """The coordinator that holds a study, as the lock's file names it: process id, host, and beginning in ISO 8601."""

    pid: int
    host: str
    since: str


class StudyLock:
    """Holds a study for the life of a ``with`` block.

    The lock is the kernel's (flock): it is gone with its process, however that ended, and workers do not inherit it.
    Its file stays behind and means nothing by itself.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        """Takes the lock.

        Raises:
            StudyLockedError: If another coordinator holds it.
            StorageError: If its file cannot be opened.
        """
        descriptor = _open(self._file)
        if not _lock(descriptor):
            os.close(descriptor)
            raise StudyLockedError(describe_owner(self._file.parent, _read_owner(self._file)))
        with contextlib.suppress(OSError):  # the owner's name is for the message: on a full disk the lock holds as well
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(asdict(name_owner())).encode(), 0)
        self._descriptor = descriptor
        return self

    def __exit__(self, *_: object) -> None:
        """Releases the lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def check(self) -> None:
        """Needs nothing: the kernel takes this lock from no process that lives."""


def _open(file: Path) -> int:
    """Opens the lock's file; a link in its place could have another file emptied, and is not followed."""
    try:
        return os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StorageError(f"{file}: cannot be opened: {error.strerror}") from error


def _lock(descriptor: int) -> bool:
    """Takes the lock; tries for a moment, since `find_owner` has it for an instant."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(PATIENCE_S / 10)


def find_owner(file: Path) -> LockOwner | None:
    """The coordinator that holds a study now, or None."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read_owner(file) or LockOwner(0, "unknown", "unknown")
    finally:
        os.close(descriptor)
    return None


def _read_owner(file: Path) -> LockOwner | None:
    with contextlib.suppress(OSError, ValueError, TypeError):
        return LockOwner(**json.loads(file.read_text(encoding="utf-8")))
    return None


def name_owner() -> LockOwner:
    """This process, as the owner of a study from now on."""
    return LockOwner(os.getpid(), socket.gethostname(), datetime.now(UTC).isoformat(timespec="seconds"))


def describe_owner(study: object, owner: LockOwner | None) -> str:
    """The message that a study is held by another coordinator."""
    who = f"process {owner.pid} on {owner.host} since {owner.since}" if owner else "another process"
    return f"{study}: this study is being run by {who}; look at it with `sweep status`, or stop that one first"
