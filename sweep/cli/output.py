"""Standard output and standard error of a command, whose reader may go away before the command has ended."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator


class OutputError(OSError):
    """Standard output that cannot be written: its terminal or reader is gone, or its disk is full."""


class _Output(io.TextIOWrapper):
    """A stream whose errors can be told from those of files."""

    def write(self, text: str, /) -> int:
        """Writes text.

        Raises:
            OutputError: If it cannot be written.
        """
        with _own_errors():
            return super().write(text)

    def flush(self) -> None:
        """Writes what is held back.

        Raises:
            OutputError: If it cannot be written.
        """
        with _own_errors():
            super().flush()


@contextlib.contextmanager
def _own_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(error.errno, error.strerror) from error


def open_output() -> None:
    """Prepares standard output: a terminal that cannot show a letter shows the rest, and errors are `OutputError`.

    What the caller has closed (``>&-``) is opened, so that no file of a study becomes descriptor 1; nobody reads it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest descriptor that is free
    if type(sys.stdout) is io.TextIOWrapper:  # not one that a caller of `main` has put there
        sys.stdout = _Output(
            sys.stdout.buffer,
            encoding=sys.stdout.encoding,
            errors="replace",
            line_buffering=sys.stdout.line_buffering,
            write_through=sys.stdout.write_through,
        )
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="replace")
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or sys.stdout


def complain(text: str) -> None:
    """Prints a line on standard error, where somebody can read it; a name in it may hold a line break."""
    with contextlib.suppress(OSError):
        print(f"sweep: {' '.join(text.splitlines())}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def unread_output() -> Iterator[None]:
    """Lets a ``with`` block print what matters to nobody who is gone: output that cannot be written is dropped."""
    try:
        yield
        sys.stdout.flush()
    except OutputError:
        close_output()


def close_output() -> None:
    """Drops what cannot be written, at which Python would fail when the process ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
