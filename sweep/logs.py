"""Logs of bounded size: a large file is rotated, and the last lines of one can be read."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

MAX_BYTES = 16 * 2**20
"""Size at which a log is rotated; with the one before it a log takes at most twice that."""

_TAIL_BYTES = 16384
_LINE_WIDTH = 300


def rotate(file: Path, *, max_bytes: int = MAX_BYTES) -> bool:
    """Renames a log that has grown too large to ``NAME.1``, in place of the one before; returns whether it did.

    A process that has the file open writes to the renamed one until it opens a new one.
    """
    try:
        if file.stat().st_size < max_bytes:
            return False
        file.replace(file.with_name(file.name + ".1"))
    except OSError:  # not there, or a full or read-only disk: a log is no reason to stop
        return False
    return True


def open_log(file: Path) -> int:
    """A descriptor that appends to a log, which is made with its folder, for its owner alone."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def last_lines(file: Path, count: int = 10) -> list[str]:
    """The last lines of a log, printable and cut to a readable width; none where it cannot be read."""
    with contextlib.suppress(OSError), file.open("rb") as log:
        log.seek(max(0, file.stat().st_size - _TAIL_BYTES))
        lines = log.read().decode("utf-8", errors="replace").splitlines()
        printable = ("".join(c if c.isprintable() else " " for c in line).rstrip()[:_LINE_WIDTH] for line in lines)
        return [line for line in printable if line][-count:]
    return []
