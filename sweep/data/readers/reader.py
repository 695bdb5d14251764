"""Reader: the promise of what reads one kind of source."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from sweep.data.collection import RawCollection
from sweep.settings.entries import Entry


class Reader(Entry):
    """A kind of source; its name is the scheme before the colon of ``data.collection``.

    Attributes:
        usage: How a study file names such a source, for messages.
    """

    usage: ClassVar[str]

    def read(self, source: str, *, folder: Path) -> RawCollection:
        """Reads a source as it lies there, strictly; runs no code from it and loads no pickle.

        Args:
            source: What stands behind the scheme and its colon.
            folder: The study file's folder, against which a relative path is resolved.

        Returns:
            The collection. A single set of judgements is split by `sweep.data.sources`, whatever its name.

        Raises:
            CollectionError: If the source is missing or cannot be read; one line with the file, and the line in it.
        """
        raise NotImplementedError
