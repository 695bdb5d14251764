"""write_output: a file that a user names, written completely or not at all, through whatever stands at its path."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from pathlib import Path


def write_output(path: Path, text: str) -> None:
    """Writes a text to a path that a user names, in UTF-8.

    A file is written beside its place and then takes it, so that a reader finds the old one or the new one. Where a
    symbolic link stands, that happens at its target. What cannot be replaced without harm is written in place: a pipe
    or a device, which takes the text as a stream; a file with other names (hard links), or whose folder cannot be
    written.

    Raises:
        OSError: If it cannot be written.
    """
    known = path.stat() if path.exists() else None
    if known is not None and is_standard_output(path):
        sys.stdout.write(text)
        sys.stdout.flush()
    elif known is None or (stat.S_ISREG(known.st_mode) and known.st_nlink == 1):
        _replace(path, text, known)
    else:
        path.write_text(text, encoding="utf-8")


def create_output(path: Path, text: str) -> None:
    """Writes a text, in UTF-8, to a path where nothing stands: completely or not at all.

    Raises:
        FileExistsError: If something stands there, a symbolic link included; it is left as it is.
        OSError: If it cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        try:
            path.hardlink_to(partial)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
                raise
            _write_new(path, text)  # a file system without hard links
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _write_new(path: Path, text: str) -> None:
    with path.open("x", encoding="utf-8") as file:
        try:
            file.write(text)
            file.flush()
        except OSError:
            path.unlink(missing_ok=True)
            raise


def is_standard_output(path: Path) -> bool:
    """Whether a path is this process's standard output, such as /dev/stdout."""
    with contextlib.suppress(OSError, ValueError):  # there is no such file, or no descriptor
        return os.path.samestat(path.stat(), os.fstat(sys.stdout.fileno()))
    return False


def _replace(path: Path, text: str, known: os.stat_result | None) -> None:
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        if known is not None:
            partial.chmod(stat.S_IMODE(known.st_mode))
        partial.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        if known is None or error.errno not in (errno.EACCES, errno.EPERM, errno.EBUSY, errno.EROFS):
            raise
        target.write_text(text, encoding="utf-8")  # its folder cannot be written, or it is a mount of its own
