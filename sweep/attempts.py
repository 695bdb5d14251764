"""Attempt locks: one process a trial at a time, whatever is stopped, thawed or left behind.

A trial's process locks a file of its trial (flock) for as long as it lives, and writes its process id into it. A
process that was stopped (SIGSTOP) still holds the lock, so the next attempt can end it before it begins: no older
attempt can thaw later and write.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import time
from pathlib import Path

from sweep.errors import AttemptHeldError

PATIENCE_S = 10.0
"""Seconds that the kernel gets to end a process that was killed."""

_held: list[int] = []
"""Descriptors of the locks of this process, open until it ends."""


def hold_attempt(file: Path, attempt: int) -> None:
    """Takes a trial's lock for the life of this process, and writes its owner into the file.

    Raises:
        AttemptHeldError: If an older attempt holds it.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise AttemptHeldError(f"{file}: another process of this trial is alive: {_read(file)}") from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "attempt": attempt, "place": _place()}).encode(), 0)
    _held.append(descriptor)


def end_older_attempt(file: Path, *, patience_s: float = PATIENCE_S) -> int | None:
    """Kills the process that holds a trial's lock, waits until it is gone, and returns its id; None without one.

    A process id stays the same process's while it lives, and it lives as long as it holds the lock; so no other process
    can be hit. One of another machine or container is left alone.

    Raises:
        AttemptHeldError: If it cannot be ended from here.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        if _is_free(descriptor):
            return None
        owner = _read(file)
        pid = owner.get("pid")
        if not isinstance(pid, int) or owner.get("place") != _place():
            raise AttemptHeldError(f"{file}: a process of this trial is alive that cannot be ended from here: {owner}")
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + patience_s
        while not _is_free(descriptor):
            if time.monotonic() > deadline:
                raise AttemptHeldError(f"{file}: process {pid} was killed and does not end; see what it waits for")
            time.sleep(0.01)
        return pid
    finally:
        os.close(descriptor)


def _is_free(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return True


def _read(file: Path) -> dict[str, object]:
    with contextlib.suppress(OSError, ValueError):
        owner = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(owner, dict):
            return owner
    return {}


def _place() -> str:
    """The scope of process ids: this start of the machine, and this container."""
    parts = []
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
    with contextlib.suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts) or os.uname().nodename
