"""Mark: a file that shows whether a folder is the same one here and on another machine.

The coordinator makes the mark, the other machine reads it and writes an answer beside it, and the coordinator reads
that: so files cross in both directions before a trial depends on it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from sweep.errors import StorageError


@dataclass(frozen=True)
class Mark:
    """A file with a random content in a folder that must be shared, and the name of the answer to it."""

    file: Path
    content: str

    @property
    def reply(self) -> Path:
        """The file in which the other machine answers."""
        return self.file.with_name(f"{self.file.name}.reply")

    def answer(self) -> str | None:
        """Reads the mark and writes the answer, on the other machine; returns the problem where that fails."""
        try:
            if self.file.read_text(encoding="ascii") != self.content:
                return f"sees another {self.file.parent} than the coordinator"
            self.reply.write_text(self.content, encoding="ascii")
        except FileNotFoundError:
            return f"does not see what the coordinator writes into {self.file.parent}"
        except OSError as error:
            return f"cannot read and write in {self.file.parent}: {error.strerror}"
        return None

    def check(self) -> str | None:
        """Reads the answer, on the coordinator's machine; returns the problem where it is not there."""
        with contextlib.suppress(OSError):
            if self.reply.read_text(encoding="ascii") == self.content:
                return None
        return f"wrote into another {self.file.parent} than the coordinator's"

    def remove(self) -> None:
        """Removes the mark and its answer."""
        for file in (self.reply, self.file):
            with contextlib.suppress(OSError):
                file.unlink()


def make_mark(folder: Path) -> Mark:
    """Writes a mark into a folder, for the user alone.

    Raises:
        StorageError: If the folder cannot be written to.
    """
    mark = Mark(folder / f".sweep-{secrets.token_hex(8)}", secrets.token_hex(16))
    try:
        descriptor = os.open(mark.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(mark.content)
    except OSError as error:
        mark.remove()
        raise StorageError(f"{folder}: cannot be written to, and every worker must: {error.strerror}") from error
    return mark
