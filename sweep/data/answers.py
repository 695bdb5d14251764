"""AnswerFile: what a generator answered for each document, appended as it came, so that nothing is asked twice."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from sweep.errors import CollectionError

SYNC_S = 1.0
"""Seconds between two flushes to the disk: what a process has written outlives it at once, a power cut from then on."""


class AnswerFile:
    """A file of JSON lines: what the answers follow from, then the answers for one document a line.

    A line that a kill or a full disk has cut off is removed when the file is opened again. Several jobs of one run may
    append to it, since each line is one write; of two runs the second is refused.

    Args:
        path: The file; its folder must be there.
        facts: What the answers follow from, for its first line.

    Raises:
        CollectionError: If it cannot be opened, or another run has it open.
    """

    def __init__(self, path: Path, facts: Mapping[str, Any]) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._synced = time.monotonic()
        with _explain(path):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._claim()
            self._remove_torn(facts)
        except BaseException:
            os.close(self._descriptor)
            raise

    def add(self, document: str, identifier: str, answers: Sequence[str]) -> None:
        """Appends the answers for a document, which is known by the hash of its content; threads may do so at once.

        Raises:
            CollectionError: If they cannot be written, as on a full disk.
        """
        with self._lock, _explain(self.path):
            append_answers(self._descriptor, document, identifier, answers)
            if time.monotonic() - self._synced > SYNC_S:
                os.fsync(self._descriptor)
                self._synced = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            with _explain(self.path):
                os.fsync(self._descriptor)
        finally:
            os.close(self._descriptor)

    def _claim(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CollectionError(f"{self.path}: another `sweep generate` is writing it; wait for its end") from None

    def _remove_torn(self, facts: Mapping[str, Any]) -> None:
        with _explain(self.path):
            size = os.fstat(self._descriptor).st_size
            content = os.pread(self._descriptor, size, max(0, size - (1 << 24)))
            end = size - len(content) + content.rfind(b"\n") + 1
            if end < size:
                os.ftruncate(self._descriptor, end if b"\n" in content else 0)
            if os.fstat(self._descriptor).st_size == 0:
                _write(self._descriptor, {"version": 1, **facts})


def append_answers(descriptor: int, document: str, identifier: str, answers: Sequence[str]) -> None:
    """Appends a line to a file that is open for that; see `AnswerFile.add`.

    Raises:
        OSError: If it cannot be written completely.
    """
    _write(descriptor, {"document": document, "id": identifier, "answers": list(answers)})


def read_answers(path: Path) -> dict[str, list[str]]:
    """The answers in a file for each document, by the hash of its content; none where there is no file.

    Raises:
        CollectionError: If it cannot be read, or holds a line that is none of its own.
    """
    return dict(_read_lines(path)) if path.exists() else {}


def _read_lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    with _explain(path), path.open("rb") as file:
        next(file, None)
        for number, line in enumerate(file, start=2):
            if not line.endswith(b"\n"):
                return
            try:
                record = json.loads(line)
                yield record["document"], record["answers"]
            except (ValueError, KeyError, TypeError) as error:
                raise CollectionError(
                    f"{path}:{number}: is no line of answers ({error}): remove it, and its document is asked again"
                ) from error


def _write(descriptor: int, record: Mapping[str, Any]) -> None:
    line = json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
    written = os.write(descriptor, line)
    while written < len(line):  # a disk that is about to be full takes a part
        written += os.write(descriptor, line[written:])


@contextlib.contextmanager
def _explain(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CollectionError(
            f"{path}: cannot be used ({error.strerror or error}): what was answered stands; fix that, or set"
            " SWEEP_CACHE to another folder"
        ) from error
